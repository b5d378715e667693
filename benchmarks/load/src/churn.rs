//! Connections that come, are closed by the server, and come again.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::Plan;
use crate::poll::Poll;
use crate::report::Report;

/// The longest silence of a server that works.
const SILENCE: Duration = Duration::from_secs(10);

fn connect(poll: &Poll, address: SocketAddr, place: usize) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // Closing resets, so that no port is kept back: there are not enough for a run.
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    poll.add(&socket, place)?;
    Ok(socket)
}

/// Runs as planned. A request is a connection, from the call of `connect` to the end that the server made.
///
/// # Errors
/// What a connection meets, the server's silence included.
pub fn run(plan: &Plan) -> io::Result<Report> {
    let mut poll = Poll::new()?;
    let mut connections = Vec::with_capacity(plan.connections);
    for place in 0..plan.connections {
        connections.push((Instant::now(), connect(&poll, plan.address, place)?));
    }
    let mut report = Report::new(plan.seconds);
    loop {
        let places: Vec<usize> = poll.wait(SILENCE)?.collect();
        let now = Instant::now();
        if report.is_over(now) {
            return Ok(report);
        }
        if places.is_empty() {
            return Err(ErrorKind::TimedOut.into());
        }
        for place in places {
            let (begun, socket) = &connections[place];
            match rustix::io::read(socket, &mut [0; 64]) {
                Ok(0) => {}
                Ok(_) | Err(Errno::AGAIN) => continue,
                Err(error) => return Err(error.into()),
            }
            report.note(*begun, now);
            connections[place] = (Instant::now(), connect(&poll, plan.address, place)?);
        }
    }
}
