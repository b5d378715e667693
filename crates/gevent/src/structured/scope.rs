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

use std::time::Duration;

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyRuntimeError, PyTimeoutError};
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
use crate::structured::interruption::{find_interrupted, is_cancellation_of};
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
enum Delivery {
    None,
    Queued,
    HeldBack,
    Raised,
}

/// The settings that all kinds of scopes have.
#[derive(Debug)]
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
    delivery: Delivery,
    pub(super) is_cancelled: bool,
    is_timed_out: bool,
    pub(super) is_caught: bool,
    timer: Option<TimerKey>,
    host: Option<Py<PyAny>>,
    nest: Option<Py<Nest>>,
    loop_: Option<Py<Loop>>,
    /// The exception that was being handled as the block began.
    before: Option<Py<PyAny>>,
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
/// `gevent.Timeout` is not put off.
///
/// A block that ends without waiting, or before the cancellation is raised, is not cancelled: nothing is raised after it.
/// A scope is for one block of one greenlet. `RuntimeError` is raised where it is entered again, left by another greenlet,
/// or left before a scope that was entered inside it.
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
            }),
        }
    }

    fn read<R>(slf: &Bound<'_, Self>, f: impl FnOnce(&mut State) -> R) -> R {
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

    /// Begins the block in the running greenlet.
    ///
    /// # Errors
    /// `RuntimeError` if it was entered before, or in the hub.
    pub fn enter(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        if Self::read(slf, |state| state.stage != Stage::New) {
            return Err(misuse(slf, "was entered already: each block needs its own"));
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
        let kept = nest.clone_ref(py);
        let is_cancelled = Self::read(slf, |state| {
            state.stage = Stage::Active;
            state.host = Some(host.unbind());
            state.nest = Some(kept);
            state.loop_ = Some(loop_);
            state.before = before;
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

    fn disarm(slf: &Bound<'_, Self>) {
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
        let inside = Self::read(slf, |state| {
            state.settings.shield = shield;
            let nest = state.nest.as_ref().map(|nest| nest.clone_ref(py));
            nest.zip(state.host.as_ref().map(|host| host.clone_ref(py)))
        });
        let Some((nest, host)) = inside.filter(|_| !shield) else {
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
            nest.get().release(host.bind(py), true).map(drop)
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
        let inside = Self::read(slf, |state| {
            let nest = state.nest.as_ref().map(|nest| nest.clone_ref(py));
            nest.zip(state.host.as_ref().map(|host| host.clone_ref(py)))
        });
        let Some((nest, host)) = inside.filter(|_| due) else {
            return Ok(());
        };
        if nest.get().is_shielded_from(py, slf.as_unbound()) {
            Self::read(slf, |state| state.delivery = Delivery::HeldBack);
            return Ok(());
        }
        let exception = Self::raise_now(slf)?;
        raise_in(host.bind(py), PyErr::from_value(exception.into_bound(py)))
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

    /// Ends the body of the block in the running greenlet: from here on nothing is raised. Scopes inside it that are
    /// not left yet are left with it, and the error for that is returned.
    ///
    /// # Errors
    /// `RuntimeError` if the running greenlet may not leave the scope.
    pub fn close(slf: &Bound<'_, Self>) -> PyResult<Option<PyErr>> {
        let py = slf.py();
        let inside = Self::read(slf, |state| {
            let nest = state.nest.as_ref().map(|nest| nest.clone_ref(py));
            nest.zip(state.host.as_ref().map(|host| host.clone_ref(py)))
        });
        let Some((nest, host)) = inside else {
            return Err(misuse(slf, "is left, but no greenlet is in it"));
        };
        let running = greenlet::current(py)?;
        if !running.is(&host) {
            let text = format!(
                "is left by {}, but was entered by {}",
                running.repr()?,
                host.bind(py).repr()?
            );
            return Err(misuse(slf, &text));
        }
        Self::disarm(slf);
        Self::read(slf, |state| {
            state.stage = Stage::Closing;
            state.delivery = Delivery::None;
        });
        let inner = nest.get().remove_inside(py, slf.as_unbound());
        let mut wrong = None;
        for scope in inner {
            let scope = scope.bind(py);
            if wrong.is_none() {
                let text = format!("is left before {}, entered inside it", scope.repr()?);
                wrong = Some(misuse(slf, &text));
            }
            Self::disarm(scope);
            Self::forget(scope);
        }
        Ok(wrong)
    }

    /// Drops the references to the greenlet, for good.
    fn forget(slf: &Bound<'_, Self>) {
        let dropped = Self::read(slf, |state| {
            state.stage = Stage::Left;
            state.delivery = Delivery::None;
            (
                state.host.take(),
                state.nest.take(),
                state.loop_.take(),
                state.before.take(),
            )
        });
        drop(dropped);
    }

    /// Ends the block after its [`close`](Self::close).
    pub fn leave(slf: &Bound<'_, Self>) {
        let py = slf.py();
        let nest = Self::read(slf, |state| {
            state.nest.as_ref().map(|nest| nest.clone_ref(py))
        });
        if let Some(nest) = nest {
            nest.get().remove(py, slf.as_unbound());
        }
        Self::forget(slf);
    }

    /// Returns true if `exception` is its own cancellation, and then also the exception that the cancellation
    /// interrupted and that is to propagate.
    pub fn catch<'py>(
        slf: &Bound<'py, Self>,
        exception: &Bound<'py, PyAny>,
    ) -> (bool, Option<Bound<'py, PyAny>>) {
        let py = slf.py();
        if !is_cancellation_of(exception, slf.as_any().as_unbound()) {
            return (false, None);
        }
        let (nest, before) = Self::read(slf, |state| {
            state.is_caught = true;
            (
                state.nest.as_ref().map(|nest| nest.clone_ref(py)),
                state.before.as_ref().map(|before| before.clone_ref(py)),
            )
        });
        let interrupted =
            nest.and_then(|nest| find_interrupted(exception, nest.get(), before.as_ref()));
        (true, interrupted)
    }

    /// Returns true if `exception` was raised in the greenlet from outside: by a kill, a timeout or a scope.
    pub fn came_from_outside(slf: &Bound<'_, Self>, exception: &Bound<'_, PyAny>) -> bool {
        let py = slf.py();
        let nest = Self::read(slf, |state| {
            state.nest.as_ref().map(|nest| nest.clone_ref(py))
        });
        nest.is_some_and(|nest| nest.get().was_raised(py, exception))
    }

    /// Ends the block; returns true if `exception`, with which its body ended, is its own cancellation.
    ///
    /// # Errors
    /// `RuntimeError` for misuse; `TimeoutError` for a scope of `fail_after`; the exception that the block, as a
    /// shield, held back, or that its cancellation interrupted.
    pub fn exit(slf: &Bound<'_, Self>, exception: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let py = slf.py();
        let wrong = Self::close(slf)?;
        let (own, interrupted) = match exception {
            Some(exception) => Self::catch(slf, exception),
            None => (false, None),
        };
        let (inside, fails) = Self::read(slf, |state| {
            let nest = state.nest.as_ref().map(|nest| nest.clone_ref(py));
            let inside = nest.zip(state.host.as_ref().map(|host| host.clone_ref(py)));
            (inside, state.settings.fails && state.is_timed_out)
        });
        Self::leave(slf);
        let goes_on = exception.is_some() && !own;
        let busy = goes_on || interrupted.is_some() || wrong.is_some();
        let held_back = match inside {
            Some((nest, host)) => {
                let held_back = nest.get().release(host.bind(py), busy)?;
                if let Some(held_back) = &held_back {
                    nest.get().note_raised(py, held_back);
                }
                held_back
            }
            None => None,
        };
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        if let Some(next) = interrupted.or(held_back.map(|kill| kill.into_bound(py))) {
            return Err(PyErr::from_value(next));
        }
        match exception {
            Some(exception) if own && fails => {
                let error = PyTimeoutError::new_err(Self::limit_text(slf));
                error.set_cause(py, Some(PyErr::from_value(exception.clone())));
                Err(error)
            }
            _ => Ok(own),
        }
    }
}

impl CancelScope {
    fn limit_text(slf: &Bound<'_, Self>) -> String {
        match Self::read(slf, |state| state.settings.delay) {
            Some(delay) => format!("the block did not end within {} s", delay.as_secs_f64()),
            None => "the block did not end before its deadline".to_owned(),
        }
    }
}

/// Makes the error of using a scope otherwise than for one block of one greenlet.
fn misuse(scope: &Bound<'_, CancelScope>, what: &str) -> PyErr {
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
            visit.call(&state.before)
        });
        visited.unwrap_or(Ok(()))
    }

    /// Drops the references that may form a cycle.
    pub(super) fn clear(&self, py: Python<'_>) {
        let dropped = self.state.with(py, |state| {
            (
                state.host.take(),
                state.nest.take(),
                state.loop_.take(),
                state.before.take(),
            )
        });
        drop(dropped);
    }
}
