//! Measures how long greenlets run before they let others run, and how long a loop goes without a poll.
//!
//! Reading the clock at each switch would make every program slower for numbers that few ask for. So nothing is
//! measured until a program asks for the first time, which sets
//! [`Unusual::MEASURED`](super::unusual::Unusual::MEASURED): parks, yields and the hub test the word that has this bit
//! in any case, and call this file behind that test.
//!
//! A *run* lasts from one switch to the next. A *turn* lasts from the end of one poll to the beginning of the next, and
//! may consist of many runs: an event that comes during a turn is noticed at its end, so the lengths of turns are the
//! loop's lag.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use pyo3::prelude::*;
use reactor::Time;

use crate::cell::GilCell;
use crate::ffi::frames::Stack;

/// The upper bounds of the classes of turns by their lengths, in nanoseconds. Longer ones are counted in a class without bound.
pub const BOUNDS: [u64; 14] = [
    100_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
];

/// Set once the runs of any loop are measured.
static ANY: AtomicBool = AtomicBool::new(false);

/// Returns true if the runs of any loop of this process are measured.
#[inline(always)]
pub fn any_measured() -> bool {
    ANY.load(Relaxed)
}

/// Has runs measured in every loop that is made from now on.
pub fn begin() {
    ANY.store(true, Relaxed);
}

/// The measures of one loop. They change with the GIL held, so loads and stores suffice; times are in nanoseconds.
#[derive(Debug)]
pub struct Runs {
    /// The beginning of the present run, 0 before the first.
    run_since: AtomicU64,
    /// The beginning of the present turn, 0 before the first.
    turn_since: AtomicU64,
    /// The loop's count of tasks at the beginning of the present turn.
    tasks_before: AtomicU64,
    /// The beginning of the present poll.
    poll_since: AtomicU64,
    /// The number of turns in each class.
    classes: [AtomicU64; BOUNDS.len() + 1],
    turn_nanos: AtomicU64,
    poll_nanos: AtomicU64,
    longest_run: AtomicU64,
    /// The frames at the end of the longest run; none where a callback of the hub made it.
    longest_at: GilCell<Option<Stack>>,
}

fn add(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed) + by, Relaxed);
}

impl Runs {
    /// Makes measures in which nothing is measured yet.
    pub fn new() -> Self {
        Self {
            run_since: AtomicU64::new(0),
            turn_since: AtomicU64::new(0),
            tasks_before: AtomicU64::new(0),
            poll_since: AtomicU64::new(0),
            classes: [const { AtomicU64::new(0) }; BOUNDS.len() + 1],
            turn_nanos: AtomicU64::new(0),
            poll_nanos: AtomicU64::new(0),
            longest_run: AtomicU64::new(0),
            longest_at: GilCell::new(None),
        }
    }

    /// Notes that a run ends now; `place` returns its frames, and is only called if it was the longest so far.
    #[cold]
    #[inline(never)]
    pub fn end_run(&self, py: Python<'_>, place: impl FnOnce() -> Option<Stack>) {
        let now = Time::now().as_nanos();
        let since = self.run_since.swap(now, Relaxed);
        let length = now.saturating_sub(since);
        if since != 0 && length > self.longest_run.load(Relaxed) {
            self.longest_run.store(length, Relaxed);
            drop(self.longest_at.replace(py, place()));
        }
    }

    /// Notes that a poll begins, with the loop's count of tasks. A turn in which nothing was done is not counted: the
    /// hub polls again right after a greenlet polled in vain.
    #[cold]
    #[inline(never)]
    pub fn begin_poll(&self, tasks: u64) {
        let now = Time::now().as_nanos();
        self.poll_since.store(now, Relaxed);
        let since = self.turn_since.load(Relaxed);
        if since == 0 || tasks == self.tasks_before.load(Relaxed) {
            return;
        }
        let length = now.saturating_sub(since);
        let class = BOUNDS.iter().position(|bound| length <= *bound);
        add(&self.classes[class.unwrap_or(BOUNDS.len())], 1);
        add(&self.turn_nanos, length);
    }

    /// Notes that the poll has ended at `now`, and that a turn and a run begin.
    #[cold]
    #[inline(never)]
    pub fn end_poll(&self, now: Time, tasks: u64) {
        let now = now.as_nanos();
        // The program may have asked for the first time while this poll waited.
        if let since @ 1.. = self.poll_since.swap(0, Relaxed) {
            add(&self.poll_nanos, now.saturating_sub(since));
        }
        self.tasks_before.store(tasks, Relaxed);
        self.turn_since.store(now, Relaxed);
        self.run_since.store(now, Relaxed);
    }

    /// Returns the number of turns in each class of [`BOUNDS`], and last the number of those that are longer.
    pub fn classes(&self) -> impl Iterator<Item = u64> {
        self.classes.iter().map(|class| class.load(Relaxed))
    }

    /// Returns the sum of the lengths of all counted turns.
    pub fn turn_nanos(&self) -> u64 {
        self.turn_nanos.load(Relaxed)
    }

    /// Returns the time that polls took in total, their waits included.
    pub fn poll_nanos(&self) -> u64 {
        self.poll_nanos.load(Relaxed)
    }

    /// Returns how long the present turn has been lasting.
    pub fn present_turn(&self) -> u64 {
        match self.turn_since.load(Relaxed) {
            0 => 0,
            since => Time::now().as_nanos().saturating_sub(since),
        }
    }

    /// Returns the length of the longest run and the frames at its end.
    pub fn longest(&self, py: Python<'_>) -> (u64, Option<Stack>) {
        let stack = self.longest_at.with(py, |stack| stack.clone());
        (self.longest_run.load(Relaxed), stack)
    }
}
