//! Opens connections, waits until the server closes them, and opens new ones.
//!
//! The load generator must cost less than the server it measures. So there is no epoll set: as the server accepts
//! connections in order, they are kept in a queue, and only the end of the first is awaited.

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

/// The time without any event after which the server counts as hung.
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
    // Closing resets the connection, so that its port is free immediately: there are not enough ports for a run
    // otherwise.
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

/// Runs the plan, and returns its report. A request is a connection, from the call of `connect` to the end that the
/// server made.
///
/// # Errors
/// Returns the error of a connection, or a timeout when the server is silent for too long.
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
