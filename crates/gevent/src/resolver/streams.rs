//! The TCP connections over which name servers are asked when a reply does not fit into a datagram: RFC 7766.
//!
//! Each takes one query. Few are made at a time, so that a look-up of a thousand names does not open a thousand.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use reactor::Interest;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// The number of octets that are read at a time.
const CHUNK: usize = 4096;

/// A connection with its query.
pub struct Stream {
    socket: TcpStream,
    /// The key of the watch on it, and the interest of that watch.
    pub watch: usize,
    outgoing: Vec<u8>,
    sent: usize,
    incoming: Vec<u8>,
}

/// The state of a connection after it was advanced.
pub enum Progress {
    /// It waits until this is possible.
    Waits(Interest),
    /// A message came; there may be more.
    Message(Vec<u8>),
}

impl Stream {
    /// Begins to connect; `message` goes out as soon as that is done.
    ///
    /// # Errors
    /// Returns the system's error when no more descriptors can be opened, or there is no route to the server.
    pub fn connect(server: SocketAddr, message: &[u8]) -> io::Result<Self> {
        let family = match server {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket: OwnedFd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&socket, &server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut outgoing = length.to_be_bytes().to_vec();
        outgoing.extend_from_slice(message);
        Ok(Self {
            socket: socket.into(),
            watch: usize::MAX,
            outgoing,
            sent: 0,
            incoming: Vec::new(),
        })
    }

    /// Returns the descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Sends and reads as far as possible without waiting.
    ///
    /// # Errors
    /// Fails when the connection fails or the server closes it.
    pub fn advance(&mut self) -> io::Result<Progress> {
        while self.sent < self.outgoing.len() {
            match self.socket.write(&self.outgoing[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Progress::Waits(Interest::WRITE));
                }
                Err(error) => return Err(error),
            }
        }
        loop {
            if let Some(message) = self.message() {
                return Ok(Progress::Message(message));
            }
            let mut chunk = [0; CHUNK];
            match self.socket.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.incoming.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Progress::Waits(Interest::READ));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the next complete message out of the received bytes.
    fn message(&mut self) -> Option<Vec<u8>> {
        let length = usize::from(u16::from_be_bytes(*self.incoming.first_chunk()?));
        let end = 2 + length;
        if self.incoming.len() < end {
            return None;
        }
        let message = self.incoming[2..end].to_vec();
        self.incoming.drain(..end);
        Some(message)
    }
}
