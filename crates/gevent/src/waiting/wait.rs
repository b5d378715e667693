//! One wait of one greenlet: the object that a parked greenlet leaves with the sources that may wake it.
//!
//! The crate `wait` has the states that a wait goes through, and the table of who moves it from which to which
//! (`progress.rs` there); its tests go through every order of wake-ups, deadlines and kills. This file adds what
//! belongs to a move: the outcome that is stored, the task that is queued, the deadline that is taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use pyo3::prelude::*;
use reactor::{Time, TimerKey};
use wait::Progress;

use crate::cell::GilCell;
use crate::event_loop::loop_::{Due, Loop};
use crate::event_loop::ready::Task;
use crate::ffi::blocking::Then;
use crate::ffi::greenlet;
use crate::greenlets::greenlet::Greenlet;
use crate::waiting::asyncio_state::AsyncioState;
use crate::waiting::reason::{self, Reason, Subject, WaitKind};
use crate::waiting::threads;

/// The value that a wake-up brings, or the error to raise.
pub type Outcome = PyResult<Py<PyAny>>;

/// One wait of one greenlet. It lives on the heap, as the memory of a suspended greenlet's stack is used by others. The
/// first [`wake`](Wait::wake) decides how it ends, and a wake-up that comes after the greenlet went on does nothing.
#[derive(Debug)]
pub struct Wait {
    greenlet: Py<PyAny>,
    loop_: Py<Loop>,
    progress: Progress,
    /// True if the greenlet is a `Greenlet` and refers to this wait.
    known: AtomicBool,
    kind: WaitKind,
    /// The place in the list of raw greenlets' waits, or [`UNLISTED`].
    listed: AtomicU32,
    /// The loop's time when the wait was made.
    since: Time,
    /// [`OWN_THREAD`] or [`ANY_THREAD`], or, above those, twice its place among the loop's [`Loop::waits`] plus one if it keeps
    /// the loop running.
    waker: AtomicU32,
    rest: GilCell<Rest>,
}

/// Only the greenlet's own thread can end the wait.
const OWN_THREAD: u32 = 0;
/// Another thread may end the wait.
const ANY_THREAD: u32 = 1;
/// The number that is added to the place of a wait that is among the loop's.
const PLACES: u32 = 2;

/// The place of a wait that is not in the list of raw greenlets' waits.
const UNLISTED: u32 = u32::MAX;

/// The part of a wait that changes. There may be a hundred thousand waits, so it is kept small.
#[derive(Default)]
struct Rest {
    outcome: Option<Box<Outcome>>,
    deadline: Option<(TimerKey, bool)>,
    then: Option<Then>,
    asyncio: Option<Box<AsyncioState>>,
    subject: Subject,
}

/// A shared wait.
pub type WaitRef = Arc<Wait>;

impl Wait {
    /// Makes a wait of the running greenlet, to be parked by [`crate::waiting::park::park`], which any thread may end.
    ///
    /// # Errors
    /// `RuntimeError` once the interpreter is being finalized.
    pub fn new(py: Python<'_>, loop_: Py<Loop>) -> PyResult<WaitRef> {
        Ok(Self::of_any_thread(greenlet::current(py)?.unbind(), loop_))
    }

    /// Makes a wait as [`new`](Self::new) does, for a call that states what it waits for.
    ///
    /// # Errors
    /// `RuntimeError` once the interpreter is being finalized.
    #[inline]
    pub fn new_for(py: Python<'_>, loop_: Py<Loop>, reason: Reason) -> PyResult<WaitRef> {
        let running = greenlet::current(py)?.unbind();
        Ok(Self::with_waker(running, loop_, ANY_THREAD, reason))
    }

    /// Makes a wait of `greenlet`, which is the running one, that any thread may end.
    pub fn of_any_thread(greenlet: Py<PyAny>, loop_: Py<Loop>) -> WaitRef {
        Self::with_waker(greenlet, loop_, ANY_THREAD, Reason::only(WaitKind::Other))
    }

    /// Makes a wait of `greenlet`, which is the running one, that only its own thread can end.
    pub fn of(greenlet: Py<PyAny>, loop_: Py<Loop>) -> WaitRef {
        Self::of_for(greenlet, loop_, Reason::only(WaitKind::Other))
    }

    /// Makes a wait as [`of`](Self::of) does, for a call that states what it waits for.
    #[inline]
    pub fn of_for(greenlet: Py<PyAny>, loop_: Py<Loop>, reason: Reason) -> WaitRef {
        Self::with_waker(greenlet, loop_, OWN_THREAD, reason)
    }

    /// Makes a wait as [`of_any_thread`](Self::of_any_thread) does, for a call that states what it waits for.
    #[inline]
    pub fn of_any_thread_for(greenlet: Py<PyAny>, loop_: Py<Loop>, reason: Reason) -> WaitRef {
        Self::with_waker(greenlet, loop_, ANY_THREAD, reason)
    }

    fn with_waker(greenlet: Py<PyAny>, loop_: Py<Loop>, waker: u32, reason: Reason) -> WaitRef {
        let since = loop_.get().cached_now();
        let rest = Rest {
            subject: reason.subject,
            ..Rest::default()
        };
        Arc::new(Self {
            greenlet,
            loop_,
            kind: reason.kind,
            listed: AtomicU32::new(UNLISTED),
            since,
            progress: Progress::new(),
            known: AtomicBool::new(false),
            waker: AtomicU32::new(waker),
            rest: GilCell::new(rest),
        })
    }

    /// Makes the wait known to its loop, if the running thread is not the main one, so that the end of the thread ends
    /// it. One that any thread may end also keeps the loop running: such a thread is never alone in the process, so
    /// another thread may bring what the greenlet waits for, and the loop has no other sign of that.
    /// [`finish`](Self::finish) takes both back.
    #[inline]
    pub fn expect_other_threads(self: &Arc<Self>, py: Python<'_>) {
        if !threads::is_main() {
            self.join_loop(py);
        }
    }

    #[cold]
    fn join_loop(self: &Arc<Self>, py: Python<'_>) {
        let waker = self.waker.load(Relaxed);
        if !self.is_waiting() || waker >= PLACES {
            return;
        }
        let loop_ = self.loop_.get();
        let weak = Arc::downgrade(self);
        let place = loop_.keep_wait(py, weak);
        loop_.count_ref(waker as isize);
        let place = u32::try_from(place).unwrap_or(u32::MAX / 2 - PLACES);
        self.waker.store(2 * place + waker + PLACES, Relaxed);
    }

    #[cold]
    fn leave_loop(&self, py: Python<'_>, place: usize, counted: u32) {
        let loop_ = self.loop_.get();
        // A destroyed loop has neither waits nor a count.
        if loop_.forget_wait(py, place) {
            loop_.count_ref(-(counted as isize));
        }
    }

    /// Has the wait expire after `delay`, as [`expire_at`](Self::expire_at) does.
    pub fn expire_after(self: &Arc<Self>, py: Python<'_>, delay: Duration, counted: bool) {
        self.expire_at(py, Time::now().after(delay), counted);
    }

    /// Has the wait expire at `at`; the deadline is taken back when the greenlet goes on before that. Unless `counted`,
    /// the deadline alone does not keep the loop running.
    pub fn expire_at(self: &Arc<Self>, py: Python<'_>, at: Time, counted: bool) {
        let loop_ = self.loop_.get();
        let key = loop_.set_deadline(py, at, Due::Wake(Arc::clone(self)));
        if !counted {
            loop_.count_ref(-1);
        }
        self.rest
            .with_entered(py, |rest| rest.deadline = Some((key, counted)));
    }

    /// Schedules the greenlet with `outcome`; from any thread that holds the GIL. Returns false, dropping `outcome`, when
    /// something woke it before.
    pub fn wake(self: &Arc<Self>, py: Python<'_>, outcome: Outcome) -> bool {
        if !self.progress.wake() {
            return false;
        }
        self.rest
            .with_entered(py, |rest| rest.outcome = Some(Box::new(outcome)));
        self.loop_.get().push(py, Task::Wake(Arc::clone(self)));
        true
    }

    /// Wakes as [`wake`](Self::wake) does, with `None`.
    pub fn wake_none(self: &Arc<Self>, py: Python<'_>) -> bool {
        let first = self.progress.wake();
        if first {
            self.loop_.get().push(py, Task::Wake(Arc::clone(self)));
        }
        first
    }

    /// Wakes as [`wake_none`](Self::wake_none) does, and gives the caller's reference to the ready queue.
    pub fn wake_owned(self: Arc<Self>, py: Python<'_>) {
        if self.progress.wake() {
            let loop_ = self.loop_.bind(py).clone();
            loop_.get().push(py, Task::Wake(self));
        }
    }

    /// Wakes as [`wake_none`](Self::wake_none) does, but queues no task. If it returns true, the caller carries out the
    /// task that would have been queued.
    #[inline]
    pub fn wake_unqueued(&self) -> bool {
        self.progress.wake()
    }

    /// Wakes as [`wake_none`](Self::wake_none) does, ahead of everything that is ready.
    pub fn wake_first(self: &Arc<Self>, py: Python<'_>) -> bool {
        if !self.progress.wake() {
            return false;
        }
        let task = Task::Wake(Arc::clone(self));
        self.loop_.get().push_first(py, task);
        true
    }

    /// Wakes the greenlet as [`wake_none`](Self::wake_none) does, because a deadline passed: [`expired`](Self::expired) returns true then.
    pub fn expire(self: &Arc<Self>, py: Python<'_>) {
        if self.progress.expire() {
            self.loop_.get().push(py, Task::Wake(Arc::clone(self)));
        }
    }

    /// Returns true if a deadline woke the greenlet.
    pub fn expired(&self) -> bool {
        self.progress.expired()
    }

    /// Sets the second half of the call that parks.
    pub fn set_then(&self, py: Python<'_>, then: Then) {
        self.rest.with_entered(py, |rest| rest.then = Some(then));
    }

    /// Takes the second half of the call.
    pub fn take_then(&self, py: Python<'_>) -> Option<Then> {
        self.rest.with_entered(py, |rest| rest.then.take())
    }

    /// Keeps the state that asyncio had set in the thread, and returns the state that was kept before.
    pub fn keep_asyncio_state(
        &self,
        py: Python<'_>,
        state: Option<Box<AsyncioState>>,
    ) -> Option<Box<AsyncioState>> {
        self.rest
            .with(py, |rest| std::mem::replace(&mut rest.asyncio, state))
    }

    /// Ends the wait with `error` right now, for the hub to switch to the greenlet; gives the error back when something
    /// else woke the greenlet before.
    ///
    /// # Errors
    /// The error, untouched.
    pub fn interrupt(&self, py: Python<'_>, error: PyErr) -> Result<(), PyErr> {
        if !self.progress.interrupt() {
            return Err(error);
        }
        self.rest
            .with_entered(py, |rest| rest.outcome = Some(Box::new(Err(error))));
        Ok(())
    }

    /// Has a `Greenlet` no longer refer to the wait, which is over. It never referred to a wait that was queued from
    /// the start.
    #[inline]
    pub fn forget_in_greenlet(&self, py: Python<'_>) {
        if self.known.load(Relaxed)
            && let Ok(ours) = self.greenlet.bind(py).cast::<Greenlet>()
        {
            ours.get().set_wait(py, None);
        }
    }

    /// Has a `Greenlet` refer to the wait that it is about to park on, so that an error can end the wait. The wait of a
    /// raw greenlet is listed, so that reports of what greenlets wait for can find it.
    #[inline]
    pub fn enter_in_greenlet(self: &Arc<Self>, py: Python<'_>) {
        if !self.is_waiting() {
            return;
        }
        match self.greenlet.bind(py).cast::<Greenlet>() {
            Ok(ours) => {
                self.known.store(true, Relaxed);
                ours.get().set_wait(py, Some(Arc::clone(self)));
            }
            Err(_) => self.listed.store(reason::list(py, self), Relaxed),
        }
    }

    /// Returns true as long as nothing has woken the greenlet.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.progress.is_waiting()
    }

    /// Returns true while a wake-up is being carried out.
    #[inline]
    pub fn is_delivered(&self) -> bool {
        self.progress.is_delivered()
    }

    /// Marks a queued wake-up as being carried out; returns false when the greenlet went on meanwhile.
    #[inline]
    pub fn deliver(&self) -> bool {
        self.progress.deliver()
    }

    /// Returns true if the greenlet will never run again, as its thread has ended.
    #[inline]
    pub fn is_gone(&self, py: Python<'_>) -> bool {
        self.loop_.get().is_gone(py)
    }

    /// Ends the wait after the greenlet runs again; returns the outcome if a wake-up of this wait resumed the greenlet.
    pub fn finish(&self, py: Python<'_>) -> Option<Outcome> {
        let delivered = self.progress.finish();
        if let Some(place) = self.waker.load(Relaxed).checked_sub(PLACES) {
            let counted = place % 2;
            self.waker.store(counted, Relaxed);
            self.leave_loop(py, (place / 2) as usize, counted);
        }
        let place = self.listed.load(Relaxed);
        if place != UNLISTED {
            self.listed.store(UNLISTED, Relaxed);
            reason::unlist(py, place);
        }
        let (outcome, deadline, subject) = self.rest.with_entered(py, |rest| {
            let subject = std::mem::take(&mut rest.subject);
            (rest.outcome.take(), rest.deadline.take(), subject)
        });
        drop(subject);
        if let Some((key, counted)) = deadline {
            let loop_ = self.loop_.get();
            if !counted {
                loop_.count_ref(1);
            }
            loop_.cancel_deadline(py, key);
        }
        delivered.then(|| outcome.map_or_else(|| Ok(py.None()), |outcome| *outcome))
    }

    /// Returns the waiting greenlet.
    pub fn greenlet(&self) -> &Py<PyAny> {
        &self.greenlet
    }

    /// Returns the kind of call that waits.
    pub fn kind(&self) -> WaitKind {
        self.kind
    }

    /// Returns the object that the call is on, until the wait is over.
    pub fn subject(&self, py: Python<'_>) -> Subject {
        self.rest.with(py, |rest| rest.subject.clone_ref(py))
    }

    /// Returns the loop's time when the wait was made.
    pub fn since(&self) -> Time {
        self.since
    }

    /// Returns the loop that will resume the greenlet.
    pub fn loop_(&self) -> &Py<Loop> {
        &self.loop_
    }
}
