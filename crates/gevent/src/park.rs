//! `park`: the one way to block. Everything that waits leaves a [`Wait`] with its waker and parks here.
//!
//! A parked greenlet does the loop's next task itself where it can: resuming a started greenlet is one direct switch, and
//! resuming itself is no switch at all. Callbacks and starts are the hub's: the parker switches to it. With nothing ready
//! the parker polls on its own stack, the GIL released.

use std::sync::atomic::Ordering::Relaxed;

use pyo3::prelude::*;

use crate::errors::{BlockingSwitchOutError, InvalidSwitchError};
use crate::ffi::greenlet;
use crate::hub::{self, BaseHub};
use crate::loop_::Loop;
use crate::ready::Task;
use crate::wait::{Outcome, Wait, WaitRef};

/// How a parked greenlet came to run again, when not by an error thrown into it.
pub enum Resumed {
    /// Its wait was woken.
    Woken(Outcome),
    /// Somebody switched to the greenlet with this.
    Switched(Py<PyAny>),
}

/// Parks the running greenlet until `wait` is woken.
///
/// # Errors
/// The error that it was woken with or that was thrown into it; `InvalidSwitchError` when somebody switched to it;
/// `BlockingSwitchOutError` in the hub.
pub fn park(py: Python<'_>, wait: &WaitRef) -> Outcome {
    match park_until_switched(py, wait)? {
        Resumed::Woken(outcome) => outcome,
        Resumed::Switched(value) => Err(InvalidSwitchError::new_err(format!(
            "Invalid switch into {}: got {} (expected its own wake-up)",
            wait.greenlet().bind(py).repr()?,
            value.bind(py).repr()?,
        ))),
    }
}

/// Like [`park`], for callers to whom a direct switch is a legitimate end of the wait.
///
/// # Errors
/// What was thrown into the greenlet; `BlockingSwitchOutError` in the hub.
pub fn park_until_switched(py: Python<'_>, wait: &WaitRef) -> PyResult<Resumed> {
    let hub = match prepare(py, wait) {
        Ok(hub) => hub,
        Err(error) => {
            wait.finish(py);
            return Err(error);
        }
    };
    let result = next_stack(py, &hub, wait);
    let finished = wait.finish(py);
    match (finished, result) {
        (Some(outcome), Ok(_)) => Ok(Resumed::Woken(outcome)),
        (None, Ok(Some(value))) => Ok(Resumed::Switched(value)),
        (None, Ok(None)) => Ok(Resumed::Switched(py.None())),
        (_, Err(error)) => Err(error),
    }
}

fn prepare<'py>(py: Python<'py>, wait: &WaitRef) -> PyResult<Bound<'py, BaseHub>> {
    let hub = hub::current(py)?;
    let running = wait.greenlet().bind(py);
    if running.is(&hub) {
        return Err(BlockingSwitchOutError::new_err(
            "Impossible to call blocking function in the event loop callback",
        ));
    }
    hub::call_switch_out(running)?;
    Ok(hub)
}

/// Finds who runs next and switches there; returns when the caller runs again, with what a foreign switch brought.
fn next_stack(py: Python<'_>, hub: &Bound<'_, BaseHub>, wait: &WaitRef) -> PyResult<Option<Py<PyAny>>> {
    let loop_ = wait.loop_().clone_ref(py);
    let loop_ = loop_.get();
    loop {
        match loop_.next_task(py) {
            Some(Task::Wake(next)) => {
                if !next.deliver() {
                    continue;
                }
                if std::ptr::eq(&raw const *next, &raw const **wait) {
                    return Ok(None);
                }
                return switch_to(py, next);
            }
            Some(task) => {
                loop_.queue.with(py, |queue| queue.put_back(task));
                return to_hub(hub);
            }
            None if must_poll_in_hub(py, loop_) => return to_hub(hub),
            None => {
                if loop_.poll(py, true).is_err() {
                    // The hub polls again and reports the failure as its own.
                    return to_hub(hub);
                }
            }
        }
    }
}

fn must_poll_in_hub(py: Python<'_>, loop_: &Loop) -> bool {
    loop_.phased.load(Relaxed) > 0
        || loop_.check_signals.load(Relaxed)
        || loop_.stopping.load(Relaxed) != 0
        || !loop_.is_alive(py)
}

fn switch_to(py: Python<'_>, wait: WaitRef) -> PyResult<Option<Py<PyAny>>> {
    let target = wait.greenlet().clone_ref(py);
    drop(wait);
    let value = greenlet::switch(target.bind(py))?;
    Ok(Some(value.unbind()))
}

fn to_hub(hub: &Bound<'_, BaseHub>) -> PyResult<Option<Py<PyAny>>> {
    Ok(Some(greenlet::switch(hub.as_any())?.unbind()))
}

/// Lets everybody else who is ready run first; returns at once when nobody is.
///
/// # Errors
/// What is thrown into the greenlet meanwhile; `BlockingSwitchOutError` in the hub.
pub fn yield_now(py: Python<'_>) -> PyResult<()> {
    let hub = hub::current(py)?;
    let running = greenlet::current(py);
    if running.is(&hub) {
        return Err(BlockingSwitchOutError::new_err(
            "Impossible to call blocking function in the event loop callback",
        ));
    }
    let loop_ = hub::loop_of(&hub)?;
    {
        let loop_ = loop_.get();
        let alone = loop_.queue.with(py, |queue| queue.is_empty());
        if alone {
            if !loop_.queue.with(py, |queue| queue.idle_yield()) {
                return Ok(());
            }
            py.check_signals()?;
            loop_.glance(py);
            if loop_.phased.load(Relaxed) == 0 && loop_.queue.with(py, |queue| queue.is_empty()) {
                return Ok(());
            }
        }
    }
    let wait = Wait::of(running.unbind(), loop_.unbind());
    wait.wake_none(py);
    park(py, &wait).map(drop)
}
