//! The opening handshake of a client.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use websocket::client::{ClientError, Handshake, Request};

use super::deflate::{Fields, from_fields, to_fields};
use super::exceptions;
use crate::args::from_python;
use crate::cell::Made;

/// The length in bytes of a response's head, and the subprotocol and the compression that were agreed on.
type Agreed = (usize, Option<String>, Option<Fields>);

/// A client's handshake, from its request to the complete response.
#[pyclass(frozen, module = "gevent._core")]
#[derive(Debug)]
pub struct WebSocketHandshake(Made<Handshake>);

#[pymethods]
impl WebSocketHandshake {
    #[new]
    #[pyo3(signature = (host, target, *, origin = None, protocols = Vec::new(), headers = Vec::new(), deflate = None))]
    fn new(
        host: &str,
        target: &str,
        origin: Option<&str>,
        #[pyo3(from_py_with = from_python)] protocols: Vec<String>,
        #[pyo3(from_py_with = from_python)] headers: Vec<(String, String)>,
        #[pyo3(from_py_with = from_python)] deflate: Option<Fields>,
    ) -> PyResult<Self> {
        let protocols: Vec<&str> = protocols.iter().map(String::as_str).collect();
        let fields: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let request = Request {
            host,
            target,
            origin,
            protocols: &protocols,
            fields: &fields,
        };
        match Handshake::new(&request, from_fields(deflate)?.as_ref()) {
            Ok(handshake) => Ok(Self(Made::new(handshake))),
            Err(error) => Err(PyValueError::new_err(error.to_string())),
        }
    }

    /// The bytes to send.
    #[getter]
    fn request<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.request())
    }

    /// Check the response so far. Return None when more bytes are needed, else the length of its head, and the
    /// subprotocol and the compression that were agreed on.
    fn decode(&self, input: &[u8]) -> PyResult<Option<Agreed>> {
        match self.0.decode(input) {
            Ok(None) => Ok(None),
            Ok(Some((taken, agreed))) => Ok(Some((
                taken,
                agreed.protocol,
                agreed.deflate.map(to_fields),
            ))),
            Err(error) => {
                let status = match &error {
                    ClientError::Status(status, _) => Some(*status),
                    _ => None,
                };
                Err(exceptions::HandshakeError::new_err((
                    error.to_string(),
                    status,
                )))
            }
        }
    }
}
