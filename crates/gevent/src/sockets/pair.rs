//! What the two ends of a socket pair know of each other: where each waits, and how much is under way to it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use pyo3::prelude::*;
use reactor::SourceKey;

use crate::cell::GilCell;
use crate::event_loop::loop_::Loop;
use crate::ffi::fork;

/// Where an end waits.
pub type Registration = (Py<Loop>, SourceKey);

/// Both ends of a pair, so that one can wake the other without the kernel's help.
pub struct Pair {
    registrations: GilCell<[Option<Registration>; 2]>,
    /// Bytes that were sent to an end and not received there.
    under_way: [AtomicU64; 2],
    /// True if somebody else may send or receive, by the descriptor or in ways that are not keeps_loop_alive. It stays so.
    exposed: AtomicBool,
    /// The count of forks when it was made: a child has both ends, too.
    forks: u64,
}

impl Pair {
    /// Returns two ends with nothing under way.
    pub fn new() -> Self {
        Self {
            registrations: GilCell::new([None, None]),
            under_way: [AtomicU64::new(0), AtomicU64::new(0)],
            exposed: AtomicBool::new(false),
            forks: fork::count(),
        }
    }

    /// Notes where an end waits; where it waited before, to be dropped.
    pub fn register(
        &self,
        py: Python<'_>,
        end: usize,
        new: Option<Registration>,
    ) -> Option<Registration> {
        self.registrations.with(py, |registrations| {
            std::mem::replace(&mut registrations[end], new)
        })
    }

    /// Looks at where an end waits.
    pub fn at<R>(
        &self,
        py: Python<'_>,
        end: usize,
        f: impl FnOnce(&Registration) -> Option<R>,
    ) -> Option<R> {
        self.registrations
            .with(py, |registrations| registrations[end].as_ref().and_then(f))
    }

    /// Notes that others may send and receive from now on.
    pub fn expose(&self) {
        self.exposed.store(true, Relaxed);
    }

    /// Counts what was sent to an end.
    pub fn sent(&self, end: usize, bytes: usize) {
        let count = &self.under_way[end];
        count.store(count.load(Relaxed).wrapping_add(bytes as u64), Relaxed);
    }

    /// Counts what an end received; true when it is known that nothing more is there.
    pub fn received(&self, end: usize, bytes: usize) -> bool {
        let count = &self.under_way[end];
        let left = count.load(Relaxed).wrapping_sub(bytes as u64);
        count.store(left, Relaxed);
        left == 0 && !self.exposed.load(Relaxed) && self.forks == fork::count()
    }
}
