//! `WebSocket.receive`: decodes the messages that came, and waits for more.

use std::ffi::CStr;

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use reactor::{Direction, Time};
use rustix::io::Errno;
use websocket::ProtocolError;

use super::ALREADY_CLOSED;
use super::codec::Received;
use super::connection::WebSocketBase;
use super::exceptions::WebSocketError;
use crate::errors::{BlockingSwitchOutError, errno_error};
use crate::ffi::blocking::{Blocking, First, Step};
use crate::sockets::socket::SocketBase;
use crate::sockets::socket::readiness::Begun;
use crate::waiting::deadline::Deadline;
use crate::waiting::wait::{Outcome, WaitRef};
use crate::wsgi::request_file::LEAST;
use crate::wsgi::stint;

/// The implementation of `WebSocket.receive`.
pub struct Receive;

impl Blocking for Receive {
    type Owner = WebSocketBase;
    const NAME: &'static CStr = c"receive";
    const DOC: &'static CStr = c"receive($self)\n--\n\n\
Return the next message: a str, or a bytearray for one of bytes.\n\n\
None says that the connection is over: closed by the other side, lost, or ended because the\n\
other side broke the protocol; `close_code` says which.\n\n\
Raises `WebSocketError` when the connection was closed before.";
    const PARAMETERS: &'static [&'static str] = &[];

    fn begin(
        slf: &Bound<'_, WebSocketBase>,
        _arguments: &[Option<Bound<'_, PyAny>>],
    ) -> PyResult<First> {
        if slf.get().closed() {
            return Err(WebSocketError::new_err(ALREADY_CLOSED));
        }
        Receiving::default().go_on(slf).map(Into::into)
    }
}

/// The result of one attempt to receive a message.
enum Attempt<'py> {
    Received(Received<'py>),
    /// More was received than one connection receives in a row.
    Due,
    Broken(ProtocolError),
    /// The socket has no bytes to receive now, or there is no plain socket.
    Nothing,
    /// The connection ended.
    End,
    Failed(Errno),
}

/// The state of a call of `receive`, which it keeps while it waits.
#[derive(Default)]
struct Receiving {
    deadline: Option<Deadline>,
    /// True if the system call is made even when the socket is known not to be ready.
    force: bool,
}

impl Receiving {
    /// Tries to receive a message, and parks to try again if there is none yet. An error ends the connection.
    fn go_on(self, slf: &Bound<'_, WebSocketBase>) -> PyResult<Step> {
        let py = slf.py();
        match self.advance(slf) {
            Err(error) if error.is_instance_of::<PyOSError>(py) => over(slf),
            step => step,
        }
    }

    fn advance(self, slf: &Bound<'_, WebSocketBase>) -> PyResult<Step> {
        let py = slf.py();
        let socket = slf.get().socket.get_ref(py);
        loop {
            match attempt(slf, socket.as_ref().map(Py::get), self.force)? {
                Attempt::Received(Received::Message(message)) => {
                    return Ok(Step::Done(message.unbind()));
                }
                Attempt::Received(Received::Control(frame)) => {
                    let ended = slf.call_method1(intern!(py, "_control"), frame)?;
                    if ended.is_truthy()? {
                        return Ok(Step::Done(py.None()));
                    }
                }
                Attempt::Broken(error) => {
                    let reason = (error.close_code(), error.to_string());
                    slf.call_method1(intern!(py, "_break_off"), reason)?;
                    return Ok(Step::Done(py.None()));
                }
                Attempt::Due => stint::give_way(py)?,
                Attempt::End => return over(slf),
                Attempt::Failed(Errno::INTR) => py.check_signals()?,
                Attempt::Failed(error) => return Err(errno_error(error.raw_os_error())),
                Attempt::Nothing => match &socket {
                    Some(socket) => return self.wait(slf, socket.bind(py)),
                    None => {
                        if !slf
                            .call_method0(intern!(py, "_receive_some"))?
                            .is_truthy()?
                        {
                            return over(slf);
                        }
                    }
                },
            }
        }
    }

    fn wait(
        mut self,
        slf: &Bound<'_, WebSocketBase>,
        socket: &Bound<'_, SocketBase>,
    ) -> PyResult<Step> {
        let py = slf.py();
        let deadline = self
            .deadline
            .get_or_insert_with(|| socket.get().own_deadline(py));
        if deadline.is_immediate() && !self.force {
            self.force = true;
            return self.advance(slf);
        }
        let limit = slf.get().with_codec(py, |codec| {
            codec.stint.waits();
            Ok(codec.time_left())
        })?;
        let begin = limit.map(|_| Time::now());
        let mut limited = limit.map(|left| Deadline::seconds(Some(left.max(LEAST))));
        // The shorter of two limits counts: that of the message, and the socket's own timeout, which holds for the
        // whole call.
        let deadline = match &mut limited {
            Some(limited) if deadline.is_longer_than(limit) => limited,
            _ => deadline,
        };
        let Begun { wait, slot } = socket.get().begin_wait(py, Direction::Read, deadline)?;
        let (owner, socket) = (slf.clone().unbind(), socket.clone().unbind());
        let then = move |py: Python<'_>, wait: &WaitRef, woken: Outcome| {
            let slf = owner.bind(py);
            if let Some(begin) = begin {
                let counted = slf.get().with_codec(py, |codec| {
                    codec.spend(begin);
                    Ok(codec.time_left())
                });
                if counted.is_ok_and(|left| left.is_some_and(|left| left <= 0.0)) {
                    // The wait is withdrawn from the socket first, so that another greenlet may wait there.
                    let ended = socket
                        .get()
                        .end_wait(py, Direction::Read, slot, wait, woken);
                    return match ended {
                        Err(error) if !error.is_instance_of::<PyOSError>(py) => Err(error),
                        // The bytes that came may complete the message.
                        Ok(()) => self.go_on(slf),
                        Err(_) => {
                            slf.call_method0(intern!(py, "_message_expired"))?;
                            Ok(Step::Done(py.None()))
                        }
                    };
                }
            }
            match socket
                .get()
                .end_wait(py, Direction::Read, slot, wait, woken)
            {
                Ok(()) => self.go_on(slf),
                // The hub must not wait, so it makes the system call even if that is expected to block.
                Err(error) if !self.force && error.is_instance_of::<BlockingSwitchOutError>(py) => {
                    self.force = true;
                    self.go_on(slf)
                }
                Err(error) if error.is_instance_of::<PyOSError>(py) => over(slf),
                Err(error) => Err(error),
            }
        };
        wait.set_then(py, Box::new(then));
        Ok(Step::Park(wait))
    }
}

/// Decodes the bytes that are there, and receives more until a message is complete or the socket has nothing.
#[inline(never)]
fn attempt<'py>(
    slf: &Bound<'py, WebSocketBase>,
    socket: Option<&SocketBase>,
    force: bool,
) -> PyResult<Attempt<'py>> {
    let py = slf.py();
    slf.get().with_codec(py, |codec| {
        loop {
            match codec.next(py) {
                Ok(received) => {
                    if let Some(received) = received? {
                        return Ok(Attempt::Received(received));
                    }
                }
                Err(error) => return Ok(Attempt::Broken(error)),
            }
            let Some(socket) = socket else {
                return Ok(Attempt::Nothing);
            };
            slf.get().flush(py, codec, socket);
            let size = codec.wanted();
            let got = socket.call(py, Direction::Read, force, |state, fd| {
                state.expose();
                state.append(py, fd, codec.room(py, size))
            });
            match got {
                Ok(0) => return Ok(Attempt::End),
                Ok(count) => {
                    codec.earn(count);
                    if codec.stint.counts(py, count) {
                        return Ok(Attempt::Due);
                    }
                }
                Err(error) => {
                    codec.pause(py);
                    return Ok(match error {
                        Errno::AGAIN => Attempt::Nothing,
                        error => Attempt::Failed(error),
                    });
                }
            }
        }
    })
}

/// Ends a `receive` on a connection that has ended, and returns None from it.
fn over(slf: &Bound<'_, WebSocketBase>) -> PyResult<Step> {
    let py = slf.py();
    slf.call_method0(intern!(py, "_lost"))?;
    Ok(Step::Done(py.None()))
}
