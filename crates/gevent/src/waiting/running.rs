//! The greenlet that the engine let run last, by which locks remember their holder.
//!
//! greenlet's own function that returns it takes as long as taking a lock does. So each switch of the engine stores the
//! address, and the thread that it is valid for: a thread that finds another thread's number here calls greenlet's
//! function.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use pyo3::prelude::*;

use crate::ffi::greenlet;

/// The thread in which the engine switched last.
static THREAD: AtomicU64 = AtomicU64::new(0);
/// The address of the greenlet that it let run there.
static GREENLET: AtomicUsize = AtomicUsize::new(0);

/// Notes which greenlet is about to run in this thread, by its address; 0 for a callback of the hub's.
#[inline]
pub fn lets_run(address: usize) {
    THREAD.store(crate::thread_id(), Relaxed);
    GREENLET.store(address, Relaxed);
}

/// Returns the address of the running greenlet, which must not be dereferenced; 0 in a callback of the hub. A greenlet
/// that was switched to directly is taken for the greenlet that switched.
#[inline]
pub fn address(py: Python<'_>) -> usize {
    if THREAD.load(Relaxed) == crate::thread_id() {
        return GREENLET.load(Relaxed);
    }
    current(py)
}

/// Gets the running greenlet from the greenlet package, and keeps its address for as long as the engine does not
/// switch.
#[cold]
fn current(py: Python<'_>) -> usize {
    let address = greenlet::current(py).map_or(0, |running| running.as_ptr() as usize);
    lets_run(address);
    address
}
