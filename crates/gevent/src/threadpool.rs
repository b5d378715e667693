//! What greenlets and native worker threads of a `gevent.threadpool.ThreadPool` share: its tasks, and who waits for what.
//!
//! All of it is only touched with the GIL held, except for the bell that sleeping workers wait at without it. So a forked
//! child, which has none of the workers, needs a new bell and nothing else.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::cell::GilCell;
use crate::hub;
use crate::links::{Link, Links};
use crate::loop_::Inbox;
use crate::park;
use crate::ready::Task;
use crate::watcher::async_::Async;

/// Set when the interpreter is about to end: a thread that asks it for the GIL then is ended in the middle of things.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Where idle workers sleep. It counts how often it was rung and nobody heard it yet.
#[derive(Default)]
struct Bell {
    rung: Mutex<usize>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_one();
    }

    /// Sleeps until it is rung; false when that took longer than `limit`.
    fn wait(&self, limit: Option<Duration>) -> bool {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = |rung: &mut usize| *rung == 0;
        let mut rung = match limit {
            None => self.changed.wait_while(rung, silent).unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                let waited = self.changed.wait_timeout_while(rung, limit, silent);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        let heard = *rung > 0;
        *rung = rung.saturating_sub(1);
        drop(rung);
        while !heard && ENDING.load(Relaxed) {
            std::thread::park();
        }
        heard
    }
}

struct State {
    tasks: VecDeque<Py<PyAny>>,
    /// Tasks that were admitted and are not done.
    unfinished: usize,
    /// How many of those there may be.
    limit: usize,
    /// Workers that exist, or are about to.
    workers: usize,
    /// How many of those are to leave once there is no task.
    dismissed: usize,
    sleeping: usize,
    waking: usize,
    bell: Arc<Bell>,
    /// Greenlets that wait to be admitted, and greenlets that wait for fewer tasks or workers.
    entrants: Links,
    watchers: Links,
}

/// The tasks of a thread pool: what is to be done, by how many workers.
#[pyclass(frozen, name = "TaskQueue", module = "gevent.threadpool")]
pub struct TaskQueue {
    state: GilCell<State>,
}

fn deliver(parcel: Option<(Arc<Inbox>, Task)>) {
    if let Some((inbox, task)) = parcel {
        inbox.send(task);
    }
}

impl TaskQueue {
    /// Parks the running greenlet among the links that `choose` picks until somebody wakes it.
    fn park(&self, py: Python<'_>, choose: impl Fn(&mut State) -> &mut Links) -> PyResult<()> {
        let wait = hub::new_wait(py)?;
        self.state.with(py, |state| choose(state).push(Link::Wait(wait.clone())));
        let woken = park::park(py, &wait);
        let left = self.state.with(py, |state| choose(state).remove_wait(&wait));
        drop(left);
        woken.map(drop)
    }

    fn admit_waiting(&self, py: Python<'_>) {
        let room = self.state.with(py, |state| state.limit.saturating_sub(state.unfinished));
        for _ in 0..room {
            match self.state.with(py, |state| state.entrants.pop()) {
                Some(Link::Wait(wait)) => drop(wait.wake_none(py)),
                Some(Link::Callable(_)) => {}
                None => return,
            }
        }
    }

    fn tell_watchers(&self, py: Python<'_>) {
        let mut watchers = self.state.with(py, |state| state.watchers.take());
        while let Some(link) = watchers.pop() {
            if let Link::Wait(wait) = link {
                wait.wake_none(py);
            }
        }
    }

    fn ring_if_asleep(&self, py: Python<'_>) {
        let bell = self.state.with(py, |state| {
            let due = state.sleeping > state.waking;
            state.waking += usize::from(due);
            due.then(|| state.bell.clone())
        });
        if let Some(bell) = bell {
            bell.ring();
        }
    }

    /// Takes note that a worker leaves, if one may: when it was dismissed, or has been `idle` for too long.
    fn leave_if_due(&self, py: Python<'_>, idle: bool) -> bool {
        self.state.with(py, |state| {
            let due = state.dismissed > 0 || idle;
            if due {
                state.dismissed = state.dismissed.saturating_sub(1);
                state.workers = state.workers.saturating_sub(1);
            }
            due
        })
    }
}

#[pymethods]
impl TaskQueue {
    #[new]
    fn new(limit: usize) -> Self {
        let state = State {
            tasks: VecDeque::new(),
            unfinished: 0,
            limit,
            workers: 0,
            dismissed: 0,
            sleeping: 0,
            waking: 0,
            bell: Arc::default(),
            entrants: Links::new(),
            watchers: Links::new(),
        };
        Self { state: GilCell::new(state) }
    }

    /// Wait until there is room for a task, and take that room.
    fn enter(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            let entered = self.state.with(py, |state| {
                let room = state.unfinished < state.limit;
                state.unfinished += usize::from(room);
                room
            });
            if entered {
                return Ok(());
            }
            let woken = self.park(py, |state| &mut state.entrants);
            if woken.is_err() {
                // It may have been woken for a room that it does not take.
                self.admit_waiting(py);
                return woken;
            }
        }
    }

    /// Give back the room of a task that is done.
    fn leave(&self, py: Python<'_>) {
        let empty = self.state.with(py, |state| {
            state.unfinished = state.unfinished.saturating_sub(1);
            state.unfinished == 0
        });
        self.admit_waiting(py);
        if empty {
            self.tell_watchers(py);
        }
    }

    /// Queue a task that has entered.
    fn put(&self, py: Python<'_>, task: Py<PyAny>) {
        self.state.with(py, |state| state.tasks.push_back(task));
        self.ring_if_asleep(py);
    }

    /// Return the next task, for a worker. None tells it to leave; it is no longer counted then.
    ///
    /// Blocks the native thread, at most for `timeout` seconds if that is positive. `done`, which tells of the task
    /// before, is sent when the GIL is free: the thread that it wakes wants it next.
    #[pyo3(signature = (timeout, done = None))]
    fn get(&self, py: Python<'_>, timeout: f64, done: Option<&Bound<'_, Async>>) -> Option<Py<PyAny>> {
        let mut parcel = done.and_then(Async::prepare);
        let limit = (timeout > 0.0).then(|| Duration::from_secs_f64(timeout.min(1e9)));
        let mut idle = false;
        loop {
            let (task, bell) = self.state.with(py, |state| {
                let task = state.tasks.pop_front();
                let sleeps = task.is_none() && state.dismissed == 0 && !idle;
                state.sleeping += usize::from(sleeps);
                (task, sleeps.then(|| state.bell.clone()))
            });
            if task.is_some() {
                deliver(parcel.take());
                return task;
            }
            let Some(bell) = bell else {
                deliver(parcel.take());
                if self.leave_if_due(py, idle) {
                    self.tell_watchers(py);
                    return None;
                }
                continue;
            };
            let parcel = parcel.take();
            let heard = py.detach(|| {
                deliver(parcel);
                bell.wait(limit)
            });
            idle = !heard;
            self.state.with(py, |state| {
                state.sleeping = state.sleeping.saturating_sub(1);
                state.waking = state.waking.saturating_sub(usize::from(heard));
            });
        }
    }

    /// Count one more worker.
    fn hire(&self, py: Python<'_>) {
        self.state.with(py, |state| state.workers += 1);
    }

    /// Count one worker less: it failed.
    fn lose(&self, py: Python<'_>) {
        self.state.with(py, |state| state.workers = state.workers.saturating_sub(1));
        self.tell_watchers(py);
    }

    /// Have workers leave, once there is no task for them, until `most` are left.
    fn dismiss(&self, py: Python<'_>, most: usize) {
        let surplus = self.state.with(py, |state| {
            state.dismissed = state.workers.saturating_sub(most);
            state.dismissed
        });
        for _ in 0..surplus {
            self.ring_if_asleep(py);
        }
    }

    /// Like `dismiss`, and wait until they have left.
    fn shrink(&self, py: Python<'_>, most: usize) -> PyResult<()> {
        loop {
            // Each time: others may be hired meanwhile.
            self.dismiss(py, most);
            if self.state.with(py, |state| state.workers <= most) {
                return Ok(());
            }
            let loop_ = hub::current_loop(py)?;
            // A worker that leaves is something to wait for.
            loop_.get().count_ref(1);
            let woken = self.park(py, |state| &mut state.watchers);
            loop_.get().count_ref(-1);
            woken?;
        }
    }

    /// Wait until no task is unfinished.
    fn join(&self, py: Python<'_>) -> PyResult<()> {
        while self.state.with(py, |state| state.unfinished > 0) {
            self.park(py, |state| &mut state.watchers)?;
        }
        Ok(())
    }

    /// Forget the workers, in a forked child; the tasks that none of them had taken stay.
    fn after_fork(&self, py: Python<'_>) {
        let old = self.state.with(py, |state| {
            state.unfinished = state.tasks.len();
            state.workers = 0;
            state.dismissed = 0;
            state.sleeping = 0;
            state.waking = 0;
            std::mem::take(&mut state.bell)
        });
        // A worker of the parent may have held its lock at the fork: it is leaked, not touched.
        std::mem::forget(old);
        self.admit_waiting(py);
        self.tell_watchers(py);
    }

    /// How many unfinished tasks there may be.
    #[getter]
    fn limit(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.limit)
    }

    #[setter]
    fn set_limit(&self, py: Python<'_>, limit: usize) {
        self.state.with(py, |state| state.limit = limit);
        self.admit_waiting(py);
    }

    /// How many workers there are.
    #[getter]
    fn workers(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.workers)
    }

    /// How many workers there are that were not told to leave.
    #[getter]
    fn staying(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.workers.saturating_sub(state.dismissed))
    }

    /// How many tasks are unfinished.
    fn __len__(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.unfinished)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.state.peek(|state| {
            state.entrants.traverse(visit)?;
            state.watchers.traverse(visit)?;
            state.tasks.iter().try_for_each(|task| visit.call(task))
        });
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let tasks = self.state.with(py, |state| std::mem::take(&mut state.tasks));
        drop(tasks);
    }
}

/// Have workers that were idle for long sleep on, rather than leave, from now on: the interpreter ends.
#[pyfunction]
pub fn retire_workers() {
    ENDING.store(true, Relaxed);
}
