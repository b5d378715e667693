//! Sends responses to the client. Head and body take no more system calls than the application makes writes.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;

use http1::{ChunkHead, LAST_CHUNK};
use pyo3::exceptions::{PyBlockingIOError, PyOSError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PySlice, PyString};
use reactor::{Direction, Time};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};

use crate::errors::{errno_error, is_ssl_error};
use crate::registered::{Registered, SOCKET, TLS_SOCKET};
use crate::sockets::socket::SocketBase;
use crate::waiting::deadline::Deadline;
use crate::wsgi::allowance::Allowance;
use crate::wsgi::body_part::{check_part, readable};
use crate::wsgi::error_log::log_limit;
use crate::wsgi::errors::application_error;
use crate::wsgi::exchange::Slot;
use crate::wsgi::handler::{Handler, attributes, call, is_overridden, plain_socket};
use crate::wsgi::overriding::{Step, Steps};
use crate::wsgi::request_file::{LEAST, is_timeout};
use crate::wsgi::statistics::Stage;
use crate::wsgi::{buffer_pool, input, response, stint};

/// The steps that send. With none of them overridden, head and body are sent together.
pub const SENDING: Steps = Steps::of(&[
    Step::Write,
    Step::WriteBody,
    Step::WriteWithHeaders,
    Step::FinalizeHeaders,
    Step::Sendall,
]);

/// The most pieces that one system call takes.
const MOST_PIECES: usize = 1024;

/// The error of an application that did not call `start_response`.
pub const NOT_STARTED: &str = "The application did not call start_response()";

/// The most bytes that are copied into one piece of memory to be sent.
const SMALL: usize = 4096;

/// Returns the error of an application that did not call `start_response`.
pub fn not_started(handler: &Handler<'_>) -> PyErr {
    application_error(handler, NOT_STARTED.into())
}

/// Implements `write`.
///
/// # Errors
/// Returns `ApplicationError` when the response has no body or `start_response` was not called, or the errors of
/// sending.
pub fn write(handler: &Handler<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = handler.py();
    let this = attributes(handler);
    let (code, sent) = this.exchange(py, |exchange| (exchange.code, exchange.headers_sent));
    if let Some(code @ (204 | 304)) = code
        && data.is_truthy()?
    {
        let text = format!("The {code} response must have no body");
        return Err(application_error(handler, text));
    }
    if sent {
        return step_with(handler, Step::WriteBody, data, write_body);
    }
    if !this.has_status(py) {
        return Err(not_started(handler));
    }
    step_with(handler, Step::WriteWithHeaders, data, write_with_headers)
}

fn step_with(
    handler: &Handler<'_>,
    step: Step,
    data: &Bound<'_, PyAny>,
    native: impl FnOnce(&Handler<'_>, &Bound<'_, PyAny>) -> PyResult<()>,
) -> PyResult<()> {
    if is_overridden(handler, step) {
        return call(handler, step, (data,)).map(drop);
    }
    native(handler, data)
}

/// Completes the head and takes it; from now on it counts as sent.
///
/// # Errors
/// Fails as [`response::finalize_headers`] and [`response::head`].
pub fn take_head(handler: &Handler<'_>) -> PyResult<Vec<u8>> {
    attributes(handler).exchange(handler.py(), |exchange| exchange.headers_sent = true);
    input::response_begins(handler);
    let finalized = if is_overridden(handler, Step::FinalizeHeaders) {
        call(handler, Step::FinalizeHeaders, ()).map(drop)
    } else {
        response::finalize_headers(handler)
    };
    let head = finalized.and_then(|()| response::head(handler));
    if head.is_err() {
        // Nothing has been sent, so another response can still be sent.
        attributes(handler).exchange(handler.py(), |exchange| exchange.headers_sent = false);
    }
    head
}

/// Implements `_write_with_headers`.
///
/// # Errors
/// Returns the errors of the steps that it consists of.
pub fn write_with_headers(handler: &Handler<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = handler.py();
    // The part is checked before the head is taken, while an error response can still be sent instead of this one.
    check_part(data)?;
    let size = response::size_of(data)?;
    attributes(handler).exchange(py, |exchange| exchange.first = Some(size));
    let head = take_head(handler)?;
    if is_overridden(handler, Step::Sendall) || is_overridden(handler, Step::WriteBody) {
        let head = PyByteArray::new(py, &head);
        step_with(handler, Step::Sendall, head.as_any(), sendall)?;
        return step_with(handler, Step::WriteBody, data, write_body);
    }
    let data = if data.is_truthy()? {
        std::slice::from_ref(data)
    } else {
        &[]
    };
    let sent = send_parts(handler, Some(&head), data, false);
    buffer_pool::keep_buffer(py, head);
    sent
}

/// Implements `_write`.
///
/// # Errors
/// Returns the errors of sending.
pub fn write_body(handler: &Handler<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = handler.py();
    if !data.is_truthy()? {
        return Ok(());
    }
    if is_overridden(handler, Step::Sendall) {
        let chunked = attributes(handler).exchange(py, |exchange| exchange.response_use_chunked);
        if !chunked {
            return call(handler, Step::Sendall, (data,)).map(drop);
        }
        let data = readable(data)?;
        let bytes = data.bytes(py);
        let mut frame = ChunkHead::new(bytes.len()).as_bytes().to_vec();
        frame.extend_from_slice(bytes);
        frame.extend_from_slice(b"\r\n");
        return call(handler, Step::Sendall, (PyByteArray::new(py, &frame),)).map(drop);
    }
    send_parts(handler, None, std::slice::from_ref(data), false)
}

/// Sends the end of a body in chunks.
///
/// # Errors
/// Returns the errors of sending.
pub fn end_chunks(handler: &Handler<'_>) -> PyResult<()> {
    let py = handler.py();
    if is_overridden(handler, Step::Sendall) {
        let last = PyBytes::new(py, LAST_CHUNK);
        return call(handler, Step::Sendall, (last,)).map(drop);
    }
    if attributes(handler).is_head(py) {
        return Ok(());
    }
    transmit(handler, &mut [IoSlice::new(LAST_CHUNK)])
}

/// Implements `_sendall`.
///
/// # Errors
/// Returns the errors of sending.
pub fn sendall(handler: &Handler<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
    let data = readable(data)?;
    transmit(handler, &mut [IoSlice::new(data.bytes(handler.py()))])
}

/// Sends a head, if there is one, and parts of the body with the framing that the response needs. `last` is true if no
/// more parts follow.
///
/// # Errors
/// Returns `TypeError` for a part that is not bytes-like, or the errors of sending.
pub fn send_parts(
    handler: &Handler<'_>,
    head: Option<&[u8]>,
    parts: &[Bound<'_, PyAny>],
    last: bool,
) -> PyResult<()> {
    let py = handler.py();
    let this = attributes(handler);
    if let (Some(head), [part]) = (head, parts)
        && let Ok(bytes) = part.cast_exact::<PyBytes>()
        && send_simple(handler, head, bytes.as_bytes())?
    {
        return Ok(());
    }
    let memory = parts.iter().map(readable).collect::<PyResult<Vec<_>>>()?;
    let silent = this.is_head(py);
    let (chunked, mut left) = this.exchange(py, |exchange| {
        (exchange.response_use_chunked, exchange.left)
    });
    let mut sizes = Vec::new();
    if chunked && !silent {
        sizes.extend(
            memory
                .iter()
                .map(|part| ChunkHead::new(part.bytes(py).len())),
        );
    }
    let mut pieces = Vec::with_capacity(2 + memory.len() * if chunked { 3 } else { 1 });
    pieces.extend(head.map(IoSlice::new));
    for (at, part) in memory.iter().enumerate() {
        let mut bytes = part.bytes(py);
        // No more bytes than announced are sent, as the client would take the rest for the next response.
        if let Some(left) = &mut left {
            bytes = &bytes[..bytes
                .len()
                .min(usize::try_from(*left).unwrap_or(usize::MAX))];
            *left -= bytes.len() as u64;
        }
        if bytes.is_empty() || silent {
            continue;
        }
        if chunked {
            pieces.push(IoSlice::new(sizes[at].as_bytes()));
            pieces.push(IoSlice::new(bytes));
            pieces.push(IoSlice::new(b"\r\n"));
        } else {
            pieces.push(IoSlice::new(bytes));
        }
    }
    if last && chunked && !silent {
        pieces.push(IoSlice::new(LAST_CHUNK));
    }
    this.exchange(py, |exchange| exchange.left = left);
    transmit(handler, &mut pieces)
}

/// Does what [`send_parts`] does for a body that needs no framing; returns false if it needs some.
fn send_simple(handler: &Handler<'_>, head: &[u8], body: &[u8]) -> PyResult<bool> {
    let py = handler.py();
    let this = attributes(handler);
    let simple = this.exchange(py, |exchange| {
        let fits = exchange.left.is_some_and(|left| left >= body.len() as u64);
        let simple = fits && !exchange.response_use_chunked;
        if simple {
            exchange.left = exchange.left.map(|left| left - body.len() as u64);
        }
        simple
    });
    if !simple {
        return Ok(false);
    }
    let body = if this.is_head(py) { &[][..] } else { body };
    transmit(handler, &mut [IoSlice::new(head), IoSlice::new(body)]).map(|()| true)
}

/// Sends the pieces as they are, and counts their bytes as part of the response.
///
/// # Errors
/// Returns `OSError` when the client is gone or takes nothing for too long, or an error that is thrown into the
/// greenlet.
pub fn transmit(handler: &Handler<'_>, pieces: &mut [IoSlice<'_>]) -> PyResult<()> {
    let py = handler.py();
    let this = attributes(handler);
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    let sent = match plain_socket(handler) {
        // A part that is not sent, as those after the head for HEAD, takes its time too.
        _ if total == 0 => Ok(()),
        Some(socket) => send_plain(handler, socket.get(), pieces),
        None => send_by_method(handler, pieces, total),
    };
    if let Err(error) = sent {
        return Err(broke(handler, error));
    }
    let due = this.exchange(py, |exchange| {
        exchange.response_length += total as u64;
        exchange.stint.counts(py, total)
    });
    if due { stint::give_way(py) } else { Ok(()) }
}

/// Notes that nothing more can be sent, and why; returns the reason.
pub fn broke(handler: &Handler<'_>, error: PyErr) -> PyErr {
    let py = handler.py();
    let this = attributes(handler);
    this.state.with(py, |state| {
        (state.broken, state.close_connection) = (true, true);
    });
    if is_timeout(py, &error) {
        let text = "the response was not taken in time (write_timeout)";
        if let Err(unlogged) = log_limit(handler, text) {
            unlogged.write_unraisable(py, None);
        }
    }
    if error.is_instance_of::<PyOSError>(py) {
        let text = format!("socket error: {}", error.value(py));
        let text = PyString::new(py, &text).into_any().unbind();
        // The log names the response that the client had begun to receive.
        let stated = this.stated_status(py).map(Bound::unbind);
        this.exchange(py, |exchange| {
            exchange.code = exchange.code.map(|code| -code.abs())
        });
        if this.get(py, Slot::OrigStatus).is_none() {
            this.put(py, Slot::OrigStatus, stated);
        }
        this.put(py, Slot::Status, Some(text));
    }
    error
}

fn send_plain(
    handler: &Handler<'_>,
    socket: &SocketBase,
    mut pieces: &mut [IoSlice<'_>],
) -> PyResult<()> {
    let py = handler.py();
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    if total <= SMALL && pieces.len() > 1 {
        // Copying a few bytes is cheaper than having the kernel gather the pieces.
        let mut whole = buffer_pool::buffer(py);
        pieces
            .iter()
            .for_each(|piece| whole.extend_from_slice(piece));
        let sent = send_plain(handler, socket, &mut [IoSlice::new(&whole)]);
        buffer_pool::keep_buffer(py, whole);
        return sent;
    }
    let mut done = 0;
    while !pieces.is_empty() {
        let some = &pieces[..pieces.len().min(MOST_PIECES)];
        let rest = some.iter().map(|piece| piece.len()).sum();
        let part = stint::part(py, rest);
        let sent = socket.call(py, Direction::Write, false, |_, fd| match some {
            [whole] => {
                let part = &whole[..whole.len().min(part)];
                rustix::net::send(fd, part, SendFlags::NOSIGNAL)
            }
            some if rest <= part => gather(fd, some),
            some => gather(fd, &first_bytes(some, part)),
        });
        match sent {
            Ok(count) => {
                IoSlice::advance_slices(&mut pieces, count);
                done += count;
                if pieces.is_empty() {
                    break;
                }
                if count >= part {
                    stint::give_way(py)?;
                } else {
                    // The kernel's buffer was full. What the client has taken meanwhile is little: to send that much alone
                    // costs as much as to send a large part later.
                    wait_writable(handler, socket, Direction::Write, done as u64)?;
                }
            }
            Err(Errno::AGAIN) => wait_writable(handler, socket, Direction::Write, done as u64)?,
            Err(Errno::INTR) => py.check_signals()?,
            Err(error) => return Err(errno_error(error.raw_os_error())),
        }
    }
    Ok(())
}

fn gather(fd: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
    let mut control = SendAncillaryBuffer::default();
    rustix::net::sendmsg(fd, pieces, &mut control, SendFlags::NOSIGNAL)
}

/// Returns the first `room` bytes of these.
fn first_bytes<'a>(pieces: &'a [IoSlice<'_>], mut room: usize) -> Vec<IoSlice<'a>> {
    let mut some = Vec::new();
    for piece in pieces {
        let part = &piece[..piece.len().min(room)];
        some.push(IoSlice::new(part));
        room -= part.len();
        if room == 0 {
            break;
        }
    }
    some
}

/// Waits until the client has taken some of the sent bytes. `done` is the number of bytes that the kernel has taken
/// since the response's length was counted last. Taken bytes earn the client more time, see [`Allowance`].
///
/// # Errors
/// Returns `TimeoutError`, and the errors of waiting for a socket.
pub fn wait_writable(
    handler: &Handler<'_>,
    socket: &SocketBase,
    direction: Direction,
    done: u64,
) -> PyResult<()> {
    let py = handler.py();
    let this = attributes(handler);
    let limits = this.state.with(py, |state| {
        let service = state.service.as_ref()?.get();
        Some((service.write_timeout?, service.min_rate))
    });
    this.exchange(py, |exchange| exchange.stint.waits());
    let Some((timeout, rate)) = limits else {
        return wait_counted(py, socket, direction, &mut Deadline::seconds(None));
    };
    let (mut allowance, taken) = this.exchange(py, |exchange| {
        let taken = exchange.response_length + done;
        let (mut allowance, before) = exchange
            .allowance
            .unwrap_or_else(|| (Allowance::new(timeout, rate), taken));
        allowance.earn(taken.saturating_sub(before));
        (allowance, taken)
    });
    let mut deadline = Deadline::seconds(Some(allowance.left().max(LEAST)));
    let begin = Time::now();
    let waited = wait_counted(py, socket, direction, &mut deadline);
    allowance.spend(begin);
    this.exchange(py, |exchange| exchange.allowance = Some((allowance, taken)));
    waited
}

/// Waits for the socket, and counts the connection as one that sends meanwhile.
fn wait_counted(
    py: Python<'_>,
    socket: &SocketBase,
    direction: Direction,
    deadline: &mut Deadline,
) -> PyResult<()> {
    Stage::Sending.enter();
    let waited = socket.wait_ready(py, direction, deadline);
    Stage::Sending.leave();
    waited
}

/// Sends by the methods of an object that has those of a socket.
fn send_by_method(handler: &Handler<'_>, pieces: &[IoSlice<'_>], total: usize) -> PyResult<()> {
    let py = handler.py();
    let socket = handler.getattr(intern!(py, "socket"))?;
    if socket.is_none() {
        return Err(errno_error(libc::EPIPE));
    }
    let mut data = Vec::with_capacity(total);
    for piece in pieces {
        data.extend_from_slice(piece);
    }
    let data = PyBytes::new(py, &data);
    match socket.cast::<SocketBase>() {
        Ok(base) if has_own_sendall(&socket)? => send_in_parts(handler, base, &data),
        _ => send_by_sendall(handler, &socket, &data),
    }
}

/// Returns true if a socket sends as those of this package do, so that `send` may take the place of `sendall`.
fn has_own_sendall(socket: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = socket.py();
    let name = intern!(py, "sendall");
    let its = socket.get_type().getattr(name)?;
    let own = |class: &Registered| Ok::<_, PyErr>(class.get(py)?.getattr(name)?.is(&its));
    // No socket is of the other class in an interpreter without the module ssl.
    Ok(own(&SOCKET)? || own(&TLS_SOCKET).unwrap_or(false))
}

/// The number of bytes that fit into one record of TLS.
const RECORD: usize = 16 * 1024;

/// Sends part after part without waiting in `send`, so that each that is taken counts as progress.
fn send_in_parts(
    handler: &Handler<'_>,
    socket: &Bound<'_, SocketBase>,
    data: &Bound<'_, PyBytes>,
) -> PyResult<()> {
    let py = handler.py();
    let total = data.as_bytes().len();
    let (mut done, mut unyielded) = (0, 0);
    let most = stint::part(py, total);
    while done < total {
        let end = total.min(done + RECORD);
        let part = if (done, end) == (0, total) {
            data.as_any().clone()
        } else {
            let view = PyMemoryView::from(data.as_any())?;
            view.get_item(PySlice::new(py, done as isize, end as isize, 1))?
        };
        let send = || socket.call_method1(intern!(py, "send"), (part,));
        let error = match socket.get().without_waiting(py, send) {
            Ok(sent) => {
                let sent: usize = sent.extract()?;
                (done, unyielded) = (done + sent, unyielded + sent);
                if unyielded >= most && done < total {
                    unyielded = 0;
                    stint::give_way(py)?;
                }
                continue;
            }
            Err(error) => error,
        };
        let direction = if is_ssl_error(py, &error, "SSLWantReadError") {
            Direction::Read
        } else if is_ssl_error(py, &error, "SSLWantWriteError")
            || error.is_instance_of::<PyBlockingIOError>(py)
        {
            Direction::Write
        } else {
            return Err(error);
        };
        wait_writable(handler, socket.get(), direction, done as u64)?;
    }
    Ok(())
}

/// Sends by the `sendall` of an object, or of a class that overrides it: part after part, each of which may take as long as
/// is left.
fn send_by_sendall(
    handler: &Handler<'_>,
    socket: &Bound<'_, PyAny>,
    data: &Bound<'_, PyBytes>,
) -> PyResult<()> {
    let py = handler.py();
    let name = intern!(py, "sendall");
    let limits = attributes(handler).state.with(py, |state| {
        let service = state.service.as_ref()?.get();
        Some((service.write_timeout?, service.min_rate))
    });
    let gettimeout = socket.getattr_opt(intern!(py, "gettimeout"))?;
    let (Some((timeout, rate)), Some(gettimeout)) = (limits, gettimeout) else {
        return socket.call_method1(name, (data,)).map(drop);
    };
    let before = gettimeout.call0()?;
    let mut allowance = Allowance::new(timeout, rate);
    let mut sent = Ok(());
    for part in data.as_bytes().chunks(RECORD) {
        let left = allowance.left().max(LEAST);
        socket.call_method1(intern!(py, "settimeout"), (left,))?;
        let begin = Time::now();
        let whole = part.len() == data.as_bytes().len();
        sent = if whole {
            socket.call_method1(name, (data,)).map(drop)
        } else {
            socket
                .call_method1(name, (PyBytes::new(py, part),))
                .map(drop)
        };
        if sent.is_err() {
            break;
        }
        allowance.spend(begin);
        allowance.earn(part.len() as u64);
    }
    let restored = socket.call_method1(intern!(py, "settimeout"), (before,));
    sent.and(restored.map(drop))
}
