//! The look-ups of one channel: what they want is done on the channel's loop, and what comes is fed to them.
//!
//! All of it runs in the thread of the loop. Sockets are watched level-triggered, so that whatever is left unread is reported
//! again; each look-up has one deadline among the loop's. Answers go to their callbacks in tasks of the hub.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dns::{
    Action, Answer, Failure, Hosts, Lookup, Plan, Query, QueryId, Question, ResolvConf, Settings,
    Sources, Transport, order,
};
use pyo3::prelude::*;
use reactor::{Interest, Time, TimerKey};
use slab::Slab;

use crate::cell::GilCell;
use crate::event_loop::loop_::{Deadline, Loop, Watched};
use crate::event_loop::ready::Task;
use crate::hub;
use crate::resolver::datagrams::{Arrival, Closed, Place, Ports};
use crate::resolver::files::FollowedFile;
use crate::resolver::streams::{Progress, Stream};
use crate::resolver::system;

/// Look-ups at once. More wait here, rather than fill the buffers of sockets and be lost.
const MOST_LOOKUPS: usize = 1024;
/// Connections at once.
const MOST_STREAMS: usize = 8;
/// Datagrams that are read before others get to run.
const MOST_AT_A_TIME: usize = 256;

/// Where a channel asks.
pub struct Ends {
    pub udp_port: u16,
    pub tcp_port: u16,
    pub resolv_conf: PathBuf,
    pub hosts: PathBuf,
    pub nsswitch_conf: PathBuf,
    pub gai_conf: PathBuf,
}

/// A look-up as asked for.
pub struct Request {
    pub question: Question,
    /// True if addresses are to be in the order in which to try them.
    pub sorted: bool,
    pub callback: Py<PyAny>,
}

/// How a query travels.
enum Way {
    Datagram(Place),
    /// The key of its connection.
    Stream(usize),
    /// It waits for a connection to end.
    Queued,
}

struct Running {
    request: Request,
    /// Nothing while it waits for its turn.
    begun: Option<Begun>,
}

struct Begun {
    lookup: Lookup,
    plan: Arc<Plan>,
    flights: Vec<(QueryId, Way)>,
    deadline: Option<TimerKey>,
}

/// What a query is known by outside its look-up.
type Key = (u64, QueryId);

struct OpenStream {
    stream: Stream,
    key: Key,
}

struct State {
    settings: Settings,
    conf: FollowedFile<ResolvConf>,
    hosts: FollowedFile<Hosts>,
    sources: FollowedFile<Sources>,
    /// True if `gai.conf` says nothing.
    order: FollowedFile<bool>,
    /// The plan, as of a version of the configuration.
    plan: Option<(Arc<ResolvConf>, Arc<Plan>)>,
    turn: usize,
    numbers: u64,
    running: HashMap<u64, Running>,
    /// Those that wait for their turn.
    waiting: VecDeque<u64>,
    ports: Ports<Key>,
    streams: Slab<OpenStream>,
    /// Queries that wait for a connection.
    queued: VecDeque<(Key, Query)>,
}

/// The look-ups of one channel.
pub struct Driver {
    loop_: Py<Loop>,
    ends: Ends,
    state: GilCell<State>,
}

impl Driver {
    /// Returns one without look-ups.
    pub fn new(loop_: Py<Loop>, ends: Ends, settings: Settings) -> Self {
        let parse_conf = |text: &str| ResolvConf::parse(text, system::interface);
        let state = State {
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
        };
        Self {
            loop_,
            ends,
            state: GilCell::new(state),
        }
    }

    /// Returns the loop.
    pub fn loop_(&self) -> &Py<Loop> {
        &self.loop_
    }

    /// Asks these servers from now on; look-ups under way go on with those that they began with.
    pub fn set_servers(&self, py: Python<'_>, servers: Vec<dns::ServerAddress>) {
        self.state.with(py, |state| {
            state.settings.servers = Some(servers);
            state.plan = None;
        });
    }

    /// Returns true if the system's configuration has nothing that look-ups here do not know: other sources of names than
    /// the file of hosts and the servers, or another order of addresses.
    pub fn is_complete(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| {
            let (_, plan) = state.current();
            !plan.has_unknown && state.sources.current().is_plain() && *state.order.current()
        })
    }

    /// Begins a look-up, and returns its number. It keeps the loop running.
    pub fn start(self: &Arc<Self>, py: Python<'_>, request: Request) -> u64 {
        let number = self.state.with(py, |state| {
            state.numbers += 1;
            let running = Running {
                request,
                begun: None,
            };
            state.running.insert(state.numbers, running);
            state.waiting.push_back(state.numbers);
            state.numbers
        });
        self.loop_.get().count_ref(1);
        self.in_loop(py, |driver, py| driver.begin_waiting(py));
        number
    }

    /// Ends a look-up; its callback is returned, unless it has been called.
    pub fn cancel(self: &Arc<Self>, py: Python<'_>, number: u64) -> Option<Py<PyAny>> {
        let running = self.state.with(py, |state| state.running.remove(&number))?;
        self.loop_.get().count_ref(-1);
        let Running { request, begun } = running;
        if let Some(begun) = begun {
            self.in_loop(py, move |driver, py| {
                driver.release(py, begun);
                driver.begin_waiting(py);
            });
        }
        Some(request.callback)
    }

    /// Ends all look-ups, whose callbacks get this status.
    pub fn close(self: &Arc<Self>, py: Python<'_>, status: i32) {
        let mut numbers: Vec<u64> = self
            .state
            .with(py, |state| state.running.keys().copied().collect());
        numbers.sort_unstable();
        for number in numbers {
            // Counted before it is no longer, so that the loop goes on until the callback was called.
            self.loop_.get().count_ref(1);
            match self.cancel(py, number) {
                Some(callback) => self.deliver_soon(py, callback, status, Answer::default()),
                None => self.loop_.get().count_ref(-1),
            }
        }
    }

    /// In a forked child, has what was under way asked anew, through sockets of its own: the parent gets what comes at those
    /// that it has.
    pub fn restart(self: &Arc<Self>, py: Python<'_>) {
        let (ports, streams) = self.state.with(py, |state| {
            state.queued.clear();
            (state.ports.take_all(), std::mem::take(&mut state.streams))
        });
        for port in ports {
            self.close_port(py, port);
        }
        for (_, open) in streams {
            self.close_stream(py, open.stream);
        }
        let deadlines: Vec<TimerKey> = self.state.with(py, |state| {
            let begun = state
                .running
                .values_mut()
                .map(|running| running.begun.take());
            let deadlines = begun.filter_map(|begun| begun?.deadline).collect();
            state.waiting = state.running.keys().copied().collect();
            state.waiting.make_contiguous().sort_unstable();
            deadlines
        });
        for deadline in deadlines {
            self.loop_.get().cancel_deadline(py, deadline);
        }
        self.begin_waiting(py);
    }

    /// Does something in the thread of the loop, at once where this is it.
    fn in_loop(
        self: &Arc<Self>,
        py: Python<'_>,
        work: impl FnOnce(&Arc<Self>, Python<'_>) + Send + Sync + 'static,
    ) {
        if self.loop_.get().is_mine() {
            work(self, py);
            return;
        }
        let driver = Arc::clone(self);
        let task = move |py: Python<'_>| {
            work(&driver, py);
            Ok(())
        };
        self.loop_.get().push(py, Task::Native(Box::new(task)));
    }

    /// Begins look-ups that wait for their turn, as many as there may be.
    fn begin_waiting(self: &Arc<Self>, py: Python<'_>) {
        while let Some(number) = self.state.with(py, State::begin_next) {
            self.step(py, number);
        }
    }

    /// Does what a look-up wants, until it waits or is over.
    fn step(self: &Arc<Self>, py: Python<'_>, number: u64) {
        loop {
            let now = now();
            let action = self.state.with(py, |state| {
                let begun = state.begun(number)?;
                Some(begun.lookup.poll(now))
            });
            match action {
                None => return,
                Some(Action::Send(query)) => self.send(py, number, query),
                Some(Action::Wait(until)) => {
                    self.release_given_up(py, number);
                    self.set_deadline(py, number, until);
                    return;
                }
                Some(Action::Done(result)) => {
                    self.finish(py, number, result);
                    return;
                }
            }
        }
    }

    /// Takes a look-up off, and has its callback called.
    fn finish(self: &Arc<Self>, py: Python<'_>, number: u64, result: Result<Answer, Failure>) {
        let running = self.state.with(py, |state| state.running.remove(&number));
        let Some(Running { request, begun }) = running else {
            return;
        };
        if let Some(begun) = begun {
            self.release(py, begun);
        }
        let (status, mut answer) = match result {
            Ok(answer) => (0, answer),
            Err(failure) => (failure as i32, Answer::default()),
        };
        if request.sorted {
            order::sort(&mut answer.addresses, system::route);
        }
        self.deliver_soon(py, request.callback, status, answer);
    }

    /// Calls a callback in the hub. The look-up is counted until then.
    fn deliver_soon(
        self: &Arc<Self>,
        py: Python<'_>,
        callback: Py<PyAny>,
        status: i32,
        answer: Answer,
    ) {
        let loop_ = self.loop_.clone_ref(py);
        let deliver = move |py: Python<'_>| {
            loop_.get().count_ref(-1);
            let addresses: Vec<String> = answer.addresses.iter().map(IpAddr::to_string).collect();
            let args = (status, answer.name, answer.aliases, addresses);
            if let Err(error) = callback.call1(py, args) {
                hub::handle_error(py, loop_.get(), Some(callback), error);
            }
            Ok(())
        };
        self.loop_.get().push(py, Task::Native(Box::new(deliver)));
    }

    /// Sends a query, or notes that it cannot be sent.
    fn send(self: &Arc<Self>, py: Python<'_>, number: u64, query: Query) {
        let key = (number, query.id);
        let way = match query.transport {
            Transport::Udp => self.send_datagram(py, key, &query),
            Transport::Tcp => {
                let busy = self.state.with(py, |state| state.streams.len());
                if busy >= MOST_STREAMS {
                    self.state
                        .with(py, |state| state.queued.push_back((key, query.clone())));
                    Some((Way::Queued, false))
                } else {
                    let stream = self.open_stream(py, key, &query);
                    stream.map(|stream| (Way::Stream(stream), true))
                }
            }
        };
        let now = now();
        self.state.with(py, |state| {
            if let Some(begun) = state.begun(number) {
                match way {
                    Some((way, went_out)) => {
                        begun.flights.push((query.id, way));
                        if went_out {
                            begun.lookup.sent(query.id, now);
                        }
                    }
                    None => begun.lookup.fail(query.id, Failure::ConnRefused),
                }
            }
        });
    }

    fn send_datagram(
        self: &Arc<Self>,
        py: Python<'_>,
        key: Key,
        query: &Query,
    ) -> Option<(Way, bool)> {
        let driver = Arc::clone(self);
        let loop_ = self.loop_.get();
        let port = self.ends.udp_port;
        let (place, sent) = self.state.with(py, |state| {
            let server = *state.begun(key.0)?.plan.servers.get(query.server)?;
            let address = system::socket_address(server, port);
            let watch = |fd, port| {
                let read = move |py: Python<'_>| driver.read_port(py, port);
                let watched = Watched::Call(Arc::new(read));
                loop_
                    .watch(py, fd, Interest::READ, watched)
                    .map_err(|_| std::io::ErrorKind::OutOfMemory.into())
            };
            state.ports.send(address, &query.message, key, watch).ok()
        })?;
        if sent.is_ok() {
            return Some((Way::Datagram(place), true));
        }
        let closed = self.state.with(py, |state| state.ports.forget(place));
        if let Some(closed) = closed {
            self.close_port(py, closed);
        }
        None
    }

    fn open_stream(self: &Arc<Self>, py: Python<'_>, key: Key, query: &Query) -> Option<usize> {
        let server = self.state.with(py, |state| {
            let begun = state.begun(key.0)?;
            begun.plan.servers.get(query.server).copied()
        })?;
        let address = system::socket_address(server, self.ends.tcp_port);
        let stream = Stream::connect(address, &query.message).ok()?;
        let number = self
            .state
            .with(py, |state| state.streams.insert(OpenStream { stream, key }));
        if self.watch_stream(py, number, Interest::WRITE) {
            return Some(number);
        }
        drop(
            self.state
                .with(py, |state| state.streams.try_remove(number)),
        );
        None
    }

    fn watch_stream(self: &Arc<Self>, py: Python<'_>, number: usize, interest: Interest) -> bool {
        let driver = Arc::clone(self);
        let advance = move |py: Python<'_>| driver.advance_stream(py, number);
        let loop_ = self.loop_.get();
        self.state.with(py, |state| {
            let Some(open) = state.streams.get_mut(number) else {
                return false;
            };
            let fd = open.stream.descriptor();
            let watched = loop_.watch(py, fd, interest, Watched::Call(Arc::new(advance)));
            open.stream.watch = watched.as_ref().map_or(usize::MAX, |key| *key);
            watched.is_ok()
        })
    }

    /// Reads what came at a port, and goes on with the look-ups that it is for.
    fn read_port(self: &Arc<Self>, py: Python<'_>, port: usize) {
        let mut concerned = Vec::new();
        self.state.with(py, |state| {
            for _ in 0..MOST_AT_A_TIME {
                match state.ports.receive(port) {
                    Arrival::Reply((number, query), datagram) => {
                        if let Some(begun) = begun_of(&mut state.running, number) {
                            begun.lookup.receive(query, datagram);
                            concerned.push(number);
                        }
                    }
                    Arrival::Stray => {}
                    Arrival::Refused(queries) => {
                        for (number, query) in queries {
                            if let Some(begun) = begun_of(&mut state.running, number) {
                                begun.lookup.fail(query, Failure::ConnRefused);
                                concerned.push(number);
                            }
                        }
                    }
                    Arrival::Nothing => break,
                }
            }
        });
        concerned.dedup();
        for number in concerned {
            self.step(py, number);
        }
        self.begin_waiting(py);
    }

    /// Goes on with a connection, and with the look-up that it is for.
    fn advance_stream(self: &Arc<Self>, py: Python<'_>, number: usize) {
        let progress = self.state.with(py, |state| {
            let open = state.streams.get_mut(number)?;
            let (lookup, query) = open.key;
            let begun = begun_of(&mut state.running, lookup)?;
            while begun.lookup.waits_for(query) {
                match open.stream.advance() {
                    Ok(Progress::Waits(interest)) => return Some((lookup, Some(interest))),
                    Ok(Progress::Message(message)) => begun.lookup.receive(query, &message),
                    Err(_) => begun.lookup.fail(query, Failure::ConnRefused),
                }
            }
            Some((lookup, None))
        });
        match progress {
            None => {}
            Some((_, Some(interest))) => {
                self.unwatch_stream(py, number);
                if !self.watch_stream(py, number, interest) {
                    let fail = |state: &mut State| {
                        let (lookup, query) = state.streams.get(number)?.key;
                        begun_of(&mut state.running, lookup)?
                            .lookup
                            .fail(query, Failure::ConnRefused);
                        Some(lookup)
                    };
                    if let Some(lookup) = self.state.with(py, fail) {
                        self.step(py, lookup);
                    }
                }
            }
            Some((lookup, None)) => {
                self.step(py, lookup);
                self.begin_waiting(py);
            }
        }
    }

    fn unwatch_stream(&self, py: Python<'_>, number: usize) {
        let watched = self.state.with(py, |state| {
            let open = state.streams.get(number)?;
            Some((open.stream.descriptor(), open.stream.watch))
        });
        if let Some((fd, key)) = watched {
            self.loop_.get().unwatch(py, fd, key);
        }
    }

    /// Gives up the queries that a look-up no longer waits for.
    fn release_given_up(self: &Arc<Self>, py: Python<'_>, number: u64) {
        let ways: Vec<Way> = self.state.with(py, |state| {
            let Some(begun) = state.begun(number) else {
                return Vec::new();
            };
            let lookup = &begun.lookup;
            let given_up = begun
                .flights
                .extract_if(.., |(query, _)| !lookup.waits_for(*query));
            given_up.map(|(_, way)| way).collect()
        });
        for way in ways {
            self.end_way(py, way);
        }
    }

    /// Gives up all that a look-up had.
    fn release(self: &Arc<Self>, py: Python<'_>, begun: Begun) {
        if let Some(deadline) = begun.deadline {
            self.loop_.get().cancel_deadline(py, deadline);
        }
        for (_, way) in begun.flights {
            self.end_way(py, way);
        }
    }

    fn end_way(self: &Arc<Self>, py: Python<'_>, way: Way) {
        match way {
            Way::Datagram(place) => {
                let closed = self.state.with(py, |state| state.ports.forget(place));
                if let Some(closed) = closed {
                    self.close_port(py, closed);
                }
            }
            Way::Stream(number) => {
                let open = self
                    .state
                    .with(py, |state| state.streams.try_remove(number));
                if let Some(open) = open {
                    self.close_stream(py, open.stream);
                    self.send_queued(py);
                }
            }
            // It is passed over when its turn comes.
            Way::Queued => {}
        }
    }

    /// Opens the connection of the next query that waits for one.
    fn send_queued(self: &Arc<Self>, py: Python<'_>) {
        while let Some(((number, id), query)) =
            self.state.with(py, |state| state.queued.pop_front())
        {
            let wanted = self.state.with(py, |state| {
                let begun = state.begun(number);
                begun.is_some_and(|begun| begun.lookup.waits_for(id))
            });
            if !wanted {
                continue;
            }
            let opened = self.open_stream(py, (number, id), &query);
            let now = now();
            self.state.with(py, |state| {
                let Some(begun) = state.begun(number) else {
                    return;
                };
                begun.flights.retain(|(query, _)| *query != id);
                match opened {
                    Some(stream) => {
                        begun.flights.push((id, Way::Stream(stream)));
                        begun.lookup.sent(id, now);
                    }
                    None => begun.lookup.fail(id, Failure::ConnRefused),
                }
            });
            self.step(py, number);
            return;
        }
    }

    fn close_port(&self, py: Python<'_>, port: Closed) {
        self.loop_.get().unwatch(py, port.descriptor(), port.watch);
    }

    fn close_stream(&self, py: Python<'_>, stream: Stream) {
        self.loop_
            .get()
            .unwatch(py, stream.descriptor(), stream.watch);
    }

    /// Has a look-up go on at this time at the latest.
    fn set_deadline(self: &Arc<Self>, py: Python<'_>, number: u64, until: Option<Duration>) {
        let loop_ = self.loop_.get();
        let before = self
            .state
            .with(py, |state| state.begun(number)?.deadline.take());
        if let Some(before) = before {
            loop_.cancel_deadline(py, before);
        }
        let Some(until) = until else {
            return;
        };
        let driver = Arc::clone(self);
        let go_on = move |py: Python<'_>| {
            driver.step(py, number);
            driver.begin_waiting(py);
            Ok(())
        };
        let nanos = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        let what = Deadline::Task(Box::new(Task::Native(Box::new(go_on))));
        let deadline = loop_.set_deadline(py, Time::from_nanos(nanos), what);
        self.state.with(py, |state| {
            if let Some(begun) = state.begun(number) {
                begun.deadline = Some(deadline);
            }
        });
    }
}

impl State {
    fn begun(&mut self, number: u64) -> Option<&mut Begun> {
        begun_of(&mut self.running, number)
    }

    /// Begins the next look-up that waits for its turn, and returns its number.
    fn begin_next(&mut self) -> Option<u64> {
        if self.running.len() - self.waiting.len().min(self.running.len()) >= MOST_LOOKUPS {
            return None;
        }
        loop {
            let number = self.waiting.pop_front()?;
            // One that was cancelled meanwhile is passed over.
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

    /// Returns what the two files say now.
    fn current(&mut self) -> (Arc<Hosts>, Arc<Plan>) {
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

fn begun_of(running: &mut HashMap<u64, Running>, number: u64) -> Option<&mut Begun> {
    running.get_mut(&number)?.begun.as_mut()
}

/// The time since whatever moment the loop counts from.
fn now() -> Duration {
    Duration::from_nanos(Time::now().as_nanos())
}
