//! `gevent.event.AsyncResult`: a value or an error that is still to come.

use std::ffi::CStr;

use pyo3::PyTraverseError;
use pyo3::exceptions::PyTypeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyGenericAlias, PyTuple, PyType};

use crate::args;
use crate::cell::GilCell;
use crate::ffi::blocking::{self, Blocking, First, Step};
use crate::hub;
use crate::sync::linkable::{Linkable, Linked};
use crate::waiting::deadline::Deadline;
use crate::waiting::reason::{Reason, WaitKind};

#[derive(Default)]
struct Outcome {
    value: Option<Py<PyAny>>,
    /// Class, exception and traceback.
    error: Option<Py<PyTuple>>,
}

/// Holds one value or exception, which greenlets wait for.
///
/// `set` and `set_exception` wake all waiters in `get` and `wait`, also in other threads. It may be set again, which
/// replaces the value. It has the methods ``done``, ``result``, ``set_result`` and so on of
/// ``concurrent.futures.Future``, and cannot be cancelled. As a callable it is a target for `Greenlet.link`: it takes
/// over how the greenlet ended.
///
/// Example::
///
///     answer = AsyncResult()
///     gevent.spawn(lambda: answer.set(6 * 7))
///     assert answer.get(timeout=5) == 42
#[pyclass(
    frozen,
    subclass,
    weakref,
    name = "AsyncResult",
    module = "gevent.event"
)]
#[derive(Debug)]
pub struct AsyncResult {
    outcome: GilCell<Outcome>,
    links: Linkable,
}

impl Linked for AsyncResult {
    const RECURS: bool = false;

    fn links(&self) -> &Linkable {
        &self.links
    }
}

impl AsyncResult {
    /// Makes a result in which nothing was stored.
    pub fn unset() -> Self {
        Self {
            outcome: GilCell::new(Outcome::default()),
            links: Linkable::new(),
        }
    }

    fn held_value(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.outcome.with(py, |outcome| {
            outcome.value.as_ref().map(|value| value.clone_ref(py))
        })
    }

    fn held_error(&self, py: Python<'_>) -> Option<Py<PyTuple>> {
        self.outcome.with(py, |outcome| {
            outcome.error.as_ref().map(|error| error.clone_ref(py))
        })
    }

    /// Returns what `get` would return or raise; none when it would wait. A value takes precedence over an error.
    fn result_now(&self, py: Python<'_>) -> Option<PyResult<Py<PyAny>>> {
        match self.held_value(py) {
            Some(value) => Some(Ok(value)),
            None => self.held_error(py).map(|error| Err(raised(error.bind(py)))),
        }
    }

    /// Keeps an error, as `sys.exc_info()` gives it, and wakes all waiters.
    ///
    /// # Errors
    /// Returns the error that making a hub raises.
    pub fn fail(slf: &Bound<'_, Self>, error: Bound<'_, PyTuple>) -> PyResult<()> {
        let py = slf.py();
        let old = slf
            .get()
            .outcome
            .with(py, |outcome| outcome.error.replace(error.unbind()));
        drop(old);
        Linkable::notify_all(slf)
    }
}

/// Returns the error to raise. Each time, its traceback starts anew from the one that was given with it.
fn raised(error: &Bound<'_, PyTuple>) -> PyErr {
    let parts = || {
        let value = error.get_item(1)?;
        value.getattr(pyo3::intern!(value.py(), "__traceback__"))?;
        if !value.is_instance_of::<pyo3::exceptions::PyBaseException>() {
            return Err(PyTypeError::new_err(
                "exceptions must derive from BaseException",
            ));
        }
        value.setattr(
            pyo3::intern!(value.py(), "__traceback__"),
            error.get_item(2)?,
        )?;
        Ok(value)
    };
    parts().map_or_else(|error| error, PyErr::from_value)
}

impl AsyncResult {
    fn get(
        slf: &Bound<'_, Self>,
        block: bool,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Step> {
        let py = slf.py();
        if let Some(result) = slf.get().result_now(py) {
            return result.map(Step::Done);
        }
        if !block {
            return Err(Deadline::Never.error(py)?);
        }
        let reason = Reason::on(WaitKind::Get, slf);
        Linkable::wait_for(slf, Deadline::of(timeout)?, reason, |slf, passed| {
            let py = slf.py();
            let found = slf.get().result_now(py).filter(|_| passed.is_none());
            found.unwrap_or_else(|| Err(passed.unwrap_or(&Deadline::Never).error(py)?))
        })
    }
}

/// `AsyncResult.get`.
pub struct GetResult;

impl Blocking for GetResult {
    type Owner = AsyncResult;
    const NAME: &'static CStr = c"get";
    const DOC: &'static CStr = c"get($self, block=True, timeout=None)\n--\n\n\
Return the value or raise the exception, waiting for it at most `timeout` seconds.\n\n\
Raises `Timeout` when the time is up, and at once when `block` is false and nothing is there. `timeout` may be\n\
a `Timeout`, which is then started, raised, and cancelled afterwards.";
    const PARAMETERS: &'static [&'static str] = &["block", "timeout"];

    fn begin(
        slf: &Bound<'_, AsyncResult>,
        arguments: &[Option<Bound<'_, PyAny>>],
    ) -> PyResult<First> {
        let block = args::flag(arguments[0].as_ref())?;
        AsyncResult::get(slf, block, arguments[1].as_ref()).map(Into::into)
    }
}

/// `AsyncResult.wait`.
pub struct WaitForResult;

impl Blocking for WaitForResult {
    type Owner = AsyncResult;
    const NAME: &'static CStr = c"wait";
    const DOC: &'static CStr = c"wait($self, timeout=None)\n--\n\n\
Wait, at most `timeout` seconds, and return the value; None for an exception or when the time is up.";
    const PARAMETERS: &'static [&'static str] = &["timeout"];

    fn begin(
        slf: &Bound<'_, AsyncResult>,
        arguments: &[Option<Bound<'_, PyAny>>],
    ) -> PyResult<First> {
        let value = |slf: &Bound<'_, AsyncResult>| {
            let py = slf.py();
            slf.get().held_value(py).unwrap_or_else(|| py.None())
        };
        if slf.get().ready(slf.py()) {
            return Ok(Step::Done(value(slf)).into());
        }
        let deadline = Deadline::of(arguments[0].as_ref())?;
        let reason = Reason::on(WaitKind::Wait, slf);
        Linkable::wait_for(slf, deadline, reason, move |slf, _| Ok(value(slf))).map(Into::into)
    }
}

#[pymethods]
impl AsyncResult {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*args, **kwargs), text_signature = "()")]
    fn new(
        class: &Bound<'_, PyType>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        args::refuse_excess(class, args, kwargs)?;
        Ok(Self {
            outcome: GilCell::new(Outcome::default()),
            links: Linkable::new(),
        })
    }

    #[classmethod]
    fn __class_getitem__<'py>(
        class: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyGenericAlias>> {
        PyGenericAlias::new(class.py(), class, item)
    }

    /// Keep `value` and wake all waiters.
    #[pyo3(signature = (value = None))]
    pub fn set(slf: &Bound<'_, Self>, value: Option<Py<PyAny>>) -> PyResult<()> {
        let py = slf.py();
        let value = value.unwrap_or_else(|| py.None());
        let old = slf
            .get()
            .outcome
            .with(py, |outcome| outcome.value.replace(value));
        drop(old);
        Linkable::notify_all(slf)
    }

    /// The same as `set`, under the name that `concurrent.futures.Future` has for it.
    #[pyo3(signature = (value = None))]
    fn set_result(slf: &Bound<'_, Self>, value: Option<Py<PyAny>>) -> PyResult<()> {
        Self::set(slf, value)
    }

    /// Keep `exception` for `get` to raise, and wake all waiters.
    ///
    /// `exc_info`, as of `sys.exc_info()`, goes before it and brings the traceback to raise it with; otherwise that
    /// starts in `get`.
    #[pyo3(signature = (exception, exc_info = None))]
    fn set_exception<'py>(
        slf: &Bound<'py, Self>,
        exception: Bound<'py, PyAny>,
        exc_info: Option<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let parts = match exc_info
            .map(|exc_info| Ok::<_, PyErr>((exc_info.is_truthy()?, exc_info)))
            .transpose()?
        {
            Some((true, exc_info)) => [
                exc_info.get_item(0)?,
                exc_info.get_item(1)?,
                exc_info.get_item(2)?,
            ],
            _ => [
                exception.get_type().into_any(),
                exception,
                py.None().into_bound(py),
            ],
        };
        Self::fail(slf, PyTuple::new(py, parts)?)
    }

    /// Return the value or raise the exception; raise `Timeout` if neither is there yet.
    fn get_nowait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.result_now(py)
            .unwrap_or_else(|| Err(Deadline::Never.error(py)?))
    }

    /// The same as `get`, under the name that `concurrent.futures.Future` has for it.
    #[pyo3(signature = (timeout = None))]
    fn result(slf: &Bound<'_, Self>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        blocking::complete(slf.py(), Self::get(slf, true, timeout)?)
    }

    /// Return True if a value or an exception is there.
    fn ready(&self, py: Python<'_>) -> bool {
        self.outcome.with(py, |outcome| {
            outcome.value.is_some() || outcome.error.is_some()
        })
    }

    /// The same as `ready`, under the name that `concurrent.futures.Future` has for it.
    fn done(&self, py: Python<'_>) -> bool {
        self.ready(py)
    }

    /// Return True if a value is there.
    fn successful(&self, py: Python<'_>) -> bool {
        self.outcome.with(py, |outcome| outcome.value.is_some())
    }

    /// Return False: it cannot be cancelled.
    fn cancel(&self) -> bool {
        false
    }

    /// Return False: it cannot be cancelled.
    fn cancelled(&self) -> bool {
        false
    }

    /// The value, or None.
    #[getter]
    fn value(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.held_value(py)
    }

    /// The exception, or None.
    #[getter]
    fn exception<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.held_error(py)
            .map(|error| error.into_bound(py).get_item(1))
            .transpose()
    }

    /// Class, exception and traceback as given to `set_exception`; an empty tuple before.
    #[getter]
    fn exc_info<'py>(&self, py: Python<'py>) -> Bound<'py, PyTuple> {
        self.held_error(py)
            .map_or_else(|| PyTuple::empty(py), |error| error.into_bound(py))
    }

    /// Take over how `source`, such as a greenlet that is linked to this, ended.
    fn __call__(slf: &Bound<'_, Self>, source: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        if source
            .call_method0(pyo3::intern!(py, "successful"))?
            .is_truthy()?
        {
            return Self::set(
                slf,
                Some(source.getattr(pyo3::intern!(py, "value"))?.unbind()),
            );
        }
        let exception = source.getattr(pyo3::intern!(py, "exception"))?;
        Self::set_exception(
            slf,
            exception,
            source.getattr_opt(pyo3::intern!(py, "exc_info"))?,
        )
    }

    /// Have `callback(result)` called in the hub when the value or exception is there, once.
    ///
    /// Raises `TypeError` if it cannot be called.
    fn rawlink(slf: &Bound<'_, Self>, callback: &Bound<'_, PyAny>) -> PyResult<()> {
        let ticket = slf.get().links.rawlink(callback)?;
        if slf.get().ready(slf.py()) {
            Linkable::notify_callable(slf, ticket, None)
        } else {
            Ok(())
        }
    }

    /// Remove a `rawlink`; nothing happens when there is none.
    fn unlink(&self, callback: &Bound<'_, PyAny>) -> PyResult<()> {
        self.links.unlink(callback)
    }

    /// Return how many waiters and links there are.
    fn linkcount(&self, py: Python<'_>) -> usize {
        self.links.count(py)
    }

    /// The hub of the first greenlet that waited, None before.
    #[getter]
    fn hub(&self, py: Python<'_>) -> Option<Py<hub::BaseHub>> {
        self.links.hub(py)
    }

    /// Make it usable in a forked child, where other threads are gone.
    fn _at_fork_reinit(&self, py: Python<'_>) {
        self.links.after_fork(py);
    }

    fn __str__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let py = slf.py();
        let this = slf.get();
        let mut text = format!("<{} ", slf.get_type().name()?);
        if this.ready(py) {
            let value = this.held_value(py).unwrap_or_else(|| py.None());
            text.push_str(&format!("value={} ", value.bind(py).repr()?));
        }
        match this.exception(py)? {
            Some(exception) => text.push_str(&format!("exception={} ", exception.repr()?)),
            None => text.push_str("unset "),
        }
        text.push_str(&format!(" _links[{}]>", this.links.count(py)));
        Ok(text)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.outcome.peek(&visit, |outcome| {
            visit.call(&outcome.value)?;
            visit.call(&outcome.error)
        });
        visited.unwrap_or(Ok(()))?;
        self.links.traverse(visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.outcome.take(py));
        self.links.clear(py);
    }
}
