//! The access log, in the format that gevent writes.

use std::io::Write;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::cell::GilCell;
use crate::ffi::{attribute, clock, text};
use crate::wsgi::attributes::status_of;
use crate::wsgi::error_log::{is_silent, tolerate};
use crate::wsgi::exchange::Slot;
use crate::wsgi::handler::{Handler, attributes, call, is_overridden};
use crate::wsgi::overriding::Step;

/// The second that was written last, as text.
static STAMP: GilCell<(i64, String)> = GilCell::in_static((i64::MIN, String::new()));

fn stamp(py: Python<'_>, into: &mut Vec<u8>) {
    let seconds = clock::wall_time() as i64;
    STAMP.with(py, |(last, text)| {
        if *last != seconds {
            let [year, month, day, hour, minute, second] = clock::local(seconds);
            *text = format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
            *last = seconds;
        }
        into.extend_from_slice(text.as_bytes());
    });
}

/// Appends text, and escapes as `\\xNN` every character that could forge a line or control a terminal: control
/// characters, quotes, backslashes and all that is not ASCII, as nginx does.
fn escape(text: &[u8], into: &mut Vec<u8>) {
    for &byte in text {
        if matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\') {
            into.push(byte);
        } else {
            let _ = write!(into, "\\x{byte:02X}");
        }
    }
}

fn bytes_of(object: &Bound<'_, PyAny>) -> Vec<u8> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return bytes.as_bytes().to_vec();
    }
    match object.cast::<PyString>() {
        Ok(text) => text::as_latin1(text).map_or_else(
            || {
                text.to_string_lossy()
                    .chars()
                    .map(|c| if c.is_ascii() { c as u8 } else { b'?' })
                    .collect()
            },
            <[u8]>::to_vec,
        ),
        Err(_) => object.to_string().into_bytes(),
    }
}

/// Returns the bytes of the line, without its end, as `format_request` does.
///
/// # Errors
/// Returns the error that reading an attribute raises.
pub fn format_request(handler: &Handler<'_>) -> PyResult<Vec<u8>> {
    let py = handler.py();
    let this = attributes(handler);
    let mut line = Vec::with_capacity(128);
    let address = this.state.with(py, |state| {
        state
            .client_address
            .as_ref()
            .map(|address| address.clone_ref(py))
    });
    match address.map(|address| address.into_bound(py)) {
        Some(address) if address.is_truthy()? => match address.cast::<PyTuple>() {
            Ok(address) => escape(&bytes_of(address.get_item(0)?.str()?.as_any()), &mut line),
            Err(_) => escape(&bytes_of(address.str()?.as_any()), &mut line),
        },
        _ => line.push(b'-'),
    }
    line.extend_from_slice(b" - - [");
    stamp(py, &mut line);
    line.extend_from_slice(b"] \"");
    match this.get(py, Slot::Requestline) {
        Some(text) if !text.is_none() => escape(&bytes_of(&text), &mut line),
        Some(_) => {}
        None => this.exchange(py, |exchange| {
            if exchange.decoded {
                escape(exchange.head.request_line(), &mut line);
            }
        }),
    }
    line.extend_from_slice(b"\" ");
    let status = this
        .get(py, Slot::OrigStatus)
        .filter(|status| !status.is_none())
        .or_else(|| this.get(py, Slot::Status));
    let status = match status {
        Some(status) => bytes_of(&status),
        None => this.exchange(py, |exchange| {
            status_of(&exchange.out).unwrap_or(b"000").to_vec()
        }),
    };
    let code = status.split(|&byte| byte == b' ').next();
    escape(code.unwrap_or(b"000"), &mut line);
    let (length, start, finish) = this.exchange(py, |exchange| {
        (
            exchange.response_length,
            exchange.time_start,
            exchange.time_finish,
        )
    });
    let _ = match length {
        0 => write!(line, " -"),
        length => write!(line, " {length}"),
    };
    let _ = if finish != 0.0 {
        write!(line, " {:.6}", finish - start)
    } else {
        write!(line, " -")
    };
    Ok(line)
}

/// Implements `log_request`.
///
/// # Errors
/// Returns the error that the log raises.
pub fn log_request(handler: &Handler<'_>) -> PyResult<()> {
    match log_of(handler)? {
        Some(log) => log_to(handler, &log),
        None => Ok(()),
    }
}

/// Returns the access log, or `None` if it discards what is written to it.
fn log_of<'py>(handler: &Handler<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = handler.py();
    let server = attributes(handler).state.with(py, |state| {
        state.server.as_ref().map(|server| server.clone_ref(py))
    });
    let Some(server) = server else {
        return Ok(None);
    };
    let log = attribute::own_first(server.bind(py), intern!(py, "log"))?;
    Ok((!is_silent(&log)?).then_some(log))
}

fn log_to(handler: &Handler<'_>, log: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = handler.py();
    let line = if is_overridden(handler, Step::FormatRequest) {
        call(handler, Step::FormatRequest, ())?.add("\n")?
    } else {
        let mut line = format_request(handler)?;
        line.push(b'\n');
        text::from_latin1(py, &line)?.into_any()
    };
    log.call_method1(intern!(py, "write"), (line,)).map(drop)
}

/// Logs the request that is over. An error of the log is reported, but does not end the client's connection.
///
/// # Errors
/// Returns an error that is no `Exception`, such as one that is thrown into the greenlet.
pub fn request_done(handler: &Handler<'_>) -> PyResult<()> {
    let logged = if is_overridden(handler, Step::LogRequest) {
        call(handler, Step::LogRequest, ()).map(drop)
    } else {
        match log_of(handler) {
            Ok(None) => return Ok(()),
            Ok(Some(log)) => log_to(handler, &log),
            Err(error) => Err(error),
        }
    };
    tolerate(handler, logged)
}
