//! Counts of connections by what they wait for, and of requests by how they ended: `gevent._core.http_statistics`.
//!
//! The counts are those of the process, over all servers and threads. As the GIL is held, a count is read, changed and
//! stored without an atomic operation, so it costs three instructions at moments that cost thousands. Numbers that are
//! derived from others, such as that of running applications, are computed when they are read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// A number that is changed with the GIL held.
struct Count(AtomicU64);

impl Count {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    #[inline]
    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    #[inline]
    fn increase(&self) {
        self.0.store(self.get().wrapping_add(1), Relaxed);
    }

    /// Subtracts one, but stays at zero: a forked child begins at zero, and ends connections that were counted in its
    /// parent.
    #[inline]
    fn decrease(&self) {
        self.0.store(self.get().saturating_sub(1), Relaxed);
    }
}

/// The stages of a connection that are counted. A connection that is at none of them runs the application.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Nothing has come from the client yet.
    New,
    /// A part of a request's head has come, and the rest is waited for.
    Head,
    /// The connection waits for its next request.
    Idle,
    /// The application waits for more of the request's body.
    Body,
    /// The server waits for the client to take more of the response.
    Sending,
    /// A 101 was sent, and the connection speaks another protocol.
    Upgraded,
    /// The last response was sent, and the client may still be sending.
    Lingering,
}

const STAGES: [(Stage, &str); 7] = [
    (Stage::New, "new"),
    (Stage::Head, "head"),
    (Stage::Idle, "idle"),
    (Stage::Body, "body"),
    (Stage::Sending, "sending"),
    (Stage::Upgraded, "upgraded"),
    (Stage::Lingering, "lingering"),
];

static AT_STAGE: [Count; STAGES.len()] = [const { Count::new() }; STAGES.len()];
static OPEN: Count = Count::new();
static ACCEPTED: Count = Count::new();

/// The classes of responses: no response, 101, and those of 2xx to 5xx.
const CLASSES: [&str; 6] = ["none", "101", "2xx", "3xx", "4xx", "5xx"];

static OF_CLASS: [Count; CLASSES.len()] = [const { Count::new() }; CLASSES.len()];
static REFUSED: Count = Count::new();
static ABORTED: Count = Count::new();

impl Stage {
    /// Counts a connection that comes to this stage.
    #[inline]
    pub fn enter(self) {
        AT_STAGE[self as usize].increase();
    }

    /// Counts a connection that leaves this stage.
    #[inline]
    pub fn leave(self) {
        AT_STAGE[self as usize].decrease();
    }
}

/// Counts a connection that begins.
pub fn connection_began() {
    OPEN.increase();
    ACCEPTED.increase();
}

/// Counts a connection that is over.
pub fn connection_ended() {
    OPEN.decrease();
}

/// Counts a request that is over by the status of its response, 0 where none was sent. The response is `aborted` if it broke
/// off after it had begun.
#[inline]
pub fn request_ended(status: u16, aborted: bool) {
    let class = match status {
        101 => 1,
        200..600 => usize::from(status / 100),
        _ => 0,
    };
    OF_CLASS[class].increase();
    if aborted {
        ABORTED.increase();
    }
}

/// Counts a request that was refused before any application saw it.
pub fn request_refused(status: u16) {
    request_ended(status, false);
    REFUSED.increase();
}

/// Resets all counts to zero in a forked child, as its connections are counted in the parent.
pub fn in_child() {
    let all = AT_STAGE.iter().chain(&OF_CLASS);
    for count in all.chain([&OPEN, &ACCEPTED, &REFUSED, &ABORTED]) {
        count.0.store(0, Relaxed);
    }
}

/// Return the number of connections of this process's HTTP servers by the thing that they wait for, and the number of
/// answered requests by the class of the response's status.
#[pyfunction]
pub fn http_statistics(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let connections = PyDict::new(py);
    let mut elsewhere = 0;
    for (stage, name) in STAGES {
        let count = AT_STAGE[stage as usize].get();
        elsewhere += count;
        connections.set_item(name, count)?;
    }
    connections.set_item("application", OPEN.get().saturating_sub(elsewhere))?;
    let requests = PyDict::new(py);
    for (name, count) in CLASSES.iter().zip(&OF_CLASS) {
        requests.set_item(name, count.get())?;
    }
    let all = PyDict::new(py);
    all.set_item("connections", connections)?;
    all.set_item("accepted", ACCEPTED.get())?;
    all.set_item("requests", requests)?;
    all.set_item("refused", REFUSED.get())?;
    all.set_item("aborted", ABORTED.get())?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::{CLASSES, Count, OF_CLASS, request_ended};

    #[test]
    fn a_count_ends_at_zero() {
        let count = Count::new();
        count.decrease();
        assert_eq!(count.get(), 0);
        count.increase();
        assert_eq!(count.get(), 1);
    }

    #[test]
    fn every_status_has_a_class() {
        for (status, class) in [
            (0, "none"),
            (101, "101"),
            (200, "2xx"),
            (304, "3xx"),
            (404, "4xx"),
            (599, "5xx"),
            (999, "none"),
        ] {
            let at = CLASSES.iter().position(|name| *name == class).unwrap();
            let before = OF_CLASS[at].get();
            request_ended(status, false);
            assert_eq!(OF_CLASS[at].get(), before + 1, "{status}");
        }
    }
}
