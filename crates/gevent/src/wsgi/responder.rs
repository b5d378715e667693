//! `start_response` and `write` as an application gets them: bound to one request.
//!
//! An application may keep either beyond its request, in a greenlet that it spawned. The handler is at the connection's
//! next request then, whose response must not get the bytes: behind a proxy it is another user's.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;

use crate::cell::Made;
use crate::ffi::vectorcall::{self, Called, Entry};
use crate::wsgi::errors::application_error;
use crate::wsgi::handler::{Handler, WSGIHandler, attributes, call, is_overridden};
use crate::wsgi::overriding::Step;
use crate::wsgi::{response, send};

/// WSGI's `start_response` of one request.
#[pyclass(frozen, name = "Responder", module = "gevent._core")]
#[derive(Debug)]
pub struct Responder {
    entry: Entry,
    handler: Made<Py<WSGIHandler>>,
    /// The handler's serial number of the request.
    serial: u64,
}

/// True once CPython knows the entry of this class.
static INSTALLED: AtomicBool = AtomicBool::new(false);

impl Called for Responder {
    const LEAST: usize = 2;

    fn entry(&self) -> &Entry {
        &self.entry
    }

    #[inline]
    fn call<'py>(
        slf: &Bound<'py, Self>,
        [status, headers, exc_info]: [Option<&Bound<'py, PyAny>>; 3],
    ) -> PyResult<Bound<'py, PyAny>> {
        let none = slf.py().None().into_bound(slf.py());
        let exc_info = exc_info.filter(|info| !info.is_none());
        Self::__call__(
            slf,
            status.unwrap_or(&none),
            headers.unwrap_or(&none),
            exc_info,
        )
    }
}

impl Responder {
    /// Returns the `start_response` of the handler's current request.
    ///
    /// # Errors
    /// Returns `MemoryError`.
    #[inline]
    pub fn of<'py>(handler: &Handler<'py>) -> PyResult<Bound<'py, Self>> {
        let py = handler.py();
        let serial = attributes(handler).state.with(py, |state| state.serial);
        let handler = Made::new(handler.clone().unbind());
        let entry = Entry::of::<Self>();
        let made = Bound::new(
            py,
            Self {
                entry,
                handler,
                serial,
            },
        )?;
        if !INSTALLED.swap(true, Relaxed) {
            vectorcall::install(&made);
        }
        Ok(made)
    }

    /// Returns the handler, if this request is still its current one.
    fn current<'py>(&self, py: Python<'py>) -> PyResult<&Handler<'py>> {
        let handler = self.handler.bind(py);
        let serial = attributes(handler).state.with(py, |state| state.serial);
        if serial == self.serial {
            return Ok(handler);
        }
        let text = "the request that this start_response() belongs to is over";
        Err(application_error(handler, text.into()))
    }
}

#[pymethods]
impl Responder {
    /// Set how to respond; return the function that sends parts of the body.
    #[pyo3(signature = (status, headers, exc_info = None))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        status: &Bound<'py, PyAny>,
        headers: &Bound<'py, PyAny>,
        exc_info: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let handler = slf.get().current(py)?;
        if is_overridden(handler, Step::StartResponse) {
            return match exc_info {
                None => call(handler, Step::StartResponse, (status, headers)),
                Some(info) => call(handler, Step::StartResponse, (status, headers, info)),
            };
        }
        response::start_response(handler, status, headers, exc_info)?;
        slf.getattr(intern!(py, "write"))
    }

    /// Send a part of the body, after the head if that was not sent yet.
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let handler = self.current(data.py())?;
        if is_overridden(handler, Step::Write) {
            call(handler, Step::Write, (data,)).map(drop)
        } else {
            send::write(handler, data)
        }
    }

    /// The handler, as a bound method has it in `__self__`.
    #[getter]
    fn __self__(&self, py: Python<'_>) -> Py<WSGIHandler> {
        self.handler.clone_ref(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.handler.peek())
    }
}
