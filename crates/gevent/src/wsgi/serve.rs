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

/// `gevent._core.serve_connection`.
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
        let begun = serve(server, sock, address);
        if !matches!(begun, Ok(Stop::Park(_))) {
            sock.call_method0(intern!(module.py(), "close"))?;
        }
        begun.map(Into::into)
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
        let tls = tls.cast::<PyDict>()?;
        server.call_method(intern!(py, "wrap_socket"), (sock,), Some(tls))?
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
