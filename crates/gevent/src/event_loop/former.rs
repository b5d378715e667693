//! Runs a hub's loop beside those that it had before.
//!
//! A program may replace the loop of a hub while greenlets wait on the old one. They go on waiting there, so the hub
//! gives each old loop a turn as long as anything waits on it.

use std::os::fd::AsRawFd;

use pyo3::prelude::*;
use reactor::Interest;

use crate::event_loop::loop_::run::run;
use crate::event_loop::loop_::{Due, Loop, Watched};
use crate::event_loop::ready::Task;

/// Returns true if anything still waits on the loop.
pub fn is_waited_on(py: Python<'_>, loop_: &Loop) -> bool {
    !loop_.is_destroyed(py) && loop_.is_alive(py)
}

/// Gives each loop of `former` a turn, and then `loop_` one, which waits until something happens in any of them.
///
/// # Errors
/// Fails as [`run`] does, and when the descriptor of an old loop cannot be watched.
pub fn turn(py: Python<'_>, loop_: &Bound<'_, Loop>, former: &[Py<Loop>]) -> PyResult<()> {
    for old in former {
        run(py, old.bind(py), true, false)?;
    }
    let this = loop_.get();
    let ready = former.iter().any(|old| old.get().has_ready(py));
    let mut watches = Vec::with_capacity(former.len());
    for old in former {
        // An epoll set can be polled as any descriptor can.
        let fd = old.get().kernel(py)?.main.as_raw_fd();
        watches.push((fd, this.watch(py, fd, Interest::READ, Watched::Nobody)?));
    }
    let next = former
        .iter()
        .filter_map(|old| old.get().next_deadline(py))
        .min();
    let nothing = Due::Task(Box::new(Task::Native(Box::new(|_| Ok(())))));
    let timer = next.map(|at| this.set_deadline(py, at, nothing));
    // A wait on an old loop keeps this one running, too.
    this.count_ref(1);
    let ran = run(py, loop_, ready, true);
    this.count_ref(-1);
    if let Some(key) = timer {
        this.cancel_deadline(py, key);
    }
    for (fd, key) in watches {
        this.unwatch(py, fd, key);
    }
    ran
}
