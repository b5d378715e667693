//! Drives the look-ups of one channel: does the I/O that they ask for on the channel's loop, and feeds them the
//! replies.
//!
//! All of it runs in the thread of the loop. Sockets are watched level-triggered, so that whatever is left unread is reported
//! again; each look-up has one deadline among the loop's. Answers go to their callbacks in tasks of the hub.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dns::{Action, Answer, Failure, Settings, order};
use pyo3::prelude::*;
use reactor::{Time, TimerKey};

use crate::cell::GilCell;
use crate::event_loop::loop_::{Due, Loop};
use crate::event_loop::ready::Task;
use crate::hub;
use crate::resolver::state::{Begun, Ends, Request, Running, State, Way};
use crate::resolver::system;

/// The look-ups of one channel.
pub struct Driver {
    pub(super) loop_: Py<Loop>,
    pub(super) ends: Ends,
    pub(super) state: GilCell<State>,
}

impl Driver {
    /// Returns a driver without look-ups.
    pub fn new(loop_: Py<Loop>, ends: Ends, settings: Settings) -> Self {
        let state = GilCell::new(State::new(settings, &ends));
        Self { loop_, ends, state }
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

    /// Returns true if look-ups here support all of the system's configuration: no other sources of names than the file
    /// of hosts and the servers, and no other order of addresses.
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

    /// Ends a look-up; returns its callback, unless that has been called.
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

    /// Ends all look-ups, and has their callbacks called with this status.
    pub fn close(self: &Arc<Self>, py: Python<'_>, status: i32) {
        let mut numbers: Vec<u64> = self
            .state
            .with(py, |state| state.running.keys().copied().collect());
        numbers.sort_unstable();
        for number in numbers {
            // The callback is counted before the look-up is uncounted, so that the loop keeps running until it was
            // called.
            self.loop_.get().count_ref(1);
            match self.cancel(py, number) {
                Some(callback) => self.deliver_soon(py, callback, status, Answer::default()),
                None => self.loop_.get().count_ref(-1),
            }
        }
    }

    /// Asks again, in a forked child, for everything that was under way, through new sockets: replies at the inherited
    /// ones belong to the parent.
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

    /// Runs `work` in the thread of the loop: now if this is that thread, or else as a task of the loop.
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
    pub(super) fn begin_waiting(self: &Arc<Self>, py: Python<'_>) {
        while let Some(number) = self.state.with(py, State::begin_next) {
            self.step(py, number);
        }
    }

    /// Does the actions that a look-up asks for, until it waits or is over.
    pub(super) fn step(self: &Arc<Self>, py: Python<'_>, number: u64) {
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

    /// Removes a look-up that is over, and has its callback called.
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

    /// Has the hub call a callback. The loop keeps running until then.
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

    /// Ends the queries whose replies a look-up no longer waits for.
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

    /// Ends the deadline and the queries of a look-up.
    fn release(self: &Arc<Self>, py: Python<'_>, begun: Begun) {
        if let Some(deadline) = begun.deadline {
            self.loop_.get().cancel_deadline(py, deadline);
        }
        for (_, way) in begun.flights {
            self.end_way(py, way);
        }
    }

    /// Sets the time at which a look-up goes on at the latest; `None` for no deadline.
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
        let what = Due::Task(Box::new(Task::Native(Box::new(go_on))));
        let deadline = loop_.set_deadline(py, Time::from_nanos(nanos), what);
        self.state.with(py, |state| {
            if let Some(begun) = state.begun(number) {
                begun.deadline = Some(deadline);
            }
        });
    }
}

/// Returns the time since the moment that the monotonic clock counts from.
pub(super) fn now() -> Duration {
    Duration::from_nanos(Time::now().as_nanos())
}
