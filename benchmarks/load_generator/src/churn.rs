//! Connections that come, are closed by the server, and come again.
//!
//! The load must cost less than what it is a load for. So there is no epoll set: the connections stand in line, as the
//! server takes them in order, and only the end of the first is awaited.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::time::Timespec;

use crate::Plan;
use crate::report::Report;

/// The longest silence of a server that works.
const SILENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

fn connect(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // Closing resets, so that no port is kept back: there are not enough for a run.
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

fn await_end(socket: &OwnedFd) -> io::Result<()> {
    loop {
        match rustix::io::read(socket, &mut [0; 64]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::NOTCONN) => {
                let mut awaited = [PollFd::new(socket, PollFlags::IN)];
                if poll(&mut awaited, Some(&SILENCE))? == 0 {
                    return Err(ErrorKind::TimedOut.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Runs as planned. A request is a connection, from the call of `connect` to the end that the server made.
///
/// # Errors
/// What a connection meets, the server's silence included.
pub fn run(plan: &Plan) -> io::Result<Report> {
    let mut line = VecDeque::with_capacity(plan.connections);
    let mut report = Report::new(plan.seconds);
    loop {
        while line.len() < plan.connections {
            line.push_back((Instant::now(), connect(plan.address)?));
        }
        let Some((begun, socket)) = line.pop_front() else {
            return Ok(report);
        };
        await_end(&socket)?;
        let now = Instant::now();
        if report.is_over(now) {
            return Ok(report);
        }
        report.note(begun, now);
    }
}
