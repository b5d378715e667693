//! The deadline of a call: the one type for it, whatever form of timeout the caller gave.
//!
//! A deadline holds for all waits of a call together. It begins with the first of them, as [`Deadline::begin`] is
//! called, so that a call which does not wait does not read the clock.

use std::time::Duration;

use pyo3::prelude::*;
use reactor::Time;

use crate::args::number;
use crate::waiting::park::park;
use crate::waiting::timeout::Timeout;
use crate::waiting::wait::{Outcome, WaitRef};

/// The longest timeout that differs from waiting for ever, in seconds: 31 years.
pub const LONGEST: f64 = 1e9;

/// Returns seconds as a duration, [`LONGEST`] at most. A number that is not positive becomes zero.
#[inline]
pub fn duration(seconds: f64) -> Duration {
    if seconds > 0.0 {
        Duration::from_secs_f64(seconds.min(LONGEST))
    } else {
        Duration::ZERO
    }
}

/// Returns the seconds that a caller gave as a duration.
///
/// # Errors
/// Returns the `TypeError` that comparing or converting raises for an argument that is no number.
pub fn duration_of(seconds: &Bound<'_, PyAny>) -> PyResult<Duration> {
    number(seconds).map(duration)
}

/// The time until which a call may wait.
#[derive(Debug)]
pub enum Deadline {
    /// For ever.
    Never,
    /// For so many seconds from its first wait on; the caller's argument is kept for the error.
    After(f64, Option<Py<PyAny>>),
    /// Until this time. An `After` turns into this at the first wait.
    At(Time, Option<Py<PyAny>>),
    /// Until this timeout, which the caller made, expires.
    Timeout(Py<Timeout>),
}

impl Deadline {
    /// Returns the deadline that a `timeout` argument states: None, seconds, or a `Timeout`.
    ///
    /// # Errors
    /// `TypeError` for anything else.
    pub fn of(timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        match timeout {
            None => Ok(Self::Never),
            Some(timeout) if timeout.is_none() => Ok(Self::Never),
            Some(timeout) => match timeout.cast::<Timeout>() {
                Ok(object) => Ok(Self::Timeout(object.clone().unbind())),
                Err(_) => Ok(Self::After(
                    number(timeout)?,
                    Some(timeout.clone().unbind()),
                )),
            },
        }
    }

    /// Returns the deadline that is so many seconds away; None means that the call may wait for ever.
    pub fn seconds(seconds: Option<f64>) -> Self {
        match seconds {
            Some(seconds) if seconds < LONGEST => Self::After(seconds, None),
            _ => Self::Never,
        }
    }

    /// Returns true if the call must not wait at all.
    #[inline]
    pub fn is_immediate(&self) -> bool {
        matches!(self, Self::After(seconds, _) if *seconds <= 0.0)
    }

    /// Returns true if more than this many seconds are left; `None` stands for no end.
    pub fn is_longer_than(&mut self, seconds: Option<f64>) -> bool {
        match (self.time(), seconds) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(at), Some(seconds)) => at.until(Time::now()).as_secs_f64() > seconds,
        }
    }

    /// Starts the countdown, and returns the time of the deadline; none if it has no time of its own.
    pub fn time(&mut self) -> Option<Time> {
        match self {
            Self::Never | Self::Timeout(_) => None,
            Self::At(at, _) => Some(*at),
            Self::After(seconds, given) => {
                let at = Time::now().after(duration(*seconds));
                *self = Self::At(at, given.take());
                Some(at)
            }
        }
    }

    /// Parks the running greenlet until `wait` is woken or the deadline passes. Returns the value that it was woken
    /// with, or None for the deadline.
    ///
    /// # Errors
    /// Returns the error that it is woken with or that is thrown into it.
    pub fn park(&mut self, py: Python<'_>, wait: &WaitRef) -> PyResult<Option<Py<PyAny>>> {
        self.begin(py, wait)?;
        self.end(py, wait, park(py, wait))
    }

    /// Parks as [`park`](Self::park) does for a call that may wait again: it calls [`close`](Self::close) at its end.
    ///
    /// # Errors
    /// Fails as [`park`](Self::park) does.
    pub fn park_in_turn(&mut self, py: Python<'_>, wait: &WaitRef) -> PyResult<Option<Py<PyAny>>> {
        self.begin(py, wait)?;
        self.end_turn(py, wait, park(py, wait))
    }

    /// Has `wait`, which is about to be parked on, end when the deadline passes.
    ///
    /// # Errors
    /// Returns the error that starting the caller's own `Timeout` raises.
    #[inline]
    pub fn begin(&mut self, py: Python<'_>, wait: &WaitRef) -> PyResult<()> {
        if matches!(self, Self::Never) {
            return Ok(());
        }
        self.set(py, wait)
    }

    fn set(&mut self, py: Python<'_>, wait: &WaitRef) -> PyResult<()> {
        if let Some(at) = self.time() {
            wait.expire_at(py, at, true);
        } else if let Self::Timeout(timeout) = self {
            let timeout = timeout.bind(py);
            if !timeout.get().is_pending(py) {
                Timeout::start(timeout)?;
            }
        }
        Ok(())
    }

    /// Returns the value that `wait`, the last one of the call, was woken with; none when the deadline passed.
    ///
    /// # Errors
    /// Returns the error that it was woken with or that was thrown into the greenlet.
    #[inline]
    pub fn end(
        &self,
        py: Python<'_>,
        wait: &WaitRef,
        woken: Outcome,
    ) -> PyResult<Option<Py<PyAny>>> {
        self.close(py);
        self.end_turn(py, wait, woken)
    }

    /// Returns the value that one wait of several was woken with; none when the deadline passed.
    ///
    /// # Errors
    /// Fails as [`end`](Self::end) does.
    #[inline]
    pub fn end_turn(
        &self,
        py: Python<'_>,
        wait: &WaitRef,
        woken: Outcome,
    ) -> PyResult<Option<Py<PyAny>>> {
        match self {
            Self::Never => woken.map(Some),
            Self::After(..) | Self::At(..) => Ok(Some(woken?).filter(|_| !wait.expired())),
            Self::Timeout(timeout) => own_error(timeout.bind(py), woken),
        }
    }

    /// Cancels the caller's own `Timeout` at the end of the call.
    #[inline]
    pub fn close(&self, py: Python<'_>) {
        if let Self::Timeout(timeout) = self {
            timeout.get().cancel(py);
        }
    }

    /// Returns the `Timeout` to raise when the deadline passed.
    ///
    /// # Errors
    /// Fails when the exception cannot be made.
    pub fn error(&self, py: Python<'_>) -> PyResult<PyErr> {
        match self {
            Self::Never => Timeout::error(py, None),
            Self::After(_, given) | Self::At(_, given) => {
                Timeout::error(py, given.as_ref().map(|given| given.clone_ref(py)))
            }
            Self::Timeout(timeout) => Ok(PyErr::from_value(timeout.bind(py).clone().into_any())),
        }
    }

    /// Returns the caller's own `Timeout` if that is the deadline, and else `other`.
    pub fn error_or(&self, py: Python<'_>, other: PyErr) -> PyErr {
        match self {
            Self::Timeout(_) => self.error(py).unwrap_or_else(|error| error),
            _ => other,
        }
    }
}

/// Returns none if the error is the caller's own timeout.
fn own_error(timeout: &Bound<'_, Timeout>, woken: Outcome) -> PyResult<Option<Py<PyAny>>> {
    let py = timeout.py();
    match woken {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_instance_of::<Timeout>(py) && error.value(py).is(timeout) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_of_any_kind_become_a_duration() {
        for none in [0.0, -0.0, -1.0, f64::NEG_INFINITY, f64::NAN] {
            assert_eq!(duration(none), Duration::ZERO);
        }
        assert_eq!(duration(0.25), Duration::from_millis(250));
        for long in [LONGEST, 1e300, f64::INFINITY] {
            assert_eq!(duration(long), Duration::from_secs(1_000_000_000));
        }
        assert!(duration(f64::MIN_POSITIVE) <= Duration::from_nanos(1));
    }
}
