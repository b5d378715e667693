//! `gevent.Greenlet`: a greenlet with a result, links and a place in the ready queue.
//!
//! This file holds the object and its life (start, run, end), `state.rs` its state, `methods.rs` its Python methods.

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyAssertionError, PyTypeError};
use pyo3::gc::PyVisit;
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
use crate::greenlets::state::{Cancelled, Ended, Notifying, Scheduled, State, drop_call};
use crate::hub;
use crate::structured::interruption::ends_program;
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
    state: GilCell<State>,
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

    /// Opens the state for `f`, which must not call Python, drop a Python object or switch greenlets.
    #[inline]
    pub fn with<R>(slf: &Bound<'_, Self>, f: impl FnOnce(&mut State) -> R) -> R {
        slf.get().state.with(slf.py(), f)
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
                drop(Self::with(slf, |state| state.set_function(run.unbind())));
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
        let former = Self::with(slf, |state| {
            state.prepare(args.unbind(), kwargs.map(Bound::unbind), origin)
        });
        drop(former);
        if inherits {
            context::inherit(slf)?;
        }
        Ok(())
    }

    /// Makes a greenlet of exactly this type, which has not started.
    ///
    /// # Errors
    /// Fails as [`init`](Self::init) does.
    #[inline]
    pub fn made<'py>(
        run: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Self>> {
        let py = run.py();
        if !run.is_callable() {
            let new = Bound::new(py, Self::blank())?;
            Self::init(&new, Some(run).filter(|run| !run.is_none()), args, kwargs)?;
            return Ok(new);
        }
        let hub = hub::current(py)?;
        let origin = Origin::here(&hub, py.get_type::<Self>().as_any())?;
        let inherits = origin.inherits;
        let kwargs = kwargs.map(Bound::unbind);
        let state = State::of_call(run.unbind(), args.unbind(), kwargs, origin);
        let new = Bound::new(py, Self::with_state(state))?;
        greenlet::set_parent(new.as_any(), hub.as_any())?;
        if inherits {
            context::inherit(&new)?;
        }
        Ok(new)
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
        let new = Self::made(run, args, kwargs)?;
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
        if has_spawn_callbacks(py) && Self::with(slf, |state| state.can_be_scheduled()) {
            call_spawn_callbacks(slf)?;
        }
        match Self::with(slf, |state| state.schedule(py)) {
            Scheduled::In(loop_) => Ok(Some(loop_)),
            Scheduled::Before => Ok(None),
            Scheduled::Refused => Err(PyAssertionError::new_err(
                "Greenlet.__init__() was not called",
            )),
        }
    }

    /// Notes that the hub is about to switch to the greenlet for the first time; returns none when the greenlet was
    /// cancelled meanwhile.
    pub fn begin(slf: Py<Self>, py: Python<'_>) -> Option<Py<Self>> {
        if slf.get().state.with(py, State::begin) {
            Some(slf)
        } else {
            drop(slf);
            None
        }
    }

    /// Returns the call that its body is to make, as it begins with this number.
    ///
    /// # Errors
    /// Returns the error that looking `_run` up raises.
    pub fn call<'py>(slf: &Bound<'py, Self>, number: u64) -> PyResult<Call<'py>> {
        let py = slf.py();
        slf.get().begun.set();
        let ((run, args, kwargs), shared) = Self::with(slf, |state| state.begin_call(py, number));
        if let Some(shared) = shared {
            context::begin(py, shared)?;
        }
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
        let old = this.state.with(py, |state| state.end(kept));
        drop(old);
        if !membership::end_in_group(slf, Some(&value)) {
            Self::report(slf, &value, traceback);
        }
        let (call, in_copy) = this
            .state
            .with(py, |state| (state.take_call(), state.end_copy()));
        drop_call(py, call);
        local::leave_all(slf);
        Self::schedule_links(slf);
        if in_copy {
            context::end(slf);
        }
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
                // Ctrl-C may have come while the error was printed. A greenlet that is thrown away where it has handed an
                // interrupt over to the main greenlet, and waits to come back, gets a `GreenletExit` instead.
                let is_interrupt = ends_program(error.value(py).as_any());
                match Self::own_loop(slf).filter(|_| is_interrupt) {
                    Some(loop_) => hub::handle_error(py, loop_.get(), None, error),
                    None => error.write_unraisable(py, Some(slf.as_any())),
                }
            }
        }
    }

    fn end(&self, slf: &Bound<'_, Self>, how: Ended) {
        let py = slf.py();
        let (old, call, in_copy) = self.state.with(py, |state| {
            let old = state.end(how);
            // A group is notified of the end while the greenlet still has its function and arguments.
            let call = state.is_plain().then(|| state.take_call());
            (old, call, state.end_copy())
        });
        drop(old);
        match call {
            Some(call) => drop_call(py, call),
            None => self.leave_rare(slf),
        }
        Self::schedule_links(slf);
        if in_copy {
            context::end(slf);
        }
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
        match Self::with(slf, |state| state.begin_notifying(py)) {
            Notifying::Nobody => {}
            Notifying::InHub(loop_) => loop_.get().push(py, Self::notification(slf)),
            Notifying::Waits(first, more) => {
                let mut link = Some(first);
                while let Some(Link::Wait(wait)) = link {
                    wait.wake_none(py);
                    link = if more {
                        Self::with(slf, State::next_link)
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
        while let Some(link) = Self::with(slf, State::next_link) {
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
        Self::with(slf, State::end_notifying);
    }

    /// Takes the greenlet out of the queue if it has not run yet; returns true when it never will.
    pub fn cancel_start(slf: &Bound<'_, Self>) -> bool {
        let py = slf.py();
        match Self::with(slf, |state| state.cancel(py)) {
            Cancelled::Now(timer) => {
                if let Some((key, loop_)) = timer {
                    loop_.get().cancel_deadline(py, key);
                }
            }
            Cancelled::Before => {}
            Cancelled::TooLate => return false,
        }
        !greenlet::started(slf.as_any())
    }

    /// Returns the greenlet's place in the order in which greenlets ended.
    pub fn end_order(slf: &Bound<'_, Self>) -> u64 {
        Self::with(slf, |state| state.end_order())
    }

    /// Returns the number by which locks note the greenlet, or 0 if it has none, as it has not begun or is over.
    pub fn number(slf: &Bound<'_, Self>) -> u64 {
        Self::with(slf, |state| state.number())
    }

    /// Gives the greenlet, which runs, this number unless it has one; returns its number.
    pub fn number_or(slf: &Bound<'_, Self>, number: u64) -> u64 {
        Self::with(slf, |state| state.number_or(number))
    }

    /// Remembers what the greenlet waits for (or that it waits no more), so that an error can end the wait.
    #[inline]
    pub fn set_wait(&self, py: Python<'_>, wait: Option<WaitRef>) {
        let old = self.state.with_entered(py, |state| state.set_wait(wait));
        drop(old);
    }

    /// Returns the wait that the greenlet is parked on.
    pub fn parked_on(&self, py: Python<'_>) -> Option<WaitRef> {
        self.state.with(py, |state| state.wait())
    }

    /// Returns the number of its present or next yield, where the same call has opened another cell before.
    #[inline]
    pub fn turn(&self, py: Python<'_>) -> u32 {
        self.state.with_entered(py, |state| state.turn())
    }

    /// Notes that it goes on after a yield, where the same call has opened another cell before.
    #[inline]
    pub fn end_turn(&self, py: Python<'_>) {
        self.state.with_entered(py, State::end_turn);
    }

    /// Visits the objects that the greenlet owns.
    ///
    /// # Errors
    /// Returns the error of the visitor.
    pub fn visit(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.state
            .peek(&visit, |state| state.traverse(visit))
            .unwrap_or(Ok(()))
    }

    /// Returns true if it is over, or will never run.
    pub fn is_ready(slf: &Bound<'_, Self>) -> bool {
        Self::with(slf, |state| state.is_over()) || is_ended(slf.as_any())
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
        Ok(ours) => ours.get().parked_on(py),
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
