//! The UDP sockets that name servers are asked through.
//!
//! Queries share them: a socket for each would be more descriptors than a process may have, once a thousand names are
//! looked up at once. A [`Port`] takes few queries, so that a forger has to guess a port beside an id, and is closed
//! with the last of them. Its socket is connected: datagrams from elsewhere never come here, and the kernel reports it
//! when no server listens.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use slab::Slab;

use crate::resolver::system::any_like;

/// The number of queries that go through one port, as long as more descriptors can be opened.
const QUERIES_PER_PORT: usize = 64;
/// The longest datagram there is.
const LONGEST: usize = 65536;

/// One local port, connected to a server.
struct Port<Q> {
    socket: UdpSocket,
    server: SocketAddr,
    /// The watch on it.
    watch: usize,
    /// The number of queries that it has had.
    uses: usize,
    /// The queries that are under way, by the ids of their messages.
    queries: HashMap<[u8; 2], Q>,
}

/// The slot of a query at a port.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    port: usize,
    id: [u8; 2],
}

/// The ports of one channel. `Q` identifies a query.
pub struct Ports<Q> {
    ports: Slab<Port<Q>>,
    /// The port that was opened last.
    latest: usize,
    buffer: Option<Box<[u8]>>,
}

/// The outcome of reading at a port.
pub enum Arrival<'a, Q> {
    /// A datagram with the id of this query.
    Reply(Q, &'a [u8]),
    /// A datagram with the id of no query.
    Stray,
    /// All queries of the port have failed, as no program listens at the server's port.
    Refused(Vec<Q>),
    /// There is no datagram now, or the port is closed.
    Nothing,
}

impl<Q: Copy> Ports<Q> {
    /// Returns no ports.
    pub fn new() -> Self {
        Self {
            ports: Slab::new(),
            latest: usize::MAX,
            buffer: None,
        }
    }

    /// Sends a query. `watch` is called for a port that has to be opened, with its descriptor and key, and returns the
    /// key of the watch on it. Returns the query's slot, and the result of sending.
    ///
    /// # Errors
    /// Returns the system's error when no port can be opened.
    pub fn send(
        &mut self,
        server: SocketAddr,
        message: &[u8],
        query: Q,
        watch: impl FnOnce(RawFd, usize) -> io::Result<usize>,
    ) -> io::Result<(Slot, io::Result<()>)> {
        let id = *message.first_chunk().ok_or(io::ErrorKind::InvalidInput)?;
        let port = self.port_for(server, id, watch)?;
        let slot = Slot { port, id };
        let entry = &mut self.ports[port];
        entry.uses += 1;
        entry.queries.insert(id, query);
        // The first call may report the error of an earlier datagram instead of sending this one, so it is tried twice.
        let sent = entry
            .socket
            .send(message)
            .or_else(|_| entry.socket.send(message));
        match sent {
            // If the socket's buffer is full the datagram counts as sent and is lost, as datagrams may be.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Ok((slot, Err(error))),
            _ => Ok((slot, Ok(()))),
        }
    }

    /// Returns the port for a query, which is a new one once the latest has had its share of queries.
    fn port_for(
        &mut self,
        server: SocketAddr,
        id: [u8; 2],
        watch: impl FnOnce(RawFd, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let latest = self.latest;
        let usable = self
            .ports
            .get(latest)
            .filter(|port| port.server == server && !port.queries.contains_key(&id));
        if usable.is_some_and(|port| port.uses < QUERIES_PER_PORT) {
            return Ok(latest);
        }
        let usable = usable.is_some();
        match self.open(server, watch) {
            Ok(port) => Ok(port),
            // No more descriptors can be opened: then the latest port takes more than its share of queries.
            Err(_) if usable => Ok(latest),
            Err(error) => Err(error),
        }
    }

    fn open(
        &mut self,
        server: SocketAddr,
        watch: impl FnOnce(RawFd, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let socket = UdpSocket::bind(any_like(server.ip()))?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        let entry = self.ports.vacant_entry();
        let key = entry.key();
        let watch = watch(socket.as_raw_fd(), key)?;
        entry.insert(Port {
            socket,
            server,
            watch,
            uses: 0,
            queries: HashMap::new(),
        });
        self.latest = key;
        Ok(key)
    }

    /// Reads one datagram at a port.
    pub fn receive(&mut self, port: usize) -> Arrival<'_, Q> {
        let Some(entry) = self.ports.get_mut(port) else {
            return Arrival::Nothing;
        };
        let buffer = self
            .buffer
            .get_or_insert_with(|| vec![0; LONGEST].into_boxed_slice());
        match entry.socket.recv(buffer) {
            Ok(length) => {
                let datagram = &buffer[..length];
                let query = datagram.first_chunk().and_then(|id| entry.queries.get(id));
                query.map_or(Arrival::Stray, |query| Arrival::Reply(*query, datagram))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Arrival::Nothing,
            Err(_) => Arrival::Refused(entry.queries.values().copied().collect()),
        }
    }

    /// Forgets a query. Returns the descriptor and the watch of a port that has no other, for the caller to end the watch
    /// before the socket is dropped.
    pub fn forget(&mut self, slot: Slot) -> Option<Closed> {
        let entry = self.ports.get_mut(slot.port)?;
        entry.queries.remove(&slot.id);
        if !entry.queries.is_empty() {
            return None;
        }
        let port = self.ports.remove(slot.port);
        Some(Closed {
            socket: port.socket,
            watch: port.watch,
        })
    }

    /// Takes all ports, as [`forget`](Self::forget) does.
    pub fn take_all(&mut self) -> Vec<Closed> {
        let ports = std::mem::take(&mut self.ports);
        let closed = |(_, port): (usize, Port<Q>)| Closed {
            socket: port.socket,
            watch: port.watch,
        };
        ports.into_iter().map(closed).collect()
    }
}

/// A port that is closed when this is dropped.
pub struct Closed {
    socket: UdpSocket,
    /// The watch on it.
    pub watch: usize,
}

impl Closed {
    /// Returns the descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
