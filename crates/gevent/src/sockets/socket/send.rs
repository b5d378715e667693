//! The operations `send` and `sendall` of a socket.

use std::ffi::CStr;

use pyo3::exceptions::{PyTimeoutError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use reactor::Direction;
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::errors::{BlockingSwitchOutError, errno_error};
use crate::ffi::blocking::{Blocking, FastPath, First, Step};
use crate::ffi::buffer::Readable;
use crate::sockets::socket::SocketBase;
use crate::sockets::socket::io::send_flags;
use crate::sockets::socket::readiness::{Attempt, Begun};
use crate::waiting::deadline::Deadline;
use crate::waiting::wait::{Outcome, WaitRef};

/// The implementation of `socket.send`.
pub struct Send;

impl Blocking for Send {
    type Owner = SocketBase;
    const NAME: &'static CStr = c"send";
    const DOC: &'static CStr = c"send($self, data, flags=0, timeout=...)\n--\n\n\
Send some of `data`; return how many bytes. `timeout` overrides the socket's.";
    const PARAMETERS: &'static [&'static str] = &["data", "flags", "timeout"];

    fn fast_path(slf: &Bound<'_, SocketBase>, arguments: &[Borrowed<'_, '_, PyAny>]) -> FastPath {
        send_once(slf, arguments, |sent, _| {
            match sent.into_pyobject(slf.py()) {
                Ok(sent) => FastPath::Done(sent.into_any().unbind()),
            }
        })
    }

    fn begin(
        slf: &Bound<'_, SocketBase>,
        arguments: &[Option<Bound<'_, PyAny>>],
    ) -> PyResult<First> {
        let deadline = match &arguments[2] {
            None => slf.get().own_deadline(slf.py()),
            Some(given) => Deadline::seconds(SocketBase::timeout_of(given)?),
        };
        let step = Sending::of("send", arguments, false, &deadline)?.go_on(slf, deadline);
        step.map(Into::into)
    }
}

/// The implementation of `socket.sendall`.
pub struct SendAll;

impl Blocking for SendAll {
    type Owner = SocketBase;
    const NAME: &'static CStr = c"sendall";
    const DOC: &'static CStr = c"sendall($self, data, flags=0)\n--\n\n\
Send all of `data`. The timeout holds for the whole; when it raises, some may have been sent.";
    const PARAMETERS: &'static [&'static str] = &["data", "flags"];

    fn fast_path(slf: &Bound<'_, SocketBase>, arguments: &[Borrowed<'_, '_, PyAny>]) -> FastPath {
        send_once(slf, arguments, |sent, all| {
            if sent == all {
                FastPath::Done(slf.py().None())
            } else {
                FastPath::Incomplete(sent)
            }
        })
    }

    fn begin(
        slf: &Bound<'_, SocketBase>,
        arguments: &[Option<Bound<'_, PyAny>>],
    ) -> PyResult<First> {
        Self::begin_after(slf, arguments, 0)
    }

    fn begin_after(
        slf: &Bound<'_, SocketBase>,
        arguments: &[Option<Bound<'_, PyAny>>],
        sent: usize,
    ) -> PyResult<First> {
        let deadline = slf.get().own_deadline(slf.py());
        let mut sending = Sending::of("sendall", arguments, true, &deadline)?;
        if sending.memory.len(slf.py()) == 0 {
            return Ok(Step::Done(slf.py().None()).into());
        }
        sending.sent = sent;
        sending.go_on(slf, deadline).map(Into::into)
    }
}

/// Sends bytes once, on the fast path; `then` gets the number of bytes that were sent, and the number of all bytes.
#[inline]
fn send_once(
    slf: &Bound<'_, SocketBase>,
    arguments: &[Borrowed<'_, '_, PyAny>],
    then: impl FnOnce(usize, usize) -> FastPath,
) -> FastPath {
    let py = slf.py();
    let this = slf.get();
    let [data] = arguments else {
        return FastPath::Incomplete(0);
    };
    let Ok(data) = data.cast_exact::<PyBytes>() else {
        return FastPath::Incomplete(0);
    };
    let data = data.as_bytes();
    if data.is_empty() {
        return FastPath::Incomplete(0);
    }
    let sent = this.attempt(py, Direction::Write, Attempt::First, |state, fd| {
        let sent = rustix::net::send(fd, data, SendFlags::empty())?;
        state.notify_peer(py, sent);
        Ok(sent)
    });
    match sent {
        Ok(sent) => then(sent, data.len()),
        Err(error) => error.into_fast_path(0),
    }
}

/// A `send` or `sendall` under way.
struct Sending {
    memory: Readable,
    flags: SendFlags,
    sent: usize,
    /// True for `sendall`, which goes on until nothing is left.
    all: bool,
    /// True if it makes its system call even when the socket is known not to be ready.
    force: bool,
}

impl Sending {
    fn of(
        name: &str,
        arguments: &[Option<Bound<'_, PyAny>>],
        all: bool,
        deadline: &Deadline,
    ) -> PyResult<Self> {
        let Some(data) = &arguments[0] else {
            return Err(PyTypeError::new_err(format!(
                "{name}() missing 1 required positional argument: 'data'"
            )));
        };
        let flags = arguments[1]
            .as_ref()
            .map_or(Ok(0), |flags| flags.extract())?;
        Ok(Self {
            memory: Readable::of(data)?,
            flags: send_flags(flags),
            sent: 0,
            all,
            force: deadline.is_immediate(),
        })
    }

    /// Tries to send; if that would block, parks and tries again afterwards.
    fn go_on(mut self, slf: &Bound<'_, SocketBase>, mut deadline: Deadline) -> PyResult<Step> {
        let py = slf.py();
        let this = slf.get();
        loop {
            match self.attempt(py, this) {
                Ok(count) => {
                    self.sent += count;
                    if !self.all {
                        return Ok(Step::Done(self.sent.into_pyobject(py)?.into_any().unbind()));
                    }
                    if self.sent >= self.memory.len(py) {
                        return Ok(Step::Done(py.None()));
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => py.check_signals()?,
                Err(error) => return Err(errno_error(error.raw_os_error())),
            }
        }
        if self.sent > 0 && deadline.is_immediate() {
            // Some bytes were sent, so the error must not be the one of a call that did nothing.
            return Err(PyTimeoutError::new_err("timed out"));
        }
        let Begun { wait, slot } = this.begin_wait(py, Direction::Write, &mut deadline)?;
        let socket = slf.clone().unbind();
        let then = move |py: Python<'_>, wait: &WaitRef, woken: Outcome| {
            // Dropping a bound reference does not read pyo3's count of attachments, which is thread-local.
            let socket = &socket.into_bound(py);
            match socket
                .get()
                .end_wait(py, Direction::Write, slot, wait, woken)
            {
                Ok(()) => self.go_on(socket, deadline),
                // The hub must not wait, so it makes the system call even if that is expected to block.
                Err(error) if !self.force && error.is_instance_of::<BlockingSwitchOutError>(py) => {
                    self.force = true;
                    self.go_on(socket, deadline)
                }
                Err(error) => Err(error),
            }
        };
        wait.set_then(py, Box::new(then));
        Ok(Step::Park(wait))
    }

    #[inline]
    fn attempt(&self, py: Python<'_>, socket: &SocketBase) -> rustix::io::Result<usize> {
        socket.call(py, Direction::Write, self.force, |state, fd| {
            let sent = self.memory.send(py, self.sent, fd, self.flags)?;
            if !self.flags.is_empty() {
                state.expose();
            }
            state.notify_peer(py, sent);
            Ok(sent)
        })
    }
}
