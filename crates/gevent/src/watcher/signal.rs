//! `loop.signal`: calls a function after a signal.
//!
//! Signals belong to the process, so the active watchers of all loops are in one list. The loop that a signal wakes takes all
//! that have arrived, and passes them on to the loops of the watchers.

use std::os::fd::AsRawFd;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use reactor::signals;

use super::{Kind, Watcher};
use crate::args::from_python;
use crate::cell::GilCell;
use crate::errors::os_error;
use crate::event_loop::loop_::Loop;

/// The event number that callbacks get.
const SIGNAL: u32 = 1024;
/// The greatest signal number of Linux.
const GREATEST: i32 = 64;

/// The active watchers of all loops, each with its signal.
static ACTIVE: GilCell<Vec<(i32, Py<Watcher>)>> = GilCell::in_static(Vec::new());

/// Has the watcher fired at each signal `signum`.
pub(super) fn arm(watcher: &Py<Watcher>, py: Python<'_>, signum: i32) -> PyResult<()> {
    let kernel = watcher.get().loop_().kernel(py)?;
    signals::watch(signum).map_err(|error| os_error(&error))?;
    let entry = (signum, watcher.clone_ref(py));
    ACTIVE.with(py, |active| active.push(entry));
    signals::subscribe(kernel.waker.as_raw_fd());
    Ok(())
}

pub(super) fn disarm(watcher: &Py<Watcher>, py: Python<'_>, signum: i32) {
    let taken = ACTIVE.with(py, |active| {
        let at = active.iter().position(|(_, other)| other.is(watcher))?;
        Some(active.remove(at))
    });
    if taken.is_some() {
        // The signal was watched, so this cannot fail.
        let _ = signals::unwatch(signum);
        pass_subscription_on(py, watcher.get().loop_());
    }
    drop(taken);
}

/// Fires the watchers of the signals that have arrived; returns false if there are none.
pub fn deliver(py: Python<'_>) -> bool {
    let mut any = false;
    for signum in signals::take_pending() {
        any = true;
        let watchers: Vec<Py<Watcher>> = ACTIVE.with(py, |active| {
            let concerned = active.iter().filter(|(wanted, _)| *wanted == signum);
            concerned
                .map(|(_, watcher)| watcher.clone_ref(py))
                .collect()
        });
        for watcher in watchers {
            Watcher::fire(&watcher, py, watcher.get().loop_(), SIGNAL);
        }
    }
    any
}

/// Has signals wake a loop whose waker is new, as after a fork.
pub fn resubscribe(py: Python<'_>, loop_: &Loop) {
    if has_watchers(py, loop_)
        && let Ok(kernel) = loop_.kernel(py)
    {
        signals::subscribe(kernel.waker.as_raw_fd());
    }
}

/// Ends the watchers of a loop that is about to close its waker.
pub fn forget_loop(py: Python<'_>, loop_: &Loop) {
    let mut gone = Vec::new();
    ACTIVE.with(py, |active| {
        gone.extend(active.extract_if(.., |(_, watcher)| is_of(watcher, loop_)))
    });
    for (signum, _) in &gone {
        // The signal was watched, so this cannot fail.
        let _ = signals::unwatch(*signum);
    }
    pass_subscription_on(py, loop_);
    drop(gone);
}

/// Restores the dispositions of the signals that are watched in a loop which was left behind at a fork. Its watchers
/// are kept: dropping them would run Python code of the parent.
pub fn forget_left(py: Python<'_>, loop_: &Loop) {
    let gone = ACTIVE.with(py, |active| {
        let gone = active.extract_if(.., |(_, watcher)| is_of(watcher, loop_));
        gone.collect::<Vec<_>>()
    });
    for (signum, _) in &gone {
        // The signal was watched, so this cannot fail.
        let _ = signals::unwatch(*signum);
    }
    std::mem::forget(gone);
}

fn is_of(watcher: &Py<Watcher>, loop_: &Loop) -> bool {
    std::ptr::eq(watcher.get().loop_(), loop_)
}

/// Returns true if watchers of signals are active in a loop.
pub fn has_watchers(py: Python<'_>, loop_: &Loop) -> bool {
    ACTIVE.with(py, |active| {
        active.iter().any(|(_, watcher)| is_of(watcher, loop_))
    })
}

/// Ends the subscription of a loop without watchers, in favour of one that has some.
fn pass_subscription_on(py: Python<'_>, loop_: &Loop) {
    if has_watchers(py, loop_) {
        return;
    }
    if let Ok(kernel) = loop_.kernel(py) {
        signals::unsubscribe(kernel.waker.as_raw_fd());
    }
    let other = ACTIVE.with(py, |active| {
        active.last().map(|(_, watcher)| watcher.clone_ref(py))
    });
    if let Some(other) = other {
        resubscribe(py, other.get().loop_());
    }
}

/// Calls its function after each signal `signalnum`, in place of the process's former reaction to that signal.
#[pyclass(extends = Watcher, frozen, subclass, name = "signal", module = "gevent.core")]
#[derive(Debug)]
pub struct Signal;

#[pymethods]
impl Signal {
    #[new]
    #[pyo3(signature = (r#loop, signalnum, r#ref = true, priority = None))]
    pub(crate) fn new(
        r#loop: Py<Loop>,
        #[pyo3(from_py_with = from_python)] signalnum: i32,
        r#ref: bool,
        #[pyo3(from_py_with = from_python)] priority: Option<i32>,
    ) -> PyResult<PyClassInitializer<Self>> {
        if !(1..=GREATEST).contains(&signalnum) {
            return Err(PyValueError::new_err(format!(
                "illegal signal number: {signalnum}"
            )));
        }
        Ok(Watcher::base(r#loop, Kind::Signal(signalnum), r#ref, priority).add_subclass(Self))
    }
}
