//! The ready queue: the tasks of one loop, in the order in which they run.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use reactor::Time;

use crate::event_loop::callback::Callback;
use crate::greenlets::greenlet::Greenlet;
use crate::structured::scope::CancelScope;
use crate::waiting::timeout::Timeout;
use crate::waiting::turn::Turn;
use crate::waiting::wait::WaitRef;
use crate::watcher::Watcher;

/// One thing to do.
pub enum Task {
    /// Resume a parked greenlet.
    Wake(WaitRef),
    /// Go on with a greenlet that yielded.
    Yield(Turn),
    /// Start a `gevent.Greenlet`, unless it was killed meanwhile.
    Start(Py<Greenlet>),
    /// Switch to a greenlet, started or not, with arguments.
    Switch(Py<PyAny>, Py<PyTuple>),
    /// Raise in a greenlet.
    Throw(Box<(Py<PyAny>, PyErr)>),
    /// Raise a timeout whose time is up, unless it was cancelled meanwhile.
    Timeout(Py<Timeout>),
    /// Raise the cancellation of a scope, unless its block is over.
    Scope(Py<CancelScope>),
    /// Call a function that `run_callback` took.
    Callback(Py<Callback>),
    /// Call a watcher's callback, unless it was stopped meanwhile.
    Watcher(Py<Watcher>),
    /// Work of this crate that runs in the hub (and must not block).
    Native(Box<dyn FnOnce(Python<'_>) -> PyResult<()> + Send + Sync>),
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wake(_) => "Wake",
            Self::Yield(_) => "Yield",
            Self::Start(_) => "Start",
            Self::Switch(..) => "Switch",
            Self::Throw(_) => "Throw",
            Self::Timeout(_) => "Timeout",
            Self::Scope(_) => "Scope",
            Self::Callback(_) => "Callback",
            Self::Watcher(_) => "Watcher",
            Self::Native(_) => "Native",
        })
    }
}

/// Tasks between two zero-timeout polls of a busy loop, at most.
const BATCH: u32 = 64;
/// Tasks between two readings of the clock.
const CLOCK_EVERY: u32 = 8;

/// Room that an empty queue keeps after a burst.
const KEPT: usize = 4096;

/// A FIFO queue of tasks that also decides when a poll is due.
pub struct ReadyQueue {
    tasks: VecDeque<Task>,
    since_poll: u32,
    last_poll: Time,
    /// The time that tasks may run before the next poll.
    pub switch_interval: Duration,
}

/// The next thing to do.
pub enum Next {
    /// Do this.
    Run(Task),
    /// Poll without waiting, then ask again.
    Poll,
    /// Nothing is ready.
    Empty,
}

impl ReadyQueue {
    /// Makes an empty queue.
    pub fn new() -> Self {
        let switch_interval = Duration::from_millis(5);
        Self {
            tasks: VecDeque::new(),
            since_poll: 0,
            last_poll: Time::now(),
            switch_interval,
        }
    }

    /// Appends a task.
    #[inline]
    pub fn push(&mut self, task: Task) {
        self.tasks.push_back(task);
    }

    /// Puts a task ahead of all others.
    pub fn push_first(&mut self, task: Task) {
        self.tasks.push_front(task);
    }

    /// Appends a watcher's task, ahead of those of watchers with a lower priority at the end of the queue.
    #[inline]
    pub fn push_watcher(&mut self, watcher: Py<Watcher>) {
        let priority = watcher.get().priority();
        let lower = |task: &&Task| matches!(task, Task::Watcher(other) if other.get().priority() < priority);
        let overtaken = self.tasks.iter().rev().take_while(lower).count();
        if overtaken == 0 {
            self.tasks.push_back(Task::Watcher(watcher));
        } else {
            self.tasks
                .insert(self.tasks.len() - overtaken, Task::Watcher(watcher));
        }
    }

    /// Puts back a task that the caller may not run itself.
    #[inline]
    pub fn put_back(&mut self, task: Task) {
        self.since_poll = self.since_poll.saturating_sub(1);
        self.tasks.push_front(task);
    }

    /// Returns the next task, or that a poll is due.
    #[inline]
    pub fn next(&mut self) -> Next {
        if self.poll_due() && !self.tasks.is_empty() {
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

    /// Appends `last` and takes the first task in exchange, if that task only lets another greenlet go on and no poll
    /// is due before it.
    #[inline]
    pub fn relay(&mut self, last: Task) -> Option<Task> {
        let direct = matches!(self.tasks.front(), Some(Task::Yield(_) | Task::Wake(_)));
        let first = if direct && !self.poll_due() {
            self.since_poll += 1;
            self.tasks.pop_front()
        } else {
            None
        };
        self.tasks.push_back(last);
        first
    }

    #[inline]
    fn poll_due(&self) -> bool {
        self.since_poll >= BATCH
            || (self.since_poll % CLOCK_EVERY == CLOCK_EVERY - 1
                && Time::now().since(self.last_poll) >= self.switch_interval)
    }

    /// Starts counting anew after a poll at `now`.
    pub fn polled(&mut self, now: Time) {
        self.since_poll = 0;
        self.last_poll = now;
    }

    /// Counts a yield that found no other task ready; returns true when a poll is due.
    #[inline]
    pub fn idle_yield(&mut self) -> bool {
        self.since_poll += 1;
        self.poll_due()
    }

    /// Returns the number of tasks that wait.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Returns the number of watchers' tasks that wait.
    pub fn watchers(&self) -> usize {
        self.tasks
            .iter()
            .filter(|task| matches!(task, Task::Watcher(_)))
            .count()
    }

    /// Returns true if no task waits.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Takes everything, for the caller to drop outside the cell.
    pub fn take_all(&mut self) -> VecDeque<Task> {
        std::mem::take(&mut self.tasks)
    }
}
