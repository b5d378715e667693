//! Sends for a stream's transport: as much as the kernel takes without waiting now, and the rest when the socket is
//! writable.

use std::io::IoSlice;
use std::os::fd::RawFd;

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use reactor::Direction;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};

use crate::asyncio::stream::{Flow, StreamTransport, check_data};
use crate::asyncio::transport::BaseTransport;
use crate::errors::errno_error;
use crate::ffi::buffer::Frozen;
use crate::ffi::descriptor;

/// The number of writes to a lost connection from which on asyncio logs them.
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

fn send(py: Python<'_>, base: &BaseTransport, flow: &Flow, bytes: &[u8]) -> Next {
    if flow.is_ended {
        return Next::Refused("Cannot call write() after write_eof()");
    }
    if flow.empty_waiter.is_some() {
        return Next::Refused("unable to write; sendfile is in progress");
    }
    if bytes.is_empty() {
        return Next::Done;
    }
    let lost = base.endpoint.with_entered(py, |endpoint| {
        endpoint.lost += u32::from(endpoint.lost > 0);
        endpoint.lost
    });
    if lost > 0 {
        return Next::Lost(lost - 1);
    }
    if !flow.out.is_empty() {
        return Next::Buffer(0, false);
    }
    let sent = descriptor::borrowed(base.fd, |fd| {
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

/// Does what `write` of the transport does.
///
/// # Errors
/// `TypeError` for data that is not bytes or the like, `RuntimeError` after `write_eof`.
pub fn write(slf: &Bound<'_, StreamTransport>, data: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = slf.py();
    let this = slf.get();
    let base = slf.as_super().get();
    if let Ok(bytes) = data.cast_exact::<PyBytes>() {
        let content = bytes.as_bytes();
        return match this.flow.with(py, |flow| send(py, base, flow, content)) {
            Next::Done => Ok(()),
            Next::Buffer(sent, blocked) => {
                let bytes = bytes.clone().unbind();
                this.flow
                    .with(py, |flow| flow.out.push_bytes(py, &bytes, sent));
                buffered(slf, blocked)
            }
            other => failed(slf, other),
        };
    }
    check_data(data)?;
    let memory = Frozen::of(data)?;
    let content = memory.bytes(py);
    let next = this.flow.with(py, |flow| {
        let next = send(py, base, flow, content);
        if let Next::Buffer(sent, _) = next {
            flow.out.push_copy(&content[sent..]);
        }
        next
    });
    match next {
        Next::Done => Ok(()),
        Next::Buffer(_, blocked) => buffered(slf, blocked),
        other => failed(slf, other),
    }
}

/// Does what `writelines` of the transport does.
///
/// # Errors
/// Returns the errors of [`write()`].
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
    let (next, first) = this.flow.with(py, |flow| {
        let first = flow.out.is_empty();
        (send_all(py, slf.as_super().get(), flow, &slices), first)
    });
    match next {
        Next::Done => Ok(()),
        Next::Buffer(_, blocked) if first => buffered(slf, blocked),
        Next::Buffer(..) => check_limits(slf),
        other => failed(slf, other),
    }
}

/// Sends the pieces with one system call, and buffers the rest.
fn send_all(py: Python<'_>, base: &BaseTransport, flow: &mut Flow, slices: &[&[u8]]) -> Next {
    let total: usize = slices.iter().map(|slice| slice.len()).sum();
    let next = match slices {
        // With one piece, or none at all, the state decides.
        [] | [_] => send(py, base, flow, slices.first().copied().unwrap_or_default()),
        _ if flow.is_ended || flow.empty_waiter.is_some() || base.is_lost(py) || total == 0 => {
            send(py, base, flow, if total == 0 { &[] } else { &[0] })
        }
        _ if !flow.out.is_empty() => Next::Buffer(0, false),
        _ => {
            let pieces: Vec<_> = slices
                .iter()
                .take(1024)
                .map(|slice| IoSlice::new(slice))
                .collect();
            match send_slices(base.fd, &pieces) {
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
            flow.out.push_copy(&slice[done..]);
        }
    }
    next
}

fn send_slices(fd: RawFd, slices: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
    let flags = SendFlags::NOSIGNAL;
    let sent = descriptor::borrowed(fd, |fd| {
        rustix::net::sendmsg(fd, slices, &mut SendAncillaryBuffer::default(), flags)
    });
    sent.unwrap_or(Err(Errno::BADF))
}

/// Has the buffered bytes sent later, and pauses the protocol if it has written more than the limit.
fn buffered(slf: &Bound<'_, StreamTransport>, blocked: bool) -> PyResult<()> {
    let py = slf.py();
    let registration = BaseTransport::register(slf.as_super())?;
    if blocked {
        registration.blocked(py, Direction::Write);
    }
    registration.expect(py, Direction::Write);
    check_limits(slf)
}

fn check_limits(slf: &Bound<'_, StreamTransport>) -> PyResult<()> {
    let py = slf.py();
    let pauses = slf.get().flow.with(py, |flow| {
        let pauses = flow.out.len() > flow.high && !flow.protocol_paused;
        flow.protocol_paused |= pauses;
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

/// Sends the buffered bytes, as the kernel takes data again.
///
/// # Errors
/// `KeyboardInterrupt` and `SystemExit` of the protocol.
pub fn write_ready(slf: &Bound<'_, StreamTransport>) -> PyResult<()> {
    let py = slf.py();
    let this = slf.get();
    let base = slf.as_super().get();
    if base.is_lost(py) {
        return Ok(());
    }
    let tried = this.flow.with(py, |flow| {
        if flow.out.is_empty() {
            return None;
        }
        let sent = flow
            .out
            .with_slices(py, |slices| send_slices(base.fd, slices));
        Some(sent.map(|sent| flow.out.advance(py, sent)))
    });
    match tried {
        None => return Ok(()),
        Some(Ok(done)) => drop(done),
        Some(Err(Errno::INTR)) => {
            sent(slf)?;
            return py.check_signals();
        }
        Some(Err(Errno::AGAIN)) => {
            if let Some(registration) = base.registration(py) {
                registration.blocked(py, Direction::Write);
            }
        }
        Some(Err(error)) => {
            let error = errno_error(error.raw_os_error()).into_value(py);
            let (out, waiter) = this.flow.with(py, |flow| {
                let waiter = flow.empty_waiter.as_ref();
                let waiter = waiter.map(|waiter| waiter.clone_ref(py));
                (std::mem::take(&mut flow.out), waiter)
            });
            drop(out);
            let message = "Fatal write error on socket transport";
            StreamTransport::fail(
                slf,
                PyErr::from_value(error.bind(py).clone().into_any()),
                message,
            )?;
            if let Some(waiter) = undone(py, waiter)? {
                waiter.call_method1(py, intern!(py, "set_exception"), (error,))?;
            }
            return Ok(());
        }
    }
    let resumes = this.flow.with(py, |flow| {
        flow.protocol_paused && flow.out.len() <= flow.low
    });
    let resumed = match resumes {
        true => slf.call_method0(intern!(py, "_resume_protocol")).map(drop),
        false => Ok(()),
    };
    // Even if the protocol raised an error, the rest is to be sent, as the source notifies only once that it is
    // writable.
    resumed.and(sent(slf))
}

/// Returns the future, unless it is done: the task that waited for the buffer to become empty may have been cancelled.
fn undone(py: Python<'_>, waiter: Option<Py<PyAny>>) -> PyResult<Option<Py<PyAny>>> {
    match waiter {
        Some(waiter)
            if !waiter
                .call_method0(py, intern!(py, "done"))?
                .is_truthy(py)? =>
        {
            Ok(Some(waiter))
        }
        _ => Ok(None),
    }
}

/// Does the work that was put off until everything is sent, or waits to send more.
fn sent(slf: &Bound<'_, StreamTransport>) -> PyResult<()> {
    let py = slf.py();
    let base = slf.as_super().get();
    let (left, waiter, is_ended) = slf.get().flow.with(py, |flow| {
        let waiter = flow.empty_waiter.as_ref();
        let waiter = waiter.map(|waiter| waiter.clone_ref(py));
        (flow.out.len(), waiter, flow.is_ended)
    });
    if left > 0 {
        if let Some(registration) = base.registration(py) {
            registration.expect(py, Direction::Write);
        }
        return Ok(());
    }
    if let Some(waiter) = undone(py, waiter)? {
        waiter.call_method1(py, intern!(py, "set_result"), (py.None(),))?;
    }
    let (is_closing, is_first) = base.endpoint.with(py, |endpoint| {
        endpoint.lost += u32::from(endpoint.is_closing);
        (endpoint.is_closing, endpoint.lost == 1)
    });
    if is_closing {
        if is_first {
            slf.call_method1(intern!(py, "_call_connection_lost"), (py.None(),))?;
        }
    } else if is_ended {
        shut_down(slf)?;
    }
    Ok(())
}

/// Does what `write_eof` of the transport does.
///
/// # Errors
/// `OSError` when the socket cannot be shut down.
pub fn write_eof(slf: &Bound<'_, StreamTransport>) -> PyResult<()> {
    let py = slf.py();
    let is_closing = slf
        .as_super()
        .get()
        .endpoint
        .with(py, |endpoint| endpoint.is_closing);
    let ends = slf.get().flow.with(py, |flow| {
        let begins = !is_closing && !std::mem::replace(&mut flow.is_ended, true);
        begins && flow.out.is_empty()
    });
    if ends { shut_down(slf) } else { Ok(()) }
}

fn shut_down(slf: &Bound<'_, StreamTransport>) -> PyResult<()> {
    let done = descriptor::borrowed(slf.as_super().get().fd, |fd| {
        rustix::net::shutdown(fd, rustix::net::Shutdown::Write)
    });
    match done.unwrap_or(Err(Errno::BADF)) {
        Ok(()) => Ok(()),
        Err(error) => Err(errno_error(error.raw_os_error())),
    }
}
