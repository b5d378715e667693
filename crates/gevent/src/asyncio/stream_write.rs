//! Sending by a stream's transport: at once what the kernel takes, and the rest as it takes it.

use std::io::IoSlice;

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use reactor::Direction;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};

use crate::asyncio::stream::{State, StreamTransport, check_data};
use crate::errors::errno_error;
use crate::ffi::buffer::Frozen;
use crate::ffi::descriptor;

/// From this many writes to a lost connection on asyncio logs them.
const LOGGED: u32 = 5;

/// The next step of a write.
enum Next {
    /// It is done.
    Done,
    /// The rest, from here, is to be buffered; the kernel would block if true.
    Buffer(usize, bool),
    /// The connection is lost, and this is not the first write to it.
    Lost(u32),
    /// It must not be written to any more.
    Refused(&'static str),
    /// It failed.
    Failed(Errno),
}

fn send(state: &mut State, bytes: &[u8]) -> Next {
    if state.is_ended {
        return Next::Refused("Cannot call write() after write_eof()");
    }
    if state.empty_waiter.is_some() {
        return Next::Refused("unable to write; sendfile is in progress");
    }
    if bytes.is_empty() {
        return Next::Done;
    }
    if state.lost > 0 {
        state.lost += 1;
        return Next::Lost(state.lost - 1);
    }
    if !state.out.is_empty() {
        return Next::Buffer(0, false);
    }
    let sent = descriptor::borrowed(state.fd, |fd| {
        rustix::net::send(fd, bytes, SendFlags::NOSIGNAL)
    });
    match sent.unwrap_or(Err(Errno::BADF)) {
        Ok(sent) if sent == bytes.len() => Next::Done,
        Ok(sent) => Next::Buffer(sent, false),
        Err(Errno::AGAIN) => Next::Buffer(0, true),
        Err(Errno::INTR) => Next::Buffer(0, false),
        Err(error) => Next::Failed(error),
    }
}

/// `write`.
///
/// # Errors
/// `TypeError` for what is not bytes or the like, `RuntimeError` after `write_eof`.
pub fn write(slf: &Bound<'_, StreamTransport>, data: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = slf.py();
    let this = slf.get();
    if let Ok(bytes) = data.cast_exact::<PyBytes>() {
        let content = bytes.as_bytes();
        return match this.state.with(py, |state| send(state, content)) {
            Next::Done => Ok(()),
            Next::Buffer(sent, blocked) => {
                let bytes = bytes.clone().unbind();
                this.state
                    .with(py, |state| state.out.push_bytes(py, &bytes, sent));
                buffered(slf, blocked)
            }
            other => failed(slf, other),
        };
    }
    check_data(data)?;
    let memory = Frozen::of(data)?;
    let content = memory.bytes(py);
    let next = this.state.with(py, |state| {
        let next = send(state, content);
        if let Next::Buffer(sent, _) = next {
            state.out.push_copy(&content[sent..]);
        }
        next
    });
    match next {
        Next::Done => Ok(()),
        Next::Buffer(_, blocked) => buffered(slf, blocked),
        other => failed(slf, other),
    }
}

/// `writelines`.
///
/// # Errors
/// As [`write`].
pub fn writelines(slf: &Bound<'_, StreamTransport>, list: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = slf.py();
    let this = slf.get();
    let mut pieces = Vec::new();
    for piece in list.try_iter()? {
        let piece = piece?;
        check_data(&piece)?;
        pieces.push(Frozen::of(&piece)?);
    }
    let slices: Vec<_> = pieces.iter().map(|piece| piece.bytes(py)).collect();
    let (next, first) = this.state.with(py, |state| {
        let first = state.out.is_empty();
        (send_all(state, &slices), first)
    });
    match next {
        Next::Done => Ok(()),
        Next::Buffer(_, blocked) if first => buffered(slf, blocked),
        Next::Buffer(..) => check_limits(slf),
        other => failed(slf, other),
    }
}

/// Sends the pieces with one system call, and buffers the rest.
fn send_all(state: &mut State, slices: &[&[u8]]) -> Next {
    let total: usize = slices.iter().map(|slice| slice.len()).sum();
    let next = match slices {
        // One piece, or none at all, for which the state decides.
        [] | [_] => send(state, slices.first().copied().unwrap_or_default()),
        _ if state.is_ended || state.empty_waiter.is_some() || state.lost > 0 || total == 0 => {
            send(state, if total == 0 { &[] } else { &[0] })
        }
        _ if !state.out.is_empty() => Next::Buffer(0, false),
        _ => {
            let pieces: Vec<_> = slices
                .iter()
                .take(1024)
                .map(|slice| IoSlice::new(slice))
                .collect();
            match send_slices(state, &pieces) {
                Ok(sent) if sent == total => Next::Done,
                Ok(sent) => Next::Buffer(sent, false),
                Err(Errno::AGAIN) => Next::Buffer(0, true),
                Err(Errno::INTR) => Next::Buffer(0, false),
                Err(error) => Next::Failed(error),
            }
        }
    };
    if let Next::Buffer(mut sent, _) = next {
        for slice in slices {
            let done = sent.min(slice.len());
            sent -= done;
            state.out.push_copy(&slice[done..]);
        }
    }
    next
}

fn send_slices(state: &State, slices: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
    let flags = SendFlags::NOSIGNAL;
    let sent = descriptor::borrowed(state.fd, |fd| {
        rustix::net::sendmsg(fd, slices, &mut SendAncillaryBuffer::default(), flags)
    });
    sent.unwrap_or(Err(Errno::BADF))
}

/// Sees to what was buffered: that it is sent later, and that the protocol writes no more than it should.
fn buffered(slf: &Bound<'_, StreamTransport>, blocked: bool) -> PyResult<()> {
    let py = slf.py();
    let registration = StreamTransport::register(slf)?;
    if blocked {
        registration.blocked(py, Direction::Write);
    }
    registration.expect(py, Direction::Write);
    check_limits(slf)
}

fn check_limits(slf: &Bound<'_, StreamTransport>) -> PyResult<()> {
    let py = slf.py();
    let pauses = slf.get().state.with(py, |state| {
        let pauses = state.out.len() > state.high && !state.protocol_paused;
        state.protocol_paused |= pauses;
        pauses
    });
    if pauses {
        slf.call_method0(intern!(py, "_pause_protocol"))?;
    }
    Ok(())
}

#[cold]
fn failed(slf: &Bound<'_, StreamTransport>, next: Next) -> PyResult<()> {
    let py = slf.py();
    match next {
        Next::Refused(reason) => Err(PyRuntimeError::new_err(reason)),
        Next::Lost(times) if times >= LOGGED => {
            slf.call_method0(intern!(py, "_warn_of_lost_writes"))?;
            Ok(())
        }
        Next::Failed(error) => {
            let error = errno_error(error.raw_os_error());
            StreamTransport::fail(slf, error, "Fatal write error on socket transport")
        }
        _ => Ok(()),
    }
}

/// Sends what is buffered, as the kernel takes it again.
///
/// # Errors
/// `KeyboardInterrupt` and `SystemExit` of the protocol.
pub fn write_ready(slf: &Bound<'_, StreamTransport>) -> PyResult<()> {
    let py = slf.py();
    let this = slf.get();
    let tried = this.state.with(py, |state| {
        if state.lost > 0 || state.out.is_empty() {
            return None;
        }
        let sent = state
            .out
            .with_slices(py, |slices| send_slices(state, slices));
        Some(sent.map(|sent| state.out.advance(py, sent)))
    });
    match tried {
        None => return Ok(()),
        Some(Ok(done)) => drop(done),
        Some(Err(Errno::INTR)) => py.check_signals()?,
        Some(Err(Errno::AGAIN)) => {
            if let Some(registration) = this.registration(py) {
                registration.blocked(py, Direction::Write);
            }
        }
        Some(Err(error)) => {
            let error = errno_error(error.raw_os_error()).into_value(py);
            let (out, waiter) = this.state.with(py, |state| {
                let waiter = state.empty_waiter.as_ref();
                let waiter = waiter.map(|waiter| waiter.clone_ref(py));
                (std::mem::take(&mut state.out), waiter)
            });
            drop(out);
            let message = "Fatal write error on socket transport";
            StreamTransport::fail(
                slf,
                PyErr::from_value(error.bind(py).clone().into_any()),
                message,
            )?;
            if let Some(waiter) = waiter {
                waiter.call_method1(py, intern!(py, "set_exception"), (error,))?;
            }
            return Ok(());
        }
    }
    let resumes = this.state.with(py, |state| {
        state.protocol_paused && state.out.len() <= state.low
    });
    if resumes {
        slf.call_method0(intern!(py, "_resume_protocol"))?;
    }
    sent(slf)
}

/// Does what was put off until everything is sent, or waits to send more.
fn sent(slf: &Bound<'_, StreamTransport>) -> PyResult<()> {
    let py = slf.py();
    let this = slf.get();
    let (left, waiter, is_closing, is_ended) = this.state.with(py, |state| {
        let waiter = state.empty_waiter.as_ref();
        (
            state.out.len(),
            waiter.map(|waiter| waiter.clone_ref(py)),
            state.is_closing,
            state.is_ended,
        )
    });
    if left > 0 {
        if let Some(registration) = this.registration(py) {
            registration.expect(py, Direction::Write);
        }
        return Ok(());
    }
    if let Some(waiter) = waiter {
        waiter.call_method1(py, intern!(py, "set_result"), (py.None(),))?;
    }
    if is_closing {
        let first = this.state.with(py, |state| {
            state.lost += 1;
            state.lost == 1
        });
        if first {
            slf.call_method1(intern!(py, "_call_connection_lost"), (py.None(),))?;
        }
    } else if is_ended {
        shut_down(slf)?;
    }
    Ok(())
}

/// `write_eof`.
///
/// # Errors
/// `OSError` when the socket cannot be shut down.
pub fn write_eof(slf: &Bound<'_, StreamTransport>) -> PyResult<()> {
    let ends = slf.get().state.with(slf.py(), |state| {
        let begins = !state.is_closing && !std::mem::replace(&mut state.is_ended, true);
        begins && state.out.is_empty()
    });
    if ends { shut_down(slf) } else { Ok(()) }
}

fn shut_down(slf: &Bound<'_, StreamTransport>) -> PyResult<()> {
    let fd = slf.get().state.with(slf.py(), |state| state.fd);
    let done = descriptor::borrowed(fd, |fd| {
        rustix::net::shutdown(fd, rustix::net::Shutdown::Write)
    });
    match done.unwrap_or(Err(Errno::BADF)) {
        Ok(()) => Ok(()),
        Err(error) => Err(errno_error(error.raw_os_error())),
    }
}
