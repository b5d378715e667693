//! Measures how long greenlets run before they let others run, and how long a loop goes without a poll.
//!
//! Reading the clock at each switch would make every program slower for numbers that few ask for. So nothing is
//! measured until a program asks for the first time, which sets
//! [`Unusual::MEASURED`](super::unusual::Unusual::MEASURED): parks, yields and the hub test the word that has this bit
//! in any case, and call this file behind that test.
//!
//! A *run* lasts from one switch to the next. A *turn* lasts from the end of one poll to the next poll, and may consist
//! of many runs: an event that comes during a turn is noticed at its end, so the lengths of turns are the loop's lag.
//! A poll reads the clock at its end in any case; only one that waits reads it at its beginning, too.
//!
//! # Why most runs are not timed
//!
//! Whoever asks once, such as a view, has the program measured for good, so the measuring has to cost a loaded server
//! next to nothing. A switch takes 0.1 µs, and reading the exact clock a fifth of that. So in most turns a switch reads
//! the time of the kernel's last tick, which is a few loads from memory, and that decides whether the run is timed:
//!
//! ```text
//!  ticks of the kernel   |         |         |         |         |
//!  runs                   ─a─ ─b──── ───────────c─────────── ─d─
//!  last tick at each end    0      1                        3   3
//! ```
//!
//! A run that began at a known moment or in a known tick, and in which no whole tick passed (`a`, `b`, `d`), is shorter
//! than two or three ticks and not timed. One that is longer (`c`) is always noticed, and timed by the exact clock; its
//! beginning is then that of the tick in which it began, unless it is known better, so that its length is never too
//! small, and too large by less than a tick. Every sixteenth turn is timed by the exact clock as a whole, so that the
//! short runs of a program that has no long ones are found, too.

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

/// One turn of so many is timed by the exact clock as a whole.
const TIMED_TURNS: u64 = 16;

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
    /// The earliest moment at which the present run may have begun, 0 before the first run.
    run_since: AtomicU64,
    /// The run may have begun by so much less than this later, 0 if its beginning is known.
    run_slack: AtomicU64,
    /// The time from one tick of the kernel to the next.
    tick: u64,
    /// True if each run of this turn is timed.
    exact: AtomicBool,
    /// The number of turns that were counted.
    turns: AtomicU64,
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
            run_slack: AtomicU64::new(0),
            tick: Time::tick_length().as_nanos() as u64,
            exact: AtomicBool::new(true),
            turns: AtomicU64::new(0),
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

    /// Returns true if the run that ends now is too short to be timed, after noting that another one begins.
    #[inline]
    pub fn passes_untimed(&self) -> bool {
        if self.exact.load(Relaxed) {
            return false;
        }
        let last_tick = Time::last_tick().as_nanos();
        let since = self.run_since.load(Relaxed);
        let passed = last_tick.saturating_sub(since);
        let is_short = passed < self.tick.saturating_add(self.run_slack.load(Relaxed));
        if !is_short && passed.saturating_add(self.tick) > self.longest_run.load(Relaxed) {
            return false;
        }
        self.run_since.store(since.max(last_tick), Relaxed);
        self.run_slack.store(self.tick, Relaxed);
        true
    }

    /// Notes that a run ends now; `place` returns its frames, and is only called if it was the longest so far.
    #[inline(never)]
    pub fn end_run(&self, py: Python<'_>, place: impl FnOnce() -> Option<Stack>) {
        if self.passes_untimed() {
            return;
        }
        let now = Time::now().as_nanos();
        let since = self.run_since.load(Relaxed);
        self.begin_run(now);
        let length = now.saturating_sub(since);
        if since != 0 && length > self.longest_run.load(Relaxed) {
            self.longest_run.store(length, Relaxed);
            drop(self.longest_at.replace(py, place()));
        }
    }

    fn begin_run(&self, now: u64) {
        self.run_since.store(now, Relaxed);
        self.run_slack.store(0, Relaxed);
    }

    /// Notes that a poll begins which may wait, with the loop's count of tasks.
    #[cold]
    #[inline(never)]
    pub fn begin_wait(&self, tasks: u64) {
        let now = Time::now().as_nanos();
        self.poll_since.store(now, Relaxed);
        self.end_turn(now, tasks);
    }

    /// Counts the turn that ends at `now`, unless it was short and no task was done in it: the hub polls again right
    /// after a greenlet polled in vain. A greenlet that runs alone and yields makes long turns without a task.
    fn end_turn(&self, now: u64, tasks: u64) {
        let since = self.turn_since.load(Relaxed);
        let length = now.saturating_sub(since);
        if since == 0 || (tasks == self.tasks_before.load(Relaxed) && length <= BOUNDS[0]) {
            return;
        }
        let class = BOUNDS.iter().position(|bound| length <= *bound);
        add(&self.classes[class.unwrap_or(BOUNDS.len())], 1);
        add(&self.turn_nanos, length);
        add(&self.turns, 1);
        let is_timed = self.turns.load(Relaxed).is_multiple_of(TIMED_TURNS);
        self.exact.store(is_timed, Relaxed);
    }

    /// Notes that a poll has ended at `now`, and that a turn and a run begin.
    #[cold]
    #[inline(never)]
    pub fn end_poll(&self, now: Time, tasks: u64) {
        let now = now.as_nanos();
        match self.poll_since.swap(0, Relaxed) {
            // It did not wait, so it was too short to matter for the turn's length. Or the program asked for the first
            // time while it waited; no turn has begun then.
            0 => self.end_turn(now, tasks),
            since => add(&self.poll_nanos, now.saturating_sub(since)),
        }
        self.tasks_before.store(tasks, Relaxed);
        self.turn_since.store(now, Relaxed);
        self.begin_run(now);
    }

    /// Returns the number of turns in each class of [`BOUNDS`], and last the number of those that are longer.
    pub fn classes(&self) -> impl Iterator<Item = u64> {
        self.classes.iter().map(|class| class.load(Relaxed))
    }

    /// Returns the sum of the lengths of all counted turns.
    pub fn turn_nanos(&self) -> u64 {
        self.turn_nanos.load(Relaxed)
    }

    /// Returns the time for which polls waited in total.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns measures of a loop whose present turn is not timed as a whole.
    fn in_an_untimed_turn() -> Runs {
        let runs = Runs::new();
        assert!(!runs.passes_untimed(), "the first turn is timed");
        for tasks in 1..=2 {
            runs.end_poll(Time::now(), tasks);
        }
        runs
    }

    /// Runs until the kernel's last tick is so many ticks after now.
    fn pass(ticks: u32) {
        let end = Time::now().after(ticks * Time::tick_length());
        while Time::last_tick() < end {}
    }

    #[test]
    fn short_runs_are_not_timed() {
        let runs = in_an_untimed_turn();
        // The thread may be interrupted for some ticks in some of these runs.
        let passed = (0..100_000).filter(|_| runs.passes_untimed()).count();
        assert!(passed > 0);
    }

    #[test]
    fn long_runs_are_timed() {
        let runs = in_an_untimed_turn();
        pass(1);
        assert!(!runs.passes_untimed(), "its beginning is known");
        runs.end_poll(Time::now(), 2);
        runs.run_slack.store(runs.tick, Relaxed);
        pass(2);
        assert!(!runs.passes_untimed(), "the tick of its beginning is known");
    }

    #[test]
    fn runs_shorter_than_the_longest_are_not_timed() {
        let runs = in_an_untimed_turn();
        runs.longest_run.store(u64::MAX, Relaxed);
        pass(4);
        assert!(runs.passes_untimed());
    }

    #[test]
    fn one_turn_of_some_is_timed() {
        let runs = Runs::new();
        let timed = (0..=4 * TIMED_TURNS).filter(|tasks| {
            runs.end_poll(Time::now(), *tasks);
            runs.exact.load(Relaxed)
        });
        assert_eq!(timed.count(), 5);
    }
}
