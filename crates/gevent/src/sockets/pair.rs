//! The two ends of a socket pair in one process. Each knows where the other waits, and how many bytes are under way to
//! it.
//!
//! So a send wakes the receiver without a poll, and a receiver that has got everything need not make a system call to
//! find that out. That holds only while all sends and receives go through these two objects: see [`Pair::expose`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use pyo3::prelude::*;
use reactor::SourceKey;

use crate::cell::GilCell;
use crate::event_loop::loop_::Loop;
use crate::ffi::fork;

/// The loop and the source that an end waits by.
pub type Registration = (Py<Loop>, SourceKey);

/// Both ends of a pair, so that one can wake the other without the kernel's help.
#[derive(Debug)]
pub struct Pair {
    registrations: GilCell<[Option<Registration>; 2]>,
    /// Bytes that were sent to an end and not received there.
    under_way: [AtomicU64; 2],
    /// True once others may send or receive: by the descriptor's number, or by operations that are not counted here. It never
    /// becomes false again.
    exposed: AtomicBool,
    /// The number of forks when the pair was made: a child of a later fork has both ends, too, and uses them uncounted.
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

    /// Records the loop and source by which an end waits, and returns the previous ones, for the caller to drop.
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

    /// Calls `f` with the loop and source by which an end waits, if it does.
    pub fn at(&self, py: Python<'_>, end: usize, f: impl FnOnce(&Registration)) {
        self.registrations
            .with_entered(py, |registrations| registrations[end].as_ref().map(f));
    }

    /// Notes that other code may send and receive from now on, so that the counts are no longer reliable.
    pub fn expose(&self) {
        self.exposed.store(true, Relaxed);
    }

    /// Counts bytes that were sent to an end.
    pub fn sent(&self, end: usize, bytes: usize) {
        let count = &self.under_way[end];
        count.store(count.load(Relaxed).wrapping_add(bytes as u64), Relaxed);
    }

    /// Counts bytes that an end received; returns true if it is known that no more are there.
    pub fn received(&self, end: usize, bytes: usize) -> bool {
        let count = &self.under_way[end];
        let left = count.load(Relaxed).wrapping_sub(bytes as u64);
        count.store(left, Relaxed);
        left == 0 && !self.exposed.load(Relaxed) && self.forks == fork::count()
    }
}
