//! Sends the queries of look-ups through ports and connections, and watches those for replies.

use std::sync::Arc;

use dns::{Failure, Query, Transport};
use pyo3::prelude::*;
use reactor::Interest;

use crate::event_loop::loop_::Watched;
use crate::resolver::datagrams::{Arrival, Closed};
use crate::resolver::driver::{Driver, now};
use crate::resolver::state::{Key, OpenStream, State, Way, begun_of};
use crate::resolver::streams::{Progress, Stream};
use crate::resolver::system;

/// The largest number of connections that are open at the same time.
const MOST_STREAMS: usize = 8;
/// The number of datagrams that are read before other greenlets get to run.
const MOST_AT_A_TIME: usize = 256;

impl Driver {
    /// Sends a query, or notes that it cannot be sent.
    pub(super) fn send(self: &Arc<Self>, py: Python<'_>, number: u64, query: Query) {
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
        let (slot, sent) = self.state.with(py, |state| {
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
            return Some((Way::Datagram(slot), true));
        }
        let closed = self.state.with(py, |state| state.ports.forget(slot));
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

    /// Reads the datagrams at a port, and goes on with the look-ups that they are for.
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

    pub(super) fn end_way(self: &Arc<Self>, py: Python<'_>, way: Way) {
        match way {
            Way::Datagram(slot) => {
                let closed = self.state.with(py, |state| state.ports.forget(slot));
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
            // A queued query is skipped when its turn comes.
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

    pub(super) fn close_port(&self, py: Python<'_>, port: Closed) {
        self.loop_.get().unwatch(py, port.descriptor(), port.watch);
    }

    pub(super) fn close_stream(&self, py: Python<'_>, stream: Stream) {
        self.loop_
            .get()
            .unwatch(py, stream.descriptor(), stream.watch);
    }
}
