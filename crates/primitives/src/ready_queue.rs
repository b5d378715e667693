//! The tasks of a loop in the order in which they run, and the decision when its owner has to look for events.

use std::collections::VecDeque;
use std::time::Duration;

/// Tasks between two polls of a busy loop, at most.
const BATCH: u32 = 64;
/// Tasks between two readings of the clock, which costs more than many a task.
const CLOCK_EVERY: u32 = 8;
/// Room that an empty queue keeps after a burst.
const KEPT: usize = 4096;

/// The properties of a task that the queue depends on.
pub trait Task {
    /// Returns true if the task does nothing but resume something: a caller that gives way may carry it out itself.
    fn is_resumption(&self) -> bool;
    /// Returns the priority among tasks at the end of the queue that have one, too.
    fn priority(&self) -> Option<i32>;
}

/// A FIFO queue of tasks that also decides when a poll is due.
///
/// A poll is due once 64 tasks ran, or once the switch interval has passed, for which the clock is read every eighth task.
/// So a queue that is never empty starves neither descriptors nor deadlines. Methods that may need the time are
/// given a `clock`, in nanoseconds, which they read seldom.
#[derive(Debug)]
pub struct ReadyQueue<T> {
    tasks: VecDeque<T>,
    since_poll: u32,
    last_poll: u64,
    switch_interval: Duration,
}

/// The next thing to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// Do this.
    Run(T),
    /// Poll without waiting, then ask again.
    Poll,
    /// Nothing is ready.
    Empty,
}

impl<T: Task> ReadyQueue<T> {
    /// Returns an empty queue, as after a poll at `now`.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self {
            tasks: VecDeque::new(),
            since_poll: 0,
            last_poll: now,
            switch_interval: Duration::from_millis(5),
        }
    }

    /// Appends a task.
    #[inline]
    pub fn push(&mut self, task: T) {
        self.tasks.push_back(task);
    }

    /// Puts a task ahead of all others.
    pub fn push_first(&mut self, task: T) {
        self.tasks.push_front(task);
    }

    /// Appends a task ahead of those with a lower priority at the end of the queue.
    #[inline]
    pub fn push_by_priority(&mut self, task: T) {
        let priority = task.priority();
        let lower = |other: &&T| other.priority().is_some() && other.priority() < priority;
        let overtaken = self.tasks.iter().rev().take_while(lower).count();
        if overtaken == 0 {
            self.tasks.push_back(task);
        } else {
            self.tasks.insert(self.tasks.len() - overtaken, task);
        }
    }

    /// Puts back the task that [`next`](Self::next) returned last, as the caller may not carry it out itself.
    #[inline]
    pub fn put_back(&mut self, task: T) {
        self.since_poll = self.since_poll.saturating_sub(1);
        self.tasks.push_front(task);
    }

    /// Returns the next task, or that a poll is due.
    #[inline]
    pub fn next(&mut self, clock: impl FnOnce() -> u64) -> Next<T> {
        if self.poll_due(clock) && !self.tasks.is_empty() {
            return Next::Poll;
        }
        match self.tasks.pop_front() {
            Some(task) => {
                self.since_poll += 1;
                Next::Run(task)
            }
            None => {
                if self.tasks.capacity() > KEPT {
                    self.tasks.shrink_to(KEPT);
                }
                Next::Empty
            }
        }
    }

    /// Appends `last` and takes the first task in exchange, if that is a resumption and no poll is due before it.
    #[inline]
    pub fn relay(&mut self, last: T, clock: impl FnOnce() -> u64) -> Option<T> {
        let direct = self.tasks.front().is_some_and(Task::is_resumption);
        let first = if direct && !self.poll_due(clock) {
            self.since_poll += 1;
            self.tasks.pop_front()
        } else {
            None
        };
        self.tasks.push_back(last);
        first
    }

    /// Counts a task that the owner carries out without having queued it, which it may only while the queue is empty;
    /// returns false, and counts nothing, if a poll is due before it.
    #[inline]
    pub fn pass(&mut self, clock: impl FnOnce() -> u64) -> bool {
        debug_assert!(self.tasks.is_empty(), "the task would overtake others");
        let passes = !self.poll_due(clock);
        self.since_poll += u32::from(passes);
        passes
    }

    #[inline]
    fn poll_due(&self, clock: impl FnOnce() -> u64) -> bool {
        self.since_poll >= BATCH
            || (self.since_poll % CLOCK_EVERY == CLOCK_EVERY - 1
                && Duration::from_nanos(clock().saturating_sub(self.last_poll))
                    >= self.switch_interval)
    }

    /// Starts counting anew after a poll at `now`.
    pub fn polled(&mut self, now: u64) {
        self.since_poll = 0;
        self.last_poll = now;
    }

    /// Counts a caller that gave way and found no other task ready; returns true when a poll is due.
    #[inline]
    pub fn idle_yield(&mut self, clock: impl FnOnce() -> u64) -> bool {
        self.since_poll += 1;
        self.poll_due(clock)
    }

    /// Counts as [`idle_yield`](Self::idle_yield) does, unless a poll is due with it; returns true if it was counted.
    #[inline]
    pub fn idle_yield_before_poll(&mut self, clock: impl FnOnce() -> u64) -> bool {
        let due = self.idle_yield(clock);
        if due {
            self.since_poll -= 1;
        }
        !due
    }

    /// Returns the time that tasks may run before the next poll.
    #[must_use]
    pub fn switch_interval(&self) -> Duration {
        self.switch_interval
    }

    /// Sets the time that tasks may run before the next poll.
    pub fn set_switch_interval(&mut self, interval: Duration) {
        self.switch_interval = interval;
    }

    /// Returns the task that is the next to run.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.tasks.front()
    }

    /// Returns the number of tasks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Returns the number of tasks that have a priority.
    #[must_use]
    pub fn with_priority(&self) -> usize {
        self.tasks
            .iter()
            .filter(|task| task.priority().is_some())
            .count()
    }

    /// Returns true if there is no task.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Takes out all tasks.
    pub fn take_all(&mut self) -> VecDeque<T> {
        std::mem::take(&mut self.tasks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::STEPS;
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Job {
        Resume(u32),
        Call(u32),
        Watcher(u32, i32),
    }

    impl Task for Job {
        fn is_resumption(&self) -> bool {
            matches!(self, Self::Resume(_))
        }

        fn priority(&self) -> Option<i32> {
            match self {
                Self::Watcher(_, priority) => Some(*priority),
                _ => None,
            }
        }
    }

    const SECOND: u64 = 1_000_000_000;

    fn no_clock() -> u64 {
        panic!("the clock is not to be read")
    }

    #[test]
    fn tasks_run_in_order_and_a_task_put_back_is_the_next() {
        let mut queue = ReadyQueue::new(0);
        for number in 0..3 {
            queue.push(Job::Call(number));
        }
        assert_eq!(queue.first(), Some(&Job::Call(0)));
        queue.push_first(Job::Call(9));
        assert_eq!(queue.first(), Some(&Job::Call(9)));
        assert_eq!(queue.next(no_clock), Next::Run(Job::Call(9)));
        assert_eq!(queue.next(no_clock), Next::Run(Job::Call(0)));
        queue.put_back(Job::Call(0));
        assert_eq!(queue.next(no_clock), Next::Run(Job::Call(0)));
        assert_eq!(queue.next(no_clock), Next::Run(Job::Call(1)));
        assert_eq!(queue.take_all(), [Job::Call(2)]);
        assert_eq!(queue.next(no_clock), Next::Empty);
    }

    #[test]
    fn a_busy_queue_polls_after_a_batch_though_no_time_passes() {
        let mut queue = ReadyQueue::new(0);
        for number in 0..=BATCH {
            queue.push(Job::Call(number));
        }
        for number in 0..BATCH {
            assert_eq!(queue.next(|| 0), Next::Run(Job::Call(number)));
        }
        assert_eq!(queue.next(|| 0), Next::Poll);
        assert_eq!(queue.next(|| 0), Next::Poll);
        queue.polled(0);
        assert_eq!(queue.next(|| 0), Next::Run(Job::Call(BATCH)));
        // No poll is due by the queue when it is empty: the owner waits for events then.
        assert_eq!(queue.next(|| 0), Next::Empty);
    }

    #[test]
    fn slow_tasks_let_it_poll_once_the_interval_has_passed() {
        let mut queue = ReadyQueue::new(SECOND);
        queue.set_switch_interval(Duration::from_millis(3));
        let mut now = SECOND;
        let mut ran = 0;
        loop {
            queue.push(Job::Call(ran));
            match queue.next(|| now) {
                Next::Run(_) => (ran, now) = (ran + 1, now + 1_000_000),
                found => break assert_eq!(found, Next::Poll),
            }
        }
        assert_eq!(ran, CLOCK_EVERY - 1);
        // A clock that went back does not count as time that passed.
        queue.polled(now);
        for _ in 0..CLOCK_EVERY {
            assert!(matches!(
                queue.next(|| now - SECOND / 2),
                Next::Run(_) | Next::Empty
            ));
        }
    }

    #[test]
    fn only_a_resumption_is_relayed() {
        let mut queue = ReadyQueue::new(0);
        queue.push(Job::Resume(1));
        queue.push(Job::Call(2));
        assert_eq!(queue.relay(Job::Resume(3), no_clock), Some(Job::Resume(1)));
        assert_eq!(queue.relay(Job::Resume(4), no_clock), None);
        let left = [Job::Call(2), Job::Resume(3), Job::Resume(4)];
        assert_eq!(queue.take_all(), left);
        // Two that relay to each other do not starve events.
        queue.push(Job::Resume(0));
        let relayed = (1..1000)
            .take_while(|number| queue.relay(Job::Resume(*number), || 0).is_some())
            .count();
        assert_eq!(relayed, BATCH as usize - 1);
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn idle_yields_poll_now_and_then() {
        let mut queue = ReadyQueue::<Job>::new(0);
        let yields = (1..1000).find(|_| queue.idle_yield(|| 0));
        assert_eq!(yields, Some(BATCH));
        queue.polled(0);
        let yields = (1..1000).find(|_| queue.idle_yield(|| SECOND));
        assert_eq!(yields, Some(CLOCK_EVERY - 1));
    }

    #[test]
    fn a_yield_that_a_poll_is_due_with_is_left_to_the_caller() {
        let mut queue = ReadyQueue::<Job>::new(0);
        let counted = (1..1000)
            .take_while(|_| queue.idle_yield_before_poll(|| 0))
            .count();
        assert_eq!(counted, BATCH as usize - 1);
        assert!(!queue.idle_yield_before_poll(|| 0));
        assert!(queue.idle_yield(|| 0));
    }

    #[test]
    fn tasks_that_were_never_queued_are_counted() {
        let mut queue = ReadyQueue::<Job>::new(0);
        let passed = (1..1000).take_while(|_| queue.pass(|| 0)).count();
        assert_eq!(passed, BATCH as usize);
        assert!(!queue.pass(|| 0));
        queue.push(Job::Call(0));
        assert_eq!(queue.next(|| 0), Next::Poll);
        queue.polled(0);
        assert_eq!(queue.next(|| 0), Next::Run(Job::Call(0)));
        assert!(queue.pass(|| 0));
    }

    #[test]
    fn an_empty_queue_gives_a_burst_back() {
        let mut queue = ReadyQueue::new(0);
        for number in 0..3 * KEPT as u32 {
            queue.push(Job::Call(number));
        }
        while queue.next(|| 0) != Next::Empty {
            queue.polled(0);
        }
        assert!(queue.tasks.capacity() <= 2 * KEPT);
    }

    fn job(number: u32, kind: u8, priority: i32) -> Job {
        match kind {
            0 => Job::Resume(number),
            1 => Job::Call(number),
            _ => Job::Watcher(number, priority),
        }
    }

    proptest! {
        /// A priority overtakes nothing but lower ones that were appended after the last task without one, and tasks of one
        /// priority keep their order.
        #[test]
        fn priorities_are_kept_between_other_tasks(kinds in prop::collection::vec((0..3u8, -2..3i32), 0..60)) {
            let mut queue = ReadyQueue::new(0);
            let mut model: Vec<Vec<Job>> = vec![Vec::new()];
            for (number, (kind, priority)) in kinds.into_iter().enumerate() {
                let job = job(number as u32, kind, priority);
                if job.priority().is_some() {
                    queue.push_by_priority(job);
                    model.last_mut().unwrap().push(job);
                } else {
                    queue.push(job);
                    model.push(vec![job]);
                    model.push(Vec::new());
                }
            }
            for group in &mut model {
                group.sort_by_key(|job| std::cmp::Reverse(job.priority()));
            }
            let watchers = model.iter().flatten().filter(|job| job.priority().is_some()).count();
            prop_assert_eq!(queue.with_priority(), watchers);
            prop_assert_eq!(queue.take_all(), model.concat());
        }

        /// Nothing is lost, nothing runs twice, and between two polls no more than a batch runs, whatever the owner does.
        #[test]
        fn nothing_is_lost_and_polls_come_in_time(steps in prop::collection::vec((0..6u8, 0..3u8), 0..STEPS)) {
            let mut queue = ReadyQueue::new(0);
            let mut model = VecDeque::new();
            let (mut now, mut since_poll) = (0, 0);
            for (number, (step, kind)) in steps.into_iter().enumerate() {
                now += 200_000;
                let job = job(number as u32, kind, 0);
                match step {
                    0 | 1 => {
                        queue.push(job);
                        model.push_back(job);
                    }
                    2 => {
                        queue.push_first(job);
                        model.push_front(job);
                    }
                    3 => match queue.next(|| now) {
                        Next::Run(found) => {
                            prop_assert_eq!(Some(found), model.pop_front());
                            since_poll += 1;
                        }
                        Next::Poll => {
                            prop_assert!(!model.is_empty());
                            queue.polled(now);
                            since_poll = 0;
                        }
                        Next::Empty => prop_assert!(model.is_empty()),
                    },
                    4 => {
                        let first = queue.relay(job, || now);
                        if let Some(first) = first {
                            prop_assert!(first.is_resumption());
                            prop_assert_eq!(Some(first), model.pop_front());
                            since_poll += 1;
                        }
                        model.push_back(job);
                    }
                    _ => {
                        if let Next::Run(found) = queue.next(|| now) {
                            queue.put_back(found);
                            prop_assert_eq!(Some(&found), model.front());
                        }
                    }
                }
                prop_assert!(since_poll <= BATCH);
                prop_assert_eq!(queue.len(), model.len());
            }
            prop_assert_eq!(queue.take_all(), model);
        }
    }
}
