//! `gevent._core.WebSocketBase`: what `gevent.websocket.WebSocket` does per message, from the call to the system call.
//!
//! Over a plain socket, receiving a message takes one system call and makes one object, and sending one takes one
//! system call. While further messages that came by the same system call are not received yet, a message that is sent
//! is held, to go out together with the answers to those. It is held until `receive` needs another system call, and no
//! longer than until the greenlet lets others run. The Python subclass does what happens seldom: control frames, the
//! beginning and end of a connection, and waiting for a turn to send. It also has the transport over other streams,
//! such as TLS.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use reactor::{Direction, Time};
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::codec::{Codec, Message, Received, broken};
use super::deflate::Fields;
use super::exceptions::WebSocketError;
use super::{ALREADY_CLOSED, SOCKET_DEAD};
use crate::args::from_python;
use crate::cell::{GilCell, Made};
use crate::errors::{ConcurrentObjectUseError, errno_error};
use crate::event_loop::ready::Task;
use crate::ffi::buffer::Frozen;
use crate::ffi::fork;
use crate::hub;
use crate::sockets::socket::SocketBase;
use crate::sync::lock::Semaphore;
use crate::wsgi::buffer_pool;
use crate::wsgi::stint;

/// The base of `gevent.websocket.WebSocket`.
#[pyclass(frozen, subclass, name = "WebSocketBase", module = "gevent._core")]
#[derive(Debug)]
pub struct WebSocketBase {
    /// The state of the protocol. A call takes it out of the cell while it uses it, as Python objects must not be made
    /// while a cell is open.
    codec: GilCell<Option<Box<Codec>>>,
    /// The plain socket; none if the transport takes more than system calls, as TLS does.
    pub(super) socket: GilCell<Option<Py<SocketBase>>>,
    /// The lock that a greenlet holds while it sends.
    sending: Made<Py<Semaphore>>,
    closed: AtomicBool,
    /// True if the hub is about to send the held bytes.
    flushing: AtomicBool,
    /// True once the connection is over, and its memory is given back.
    released: AtomicBool,
}

/// The number of encoded bytes from which on they are sent rather than held for the next answers.
const HELD: usize = 16 * 1024;

#[pymethods]
impl WebSocketBase {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        Ok(Self {
            codec: GilCell::new(None),
            socket: GilCell::new(None),
            sending: Made::new(Py::new(py, Semaphore::of(1))?),
            closed: AtomicBool::new(false),
            flushing: AtomicBool::new(false),
            released: AtomicBool::new(false),
        })
    }

    /// Set how many seconds to wait for more of a message that has begun, and how many bytes of it earn another second.
    fn _limit_messages(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = from_python)] timeout: Option<f64>,
        #[pyo3(from_py_with = from_python)] rate: Option<f64>,
    ) -> PyResult<()> {
        self.with_codec(py, |codec| {
            codec.set_limit(timeout, rate);
            Ok(())
        })
    }

    /// Return the number of seconds to wait at most for more of the message that has begun; None if none has, or there
    /// is no limit.
    fn _message_time_left(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        self.with_codec(py, |codec| Ok(codec.time_left()))
    }

    /// Count seconds that were spent waiting for more of a message.
    fn _message_waited(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = from_python)] seconds: f64,
    ) -> PyResult<()> {
        let delay = std::time::Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default();
        let begin = Time::from_nanos(
            Time::now()
                .as_nanos()
                .saturating_sub(delay.as_nanos() as u64),
        );
        self.with_codec(py, |codec| {
            codec.spend(begin);
            Ok(())
        })
    }

    /// The number of bytes that came from the other side.
    #[getter]
    fn _received(&self, py: Python<'_>) -> PyResult<u64> {
        self.with_codec(py, |codec| Ok(codec.received))
    }

    /// Free the memory of the connection, which is over: the program may keep this object for long after that.
    fn _release(&self, py: Python<'_>) {
        self.closed.store(true, Relaxed);
        self.released.store(true, Relaxed);
        let dropped = (self.codec.take(py), self.socket.replace(py, None));
        drop(dropped);
    }

    /// Begin as client or server, over a plain socket if there is one. `received` holds the bytes that followed the
    /// handshake.
    fn __init__(
        &self,
        py: Python<'_>,
        client: bool,
        #[pyo3(from_py_with = from_python)] max_message_size: usize,
        #[pyo3(from_py_with = from_python)] deflate: Option<Fields>,
        received: &[u8],
        socket: Option<Py<SocketBase>>,
    ) -> PyResult<()> {
        let mut codec = Codec::new(client, max_message_size, deflate)?;
        if !received.is_empty() {
            codec.feed(py, received);
        }
        let old_codec = self.codec.replace(py, Some(Box::new(codec)));
        let old_socket = self.socket.replace(py, socket);
        drop((old_codec, old_socket));
        Ok(())
    }

    /// True if messages can no longer be sent.
    #[getter]
    pub(super) fn closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    #[setter]
    fn set_closed(&self, value: bool) {
        self.closed.store(value, Relaxed);
    }

    #[getter]
    fn _sending(&self, py: Python<'_>) -> Py<Semaphore> {
        self.sending.clone_ref(py)
    }

    /// Send a message: a str as text, a bytes-like object as bytes.
    ///
    /// `binary` True sends a str as bytes, False bytes of UTF-8 as text. Raises `WebSocketError` when the connection is
    /// closed, or is lost meanwhile.
    #[pyo3(signature = (message, binary = None))]
    fn send(
        slf: &Bound<'_, Self>,
        message: &Bound<'_, PyAny>,
        binary: Option<bool>,
    ) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        if this.closed() {
            return Err(WebSocketError::new_err(SOCKET_DEAD));
        }
        let socket = this.socket.get_ref(py);
        let (Some(socket), true) = (socket, this.sending.get().has_permit()) else {
            let name = intern!(py, "_send_in_turn");
            return slf.call_method1(name, (message, binary)).map(drop);
        };
        let content = Message::of(message, binary)?;
        let out = this.with_codec(py, |codec| {
            codec.message(py, &content)?;
            let hold = codec.has_more() && codec.output().len() < HELD;
            Ok((!hold).then(|| codec.take_output()))
        })?;
        drop(content);
        let Some(out) = out else {
            return flush_soon(slf);
        };
        let outcome = match send_some(py, socket.get(), &out) {
            Ok(count) if count == out.len() => slf.get()._count_transfer(py, count),
            Ok(count) => {
                let rest = PyBytes::new(py, &out[count..]);
                slf.call_method1(intern!(py, "_send_rest"), (rest,))
                    .map(drop)
            }
            Err(error) => {
                let error = errno_error(error.raw_os_error()).into_value(py);
                slf.call_method1(intern!(py, "_fail_to_send"), (error,))
                    .map(drop)
            }
        };
        buffer_pool::keep_buffer(py, out);
        outcome
    }

    /// Count bytes that were sent or received without a wait, and let other greenlets run if it is their turn.
    fn _count_transfer(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = from_python)] bytes: usize,
    ) -> PyResult<()> {
        // A close that was sent may have ended the connection, whose state is gone then.
        if self.released.load(Relaxed) {
            return Ok(());
        }
        if self.with_codec(py, |codec| Ok(codec.stint.counts(py, bytes)))? {
            stint::give_way(py)?;
        }
        Ok(())
    }

    /// Return the held bytes, for the caller to send.
    fn _take_held<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.encoded(py, |_| Ok(()))
    }

    /// Return the held bytes followed by an encoded message, for the caller to send.
    fn _encode<'py>(
        &self,
        message: &Bound<'py, PyAny>,
        binary: Option<bool>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let py = message.py();
        let content = Message::of(message, binary)?;
        self.encoded(py, |codec| codec.message(py, &content))
    }

    /// Return the held bytes followed by a single frame with this opcode and payload, for the caller to send.
    fn _encode_frame<'py>(
        &self,
        payload: &Bound<'py, PyAny>,
        #[pyo3(from_py_with = from_python)] opcode: u8,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let py = payload.py();
        let payload = Frozen::of(payload)?;
        self.encoded(py, |codec| codec.frame(py, opcode, payload.bytes(py)))
    }

    /// Return the held bytes followed by a close frame, for the caller to send.
    fn _encode_close<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = from_python)] code: Option<u16>,
        reason: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.encoded(py, |codec| codec.close(py, code, reason))
    }

    /// Append received bytes to the input.
    fn _feed(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
        let data = Frozen::of(data)?;
        self.with_codec(py, |codec| {
            codec.feed(py, data.bytes(py));
            Ok(())
        })?;
        self._count_transfer(py, data.bytes(py).len())
    }

    /// Return the next message or control frame that was received: a str, a bytearray, a tuple of opcode and payload,
    /// or for a close frame a tuple of opcode, code (or None) and reason. Return None when more bytes are needed.
    fn _next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let received = self.with_codec(py, |codec| codec.next(py).map_err(broken)?)?;
        Ok(received.map(|received| match received {
            Received::Message(message) => message,
            Received::Control(frame) => frame.into_any(),
        }))
    }

    /// The number of bytes to receive by the next system call.
    #[getter]
    fn _wanted(&self, py: Python<'_>) -> PyResult<usize> {
        self.with_codec(py, |codec| Ok(codec.wanted()))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.sending.peek())?;
        self.socket
            .peek(&visit, |socket| visit.call(socket))
            .unwrap_or(Ok(()))
    }
}

impl WebSocketBase {
    #[inline]
    pub(super) fn with_codec<R>(
        &self,
        py: Python<'_>,
        f: impl FnOnce(&mut Codec) -> PyResult<R>,
    ) -> PyResult<R> {
        let Some(mut codec) = self.codec.take(py) else {
            if self.released.load(Relaxed) {
                return Err(WebSocketError::new_err(ALREADY_CLOSED));
            }
            return Err(ConcurrentObjectUseError::new_err(
                "this WebSocket is already in use by another call",
            ));
        };
        let outcome = f(&mut codec);
        if !self.released.load(Relaxed) {
            self.codec.replace(py, Some(codec));
        }
        outcome
    }

    fn encoded<'py>(
        &self,
        py: Python<'py>,
        append: impl FnOnce(&mut Codec) -> PyResult<()>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let out = self.with_codec(py, |codec| {
            append(codec)?;
            Ok(codec.take_output())
        })?;
        let bytes = PyBytes::new(py, &out);
        buffer_pool::keep_buffer(py, out);
        Ok(bytes)
    }
}

/// Has the hub send the held bytes as soon as it runs.
fn flush_soon(slf: &Bound<'_, WebSocketBase>) -> PyResult<()> {
    let py = slf.py();
    if slf.get().flushing.swap(true, Relaxed) {
        return Ok(());
    }
    let (owner, forks) = (slf.clone().unbind(), fork::count());
    let work = move |py: Python<'_>| {
        let slf = owner.bind(py);
        slf.get().flushing.store(false, Relaxed);
        if slf.get().released.load(Relaxed) {
            return Ok(());
        }
        if forks != fork::count() {
            // The bytes were held before a fork: the parent sends them, so the child drops them.
            return slf.get().with_codec(py, |codec| {
                drop(codec.take_output());
                Ok(())
            });
        }
        let Some(socket) = slf.get().socket.get_ref(py) else {
            return Ok(());
        };
        let (this, socket) = (slf.get(), socket.get());
        if this.with_codec(py, |codec| Ok(this.flush(py, codec, socket)))? {
            return Ok(());
        }
        slf.call_method0(intern!(py, "_flush")).map(drop)
    };
    let loop_ = hub::current_loop(py)?;
    loop_.get().push(py, Task::Native(Box::new(work)));
    Ok(())
}

impl WebSocketBase {
    /// Sends the held bytes, unless another greenlet is sending; returns true if nothing is left.
    pub(super) fn flush(&self, py: Python<'_>, codec: &mut Codec, socket: &SocketBase) -> bool {
        if codec.output().is_empty() {
            return true;
        }
        if !self.sending.get().has_permit() {
            return false;
        }
        let sent = send_some(py, socket, codec.output());
        // An error drops the bytes: the next receive meets the same error and reports it.
        codec.sent(py, sent.unwrap_or(codec.output().len()));
        codec.output().is_empty()
    }
}

/// Sends as much as the socket takes without waiting, and returns the number of bytes.
fn send_some(py: Python<'_>, socket: &SocketBase, data: &[u8]) -> rustix::io::Result<usize> {
    let sent = socket.call(py, Direction::Write, false, |state, fd| {
        let sent = rustix::net::send(fd, data, SendFlags::empty())?;
        state.notify_peer(py, sent);
        Ok(sent)
    });
    match sent {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        sent => sent,
    }
}
