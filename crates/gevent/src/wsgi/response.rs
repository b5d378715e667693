//! The head of a response: the status and fields that the application states, and those that are added.

use http1::DateCache;
use http1::response::{self as encoder, ResponseError};
use pyo3::exceptions::{PyAssertionError, PyUnicodeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::cell::GilCell;
use crate::ffi::{clock, text};
use crate::wsgi::body_part::readable;
use crate::wsgi::errors::application_error;
use crate::wsgi::exchange::{Exchange, Slot};
use crate::wsgi::handler::{Handler, attributes, leave_http};
use crate::wsgi::{buffer_pool, environ, input};

static DATE: GilCell<DateCache> = GilCell::in_static(DateCache::new());

/// Returns the bytes that a string is sent as.
fn native<'a>(text: &'a Bound<'_, PyString>) -> PyResult<&'a [u8]> {
    match text::as_latin1(text) {
        Some(bytes) => Ok(bytes),
        // Raises the error that says which character does not fit.
        None => {
            let name = intern!(text.py(), "encode");
            let encoded = text.call_method1(name, (intern!(text.py(), "latin-1"),));
            Err(encoded.map_or_else(
                |error| error,
                |_| PyUnicodeError::new_err("a header has characters outside ISO-8859-1"),
            ))
        }
    }
}

fn refusal(error: ResponseError, text: &Bound<'_, PyAny>) -> PyErr {
    PyValueError::new_err((error.to_string(), text.clone().unbind()))
}

/// Returns the number that digits state.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Returns the two items of a pair.
fn pair<'py>(item: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    if let Ok(tuple) = item.cast_exact::<PyTuple>()
        && tuple.len() == 2
    {
        return Ok((tuple.get_item(0)?, tuple.get_item(1)?));
    }
    let items: Vec<_> = item.try_iter()?.collect::<PyResult<_>>()?;
    match <[_; 2]>::try_from(items) {
        Ok([name, value]) => Ok((name, value)),
        Err(items) if items.len() < 2 => Err(PyValueError::new_err(format!(
            "not enough values to unpack (expected 2, got {})",
            items.len()
        ))),
        Err(_) => Err(PyValueError::new_err(
            "too many values to unpack (expected 2)",
        )),
    }
}

/// The head that `start_response` is given, being written.
#[derive(Default)]
struct Draft {
    out: Vec<u8>,
    date: Option<Py<PyAny>>,
    length: Option<(Py<PyAny>, u64)>,
    /// True if the application asks for chunks.
    chunked: bool,
    connection: Option<bool>,
    /// True if the response may not state a length (RFC 9110 section 8.6).
    lengthless: bool,
}

impl Draft {
    fn field(&mut self, item: &Bound<'_, PyAny>) -> PyResult<()> {
        let (name, value) = pair(item)?;
        let Ok(name_text) = name.cast::<PyString>() else {
            let message = "The header must be a native string";
            return Err(PyUnicodeError::new_err((
                message,
                name.unbind(),
                value.unbind(),
            )));
        };
        let Ok(value_text) = value.cast::<PyString>() else {
            let message = "The value must be a native string";
            return Err(PyUnicodeError::new_err((
                message,
                name.unbind(),
                value.unbind(),
            )));
        };
        let (name_bytes, value_bytes) = (native(name_text)?, native(value_text)?);
        let is = |other: &str| name_bytes.eq_ignore_ascii_case(other.as_bytes());
        match name_bytes.len() {
            4 if is("date") => self.date = Some(value.clone().unbind()),
            10 if is("connection") => {
                let close = value_bytes
                    .split(|&byte| byte == b',')
                    .any(|part| part.trim_ascii().eq_ignore_ascii_case(b"close"));
                self.connection = Some(close | (self.connection == Some(true)));
            }
            14 if is("content-length") => {
                if self.length.is_some() {
                    return Err(PyValueError::new_err("Content-Length was given twice"));
                }
                let Some(length) = number(value_bytes) else {
                    let text = format!("invalid Content-Length: {}", value.repr()?);
                    return Err(PyValueError::new_err(text));
                };
                self.length = Some((value.clone().unbind(), length));
                if self.lengthless {
                    return Ok(());
                }
            }
            17 if is("transfer-encoding") => {
                if self.chunked || !value_bytes.eq_ignore_ascii_case(b"chunked") {
                    let text = format!("invalid Transfer-Encoding: {}", value.repr()?);
                    return Err(PyValueError::new_err(text));
                }
                // The server frames the body, so the application's field is not sent as it is.
                self.chunked = true;
                return Ok(());
            }
            _ => {}
        }
        encoder::field(&mut self.out, name_bytes, value_bytes).map_err(|error| {
            let culprit = match error {
                ResponseError::Name | ResponseError::NameForm => &name,
                _ => &value,
            };
            refusal(error, culprit)
        })?;
        Ok(())
    }
}

/// Implements `start_response`.
///
/// # Errors
/// Returns `UnicodeError`, `ValueError` or `AssertionError` for a status or fields that cannot be sent; the error in
/// `exc_info` once the head has been sent; and `ApplicationError` when it was called before.
pub fn start_response<'py>(
    handler: &Handler<'py>,
    status: &Bound<'py, PyAny>,
    headers: &Bound<'py, PyAny>,
    exc_info: Option<&Bound<'py, PyAny>>,
) -> PyResult<()> {
    let py = handler.py();
    let this = attributes(handler);
    let (begun, sent) = this.exchange(py, |exchange| {
        (!exchange.out.is_empty(), exchange.headers_sent)
    });
    let failure = match exc_info {
        Some(info) if info.is_truthy()? => Some(info),
        _ => None,
    };
    // PEP 3333 forbids a second call "within the current invocation of the application". One that comes from the iterable
    // which that returned, before anything was sent, states the head anew.
    let is_invoked = !this.is_set(py, Slot::Result);
    match failure {
        Some(info) if sent => return Err(PyErr::from_value(info.get_item(1)?)),
        None if begun && (sent || is_invoked) => {
            let text = "start_response() was called before, and is called without exc_info";
            return Err(application_error(handler, text.into()));
        }
        _ => {}
    }
    let Ok(status_text) = status.cast::<PyString>() else {
        return Err(PyUnicodeError::new_err(
            "The status string must be a native string",
        ));
    };
    let status_bytes = native(status_text)?;
    let mut draft = Draft {
        out: buffer_pool::buffer(py),
        ..Draft::default()
    };
    let code = encoder::status_line(&mut draft.out, http1::Version::Http11, status_bytes)
        .map_err(|error| refusal(error, status))?;
    let tunnel = this.exchange(py, |exchange| exchange.is_tunnel(code));
    draft.lengthless = tunnel || matches!(code, 101 | 204);
    if code == 101 && !is_upgrade_offered(handler)? {
        let text = "101 in answer to a request that offers no other protocol";
        return Err(PyValueError::new_err(text));
    }
    if let Ok(list) = headers.cast_exact::<PyList>() {
        list.iter().try_for_each(|item| draft.field(&item))?;
    } else {
        for item in headers.try_iter()? {
            draft.field(&item?)?;
        }
    }
    if let Some((value, length)) = &draft.length
        && (code == 204 || (code == 304 && is_like_gevent(handler)))
        && *length != 0
    {
        let text = format!(
            "Invalid Content-Length for {code} response: {} (must be absent or zero)",
            value.bind(py).repr()?
        );
        return Err(PyAssertionError::new_err((PyBytes::new(
            py,
            text.as_bytes(),
        )
        .unbind(),)));
    }
    if draft.chunked && draft.length.is_some() {
        let text = "Content-Length beside Transfer-Encoding";
        return Err(PyValueError::new_err(text));
    }
    adopt(handler, draft, code);
    Ok(())
}

/// Returns true if the client offers another protocol: by `Upgrade` and `Connection: upgrade` together, on HTTP/1.1
/// (RFC 9110 section 7.8). With gevent's rules, and for a subclass that reads fields in its own way, one of the two is
/// enough.
fn is_upgrade_offered(handler: &Handler<'_>) -> PyResult<bool> {
    let this = attributes(handler);
    let py = handler.py();
    if !is_like_gevent(handler) && !this.is_set(py, Slot::Headers) {
        let decoded = this.exchange(py, |exchange| {
            exchange.decoded.then(|| exchange.head.upgrade())
        });
        if let Some(offered) = decoded {
            return Ok(offered);
        }
    }
    environ::connection_upgrade_requested(handler)
}

fn is_like_gevent(handler: &Handler<'_>) -> bool {
    attributes(handler).state.with(handler.py(), |state| {
        let service = state.service.as_ref();
        service.is_some_and(|service| service.get().like_gevent)
    })
}

/// Makes the draft the response's head.
fn adopt(handler: &Handler<'_>, draft: Draft, code: u16) {
    let py = handler.py();
    let this = attributes(handler);
    let Draft {
        out,
        date,
        length,
        connection,
        lengthless,
        ..
    } = draft;
    let (length, left) = length.map_or((None, None), |(value, length)| (Some(value), Some(length)));
    let bodiless = lengthless || code == 304;
    let old = this.exchange(py, |exchange| {
        exchange.code = Some(i64::from(code));
        exchange.announced = false;
        exchange.left = left.filter(|_| !bodiless);
        exchange.has_connection = connection.is_some();
        exchange.has_close = connection == Some(true);
        let buffer = std::mem::replace(&mut exchange.out, out);
        let slots = [
            exchange.put(Slot::Status, None),
            exchange.put(Slot::OrigStatus, None),
            exchange.put(Slot::ResponseHeaders, None),
            exchange.put(Slot::ProvidedDate, date),
            exchange.put(Slot::ProvidedContentLength, length),
        ];
        (buffer, slots)
    });
    if connection == Some(true) {
        this.state.with(py, |state| state.close_connection = true);
    }
    buffer_pool::keep_buffer(py, old.0);
}

/// Returns the length of the body, if the result states it: a list or tuple by its parts, and any other iterable with a
/// single part by the part that is about to be sent.
///
/// Nothing else is iterated over to find out: it may yield each part once only, or do its work as it is run (PEP 3333 lets a
/// server rely on `len()` alone).
fn length_of(handler: &Handler<'_>) -> PyResult<Option<u64>> {
    let py = handler.py();
    let this = attributes(handler);
    let Some(result) = this.get(py, Slot::Result) else {
        return Ok(None);
    };
    let mut total = 0_u64;
    if let Ok(list) = result.cast_exact::<PyList>() {
        for item in list.iter() {
            total += size_of(&item)?;
        }
    } else if result.is_instance_of::<PyList>() || result.is_instance_of::<PyTuple>() {
        for item in result.try_iter()? {
            total += size_of(&item?)?;
        }
    } else {
        let first = this.exchange(py, |exchange| exchange.first);
        let is_alone = first.is_some()
            && result.get_type().hasattr(intern!(py, "__len__"))?
            && result.len()? == 1;
        return Ok(first.filter(|_| is_alone));
    }
    Ok(Some(total))
}

/// Returns how many bytes a part of a body has.
///
/// # Errors
/// Fails as [`readable`]; an empty part of any type has none.
pub fn size_of(part: &Bound<'_, PyAny>) -> PyResult<u64> {
    let py = part.py();
    match part.cast_exact::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes().len() as u64),
        Err(_) if !part.is_truthy()? => Ok(0),
        Err(_) => Ok(readable(part)?.bytes(py).len() as u64),
    }
}

/// Implements `finalize_headers`.
///
/// # Errors
/// Returns the error that asking the result for its length raises.
pub fn finalize_headers(handler: &Handler<'_>) -> PyResult<()> {
    let py = handler.py();
    let this = attributes(handler);
    let code = this.exchange(py, |exchange| exchange.code).unwrap_or(0);
    let upgraded = code == 101;
    let (tunnel, unread) = this.exchange(py, |exchange| {
        let code = u16::try_from(code).unwrap_or(0);
        (exchange.is_tunnel(code), exchange.has_body())
    });
    let bodiless = matches!(code, 204 | 304) || upgraded || tunnel;
    if unread && !input::can_be_skipped(handler) {
        // The response says that the client may stop sending, and that nothing follows (RFC 9112 section 9.3).
        this.state.with(py, |state| state.close_connection = true);
    }
    let stated = this
        .get(py, Slot::ProvidedContentLength)
        .is_some_and(|value| !value.is_none())
        || this.exchange(py, |exchange| exchange.announced);
    let length = if stated || bodiless {
        None
    } else {
        length_of(handler)?
    };
    let chunked = !stated && !bodiless && length.is_none() && !this.is_http10(py);
    let unbounded = !stated && !bodiless && length.is_none() && !chunked;
    let stopping = this.state.with(py, |state| {
        let service = state.service.as_ref();
        service.is_some_and(|service| service.get().is_stopping(py))
    });
    let close = this.state.with(py, |state| {
        state.close_connection |= unbounded || (stopping && !upgraded);
        state.close_connection
    });
    let dated = this
        .get(py, Slot::ProvidedDate)
        .is_some_and(|value| !value.is_none());
    let http10 = this.is_http10(py);
    let listed = this.get(py, Slot::ResponseHeaders);
    let mut added = listed.is_some().then(|| buffer_pool::buffer(py));
    if upgraded {
        leave_http(handler);
    }
    this.exchange(py, |exchange| {
        exchange.connection_upgraded = upgraded;
        exchange.response_use_chunked = chunked;
        if length.is_some() {
            exchange.left = length;
        }
        // A response announces that its connection ends even if the application stated otherwise.
        let says_close = close && !exchange.has_close && !upgraded && !tunnel;
        let says_stay = http10 && !close && !exchange.has_connection;
        let out = added.as_mut().unwrap_or(&mut exchange.out);
        if says_close || says_stay {
            let fate = if close { "close" } else { "keep-alive" };
            encoder::plain_field(out, b"Connection", fate.as_bytes());
        }
        if !dated {
            let seconds = clock::wall_time() as u64;
            DATE.with(py, |date| {
                encoder::plain_field(out, b"Date", date.at(seconds));
            });
        }
        if let Some(length) = length {
            encoder::number_field(out, "Content-Length", length);
        } else if chunked {
            encoder::plain_field(out, b"Transfer-Encoding", b"chunked");
        }
    });
    if let (Some(listed), Some(added)) = (listed, added) {
        for line in added.split(|&byte| byte == b'\n') {
            if let Some(colon) = memchr::memchr(b':', line) {
                let value = &line[colon + 2..line.len() - 1];
                let pair = [PyBytes::new(py, &line[..colon]), PyBytes::new(py, value)];
                listed.call_method1(intern!(py, "append"), (PyTuple::new(py, pair)?,))?;
            }
        }
        buffer_pool::keep_buffer(py, added);
    }
    Ok(())
}

/// Takes out the complete head, as it is to be sent.
///
/// # Errors
/// Returns the error of a status or fields that were set from Python and may not be sent.
pub fn head(handler: &Handler<'_>) -> PyResult<Vec<u8>> {
    let py = handler.py();
    let this = attributes(handler);
    let (status, listed) = (
        this.get(py, Slot::Status),
        this.get(py, Slot::ResponseHeaders),
    );
    if status.is_some() || listed.is_some() {
        rewrite(handler, status, listed)?;
    }
    let mut out = this.exchange(py, |exchange| exchange.copy_head(py));
    encoder::end(&mut out);
    Ok(out)
}

impl Exchange {
    /// Returns true if a response with this code ends HTTP on the connection: what follows is a tunnel's.
    fn is_tunnel(&self, code: u16) -> bool {
        self.decoded && self.head.is_connect() && (200..300).contains(&code)
    }

    /// Returns true if the request has a body.
    fn has_body(&self) -> bool {
        self.decoded && self.head.framing() != http1::Framing::None
    }

    /// Copies the head into a buffer of its own. The original stays, for `status` and `response_headers`.
    fn copy_head(&self, py: Python<'_>) -> Vec<u8> {
        let mut out = buffer_pool::buffer(py);
        out.extend_from_slice(&self.out);
        out
    }
}

/// Writes the head anew, after its status or fields were changed from Python.
fn rewrite(
    handler: &Handler<'_>,
    status: Option<Bound<'_, PyAny>>,
    listed: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = handler.py();
    let this = attributes(handler);
    let listed = match listed {
        Some(listed) => listed,
        None => handler.getattr(intern!(py, "response_headers"))?,
    };
    let bytes = |object: &Bound<'_, PyAny>| -> PyResult<Vec<u8>> {
        match object.cast::<PyString>() {
            Ok(text) => native(text).map(<[u8]>::to_vec),
            Err(_) => object.extract(),
        }
    };
    let mut out = buffer_pool::buffer(py);
    let line = match &status {
        Some(status) => bytes(status)?,
        None => this.exchange(py, |exchange| {
            super::attributes::status_of(&exchange.out)
                .unwrap_or_default()
                .to_vec()
        }),
    };
    encoder::status_line(&mut out, http1::Version::Http11, &line)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    let mut framings = 0;
    if !listed.is_none() {
        for item in listed.try_iter()? {
            let (name, value) = pair(&item?)?;
            let name = bytes(&name)?;
            framings += usize::from(
                name.eq_ignore_ascii_case(b"content-length")
                    || name.eq_ignore_ascii_case(b"transfer-encoding"),
            );
            encoder::field(&mut out, &name, &bytes(&value)?)
                .map_err(|error| PyValueError::new_err(error.to_string()))?;
        }
    }
    if framings > 1 {
        let text = "Content-Length or Transfer-Encoding given twice";
        return Err(PyValueError::new_err(text));
    }
    let old = this.exchange(py, |exchange| std::mem::replace(&mut exchange.out, out));
    buffer_pool::keep_buffer(py, old);
    Ok(())
}
