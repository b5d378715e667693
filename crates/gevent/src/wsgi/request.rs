//! Reads requests from the connection, and hands them to the application.

use http1::{Framing, Refusal};
use pyo3::exceptions::{PyException, PyOSError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::ffi::{attribute, text};
use crate::wsgi::buffer_pool::BLOCK;
use crate::wsgi::errors::{InvalidClientRequest, client_request_error, refused};
use crate::wsgi::exchange::Slot;
use crate::wsgi::handler::{Handler, attributes, call, is_overridden, reader};
use crate::wsgi::input::Input;
use crate::wsgi::overriding::{Step, Steps};
use crate::wsgi::request_file::{RequestFile, Source, is_timeout};
use crate::wsgi::statistics::Stage;
use crate::wsgi::{environ, failure, run};

/// The steps that read a request. With none of them overridden, its head is decoded where it was received.
pub const READING: Steps = Steps::of(&[
    Step::ReadRequestline,
    Step::ReadRequest,
    Step::MessageClass,
    Step::CheckHttpVersion,
]);

/// The result of waiting for a request.
pub enum Received<'py> {
    /// A request.
    Request,
    /// The client sends no more.
    End,
    /// A refused request, with the status and the response to send.
    Refused(Bound<'py, PyAny>, Bound<'py, PyBytes>),
}

/// Answers the request that was read; returns true if another one may follow.
///
/// # Errors
/// Fails as [`handle_one_request`](crate::wsgi::connection::handle_one_request).
pub fn respond(handler: &Handler<'_>) -> PyResult<bool> {
    let py = handler.py();
    let this = attributes(handler);
    let environ = if is_overridden(handler, Step::GetEnviron) {
        call(handler, Step::GetEnviron, ())?
    } else {
        environ::get_environ(handler)?
    };
    let server = this.state.with(py, |state| {
        state.server.as_ref().map(|server| server.clone_ref(py))
    });
    let application = match server {
        Some(server) => {
            let name = intern!(py, "application");
            Some(attribute::own_first(server.bind(py), name)?.unbind())
        }
        None => None,
    };
    this.put(py, Slot::Environ, Some(environ.unbind()));
    this.put(py, Slot::Application, application);
    if is_overridden(handler, Step::HandleOneResponse) {
        call(handler, Step::HandleOneResponse, ())?;
    } else {
        run::handle_one_response(handler)?;
    }
    let (stays, upgraded) = this.state.with(py, |state| {
        let upgraded = state
            .exchange
            .as_ref()
            .is_some_and(|exchange| exchange.connection_upgraded);
        (!state.close_connection && !state.broken, upgraded)
    });
    if upgraded {
        return Ok(false);
    }
    let input = this.get(py, Slot::WsgiInput);
    let Some(Ok(input)) = input.as_ref().map(|input| input.cast::<Input>()) else {
        return Ok(stays);
    };
    if stays && input.get().discard(py)? {
        return Ok(true);
    }
    // The client may still be sending, and may not read the answer before it has finished. Or it reads slowly, and what it
    // sends meanwhile, such as another request, would have the kernel drop the rest of the answer.
    if !input.get().is_done(py) || reader(handler)?.get().is_sending(py) {
        this.state.with(py, |state| state.lingers = true);
    }
    Ok(false)
}

/// Reads a request by the methods that may be overridden.
pub fn receive_by_steps<'py>(handler: &Handler<'py>) -> PyResult<Received<'py>> {
    let py = handler.py();
    let this = attributes(handler);
    this.renew(py);
    match begin_by_steps(handler) {
        Ok(true) => {}
        Ok(false) => return Ok(Received::End),
        Err(error) => return Err(error),
    }
    let line = if is_overridden(handler, Step::ReadRequestline) {
        call(handler, Step::ReadRequestline, ())
    } else {
        read_requestline(handler)
    };
    let line = match line {
        Ok(line) => line,
        Err(error) if error.is_instance_of::<InvalidClientRequest>(py) => {
            return client_error(handler, error);
        }
        Err(error) if is_timeout(py, &error) => return head_timeout(handler),
        Err(error) if error.is_instance_of::<PyOSError>(py) => return Ok(Received::End),
        Err(error) => return Err(error),
    };
    if !line.is_truthy()? {
        return Ok(Received::End);
    }
    this.put(py, Slot::Requestline, Some(line.clone().unbind()));
    let read = if is_overridden(handler, Step::ReadRequest) {
        call(handler, Step::ReadRequest, (line,)).and_then(|read| read.is_truthy())
    } else {
        read_request(handler, &line)
    };
    match read {
        Ok(true) => Ok(Received::Request),
        Ok(false) => client_error(handler, PyValueError::new_err("malformed request")),
        Err(error) if is_timeout(py, &error) => head_timeout(handler),
        Err(error) if error.is_instance_of::<PyOSError>(py) => Ok(Received::End),
        Err(error) if error.is_instance_of::<PyException>(py) => client_error(handler, error),
        Err(error) => Err(error),
    }
}

/// Waits for a request's first bytes, which start the deadline of its head; returns false if none come in time.
fn begin_by_steps(handler: &Handler<'_>) -> PyResult<bool> {
    let py = handler.py();
    let service = attributes(handler).state.with(py, |state| {
        state.service.as_ref().map(|service| service.clone_ref(py))
    });
    let (Some(service), Ok(reader)) = (service, reader(handler)) else {
        return Ok(true);
    };
    let (service, file) = (service.get(), reader.get());
    if !is_foreign(file) && file.available(py) == 0 {
        file.set_deadline(py, service.idle_timeout, Stage::Idle);
        match file.fill(py, BLOCK) {
            Ok(_) => {}
            Err(error) if error.is_instance_of::<PyOSError>(py) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    file.set_deadline(py, service.header_timeout, Stage::Head);
    Ok(true)
}

/// Returns the answer to a head that does not come in time.
///
/// # Errors
/// Fails as [`client_error`].
pub fn head_timeout<'py>(handler: &Handler<'py>) -> PyResult<Received<'py>> {
    let text = "the request's head took too long (header_timeout)";
    let error = client_request_error(handler.py(), text, 408, "Request Timeout");
    client_error(handler, error)
}

/// Returns the answer to a request that is refused.
///
/// # Errors
/// Returns the error that an overridden step raises.
pub fn client_error<'py>(handler: &Handler<'py>, error: PyErr) -> PyResult<Received<'py>> {
    let py = handler.py();
    let error = error.into_value(py).into_bound(py).into_any();
    let (status, response) = if is_overridden(handler, Step::HandleClientError) {
        call(handler, Step::HandleClientError, (error,))?.extract()?
    } else {
        failure::handle_client_error(handler, &error)?
    };
    Ok(Received::Refused(status, response))
}

/// Implements `read_requestline`.
///
/// # Errors
/// Returns `InvalidClientRequest` for a line that is too long, or the errors of receiving.
pub fn read_requestline<'py>(handler: &Handler<'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = handler.py();
    let limit = service_limit(handler);
    let reader = reader(handler)?;
    let line = reader.get().take_line(py, limit + 2)?;
    if line.len() == limit + 2 && !line.ends_with(b"\n") {
        return Err(refused(py, Refusal::RequestLineTooLong, None));
    }
    Ok(text::from_latin1(py, &line)?.into_any())
}

fn service_limit(handler: &Handler<'_>) -> usize {
    attributes(handler).state.with(handler.py(), |state| {
        let service = state.service.as_ref();
        service.map_or(8192, |service| service.get().policy.limits.request_line)
    })
}

/// Implements `read_request`.
///
/// # Errors
/// Returns `InvalidClientRequest` when the head is invalid, or the errors of receiving.
pub fn read_request(handler: &Handler<'_>, raw: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = handler.py();
    let this = attributes(handler);
    let mut bytes = match raw.cast::<PyString>() {
        Ok(line) => text::as_latin1(line).map(<[u8]>::to_vec),
        Err(_) => Some(raw.extract::<Vec<u8>>()?),
    }
    .ok_or_else(|| PyValueError::new_err("the request line has characters outside ISO-8859-1"))?;
    let line_end = bytes.len();
    let reader = reader(handler)?;
    let service = this.state.with(py, |state| {
        state.service.as_ref().map(|service| service.clone_ref(py))
    });
    let Some(service) = service else {
        return Ok(false);
    };
    let policy = &service.get().policy;
    this.exchange(py, |exchange| exchange.head.reset());
    loop {
        let decoded = this.exchange(py, |exchange| {
            let decoded = exchange.head.decode(&bytes, policy);
            exchange.decoded = matches!(decoded, Ok(Some(_)));
            decoded
        });
        match decoded {
            Ok(Some(_)) => break,
            Ok(None) => {}
            Err(refusal) => {
                let line = bytes[..line_end].trim_ascii_end();
                let shown = text::from_latin1(py, line)?.into_any().unbind();
                this.put(py, Slot::Requestline, Some(shown));
                return Err(refused(py, refusal, Some(line)));
            }
        }
        let line = reader.get().take_line(py, policy.limits.head)?;
        if line.is_empty() {
            let text = "unexpected end of request";
            return Err(client_request_error(py, text, 400, "Bad Request"));
        }
        bytes.extend_from_slice(&line);
    }
    // The raw line is dropped, so that the attribute is made from the decoded one.
    this.put(py, Slot::Requestline, None);
    took_head(handler);
    let line = || String::from_utf8_lossy(&bytes[..line_end]).into_owned();
    if is_overridden(handler, Step::CheckHttpVersion)
        && !call(handler, Step::CheckHttpVersion, ())?.is_truthy()?
    {
        let text = format!("Invalid http version: {:?}", line());
        return Err(client_request_error(py, &text, 400, "Bad Request"));
    }
    if is_overridden(handler, Step::MessageClass) {
        let fields = py
            .import("io")?
            .call_method1("BytesIO", (PyBytes::new(py, &bytes[line_end..]),))?;
        let message = call(handler, Step::MessageClass, (fields, 0))?;
        this.put(py, Slot::Headers, Some(message.unbind()));
    }
    Ok(true)
}

/// Copies what the decoded head states about the connection and the body into the handler's state.
pub fn took_head(handler: &Handler<'_>) {
    attributes(handler).state.with(handler.py(), |state| {
        state.fresh = false;
        state.idle_due = None;
        if let Some(exchange) = state.exchange.as_deref_mut() {
            exchange.decoded = true;
            exchange.content_length = match exchange.head.framing() {
                Framing::Length(length) => i64::try_from(length).ok(),
                Framing::Chunked | Framing::None => None,
            };
            state.close_connection = !exchange.head.keep_alive() || state.evicted;
        }
    });
}

/// Returns true if the version of the decoded request is supported, as `_check_http_version` does.
///
/// # Errors
/// Returns the error that reading an attribute raises.
pub fn check_http_version(handler: &Handler<'_>) -> PyResult<bool> {
    let version = handler.getattr(intern!(handler.py(), "request_version"))?;
    Ok(version
        .extract::<&str>()
        .is_ok_and(|version| version.starts_with("HTTP/1.")))
}

/// Returns true if requests are read from a file that the handler was given.
pub fn is_foreign(reader: &RequestFile) -> bool {
    matches!(*reader.source, Source::File(_))
}
