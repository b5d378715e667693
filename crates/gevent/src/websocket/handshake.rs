//! The opening handshake of a server.

use pyo3::prelude::*;
use websocket::handshake::{HandshakeError, Request, VERSIONS, respond};

use super::deflate::{Fields, from_fields, to_fields};
use super::exceptions;
use crate::args::from_python;
use crate::ffi::thread;

/// Judge the fields of a request that asks for `Upgrade: websocket`.
///
/// Returns the fields `Sec-WebSocket-Accept` and `Sec-WebSocket-Extensions` of the response, and the compression that was
/// agreed on; the last two may be None.
#[pyfunction]
#[pyo3(signature = (key, version, extensions = None, deflate = None))]
pub fn websocket_respond(
    key: Option<&str>,
    version: Option<&str>,
    extensions: Option<&str>,
    #[pyo3(from_py_with = from_python)] deflate: Option<Fields>,
) -> PyResult<(String, Option<String>, Option<Fields>)> {
    thread::enter();
    let request = Request {
        key,
        version,
        extensions,
    };
    let response = respond(&request, from_fields(deflate)?.as_ref()).map_err(refused)?;
    Ok((
        response.accept,
        response.extensions,
        response.deflate.map(to_fields),
    ))
}

fn refused(error: HandshakeError) -> PyErr {
    let headers = match error {
        HandshakeError::Version => vec![("Sec-WebSocket-Version", VERSIONS)],
        HandshakeError::Key => Vec::new(),
    };
    exceptions::HandshakeError::new_err((error.to_string(), error.status(), headers))
}
