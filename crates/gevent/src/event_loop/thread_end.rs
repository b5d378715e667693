//! Unwinds the greenlets that are still parked when their thread ends.

use std::collections::VecDeque;
use std::sync::Weak;

use pyo3::prelude::*;
use slab::Slab;

use crate::errors::GreenletExit;
use crate::event_loop::ready::Task;
use crate::ffi::greenlet;
use crate::waiting::threads;
use crate::waiting::wait::Wait;

/// Returns the greenlets that wait or yield. It returns none for the loop of the main thread, where nothing is listed.
pub fn parked_greenlets(
    py: Python<'_>,
    waits: Slab<Weak<Wait>>,
    tasks: &VecDeque<Task>,
) -> Vec<Py<PyAny>> {
    if threads::is_main() {
        return Vec::new();
    }
    let waiting = waits
        .into_iter()
        .filter_map(|(_, wait)| Some(wait.upgrade()?.greenlet().clone_ref(py)));
    let yielding = tasks.iter().filter_map(|task| match task {
        Task::Yield(turn) => Some(turn.greenlet().clone_ref(py).into_any()),
        Task::Wake(wait) => Some(wait.greenlet().clone_ref(py)),
        _ => None,
    });
    waiting.chain(yielding).collect()
}

/// Raises `GreenletExit` in the parked greenlets of a thread that ends. Each gives up its place in the queue that it
/// waits in, and passes on what it was woken for. Otherwise that would be lost to the greenlets of other threads, which
/// may wait for the same object.
pub fn unwind(py: Python<'_>, parked: Vec<Py<PyAny>>) {
    for target in parked {
        let target = target.into_bound(py);
        let ends = greenlet::active(&target) && !greenlet::is_main(&target);
        if ends && let Err(error) = greenlet::throw(&target, GreenletExit::new_err(())) {
            error.write_unraisable(py, Some(&target));
        }
    }
}
