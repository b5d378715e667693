//! One word of bits per loop that says what is unusual about it, so that a greenlet that parks makes a single test.
//!
//! Parking is the most frequent thing that a program does here, and nearly always nothing stands in its way. Each
//! circumstance that might (a hub in the middle of a task, watchers around each poll, a signal, a run that is to end)
//! is a bit of this word, which is set where the circumstance begins and cleared where it ends. Everything that a bit
//! asks for belongs behind the test of it, in a function that is not inlined, so that the usual case stays a load and a
//! branch. Bits change with the GIL held, so loads and stores suffice.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// Set once any loop of the process was destroyed, or left behind by a fork.
static ANY_GONE: AtomicBool = AtomicBool::new(false);

/// Returns true if a loop of this process may be one that never runs again.
#[inline(always)]
pub fn any_loop_is_gone() -> bool {
    ANY_GONE.load(Relaxed)
}

/// Notes that a loop never runs again. A forked child calls it too, as the loops of the parent's other threads do not
/// run there.
pub fn note_gone_loop() {
    ANY_GONE.store(true, Relaxed);
}

/// The set of unusual things that hold for a loop.
#[derive(Debug)]
pub struct Unusual(AtomicU32);

impl Unusual {
    /// The hub is in the middle of a task, and a greenlet that parks gives the turn back to it.
    pub const IN_TASK: u32 = 1;
    /// Watchers of prepare, check or idle are active, for which only the hub polls.
    pub const PHASED: u32 = 1 << 1;
    /// A signal's handlers in Python are to be run by the hub.
    pub const SIGNALS: u32 = 1 << 2;
    /// A run is to end.
    pub const STOPPING: u32 = 1 << 3;
    /// The loop was destroyed or left behind: nothing in it runs any more.
    pub const DESTROYED: u32 = 1 << 4;
    /// Runs and turns are measured, because the program has asked for that; see [`crate::event_loop::runs`].
    pub const MEASURED: u32 = 1 << 5;

    /// asyncio's state in the thread is that of a greenlet that waits; see [`crate::event_loop::loop_::held`].
    pub const HOLDS_STATE: u32 = 1 << 6;

    /// Returns a set in which nothing is unusual.
    pub const fn none() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Returns true if any of `bits` is set.
    #[inline(always)]
    pub fn any(&self, bits: u32) -> bool {
        self.0.load(Relaxed) & bits != 0
    }

    /// Sets `bits`, or clears them; returns true if any was set before.
    #[inline]
    pub fn put(&self, bits: u32, set: bool) -> bool {
        let before = self.0.load(Relaxed);
        let after = if set { before | bits } else { before & !bits };
        self.0.store(after, Relaxed);
        before & bits != 0
    }
}
