//! A connection's greenlet from its first instruction: makes the handler and lets it handle the connection.

use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::ffi::blocking::{Blocking, First, Step as Stop};
use crate::wsgi::handle;
use crate::wsgi::handler::WSGIHandler;
use crate::wsgi::overriding::{self, Step, Steps};
use crate::wsgi::request_file::is_timeout;
use crate::wsgi::service::Service;

/// `gevent._core.serve_connection`.
pub struct Serve;

impl Blocking for Serve {
    const NAME: &'static CStr = c"serve_connection";
    const DOC: &'static CStr = c"serve_connection(server, sock, address)\n--\n\n\
Handle the connection `sock` of a `WSGIServer` and close it.";
    const PARAMETERS: &'static [&'static str] = &["server", "sock", "address"];

    fn begin(module: &Bound<'_, PyAny>, arguments: &[Option<Bound<'_, PyAny>>]) -> PyResult<First> {
        let [Some(server), Some(sock), Some(address)] = arguments else {
            let text = "serve_connection() takes 3 arguments";
            return Err(PyTypeError::new_err(text));
        };
        let begun = serve(server, sock, address);
        if !matches!(begun, Ok(Stop::Park(_))) {
            let closed = sock.call_method0(intern!(module.py(), "close"));
            if begun.is_ok() {
                closed?;
            }
        }
        begun.map(First::Step)
    }
}

fn serve(
    server: &Bound<'_, PyAny>,
    sock: &Bound<'_, PyAny>,
    address: &Bound<'_, PyAny>,
) -> PyResult<Stop> {
    let py = server.py();
    let tls = server.getattr(intern!(py, "ssl_args"))?;
    let sock = if tls.is_none() {
        sock.clone()
    } else {
        match wrapped(server, sock, tls.cast::<PyDict>()?) {
            Ok(wrapped) => wrapped,
            Err(error) if is_timeout(py, &error) => return Ok(Stop::Done(py.None())),
            Err(error) => return Err(error),
        }
    };
    let handler = server
        .getattr(intern!(py, "handler_class"))?
        .call1((&sock, address, server))?;
    if let Ok(ours) = handler.cast::<WSGIHandler>()
        && !overriding::overridden(ours)?.meets(Steps::of(&[Step::Handle]))
    {
        return handle::begin(ours);
    }
    let handled = handler.call_method0(intern!(py, "handle"));
    sock.call_method0(intern!(py, "close"))?;
    handled.map(|_| Stop::Done(py.None()))
}

/// The connection once TLS is negotiated, for which there is as much time as for a request's head.
fn wrapped<'py>(
    server: &Bound<'py, PyAny>,
    sock: &Bound<'py, PyAny>,
    tls: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = server.py();
    let limit = Service::of(server)?.get().header_timeout;
    let before = sock.call_method0(intern!(py, "gettimeout"))?;
    if limit.is_some() {
        sock.call_method1(intern!(py, "settimeout"), (limit,))?;
    }
    let wrapped = server.call_method(intern!(py, "wrap_socket"), (sock,), Some(tls))?;
    wrapped.call_method1(intern!(py, "settimeout"), (before,))?;
    Ok(wrapped)
}
