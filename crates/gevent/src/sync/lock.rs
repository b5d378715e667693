//! `gevent.lock`: semaphores.
//!
//! A release adds a permit and wakes the waiter that came first; the greenlet that runs first takes the permit. A
//! waiter that finds it taken goes back to its old place. A waiter that was woken and does not take it (it was killed,
//! or only wanted to know that there is one) leaves it to the next one. So no permit is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use reactor::Time;
use wait::Ticket;

use crate::args::{Count, Flag};
use crate::errors::{BlockingSwitchOutError, HubDestroyed, LoopExit};
use crate::hub::{self, BaseHub};
use crate::sync::linkable::{Linkable, Linked, Next, ThreadWait, Who};
use crate::waiting::deadline::Deadline;
use crate::waiting::reason::{Reason, WaitKind};
use crate::waiting::running;
use crate::waiting::threads;
use crate::waiting::waiters::ticket;

/// The reason that a greenlet gives while it waits for a permit.
type Waits<'a, 'py> = (WaitKind, &'a Bound<'py, PyAny>);

/// The value of `Semaphore::user` before the first acquire, and its value once several threads have acquired it.
const NOBODY: u64 = 0;
const SEVERAL: u64 = u64::MAX;

/// Counts permits: `acquire` takes one, waiting for it if there is none, `release` gives one back.
///
/// It is a context manager. Greenlets of several threads may share it, and threads that have no hub. Beside what
/// ``threading.Semaphore`` does, it can be waited for among others with `gevent.wait`, and linked with `rawlink`.
///
/// :param value: The number of permits at first.
/// :param hub: Accepted for compatibility.
/// :raises ValueError: `value` is negative.
///
/// Example::
///
///     connections = Semaphore(10)
///
///     def query():
///         with connections:
///             return fetch()
#[pyclass(frozen, subclass, weakref, name = "Semaphore", module = "gevent.lock")]
#[derive(Debug)]
pub struct Semaphore {
    counter: AtomicI64,
    /// The thread that acquires it.
    user: AtomicU64,
    /// The number of the greenlet that took the last permit, 0 before the first. Reports of deadlocks name that greenlet.
    holder: AtomicU64,
    /// The number of permits at first.
    permits: AtomicI64,
    /// True if the hub is about to call linked callables.
    calling: AtomicBool,
    links: Linkable,
}

impl Linked for Semaphore {
    const RECURS: bool = true;

    fn links(&self) -> &Linkable {
        &self.links
    }
}

impl Semaphore {
    /// Makes a semaphore with `counter` permits.
    pub fn of(counter: i64) -> Self {
        Self {
            counter: AtomicI64::new(counter),
            user: AtomicU64::new(NOBODY),
            holder: AtomicU64::new(0),
            permits: AtomicI64::new(counter),
            calling: AtomicBool::new(false),
            links: Linkable::new(),
        }
    }

    /// Does what `__init__` does.
    ///
    /// # Errors
    /// `ValueError` for a negative number of permits.
    pub fn init(&self, py: Python<'_>, value: i64, hub: Option<Py<BaseHub>>) -> PyResult<()> {
        if value < 0 {
            return Err(PyValueError::new_err(
                "semaphore initial value must be >= 0",
            ));
        }
        self.counter.store(value, Relaxed);
        self.permits.store(value, Relaxed);
        self.belong_to(py, hub);
        Ok(())
    }

    /// Makes `hub` the one where linked callables are called.
    pub fn belong_to(&self, py: Python<'_>, hub: Option<Py<BaseHub>>) {
        if let Some(hub) = hub {
            self.links.set_hub(py, hub);
        }
    }

    /// Starts anew in a forked child with `counter` permits.
    ///
    /// # Errors
    /// Returns the error that making a hub for linked callables raises.
    pub fn reset(slf: &Bound<'_, Self>, counter: i64) -> PyResult<()> {
        let this = slf.get();
        this.links.after_fork(slf.py());
        this.counter.store(counter, Relaxed);
        this.user.store(NOBODY, Relaxed);
        this.holder.store(0, Relaxed);
        this.calling.store(false, Relaxed);
        Self::notify(slf, None)
    }

    /// Takes a permit if there is one.
    #[inline]
    pub fn try_take(&self, py: Python<'_>) -> bool {
        let counter = self.counter.load(Relaxed);
        if counter <= 0 {
            return false;
        }
        self.counter.store(counter - 1, Relaxed);
        self.holder.store(running::number(py), Relaxed);
        let me = crate::thread_id();
        if self.user.load(Relaxed) != me {
            let several = self.user.load(Relaxed) != NOBODY;
            self.user.store(if several { SEVERAL } else { me }, Relaxed);
        }
        true
    }

    /// Takes a permit, waiting for it until the deadline if it must; returns true if it was taken.
    ///
    /// # Errors
    /// Returns the error that is thrown into the greenlet meanwhile; `BlockingSwitchOutError` in the hub.
    pub fn take(slf: &Bound<'_, Self>, deadline: Deadline) -> PyResult<bool> {
        Self::take_in(slf, deadline, slf.as_any())
    }

    /// Takes a permit as [`take`](Self::take) does, for `lock`, which the semaphore is a part of.
    ///
    /// # Errors
    /// Fails as [`take`](Self::take) does.
    pub fn take_in(
        slf: &Bound<'_, Self>,
        deadline: Deadline,
        lock: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let waits = (WaitKind::Acquire, lock);
        Self::wait_until(slf, deadline, waits, |this, py| this.try_take(py))
    }

    /// Takes a permit even if errors are thrown into the greenlet meanwhile, and returns the last of them, for the
    /// caller to raise when it has done its work with the permit. `lock` is the object that the semaphore is a part of.
    ///
    /// # Errors
    /// Returns the error that states why the permit cannot be waited for.
    pub fn take_in_any_case(
        slf: &Bound<'_, Self>,
        lock: &Bound<'_, PyAny>,
    ) -> PyResult<Option<PyErr>> {
        let py = slf.py();
        let waits = (WaitKind::Acquire, lock);
        let (mut place, mut thrown) = (None, None);
        while !slf.get().try_take(py) {
            match Self::wait_turn(slf, &mut place, &mut Deadline::Never, waits) {
                Ok(_) => {}
                Err(error)
                    if error.is_instance_of::<LoopExit>(py)
                        || error.is_instance_of::<BlockingSwitchOutError>(py)
                        || error.is_instance_of::<HubDestroyed>(py) =>
                {
                    return Err(error);
                }
                Err(error) => thrown = Some(error),
            }
        }
        Ok(thrown)
    }

    /// Returns the number of the greenlet that holds the only permit, if there is no more than one and it was taken. Of
    /// several permits only the last taker is known, and any other may give its own back; a semaphore that began without
    /// permits is no lock, but counts what others add to it.
    pub fn holder(&self) -> Option<u64> {
        let holder = self.holder.load(Relaxed);
        (holder != 0 && !self.has_permit() && self.permits.load(Relaxed) == 1).then_some(holder)
    }

    /// Gives a permit back and returns how many there are.
    ///
    /// # Errors
    /// `OverflowError` when there are as many as can be counted; the error that making a hub for linked callables
    /// raises.
    #[inline]
    pub fn give(slf: &Bound<'_, Self>) -> PyResult<i64> {
        let this = slf.get();
        let Some(counter) = this.counter.load(Relaxed).checked_add(1) else {
            return Err(PyOverflowError::new_err("too many permits to count"));
        };
        this.counter.store(counter, Relaxed);
        if !this.links.is_empty(slf.py()) {
            Self::notify(slf, None)?;
        }
        Ok(counter)
    }

    /// Returns true if there is a permit.
    #[inline]
    pub fn has_permit(&self) -> bool {
        self.count() > 0
    }

    /// Returns how many permits there are.
    #[inline]
    pub fn count(&self) -> i64 {
        self.counter.load(Relaxed)
    }

    /// Returns true if other threads use the semaphore too, so that they may release it.
    fn is_shared(&self) -> bool {
        let user = self.user.load(Relaxed);
        user != NOBODY && user != crate::thread_id()
    }

    /// Wakes a waiter for each permit for which no waiter was woken yet. In the hub, callables up to the ticket `end`
    /// are called in their turn; elsewhere (`end` is None) the hub continues from the first callable.
    fn notify(slf: &Bound<'_, Self>, end: Option<Ticket>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        loop {
            let next = this.links.with(py, |lists| {
                if lists.claims_fewer_than(this.count(), py) {
                    lists.first(py)
                } else {
                    None
                }
            });
            match next.flatten() {
                None => return Ok(()),
                Some(Next::Waiter(listener)) => this.links.wake(py, listener, true),
                Some(Next::Callable(ticket, _)) if end.is_some_and(|end| ticket <= end) => {
                    Linkable::call(slf, ticket);
                }
                Some(Next::Callable(_, hub)) => return Self::notify_in(slf, hub),
            }
        }
    }

    /// Has the hub continue with the listeners, from a callable that is to be called there.
    fn notify_in(slf: &Bound<'_, Self>, hub: Option<Py<BaseHub>>) -> PyResult<()> {
        if slf.get().calling.swap(true, Relaxed) {
            return Ok(());
        }
        let semaphore = slf.clone().unbind();
        let work = move |py: Python<'_>| {
            let slf = semaphore.bind(py);
            slf.get().calling.store(false, Relaxed);
            // A callable that links itself again is called in the next turn.
            Self::notify(slf, Some(ticket(py)))
        };
        Linkable::run_in(slf, hub, Box::new(work))
    }

    /// Waits until `done` returns true, which is called each time that there is a permit. Returns false if the deadline
    /// passes first.
    fn wait_until(
        slf: &Bound<'_, Self>,
        mut deadline: Deadline,
        waits: Waits<'_, '_>,
        done: fn(&Self, Python<'_>) -> bool,
    ) -> PyResult<bool> {
        let py = slf.py();
        let mut place = None;
        let ended = loop {
            match Self::wait_turn(slf, &mut place, &mut deadline, waits) {
                Ok(true) if !done(slf.get(), py) => {}
                ended => break ended,
            }
        };
        deadline.close(py);
        ended
    }

    /// Waits to be woken once, in the place that the waiter had before; returns false when the deadline passed.
    fn wait_turn(
        slf: &Bound<'_, Self>,
        place: &mut Option<Ticket>,
        deadline: &mut Deadline,
        (kind, lock): Waits<'_, '_>,
    ) -> PyResult<bool> {
        let py = slf.py();
        let this = slf.get();
        let main = threads::is_main();
        // Only a hub can raise a `Timeout`, and starting the timeout makes that hub.
        let needs_hub = matches!(deadline, Deadline::Timeout(_));
        if !main && !needs_hub && hub::get_hub_if_exists(py).is_none() {
            return Ok(this.block_thread(py, place, deadline.time()));
        }
        let (wait, ticket) = this.links.wait_here(py, *place, Reason::on(kind, lock))?;
        *place = Some(ticket);
        // A wait in the main thread keeps the loop running if other threads use the semaphore, since one of them may
        // release it; otherwise it would wait in vain. A wait in any other thread is counted by
        // `Wait::expect_other_threads`.
        let counted = isize::from(main && this.is_shared());
        wait.loop_().get().count_ref(counted);
        let woken = deadline.park_in_turn(py, &wait);
        wait.loop_().get().count_ref(-counted);
        let notified = this.links.leave(py, ticket);
        match woken {
            Ok(Some(_)) => Ok(true),
            Ok(None) => Ok(false),
            Err(error) => {
                if notified {
                    Self::notify(slf, None)?;
                }
                Err(error)
            }
        }
    }

    /// Blocks a thread that has no hub, and so no other greenlets to run: another thread is to release the semaphore.
    fn block_thread(
        &self,
        py: Python<'_>,
        place: &mut Option<Ticket>,
        until: Option<Time>,
    ) -> bool {
        let wait = Arc::new(ThreadWait::default());
        let ticket = *place.insert(self.links.wait(py, Who::Thread(wait.clone()), *place));
        let woken = wait.block(py, until.map(|until| until.until(Time::now())));
        self.links.leave(py, ticket) || woken
    }

    /// Does what `__enter__` does in the class `T`.
    ///
    /// # Errors
    /// Returns the errors of [`take`](Self::take), or those of the `acquire` of a class derived from it.
    #[inline]
    pub fn enter<T: pyo3::PyTypeInfo>(slf: &Bound<'_, Self>) -> PyResult<()> {
        if !Self::is_exactly::<T>(slf) {
            return slf
                .call_method0(pyo3::intern!(slf.py(), "acquire"))
                .map(drop);
        }
        if !slf.get().try_take(slf.py()) {
            Self::take(slf, Deadline::Never)?;
        }
        Ok(())
    }

    /// Returns true for an object of the class itself, none of whose methods can be overridden.
    #[inline]
    pub fn is_exactly<T: pyo3::PyTypeInfo>(slf: &Bound<'_, Self>) -> bool {
        std::ptr::eq(slf.get_type_ptr(), T::type_object_raw(slf.py()))
    }
}

#[pymethods]
impl Semaphore {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(value=1, hub=None)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::of(0)
    }

    #[pyo3(signature = (value = Count(1), hub = None))]
    fn __init__(&self, py: Python<'_>, value: Count, hub: Option<Py<BaseHub>>) -> PyResult<()> {
        self.init(py, value.0, hub)
    }

    /// Take a permit, waiting for it at most `timeout` seconds, and return whether it was taken.
    ///
    /// With `blocking` false it does not wait. `timeout` may be a `Timeout`, which is then started, and cancelled
    /// afterwards.
    #[pyo3(
        signature = (blocking = Flag(true), timeout = None),
        text_signature = "($self, blocking=True, timeout=None)"
    )]
    fn acquire(
        slf: &Bound<'_, Self>,
        blocking: Flag,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        if slf.get().try_take(slf.py()) {
            return Ok(true);
        }
        if !blocking.0 {
            return Ok(false);
        }
        Self::take(slf, Deadline::of(timeout)?)
    }

    /// Give a permit, wake the waiter that waited longest, and return how many permits there are.
    ///
    /// Raises `OverflowError` when there are 2**63 - 1 already.
    fn release(slf: &Bound<'_, Self>) -> PyResult<i64> {
        Self::give(slf)
    }

    /// Wait, at most `timeout` seconds, until there is a permit, and return how many there are, without taking one.
    ///
    /// The number can be 0: other greenlets may have taken the permits before this one ran.
    #[pyo3(signature = (timeout = None))]
    fn wait(slf: &Bound<'_, Self>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<i64> {
        let this = slf.get();
        if this.count() <= 0 {
            let waits = (WaitKind::Wait, slf.as_any());
            if Self::wait_until(slf, Deadline::of(timeout)?, waits, |_, _| true)? {
                Self::notify(slf, None)?;
            }
        }
        Ok(this.count())
    }

    /// Return True if no permit is there.
    fn locked(&self) -> bool {
        !self.has_permit()
    }

    /// Return True if a permit is there.
    fn ready(&self) -> bool {
        self.has_permit()
    }

    /// The number of permits that are there.
    #[getter]
    fn get_counter(&self) -> i64 {
        self.count()
    }

    #[setter]
    fn set_counter(slf: &Bound<'_, Self>, counter: Count) -> PyResult<()> {
        let this = slf.get();
        let more = counter.0.saturating_sub(this.count());
        let permits = this.permits.load(Relaxed).saturating_add(more);
        this.permits.store(permits, Relaxed);
        this.counter.store(counter.0, Relaxed);
        Self::notify(slf, None)
    }

    /// The hub that it was created for, or of the first greenlet that waited; None before.
    #[getter]
    fn hub(&self, py: Python<'_>) -> Option<Py<BaseHub>> {
        self.links.hub(py)
    }

    /// Have `callback(semaphore)` called in the hub when a permit is there, once.
    ///
    /// Raises `TypeError` if it cannot be called.
    fn rawlink(slf: &Bound<'_, Self>, callback: &Bound<'_, PyAny>) -> PyResult<()> {
        slf.get().links.rawlink(callback)?;
        Self::notify(slf, None)
    }

    /// Remove a `rawlink`; nothing happens when there is none.
    fn unlink(&self, callback: &Bound<'_, PyAny>) -> PyResult<()> {
        self.links.unlink(callback)
    }

    /// Return how many waiters and links there are.
    fn linkcount(&self, py: Python<'_>) -> usize {
        self.links.count(py)
    }

    fn __enter__(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::enter::<Self>(slf)
    }

    fn __exit__(
        slf: &Bound<'_, Self>,
        t: &Bound<'_, PyAny>,
        v: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (t, v, tb);
        if Self::is_exactly::<Self>(slf) {
            return Self::give(slf).map(drop);
        }
        slf.call_method0(pyo3::intern!(slf.py(), "release"))
            .map(drop)
    }

    /// Make it usable in a forked child, where other threads are gone.
    fn _at_fork_reinit(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::reset(slf, slf.get().count())
    }

    fn __str__(slf: &Bound<'_, Self>) -> PyResult<String> {
        Ok(format!(
            "<{} at {:#x} counter={} _links[{}]>",
            slf.get_type().name()?,
            slf.as_ptr() as usize,
            slf.get().count(),
            slf.get().links.count(slf.py()),
        ))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.links.traverse(visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.links.clear(py);
    }
}
