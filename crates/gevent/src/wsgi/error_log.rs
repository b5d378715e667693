//! The error log, for reports about clients, applications, and logs that cannot be written to.

use std::sync::atomic::Ordering::Relaxed;

use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyType};

use crate::registered::NOOP_LOG;
use crate::wsgi::handler::{Handler, attributes, call, is_overridden};
use crate::wsgi::overriding::Step;

/// Returns the class of logs that discard what is written to them.
///
/// # Errors
/// Fails when it cannot be imported.
pub fn noop_log(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    NOOP_LOG.class(py)
}

/// Returns true if a log discards what is written to it.
pub fn is_silent(log: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = log.py();
    Ok(log.is_none() || log.get_type().is(noop_log(py)?))
}

/// Returns text with its control characters escaped, so that it is one line, and harmless on a terminal.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// Implements `log_error`.
///
/// # Errors
/// Returns the error that the log raises.
pub fn log_error(
    handler: &Handler<'_>,
    msg: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
) -> PyResult<()> {
    let py = handler.py();
    let server = handler.getattr(intern!(py, "server"))?;
    let log = server.getattr(intern!(py, "error_log"))?;
    if is_silent(&log)? {
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
    let logged = log.call_method1(intern!(py, "write"), (line,)).map(drop);
    tolerate(handler, logged)
}

/// Logs a message, formatted with these arguments, by `log_error`.
///
/// # Errors
/// Returns the error that the log raises.
pub fn log_text(handler: &Handler<'_>, format: &str, args: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
    let py = handler.py();
    let format = PyString::new(py, format).into_any();
    if is_overridden(handler, Step::LogErrorText) {
        let args = [vec![format], args].concat();
        return call(handler, Step::LogErrorText, PyTuple::new(py, args)?).map(drop);
    }
    log_error(handler, &format, &PyTuple::new(py, args)?)
}

pub fn client_address<'py>(handler: &Handler<'py>) -> PyResult<Bound<'py, PyAny>> {
    handler.getattr(intern!(handler.py(), "client_address"))
}

/// Logs a line about a client's fault, at a level of its own if the log has levels.
pub fn log_client<'py>(
    handler: &Handler<'py>,
    what: &str,
    address: Bound<'py, PyAny>,
    text: &str,
) -> PyResult<()> {
    let py = handler.py();
    let text = PyString::new(py, &one_line(text)).into_any();
    let server = handler.getattr(intern!(py, "server"))?;
    let log = server.getattr(intern!(py, "error_log"))?;
    let write = log
        .get_type()
        .getattr_opt(intern!(py, "write_client"))?
        .filter(|_| !is_overridden(handler, Step::LogErrorText));
    let Some(write) = write else {
        return log_text(handler, &format!("{what}(from %s)%s"), vec![address, text]);
    };
    let line = format!("{what}(from {}){text}\n", address.str()?);
    tolerate(handler, write.call1((log, line)).map(drop))
}

/// Logs a line that says which limit ended a connection.
///
/// # Errors
/// Returns the error that the log raises, if it is no `Exception`.
pub fn log_limit(handler: &Handler<'_>, text: &str) -> PyResult<()> {
    log_client(handler, "", client_address(handler)?, &format!(" {text}"))
}

/// Reports an error of writing to a log. Only the first one is reported until a write succeeds again, as a full disk is
/// noticed by other means, too.
///
/// # Errors
/// Returns an error that is no `Exception`.
pub fn tolerate(handler: &Handler<'_>, logged: PyResult<()>) -> PyResult<()> {
    let py = handler.py();
    let service = attributes(handler).state.with(py, |state| {
        state.service.as_ref().map(|service| service.clone_ref(py))
    });
    let Some(service) = service else {
        return logged;
    };
    let lost = match &logged {
        Ok(()) => false,
        Err(error) if error.is_instance_of::<PyException>(py) => true,
        Err(_) => return logged,
    };
    let before = service.get().log_is_lost.swap(lost, Relaxed);
    match logged {
        Err(error) if !before => {
            let value = error.into_value(py).into_bound(py).into_any();
            report_unlogged(handler, &value)
        }
        _ => Ok(()),
    }
}

/// Has the loop report why a log cannot be written to, without naming the request that was to be logged.
///
/// # Errors
/// Returns the error that the loop raises.
pub fn report_unlogged(handler: &Handler<'_>, error: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = handler.py();
    let server = handler.getattr(intern!(py, "server"))?;
    let traceback = error.getattr(intern!(py, "__traceback__"))?;
    let context = "the log of a server cannot be written to";
    server
        .getattr(intern!(py, "loop"))?
        .call_method1(
            intern!(py, "handle_error"),
            (context, error.get_type(), error, traceback),
        )
        .map(drop)
}
