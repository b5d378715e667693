//! The Python methods of `CancelScope`, and the functions that make one with a deadline from now.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyo3::PyTraverseError;
use pyo3::exceptions::PyValueError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use reactor::Time;

use crate::args::from_python;
use crate::structured::scope::{CancelScope, Settings, Stage};
use crate::waiting::deadline::{LONGEST, duration};

/// Numbers of seconds from here on are times since 1970, as no machine has run for 31 years.
const SINCE_1970: f64 = 1e9;

/// Returns seconds as a duration, none for never. A number that is not positive becomes zero.
fn seconds_of(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    match seconds {
        Some(nan) if nan.is_nan() => Err(PyValueError::new_err("a deadline must not be nan")),
        Some(seconds) if seconds < LONGEST => Ok(Some(duration(seconds))),
        _ => Ok(None),
    }
}

/// Returns the time that a deadline states: either one of `time.monotonic()`, or one of `time.time()` and `loop.now()`.
fn time_of(deadline: Option<f64>) -> PyResult<Option<Time>> {
    if let Some(since_epoch) = deadline.filter(|&at| (SINCE_1970..f64::INFINITY).contains(&at)) {
        let present = SystemTime::now().duration_since(UNIX_EPOCH);
        let left = since_epoch - present.unwrap_or_default().as_secs_f64();
        return Ok(seconds_of(Some(left))?.map(|left| Time::now().after(left)));
    }
    let since_start = seconds_of(deadline)?;
    Ok(since_start.map(|since_start| Time::from_nanos(0).after(since_start)))
}

fn limited(seconds: Option<f64>, shield: bool, fails: bool) -> PyResult<CancelScope> {
    Ok(CancelScope::with_settings(Settings {
        deadline: None,
        delay: seconds_of(seconds)?,
        shield,
        fails,
    }))
}

/// Return a `CancelScope` that cancels its block some time after it begins::
///
///     with gevent.move_on_after(2) as scope:
///         answer = fetch(url)
///     if scope.cancelled_caught:
///         answer = None
///
/// Unlike a `gevent.Timeout` it ends no other block than its own: the exception of a limit outside passes through it. The
/// exception is raised where the block waits; a block that does not wait is not ended.
///
/// :param seconds: The time that the block has, in seconds; None for no limit. With zero or less, its first wait ends it.
/// :param shield: True to put kills, and cancellations of scopes around it, off to the end of the block.
/// :raises ValueError: `seconds` is not a number (nan).
#[pyfunction]
#[pyo3(signature = (seconds, *, shield = false))]
pub fn move_on_after(
    #[pyo3(from_py_with = from_python)] seconds: Option<f64>,
    shield: bool,
) -> PyResult<CancelScope> {
    limited(seconds, shield, false)
}

/// Return a `CancelScope` like `move_on_after`; where it cancels its block, the end of the block raises `TimeoutError`::
///
///     with gevent.fail_after(2):
///         answer = fetch(url)
///
/// A block that is ended by the scope's `cancel` raises nothing. The `Cancelled` that ended the block is the `__cause__`
/// of the `TimeoutError`.
///
/// :param seconds: The time that the block has, in seconds; None for no limit. With zero or less, its first wait ends it.
/// :param shield: True to put kills, and cancellations of scopes around it, off to the end of the block.
/// :raises ValueError: `seconds` is not a number (nan).
#[pyfunction]
#[pyo3(signature = (seconds, *, shield = false))]
pub fn fail_after(
    #[pyo3(from_py_with = from_python)] seconds: Option<f64>,
    shield: bool,
) -> PyResult<CancelScope> {
    limited(seconds, shield, true)
}

#[pymethods]
impl CancelScope {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(deadline=None, shield=False)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::with_settings(Settings::default())
    }

    #[pyo3(signature = (deadline = None, shield = false))]
    fn __init__(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = from_python)] deadline: Option<f64>,
        shield: bool,
    ) -> PyResult<()> {
        Self::set_up(
            slf,
            Settings {
                deadline: time_of(deadline)?,
                shield,
                ..Settings::default()
            },
        )
    }

    /// The time of `time.monotonic()`, in seconds, at which the block is cancelled, or None. It may be set at any time, also
    /// to a time of `time.time()`, the clock of `loop.now()`.
    #[getter]
    fn deadline(&self, py: Python<'_>) -> Option<f64> {
        let deadline = self.state.with(py, |state| state.settings.deadline)?;
        Some(Duration::from_nanos(deadline.as_nanos()).as_secs_f64())
    }

    #[setter(deadline)]
    fn put_deadline(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = from_python)] value: Option<f64>,
    ) -> PyResult<()> {
        Self::set_deadline(slf, time_of(value)?);
        Ok(())
    }

    /// Return True if kills and cancellations from outside are put off to the end of the block. It may be set at any time.
    #[getter]
    fn shield(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.settings.shield)
    }

    #[setter(shield)]
    fn put_shield(slf: &Bound<'_, Self>, value: bool) {
        Self::set_shield(slf, value);
    }

    /// Return True if `cancel` was called or the deadline passed while the block was under way.
    #[getter]
    fn cancel_called(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.is_cancelled)
    }

    /// Return True if the cancellation ended the block.
    #[getter]
    fn cancelled_caught(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.is_caught)
    }

    /// Cancel the block: the greenlet in it gets `Cancelled`, once, when it waits next.
    ///
    /// May be called from any greenlet or thread, also before the block begins. Nothing happens when it was called before,
    /// or the block is over.
    #[pyo3(name = "cancel")]
    fn py_cancel(slf: &Bound<'_, Self>) {
        Self::cancel(slf);
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        Self::enter(&slf)?;
        Ok(slf)
    }

    fn __exit__(
        slf: &Bound<'_, Self>,
        t: &Bound<'_, PyAny>,
        v: Option<&Bound<'_, PyAny>>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let _ = (t, tb);
        Self::exit(slf, v)
    }

    /// Cancel the task whose coroutine is in the block, if that is still due; its loop calls this.
    fn _cancel_task(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::cancel_task(slf)
    }

    /// Return True if `error` was raised from outside: by a kill, a timeout, a scope or a cancellation of the task.
    fn _came_from_outside(slf: &Bound<'_, Self>, error: &Bound<'_, PyAny>) -> bool {
        Self::came_from_outside(slf, error)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let state = slf.get().state.with(slf.py(), |state| {
            let mut words = vec![match state.stage {
                Stage::New => "not entered",
                Stage::Active | Stage::Closing => "active",
                Stage::Left => "left",
            }];
            if state.settings.shield {
                words.push("shield");
            }
            if state.is_cancelled {
                words.push("cancelled");
            }
            let deadline = state.settings.deadline.filter(|_| !state.is_cancelled);
            (words.join(", "), deadline)
        });
        let (mut text, deadline) = state;
        if let Some(deadline) = deadline {
            let left = deadline.until(Time::now()).as_secs_f64();
            text.push_str(&format!(", deadline in {left:.3} s"));
        }
        Ok(format!(
            "<{} at {:#x}: {text}>",
            slf.get_type().name()?,
            slf.as_ptr() as usize
        ))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.visit(visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.clear(py);
    }
}
