//! The state of the look-ups of one channel.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use dns::{Hosts, Lookup, Plan, Query, QueryId, Question, ResolvConf, Settings, Sources, order};
use pyo3::prelude::*;
use reactor::TimerKey;
use slab::Slab;

use crate::resolver::datagrams::{Ports, Slot};
use crate::resolver::files::FollowedFile;
use crate::resolver::streams::Stream;
use crate::resolver::system;

/// The largest number of look-ups under way. Further ones wait here, as their datagrams could overflow the buffers of
/// sockets and be lost.
const MOST_LOOKUPS: usize = 1024;

/// The ports and files that a channel uses.
pub struct Ends {
    pub udp_port: u16,
    pub tcp_port: u16,
    pub resolv_conf: PathBuf,
    pub hosts: PathBuf,
    pub nsswitch_conf: PathBuf,
    pub gai_conf: PathBuf,
}

/// The request for a look-up.
pub struct Request {
    pub question: Question,
    /// True if addresses are to be in the order in which to try them.
    pub sorted: bool,
    pub callback: Py<PyAny>,
}

/// The place of a query that is under way.
#[derive(Debug)]
pub enum Way {
    Datagram(Slot),
    /// The query has a connection, which has this key.
    Stream(usize),
    /// The query waits until another connection ends.
    Queued,
}

/// A look-up that was begun, or waits for its turn.
pub struct Running {
    pub request: Request,
    /// The look-up once it has begun; `None` while it waits for its turn.
    pub begun: Option<Begun>,
}

/// A look-up that is under way.
#[derive(Debug)]
pub struct Begun {
    pub lookup: Lookup,
    pub plan: Arc<Plan>,
    pub flights: Vec<(QueryId, Way)>,
    pub deadline: Option<TimerKey>,
}

/// The identity of a query among those of all look-ups.
pub type Key = (u64, QueryId);

/// A connection that is open, and whose query it has.
pub struct OpenStream {
    pub stream: Stream,
    pub key: Key,
}

/// The look-ups of one channel, and all that they use.
pub struct State {
    pub settings: Settings,
    pub conf: FollowedFile<ResolvConf>,
    pub hosts: FollowedFile<Hosts>,
    pub sources: FollowedFile<Sources>,
    /// True if `gai.conf` does not change the order of addresses.
    pub order: FollowedFile<bool>,
    /// The plan, and the version of the configuration that it was made from.
    pub plan: Option<(Arc<ResolvConf>, Arc<Plan>)>,
    pub turn: usize,
    pub numbers: u64,
    pub running: HashMap<u64, Running>,
    /// The numbers of the look-ups that wait for their turn.
    pub waiting: VecDeque<u64>,
    pub ports: Ports<Key>,
    pub streams: Slab<OpenStream>,
    /// Queries that wait for a connection.
    pub queued: VecDeque<(Key, Query)>,
}

impl State {
    /// Returns the state of a channel without look-ups.
    pub fn new(settings: Settings, ends: &Ends) -> Self {
        let parse_conf = |text: &str| ResolvConf::parse(text, system::interface);
        Self {
            settings,
            conf: FollowedFile::new(ends.resolv_conf.clone(), parse_conf),
            hosts: FollowedFile::new(ends.hosts.clone(), Hosts::parse),
            sources: FollowedFile::new(ends.nsswitch_conf.clone(), Sources::parse),
            order: FollowedFile::new(ends.gai_conf.clone(), order::is_default),
            plan: None,
            turn: 0,
            numbers: 0,
            running: HashMap::new(),
            waiting: VecDeque::new(),
            ports: Ports::new(),
            streams: Slab::new(),
            queued: VecDeque::new(),
        }
    }

    /// Returns a look-up that is under way.
    pub fn begun(&mut self, number: u64) -> Option<&mut Begun> {
        begun_of(&mut self.running, number)
    }

    /// Begins the next look-up that waits for its turn, and returns its number.
    pub fn begin_next(&mut self) -> Option<u64> {
        if self.running.len() - self.waiting.len().min(self.running.len()) >= MOST_LOOKUPS {
            return None;
        }
        loop {
            let number = self.waiting.pop_front()?;
            // A look-up that was cancelled meanwhile is skipped.
            if !self.running.contains_key(&number) {
                continue;
            }
            let (hosts, plan) = self.current();
            self.turn = self.turn.wrapping_add(1);
            let turn = self.turn;
            let running = self.running.get_mut(&number)?;
            let question = &running.request.question;
            let lookup = Lookup::new(question, &hosts, Arc::clone(&plan), turn, system::random);
            running.begun = Some(Begun {
                lookup,
                plan,
                flights: Vec::new(),
                deadline: None,
            });
            return Some(number);
        }
    }

    /// Returns the present hosts and plan, according to the files.
    pub fn current(&mut self) -> (Arc<Hosts>, Arc<Plan>) {
        let hosts = self.hosts.current();
        let conf = self.conf.current();
        match &self.plan {
            Some((of, plan)) if Arc::ptr_eq(of, &conf) => (hosts, Arc::clone(plan)),
            _ => {
                let plan = Arc::new(Plan::new(&self.settings, (*conf).clone()));
                self.plan = Some((conf, Arc::clone(&plan)));
                (hosts, plan)
            }
        }
    }
}

/// Returns a look-up that is under way, as [`State::begun`] does, where the rest of the state is borrowed, too.
pub fn begun_of(running: &mut HashMap<u64, Running>, number: u64) -> Option<&mut Begun> {
    running.get_mut(&number)?.begun.as_mut()
}
