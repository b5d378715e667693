//! `acquire` as the locks of `threading` define it: the arguments, and tries that do not wait.

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;

use crate::args::number;
use crate::sync::busy_wait::BusyWait;
use crate::waiting::deadline::Deadline;

/// `_thread.TIMEOUT_MAX`: the seconds whose nanoseconds fit in 64 bits.
const TIMEOUT_MAX: f64 = (i64::MAX / 1_000_000_000) as f64;

/// The number of tries in a row that may fail before the other greenlets run.
const TRIES: u32 = 100;

/// Takes a lock by `take`, whose argument states how long it may wait, or is None where it may not wait at all; returns
/// true if the lock was taken. After many tries in a row that failed, which `tries` counts, the other greenlets run, so
/// that trying in a loop comes to an end.
///
/// # Errors
/// Returns the errors of the arguments, as the standard library raises them; the error that `take` raises, or that is
/// thrown into the greenlet while others run.
#[inline]
pub fn acquire(
    py: Python<'_>,
    tries: &BusyWait,
    blocking: bool,
    timeout: Option<&Bound<'_, PyAny>>,
    take: impl FnOnce(Option<Deadline>) -> PyResult<bool>,
) -> PyResult<bool> {
    let deadline = deadline_of(blocking, timeout)?;
    let waits = deadline.is_some();
    let taken = take(deadline)?;
    if !taken && !waits {
        tries.failed(py, TRIES)?;
    }
    Ok(taken)
}

/// Returns how long an `acquire` of the standard library's locks with these arguments may wait; none where it may not
/// wait.
///
/// # Errors
/// `ValueError` and `OverflowError` as the standard library raises them, `TypeError` for a timeout that is no number.
#[inline]
fn deadline_of(blocking: bool, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Deadline>> {
    let seconds = match timeout.filter(|timeout| !timeout.is_none()) {
        None => -1.0,
        Some(timeout) => number(timeout)?,
    };
    let problem = if seconds == -1.0 {
        return Ok(blocking.then_some(Deadline::Never));
    } else if !blocking {
        "can't specify a timeout for a non-blocking call"
    } else if seconds.is_nan() {
        "Invalid value NaN (not a number)"
    } else if seconds < 0.0 {
        "timeout value must be a non-negative number"
    } else if seconds > TIMEOUT_MAX {
        return Err(PyOverflowError::new_err("timeout value is too large"));
    } else if seconds == 0.0 {
        return Ok(None);
    } else {
        let given = timeout.map(|timeout| timeout.clone().unbind());
        return Ok(given.map(|given| Deadline::After(seconds, Some(given))));
    };
    Err(PyValueError::new_err(problem))
}
