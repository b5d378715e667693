//! Forked children in which none of the parent's greenlets runs on.
//!
//! In the child of a plain fork the greenlets of the forking thread run on, as gevent promises. A child that is to
//! execute a program, or that is a process of `multiprocessing`, must not run them: their output would be written and
//! sent twice. So its thread leaves its hub behind and gets another one, whose parent is the greenlet that forked: in
//! the child, `LoopExit` and interrupts belong there, and not in the parent's main greenlet. The old hub and everything
//! that waits in its loop are kept for ever, as ending a greenlet would run its code.

use std::cell::{Cell, RefCell};

use pyo3::prelude::*;

use crate::event_loop::loop_::Loop;
use crate::hub::{self, BaseHub};

thread_local! {
    /// True while a child that this thread forks is to leave the hub behind.
    static AT_FORK: Cell<bool> = const { Cell::new(false) };
    /// The hub that was left behind, until the thread gets another one.
    static LEFT: RefCell<Option<Py<BaseHub>>> = const { RefCell::new(None) };
}

/// Set whether a child that the calling thread forks leaves the hub behind.
#[pyfunction]
pub fn leave_hub_at_fork(leave: bool) {
    AT_FORK.set(leave);
}

/// Leave the calling thread's hub behind: nothing that waits in it ever goes on. It is meant for the child of a fork only.
#[pyfunction]
pub fn leave_hub() {
    if let Some(hub) = hub::take_current() {
        let older = LEFT.replace(Some(hub));
        std::mem::forget(older);
    }
}

/// Close the descriptors that the hub which was left behind has opened for itself. The hooks of a fork may not do it as early
/// as they leave the hub.
#[pyfunction]
pub fn close_left_hub(py: Python<'_>) {
    let left = LEFT.with_borrow(|left| left.as_ref().map(|hub| hub.clone_ref(py)));
    if let Some(left) = left
        && let Ok(old) = hub::loop_of(left.bind(py))
    {
        old.get().close_descriptors(py);
    }
}

/// Leaves the hub behind in a child for which [`leave_hub_at_fork`] asked so. It runs before all of Python's hooks, so it only
/// moves pointers.
pub fn in_child() {
    if AT_FORK.replace(false) {
        leave_hub();
    }
}

/// Passes on to the thread's new hub the watchers of forks, which outlive the old one.
///
/// # Errors
/// `HubDestroyed` when the new hub has no loop.
pub fn replaced_by(py: Python<'_>, hub: &Bound<'_, BaseHub>) -> PyResult<()> {
    let Some(left) = LEFT.take() else {
        return Ok(());
    };
    let new = hub::loop_of(hub)?;
    if let Ok(old) = hub::loop_of(left.bind(py)) {
        Loop::leave(&old, py, new.get());
    }
    std::mem::forget(left);
    Ok(())
}

impl Loop {
    /// Marks this as a loop that never runs again, without dropping its waits; `new` calls its fork watchers.
    fn leave(this: &Bound<'_, Self>, py: Python<'_>, new: &Self) {
        crate::watcher::fire_fork_watchers(py, this.get(), new);
        crate::watcher::signal::forget_left(py, this.get());
        this.get().close_descriptors(py);
    }

    fn close_descriptors(&self, py: Python<'_>) {
        self.disown(py);
        crate::watcher::child::forget_parents(py, self);
    }
}
