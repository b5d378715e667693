//! `CancelScope`: a block of code that can be cancelled as a whole.
//!
//! A cancellation is an exception, `Cancelled`, that is raised once in the greenlet that is in the block, as soon as it
//! waits, and that the scope swallows at the end of the block. Between the request for it and the exception there are
//! these steps:
//!
//! | delivery | meaning | next |
//! |---|---|---|
//! | `None` | it was not requested | `Queued`, by `cancel()`; `Raised`, by the deadline |
//! | `Queued` | a task in the ready queue of the greenlet's loop will raise it | `Raised`, or `HeldBack` if a shield is on then |
//! | `HeldBack` | the end of a shield inside the scope will raise it | `Raised`; `Queued`, where the shield's block ended otherwise |
//! | `Raised` | it was raised, and will not be again | |
//!
//! The end of the block takes it back in any step: a task that finds the scope left does nothing. So nothing is ever
//! raised after the block.
//!
//! A scope that is entered in a coroutine of asyncio cancels its task instead, with the same steps; see `in_task.rs`.

use std::sync::Arc;
use std::time::Duration;

use pyo3::PyTraverseError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use reactor::{Time, TimerKey};

use crate::cell::GilCell;
use crate::errors::Cancelled;
use crate::event_loop::loop_::{Due, Loop};
use crate::event_loop::ready::Task;
use crate::ffi::{greenlet, interpreter};
use crate::greenlets::greenlet::raise_in;
use crate::hub;
use crate::structured::in_task::InTask;
use crate::structured::nest::Nest;

/// The stage of a scope's block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has not begun.
    New,
    /// A greenlet is in it.
    Active,
    /// The body is over, and the scope waits for the rest of the block, such as a group's children. Nothing is raised
    /// any more.
    Closing,
    /// It is over.
    Left,
}

/// The stage of its cancellation; see the top of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    None,
    Queued,
    HeldBack,
    Raised,
}

/// The settings that all kinds of scopes have.
#[derive(Debug, Default)]
pub struct Settings {
    /// The time at which it is cancelled.
    pub deadline: Option<Time>,
    /// The time between its beginning and its cancellation.
    pub delay: Option<Duration>,
    /// True if kills, and cancellations of scopes around it, are put off to its end.
    pub shield: bool,
    /// True if its end by the deadline is an error.
    pub fails: bool,
}

pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) stage: Stage,
    pub(super) delivery: Delivery,
    pub(super) is_cancelled: bool,
    pub(super) is_timed_out: bool,
    pub(super) is_caught: bool,
    timer: Option<TimerKey>,
    pub(super) host: Option<Py<PyAny>>,
    pub(super) nest: Option<Py<Nest>>,
    pub(super) loop_: Option<Py<Loop>>,
    /// The exception that was being handled as the block began.
    pub(super) before: Option<Py<PyAny>>,
    pub(super) in_task: Option<Arc<InTask>>,
    /// True if it cancelled its task and has not taken that back.
    pub(super) has_cancelled_task: bool,
    /// True if a `CancelledError` of asyncio that ends the body is its own.
    pub(super) owns_task_error: bool,
}

impl State {
    /// Takes out the references to the greenlet and to what belongs to it.
    pub(super) fn take_references(&mut self) -> impl Sized + use<> {
        (
            self.host.take(),
            self.nest.take(),
            self.loop_.take(),
            self.before.take(),
            self.in_task.take(),
        )
    }
}

/// A block of code that can be cancelled as a whole: by `cancel`, from any greenlet or thread, or at its deadline.
///
/// The greenlet in the block then gets `gevent.Cancelled`, once, when it waits next, and the end of the block swallows that::
///
///     with gevent.CancelScope() as scope:
///         gevent.spawn_later(1, scope.cancel)
///         serve_forever()
///     assert scope.cancelled_caught
///
/// `deadline` is a time of `time.monotonic()`, in seconds, or of `time.time()`, the clock of `loop.now()`, or None;
/// `gevent.move_on_after` takes seconds from now. With `shield`, kills of the greenlet and cancellations of scopes
/// around this one are put off to the end of the block, where the first of them is raised; the exception of a
/// `gevent.Timeout` is not put off, nor one that `throw` raises.
///
/// In a coroutine of asyncio the scope cancels the task: the coroutine gets `asyncio.CancelledError` where it awaits.
///
/// A block that ends without waiting, or before the cancellation is raised, is not cancelled: nothing is raised after it.
/// A scope is for one block of one greenlet or task. `RuntimeError` is raised where it is entered again, left by another
/// greenlet or task, or left before a scope that was entered inside it.
#[pyclass(frozen, subclass, weakref, name = "CancelScope", module = "gevent")]
#[derive(Debug)]
pub struct CancelScope {
    pub(super) state: GilCell<State>,
}

impl CancelScope {
    /// Makes a scope that is not entered.
    pub fn with_settings(settings: Settings) -> Self {
        Self {
            state: GilCell::new(State {
                settings,
                stage: Stage::New,
                delivery: Delivery::None,
                is_cancelled: false,
                is_timed_out: false,
                is_caught: false,
                timer: None,
                host: None,
                nest: None,
                loop_: None,
                before: None,
                in_task: None,
                has_cancelled_task: false,
                owns_task_error: false,
            }),
        }
    }

    pub(super) fn read<R>(slf: &Bound<'_, Self>, f: impl FnOnce(&mut State) -> R) -> R {
        slf.get().state.with(slf.py(), f)
    }

    /// Returns true if it puts off exceptions from outside.
    pub fn is_shield(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| {
            state.settings.shield && state.stage != Stage::Left
        })
    }

    /// Returns true if a shield holds its cancellation back.
    pub fn is_held_back(&self, py: Python<'_>) -> bool {
        self.state
            .with(py, |state| state.delivery == Delivery::HeldBack)
    }

    /// Returns the nest and the greenlet that it is in.
    pub(super) fn inside(slf: &Bound<'_, Self>) -> Option<(Py<Nest>, Py<PyAny>)> {
        let py = slf.py();
        Self::read(slf, |state| {
            let nest = state.nest.as_ref().map(|nest| nest.clone_ref(py));
            nest.zip(state.host.as_ref().map(|host| host.clone_ref(py)))
        })
    }

    pub(super) fn in_task(slf: &Bound<'_, Self>) -> Option<Arc<InTask>> {
        Self::read(slf, |state| state.in_task.clone())
    }

    /// Returns a number that only the scopes of one task have in common, and those outside of tasks.
    pub fn strand(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| {
            state.in_task.as_ref().map_or(0, |task| task.identity())
        })
    }

    /// Gives a scope that is not entered its settings.
    ///
    /// # Errors
    /// `RuntimeError` if it was entered before.
    pub fn set_up(slf: &Bound<'_, Self>, settings: Settings) -> PyResult<()> {
        let is_new = Self::read(slf, |state| {
            let is_new = state.stage == Stage::New;
            if is_new {
                state.settings = settings;
            }
            is_new
        });
        if is_new {
            Ok(())
        } else {
            Err(misuse(slf, ENTERED_BEFORE))
        }
    }

    /// Begins the block in the running greenlet.
    ///
    /// # Errors
    /// `RuntimeError` if it was entered before, or in the hub.
    pub fn enter(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        if Self::read(slf, |state| state.stage != Stage::New) {
            return Err(misuse(slf, ENTERED_BEFORE));
        }
        let host = greenlet::current(py)?;
        let hub = hub::current(py)?;
        if host.is(&hub) {
            return Err(misuse(
                slf,
                "cannot be entered in the hub, which cannot wait",
            ));
        }
        let loop_ = hub::loop_of(&hub)?.unbind();
        let nest = Nest::make(&host)?;
        let before = interpreter::handled_exception(py).map(Bound::unbind);
        let in_task = InTask::current(py)?.map(Arc::new);
        let kept = nest.clone_ref(py);
        let is_cancelled = Self::read(slf, |state| {
            state.stage = Stage::Active;
            state.host = Some(host.unbind());
            state.nest = Some(kept);
            state.loop_ = Some(loop_);
            state.before = before;
            state.in_task = in_task;
            if let Some(delay) = state.settings.delay {
                state.settings.deadline = Some(Time::now().after(delay));
            }
            state.is_cancelled
        });
        nest.get().push(py, slf.clone().unbind());
        if is_cancelled {
            Self::queue(slf);
        } else {
            Self::arm(slf);
        }
        Ok(())
    }

    /// Starts the timer of the deadline, if the block is under way. If the deadline has passed, it cancels the block
    /// right away.
    fn arm(slf: &Bound<'_, Self>) {
        let py = slf.py();
        let due = Self::read(slf, |state| {
            let waits = state.stage == Stage::Active && !state.is_cancelled;
            let loop_ = state.loop_.as_ref().map(|loop_| loop_.clone_ref(py));
            state.settings.deadline.zip(loop_).filter(|_| waits)
        });
        let Some((deadline, loop_)) = due else { return };
        if deadline <= Time::now() {
            Self::read(slf, |state| state.is_timed_out = true);
            return Self::cancel(slf);
        }
        let task = Box::new(Task::Scope(slf.clone().unbind()));
        let key = loop_.get().set_deadline(py, deadline, Due::Task(task));
        Self::read(slf, |state| state.timer = Some(key));
    }

    pub(super) fn disarm(slf: &Bound<'_, Self>) {
        let py = slf.py();
        let armed = Self::read(slf, |state| {
            let loop_ = state.loop_.as_ref().map(|loop_| loop_.clone_ref(py));
            state.timer.take().zip(loop_)
        });
        if let Some((key, loop_)) = armed {
            loop_.get().cancel_deadline(py, key);
        }
    }

    /// Sets the deadline, also while the block is under way.
    pub fn set_deadline(slf: &Bound<'_, Self>, deadline: Option<Time>) {
        Self::disarm(slf);
        Self::read(slf, |state| {
            state.settings.deadline = deadline;
            state.settings.delay = None;
        });
        Self::arm(slf);
    }

    /// Sets whether it is a shield. The exceptions that it held back until now are raised when the greenlet waits next.
    pub fn set_shield(slf: &Bound<'_, Self>, shield: bool) {
        let py = slf.py();
        Self::read(slf, |state| state.settings.shield = shield);
        let Some((nest, host)) = Self::inside(slf).filter(|_| !shield) else {
            return;
        };
        let loop_ = Self::read(slf, |state| {
            state.loop_.as_ref().map(|loop_| loop_.clone_ref(py))
        });
        let Some(loop_) = loop_ else { return };
        let slf = slf.clone().unbind();
        // This must run in the thread of the greenlet.
        let release = move |py: Python<'_>| {
            if slf.get().is_shield(py) {
                return Ok(());
            }
            nest.get().release(host.bind(py), 0, true).map(drop)
        };
        loop_.get().push(py, Task::Native(Box::new(release)));
    }

    /// Asks for the cancellation, once.
    pub fn cancel(slf: &Bound<'_, Self>) {
        let first = Self::read(slf, |state| {
            !std::mem::replace(&mut state.is_cancelled, true) && state.stage == Stage::Active
        });
        if first {
            Self::disarm(slf);
            Self::queue(slf);
        }
    }

    fn queue(slf: &Bound<'_, Self>) {
        let py = slf.py();
        let loop_ = Self::read(slf, |state| {
            state.delivery = Delivery::Queued;
            state.loop_.as_ref().map(|loop_| loop_.clone_ref(py))
        });
        if let Some(loop_) = loop_ {
            loop_.get().push(py, Task::Scope(slf.clone().unbind()));
        }
    }

    /// Queues the cancellation that a shield held back.
    pub fn queue_again(slf: &Bound<'_, Self>) {
        Self::queue(slf);
    }

    /// Carries out its task in the hub: raises the cancellation in the greenlet, if that is still due.
    ///
    /// # Errors
    /// Returns an error that is thrown into the hub meanwhile, and the error of a raw greenlet that it ends.
    pub fn carry_out(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let (due, passed) = Self::read(slf, |state| {
            if state.stage != Stage::Active {
                return (false, false);
            }
            let is_time = |deadline: Time| deadline <= Time::now();
            let passed = !state.is_cancelled && state.settings.deadline.is_some_and(is_time);
            if passed {
                state.is_cancelled = true;
                state.is_timed_out = true;
            }
            (passed || state.delivery == Delivery::Queued, passed)
        });
        if passed {
            Self::disarm(slf);
        }
        let Some((nest, host)) = Self::inside(slf).filter(|_| due) else {
            return Ok(());
        };
        if nest.get().is_shielded_from(py, slf.as_unbound()) {
            Self::read(slf, |state| state.delivery = Delivery::HeldBack);
            return Ok(());
        }
        if let Some(task) = Self::in_task(slf)
            && !task.blocks_its_greenlet(py)
        {
            Self::read(slf, |state| state.delivery = Delivery::Queued);
            task.call_soon(&slf.getattr(pyo3::intern!(py, "_cancel_task"))?);
            return Ok(());
        }
        let exception = Self::raise_now(slf)?;
        raise_in(host.bind(py), PyErr::from_value(exception.into_bound(py)))
    }

    /// Cancels the task whose coroutine is in it, if that is still due; the task's loop calls this.
    ///
    /// # Errors
    /// Returns the error of a future that the task awaits.
    pub fn cancel_task(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let is_due = Self::read(slf, |state| {
            state.stage == Stage::Active && state.delivery == Delivery::Queued
        });
        let inside = Self::inside(slf).zip(Self::in_task(slf));
        let Some(((nest, _), task)) = inside.filter(|_| is_due) else {
            return Ok(());
        };
        if nest.get().is_shielded_from(py, slf.as_unbound()) {
            Self::read(slf, |state| state.delivery = Delivery::HeldBack);
            return Ok(());
        }
        if task.is_carried_out(py) {
            // It is an eager task that blocks the greenlet which made it; it can be cancelled when it awaits.
            return task.call_later(&slf.getattr(pyo3::intern!(py, "_cancel_task"))?);
        }
        Self::read(slf, |state| state.delivery = Delivery::Raised);
        if task.cancel(py, &format!("cancelled by {}", slf.repr()?))? {
            Self::read(slf, |state| state.has_cancelled_task = true);
        }
        Ok(())
    }

    /// Returns the exception of its cancellation, which the caller raises now.
    ///
    /// # Errors
    /// Fails when the exception cannot be made.
    pub fn raise_now(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        Self::read(slf, |state| state.delivery = Delivery::Raised);
        let error = Cancelled::new_err((slf.clone().unbind(),));
        Ok(error.into_value(py).into_any())
    }
}

const ENTERED_BEFORE: &str = "was entered already: each block needs its own";

/// Makes the error of using a scope otherwise than for one block of one greenlet.
pub(super) fn misuse(scope: &Bound<'_, CancelScope>, what: &str) -> PyErr {
    match scope.repr() {
        Ok(name) => PyRuntimeError::new_err(format!("{name} {what}")),
        Err(error) => error,
    }
}

impl CancelScope {
    /// Shows its objects to the collector.
    ///
    /// # Errors
    /// Returns the error of the visit.
    pub(super) fn visit(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.state.peek(&visit, |state| {
            visit.call(&state.host)?;
            visit.call(&state.nest)?;
            visit.call(&state.loop_)?;
            visit.call(&state.before)?;
            state
                .in_task
                .as_ref()
                .map_or(Ok(()), |task| task.traverse(&visit))
        });
        visited.unwrap_or(Ok(()))
    }

    /// Drops the references that may form a cycle.
    pub(super) fn clear(&self, py: Python<'_>) {
        drop(self.state.with(py, State::take_references));
    }
}
