//! What goes wrong: requests that are none, clients that leave, applications that raise.

use pyo3::exceptions::{PyException, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString, PyTuple, PyType};

use crate::errors::GreenletExit;
use crate::wsgi::attributes::Slot;
use crate::wsgi::handler::{Handler, attributes, call, is_overridden};
use crate::wsgi::overriding::Step;
use crate::wsgi::request::InvalidClientRequest;
use crate::wsgi::{response, send};

pyo3::import_exception!(gevent._http, InvalidClientInput);
pyo3::import_exception!(gevent._http, BodyTimeout);

static NOOP_LOG: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// The class of logs that go nowhere.
///
/// # Errors
/// When it cannot be imported.
pub fn noop_log(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    NOOP_LOG.import(py, "gevent._http", "NoopLog")
}

/// The status to answer with to what the client did, if that is what the error is about.
pub fn client_error_code(py: Python<'_>, error: &PyErr) -> Option<u16> {
    if !error.is_instance_of::<InvalidClientInput>(py) && !error.is_instance_of::<BodyTimeout>(py) {
        return None;
    }
    let code = error.value(py).getattr(intern!(py, "code"));
    Some(code.and_then(|code| code.extract()).unwrap_or(400))
}

/// Whether an `OSError` only says that the client is gone.
///
/// # Errors
/// What `ignored_socket_errors` raises.
pub fn is_ignored(handler: &Handler<'_>, error: &PyErr) -> PyResult<bool> {
    let py = handler.py();
    let number = error.value(py).getattr(intern!(py, "errno"))?;
    handler
        .getattr(intern!(py, "ignored_socket_errors"))?
        .contains(number)
}

/// `log_error`.
///
/// # Errors
/// What the log raises.
pub fn log_error(
    handler: &Handler<'_>,
    msg: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
) -> PyResult<()> {
    let py = handler.py();
    let server = handler.getattr(intern!(py, "server"))?;
    let log = server.getattr(intern!(py, "error_log"))?;
    if super::log::is_silent(&log)? {
        return Ok(());
    }
    let text = if args.is_empty() {
        msg.str()?.into_any()
    } else {
        match msg.rem(args) {
            Ok(text) => text,
            Err(error) if error.is_instance_of::<PyException>(py) => {
                let text = format!("{} {}", msg.repr()?, args.repr()?);
                PyString::new(py, &text).into_any()
            }
            Err(error) => return Err(error),
        }
    };
    let socket = handler.getattr(intern!(py, "socket"))?;
    let line = format!("{}: {}\n", socket.repr()?, text.str()?);
    log.call_method1(intern!(py, "write"), (line,)).map(drop)
}

/// Has a message logged that is formatted with these arguments.
///
/// # Errors
/// What the log raises.
pub fn log_text(handler: &Handler<'_>, format: &str, args: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
    let py = handler.py();
    let format = PyString::new(py, format).into_any();
    if is_overridden(handler, Step::LogErrorText) {
        let args = [vec![format], args].concat();
        return call(handler, Step::LogErrorText, PyTuple::new(py, args)?).map(drop);
    }
    log_error(handler, &format, &PyTuple::new(py, args)?)
}

fn client_address<'py>(handler: &Handler<'py>) -> PyResult<Bound<'py, PyAny>> {
    handler.getattr(intern!(handler.py(), "client_address"))
}

/// `_handle_client_error`: the status and the whole response.
///
/// # Errors
/// What the log raises.
pub fn handle_client_error<'py>(
    handler: &Handler<'py>,
    error: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyBytes>)> {
    let py = handler.py();
    let address = client_address(handler)?;
    if error.is_instance_of::<InvalidClientRequest>() {
        let text = error.getattr(intern!(py, "formatted_message"))?;
        log_text(handler, "(from %s) %s", vec![address, text])?;
    } else {
        let expected = error.is_instance_of::<PyValueError>()
            || error.is_instance_of::<InvalidClientInput>()
            || error.is_instance_of::<BodyTimeout>();
        if !expected {
            let print = handler.getattr(intern!(py, "_print_unexpected_exc"))?;
            print.call0()?;
        }
        let text = error.str()?.into_any();
        log_text(
            handler,
            "Invalid request (from %s): %s",
            vec![address, text],
        )?;
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

/// `handle_error`.
///
/// # Errors
/// What an overridden step, or reporting the error, raises.
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

/// `_log_error`: has the loop report the error, with an environment that gives nothing away.
///
/// # Errors
/// What the loop raises.
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

/// `_send_error_response_if_possible`.
///
/// # Errors
/// The errors of sending.
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
    let (status, headers, body): (Bound<'_, PyAny>, Bound<'_, PyAny>, Bound<'_, PyAny>) = py
        .import(intern!(py, "gevent._http"))?
        .call_method1("error_response", (code,))?
        .extract()?;
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
