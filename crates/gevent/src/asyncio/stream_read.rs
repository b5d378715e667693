//! Receives for a stream's transport, on the stack or into the protocol's memory, and calls the protocol.

use std::os::fd::BorrowedFd;

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use reactor::Direction;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::asyncio::stream::StreamTransport;
use crate::errors::errno_error;
use crate::ffi::buffer::{Room, Scratch, Writable, filled};
use crate::ffi::descriptor;

/// The size of the buffer on the stack that is tried first, so that a small message costs a small object.
const SCRATCH: usize = 8192;
/// The most that one system call receives when much data arrives, as in asyncio.
const MOST: usize = 256 * 1024;

/// The outcome of a read.
enum Read<'py> {
    /// It received these bytes.
    Bytes(PyResult<Bound<'py, PyBytes>>),
    /// It received this many bytes into the protocol's memory.
    Into(usize),
    /// No data is there.
    Blocked,
    /// A signal interrupted it, and it is to be tried again.
    Interrupted,
    /// It failed.
    Failed(Errno),
}

impl<'py> Read<'py> {
    fn of_error(error: Errno) -> Self {
        match error {
            Errno::AGAIN => Self::Blocked,
            Errno::INTR => Self::Interrupted,
            error => Self::Failed(error),
        }
    }
}

/// Receives from a stream socket; returns the number of bytes, and true if those were all that was there.
fn receive(
    fd: BorrowedFd<'_>,
    is_unix: bool,
    room: &mut Room<'_>,
) -> rustix::io::Result<(usize, bool)> {
    let size = room.left();
    if is_unix {
        // A read of a Unix socket ends at a message that passes descriptors, though more data may follow.
        let (got, dropped) = room.recv_noticing(fd)?;
        return Ok((got, !dropped && got < size));
    }
    let got = room.recv(fd, RecvFlags::empty())?;
    Ok((got, got < size))
}

fn try_read<'py>(slf: &Bound<'py, StreamTransport>) -> Read<'py> {
    if slf.get().flow.with(slf.py(), |flow| flow.plenty) {
        read_much(slf)
    } else {
        read_little(slf)
    }
}

#[inline(never)]
fn read_little<'py>(slf: &Bound<'py, StreamTransport>) -> Read<'py> {
    let mut scratch = Scratch::<SCRATCH>::new();
    match scratch.fill(SCRATCH, |room| read_into(slf, room)) {
        Ok((_, got)) => Read::Bytes(Ok(PyBytes::new(slf.py(), got))),
        Err(error) => Read::of_error(error),
    }
}

#[inline(never)]
fn read_much<'py>(slf: &Bound<'py, StreamTransport>) -> Read<'py> {
    match filled(slf.py(), MOST, |room| read_into(slf, room).map(drop)) {
        Ok(bytes) => Read::Bytes(bytes),
        Err(error) => Read::of_error(error),
    }
}

fn read_into(slf: &Bound<'_, StreamTransport>, room: &mut Room<'_>) -> rustix::io::Result<usize> {
    let py = slf.py();
    let this = slf.get();
    let base = slf.as_super().get();
    let tried = descriptor::borrowed(base.fd, |fd| receive(fd, this.is_unix, room));
    let (got, all) = tried.unwrap_or(Err(Errno::BADF))?;
    this.flow.with(py, |flow| flow.plenty = got >= SCRATCH);
    if all
        && got > 0
        && let Some(registration) = base.registration(py)
    {
        registration.drained(py);
    }
    Ok(got)
}

/// Receives once, and calls the protocol.
///
/// # Errors
/// `KeyboardInterrupt` and `SystemExit` of the protocol.
pub fn read_ready(slf: &Bound<'_, StreamTransport>) -> PyResult<()> {
    let py = slf.py();
    let base = slf.as_super().get();
    let Some(protocol) = base.reader(py) else {
        return Ok(());
    };
    let protocol = protocol.bind(py);
    let read = if slf.get().flow.with(py, |flow| flow.is_buffered) {
        match read_buffered(slf, protocol) {
            Ok(read) => read,
            Err(error) => {
                let message = "Fatal error: protocol.get_buffer() call failed.";
                return StreamTransport::fail(slf, error, message);
            }
        }
    } else {
        try_read(slf)
    };
    let called = match read {
        Read::Bytes(Ok(bytes)) if bytes.as_bytes().is_empty() => return end_of_file(slf, protocol),
        Read::Into(0) => return end_of_file(slf, protocol),
        Read::Bytes(Ok(bytes)) => protocol
            .call_method1(intern!(py, "data_received"), (bytes,))
            .map_err(|error| (error, "Fatal error: protocol.data_received() call failed.")),
        Read::Into(count) => protocol
            .call_method1(intern!(py, "buffer_updated"), (count,))
            .map_err(|error| (error, "Fatal error: protocol.buffer_updated() call failed.")),
        Read::Blocked => {
            if let Some(registration) = base.registration(py) {
                registration.blocked(py, Direction::Read);
            }
            Ok(py.None().into_bound(py))
        }
        Read::Interrupted => py
            .check_signals()
            .map(|()| py.None().into_bound(py))
            .map_err(|error| (error, "Fatal read error on socket transport")),
        Read::Bytes(Err(error)) => Err((error, "Fatal read error on socket transport")),
        Read::Failed(error) => {
            let error = errno_error(error.raw_os_error());
            Err((error, "Fatal read error on socket transport"))
        }
    };
    let failed = match called {
        Ok(_) => Ok(()),
        Err((error, message)) => StreamTransport::fail(slf, error, message),
    };
    base.expect_more(py);
    failed
}

/// Receives into the protocol's own memory.
///
/// # Errors
/// Errors of `get_buffer`, and `RuntimeError` when it returns an empty buffer.
fn read_buffered<'py>(
    slf: &Bound<'py, StreamTransport>,
    protocol: &Bound<'py, PyAny>,
) -> PyResult<Read<'py>> {
    let py = slf.py();
    let buffer = protocol.call_method1(intern!(py, "get_buffer"), (-1,))?;
    let mut memory = Writable::of(&buffer, "recv_into")?;
    let size = memory.len();
    if size == 0 {
        return Err(PyRuntimeError::new_err(
            "get_buffer() returned an empty buffer",
        ));
    }
    Ok(match read_into(slf, &mut memory.room(size)) {
        Ok(got) => Read::Into(got),
        Err(error) => Read::of_error(error),
    })
}

fn end_of_file(slf: &Bound<'_, StreamTransport>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = slf.py();
    let keeps_open = protocol
        .call_method0(intern!(py, "eof_received"))
        .and_then(|answer| answer.is_truthy());
    match keeps_open {
        Ok(true) => {
            // The transport may still write, and without this the end of the file would be reported for ever.
            slf.as_super().get().end_reading(py);
            Ok(())
        }
        Ok(false) => slf.call_method0(intern!(py, "close")).map(drop),
        Err(error) => {
            let message = "Fatal error: protocol.eof_received() call failed.";
            StreamTransport::fail(slf, error, message)
        }
    }
}
