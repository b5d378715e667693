//! `gevent.pywsgi.WSGIHandler`: the class, and the functions over a handler that all files of this folder use. Its
//! methods are in `methods`.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::sockets::socket::SocketBase;
use crate::wsgi::attributes::Attributes;
use crate::wsgi::overriding::{self, Step};
use crate::wsgi::request_file::{RequestFile, Source};
use crate::wsgi::service::Service;
use crate::wsgi::statistics::Stage;

/// Handles the requests of one connection: reads them, calls the application, sends what it returns.
///
/// Every method may be overridden, and is then called where gevent calls it. Those that are not are not looked up.
#[pyclass(frozen, subclass, extends = Attributes, name = "WSGIHandler", module = "gevent.pywsgi")]
#[derive(Debug)]
pub struct WSGIHandler;

/// A handler.
pub type Handler<'py> = Bound<'py, WSGIHandler>;

/// Returns the attributes of a handler.
#[inline]
pub fn attributes<'a>(handler: &'a Handler<'_>) -> &'a Attributes {
    handler.as_super().get()
}

/// Returns true if `step` was overridden when the request began.
#[inline]
pub fn is_overridden(handler: &Handler<'_>, step: Step) -> bool {
    let steps = attributes(handler)
        .state
        .with(handler.py(), |state| state.steps);
    steps.meets(overriding::Steps::of(&[step]))
}

/// Determines anew which steps are overridden.
///
/// # Errors
/// Returns the error that looking a method up raises.
#[inline]
pub fn refresh(handler: &Handler<'_>) -> PyResult<overriding::Steps> {
    let steps = overriding::overridden(handler.as_any())?;
    attributes(handler)
        .state
        .with(handler.py(), |state| state.steps = steps);
    Ok(steps)
}

/// Calls an overridden step.
///
/// # Errors
/// Returns the error that the method raises.
pub fn call<'py>(
    handler: &Handler<'py>,
    step: Step,
    args: impl pyo3::call::PyCallArgs<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    handler.call_method1(step.name(handler.py()), args)
}

/// Returns the plain socket that the handler was made with, while it is still its own.
#[inline]
pub fn plain_socket(handler: &Handler<'_>) -> Option<Py<SocketBase>> {
    let py = handler.py();
    let this = attributes(handler);
    this.state.with(py, |state| {
        let reader = state.reader.as_ref()?;
        match &*reader.get().source {
            Source::Socket(socket) if state.socket.as_ref()?.is(socket) => {
                Some(socket.clone_ref(py))
            }
            _ => None,
        }
    })
}

/// Returns the file that requests are read from.
///
/// # Errors
/// Returns `TypeError` before `__init__`.
pub fn reader(handler: &Handler<'_>) -> PyResult<Py<RequestFile>> {
    let py = handler.py();
    let found = attributes(handler).state.with(py, |state| {
        state.reader.as_ref().map(|reader| reader.clone_ref(py))
    });
    found.ok_or_else(|| PyTypeError::new_err("WSGIHandler.__init__() was not called"))
}

/// Notes that a 101 is sent: the bytes that follow belong to another protocol, so the timeouts of requests no longer
/// apply.
pub fn leave_http(handler: &Handler<'_>) {
    let py = handler.py();
    if let Ok(reader) = reader(handler) {
        reader.get().set_allowance(py, None, None);
    }
    let before = attributes(handler)
        .state
        .with(py, |state| std::mem::replace(&mut state.upgraded, true));
    if !before {
        Stage::Upgraded.enter();
    }
}

/// Returns the service of the connection's server: its limits, and the states of its connections.
///
/// # Errors
/// Returns the error that making the default one raises.
pub fn service(handler: &Handler<'_>) -> PyResult<Py<Service>> {
    let py = handler.py();
    let known = attributes(handler).state.with(py, |state| {
        state.service.as_ref().map(|service| service.clone_ref(py))
    });
    match known {
        Some(service) => Ok(service),
        None => Service::of(&py.None().into_bound(py)),
    }
}
