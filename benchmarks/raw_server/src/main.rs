//! A bare epoll server, with one thread and no system call that is not needed.
//!
//! ```text
//! raw-server echo     one `recv` and one `send` for a message
//! raw-server close    one `accept` and one `close` for a connection
//! ```
//!
//! It is the raw-socket ceiling: no server on epoll can be faster, whatever its language. It prints the port that it
//! listens at on 127.0.0.1, and serves until it is killed.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// The number of bytes that one read asks for, and the number of events that one wait can report.
const ROOM: usize = 65536;
const EVENTS: usize = 256;

const LISTENER: u64 = u64::MAX;

struct Connection {
    stream: TcpStream,
    /// The bytes that the client was too slow to take.
    unsent: Vec<u8>,
}

impl Connection {
    /// Echoes the bytes that have come; returns false once the client is gone.
    fn serve(&mut self, set: &OwnedFd, room: &mut [u8]) -> bool {
        if !self.unsent.is_empty() {
            return self.flush(set);
        }
        let count = match self.stream.read(room) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        let sent = match self.stream.write(&room[..count]) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return false,
        };
        if sent == count {
            return true;
        }
        self.unsent.extend_from_slice(&room[sent..count]);
        self.watch(set, EventFlags::OUT)
    }

    fn flush(&mut self, set: &OwnedFd) -> bool {
        match self.stream.write(&self.unsent) {
            Ok(sent) => drop(self.unsent.drain(..sent)),
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
        !self.unsent.is_empty() || self.watch(set, EventFlags::IN)
    }

    fn watch(&self, set: &OwnedFd, flags: EventFlags) -> bool {
        let token = EventData::new_u64(self.stream.as_raw_fd() as u64);
        epoll::modify(set, &self.stream, token, flags).is_ok()
    }
}

/// Accepts all waiting connections, and passes each to `take`.
fn accept(
    listener: &TcpListener,
    mut take: impl FnMut(TcpStream) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => take(stream)?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn keep(
    stream: TcpStream,
    set: &OwnedFd,
    connections: &mut Vec<Option<Connection>>,
) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let number = stream.as_raw_fd() as usize;
    let token = EventData::new_u64(number as u64);
    epoll::add(set, &stream, token, EventFlags::IN)?;
    if connections.len() <= number {
        connections.resize_with(number + 1, || None);
    }
    connections[number] = Some(Connection {
        stream,
        unsent: Vec::new(),
    });
    Ok(())
}

fn main() -> io::Result<()> {
    let closes = match std::env::args().nth(1).as_deref() {
        Some("echo") => false,
        Some("close") => true,
        _ => return Err(io::Error::other("what to do: echo or close")),
    };
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let set = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(
        &set,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    println!("{}", listener.local_addr()?.port());

    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
    let mut room = vec![0; ROOM];
    loop {
        events.clear();
        epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let data = event.data;
            if data.u64() == LISTENER {
                accept(&listener, |stream| {
                    if closes {
                        return Ok(());
                    }
                    keep(stream, &set, &mut connections)
                })?;
                continue;
            }
            let slot = &mut connections[data.u64() as usize];
            if let Some(connection) = slot
                && !connection.serve(&set, &mut room)
            {
                *slot = None;
            }
        }
    }
}
