//! Sends a message on each connection, awaits its echo, and sends the next.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Plan;
use crate::poll::Poll;
use crate::report::Report;

/// The time without any event after which the server counts as hung.
const SILENCE: Duration = Duration::from_secs(10);

struct Connection {
    stream: TcpStream,
    begun: Instant,
    sent: usize,
    received: usize,
    /// True once the connection sends no more; events may still come.
    over: bool,
}

impl Connection {
    /// Sends and receives until the kernel would block. Returns false when the run is over and no message is under way.
    fn go_on(
        &mut self,
        message: &[u8],
        room: &mut [u8],
        report: &mut Report,
        mut now: Instant,
    ) -> io::Result<bool> {
        loop {
            while self.sent < message.len() {
                match self.stream.write(&message[self.sent..]) {
                    Ok(count) => self.sent += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            let before = self.received;
            match self.stream.read(room) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
            if self.received < message.len() {
                // A short read has emptied the socket, so the next bytes will be reported by an event.
                if self.received - before < room.len() && self.sent == message.len() {
                    return Ok(true);
                }
                continue;
            }
            report.note(self.begun, now);
            now = Instant::now();
            (self.sent, self.received, self.begun) = (0, 0, now);
            if report.is_over(now) {
                self.over = true;
                return Ok(false);
            }
            self.sent = match self.stream.write(message) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            if self.sent == message.len() {
                return Ok(true);
            }
        }
    }
}

/// Runs the plan, and returns its report.
///
/// # Errors
/// Returns the error of a connection, or a timeout when the server is silent for too long.
pub fn run(plan: &Plan) -> io::Result<Report> {
    let mut poll = Poll::new()?;
    let message = vec![b'x'; plan.bytes];
    let mut room = vec![0; plan.bytes.max(4096)];
    let mut connections = Vec::with_capacity(plan.connections);
    for place in 0..plan.connections {
        let stream = TcpStream::connect(plan.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        poll.add(&stream, place)?;
        connections.push(Connection {
            stream,
            begun: Instant::now(),
            sent: 0,
            received: 0,
            over: false,
        });
    }
    let mut report = Report::new(plan.seconds);
    let mut busy = connections.len();
    while busy > 0 {
        let mut silent = true;
        let places = poll.wait(SILENCE)?;
        let now = Instant::now();
        for place in places {
            silent = false;
            if connections[place].over {
                continue;
            }
            let goes_on = connections[place].go_on(&message, &mut room, &mut report, now)?;
            busy -= usize::from(!goes_on);
        }
        if silent {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    Ok(report)
}
