//! A socket's operations: receiving, sending to an address, accepting. Each makes its system call first, and waits only when
//! that would block.

use std::ffi::CStr;
use std::os::fd::{OwnedFd, RawFd};

use pyo3::exceptions::{PyBlockingIOError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyTuple};
use reactor::Direction;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, SocketFlags};

use crate::errors::{BlockingSwitchOutError, errno_error};
use crate::ffi::blocking::{Blocking, FastPath, First, Step};
use crate::ffi::buffer::{Frozen, Scratch, Writable, filled};
use crate::ffi::descriptor;
use crate::sockets::addr;
use crate::sockets::socket::SocketBase;
use crate::sockets::socket::readiness::{Attempt, AttemptError, Begun};
use crate::waiting::deadline::Deadline;
use crate::waiting::wait::{Outcome, WaitRef};

/// The size of the memory on the stack that is received into first, so that a small message makes a small object however large
/// the program's `bufsize` is.
const SCRATCH: usize = 8192;

fn receive_flags(flags: i32) -> RecvFlags {
    RecvFlags::from_bits_retain(flags as u32)
}

pub(crate) fn send_flags(flags: i32) -> SendFlags {
    SendFlags::from_bits_retain(flags as u32)
}

fn size_of(size: isize, name: &str) -> PyResult<usize> {
    usize::try_from(size)
        .map_err(|_| PyValueError::new_err(format!("negative buffersize in {name}")))
}

/// Returns the number of bytes that a call with `nbytes` may fill of a buffer of `room` bytes.
fn share_of(room: usize, nbytes: isize, name: &str) -> PyResult<usize> {
    match size_of(nbytes, name)? {
        0 => Ok(room),
        wanted if wanted > room => Err(PyValueError::new_err(
            "buffer too small for requested bytes",
        )),
        wanted => Ok(wanted),
    }
}

/// The implementation of `socket.recv`.
pub struct Receive;

impl Blocking for Receive {
    type Owner = SocketBase;
    const NAME: &'static CStr = c"recv";
    const DOC: &'static CStr = c"recv($self, bufsize, flags=0, /)\n--\n\n\
Receive up to `bufsize` bytes; none at all means that the other side sends no more.";
    const PARAMETERS: &'static [&'static str] = &["bufsize", "flags"];
    const NAMED: bool = false;

    fn fast_path(slf: &Bound<'_, SocketBase>, arguments: &[Borrowed<'_, '_, PyAny>]) -> FastPath {
        let py = slf.py();
        let this = slf.get();
        let [size] = arguments else {
            return FastPath::Incomplete(0);
        };
        let size = match size
            .cast_exact::<PyInt>()
            .map(|size| size.extract::<isize>())
        {
            Ok(Ok(size)) => size,
            Ok(Err(error)) => return FastPath::Failed(error),
            Err(_) => return FastPath::Incomplete(0),
        };
        let Ok(size @ 1..) = usize::try_from(size) else {
            return FastPath::Incomplete(0);
        };
        match this.try_receive(py, size, RecvFlags::empty(), Attempt::First) {
            Ok(Ok(bytes)) => FastPath::Done(bytes.into_any().unbind()),
            Ok(Err(error)) => FastPath::Failed(error),
            // There is nothing to receive yet: the slow path gets the size, and waits without a second attempt.
            Err(AttemptError::WouldBlock) => FastPath::Incomplete(size),
            Err(error) => error.into_fast_path(0),
        }
    }

    /// `size` is that of a receive without flags that met `EAGAIN` on the fast path, or 0.
    fn begin_after(
        slf: &Bound<'_, SocketBase>,
        arguments: &[Option<Bound<'_, PyAny>>],
        size: usize,
    ) -> PyResult<First> {
        if size == 0 {
            return Self::begin(slf, arguments);
        }
        let request = Request {
            size,
            flags: RecvFlags::empty(),
            attempt: Attempt::Likely,
        };
        let deadline = slf.get().own_deadline(slf.py());
        SocketBase::wait_to_receive(slf, request, deadline).map(Into::into)
    }

    fn begin(
        slf: &Bound<'_, SocketBase>,
        arguments: &[Option<Bound<'_, PyAny>>],
    ) -> PyResult<First> {
        let py = slf.py();
        let Some(size) = &arguments[0] else {
            return Err(PyTypeError::new_err(
                "recv expected at least 1 argument, got 0",
            ));
        };
        let size = size_of(size.extract()?, "recv")?;
        let flags = arguments[1]
            .as_ref()
            .map_or(Ok(0), |flags| flags.extract())?;
        if size == 0 {
            // The kernel would let a call for no bytes wait for data, so none is made.
            slf.get().open(py)?;
            return Ok(Step::Done(PyBytes::new(py, &[]).into_any().unbind()).into());
        }
        let deadline = slf.get().own_deadline(py);
        let request = Request {
            size,
            flags: receive_flags(flags),
            attempt: match deadline.is_immediate() {
                true => Attempt::Forced,
                false => Attempt::Likely,
            },
        };
        SocketBase::receive(slf, request, deadline).map(Into::into)
    }
}

/// The arguments of a `recv`.
#[derive(Clone, Copy)]
struct Request {
    size: usize,
    flags: RecvFlags,
    attempt: Attempt,
}

impl SocketBase {
    /// Tries to receive; if that would block, parks and tries again afterwards.
    fn receive(slf: &Bound<'_, Self>, request: Request, deadline: Deadline) -> PyResult<Step> {
        let py = slf.py();
        let this = slf.get();
        loop {
            match this.try_receive(py, request.size, request.flags, request.attempt) {
                Ok(bytes) => return Ok(Step::Done(bytes?.into_any().unbind())),
                Err(AttemptError::WouldBlock | AttemptError::NotTried) => break,
                Err(AttemptError::Failed(Errno::INTR)) => py.check_signals()?,
                Err(AttemptError::Failed(error)) => return Err(errno_error(error.raw_os_error())),
            }
        }
        Self::wait_to_receive(slf, request, deadline)
    }

    /// Parks until another attempt is worth making, and then receives.
    fn wait_to_receive(
        slf: &Bound<'_, Self>,
        request: Request,
        mut deadline: Deadline,
    ) -> PyResult<Step> {
        let py = slf.py();
        let this = slf.get();
        let Begun { wait, slot } = this.begin_wait(py, Direction::Read, &mut deadline)?;
        let socket = slf.clone().unbind();
        let then = move |py: Python<'_>, wait: &WaitRef, woken: Outcome| {
            // Dropping a bound reference does not read pyo3's count of attachments, which is thread-local.
            let socket = &socket.into_bound(py);
            match socket
                .get()
                .end_wait(py, Direction::Read, slot, wait, woken)
            {
                Ok(()) => Self::receive(socket, request, deadline),
                // The hub must not wait, so it makes the system call even if that is expected to block.
                Err(error)
                    if request.attempt != Attempt::Forced
                        && error.is_instance_of::<BlockingSwitchOutError>(py) =>
                {
                    Self::receive(
                        socket,
                        Request {
                            attempt: Attempt::Forced,
                            ..request
                        },
                        deadline,
                    )
                }
                Err(error) => Err(error),
            }
        };
        wait.set_then(py, Box::new(then));
        Ok(Step::Park(wait))
    }

    /// Makes one attempt, in a frame of its own: the scratch memory must not lie on the stack of a greenlet that waits.
    #[inline(never)]
    fn try_receive<'py>(
        &self,
        py: Python<'py>,
        size: usize,
        flags: RecvFlags,
        attempt: Attempt,
    ) -> Result<PyResult<Bound<'py, PyBytes>>, AttemptError> {
        let mut scratch = Scratch::<SCRATCH>::new();
        let one_call = size > SCRATCH;
        let got = self.attempt(py, Direction::Read, attempt, |state, fd| {
            // Two kinds of receives go directly into the bytes object: those that a second system call could not
            // continue (datagrams, flags), and those that are likely to be large, as the last one was.
            if one_call
                && (state.plenty.get() || !flags.is_empty() || state.kind != libc::SOCK_STREAM)
            {
                return Ok(None);
            }
            let (_, got) = scratch.fill(size, |room| state.take_in(py, fd, room, flags))?;
            state.plenty.set(one_call && got.len() == SCRATCH);
            Ok(Some(got))
        })?;
        let head: &[u8] = match got {
            Some(got) if !one_call || got.len() < SCRATCH => return Ok(Ok(PyBytes::new(py, got))),
            Some(got) => got,
            None => &[],
        };
        let attempt = match head {
            [] => attempt,
            _ => Attempt::Forced,
        };
        filled(py, size, |room| {
            room.put(head);
            let more = self.attempt(py, Direction::Read, attempt, |state, fd| {
                state.take_in(py, fd, room, flags)?;
                state.plenty.set(room.received() > SCRATCH);
                Ok(())
            });
            match more {
                // An error must not lose the bytes that were received before it: the next call meets the error again
                // and reports it.
                Err(error) if head.is_empty() => Err(error),
                _ => Ok(()),
            }
        })
    }

    /// Receives into a buffer, as `recv_into` does.
    ///
    /// # Errors
    /// Returns `TypeError` or `ValueError` for an unsuitable buffer or size, and the errors of
    /// [`persist`](Self::persist).
    pub fn receive_into(
        &self,
        buffer: &Bound<'_, PyAny>,
        nbytes: isize,
        flags: i32,
    ) -> PyResult<usize> {
        let py = buffer.py();
        let mut memory = Writable::of(buffer, "recv_into")?;
        let size = share_of(memory.len(), nbytes, "recv_into")?;
        if size == 0 {
            return self.open(py).map(|()| 0);
        }
        let flags = receive_flags(flags);
        let mut deadline = self.own_deadline(py);
        self.persist(py, Direction::Read, &mut deadline, |force| {
            let mut room = memory.room(size);
            self.call(py, Direction::Read, force, |state, fd| {
                state.take_in(py, fd, &mut room, flags)
            })
        })
    }

    /// Receives as `recvfrom` does.
    ///
    /// # Errors
    /// Returns the errors of [`receive`](Self::receive).
    pub fn receive_from<'py>(
        &self,
        py: Python<'py>,
        size: isize,
        flags: i32,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let size = size_of(size, "recvfrom")?;
        let family = self.state.with(py, |state| state.family);
        if !addr::is_common(family) {
            let found = self.by_stdlib_socket(
                py,
                Direction::Read,
                "recvfrom",
                &(size, flags).into_pyobject(py)?,
            )?;
            return Ok(found.cast_into()?);
        }
        let flags = receive_flags(flags);
        let mut deadline = self.own_deadline(py);
        let (bytes, address) = self.persist(py, Direction::Read, &mut deadline, |force| {
            self.try_receive_from(py, size, flags, force)
        })?;
        PyTuple::new(
            py,
            [bytes?.into_any(), addr::to_python(py, family, address)?],
        )
    }

    #[inline(never)]
    fn try_receive_from<'py>(
        &self,
        py: Python<'py>,
        size: usize,
        flags: RecvFlags,
        force: bool,
    ) -> rustix::io::Result<(PyResult<Bound<'py, PyBytes>>, Option<SocketAddrAny>)> {
        let mut from = None;
        if size <= SCRATCH {
            let mut scratch = Scratch::<SCRATCH>::new();
            let ((), got) = scratch.fill(size, |room| {
                self.call(py, Direction::Read, force, |state, fd| {
                    state.expose();
                    from = room.recvfrom(fd, flags)?.1;
                    Ok(())
                })
            })?;
            return Ok((Ok(PyBytes::new(py, got)), from));
        }
        let bytes = filled(py, size, |room| {
            self.call(py, Direction::Read, force, |state, fd| {
                state.expose();
                from = room.recvfrom(fd, flags)?.1;
                Ok(())
            })
        })?;
        Ok((bytes, from))
    }

    /// Receives into a buffer, as `recvfrom_into` does.
    ///
    /// # Errors
    /// Returns the errors of [`receive_into`](Self::receive_into).
    pub fn receive_from_into<'py>(
        &self,
        buffer: &Bound<'py, PyAny>,
        nbytes: isize,
        flags: i32,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let py = buffer.py();
        let mut memory = Writable::of(buffer, "recvfrom_into")?;
        let size = share_of(memory.len(), nbytes, "recvfrom_into")?;
        let family = self.state.with(py, |state| state.family);
        if !addr::is_common(family) {
            drop(memory);
            let found = self.by_stdlib_socket(
                py,
                Direction::Read,
                "recvfrom_into",
                &(buffer, nbytes, flags).into_pyobject(py)?,
            )?;
            return Ok(found.cast_into()?);
        }
        let flags = receive_flags(flags);
        let mut deadline = self.own_deadline(py);
        let (got, address) = self.persist(py, Direction::Read, &mut deadline, |force| {
            let mut room = memory.room(size);
            self.call(py, Direction::Read, force, |state, fd| {
                state.expose();
                room.recvfrom(fd, flags)
            })
        })?;
        let address = addr::to_python(py, family, address)?;
        (got, address).into_pyobject(py)
    }

    /// Sends to an address, as `sendto` does.
    ///
    /// # Errors
    /// Returns `TypeError` for wrong arguments, and the errors of [`persist`](Self::persist).
    pub fn transmit_to<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        let (data, flags, address) = match args.len() {
            2 => (args.get_item(0)?, 0, args.get_item(1)?),
            3 => (
                args.get_item(0)?,
                args.get_item(1)?.extract()?,
                args.get_item(2)?,
            ),
            count => {
                return Err(PyTypeError::new_err(format!(
                    "sendto() takes 2 or 3 arguments ({count} given)"
                )));
            }
        };
        let family = this.state.with(py, |state| state.family);
        let plain = if family == libc::AF_INET {
            addr::plain_v4(&address)
        } else {
            None
        };
        let Some(plain) = plain else {
            let name = intern!(py, "_resolved");
            let address = slf.call_method1(name, (address,))?;
            return this.by_stdlib_socket(
                py,
                Direction::Write,
                "sendto",
                &(data, flags, address).into_pyobject(py)?,
            );
        };
        let memory = Frozen::of(&data)?;
        let mut deadline = this.own_deadline(py);
        let sent = this.persist(py, Direction::Write, &mut deadline, |force| {
            let bytes = memory.bytes(py);
            this.call(py, Direction::Write, force, |state, fd| {
                state.expose();
                rustix::net::sendto(fd, bytes, send_flags(flags), &plain)
            })
        })?;
        Ok(sent.into_pyobject(py)?.into_any())
    }

    /// Accepts a connection, as `accept` does.
    ///
    /// # Errors
    /// Returns the errors of [`persist`](Self::persist), and the error that making the new socket raises.
    pub fn accept_next<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        let family = this.state.with(py, |state| state.family);
        let mut deadline = this.own_deadline(py);
        let (fd, address) = if addr::is_common(family) {
            let (fd, address) = this.persist(py, Direction::Read, &mut deadline, |force| {
                this.try_accept(py, force)
            })?;
            (fd, addr::to_python(py, family, address)?)
        } else {
            let found =
                this.by_stdlib_socket(py, Direction::Read, "_accept", &PyTuple::empty(py))?;
            let (number, address): (i32, Bound<'py, PyAny>) = found.extract()?;
            (adopted(number)?, address)
        };
        let accepted = this.sibling(py, fd)?;
        Ok(PyTuple::new(py, [accepted, address])?.into_any())
    }

    /// Accepts a connection without waiting; returns `None` when there is none.
    ///
    /// # Errors
    /// Returns the `OSError` of the system call, and the error that making the new socket raises.
    pub fn accept_if_any<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let py = slf.py();
        let Some((fd, address)) = Self::accept_raw(slf)? else {
            return Ok(None);
        };
        let accepted = slf.get().sibling(py, fd)?;
        PyTuple::new(py, [accepted, address]).map(Some)
    }

    /// Accepts a connection without waiting and without a socket object; returns `None` when there is none.
    ///
    /// # Errors
    /// Returns the `OSError` of the system call.
    pub fn accept_raw<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<Option<(OwnedFd, Bound<'py, PyAny>)>> {
        let py = slf.py();
        let this = slf.get();
        let family = this.state.with(py, |state| state.family);
        if !addr::is_common(family) {
            let found = match this.stdlib_socket(py)?.call_method0(py, "_accept") {
                Err(error) if error.is_instance_of::<PyBlockingIOError>(py) => return Ok(None),
                found => found?,
            };
            let (number, address): (i32, Bound<'py, PyAny>) = found.bind(py).extract()?;
            return Ok(Some((adopted(number)?, address)));
        }
        match this.try_accept(py, true) {
            Ok((fd, address)) => Ok(Some((fd, addr::to_python(py, family, address)?))),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(errno_error(error.raw_os_error())),
        }
    }

    fn try_accept(
        &self,
        py: Python<'_>,
        force: bool,
    ) -> rustix::io::Result<(OwnedFd, Option<SocketAddrAny>)> {
        self.call(py, Direction::Read, force, |_, fd| {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::acceptfrom_with(fd, flags) {
                // The client went away while it was in the backlog; there may be another one behind it.
                Err(Errno::CONNABORTED) => rustix::net::acceptfrom_with(fd, flags),
                result => result,
            }
        })
    }

    /// Calls a method of the standard library's socket until it no longer would block.
    fn by_stdlib_socket<'py>(
        &self,
        py: Python<'py>,
        direction: Direction,
        name: &str,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut deadline = self.own_deadline(py);
        loop {
            let stdlib_socket = self.stdlib_socket(py)?;
            match stdlib_socket.bind(py).call_method1(name, args) {
                Err(error) if error.is_instance_of::<PyBlockingIOError>(py) => {
                    self.wait_ready(py, direction, &mut deadline)?;
                }
                result => return result,
            }
        }
    }
}

/// Takes over a descriptor that a standard library socket has given up.
fn adopted(number: RawFd) -> PyResult<OwnedFd> {
    descriptor::adopt(number).map_err(|error| errno_error(error.raw_os_error()))
}
