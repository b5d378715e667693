//! A connection's greenlet from its first instruction: makes the handler and lets it handle the connection.

use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;

use crate::ffi::blocking::{Blocking, First, Step as Stop};
use crate::wsgi::connection;
use crate::wsgi::handler::{Handler, WSGIHandler};
use crate::wsgi::overriding::{self, Step, Steps};

/// The implementation of `gevent._core.serve_connection`.
pub struct Serve;

impl Blocking for Serve {
    type Owner = PyModule;
    const NAME: &'static CStr = c"serve_connection";
    const DOC: &'static CStr = c"serve_connection(server, sock, address)\n--\n\n\
Handle the connection `sock` of a `WSGIServer` and close it.";
    const PARAMETERS: &'static [&'static str] = &["server", "sock", "address"];

    fn begin(
        module: &Bound<'_, PyModule>,
        arguments: &[Option<Bound<'_, PyAny>>],
    ) -> PyResult<First> {
        let [Some(server), Some(sock), Some(address)] = arguments else {
            let text = "serve_connection() takes 3 arguments";
            return Err(PyTypeError::new_err(text));
        };
        let begun = match meet(server, sock, address) {
            Ok(Some(handler)) => connection::begin(&handler),
            Ok(None) => Ok(Stop::Done(module.py().None())),
            Err(error) => Err(error),
        };
        leave(sock, begun)
    }
}

/// Closes the connection unless it has parked.
#[inline(never)]
fn leave(sock: &Bound<'_, PyAny>, begun: PyResult<Stop>) -> PyResult<First> {
    if !matches!(begun, Ok(Stop::Park(_))) {
        sock.call_method0(intern!(sock.py(), "close"))?;
    }
    begun.map(Into::into)
}

/// Makes the handler of a connection, and returns it. `None` means that the connection is over: the TLS handshake
/// failed, or the handler overrides `handle`, which was called.
#[inline(never)]
fn meet<'py>(
    server: &Bound<'py, PyAny>,
    sock: &Bound<'py, PyAny>,
    address: &Bound<'py, PyAny>,
) -> PyResult<Option<Handler<'py>>> {
    let py = server.py();
    let tls = server.getattr(intern!(py, "ssl_args"))?;
    let sock = if tls.is_none() {
        sock.clone()
    } else {
        let wrapped = server.call_method1(intern!(py, "_negotiate"), (sock, address))?;
        if wrapped.is_none() {
            // The TLS handshake failed, and was logged.
            return Ok(None);
        }
        wrapped
    };
    let handler = server
        .getattr(intern!(py, "handler_class"))?
        .call1((&sock, address, server))?;
    if let Ok(ours) = handler.cast::<WSGIHandler>()
        && !overriding::overridden(ours)?.meets(Steps::of(&[Step::Handle]))
    {
        return Ok(Some(ours.clone()));
    }
    let handled = handler.call_method0(intern!(py, "handle"));
    sock.call_method0(intern!(py, "close"))?;
    handled.map(|_| None)
}
