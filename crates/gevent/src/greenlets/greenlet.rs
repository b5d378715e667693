//! `gevent.Greenlet`: a greenlet with a result, links and a place in the ready queue.
//!
//! This file holds the object and its life (start, run, end), `state.rs` its state, `methods.rs` its Python methods.

use pyo3::exceptions::{PyAssertionError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::cell::GilCell;
use crate::errors::GreenletExit;
use crate::event_loop::loop_::Loop;
use crate::event_loop::loop_::counters;
use crate::event_loop::ready::Task;
use crate::ffi::base::{PyGreenlet, as_greenlet};
use crate::ffi::collector::{Begun, Collected};
use crate::ffi::entry::Call;
use crate::ffi::greenlet;
use crate::greenlets::connection::Handling;
use crate::greenlets::local;
use crate::greenlets::origin::Origin;
use crate::greenlets::spawn_settings::{call_spawn_callbacks, has_spawn_callbacks};
use crate::greenlets::state::{Ended, Stage, State, drop_call};
use crate::hub;
use crate::structured::{context, membership, nest};
use crate::waiting::asyncio_state;
use crate::waiting::links::Link;
use crate::waiting::wait::WaitRef;

/// A greenlet scheduled by the hub of the thread that made it.
///
/// ``Greenlet(function, *args, **kwargs)`` makes one, and `start` schedules it; `gevent.spawn` does both. A subclass
/// may override ``_run`` instead of giving a function. When it is over, `value` has what the function returned, or
/// `exception` the error that ended it, and the greenlets that wait in `join` or `get` go on.
///
/// Unlike a ``threading.Thread`` it can be killed, has a result, and runs only while all others wait.
///
/// :param run: The function. Without one, and without a ``_run`` of a subclass, it does nothing.
/// :param args: The positional arguments of the function.
/// :param kwargs: The keyword arguments of the function.
/// :raises TypeError: The function cannot be called.
///
/// Example::
///
///     class Ticker(gevent.Greenlet):
///         def _run(self):
///             while True:
///                 gevent.sleep(1)
///                 print("tick")
///
///     ticker = Ticker.spawn()
///     ticker.join(timeout=3)
///     ticker.kill()
#[pyclass(frozen, subclass, extends = PyGreenlet, name = "Greenlet", module = "gevent")]
#[derive(Debug)]
pub struct Greenlet {
    pub(crate) state: GilCell<State>,
    begun: Begun,
}

impl Collected for Greenlet {
    fn begun(&self) -> &Begun {
        &self.begun
    }
}

impl Greenlet {
    /// Returns the type object, for comparing exact types.
    #[inline]
    pub fn type_ptr(py: Python<'_>) -> *mut pyo3::ffi::PyTypeObject {
        <Self as pyo3::PyTypeInfo>::type_object_raw(py)
    }

    /// Returns an object as its base's `tp_new` leaves it, with empty state.
    pub fn blank() -> PyClassInitializer<Self> {
        Self::with_state(State::blank())
    }

    fn with_state(state: State) -> PyClassInitializer<Self> {
        counters::count_greenlet();
        PyClassInitializer::new(
            Self {
                state: GilCell::new(state),
                begun: Begun::default(),
            },
            as_greenlet(),
        )
    }

    /// Does what `Greenlet.__init__` does.
    ///
    /// # Errors
    /// `TypeError` when there is nothing callable to run; the errors that `set_parent` and making a hub raise.
    pub fn init<'py>(
        slf: &Bound<'py, Self>,
        run: Option<Bound<'py, PyAny>>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let exact = std::ptr::eq(slf.get_type_ptr(), Self::type_ptr(py));
        match run {
            Some(run) if exact => {
                if !run.is_callable() {
                    return Err(not_callable());
                }
                let old = slf
                    .get()
                    .state
                    .with(py, |state| state.run.replace(run.unbind()));
                drop(old);
            }
            Some(run) => {
                slf.setattr(pyo3::intern!(py, "_run"), &run)?;
                if !slf.getattr(pyo3::intern!(py, "_run"))?.is_callable() {
                    return Err(not_callable());
                }
            }
            None => {
                let own = slf.getattr_opt(pyo3::intern!(py, "_run"))?;
                if !own.is_some_and(|own| own.is_callable()) {
                    return Err(not_callable());
                }
            }
        }
        let hub = hub::current(py)?;
        greenlet::set_parent(slf.as_any(), hub.as_any())?;
        let origin = if exact {
            Origin::here(&hub, slf.get_type().as_any())?
        } else {
            Origin::here(&hub, slf.as_any())?
        };
        let inherits = origin.inherits;
        slf.get().state.with(py, |state| {
            state.args = Some(args.unbind());
            state.kwargs = kwargs.map(Bound::unbind);
            state.set_origin(origin);
        });
        if inherits {
            context::inherit(slf.as_any())?;
        }
        Ok(())
    }

    /// Makes and starts a greenlet of exactly this type, as `gevent.spawn` does.
    ///
    /// # Errors
    /// Fails as [`init`](Self::init) and [`start`](Self::start) do.
    pub fn spawned<'py>(
        run: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Self>> {
        let py = run.py();
        if !run.is_callable() {
            let new = Bound::new(py, Self::blank())?;
            Self::init(&new, Some(run).filter(|run| !run.is_none()), args, kwargs)?;
            Self::start(&new)?;
            return Ok(new);
        }
        let hub = hub::current(py)?;
        let origin = Origin::here(&hub, py.get_type::<Self>().as_any())?;
        let inherits = origin.inherits;
        let mut state = State::blank();
        state.run = Some(run.unbind());
        state.args = Some(args.unbind());
        state.kwargs = kwargs.map(Bound::unbind);
        state.set_origin(origin);
        let new = Bound::new(py, Self::with_state(state))?;
        greenlet::set_parent(new.as_any(), hub.as_any())?;
        if inherits {
            context::inherit(new.as_any())?;
        }
        Self::start(&new)?;
        Ok(new)
    }

    /// Puts the greenlet into the ready queue, once.
    ///
    /// # Errors
    /// Returns the error that a spawn callback raises.
    pub fn start(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        if let Some(loop_) = Self::schedule(slf)? {
            let loop_ = loop_.into_bound(py);
            loop_.get().push(py, Task::Start(slf.clone().unbind()));
        }
        Ok(())
    }

    /// Marks the greenlet as scheduled; returns the loop to schedule it on, none when that was done before.
    ///
    /// # Errors
    /// Returns the error that a spawn callback raises; `AssertionError` when `__init__` was not called.
    pub fn schedule(slf: &Bound<'_, Self>) -> PyResult<Option<Py<Loop>>> {
        let py = slf.py();
        let this = slf.get();
        let is_new = |state: &mut State| state.stage == Stage::New && state.loop_.is_some();
        if has_spawn_callbacks(py) && this.state.with(py, is_new) {
            call_spawn_callbacks(slf)?;
        }
        let (stage, loop_) = this.state.with(py, |state| {
            let stage = state.stage;
            if stage != Stage::New {
                return (stage, None);
            }
            let loop_ = state.loop_.as_ref().map(|loop_| loop_.clone_ref(py));
            if loop_.is_some() {
                state.stage = Stage::Scheduled;
            }
            (stage, loop_)
        });
        if stage == Stage::New && loop_.is_none() {
            return Err(PyAssertionError::new_err(
                "Greenlet.__init__() was not called",
            ));
        }
        Ok(loop_)
    }

    /// Notes that the hub is about to switch to the greenlet for the first time; returns none when the greenlet was
    /// cancelled meanwhile.
    pub fn begin(slf: Py<Self>, py: Python<'_>) -> Option<Py<Self>> {
        let due = slf.get().state.with(py, |state| {
            let due = state.stage == Stage::Scheduled;
            if due {
                state.stage = Stage::Running;
                if let Some(rare) = &mut state.rare {
                    rare.timer = None;
                }
            }
            due
        });
        if due {
            Some(slf)
        } else {
            drop(slf);
            None
        }
    }

    /// Returns the call that its body is to make.
    ///
    /// # Errors
    /// Returns the error that looking `_run` up raises.
    pub fn call<'py>(slf: &Bound<'py, Self>) -> PyResult<Call<'py>> {
        let py = slf.py();
        slf.get().begun.set();
        let (run, args, kwargs) = slf.get().state.with(py, |state| {
            state.stage = Stage::Running;
            (
                state.run.as_ref().map(|run| run.clone_ref(py)),
                state.args.as_ref().map(|args| args.clone_ref(py)),
                state.kwargs.as_ref().map(|kwargs| kwargs.clone_ref(py)),
            )
        });
        let exact = std::ptr::eq(slf.get_type_ptr(), Self::type_ptr(py));
        let function = match run {
            Some(run) if exact => run.into_bound(py),
            _ => slf.getattr(pyo3::intern!(py, "_run"))?,
        };
        let args = args.map_or_else(|| PyTuple::empty(py), |args| args.into_bound(py));
        let kwargs = kwargs.map(|kwargs| kwargs.into_bound(py));
        Ok(match Handling::of(&function, &args, kwargs.as_ref()) {
            Some(Handling {
                handle,
                close,
                args,
            }) => Call {
                function: handle,
                args,
                kwargs: None,
                close: Some(close),
            },
            None => Call {
                function,
                args,
                kwargs,
                close: None,
            },
        })
    }

    /// Ends with the function's result.
    pub fn succeed(slf: &Bound<'_, Self>, value: Bound<'_, PyAny>) {
        slf.get().end(slf, Ended::Value(value.unbind()));
    }

    /// Ends with an error, reporting it unless it is a `GreenletExit`.
    pub fn fail(slf: &Bound<'_, Self>, error: PyErr) {
        let py = slf.py();
        let this = slf.get();
        let value = error.into_value(py).into_bound(py).into_any();
        if value.is_instance_of::<GreenletExit>() {
            this.end(slf, Ended::Value(value.unbind()));
            return;
        }
        let traceback = value
            .getattr(pyo3::intern!(py, "__traceback__"))
            .ok()
            .filter(|traceback| !traceback.is_none());
        let kept = Ended::Error(value.clone().unbind(), traceback.clone().map(Bound::unbind));
        let old = this.state.with(py, |state| state.keep(kept));
        drop(old);
        if !membership::end_in_group(slf, Some(&value)) {
            Self::report(slf, &value, traceback);
        }
        let call = this.state.with(py, State::take_call);
        drop_call(py, call);
        local::leave_all(slf);
        Self::schedule_links(slf);
    }

    /// Has the hub report the error that it ended with.
    fn report(
        slf: &Bound<'_, Self>,
        value: &Bound<'_, PyAny>,
        traceback: Option<Bound<'_, PyAny>>,
    ) {
        let py = slf.py();
        let handler = greenlet::parent(slf.as_any()).and_then(|parent| {
            parent
                .getattr_opt(pyo3::intern!(py, "handle_error"))
                .ok()
                .flatten()
        });
        if let Some(handler) = handler {
            let called = handler.call1((slf, value.get_type(), value, traceback));
            if let Err(error) = called {
                error.write_unraisable(py, Some(slf.as_any()));
            }
        }
    }

    fn end(&self, slf: &Bound<'_, Self>, how: Ended) {
        let py = slf.py();
        let (old, call) = self.state.with(py, |state| {
            let old = state.keep(how);
            // A group is notified of the end while the greenlet still has its function and arguments.
            let call = state.rare.is_none().then(|| state.take_call());
            (old, call)
        });
        drop(old);
        match call {
            Some(call) => drop_call(py, call),
            None => self.leave_rare(slf),
        }
        Self::schedule_links(slf);
    }

    /// Ends the state that few greenlets have.
    #[cold]
    fn leave_rare(&self, slf: &Bound<'_, Self>) {
        let py = slf.py();
        membership::end_in_group(slf, None);
        let call = self.state.with(py, State::take_call);
        drop_call(py, call);
        local::leave_all(slf);
    }

    /// Notifies all listeners: now if they are parked greenlets, otherwise from the hub, after the greenlets that were ready
    /// before.
    pub fn schedule_links(slf: &Bound<'_, Self>) {
        let py = slf.py();
        let this = slf.get();
        let due = this.state.with(py, |state| {
            if state.notifying || state.links.is_empty() {
                return None;
            }
            if state.links.has_listener() {
                state.notifying = true;
                let loop_ = state.loop_.as_ref().map(|loop_| loop_.clone_ref(py));
                return loop_.map(Err);
            }
            let first = state.links.pop();
            first.map(|link| Ok((link, !state.links.is_empty())))
        });
        match due {
            None => {}
            Some(Err(loop_)) => loop_.get().push(py, Self::notification(slf)),
            Some(Ok((first, more))) => {
                let mut link = Some(first);
                while let Some(Link::Wait(wait)) = link {
                    wait.wake_none(py);
                    link = if more {
                        this.state.with(py, |state| state.links.pop())
                    } else {
                        None
                    };
                }
            }
        }
    }

    fn notification(slf: &Bound<'_, Self>) -> Task {
        let greenlet = slf.clone().unbind();
        Task::Native(Box::new(move |py: Python<'_>| {
            Self::notify(greenlet.bind(py));
            Ok(())
        }))
    }

    /// Notifies all listeners in turn, in the hub. A greenlet goes on before the next listener is notified.
    fn notify(slf: &Bound<'_, Self>) {
        let py = slf.py();
        let state = &slf.get().state;
        while let Some(link) = state.with(py, |state| state.links.pop()) {
            match link {
                Link::Wait(wait) => {
                    if let Some(loop_) = Self::own_loop(slf).filter(|_| wait.is_waiting()) {
                        loop_.get().push_first(py, Self::notification(slf));
                        wait.wake_first(py);
                        return;
                    }
                }
                Link::Native(listener) => {
                    if let (Err(error), Ok(loop_)) = (listener.notify(slf), hub::current_loop(py)) {
                        hub::handle_error(
                            py,
                            loop_.get(),
                            Some(slf.clone().into_any().unbind()),
                            error,
                        );
                    }
                }
                Link::Callable(callable) => {
                    if let Err(error) = callable.bind(py).call1((slf,)) {
                        let context = PyTuple::new(py, [callable.bind(py).as_any(), slf.as_any()]);
                        if let (Ok(loop_), Ok(context)) = (hub::current_loop(py), context) {
                            hub::handle_error(
                                py,
                                loop_.get(),
                                Some(context.into_any().unbind()),
                                error,
                            );
                        }
                    }
                }
            }
        }
        state.with(py, |state| state.notifying = false);
    }

    /// Takes the greenlet out of the queue if it has not run yet; returns true when it never will.
    pub fn cancel_start(slf: &Bound<'_, Self>) -> bool {
        let py = slf.py();
        let (cancelled, timer) = slf.get().state.with(py, |state| match state.stage {
            Stage::New | Stage::Scheduled => {
                state.stage = Stage::Cancelled;
                (
                    true,
                    state
                        .rare
                        .as_mut()
                        .and_then(|rare| rare.timer.take())
                        .zip(state.loop_.as_ref().map(|loop_| loop_.clone_ref(py))),
                )
            }
            Stage::Cancelled => (true, None),
            Stage::Running | Stage::Dead => (false, None),
        });
        if let Some((key, loop_)) = timer {
            loop_.get().cancel_deadline(py, key);
        }
        cancelled && !greenlet::started(slf.as_any())
    }

    /// Returns the greenlet's place in the order in which greenlets ended.
    pub fn end_order(slf: &Bound<'_, Self>) -> u64 {
        slf.get().state.with(slf.py(), |state| state.end_order)
    }

    /// Remembers what the greenlet waits for (or that it waits no more), so that an error can end the wait.
    #[inline]
    pub fn set_wait(&self, py: Python<'_>, wait: Option<WaitRef>) {
        let old = self
            .state
            .with_entered(py, |state| std::mem::replace(&mut state.wait, wait));
        drop(old);
    }

    /// Returns true if it is over, or will never run.
    pub fn is_ready(slf: &Bound<'_, Self>) -> bool {
        let (stage, ended) = slf
            .get()
            .state
            .with(slf.py(), |state| (state.stage, state.ended.is_some()));
        ended || matches!(stage, Stage::Dead | Stage::Cancelled) || is_ended(slf.as_any())
    }
}

fn is_ended(target: &Bound<'_, PyAny>) -> bool {
    greenlet::started(target) && !greenlet::active(target)
}

/// Makes the error for an object that cannot be called.
pub fn not_callable() -> PyErr {
    PyTypeError::new_err("The run argument or self._run must be callable")
}

/// Raises `error` in `target` now, from the hub. A `Greenlet` that is parked gets the error as the outcome of its wait:
/// greenlet's own `throw` unwinds through C++ frames, which takes ten times as long.
///
/// # Errors
/// Returns an error that is thrown into the hub before the greenlet switches back.
pub fn raise_in(target: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
    let py = target.py();
    if is_ended(target) {
        return Ok(());
    }
    nest::note_raised(target, &error);
    let wait = match target.cast::<Greenlet>() {
        Ok(ours) => ours.get().state.with(py, |state| state.wait.clone()),
        Err(_) => None,
    };
    let thrown = match wait {
        Some(wait) => match wait.interrupt(py, error) {
            Ok(()) => greenlet::switch(target),
            Err(error) => greenlet::throw(target, error),
        },
        None => {
            asyncio_state::return_to(target);
            greenlet::throw(target, error)
        }
    };
    thrown.map(drop)
}
