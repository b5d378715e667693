//! The jobs of a `gevent.threadpool.ThreadPool`, which its greenlets and its native worker threads share.
//!
//! All of it is only touched with the GIL held, except for the semaphore that idle workers acquire without it. So a forked
//! child, which has none of the workers, needs a new semaphore and nothing else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use primitives::{WorkSemaphore, spin};
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyTuple};
use wait::WaitQueue;

use crate::args::from_python;
use crate::cell::{GilCell, Made};
use crate::event_loop::kernel::Inbox;
use crate::event_loop::loop_::Loop;
use crate::event_loop::ready::Task;
use crate::hub;
use crate::pools::job::Job;
use crate::structured::context;
use crate::sync::async_result::AsyncResult;
use crate::waiting::deadline::duration;
use crate::waiting::park;
use crate::waiting::reason::{Reason, WaitKind};
use crate::waiting::wait::WaitRef;
use crate::waiting::waiters::{join, wake_all};

/// The time that a worker with a task waits for the hub's thread to release the GIL before it asks for it.
const HUB_LETS_GO: Duration = Duration::from_micros(2);

struct State {
    jobs: VecDeque<Py<Job>>,
    /// Tasks that were admitted and are not done.
    unfinished: usize,
    /// The number of unfinished tasks that there may be.
    limit: usize,
    /// Workers that exist, or are about to.
    workers: usize,
    /// The number of workers that are to leave once there is no task.
    dismissed: usize,
    /// Workers that wait for a job, and those of them that were notified and have not run since.
    waiting: usize,
    waking: usize,
    /// True if the last wait of a worker, and the last job, were so short that spinning for a moment pays: in a worker for
    /// the next job, and in the hub's thread for the completion.
    worker_spins: bool,
    hub_spins: bool,
    semaphore: Arc<WorkSemaphore>,
    /// Greenlets that wait to be admitted, and greenlets that wait for there to be fewer tasks or workers.
    entrants: WaitQueue<WaitRef>,
    watchers: WaitQueue<WaitRef>,
}

/// The tasks and the workers of a thread pool.
#[pyclass(frozen, name = "TaskQueue", module = "gevent.threadpool")]
#[derive(Debug)]
pub struct TaskQueue {
    loop_: Made<Py<Loop>>,
    state: GilCell<State>,
}

fn send(completion: Option<(Arc<Inbox>, Task)>) {
    if let Some((inbox, task)) = completion {
        inbox.send(task);
    }
}

impl TaskQueue {
    /// Returns the loop of the hub that jobs come from.
    pub fn loop_(&self) -> &Loop {
        self.loop_.get()
    }

    /// Notes that a job, which took this long, is done.
    pub fn job_done(&self, py: Python<'_>, took: Duration) {
        self.state
            .with(py, |state| state.hub_spins = took < spin::SOON);
        self.loop_().count_ref(-1);
        self.leave(py);
    }

    /// Parks the current greenlet, for the `reason` that reports show, in the wait queue that `choose` picks.
    fn park(
        &self,
        py: Python<'_>,
        reason: Reason,
        choose: impl Fn(&mut State) -> &mut WaitQueue<WaitRef>,
    ) -> PyResult<()> {
        let wait = hub::new_wait_for(py, reason)?;
        let ticket = self
            .state
            .with(py, |state| join(choose(state), py, wait.clone()));
        let woken = park::park(py, &wait);
        let left = self.state.with(py, |state| choose(state).leave(ticket));
        drop(left);
        woken.map(drop)
    }

    fn admit_waiting(&self, py: Python<'_>) {
        let room = self
            .state
            .with(py, |state| state.limit.saturating_sub(state.unfinished));
        for _ in 0..room {
            match self.state.with(py, |state| state.entrants.pop()) {
                Some(wait) => drop(wait.wake_none(py)),
                None => return,
            }
        }
    }

    fn notify_watchers(&self, py: Python<'_>) {
        let watchers = self.state.with(py, |state| state.watchers.take_all());
        wake_all(py, watchers);
    }

    fn wake_worker(&self, py: Python<'_>) {
        let semaphore = self.state.with(py, |state| {
            let due = state.waiting > state.waking;
            state.waking += usize::from(due);
            due.then(|| state.semaphore.clone())
        });
        if let Some(semaphore) = semaphore {
            semaphore.release();
        }
    }

    /// Notes that a worker leaves, and returns true, if it may: when one was dismissed, or it has been `idle` for too long.
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

    /// Waits until there is room for a task of `pool`, and takes that room.
    fn enter(&self, pool: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = pool.py();
        loop {
            let entered = self.state.with(py, |state| {
                let room = state.unfinished < state.limit;
                state.unfinished += usize::from(room);
                room
            });
            if entered {
                return Ok(());
            }
            let reason = Reason::on(WaitKind::Room, pool);
            let woken = self.park(py, reason, |state| &mut state.entrants);
            if woken.is_err() {
                // It may have been woken for room that it does not take, so the next one is woken.
                self.admit_waiting(py);
                return woken;
            }
        }
    }
}

#[pymethods]
impl TaskQueue {
    #[new]
    fn new(r#loop: Py<Loop>, #[pyo3(from_py_with = from_python)] limit: usize) -> Self {
        let state = State {
            jobs: VecDeque::new(),
            unfinished: 0,
            limit,
            workers: 0,
            dismissed: 0,
            waiting: 0,
            waking: 0,
            worker_spins: false,
            hub_spins: false,
            semaphore: Arc::default(),
            entrants: WaitQueue::new(),
            watchers: WaitQueue::new(),
        };
        Self {
            loop_: Made::new(r#loop),
            state: GilCell::new(state),
        }
    }

    /// Give back the room of a task that is done.
    fn leave(&self, py: Python<'_>) {
        self.state.with(py, |state| {
            state.unfinished = state.unfinished.saturating_sub(1)
        });
        self.admit_waiting(py);
        self.notify_watchers(py);
    }

    /// Wait until there is room for a task of `pool`, and queue this call; return the `AsyncResult` of it.
    ///
    /// It is one call, so that the error of a signal leaves no room taken for a task that is not queued.
    fn submit(
        slf: &Bound<'_, Self>,
        pool: &Bound<'_, PyAny>,
        hub: Py<PyAny>,
        func: Py<PyAny>,
        args: Py<PyTuple>,
        kwargs: Py<PyDict>,
    ) -> PyResult<Py<AsyncResult>> {
        let py = slf.py();
        let this = slf.get();
        let (func, args) = context::inherited_call(py, func, args)?;
        let result = Py::new(py, AsyncResult::unset())?;
        let queue = slf.clone().unbind();
        let job = Py::new(
            py,
            Job::new(func, args, kwargs, result.clone_ref(py), queue, hub),
        )?;
        this.enter(pool)?;
        this.loop_().count_ref(1);
        let hub_spins = this.state.with(py, |state| {
            state.jobs.push_back(job);
            state.hub_spins
        });
        if hub_spins {
            this.loop_().expect_mail_soon();
        }
        this.wake_worker(py);
        Ok(result)
    }

    /// Return the next job, for a worker. None means that the worker is to leave; it is no longer counted then.
    ///
    /// Blocks the native thread, at most for `timeout` seconds if that is positive. `done`, the worker's last job, is
    /// sent back to the hub when the GIL is free, as the hub's thread wants it next.
    #[pyo3(signature = (timeout, done = None))]
    fn get(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = from_python)] timeout: Option<f64>,
        done: Option<&Bound<'_, Job>>,
    ) -> Option<Py<Job>> {
        let mut completion = done.and_then(Job::completion);
        let limit = timeout.filter(|seconds| *seconds > 0.0).map(duration);
        let mut idle = false;
        loop {
            let (job, waits) = self.state.with(py, |state| {
                let job = state.jobs.pop_front();
                let waits = job.is_none() && state.dismissed == 0 && !idle;
                state.waiting += usize::from(waits);
                (
                    job,
                    waits.then(|| (state.semaphore.clone(), state.worker_spins)),
                )
            });
            let Some((semaphore, worker_spins)) = waits else {
                send(completion.take());
                if job.is_some() {
                    return job;
                }
                if self.leave_if_due(py, idle) {
                    self.notify_watchers(py);
                    return None;
                }
                continue;
            };
            let completion = completion.take();
            let began = Instant::now();
            let acquired = py.detach(|| {
                send(completion);
                let acquired = semaphore.acquire(limit, worker_spins);
                if acquired {
                    spin::until(HUB_LETS_GO, || self.loop_().is_polling());
                }
                acquired
            });
            idle = !acquired;
            self.state.with(py, |state| {
                state.waiting = state.waiting.saturating_sub(1);
                state.waking = state.waking.saturating_sub(usize::from(acquired));
                state.worker_spins = began.elapsed() < spin::SOON;
            });
        }
    }

    /// Send a job back to the hub, for a worker that will not ask for another one.
    #[staticmethod]
    fn give_back(job: &Bound<'_, Job>) {
        send(Job::completion(job));
    }

    /// Return whether there are fewer workers than unfinished tasks, and fewer than `most`.
    fn lacks_workers(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = from_python)] most: usize,
    ) -> bool {
        self.state.with(py, |state| {
            state.workers.saturating_sub(state.dismissed) < state.unfinished.min(most)
        })
    }

    /// Count one more worker, note it among `workers`, and have `start` begin its thread. Neither is the case when that
    /// fails.
    ///
    /// It is one call, so that the error of a signal leaves no worker counted that has no thread, and none uncounted.
    fn hire(
        &self,
        workers: &Bound<'_, PySet>,
        worker: &Bound<'_, PyAny>,
        start: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = workers.py();
        let body = worker.getattr(pyo3::intern!(py, "_begin"))?;
        workers.add(worker)?;
        self.state.with(py, |state| state.workers += 1);
        let started = start.call1((body, PyTuple::empty(py)));
        if started.is_err() {
            self.lose(py);
            workers.discard(worker)?;
        }
        started.map(drop)
    }

    /// Count one worker less, as it has failed.
    fn lose(&self, py: Python<'_>) {
        self.state
            .with(py, |state| state.workers = state.workers.saturating_sub(1));
        self.notify_watchers(py);
    }

    /// Have workers leave, once there is no task for them, until `most` are left.
    fn dismiss(&self, py: Python<'_>, #[pyo3(from_py_with = from_python)] most: usize) {
        let surplus = self.state.with(py, |state| {
            state.dismissed = state.workers.saturating_sub(most);
            state.dismissed
        });
        for _ in 0..surplus {
            self.wake_worker(py);
        }
    }

    /// Dismiss workers of `pool` as `dismiss` does, and wait until they have left. If all are to leave, wait until their
    /// results are delivered, too.
    fn shrink(
        &self,
        pool: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = from_python)] most: usize,
    ) -> PyResult<()> {
        let py = pool.py();
        loop {
            // Workers are dismissed in each round, as others may have been hired meanwhile.
            self.dismiss(py, most);
            let done = self.state.with(py, |state| {
                state.workers <= most && (most > 0 || state.unfinished == state.jobs.len())
            });
            if done {
                return Ok(());
            }
            let loop_ = hub::current_loop(py)?;
            // The wait keeps the loop running, as a worker that leaves will end it.
            loop_.get().count_ref(1);
            let reason = Reason::on(WaitKind::Join, pool);
            let woken = self.park(py, reason, |state| &mut state.watchers);
            loop_.get().count_ref(-1);
            woken?;
        }
    }

    /// Wait until no task of `pool` is unfinished.
    fn join(&self, pool: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = pool.py();
        while self.state.with(py, |state| state.unfinished > 0) {
            let reason = Reason::on(WaitKind::Join, pool);
            self.park(py, reason, |state| &mut state.watchers)?;
        }
        Ok(())
    }

    /// Forget, in a forked child, the workers and the jobs that they had begun. Jobs that no worker had begun stay.
    fn after_fork(&self, py: Python<'_>) {
        let (old, lost) = self.state.with(py, |state| {
            let lost = state.unfinished.saturating_sub(state.jobs.len());
            state.unfinished -= lost;
            state.workers = 0;
            state.dismissed = 0;
            state.waiting = 0;
            state.waking = 0;
            (std::mem::take(&mut state.semaphore), lost)
        });
        self.loop_
            .get()
            .count_ref(-isize::try_from(lost).unwrap_or_default());
        // A worker of the parent may have held its lock at the fork: it is leaked, not touched.
        std::mem::forget(old);
        self.admit_waiting(py);
        self.notify_watchers(py);
    }

    /// The number of unfinished tasks that there may be.
    #[getter]
    fn limit(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.limit)
    }

    #[setter]
    fn set_limit(&self, py: Python<'_>, #[pyo3(from_py_with = from_python)] limit: usize) {
        self.state.with(py, |state| state.limit = limit);
        self.admit_waiting(py);
    }

    /// The number of workers.
    #[getter]
    fn workers(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.workers)
    }

    /// The number of workers that were not dismissed.
    #[getter]
    fn staying(&self, py: Python<'_>) -> usize {
        self.state
            .with(py, |state| state.workers.saturating_sub(state.dismissed))
    }

    /// The number of unfinished tasks.
    fn __len__(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.unfinished)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.loop_.peek())?;
        let visited = self.state.peek(&visit, |state| {
            state.jobs.iter().try_for_each(|job| visit.call(job))
        });
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let jobs = self.state.with(py, |state| std::mem::take(&mut state.jobs));
        drop(jobs);
    }
}

/// Keep workers that have been idle for long asleep from now on, rather than let them leave: the interpreter ends.
#[pyfunction]
pub fn retire_workers() {
    primitives::keep_idle_workers();
}
