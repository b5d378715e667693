//! Random worlds: every look-up ends, in bounded time and with bounded questions, as a plain model says.

mod common;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use common::{Entry, World, plan};
use dns::{Action, Failure, Hosts, Lookup, Question, ResolvConf, Sources};
use proptest::prelude::*;

const NAMES: usize = 6;

fn name(number: usize) -> String {
    format!("n{number}.test")
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        3 => (1..250u8).prop_map(|last| Entry::Addresses(vec![IpAddr::from([10, 0, 0, last])])),
        1 => Just(Entry::Addresses(Vec::new())),
        4 => (0..NAMES).prop_map(|number| Entry::Alias(name(number))),
        1 => (1..250u8).prop_map(|last| Entry::Long(vec![IpAddr::from([10, 9, 9, last])])),
        1 => prop_oneof![Just(2u8), Just(3), Just(5)].prop_map(Entry::Code),
        1 => Just(Entry::Silence),
        1 => Just(Entry::Refused),
        1 => Just(Entry::Garbage),
    ]
}

/// Returns what a look-up should find, by following the entries one by one.
fn expected(entries: &HashMap<String, Entry>, name: &str) -> Result<Vec<IpAddr>, Failure> {
    let mut name = name.to_owned();
    let mut seen = HashSet::new();
    loop {
        match entries.get(&name) {
            None => return Err(Failure::NotFound),
            Some(Entry::Alias(target)) => {
                if !seen.insert(name) {
                    return Err(Failure::NoData);
                }
                name = target.clone();
            }
            Some(Entry::Addresses(addresses)) if addresses.is_empty() => {
                return Err(Failure::NoData);
            }
            Some(Entry::Addresses(addresses) | Entry::Long(addresses)) => {
                return Ok(addresses.clone());
            }
            Some(Entry::Code(3)) => return Err(Failure::NotFound),
            Some(Entry::Code(5)) => return Err(Failure::Refused),
            Some(Entry::Code(_)) => return Err(Failure::ServFail),
            Some(Entry::Silence) => return Err(Failure::Timeout),
            Some(Entry::Refused) => return Err(Failure::ConnRefused),
            Some(Entry::Garbage) => return Err(Failure::BadResp),
            Some(Entry::Pointer(_)) => return Err(Failure::NoData),
        }
    }
}

proptest! {
    #[test]
    fn look_ups_find_what_is_there(
        entries in prop::collection::vec(entry(), NAMES - 1),
        servers in 1..4usize,
        tries in 1..4usize,
    ) {
        let entries: HashMap<String, Entry> =
            entries.into_iter().enumerate().map(|(number, entry)| (name(number), entry)).collect();
        let mut conf: String = (1..=servers).map(|i| format!("nameserver 10.0.0.{i}\n")).collect();
        conf += &format!("options timeout:1 attempts:{tries}\n");
        let mut world = World { entries: entries.clone(), ..World::default() };
        let found = world.addresses("n0.test.", &conf).map(|answer| answer.addresses);
        prop_assert_eq!(found, expected(&entries, "n0.test"));
        prop_assert!(world.asked.len() <= NAMES * (servers * tries + 1));
        prop_assert!(world.now <= Duration::from_secs((servers * tries) as u64));
    }

    #[test]
    fn no_reply_is_more_than_refused(octets in prop::collection::vec(any::<u8>(), 0..200), at in 0..64usize) {
        let question = Question::Addresses { name: b"a.test".to_vec(), v4: true, v6: false };
        let mut lookup = Lookup::new(&question, &Hosts::parse(""), plan(""), 0, || 7);
        let Action::Send(query) = lookup.poll(Duration::ZERO) else { panic!("it asks at once") };
        lookup.sent(query.id, Duration::ZERO);
        // The reply is the query itself, with random octets after it or over a part of it.
        let mut reply = query.message.clone();
        reply[2] |= 0x80;
        reply[7] = octets.first().copied().unwrap_or(0) & 3;
        let at = (reply.len() + at).saturating_sub(32).clamp(2, reply.len());
        reply.truncate(at);
        reply.extend_from_slice(&octets);
        lookup.receive(query.id, &reply);
        let _ = lookup.poll(Duration::ZERO);
    }

    #[test]
    fn files_are_read_whatever_is_in_them(text in "[ -~\n\t]{0,200}") {
        let hosts = Hosts::parse(&text);
        let _ = hosts.addresses("a", true, true);
        let _ = Sources::parse(&text).is_plain();
        let conf = ResolvConf::parse(&text, |_| Some(3));
        prop_assert!(!conf.servers.is_empty());
        prop_assert!((1..=5).contains(&conf.attempts) && (1..=30).contains(&conf.timeout));
    }
}
