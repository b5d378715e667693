//! The event loop of one thread: its ready queue, its deadlines and its descriptors.
//!
//! The fields of [`Loop`] are private to this file and to the folder `loop_/`, whose files have the parts of the loop: polls,
//! runs, what greenlets that park ask of it, registrations, waiters of sockets, watchers of phases, Python methods. All other
//! files use the verbs that these define.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use reactor::{EventBuffer, Sources, Time, TimerKey, Timers, Watches};
use slab::Slab;

use crate::cell::GilCell;
use crate::event_loop::descriptors::Reports;
use crate::event_loop::kernel::{Inbox, Kernel};
use crate::event_loop::loop_::parked::{Listener, Parked};
use crate::event_loop::ready::{ReadyQueue, Task, clock};
use crate::event_loop::runs::{self, Runs};
use crate::event_loop::thread_end::{parked_greenlets, unwind};
use crate::event_loop::unusual::{self, Unusual};
use crate::ffi::fork;
use crate::ffi::frames::{self, Stack};
use crate::waiting::reason::WaitKind;
use crate::waiting::timeout::Timeout;
use crate::waiting::wait::{Wait, WaitRef};
use crate::watcher::{Phase, Watcher, fire_phase};

pub mod counters;
pub mod held;
pub mod methods;
pub mod parked;
mod phases;
mod poll;
mod registrations;
pub mod run;
mod turns;

/// The action to take when a deadline passes.
#[derive(Debug)]
pub enum Due {
    /// Wake the greenlet.
    Wake(WaitRef),
    /// Raise the timeout in its greenlet.
    Timeout(Py<Timeout>),
    /// Call the watcher.
    Watcher(Py<Watcher>),
    /// Run this in the hub.
    Task(Box<Task>),
}

impl Due {
    /// Returns true for a deadline that limits a wait for something else than the time.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Wake(wait) => wait.kind() != WaitKind::Sleep,
            Self::Timeout(_) => true,
            Self::Task(task) => matches!(**task, Task::Scope(_)),
            Self::Watcher(_) => false,
        }
    }
}

/// The action to take when a watched descriptor is ready.
pub enum Watched {
    /// Call the watcher.
    Watcher(Py<Watcher>),
    /// Wake the greenlet, once.
    Wake(WaitRef),
    /// Wake the greenlet that waits for several descriptors, and note which one it was.
    Report(Arc<Reports>, i32),
    /// Call this in the hub, each time; it must not block.
    Call(Arc<dyn Fn(Python<'_>) + Send + Sync>),
    /// Notify the listener of this descriptor, once: the watch ends then.
    Listener(i32, Arc<dyn Listener>),
    /// Notify no waiter: the watch is to be ended.
    Nobody,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Watcher(_) => "Watcher",
            Self::Wake(_) => "Wake",
            Self::Report(..) => "Report",
            Self::Call(_) => "Call",
            Self::Listener(..) => "Listener",
            Self::Nobody => "Nobody",
        })
    }
}

/// The event loop of one thread: it creates watchers, and calls their callbacks and those of `run_callback`.
///
/// `flags` names backends (`"epoll"`, `"select,poll"`, a list or a number); `epoll` does the work whatever is chosen.
/// Only the `default` loop can watch child processes. Raises `ValueError` for an unknown name.
// Each table is opened on its own.
#[pyclass(frozen, subclass, weakref, dict, name = "loop", module = "gevent.core")]
#[derive(Debug)]
pub struct Loop {
    queue: GilCell<ReadyQueue>,
    timers: GilCell<Timers<Due>>,
    sources: GilCell<Sources<Parked>>,
    /// The number of listeners among the waiters that are parked in `sources`; listeners do not keep the loop running.
    listeners: AtomicUsize,
    watches: GilCell<Watches<usize>>,
    watched: GilCell<Slab<Watched>>,
    lingering: GilCell<Vec<(i32, usize)>>,
    /// The parked greenlets of a thread that is not the main one; they are unwound when the thread ends.
    waits: GilCell<Slab<Weak<Wait>>>,
    /// Readers that are known to have something to read before the kernel says so. They are woken with the next turn's
    /// descriptors, as that turn's timers come first.
    noted: GilCell<Vec<WaitRef>>,
    phases: GilCell<[Vec<Py<Watcher>>; Phase::COUNT]>,
    error_handler: GilCell<Option<Py<PyAny>>>,
    kernel: GilCell<Option<Arc<Kernel>>>,
    inbox: GilCell<Option<Arc<Inbox>>>,
    events: GilCell<Option<Box<[EventBuffer; 2]>>>,
    /// The number of things that can wake a greenlet beside ready tasks, less those that do not count (`ref=False`).
    refs: AtomicIsize,
    /// The set of unusual things that hold now; see [`crate::event_loop::unusual`].
    unusual: Unusual,
    /// Watchers of prepare, check and idle that are active.
    phased: AtomicIsize,
    polling: AtomicBool,
    /// Set when a task from another thread will probably come within microseconds.
    mail_is_near: AtomicBool,
    activity: AtomicU64,
    /// Address of the greenlet that was last let run, 0 for a callback. The monitor reads it; it is never dereferenced.
    active: AtomicUsize,
    iterations: AtomicU64,
    runs: Runs,
    running: AtomicIsize,
    stopping: std::sync::atomic::AtomicU8,
    /// The error that the innermost run is to end with.
    ending: GilCell<Option<PyErr>>,
    /// The wait to which asyncio's state in the thread belongs; see [`held`].
    held: GilCell<Option<Weak<Wait>>>,
    /// The frames that spawned last.
    spawned_from: GilCell<Option<Stack>>,
    owner: AtomicU64,
    now: AtomicU64,
    /// The count of forks that the kernel objects belong to.
    forks: AtomicU64,
    default: AtomicBool,
    /// The flags that the loop was asked to be created with; see `crate::event_loop::flags`.
    flags: std::sync::atomic::AtomicU32,
}

impl Loop {
    /// Makes a loop with its kernel objects.
    ///
    /// # Errors
    /// `OSError` when the process may open no more descriptors.
    pub fn create(py: Python<'_>, default: bool) -> PyResult<Self> {
        let _ = py;
        let kernel = Arc::new(Kernel::new()?);
        let inbox = Inbox::new(kernel.waker.clone());
        let unusual = Unusual::none();
        unusual.put(Unusual::MEASURED, runs::any_measured());
        Ok(Self {
            queue: GilCell::new(ReadyQueue::new(clock())),
            timers: GilCell::new(Timers::new()),
            sources: GilCell::new(Sources::new()),
            listeners: AtomicUsize::new(0),
            watches: GilCell::new(Watches::new()),
            watched: GilCell::new(Slab::new()),
            lingering: GilCell::new(Vec::new()),
            waits: GilCell::new(Slab::new()),
            noted: GilCell::new(Vec::new()),
            phases: GilCell::new(Default::default()),
            error_handler: GilCell::new(None),
            kernel: GilCell::new(Some(kernel)),
            inbox: GilCell::new(Some(Arc::new(inbox))),
            events: GilCell::new(Some(Box::new([EventBuffer::new(), EventBuffer::new()]))),
            refs: AtomicIsize::new(0),
            unusual,
            phased: AtomicIsize::new(0),
            polling: AtomicBool::new(false),
            mail_is_near: AtomicBool::new(false),
            activity: AtomicU64::new(0),
            active: AtomicUsize::new(0),
            iterations: AtomicU64::new(0),
            runs: Runs::new(),
            running: AtomicIsize::new(0),
            stopping: std::sync::atomic::AtomicU8::new(0),
            ending: GilCell::new(None),
            held: GilCell::new(None),
            spawned_from: GilCell::new(None),
            owner: AtomicU64::new(crate::thread_id()),
            now: AtomicU64::new(Time::now().as_nanos()),
            forks: AtomicU64::new(fork::count()),
            default: AtomicBool::new(default),
            flags: std::sync::atomic::AtomicU32::new(0),
        })
    }

    /// Returns the kernel objects, which are made anew in a child process that was forked since.
    ///
    /// # Errors
    /// `ValueError` once the loop is destroyed, `OSError` when a forked child may open no more descriptors.
    pub fn kernel(&self, py: Python<'_>) -> PyResult<Arc<Kernel>> {
        if self.forks.load(Relaxed) != fork::count() {
            self.renew(py)?;
        }
        self.kernel
            .cloned(py)
            .ok_or_else(|| pyo3::exceptions::PyValueError::new_err("operation on destroyed loop"))
    }

    /// Returns true if `destroy` ran.
    #[inline]
    pub fn is_destroyed(&self, _py: Python<'_>) -> bool {
        self.unusual.any(Unusual::DESTROYED)
    }

    /// Returns the mailbox for other threads, none once the loop is destroyed.
    pub fn inbox(&self, py: Python<'_>) -> Option<Arc<Inbox>> {
        self.inbox.cloned(py)
    }

    /// Returns true if the tasks of this loop will never run: it is destroyed, or was left behind by a fork.
    #[inline]
    pub fn is_gone(&self, py: Python<'_>) -> bool {
        unusual::any_loop_is_gone()
            && (self.is_destroyed(py)
                || (!self.is_mine() && self.forks.load(Relaxed) != fork::count()))
    }

    /// Returns true if the calling thread is the one that runs this loop.
    #[inline]
    pub fn is_mine(&self) -> bool {
        self.owner.load(Relaxed) == crate::thread_id()
    }

    /// Makes the calling thread the one that runs this loop.
    pub fn adopt(&self) {
        self.owner.store(crate::thread_id(), Relaxed);
    }

    /// Marks the loop as never running again in any thread; its waits and tasks are kept.
    pub(crate) fn disown(&self, py: Python<'_>) {
        self.owner.store(u64::MAX, Relaxed);
        unusual::note_gone_loop();
        self.unusual.put(Unusual::DESTROYED, true);
        drop(self.kernel.take(py));
        // The parent's other threads may have held its lock at the fork.
        std::mem::forget(self.inbox.take(py));
    }

    /// Schedules a task; from another thread it goes through the inbox.
    #[inline]
    pub fn push(&self, py: Python<'_>, task: Task) {
        if self.is_mine() {
            self.queue.with_entered(py, |queue| queue.push(task));
        } else if let Some(inbox) = self.inbox(py) {
            inbox.send(task);
        }
    }

    /// Schedules a task ahead of all others; a task from another thread goes through the inbox and gets no precedence.
    pub fn push_first(&self, py: Python<'_>, task: Task) {
        if self.is_mine() {
            self.queue.with(py, |queue| queue.push_first(task));
        } else {
            self.push(py, task);
        }
    }

    /// Schedules a watcher's callback, ahead of those with a lower priority.
    pub fn push_watcher(&self, py: Python<'_>, watcher: Py<Watcher>) {
        if self.is_mine() {
            self.queue
                .with(py, |queue| queue.push_by_priority(Task::Watcher(watcher)));
        } else if let Some(inbox) = self.inbox(py) {
            inbox.send(Task::Watcher(watcher));
        }
    }

    /// Returns true if something may still make a task ready.
    pub fn is_alive(&self, py: Python<'_>) -> bool {
        self.refs.load(Relaxed) > 0
            || self.sources.with(py, |sources| sources.waiting()) > self.listeners.load(Relaxed)
            || self.has_mail(py)
            || self.has_ready(py)
    }

    /// Returns how many tasks are ready.
    pub fn ready_count(&self, py: Python<'_>) -> usize {
        self.queue.with(py, |queue| queue.len())
    }

    /// Returns true if a task is ready, or will be when the next turn begins.
    #[inline]
    pub fn has_ready(&self, py: Python<'_>) -> bool {
        !self.queue.with(py, |queue| queue.is_empty())
            || !self.noted.with(py, |noted| noted.is_empty())
    }

    /// Counts one more (or less) thing that keeps the loop running.
    #[inline]
    pub fn count_ref(&self, by: isize) {
        self.refs.store(self.refs.load(Relaxed) + by, Relaxed);
    }

    /// Sets a deadline that keeps the loop running.
    pub fn set_deadline(&self, py: Python<'_>, at: Time, what: Due) -> TimerKey {
        self.count_ref(1);
        self.set_timer(py, at, what)
    }

    /// Sets a deadline that does not keep the loop running by itself.
    #[inline]
    pub fn set_timer(&self, py: Python<'_>, at: Time, what: Due) -> TimerKey {
        self.timers.with(py, |timers| timers.insert(at, what))
    }

    /// Cancels a deadline of [`set_timer`](Self::set_timer); returns false when it has passed.
    #[inline]
    pub fn cancel_timer(&self, py: Python<'_>, key: TimerKey) -> bool {
        let taken = self.timers.with(py, |timers| timers.cancel(key));
        taken.is_some()
    }

    /// Returns the time of the first deadline.
    pub fn next_deadline(&self, py: Python<'_>) -> Option<Time> {
        self.timers.with(py, |timers| timers.next_deadline())
    }

    /// Cancels a deadline of [`set_deadline`](Self::set_deadline); does nothing when it has passed.
    #[inline]
    pub fn cancel_deadline(&self, py: Python<'_>, key: TimerKey) {
        let taken = self.timers.with(py, |timers| timers.cancel(key));
        if taken.is_some() {
            self.count_ref(-1);
        }
    }

    /// Keeps a wait in order to end it with its thread; returns its place.
    pub fn keep_wait(&self, py: Python<'_>, wait: Weak<Wait>) -> usize {
        self.waits.with(py, |waits| waits.insert(wait))
    }

    /// Forgets a wait that was kept; returns false if the loop was destroyed meanwhile.
    pub fn forget_wait(&self, py: Python<'_>, place: usize) -> bool {
        let taken = self.waits.with(py, |waits| waits.try_remove(place));
        taken.is_some()
    }

    /// Returns the object that gets the errors of callbacks: the hub, or none if they are printed.
    pub fn error_handler(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.error_handler.get_ref(py)
    }

    /// Has the errors of callbacks go to `handler`, or be printed.
    pub fn report_errors_to(&self, py: Python<'_>, handler: Option<Py<PyAny>>) {
        drop(self.error_handler.replace(py, handler));
    }

    /// Returns the frames of the running greenlet, at most `limit`, for one that it spawns. They share the memory of those that
    /// spawned last where they are the same.
    pub fn capture_spawner(&self, py: Python<'_>, limit: usize) -> Stack {
        let last = self.spawned_from.with(py, |last| last.clone());
        let stack = frames::capture(py, limit, last);
        drop(self.spawned_from.replace(py, Some(stack.clone())));
        stack
    }

    /// Returns the time of the last poll.
    pub fn cached_now(&self) -> Time {
        Time::from_nanos(self.now.load(Relaxed))
    }

    /// Reads the clock into the cache and returns it.
    pub fn update_time(&self) -> Time {
        let now = Time::now();
        self.now.store(now.as_nanos(), Relaxed);
        now
    }

    /// Gives a forked child kernel objects of its own, with everything registered anew, and has its fork watchers called
    /// soon.
    ///
    /// # Errors
    /// `OSError` when the process may open no more descriptors.
    #[cold]
    fn renew(&self, py: Python<'_>) -> PyResult<()> {
        self.forks.store(fork::count(), Relaxed);
        if self.is_destroyed(py) {
            return Ok(());
        }
        // The parent's other threads may have held the lock at the fork: the old inbox is leaked, not touched.
        std::mem::forget(self.replace_kernel(py)?);
        crate::watcher::child::forget_parents(py, self);
        fire_phase(py, self, Phase::Fork);
        Ok(())
    }

    /// Gives the loop new kernel objects, with everything registered anew; returns the old inbox.
    ///
    /// # Errors
    /// `OSError` when the process may open no more descriptors.
    pub(crate) fn replace_kernel(&self, py: Python<'_>) -> PyResult<Option<Arc<Inbox>>> {
        if let Some(old) = self.kernel.cloned(py) {
            old.main.verify();
            old.level.verify();
            old.waker.verify();
        }
        let is_watched = |fd| self.watches_descriptor(py, fd);
        let kernel = Arc::new(Kernel::apart_from(is_watched, Kernel::new)?);
        self.rearm(py, &kernel);
        let inbox = Inbox::new(kernel.waker.clone());
        let old = self.inbox.replace(py, Some(Arc::new(inbox)));
        drop(self.kernel.replace(py, Some(kernel)));
        drop(self.events.take(py));
        crate::watcher::signal::resubscribe(py, self);
        Ok(old)
    }

    /// Makes the loop fit for a forked child, without waiting for its next use, and the calling thread the one that runs
    /// it.
    ///
    /// # Errors
    /// `OSError` when the process may open no more descriptors.
    pub fn after_fork(&self, py: Python<'_>) -> PyResult<()> {
        self.adopt();
        self.renew(py)
    }

    /// Closes the kernel objects and forgets everything that was scheduled.
    pub fn close(&self, py: Python<'_>) {
        crate::watcher::signal::forget_loop(py, self);
        unusual::note_gone_loop();
        self.unusual.put(Unusual::DESTROYED, true);
        let kernel = self.kernel.replace(py, None);
        let inbox = self.inbox.replace(py, None);
        let tasks = self.queue.with(py, ReadyQueue::take_all);
        let timers = self.timers.replace(py, Timers::new());
        let watched = self.watched.replace(py, Slab::new());
        let watches = self.watches.replace(py, Watches::new());
        let phases = self.phases.replace(py, Default::default());
        let handler = self.error_handler.take(py);
        let waits = self.waits.replace(py, Slab::new());
        let noted = self.noted.take(py);
        let parked = parked_greenlets(py, waits, &tasks);
        drop(self.lingering.take(py));
        self.refs.store(0, Relaxed);
        self.count_phased(-self.phased.load(Relaxed));
        drop((
            kernel, inbox, tasks, timers, watched, watches, phases, handler, noted,
        ));
        if self.is_mine() {
            unwind(py, parked);
        }
    }

    /// Visits the objects that the loop owns.
    ///
    /// # Errors
    /// Returns the error of the visitor.
    pub fn visit(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.error_handler
            .peek(&visit, |handler| visit.call(handler))
            .unwrap_or(Ok(()))
    }
}
