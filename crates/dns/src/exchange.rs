//! The search for one kind of records of one complete name. It decides which server is asked and when, until one of
//! them answers.
//!
//! ```text
//!              next            sent             received: records, "no such name", "no such records"
//!   Unsent ──────────▶ Handed ──────▶ Sent ──────────────────────────────────────────────────────────▶ Done
//!     ▲                   │             │
//!     └───────────────────┴─────────────┘
//!       a failure, or a timeout: the next server, and all of them again, as often as the plan says;
//!       a cut answer: the same server over TCP; an alias without records: the name that it stands for
//! ```

use std::time::Duration;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::lookup::{Query, QueryId, Transport};
use crate::message::{self, Data, Kind, Name, Reply};
use crate::plan::Plan;

/// The longest chain of aliases that is followed.
const MOST_ALIASES: usize = 64;
/// The most queries that a chain of aliases may take beyond the first, where each answer has only a part of it.
const MOST_LINKS: usize = 16;

/// The state of an exchange, as drawn above.
#[derive(Debug)]
enum State {
    Unsent(Transport),
    /// The caller has the query, and has not yet reported that it was sent.
    Handed(Flight),
    /// The reply is due until this time.
    Sent(Flight, Duration),
    Done(Result<Answer, Failure>),
}

/// A query that is under way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    query: QueryId,
    /// The id in the message.
    message: u16,
    transport: Transport,
}

/// The search for one kind of records.
#[derive(Debug)]
pub struct Exchange {
    /// The name that is asked for: the one given, or the one that the chain of aliases has led to.
    name: Name,
    kind: Kind,
    aliases: Vec<Name>,
    links: usize,
    /// The server that is asked first.
    first: usize,
    /// The number of servers of this round that have failed, and of rounds that are over.
    failed: usize,
    rounds: usize,
    state: State,
}

impl Exchange {
    /// Returns a search that begins with the server `first`.
    pub fn new(name: Name, kind: Kind, first: usize, plan: &Plan) -> Self {
        let state = if plan.servers.is_empty() {
            State::Done(Err(Failure::NoServer))
        } else {
            State::Unsent(first_transport(plan))
        };
        Self {
            name,
            kind,
            aliases: Vec::new(),
            links: 0,
            first,
            failed: 0,
            rounds: 0,
            state,
        }
    }

    /// Returns the query to be sent next, after it has checked whether a reply is overdue.
    pub fn next(
        &mut self,
        now: Duration,
        plan: &Plan,
        query: QueryId,
        message: u16,
    ) -> Option<Query> {
        if let State::Sent(_, until) = self.state
            && until <= now
        {
            self.fail(Failure::Timeout, plan);
        }
        let State::Unsent(transport) = self.state else {
            return None;
        };
        let octets = message::query(message, &self.name, self.kind, plan.recursion, plan.edns);
        match octets {
            Ok(octets) => {
                self.state = State::Handed(Flight {
                    query,
                    message,
                    transport,
                });
                Some(Query {
                    id: query,
                    server: (self.first + self.failed) % plan.servers.len(),
                    transport,
                    message: octets,
                })
            }
            Err(failure) => {
                self.state = State::Done(Err(failure));
                None
            }
        }
    }

    /// Returns true if this query is under way.
    pub fn waits_for(&self, query: QueryId) -> bool {
        self.flight().is_some_and(|flight| flight.query == query)
    }

    fn flight(&self) -> Option<Flight> {
        match self.state {
            State::Handed(flight) | State::Sent(flight, _) => Some(flight),
            State::Unsent(_) | State::Done(_) => None,
        }
    }

    /// Notes that the query was sent, from which moment its timeout counts.
    pub fn sent(&mut self, now: Duration, plan: &Plan) {
        if let State::Handed(flight) = self.state {
            self.state = State::Sent(flight, now.saturating_add(plan.timeout));
        }
    }

    /// Reads a message that arrived for the query that is under way.
    pub fn receive(&mut self, octets: &[u8], plan: &Plan) {
        let Some(flight) = self.flight() else {
            return;
        };
        let reply = message::read(
            octets,
            flight.message,
            &self.name,
            self.kind,
            plan.cut_is_fine,
        );
        match reply {
            Ok(None) => {}
            Ok(Some(Reply::Records { records, is_final })) => {
                self.follow(&records, is_final, plan);
            }
            Ok(Some(Reply::Truncated)) if flight.transport == Transport::Udp => {
                self.state = State::Unsent(Transport::Tcp);
            }
            Ok(Some(Reply::Truncated)) => self.fail(Failure::BadResp, plan),
            Ok(Some(Reply::Failed(failure))) | Err(failure) => self.fail(failure, plan),
        }
    }

    /// Notes that the query that is under way has failed.
    pub fn fail(&mut self, failure: Failure, plan: &Plan) {
        if failure.is_answer() || plan.failure_is_answer {
            self.state = State::Done(Err(failure));
            return;
        }
        self.failed += 1;
        if self.failed >= plan.servers.len() {
            self.failed = 0;
            self.rounds += 1;
            // A server that refuses a query refuses it again, so that only failures which may pass are worth another
            // round.
            let passes = matches!(failure, Failure::Timeout | Failure::ConnRefused);
            if self.rounds >= plan.tries || !passes {
                self.state = State::Done(Err(failure));
                return;
            }
        }
        self.state = State::Unsent(first_transport(plan));
    }

    /// Follows the aliases through the records of an answer, and asks for the last name in another query if the answer
    /// does not have its records.
    fn follow(&mut self, records: &[(Name, Data)], is_final: bool, plan: &Plan) {
        let mut owner = self.name.clone();
        while let Some(target) = records.iter().find_map(|(name, data)| match data {
            Data::Alias(target) if *name == owner => Some(target),
            _ => None,
        }) {
            self.aliases.push(owner);
            if self.aliases.contains(target) || self.aliases.len() > MOST_ALIASES {
                self.state = State::Done(Err(Failure::NoData));
                return;
            }
            owner = target.clone();
        }
        if let Some(answer) = self.found(&owner, records) {
            self.state = State::Done(Ok(answer));
        } else if owner == self.name || is_final || self.links >= MOST_LINKS {
            self.state = State::Done(Err(Failure::NoData));
        } else {
            self.name = owner;
            self.links += 1;
            self.failed = 0;
            self.rounds = 0;
            self.state = State::Unsent(first_transport(plan));
        }
    }

    fn found(&self, owner: &Name, records: &[(Name, Data)]) -> Option<Answer> {
        let mut answer = Answer {
            name: String::new(),
            aliases: self.aliases.iter().map(Name::to_string).collect(),
            addresses: Vec::new(),
        };
        let mut names = Vec::new();
        for (name, data) in records.iter().filter(|(name, _)| name == owner) {
            match data {
                Data::Address(address) => {
                    answer.addresses.push(*address);
                    // The name is spelled as in the server's answer.
                    answer.name = name.to_string();
                }
                Data::Pointer(target) => names.push(target.to_string()),
                Data::Alias(_) => {}
            }
        }
        if let Some((first, others)) = names.split_first() {
            answer.name.clone_from(first);
            answer.aliases = others.to_vec();
        } else if answer.addresses.is_empty() {
            return None;
        }
        Some(answer)
    }

    /// Returns the time at which the awaited reply is overdue; `None` if none is awaited.
    pub fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Sent(_, until) => Some(until),
            _ => None,
        }
    }

    /// Returns the result once the search is over.
    pub fn result(&self) -> Option<&Result<Answer, Failure>> {
        match &self.state {
            State::Done(result) => Some(result),
            _ => None,
        }
    }
}

fn first_transport(plan: &Plan) -> Transport {
    if plan.tcp_only {
        Transport::Tcp
    } else {
        Transport::Udp
    }
}
