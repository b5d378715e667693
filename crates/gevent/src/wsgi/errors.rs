//! The errors of refused requests, and of applications that break the rules.

use http1::Refusal;
use pyo3::intern;
use pyo3::prelude::*;

use crate::registered::registered_exception;
use crate::wsgi::handler::Handler;

registered_exception!(BodyTimeout);
registered_exception!(InvalidClientInput);
registered_exception!(InvalidClientRequest);

/// Returns the error of a refusal, which carries the status to answer with.
pub fn refused(py: Python<'_>, refusal: Refusal, line: Option<&[u8]>) -> PyErr {
    let text = match line {
        Some(line) => format!("{refusal}: {:?}", String::from_utf8_lossy(line)),
        None => refusal.to_string(),
    };
    client_request_error(py, &text, refusal.status(), refusal.reason())
}

/// Returns an `InvalidClientRequest` with the status to answer with.
pub fn client_request_error(py: Python<'_>, text: &str, status: u16, reason: &str) -> PyErr {
    let class = py.get_type::<InvalidClientRequest>();
    match class.call1((text, status, reason)) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// Returns an error of the application, of the class that the handler has for them.
pub fn application_error(handler: &Handler<'_>, text: String) -> PyErr {
    let class = handler.getattr(intern!(handler.py(), "ApplicationError"));
    match class.and_then(|class| class.call1((text,))) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}
