//! Failures of a request: malformed requests, clients that leave, applications that raise.

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use reactor::Direction;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::errors::GreenletExit;
use crate::registered::ERROR_RESPONSE;
use crate::wsgi::error_log::{client_address, log_client, log_text, one_line};
use crate::wsgi::errors::{BodyTimeout, InvalidClientInput, InvalidClientRequest};
use crate::wsgi::exchange::Slot;
use crate::wsgi::handler::{Handler, attributes, call, is_overridden, plain_socket};
use crate::wsgi::overriding::Step;
use crate::wsgi::{response, send};

/// Returns the 4xx status to answer with, if the client caused the error.
pub fn client_error_code(py: Python<'_>, error: &PyErr) -> Option<u16> {
    if !error.is_instance_of::<InvalidClientInput>(py) && !error.is_instance_of::<BodyTimeout>(py) {
        return None;
    }
    let code = error.value(py).getattr(intern!(py, "code"));
    Some(code.and_then(|code| code.extract()).unwrap_or(400))
}

/// Returns true if an error is an `OSError` which only means that the client is gone.
///
/// # Errors
/// Returns the error that `ignored_socket_errors` raises.
pub fn is_ignored(handler: &Handler<'_>, error: &PyErr) -> PyResult<bool> {
    let py = handler.py();
    let number = error.value(py).getattr(intern!(py, "errno"))?;
    handler
        .getattr(intern!(py, "ignored_socket_errors"))?
        .contains(number)
}

/// The errors by which a package that takes connections over notifies its application that the other side is gone: their module
/// and their name. The package's other errors are subclasses.
const WEBSOCKET_ERRORS: [(&str, &str); 1] = [("geventwebsocket.exceptions", "WebSocketError")];

/// The number of errors in a chain that are examined, as chains may be circles.
const LONGEST_CHAIN: usize = 16;

/// Returns true if an `OSError` of an application on a WebSocket only says that the connection is over: it is one of
/// [`WEBSOCKET_ERRORS`], or follows from an error of the socket's that [`is_ignored`].
///
/// # Errors
/// Returns the error that `ignored_socket_errors` raises.
pub fn ends_websocket(handler: &Handler<'_>, error: &PyErr) -> PyResult<bool> {
    let py = handler.py();
    let code = attributes(handler).exchange(py, |exchange| exchange.code);
    if code.map(i64::abs) != Some(101) {
        return Ok(false);
    }
    let class = error.get_type(py);
    let (module, name) = (class.module()?, class.name()?);
    if WEBSOCKET_ERRORS
        .iter()
        .any(|known| module == known.0 && name == known.1)
    {
        return Ok(true);
    }
    let mut next = Some(error.clone_ref(py));
    for _ in 0..LONGEST_CHAIN {
        let Some(error) = next else { break };
        if error.is_instance_of::<PyOSError>(py) && is_ignored(handler, &error)? {
            return Ok(true);
        }
        let value = error.value(py);
        let cause = value.getattr(intern!(py, "__cause__"))?;
        let cause = if cause.is_none() {
            value.getattr(intern!(py, "__context__"))?
        } else {
            cause
        };
        next = (!cause.is_none()).then(|| PyErr::from_value(cause));
    }
    Ok(false)
}

/// Logs the end of an application's WebSocket in a line, unless its own client is gone, which is an ordinary end: the
/// application may have failed to send to another one's client.
///
/// # Errors
/// Returns the error that the log raises.
pub fn websocket_ended(handler: &Handler<'_>, error: PyErr) -> PyResult<()> {
    let py = handler.py();
    if client_is_gone(handler) {
        return Ok(());
    }
    let (address, text) = (client_address(handler)?, error.value(py).str()?.into_any());
    let format = "(from %s) The application ended on a closed WebSocket: %s";
    log_text(handler, format, vec![address, text])
}

/// Returns true if it is known that the client sends nothing more, read or unread.
fn client_is_gone(handler: &Handler<'_>) -> bool {
    let Some(socket) = plain_socket(handler) else {
        return false;
    };
    let py = handler.py();
    let polled = socket.get().call(py, Direction::Read, true, |_, fd| {
        let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::RDHUP)];
        poll(&mut polled, Some(&Timespec::default()))?;
        Ok(polled[0].revents())
    });
    let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    polled.map_or(true, |events| events.intersects(ended))
}

/// Returns the status and the whole response to a client's error, as `_handle_client_error` does.
///
/// # Errors
/// Returns the error that the log raises.
pub fn handle_client_error<'py>(
    handler: &Handler<'py>,
    error: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyBytes>)> {
    let py = handler.py();
    let address = client_address(handler)?;
    if error.is_instance_of::<InvalidClientRequest>() {
        let text = error.getattr(intern!(py, "formatted_message"))?;
        let text = PyString::new(py, &one_line(&text.str()?.to_string_lossy()));
        log_text(handler, "(from %s) %s", vec![address, text.into_any()])?;
    } else {
        let expected = error.is_instance_of::<PyValueError>()
            || error.is_instance_of::<InvalidClientInput>()
            || error.is_instance_of::<BodyTimeout>();
        if !expected {
            let print = handler.getattr(intern!(py, "_print_unexpected_exc"))?;
            print.call0()?;
        }
        let text = format!(": {}", error.str()?);
        log_client(handler, "Invalid request ", address, &text)?;
    }
    let stated = |name: &str| error.getattr_opt(name).ok().flatten();
    let code: u16 = stated("code")
        .and_then(|code| code.extract().ok())
        .unwrap_or(400);
    let reason: String = stated("reason")
        .and_then(|reason| reason.extract().ok())
        .unwrap_or_else(|| "Bad Request".into());
    let response =
        format!("HTTP/1.1 {code} {reason}\r\nConnection: close\r\nContent-length: 0\r\n\r\n");
    let status = PyString::new(py, &code.to_string()).into_any();
    Ok((status, PyBytes::new(py, response.as_bytes())))
}

/// Implements `handle_error`.
///
/// # Errors
/// Returns the error that an overridden step, or reporting the error, raises.
pub fn handle_error(
    handler: &Handler<'_>,
    kind: &Bound<'_, PyAny>,
    value: &Bound<'_, PyAny>,
    traceback: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if is_overridden(handler, Step::LogError) {
        call(handler, Step::LogError, (kind, value, traceback))?;
    } else {
        report(handler, kind, value, traceback)?;
    }
    if is_overridden(handler, Step::SendErrorResponse) {
        call(handler, Step::SendErrorResponse, (500,)).map(drop)
    } else {
        send_error_response(handler, 500)
    }
}

/// Has the loop report the error, as `_log_error` does, with an environment without the values that may be secret.
///
/// # Errors
/// Returns the error that the loop raises.
pub fn report(
    handler: &Handler<'_>,
    kind: &Bound<'_, PyAny>,
    value: &Bound<'_, PyAny>,
    traceback: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = handler.py();
    if value.is_instance_of::<GreenletExit>() {
        return Ok(());
    }
    let server = handler.getattr(intern!(py, "server"))?;
    let environ = attributes(handler).get(py, Slot::Environ);
    let context = match environ {
        Some(environ) if environ.is_truthy()? => server
            .getattr(intern!(py, "secure_environ_class"))?
            .call1((environ,))?,
        _ => handler.clone().into_any(),
    };
    server
        .getattr(intern!(py, "loop"))?
        .call_method1(
            intern!(py, "handle_error"),
            (context, kind, value, traceback),
        )
        .map(drop)
}

/// Implements `_send_error_response_if_possible`.
///
/// # Errors
/// Returns the errors of sending.
pub fn send_error_response(handler: &Handler<'_>, code: u16) -> PyResult<()> {
    let py = handler.py();
    let this = attributes(handler);
    let (sent, broken) = this.state.with(py, |state| {
        let exchange = state.exchange.as_ref();
        (
            exchange.is_some_and(|exchange| exchange.headers_sent),
            state.broken,
        )
    });
    this.state.with(py, |state| state.close_connection = true);
    if sent || broken {
        return Ok(());
    }
    // The status and fields that the application stated are replaced.
    let old = this.exchange(py, |exchange| {
        exchange.out.clear();
        exchange.put(Slot::Status, None)
    });
    drop(old);
    let (status, headers, body): (Bound<'_, PyAny>, Bound<'_, PyAny>, Bound<'_, PyAny>) =
        ERROR_RESPONSE.get(py)?.call1((code,))?.extract()?;
    if is_overridden(handler, Step::StartResponse) {
        call(handler, Step::StartResponse, (status, headers))?;
    } else {
        response::start_response(handler, &status, &headers, None)?;
    }
    let written = if is_overridden(handler, Step::Write) {
        call(handler, Step::Write, (body,)).map(drop)
    } else {
        send::write(handler, &body)
    };
    match written {
        Err(error) if this.state.with(py, |state| state.broken) => {
            drop(error);
            Ok(())
        }
        written => written,
    }
}
