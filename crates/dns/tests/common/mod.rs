//! A simulation of name servers without sockets, in which a look-up is run to its end.

#![allow(dead_code)]

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dns::{
    Action, Answer, Failure, Hosts, Lookup, Plan, Query, Question, ResolvConf, Settings, Transport,
};
use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, ToName, Ttl};
use domain::rdata::{A, Aaaa, Cname, Ptr};

type OwnedName = Name<Vec<u8>>;

/// The entry of a name in the world.
#[derive(Clone, Debug)]
pub enum Entry {
    Addresses(Vec<IpAddr>),
    Alias(String),
    Pointer(String),
    Code(u8),
    /// There is no reply: the query or the reply is lost.
    Silence,
    /// The kernel reports that no server listens.
    Refused,
    /// The reply is too long for a datagram; over TCP, it has these addresses.
    Long(Vec<IpAddr>),
    /// The reply has octets after the id that are no message.
    Garbage,
}

/// The entries of all servers, by name, and the questions that they were asked.
#[derive(Default)]
pub struct World {
    pub entries: HashMap<String, Entry>,
    /// Entries with which single servers answer whatever they are asked.
    pub servers: HashMap<usize, Entry>,
    /// True if an answer has the whole chain of aliases.
    pub follows: bool,
    pub asked: Vec<(String, usize, Transport)>,
    pub now: Duration,
}

/// The outcome of a query.
enum Outcome {
    Reply(Vec<u8>),
    Lost,
    Refused,
}

impl World {
    pub fn new(entries: &[(&str, Entry)]) -> Self {
        let entries = entries.iter().cloned();
        Self {
            entries: entries
                .map(|(name, entry)| (name.to_owned(), entry))
                .collect(),
            ..Self::default()
        }
    }

    /// Looks up the addresses of a name.
    pub fn addresses(&mut self, name: &str, conf: &str) -> Result<Answer, Failure> {
        let question = Question::Addresses {
            name: name.as_bytes().to_vec(),
            v4: true,
            v6: false,
        };
        self.run(&question, &plan(conf), "")
    }

    /// Runs a look-up to its end. Panics if it waits for nothing, or asks without end.
    pub fn run(
        &mut self,
        question: &Question,
        plan: &Arc<Plan>,
        hosts: &str,
    ) -> Result<Answer, Failure> {
        let mut lookup = Lookup::new(question, &Hosts::parse(hosts), plan.clone(), 0, || 7);
        for _ in 0..10_000 {
            match lookup.poll(self.now) {
                Action::Done(result) => return result,
                Action::Wait(until) => {
                    self.now = until.expect("it waits for nothing");
                }
                Action::Send(query) => {
                    assert!(lookup.waits_for(query.id));
                    lookup.sent(query.id, self.now);
                    match self.reply(&query) {
                        Outcome::Reply(octets) => lookup.receive(query.id, &octets),
                        Outcome::Refused => lookup.fail(query.id, Failure::ConnRefused),
                        Outcome::Lost => {}
                    }
                }
            }
        }
        panic!("it asks without end: {question:?}");
    }

    fn reply(&mut self, query: &Query) -> Outcome {
        let message = Message::from_octets(query.message.as_slice()).unwrap();
        let question = message.sole_question().unwrap();
        let name: OwnedName = question.qname().to_name();
        let text = name.to_string().to_ascii_lowercase();
        self.asked
            .push((text.clone(), query.server, query.transport));
        let entry = self
            .servers
            .get(&query.server)
            .or_else(|| self.entries.get(&text));
        let mut rcode = Rcode::NOERROR;
        let mut records: Vec<(OwnedName, Entry)> = Vec::new();
        let mut truncated = false;
        match entry {
            None => rcode = Rcode::NXDOMAIN,
            Some(Entry::Code(code)) => rcode = Rcode::masked_from_int(*code),
            Some(Entry::Silence) => return Outcome::Lost,
            Some(Entry::Refused) => return Outcome::Refused,
            Some(Entry::Garbage) => return Outcome::Reply(vec![0, 7, 0xff, 0xfe, 0xfd]),
            Some(Entry::Long(addresses)) if query.transport == Transport::Tcp => {
                records.push((name.clone(), Entry::Addresses(addresses.clone())));
            }
            Some(Entry::Long(_)) => truncated = true,
            Some(entry) => {
                let (mut owner, mut entry) = (name.clone(), entry.clone());
                while let Entry::Alias(target) = &entry {
                    records.push((owner.clone(), entry.clone()));
                    owner = Name::vec_from_str(target).unwrap();
                    match self.entries.get(&target.to_ascii_lowercase()) {
                        Some(next) if self.follows && records.len() < 20 => entry = next.clone(),
                        _ => break,
                    }
                }
                if !matches!(entry, Entry::Alias(_)) {
                    records.push((owner, entry));
                }
            }
        }
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(message.header().id());
        builder.header_mut().set_qr(true);
        builder.header_mut().set_tc(truncated);
        builder.header_mut().set_rcode(rcode);
        let mut builder = builder.question();
        builder.push(question).unwrap();
        let mut builder = builder.answer();
        for (owner, entry) in records {
            let ttl = Ttl::from_secs(60);
            match entry {
                Entry::Alias(target) => {
                    let target: OwnedName = Name::vec_from_str(&target).unwrap();
                    builder.push((owner, ttl, Cname::new(target))).unwrap();
                }
                Entry::Pointer(target) if question.qtype() == Rtype::PTR => {
                    let target: OwnedName = Name::vec_from_str(&target).unwrap();
                    builder.push((owner, ttl, Ptr::new(target))).unwrap();
                }
                Entry::Addresses(addresses) => {
                    for address in addresses {
                        match (address, question.qtype()) {
                            (IpAddr::V4(four), Rtype::A) => {
                                builder.push((&owner, ttl, A::new(four))).unwrap();
                            }
                            (IpAddr::V6(six), Rtype::AAAA) => {
                                builder.push((&owner, ttl, Aaaa::new(six))).unwrap();
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Outcome::Reply(builder.finish())
    }
}

/// Returns the plan of a resolv.conf.
pub fn plan(conf: &str) -> Arc<Plan> {
    let conf = ResolvConf::parse(conf, |_| None);
    Arc::new(Plan::new(&Settings::default(), conf))
}

/// Returns an entry of addresses.
pub fn at(addresses: &[&str]) -> Entry {
    Entry::Addresses(addresses.iter().map(|text| text.parse().unwrap()).collect())
}
