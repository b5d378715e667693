//! Look-ups against name servers that answer, fail, lie and fall silent.

mod common;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{Entry, World, at, plan};
use dns::{Action, Failure, Hosts, Lookup, Question, Transport};

const TWO: &str = "nameserver 10.0.0.1\nnameserver 10.0.0.2\noptions timeout:3 attempts:2\n";

fn both(name: &str) -> Question {
    Question::Addresses {
        name: name.as_bytes().to_vec(),
        v4: true,
        v6: true,
    }
}

#[test]
fn both_families_are_asked_for_at_once() {
    let mut world = World::new(&[("a.test", at(&["10.1.1.1", "2001:db8::1"]))]);
    let answer = world.run(&both("a.test"), &plan(""), "").unwrap();
    assert_eq!(answer.name, "a.test");
    let addresses: Vec<IpAddr> = vec!["10.1.1.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    assert_eq!(answer.addresses, addresses);
    assert_eq!(world.asked.len(), 2);
    assert_eq!(world.now, Duration::ZERO);
}

#[test]
fn one_family_is_enough() {
    let mut world = World::new(&[("a.test", at(&["10.1.1.1"]))]);
    let answer = world.run(&both("a.test"), &plan(""), "").unwrap();
    assert_eq!(answer.addresses.len(), 1);
    let asked = world.asked.len();
    let answer = world
        .run(&both("a.test"), &plan("options no-aaaa\n"), "")
        .unwrap();
    assert_eq!(answer.addresses.len(), 1);
    assert_eq!(world.asked.len(), asked + 1);
}

#[test]
fn hosts_and_localhost_need_no_server() {
    let mut world = World::default();
    let hosts = "10.2.2.2 db.test db # ours\n::1 six\n";
    let answer = world.run(&both("DB"), &plan(""), hosts).unwrap();
    assert_eq!((answer.name.as_str(), answer.aliases.len()), ("db.test", 1));
    let found = world.run(
        &Question::Names("10.2.2.2".parse().unwrap()),
        &plan(""),
        hosts,
    );
    assert_eq!(found.unwrap().name, "db.test");
    let answer = world.run(&both("x.localhost."), &plan(""), "").unwrap();
    assert_eq!(answer.addresses.len(), 2);
    assert!(world.asked.is_empty());
}

#[test]
fn chains_of_aliases_are_followed_whether_they_come_whole_or_in_links() {
    let links: Vec<(String, Entry)> = (0..8)
        .map(|i| {
            (
                format!("l{i}.test"),
                Entry::Alias(format!("L{}.test", i + 1)),
            )
        })
        .chain([("l8.test".to_owned(), at(&["10.1.1.1"]))])
        .collect();
    for follows in [false, true] {
        let mut world = World {
            entries: links.iter().cloned().collect(),
            follows,
            ..World::default()
        };
        let answer = world.addresses("l0.test", "").unwrap();
        assert_eq!(answer.aliases.len(), 8);
        assert_eq!(answer.name, "L8.test");
        assert_eq!(world.asked.len(), if follows { 1 } else { 9 });
    }
}

#[test]
fn rings_and_endless_chains_of_aliases_are_no_data() {
    let ring = |i: u32, of: u32| {
        (
            format!("r{i}.test"),
            Entry::Alias(format!("r{}.test", (i + 1) % of)),
        )
    };
    for (length, follows) in [
        (1, true),
        (1, false),
        (2, true),
        (2, false),
        (500, true),
        (500, false),
    ] {
        let mut world = World {
            entries: (0..length).map(|i| ring(i, length)).collect(),
            follows,
            ..World::default()
        };
        assert_eq!(world.addresses("r0.test", ""), Err(Failure::NoData));
        assert!(world.asked.len() < 40);
    }
}

#[test]
fn an_alias_of_what_does_not_exist_is_not_found() {
    let mut world = World::new(&[("a.test", Entry::Alias("gone.test".to_owned()))]);
    assert_eq!(world.addresses("a.test", ""), Err(Failure::NotFound));
}

#[test]
fn names_of_the_search_list_are_tried_in_order() {
    let mut world = World::new(&[("www.b.test", at(&["10.1.1.1"]))]);
    let conf = "search a.test b.test c.test\n";
    assert_eq!(world.addresses("www", conf).unwrap().name, "www.b.test");
    let asked: Vec<&str> = world.asked.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(asked, ["www.a.test", "www.b.test"]);
    assert_eq!(world.addresses("nowhere", conf), Err(Failure::NotFound));
    // The most informative failure is reported: the name exists, but has no addresses.
    let mut world = World::new(&[("www.a.test", at(&[]))]);
    assert_eq!(world.addresses("www", conf), Err(Failure::NoData));
}

#[test]
fn the_next_server_is_asked_when_one_fails() {
    for (entry, seconds) in [
        (Entry::Refused, 0),
        (Entry::Code(2), 0),
        (Entry::Garbage, 0),
        (Entry::Silence, 3),
    ] {
        let mut world = World::new(&[("a.test", at(&["10.1.1.1"]))]);
        world.servers.insert(0, entry);
        assert!(world.addresses("a.test", TWO).is_ok());
        assert_eq!(world.now.as_secs(), seconds);
        assert_eq!(world.asked.len(), 2);
    }
}

#[test]
fn what_a_server_knows_for_certain_nobody_else_is_asked() {
    let mut world = World::new(&[("a.test", at(&[]))]);
    assert_eq!(world.addresses("a.test.", TWO), Err(Failure::NoData));
    assert_eq!(world.addresses("b.test.", TWO), Err(Failure::NotFound));
    assert_eq!(world.asked.len(), 2);
}

#[test]
fn servers_are_asked_again_only_where_that_may_help() {
    for (entry, failure, asked, seconds) in [
        (Entry::Silence, Failure::Timeout, 4, 12),
        (Entry::Refused, Failure::ConnRefused, 4, 0),
        (Entry::Code(5), Failure::Refused, 2, 0),
        (Entry::Code(4), Failure::NotImp, 2, 0),
        (Entry::Garbage, Failure::BadResp, 2, 0),
    ] {
        let mut world = World::new(&[("a.test", entry)]);
        assert_eq!(world.addresses("a.test.", TWO), Err(failure));
        assert_eq!(
            (world.asked.len(), world.now.as_secs()),
            (asked, seconds),
            "{failure}"
        );
    }
}

#[test]
fn what_is_too_long_for_a_datagram_is_asked_for_over_tcp() {
    let mut world = World::new(&[("a.test", Entry::Long(vec!["10.1.1.1".parse().unwrap()]))]);
    assert!(world.addresses("a.test", "").is_ok());
    let how: Vec<Transport> = world.asked.iter().map(|(.., how)| *how).collect();
    assert_eq!(how, [Transport::Udp, Transport::Tcp]);
    world.asked.clear();
    assert!(world.addresses("a.test", "options use-vc\n").is_ok());
    assert_eq!(world.asked.len(), 1);
}

#[test]
fn names_of_addresses() {
    let name = "4.3.2.10.in-addr.arpa";
    let mut world = World::new(&[(name, Entry::Pointer("host.test".to_owned()))]);
    let address: IpAddr = "10.2.3.4".parse().unwrap();
    let answer = world.run(&Question::Names(address), &plan(""), "").unwrap();
    assert_eq!(
        (answer.name.as_str(), answer.addresses),
        ("host.test", vec![address])
    );
    let other = world.run(&Question::Names("10.2.3.5".parse().unwrap()), &plan(""), "");
    assert_eq!(other, Err(Failure::NotFound));
}

#[test]
fn forgeries_and_late_replies_do_not_end_the_wait() {
    let mut lookup = Lookup::new(&both("a.test"), &Hosts::parse(""), plan(TWO), 0, || 7);
    let mut queries = Vec::new();
    while let Action::Send(query) = lookup.poll(Duration::ZERO) {
        lookup.sent(query.id, Duration::ZERO);
        queries.push(query);
    }
    let mut other = Lookup::new(&both("b.test"), &Hosts::parse(""), plan(TWO), 0, || 7);
    let Action::Send(stranger) = other.poll(Duration::ZERO) else {
        panic!("it asks at once");
    };
    let mut forged = stranger.message.clone();
    forged[2] |= 0x80;
    let mut wrong_id = queries[0].message.clone();
    wrong_id[0] ^= 1;
    wrong_id[2] |= 0x80;
    for octets in [&forged[..], &wrong_id, &[], &[0]] {
        lookup.receive(queries[0].id, octets);
        assert!(lookup.waits_for(queries[0].id));
    }
    assert_eq!(
        lookup.poll(Duration::ZERO),
        Action::Wait(Some(Duration::from_secs(3)))
    );
    // After its timeout the query is given up, and a late reply to it is ignored.
    assert!(
        matches!(lookup.poll(Duration::from_secs(3)), Action::Send(query) if query.server == 1)
    );
    assert!(!lookup.waits_for(queries[0].id));
    let mut late = queries[0].message.clone();
    late[2] |= 0x80;
    lookup.receive(queries[0].id, &late);
}

#[test]
fn without_servers_nothing_is_asked() {
    let plan = Arc::new(dns::Plan {
        servers: Vec::new(),
        ..(*plan("")).clone()
    });
    let mut world = World::default();
    assert_eq!(
        world.run(&both("a.test"), &plan, ""),
        Err(Failure::NoServer)
    );
}
