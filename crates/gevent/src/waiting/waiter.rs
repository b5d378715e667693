//! `gevent.hub.Waiter`: the low-level hand-over of one value from the hub to one greenlet.

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyAssertionError, PyAttributeError, PyBaseException, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyGenericAlias, PyTuple, PyType};

use crate::cell::GilCell;
use crate::errors::ConcurrentObjectUseError;
use crate::event_loop::loop_::Loop;
use crate::event_loop::ready::Task;
use crate::event_loop::signal_handlers;
use crate::ffi::greenlet;
use crate::hub::{self, BaseHub};
use crate::waiting::park::{Resumed, park_until_switched};
use crate::waiting::reason::{Reason, WaitKind};
use crate::waiting::wait::{Wait, WaitRef};

#[derive(Default)]
enum Held {
    #[default]
    Nothing,
    Value(Py<PyAny>),
    Error(Py<PyTuple>),
}

/// Hands one value or error from the hub to the greenlet that calls `get`, in whichever order the two come.
#[pyclass(frozen, subclass, name = "Waiter", module = "gevent.hub")]
#[derive(Debug)]
pub struct Waiter {
    hub: GilCell<Option<Py<PyAny>>>,
    held: GilCell<Held>,
    wait: GilCell<Option<WaitRef>>,
}

impl Waiter {
    /// Makes a waiter bound to `hub`.
    pub fn of_hub(hub: Py<PyAny>) -> Self {
        Self {
            hub: GilCell::new(Some(hub)),
            held: GilCell::new(Held::Nothing),
            wait: GilCell::new(None),
        }
    }

    fn held(&self, py: Python<'_>) -> Held {
        self.held.with(py, |held| match held {
            Held::Nothing => Held::Nothing,
            Held::Value(value) => Held::Value(value.clone_ref(py)),
            Held::Error(args) => Held::Error(args.clone_ref(py)),
        })
    }

    fn hold(&self, py: Python<'_>, new: Held) {
        let old = self.held.replace(py, new);
        drop(old);
    }

    /// Waits for the value, which the waiter's own hub gives; see `get`.
    ///
    /// # Errors
    /// Returns the error that the waiter was given, or `ConcurrentObjectUseError` when another greenlet waits already.
    pub fn wait(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::wait_for(slf, Reason::on(WaitKind::Get, slf))
    }

    /// Waits as [`wait`](Self::wait) does, for a call that states what it waits for.
    ///
    /// # Errors
    /// Fails as [`wait`](Self::wait) does.
    pub fn wait_for(slf: &Bound<'_, Self>, reason: Reason) -> PyResult<Py<PyAny>> {
        Self::park(slf, reason, Wait::of_for)
    }

    /// Waits as [`wait`](Self::wait) does, for a value that another thread may bring by way of the hub: so the wait counts
    /// as no deadlock in a thread that is not the main one.
    ///
    /// # Errors
    /// Fails as [`wait`](Self::wait) does.
    pub fn wait_for_any_thread(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::park(slf, Reason::on(WaitKind::Get, slf), Wait::of_any_thread_for)
    }

    fn park(
        slf: &Bound<'_, Self>,
        reason: Reason,
        new: fn(Py<PyAny>, Py<Loop>, Reason) -> WaitRef,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let this = slf.get();
        match this.held(py) {
            Held::Value(value) => return Ok(value),
            Held::Error(args) => return Err(error_of(args.bind(py))?),
            Held::Nothing => {}
        }
        if this.wait.with(py, |wait| wait.is_some()) {
            return Err(ConcurrentObjectUseError::new_err(format!(
                "This Waiter is already used by {}",
                slf.repr()?
            )));
        }
        let hub = this.hub.get_ref(py);
        let loop_ = match &hub {
            Some(hub) => hub::loop_of(hub.bind(py).cast::<BaseHub>()?)?.unbind(),
            None => hub::current_loop(py)?,
        };
        let wait = new(greenlet::current(py)?.unbind(), loop_, reason);
        this.wait.with(py, |slot| *slot = Some(wait.clone()));
        let resumed = park_until_switched(py, &wait);
        let mine = this.wait.take(py);
        drop(mine);
        match resumed? {
            Resumed::Switched(value) => Ok(value),
            Resumed::Woken(outcome) => outcome,
        }
    }

    fn greenlet_waiting(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.wait.with(py, |wait| {
            wait.as_ref().map(|wait| wait.greenlet().clone_ref(py))
        })
    }

    /// Returns true in the hub, and false in a handler of a signal, which is to have the hub do the work.
    ///
    /// # Errors
    /// `AssertionError` in another greenlet.
    fn check_in_hub(&self, py: Python<'_>, method: &str) -> PyResult<bool> {
        let hub = self.hub.get_ref(py);
        let running = greenlet::current(py)?;
        if hub.is_some_and(|hub| !running.is(hub.bind(py))) {
            if signal_handlers::are_running(py)? {
                return Ok(false);
            }
            return Err(PyAssertionError::new_err(format!(
                "Can only use Waiter.{method} method from the Hub greenlet"
            )));
        }
        Ok(true)
    }

    /// Has the hub call one of its own methods.
    fn by_hub(
        slf: &Bound<'_, Self>,
        method: &'static str,
        arguments: Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        let (waiter, arguments) = (slf.clone().unbind(), arguments.unbind());
        let call = move |py: Python<'_>| waiter.call_method1(py, method, arguments).map(drop);
        let loop_ = hub::current_loop(slf.py())?;
        loop_.get().push(slf.py(), Task::Native(Box::new(call)));
        Ok(())
    }

    /// Deals with an error with which a switch from the hub to `target` ended: it was thrown into the hub, or came from
    /// a raw greenlet.
    fn report(&self, py: Python<'_>, target: Py<PyAny>, switched: PyResult<()>) {
        let (Err(error), Ok(loop_)) = (switched, hub::current_loop(py)) else {
            return;
        };
        if hub::ends_hub(py, &error) {
            loop_.get().end_run(py, error);
        } else {
            hub::handle_error(py, loop_.get(), Some(target), error);
        }
    }
}

/// Builds the error that `throw(type[, value[, traceback]])` describes.
///
/// # Errors
/// `TypeError` for something that is no exception.
pub fn error_of(args: &Bound<'_, PyTuple>) -> PyResult<PyErr> {
    let py = args.py();
    let first = args.get_item(0)?;
    let value = args.get_item(1).ok().filter(|value| !value.is_none());
    let traceback = args
        .get_item(2)
        .ok()
        .filter(|traceback| !traceback.is_none());
    let made = match value {
        Some(value) if value.is_instance_of::<PyBaseException>() => Ok(value),
        Some(value) => first.call1((value,)),
        None if first.is_instance_of::<PyType>() => first.call0(),
        None => Ok(first.clone()),
    };
    let is_class = || {
        first
            .cast::<PyType>()
            .is_ok_and(|class| class.is_subclass_of::<PyBaseException>().unwrap_or(false))
    };
    let value = match made {
        Ok(value) => value,
        // When the class raises an error instead of making an exception, that error is the one to raise.
        Err(error) if is_class() => return Ok(error),
        Err(error) => return Err(error),
    };
    if !value.is_instance_of::<PyBaseException>() {
        return Err(PyTypeError::new_err(
            "exceptions must be classes or instances deriving from BaseException",
        ));
    }
    if let Some(traceback) = traceback {
        value.setattr(pyo3::intern!(py, "__traceback__"), traceback)?;
    }
    Ok(PyErr::from_value(value))
}

#[pymethods]
impl Waiter {
    #[new]
    #[pyo3(signature = (hub = None))]
    fn new(py: Python<'_>, hub: Option<Py<PyAny>>) -> PyResult<Self> {
        match hub.filter(|hub| !hub.is_none(py)) {
            Some(hub) => Ok(Self::of_hub(hub)),
            None => Ok(Self::of_hub(hub::current(py)?.into_any().unbind())),
        }
    }

    #[classmethod]
    fn __class_getitem__<'py>(
        class: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyGenericAlias>> {
        PyGenericAlias::new(class.py(), class, item)
    }

    /// Forget the value or error, so that the waiter can be used again.
    fn clear(&self, py: Python<'_>) {
        self.hold(py, Held::Nothing);
    }

    /// Return True if a value or an error is there.
    fn ready(&self, py: Python<'_>) -> bool {
        !matches!(self.held(py), Held::Nothing)
    }

    /// Return True if a value is there.
    fn successful(&self, py: Python<'_>) -> bool {
        matches!(self.held(py), Held::Value(_))
    }

    #[getter]
    fn exc_info(&self, py: Python<'_>) -> Option<Py<PyTuple>> {
        match self.held(py) {
            Held::Error(args) => Some(args),
            _ => None,
        }
    }

    #[getter]
    fn value(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match self.held(py) {
            Held::Value(value) => Ok(Some(value)),
            Held::Nothing => Ok(None),
            Held::Error(_) => Err(PyAttributeError::new_err("value")),
        }
    }

    #[getter]
    pub fn hub(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.hub.get_ref(py)
    }

    #[getter]
    fn greenlet(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.greenlet_waiting(py)
    }

    /// Give the value: switch to the greenlet that waits in `get`, or keep it. Only from the hub when a greenlet waits.
    #[pyo3(signature = (value = None))]
    pub fn switch(slf: &Bound<'_, Self>, value: Option<Py<PyAny>>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let value = value.unwrap_or_else(|| py.None());
        let waiting = this.greenlet_waiting(py);
        match waiting {
            None => this.hold(py, Held::Value(value)),
            Some(target) => {
                let args = PyTuple::new(py, [value])?;
                if !this.check_in_hub(py, "switch")? {
                    return Self::by_hub(slf, "switch", args);
                }
                let switched = greenlet::switch_with(target.bind(py), &args).map(drop);
                this.report(py, target, switched);
            }
        }
        Ok(())
    }

    /// Like `switch`, with a tuple of the arguments as the value.
    #[pyo3(signature = (*args))]
    fn switch_args(slf: &Bound<'_, Self>, args: Py<PyTuple>) -> PyResult<()> {
        Self::switch(slf, Some(args.into_any()))
    }

    /// Give an error in the manner of `greenlet.throw(type, value, traceback)`.
    #[pyo3(signature = (*throw_args))]
    fn throw(slf: &Bound<'_, Self>, throw_args: Bound<'_, PyTuple>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let waiting = this.greenlet_waiting(py);
        match waiting {
            None => this.hold(py, Held::Error(throw_args.unbind())),
            Some(target) => {
                let error = error_of(&throw_args)?;
                if !this.check_in_hub(py, "throw")? {
                    return Self::by_hub(slf, "throw", throw_args);
                }
                let switched = greenlet::throw(target.bind(py), error).map(drop);
                this.report(py, target, switched);
            }
        }
        Ok(())
    }

    /// Return the value or raise the error, waiting for it if it is not there.
    ///
    /// Raises `ConcurrentObjectUseError` when another greenlet waits already.
    fn get(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::wait(slf)
    }

    /// Take over the outcome of `source`, which has `exception` and `value`, as a link does.
    fn __call__(slf: &Bound<'_, Self>, source: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let exception = source.getattr(pyo3::intern!(py, "exception"))?;
        if exception.is_none() {
            let value = source.getattr(pyo3::intern!(py, "value"))?;
            Self::switch(slf, Some(value.unbind()))
        } else {
            Self::throw(slf, PyTuple::new(py, [exception])?)
        }
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let py = slf.py();
        let mut text = format!("<{} greenlet=", slf.get_type().name()?);
        match slf.get().greenlet_waiting(py) {
            Some(waiting) => text.push_str(&waiting.bind(py).repr()?.to_string()),
            None => text.push_str("None"),
        }
        match slf.get().held(py) {
            Held::Nothing => {}
            Held::Value(value) => text.push_str(&format!(" value={}", value.bind(py).repr()?)),
            Held::Error(args) => text.push_str(&format!(" exc_info={}", args.bind(py).repr()?)),
        }
        text.push('>');
        Ok(text)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.hub
            .peek(&visit, |hub| visit.call(hub))
            .unwrap_or(Ok(()))?;
        self.held
            .peek(&visit, |held| match held {
                Held::Nothing => Ok(()),
                Held::Value(value) => visit.call(value),
                Held::Error(args) => visit.call(args),
            })
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        self.clear(py);
        drop(self.hub.take(py));
    }
}
