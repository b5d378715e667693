//! The deadline of one socket operation, which may wait several times.

use std::time::Duration;

use pyo3::prelude::*;
use reactor::Time;

use crate::sockets::socket::SocketBase;

/// Timeouts from this many seconds on (31 years) are taken for none at all: nobody would see a difference, and a sum with the
/// present time must not overflow.
const LONGEST: f64 = 1e9;

/// The time that one operation may wait in all.
#[derive(Debug)]
pub struct Deadline {
    timeout: Option<f64>,
    /// The time of the deadline, set at the first wait: an operation that does not wait need not read the clock.
    until: Option<Time>,
}

impl Deadline {
    /// Returns the deadline that the socket's timeout sets.
    pub fn of(socket: &SocketBase, py: Python<'_>) -> Self {
        Self::after(socket.state.with(py, |state| state.timeout))
    }

    /// Returns a deadline `timeout` seconds after the first wait; there is none for `None`.
    pub fn after(timeout: Option<f64>) -> Self {
        Self {
            timeout,
            until: None,
        }
    }

    /// Returns true if the operation must not wait at all.
    pub fn is_immediate(&self) -> bool {
        self.timeout.is_some_and(|timeout| timeout <= 0.0)
    }

    /// Returns true if more than this many seconds are left; `None` stands for no end.
    pub fn is_longer_than(&mut self, seconds: Option<f64>) -> bool {
        match (self.left(), seconds) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(left), Some(seconds)) => left.as_secs_f64() > seconds,
        }
    }

    /// Returns the time that is left, and starts the clock if it has not been started; `None` without a deadline.
    pub(super) fn left(&mut self) -> Option<Duration> {
        let timeout = self.timeout.filter(|timeout| *timeout < LONGEST)?;
        let now = Time::now();
        let until = *self
            .until
            .get_or_insert_with(|| now.after(Duration::from_secs_f64(timeout.max(0.0))));
        Some(until.until(now))
    }
}
