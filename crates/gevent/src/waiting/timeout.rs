//! `gevent.Timeout`.

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyAssertionError, PyBaseException, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString, PyTuple, PyType};
use reactor::{Time, TimerKey};

use crate::args::{from_python, number};
use crate::cell::GilCell;
use crate::event_loop::loop_::{Due, Loop};
use crate::event_loop::ready::Task;
use crate::ffi::base::PyGreenlet;
use crate::ffi::greenlet;
use crate::greenlets::greenlet::raise_in;
use crate::hub;
use crate::waiting::deadline::duration_of;

/// The state of a timeout. `Idle` is the zero value.
enum Armed {
    Idle,
    Pending(Pending),
    /// Its deadline passed; the hub is about to raise it.
    Firing(Py<PyAny>),
}

/// A deadline that is to come.
struct Pending {
    key: TimerKey,
    loop_: Py<Loop>,
    target: Py<PyAny>,
    /// True if it keeps the loop running; the timeout's own setting may have changed since.
    counted: bool,
}

struct State {
    seconds: Option<Py<PyAny>>,
    exception: Option<Py<PyAny>>,
    counted: bool,
    armed: Armed,
}

/// Raises itself (or another exception) in the greenlet that started it, when its time is up before it is cancelled.
///
/// As a context manager it is started and cancelled by its ``with``. It interrupts whatever the greenlet waits for, but
/// no computation. It is a ``BaseException``, so that ``except Exception`` does not swallow it, and no ``TimeoutError``
/// of the standard library. Where there are several timeouts, ``is`` shows which of them was raised.
///
/// :param seconds: After how many seconds, a number; ``None`` for never, 0 for as soon as the greenlet waits.
/// :param exception: What is raised in its place, a class or an exception. False raises the timeout itself, and has its ``with``
///     swallow it.
/// :param ref: With False the timeout alone does not keep the loop running.
/// :param priority: Accepted for compatibility.
/// :raises TypeError: `seconds` is no number.
///
/// Example::
///
///     with gevent.Timeout(2, False):
///         answer = connection.recv(4096)      # else, after two seconds, goes on behind the block
///
///     try:
///         with gevent.Timeout(2) as limit:
///             fetch()
///     except gevent.Timeout as timeout:
///         if timeout is not limit:
///             raise                           # one from further out
#[pyclass(frozen, subclass, extends = PyBaseException, name = "Timeout", module = "gevent.timeout", weakref)]
#[derive(Debug)]
pub struct Timeout {
    state: GilCell<State>,
}

impl Timeout {
    /// Makes the error to raise for a wait of `seconds` that was too long.
    ///
    /// # Errors
    /// Fails when the exception cannot be made.
    pub fn error(py: Python<'_>, seconds: Option<Py<PyAny>>) -> PyResult<PyErr> {
        let new = py.get_type::<Self>().call1((seconds,))?;
        Ok(PyErr::from_value(new))
    }

    /// Returns true from its start until it is cancelled or was raised.
    pub fn is_pending(&self, py: Python<'_>) -> bool {
        self.state
            .with(py, |state| !matches!(state.armed, Armed::Idle))
    }

    /// Carries out an expiry, found by the loop.
    pub fn expire(timeout: Py<Self>, py: Python<'_>, loop_: &Loop) {
        let this = timeout.get();
        let (counted, old) = this.state.with(py, |state| {
            let (target, counted) = match &state.armed {
                Armed::Pending(pending) => (pending.target.clone_ref(py), pending.counted),
                Armed::Firing(target) => (target.clone_ref(py), false),
                Armed::Idle => return (false, None),
            };
            (
                counted,
                Some(std::mem::replace(&mut state.armed, Armed::Firing(target))),
            )
        });
        if old.is_none() {
            return;
        }
        drop(old);
        if counted {
            loop_.count_ref(-1);
        }
        loop_.push(py, Task::Timeout(timeout));
    }

    /// Raises it in its greenlet, from the hub; does nothing when it was cancelled after its time was up.
    ///
    /// # Errors
    /// Returns an error that is thrown into the hub meanwhile, and the error of a raw greenlet that it ends.
    pub fn fire(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        match slf
            .get()
            .state
            .with(py, |state| std::mem::replace(&mut state.armed, Armed::Idle))
        {
            Armed::Firing(target) if slf.is_exact_instance_of::<Self>() => {
                raise_in(target.bind(py), slf.get().to_raise(slf))
            }
            Armed::Firing(target) => {
                let exception = slf.get().throws(slf);
                let name = pyo3::intern!(py, "_on_expiration");
                slf.call_method1(name, (target, exception)).map(drop)
            }
            idle => {
                drop(idle);
                Ok(())
            }
        }
    }

    fn exception(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| {
            state
                .exception
                .as_ref()
                .map(|exception| exception.clone_ref(py))
        })
    }

    /// Returns the exception to raise: the timeout itself, or the exception that it was given, which may be a class.
    fn throws(&self, slf: &Bound<'_, Self>) -> Py<PyAny> {
        let py = slf.py();
        self.exception(py)
            .filter(|exception| is_throwable(exception.bind(py)))
            .unwrap_or_else(|| slf.clone().into_any().unbind())
    }

    fn to_raise(&self, slf: &Bound<'_, Self>) -> PyErr {
        made(slf.py(), self.throws(slf))
    }
}

/// Returns the error that an exception or its class describes. If it cannot be made, or is no exception, the resulting
/// error is raised in its place, as the greenlet must not be left waiting.
fn made(py: Python<'_>, exception: Py<PyAny>) -> PyErr {
    PyTuple::new(py, [exception])
        .and_then(|args| crate::waiting::waiter::error_of(&args))
        .unwrap_or_else(|error| error)
}

fn is_throwable(exception: &Bound<'_, PyAny>) -> bool {
    !exception.is_instance_of::<PyString>() && !exception.is_instance_of::<PyBool>()
}

#[pymethods]
impl Timeout {
    #[new]
    #[pyo3(
        signature = (*_args, **_kwargs),
        text_signature = "(seconds=None, exception=None, ref=True, priority=-1, _one_shot=False)"
    )]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            state: GilCell::new(State {
                seconds: None,
                exception: None,
                counted: true,
                armed: Armed::Idle,
            }),
        }
    }

    #[pyo3(signature = (seconds = None, exception = None, r#ref = true, priority = -1, _one_shot = false))]
    fn __init__(
        &self,
        py: Python<'_>,
        seconds: Option<Py<PyAny>>,
        exception: Option<Py<PyAny>>,
        r#ref: bool,
        #[pyo3(from_py_with = from_python)] priority: i32,
        _one_shot: bool,
    ) -> PyResult<()> {
        if let Some(seconds) = &seconds
            && !seconds.is_none(py)
        {
            // A mistake is reported where it is made, not where the timeout starts.
            number(seconds.bind(py))?;
        }
        if self.is_pending(py) {
            self.cancel(py);
        }
        // The priority is ignored: all deadlines have one order, in which the tasks that are ready come before a
        // timeout of the same turn.
        let _ = (priority, _one_shot);
        let old = self.state.with(py, |state| {
            state.counted = r#ref;
            (
                std::mem::replace(&mut state.seconds, seconds),
                std::mem::replace(&mut state.exception, exception),
            )
        });
        drop(old);
        Ok(())
    }

    /// The seconds it was given.
    #[getter]
    fn seconds(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| {
            state.seconds.as_ref().map(|seconds| seconds.clone_ref(py))
        })
    }

    #[setter]
    fn set_seconds(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        let old = self
            .state
            .with(py, |state| std::mem::replace(&mut state.seconds, value));
        drop(old);
    }

    /// The object to raise in place of the timeout: an exception; False to raise nothing outside its ``with``; a string
    /// for `str`.
    #[getter(exception)]
    fn get_exception(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.exception(py)
    }

    #[setter(exception)]
    fn set_exception(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        let old = self
            .state
            .with(py, |state| std::mem::replace(&mut state.exception, value));
        drop(old);
    }

    /// Return True if it is started and will be raised unless cancelled.
    #[getter]
    fn pending(&self, py: Python<'_>) -> bool {
        self.is_pending(py)
    }

    /// Schedule it for the running greenlet. With seconds of None it never comes.
    ///
    /// Raises `AssertionError` when it is pending.
    pub fn start(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let (pending, seconds, counted) = this.state.with(py, |state| {
            let seconds = state.seconds.as_ref().map(|seconds| seconds.clone_ref(py));
            (!matches!(state.armed, Armed::Idle), seconds, state.counted)
        });
        if pending {
            return Err(PyAssertionError::new_err(format!(
                "{} is already started; to restart it, cancel it first",
                slf.repr()?
            )));
        }
        let Some(seconds) = seconds.filter(|seconds| !seconds.is_none(py)) else {
            return Ok(());
        };
        let at = Time::now().after(duration_of(seconds.bind(py))?);
        let loop_ = hub::current_loop(py)?;
        let target = greenlet::current(py)?.unbind();
        let due = Due::Timeout(slf.clone().unbind());
        let key = loop_.get().set_timer(py, at, due);
        if counted {
            loop_.get().count_ref(1);
        }
        let pending = Pending {
            key,
            loop_,
            target,
            counted,
        };
        this.state
            .with(py, |state| state.armed = Armed::Pending(pending));
        Ok(())
    }

    /// Create and start a timeout, or start the one that is given unless it is pending.
    #[classmethod]
    #[pyo3(signature = (timeout = None, exception = None, r#ref = true, _one_shot = false))]
    fn start_new<'py>(
        cls: &Bound<'py, PyType>,
        timeout: Option<Bound<'py, PyAny>>,
        exception: Option<Bound<'py, PyAny>>,
        r#ref: bool,
        _one_shot: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(given) = timeout
            .as_ref()
            .and_then(|timeout| timeout.cast::<Timeout>().ok())
        {
            if !given.get().is_pending(cls.py()) {
                given.call_method0(pyo3::intern!(given.py(), "start"))?;
            }
            return Ok(given.clone().into_any());
        }
        let new = cls.call1((timeout, exception, r#ref))?;
        new.call_method0(pyo3::intern!(new.py(), "start"))?;
        Ok(new)
    }

    /// `start_new` for the optional timeout of a function: with None a timeout that never comes.
    #[staticmethod]
    #[pyo3(signature = (timeout, exception = None, r#ref = true))]
    fn _start_new_or_dummy<'py>(
        py: Python<'py>,
        timeout: Option<Bound<'py, PyAny>>,
        exception: Option<Bound<'py, PyAny>>,
        r#ref: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::start_new(&py.get_type::<Self>(), timeout, exception, r#ref, true)
    }

    /// Cancel the timeout: it will not be raised. It can be started again.
    pub fn cancel(&self, py: Python<'_>) {
        let armed = self
            .state
            .with(py, |state| std::mem::replace(&mut state.armed, Armed::Idle));
        if let Armed::Pending(pending) = &armed {
            let loop_ = pending.loop_.get();
            if loop_.cancel_timer(py, pending.key) && pending.counted {
                loop_.count_ref(-1);
            }
        }
        drop(armed);
    }

    /// Called in the hub when the time is up: raises `ex`, the timeout itself or what it was given in its place, in the
    /// greenlet that started it. A subclass may override it.
    fn _on_expiration(
        slf: &Bound<'_, Self>,
        prev_greenlet: &Bound<'_, PyAny>,
        ex: Py<PyAny>,
    ) -> PyResult<()> {
        if !prev_greenlet.is_instance_of::<PyGreenlet>() {
            return Err(PyTypeError::new_err("prev_greenlet must be a greenlet"));
        }
        raise_in(prev_greenlet, made(slf.py(), ex))
    }

    /// The same as `cancel`.
    fn close(&self, py: Python<'_>) {
        self.cancel(py);
    }

    fn __enter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        if !slf.get().is_pending(slf.py()) {
            Self::start(&slf)?;
        }
        Ok(slf)
    }

    fn __exit__(
        slf: &Bound<'_, Self>,
        typ: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> bool {
        let _ = (typ, tb);
        let py = slf.py();
        slf.get().cancel(py);
        value.is(slf)
            && slf
                .get()
                .exception(py)
                .is_some_and(|exception| is_false(exception.bind(py)))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let py = slf.py();
        let this = slf.get();
        let mut text = format!(
            "<{} at {:#x} seconds=",
            slf.get_type().name()?,
            slf.as_ptr() as usize
        );
        match this.seconds(py) {
            Some(seconds) => text.push_str(&seconds.bind(py).str()?.to_string()),
            None => text.push_str("None"),
        }
        if let Some(exception) = this.exception(py) {
            text.push_str(&format!(" exception={}", exception.bind(py).repr()?));
        }
        if this.is_pending(py) {
            text.push_str(" pending");
        }
        text.push('>');
        Ok(text)
    }

    fn __str__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let py = slf.py();
        let this = slf.get();
        let Some(seconds) = this.seconds(py).filter(|seconds| !seconds.is_none(py)) else {
            return Ok(String::new());
        };
        let seconds = seconds.bind(py);
        let plural = if seconds.eq(1)? { "" } else { "s" };
        let tail = match this.exception(py) {
            None => String::new(),
            Some(exception) if is_false(exception.bind(py)) => " (silent)".to_owned(),
            Some(exception) => format!(": {}", exception.bind(py).str()?),
        };
        Ok(format!("{} second{plural}{tail}", seconds.str()?))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.state.peek(&visit, |state| {
            visit.call(&state.seconds)?;
            visit.call(&state.exception)?;
            match &state.armed {
                Armed::Pending(pending) => {
                    visit.call(&pending.loop_)?;
                    visit.call(&pending.target)
                }
                Armed::Firing(target) => visit.call(target),
                Armed::Idle => Ok(()),
            }
        });
        visited.unwrap_or(Ok(()))
    }
}

fn is_false(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyBool>() && !value.is_truthy().unwrap_or(true)
}

/// Call ``function(*args, **kwds)`` and raise `Timeout` in it after `seconds`.
///
/// :param seconds: The number of seconds; ``None`` for no timeout.
/// :param function: The function, with its arguments behind it.
/// :param timeout_value: A keyword argument that the function does not get: the value to return when the timeout comes, in
///     place of raising it.
/// :returns: The result of the function.
/// :raises Timeout: The time is up, and no `timeout_value` was given.
///
/// Example::
///
///     answer = gevent.with_timeout(2, fetch, url, timeout_value=None)
#[pyfunction]
#[pyo3(signature = (seconds, function, *args, **kwds))]
pub fn with_timeout<'py>(
    py: Python<'py>,
    seconds: Bound<'py, PyAny>,
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwds: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let kwds = kwds.map(|kwds| kwds.copy()).transpose()?;
    let fallback = match &kwds {
        Some(kwds) => kwds.get_item("timeout_value")?,
        None => None,
    };
    if let (Some(kwds), Some(_)) = (&kwds, &fallback) {
        kwds.del_item("timeout_value")?;
    }
    // A timeout whose expiry is hidden is a silent one: a task group reports the errors that such a timeout hides.
    let silent = fallback
        .is_some()
        .then(|| PyBool::new(py, false).to_owned().into_any());
    let timeout = Timeout::start_new(&py.get_type::<Timeout>(), Some(seconds), silent, true, true)?;
    let result = function.call(args, kwds.as_ref());
    timeout.call_method0(pyo3::intern!(py, "cancel"))?;
    match (result, fallback) {
        (Err(error), Some(fallback))
            if error.is_instance_of::<Timeout>(py) && error.value(py).is(&timeout) =>
        {
            Ok(fallback)
        }
        (result, _) => result,
    }
}
