//! The wait whose asyncio state is still in the thread.
//!
//! A greenlet that parks takes asyncio's state out of the thread (`waiting/asyncio_state.rs`), so that nothing else finds
//! a running loop there. When a loop of asyncio waits, the hub mostly does nothing but poll and resume it, and taking
//! the state out and putting it back would be a quarter of the work. So such a wait may leave the state where it is: the
//! hub *holds* it, and moves it to the wait as soon as it is about to run anything but that wait's own wake-up.
//!
//! ```text
//! the loop's greenlet           the hub
//! polls, finds nothing
//! hold_state ── switch ───────► nothing is ready: polls, and waits
//!                               the next task is ─┬─ that wait's wake-up ──► release_state_of, the state never moved
//!                                                 └─ any other ────────────► take_held, the state goes to the wait
//! ```

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use pyo3::prelude::*;

use crate::event_loop::loop_::Loop;
use crate::event_loop::ready::Task;
use crate::event_loop::unusual::Unusual;
use crate::waiting::wait::{Wait, WaitRef};

/// The circumstances in which the hub does more than to poll before it resumes a greenlet.
const BUSY: u32 = Unusual::IN_TASK
    | Unusual::PHASED
    | Unusual::SIGNALS
    | Unusual::STOPPING
    | Unusual::DESTROYED
    | Unusual::MEASURED
    | Unusual::HOLDS_STATE;

impl Loop {
    /// Returns true if the hub would do nothing but poll if a greenlet switched to it now. A loop that no hub runs is not
    /// idle: its hub may have to begin, or be in the midst of running another loop.
    pub fn is_idle(&self, py: Python<'_>) -> bool {
        self.running.load(Relaxed) > 0
            && !self.unusual.any(BUSY)
            && !self.mail_is_near.load(Relaxed)
            && !self.has_ready(py)
    }

    /// Notes that asyncio's state in the thread is that of `wait`, whose greenlet is about to switch to the hub.
    pub fn hold_state(&self, py: Python<'_>, wait: &WaitRef) {
        drop(self.held.replace(py, Some(Arc::downgrade(wait))));
        self.unusual.put(Unusual::HOLDS_STATE, true);
    }

    /// Returns true if asyncio's state in the thread is that of a wait.
    #[inline]
    pub fn holds_state(&self) -> bool {
        self.unusual.any(Unusual::HOLDS_STATE)
    }

    /// Forgets that asyncio's state in the thread is that of a wait, and returns the wait.
    pub fn take_held(&self, py: Python<'_>) -> Option<WaitRef> {
        self.unusual.put(Unusual::HOLDS_STATE, false);
        self.held.take(py).as_ref().and_then(Weak::upgrade)
    }

    /// Forgets that asyncio's state in the thread is that of `wait`, which is over; returns false if it was not.
    pub fn release_state_of(&self, py: Python<'_>, wait: &Wait) -> bool {
        let is_held = |held: &mut Option<Weak<Wait>>| {
            let held = held.as_ref();
            held.is_some_and(|held| std::ptr::eq(held.as_ptr(), wait))
        };
        let releases = self.holds_state() && self.held.with(py, is_held);
        if releases {
            drop(self.take_held(py));
        }
        releases
    }

    /// Returns true if the hub can leave asyncio's state where it is for its next step: nothing is ready, or the wait that
    /// the state belongs to is the next to go on.
    pub fn may_hold_on(&self, py: Python<'_>) -> bool {
        if self.unusual.any(Unusual::SIGNALS) {
            return false;
        }
        let held = self.held.with(py, |held| held.as_ref().map(Weak::as_ptr));
        self.queue.with(py, |queue| match queue.first() {
            Some(Task::Wake(next)) => held == Some(Arc::as_ptr(next)),
            Some(_) => false,
            None => true,
        })
    }
}
