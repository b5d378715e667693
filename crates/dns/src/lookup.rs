//! A look-up from a name to addresses or back. It chooses the names to ask for as libc does.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::answer::Answer;
use crate::candidates::{candidates, checked, loopback, reverse};
use crate::exchange::Exchange;
use crate::failure::Failure;
use crate::hosts::Hosts;
use crate::message::{Kind, Name};
use crate::plan::Plan;

/// A question that a look-up answers.
#[derive(Clone, Debug)]
pub enum Question {
    /// The addresses of a name, in octets.
    Addresses {
        /// The name.
        name: Vec<u8>,
        /// True if addresses of IPv4 are wanted.
        v4: bool,
        /// True if addresses of IPv6 are wanted.
        v6: bool,
    },
    /// The names of an address.
    Names(IpAddr),
}

/// The protocol that carries a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The query is sent in a datagram.
    Udp,
    /// The query is sent over a connection, where each message follows its length in two octets.
    Tcp,
}

/// The identity of a query among those of one look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryId(u32);

/// A message to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Its identity among the queries of the look-up.
    pub id: QueryId,
    /// The index of the server in [`Plan::servers`].
    pub server: usize,
    /// The protocol to send it by.
    pub transport: Transport,
    /// Its octets. The first two are its id, which the reply repeats.
    pub message: Vec<u8>,
}

/// The next thing that the caller is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this query, report that by [`Lookup::sent`], and poll again.
    Send(Query),
    /// Feed the messages that arrive, and poll again after that, or at this time at the latest.
    Wait(Option<Duration>),
    /// The look-up is over, with this result.
    Done(Result<Answer, Failure>),
}

/// One look-up. Times are durations since an arbitrary but fixed moment.
#[derive(Debug)]
pub struct Lookup {
    plan: Arc<Plan>,
    /// The source of message ids, which must not be guessable: an attacker who guesses one can forge a reply (RFC
    /// 5452).
    random: fn() -> u16,
    first: usize,
    queries: u32,
    v4: bool,
    v6: bool,
    /// The address whose names are wanted.
    address: Option<IpAddr>,
    candidates: VecDeque<Name>,
    exchanges: Vec<Exchange>,
    failure: Failure,
    result: Option<Result<Answer, Failure>>,
}

impl Lookup {
    /// Begins a look-up, which is over at the first poll if `hosts` has the answer. `first` is the number of the server
    /// that is asked first, where the plan rotates.
    #[must_use]
    pub fn new(
        question: &Question,
        hosts: &Hosts,
        plan: Arc<Plan>,
        first: usize,
        random: fn() -> u16,
    ) -> Self {
        let mut lookup = Self {
            first: if plan.rotate { first } else { 0 },
            plan,
            random,
            queries: 0,
            v4: false,
            v6: false,
            address: None,
            candidates: VecDeque::new(),
            exchanges: Vec::new(),
            failure: Failure::NotFound,
            result: None,
        };
        let begun = match question {
            Question::Names(address) => lookup.begin_names(*address, hosts),
            Question::Addresses { name, v4, v6 } => lookup.begin_addresses(name, *v4, *v6, hosts),
        };
        if let Err(failure) = begun {
            lookup.result = Some(Err(failure));
        }
        lookup
    }

    fn begin_names(&mut self, address: IpAddr, hosts: &Hosts) -> Result<(), Failure> {
        self.address = Some(address);
        self.result = hosts.names(address).map(Ok);
        if self.result.is_none() {
            let exchange = Exchange::new(reverse(address)?, Kind::Ptr, self.first, &self.plan);
            self.exchanges.push(exchange);
        }
        Ok(())
    }

    fn begin_addresses(
        &mut self,
        name: &[u8],
        v4: bool,
        v6: bool,
        hosts: &Hosts,
    ) -> Result<(), Failure> {
        let name = checked(name)?;
        let known = hosts.addresses(name, v4, v6);
        self.result = known.or_else(|| loopback(name, v4, v6)).map(Ok);
        if self.result.is_some() {
            return Ok(());
        }
        (self.v4, self.v6) = (v4, v6 && self.plan.asks_v6);
        if !self.v4 && !self.v6 {
            return Err(Failure::NoData);
        }
        let plan = &self.plan;
        self.candidates = candidates(name, &plan.search, plan.ndots, plan.searches)?.into();
        self.ask_next();
        Ok(())
    }

    /// Asks for the addresses of the next name, of both families at the same time; ends the look-up when there is no name left.
    fn ask_next(&mut self) {
        let Some(name) = self.candidates.pop_front() else {
            self.result = Some(Err(self.failure));
            return;
        };
        let kinds = [(self.v4, Kind::A), (self.v6, Kind::Aaaa)];
        self.exchanges = kinds
            .into_iter()
            .filter(|(wanted, _)| *wanted)
            .map(|(_, kind)| Exchange::new(name.clone(), kind, self.first, &self.plan))
            .collect();
    }

    /// Returns the next thing that the caller is to do.
    pub fn poll(&mut self, now: Duration) -> Action {
        loop {
            if let Some(result) = &self.result {
                return Action::Done(result.clone());
            }
            for exchange in &mut self.exchanges {
                let id = QueryId(self.queries);
                if let Some(query) = exchange.next(now, &self.plan, id, (self.random)()) {
                    self.queries = self.queries.wrapping_add(1);
                    return Action::Send(query);
                }
            }
            if self.exchanges.iter().any(|one| one.result().is_none()) {
                let deadlines = self.exchanges.iter().filter_map(Exchange::deadline);
                return Action::Wait(deadlines.min());
            }
            self.conclude();
        }
    }

    /// Combines the results of the exchanges, and goes on with the next name if they have no address.
    fn conclude(&mut self) {
        let results = self
            .exchanges
            .drain(..)
            .filter_map(|one| one.result().cloned());
        let together = results.reduce(|one, other| match (one, other) {
            (Ok(mut one), Ok(other)) => {
                one.addresses.extend(other.addresses);
                Ok(one)
            }
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
            (Err(one), Err(other)) => Err(one.graver(other)),
        });
        match (together, self.address) {
            (Some(Ok(mut answer)), Some(address)) => {
                answer.addresses = vec![address];
                self.result = Some(Ok(answer));
            }
            (Some(Err(failure)), None) if failure.leaves_hope() => {
                self.failure = self.failure.graver(failure);
                self.ask_next();
            }
            (together, _) => self.result = Some(together.unwrap_or(Err(self.failure))),
        }
    }

    /// Returns the exchange that a query belongs to, unless it was given up.
    fn exchange(&mut self, query: QueryId) -> Option<&mut Exchange> {
        self.exchanges.iter_mut().find(|one| one.waits_for(query))
    }

    /// Returns true if a reply to this query is still of use.
    #[must_use]
    pub fn waits_for(&self, query: QueryId) -> bool {
        self.exchanges.iter().any(|one| one.waits_for(query))
    }

    /// Notes that a query was sent.
    pub fn sent(&mut self, query: QueryId, now: Duration) {
        let plan = Arc::clone(&self.plan);
        if let Some(exchange) = self.exchange(query) {
            exchange.sent(now, &plan);
        }
    }

    /// Reads a message that arrived where the reply to a query is awaited. One that is no reply to the query is ignored.
    pub fn receive(&mut self, query: QueryId, message: &[u8]) {
        let plan = Arc::clone(&self.plan);
        if let Some(exchange) = self.exchange(query) {
            exchange.receive(message, &plan);
        }
    }

    /// Notes that a query cannot be sent, or that no reply to it will come.
    pub fn fail(&mut self, query: QueryId, failure: Failure) {
        let plan = Arc::clone(&self.plan);
        if let Some(exchange) = self.exchange(query) {
            exchange.fail(failure, &plan);
        }
    }
}
