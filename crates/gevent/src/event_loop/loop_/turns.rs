//! The part of the loop that greenlets which park, and the hub, use: the next task, the choice who goes on, notes of what ran.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use primitives::ready_queue::Next;
use pyo3::prelude::*;

use crate::event_loop::loop_::Loop;
use crate::event_loop::ready::{Task, clock};
use crate::event_loop::unusual::Unusual;
use crate::ffi::frames::{self, Stack};
use crate::waiting::wait::WaitRef;

/// Innermost frames of the longest run that are kept.
const SHOWN_FRAMES: usize = 16;

impl Loop {
    /// Returns the next task, after the polls that are due; none when nothing is ready.
    #[inline]
    pub fn next_task(&self, py: Python<'_>) -> Option<Task> {
        loop {
            match self.queue.with_entered(py, |queue| queue.next(clock)) {
                Next::Run(task) => {
                    self.progressed();
                    return Some(task);
                }
                Next::Poll => self.glance(py),
                Next::Empty if self.noted.with_entered(py, |noted| noted.is_empty()) => {
                    return None;
                }
                Next::Empty => {
                    let first = self.begin_turn(py);
                    if first.is_some() {
                        return first;
                    }
                }
            }
        }
    }

    /// Has a reader woken with the descriptors of the next turn. The caller has noted that the thread is inside this crate.
    #[inline]
    pub(crate) fn note_readable(&self, py: Python<'_>, reader: WaitRef) {
        self.noted.with_entered(py, |noted| noted.push(reader));
    }

    /// Begins a turn because of the readers that were noted, while nothing is ready. Where there is next to nothing else that
    /// a poll could find, and no timer, the readers are all that the turn brings: the first of them to go on is returned
    /// without a way over the queue.
    #[inline]
    fn begin_turn(&self, py: Python<'_>) -> Option<Task> {
        let quiet = self
            .sources
            .with_entered(py, |sources| sources.waiting() <= 1)
            && self.watched.with_entered(py, |watched| watched.is_empty())
            && self
                .timers
                .with_entered(py, |timers| timers.next_deadline().is_none())
            && self.queue.with_entered(py, |queue| queue.pass(clock));
        if !quiet {
            self.begin_busy_turn(py);
            return None;
        }
        // The reader that was noted last goes on first, as in `wake_noted`.
        let last = self.noted.with_entered(py, Vec::pop)?;
        if !self.noted.with_entered(py, |noted| noted.is_empty()) {
            self.wake_noted(py);
        }
        // A reader that something else has woken meanwhile is in the queue already, or has gone on.
        let woken = last.wake_unqueued();
        woken.then(|| {
            self.progressed();
            Task::Wake(last)
        })
    }

    /// Begins a turn as [`begin_turn`](Self::begin_turn) does: with a poll, or, where a poll is neither due nor could find
    /// much else, with the timers that are due.
    #[cold]
    #[inline(never)]
    fn begin_busy_turn(&self, py: Python<'_>) {
        let others = self.sources.with_entered(py, |sources| sources.waiting());
        if others > 1 || self.watched.with_entered(py, |watched| !watched.is_empty()) {
            return self.glance(py);
        }
        let due = self
            .timers
            .with_entered(py, |timers| timers.next_deadline());
        if due.is_none() {
            return self.wake_noted(py);
        }
        let now = self.update_time();
        let timeouts = self.expire(py, now);
        self.wake_noted(py);
        for timeout in timeouts {
            self.carry_out(py, timeout, now);
        }
    }

    /// Wakes the readers that were noted, the last one first, as [`poll`](Self::poll) does with descriptors.
    pub(crate) fn wake_noted(&self, py: Python<'_>) {
        while let Some(reader) = self.noted.with_entered(py, Vec::pop) {
            reader.wake_owned(py);
        }
    }

    /// Puts back a task that the caller of [`next_task`](Self::next_task) may not run itself.
    #[inline]
    pub fn put_back(&self, py: Python<'_>, task: Task) {
        self.queue.with_entered(py, |queue| queue.put_back(task));
    }

    /// Appends `last`, the turn of a greenlet that yields, and takes the first task in exchange, if that task only lets
    /// another greenlet go on, and nothing else is due before it.
    #[inline]
    pub fn relay(&self, py: Python<'_>, last: Task) -> Option<Task> {
        if self.unusual.any(Unusual::PHASED | Unusual::IN_TASK) {
            self.queue.with_entered(py, |queue| queue.push(last));
            return None;
        }
        self.queue
            .with_entered(py, |queue| queue.relay(last, clock))
    }

    /// Returns true if a yield lets no other greenlet run; polls first when a poll is due.
    ///
    /// # Errors
    /// Returns the error that a signal handler raises.
    pub fn yields_alone(&self, py: Python<'_>) -> PyResult<bool> {
        let (empty, due) = self.queue.with_entered(py, |queue| {
            let empty = queue.is_empty();
            (empty, empty && queue.idle_yield(clock))
        });
        // Watchers of the loop's phases are called in every turn, and a hub in the middle of a task has to go on.
        if self
            .unusual
            .any(Unusual::PHASED | Unusual::IN_TASK | Unusual::MEASURED)
        {
            self.end_measured_run(py);
            if self.unusual.any(Unusual::PHASED | Unusual::IN_TASK) {
                return Ok(false);
            }
        }
        if due {
            py.check_signals()?;
            self.glance(py);
            return Ok(self.queue.with_entered(py, |queue| queue.is_empty()));
        }
        Ok(empty)
    }

    /// Returns true if a yield lets no other greenlet run, and nothing is due that [`yields_alone`](Self::yields_alone)
    /// would have to do first. This calls no Python.
    #[inline]
    pub fn yields_before_poll(&self, py: Python<'_>) -> bool {
        (!self
            .unusual
            .any(Unusual::PHASED | Unusual::IN_TASK | Unusual::MEASURED)
            || self.is_measured_only())
            && self.queue.with_entered(py, |queue| {
                queue.is_empty() && queue.idle_yield_before_poll(clock)
            })
    }

    /// Returns true if nothing is unusual but that runs are measured, and the one that ends now need not be timed.
    #[cold]
    #[inline(never)]
    fn is_measured_only(&self) -> bool {
        !self.unusual.any(Unusual::PHASED | Unusual::IN_TASK) && self.runs.passes_untimed()
    }

    /// Runs a part of a hub's task that may call Python or raise in a greenlet, and so may switch away from the hub.
    ///
    /// The hub is then suspended in the middle of the task, and the rest of the task, with everything it holds, waits
    /// with it. Greenlets that park onto each other would leave it there for as long as they are busy. So a greenlet
    /// that parks meanwhile gives the turn back to the hub, which ends the task before any other greenlet is resumed.
    pub fn in_task<R>(&self, part: impl FnOnce() -> R) -> R {
        let before = self.unusual.put(Unusual::IN_TASK, true);
        let result = part();
        self.unusual.put(Unusual::IN_TASK, before);
        result
    }

    /// Returns true if the hub is suspended in the middle of a task, and is to go on first.
    #[inline]
    pub fn owes_turn(&self) -> bool {
        self.unusual.any(Unusual::IN_TASK)
    }

    /// Returns true if watchers of prepare, check or idle are active: the hub calls them in every turn of the loop.
    #[inline]
    pub fn owes_phases(&self) -> bool {
        self.unusual.any(Unusual::PHASED)
    }

    /// Returns true if the hub has to make even a poll without waiting, as it runs watchers around it or is about to end.
    #[inline]
    pub fn must_poll_in_hub(&self) -> bool {
        self.unusual
            .any(Unusual::PHASED | Unusual::SIGNALS | Unusual::STOPPING)
    }

    /// Returns true if the greenlet that parks is to give the turn back to the hub; its run ends here for the measures.
    #[inline]
    pub fn ends_run_for_hub(&self, py: Python<'_>) -> bool {
        if !self.unusual.any(Unusual::IN_TASK | Unusual::MEASURED) {
            return false;
        }
        self.end_measured_run(py);
        self.owes_turn()
    }

    /// Notes, where runs are measured, the end of a greenlet's last run; `place` returns where that was.
    pub fn end_last_run(&self, py: Python<'_>, place: impl FnOnce() -> Option<Stack>) {
        if self.unusual.any(Unusual::MEASURED) && self.is_mine() {
            self.runs.end_run(py, place);
        }
    }

    /// Returns true if a signal came whose handlers the hub is to run; that is for the caller to do then.
    #[inline]
    pub fn take_signals(&self) -> bool {
        self.unusual.put(Unusual::SIGNALS, false)
    }

    /// Notes, where runs are measured, that the running greenlet's run ends here.
    #[cold]
    #[inline(never)]
    fn end_measured_run(&self, py: Python<'_>) {
        if self.unusual.any(Unusual::MEASURED) {
            self.runs
                .end_run(py, || Some(frames::capture(py, SHOWN_FRAMES, None)));
        }
    }

    /// Forgets a task whose hub ended in the middle of it.
    pub(crate) fn forget_task(&self) {
        self.unusual.put(Unusual::IN_TASK, false);
    }

    /// Returns a number that changes when a greenlet waits or a task is done.
    pub fn progress(&self) -> u64 {
        self.activity
            .load(Relaxed)
            .wrapping_add(self.iterations.load(Relaxed))
    }

    /// Notes which greenlet is about to run, by its address, or 0 for a callback, for the monitor.
    #[inline]
    pub(crate) fn lets_run(&self, address: usize) {
        self.active.store(address, Relaxed);
    }

    /// Notes that a task was done.
    #[inline]
    pub fn progressed(&self) {
        self.activity
            .store(self.activity.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Notes that a task from another thread will probably come within microseconds.
    pub fn expect_mail_soon(&self) {
        self.mail_is_near.store(true, Relaxed);
    }

    /// Returns how long ready greenlets may run before the next poll.
    pub fn switch_interval(&self, py: Python<'_>) -> Duration {
        self.queue.with(py, |queue| queue.switch_interval())
    }

    /// Limits how long ready greenlets may run before the next poll.
    pub fn poll_within(&self, py: Python<'_>, interval: Duration) {
        self.queue
            .with(py, |queue| queue.set_switch_interval(interval));
    }
}
