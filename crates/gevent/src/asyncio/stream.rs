//! `StreamTransport`, the base class of the transports of stream sockets: what it receives goes to its protocol.
//!
//! `gevent.aio`'s class, which is derived from it, has what happens once in a connection's life.

use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use pyo3::{PyTraverseError, PyTypeInfo};
use reactor::Direction;

use crate::asyncio::base::{AsyncioLoop, Io};
use crate::asyncio::out::OutBuffer;
use crate::asyncio::registration::Registration;
use crate::asyncio::{stream_read, stream_write, turn};
use crate::cell::GilCell;
use crate::errors::errno_error;
use crate::ffi::context;

/// The state of a transport, behind its cell.
pub struct State {
    pub(super) loop_: Option<Py<AsyncioLoop>>,
    pub(super) sock: Option<Py<PyAny>>,
    pub(super) protocol: Option<Py<PyAny>>,
    /// The context in which the protocol is called, as for asyncio's handles.
    pub(super) context: Option<Py<PyAny>>,
    pub(super) registration: Option<Arc<Registration>>,
    pub(super) empty_waiter: Option<Py<PyAny>>,
    pub(super) out: OutBuffer,
    pub(super) fd: RawFd,
    /// The number of times that the connection was found to be lost, or about to be.
    pub(super) lost: u32,
    pub(super) high: usize,
    pub(super) low: usize,
    pub(super) is_unix: bool,
    /// The protocol has the memory that is received into.
    pub(super) is_buffered: bool,
    pub(super) is_reading: bool,
    pub(super) is_paused: bool,
    pub(super) is_closing: bool,
    pub(super) is_ended: bool,
    pub(super) protocol_paused: bool,
    /// The last read found more than fits on the stack.
    pub(super) plenty: bool,
}

/// The base class of transports of stream sockets.
#[pyclass(frozen, subclass, module = "gevent._core", name = "StreamTransport")]
pub struct StreamTransport {
    pub(super) state: GilCell<State>,
}

impl StreamTransport {
    /// Its registration, unless it does not read yet or is closed.
    pub fn registration(&self, py: Python<'_>) -> Option<Arc<Registration>> {
        self.state.with(py, |state| state.registration.clone())
    }

    /// Does what is due when its source is worth trying in a direction.
    ///
    /// # Errors
    /// `KeyboardInterrupt` and `SystemExit` of the protocol.
    pub fn ready(slf: &Bound<'_, Self>, direction: Direction) -> PyResult<()> {
        let py = slf.py();
        let context = slf.get().state.with(py, |state| {
            state.context.as_ref().map(|context| context.clone_ref(py))
        });
        let work = || match direction {
            Direction::Read => stream_read::read_ready(slf),
            Direction::Write => stream_write::write_ready(slf),
        };
        match context {
            Some(context) => context::run_in(context.bind(py), work),
            None => work(),
        }
    }

    /// Reports an error that ends the connection.
    ///
    /// # Errors
    /// `KeyboardInterrupt` and `SystemExit`, which go on, and what reporting raises.
    pub fn fail(slf: &Bound<'_, Self>, error: PyErr, message: &str) -> PyResult<()> {
        let py = slf.py();
        if turn::ends_loop(py, &error) {
            return Err(error);
        }
        let error = error.into_value(py);
        slf.call_method1(intern!(py, "_fatal_error"), (error, message))?;
        Ok(())
    }

    /// Starts or goes on reading.
    ///
    /// # Errors
    /// When the socket cannot be registered.
    pub fn begin_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let wants = this.state.with(py, |state| {
            let wants = !state.is_closing && !state.is_paused && state.lost == 0;
            let begins = wants && !state.is_reading;
            state.is_reading |= wants;
            begins
        });
        if wants {
            Self::register(slf)?.expect(py, Direction::Read);
        }
        Ok(())
    }

    /// Registers the socket, if that has not been done.
    ///
    /// # Errors
    /// When it cannot be, or is closed.
    pub fn register(slf: &Bound<'_, Self>) -> PyResult<Arc<Registration>> {
        let py = slf.py();
        let this = slf.get();
        if let Some(registration) = this.registration(py) {
            return Ok(registration);
        }
        let (owner, fd) = this.state.with(py, |state| {
            (
                state.loop_.as_ref().map(|owner| owner.clone_ref(py)),
                state.fd,
            )
        });
        let Some(owner) = owner else {
            return Err(errno_error(libc::EBADF));
        };
        let io = Io::Stream(slf.clone().unbind());
        let registration = Registration::new(py, owner.get(), fd, io)?;
        let context = context::copy_current(py)?.unbind();
        let unused = this.state.with(py, |state| {
            let unused = match &state.context {
                Some(_) => Some(context),
                None => state.context.replace(context),
            };
            (
                state.registration.replace(Arc::clone(&registration)),
                unused,
            )
        });
        drop(unused);
        Ok(registration)
    }

    /// Stops reading.
    pub(super) fn end_reading(&self, py: Python<'_>) {
        let registration = self.state.with(py, |state| {
            let was = std::mem::take(&mut state.is_reading);
            state.registration.clone().filter(|_| was)
        });
        if let Some(registration) = registration {
            registration.forget(py, Direction::Read);
        }
    }
}

#[pymethods]
impl StreamTransport {
    #[new]
    #[pyo3(signature = (r#loop, sock, *_args, **_kwargs))]
    fn new(
        r#loop: Py<AsyncioLoop>,
        sock: Bound<'_, PyAny>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let py = sock.py();
        let fd: RawFd = sock.call_method0(intern!(py, "fileno"))?.extract()?;
        let family: i32 = sock.getattr(intern!(py, "family"))?.extract()?;
        Ok(Self {
            state: GilCell::new(State {
                loop_: Some(r#loop),
                sock: Some(sock.unbind()),
                protocol: None,
                context: None,
                registration: None,
                empty_waiter: None,
                out: OutBuffer::default(),
                fd,
                lost: 0,
                high: 64 * 1024,
                low: 16 * 1024,
                is_unix: family == libc::AF_UNIX,
                is_buffered: false,
                is_reading: false,
                is_paused: false,
                is_closing: false,
                is_ended: false,
                protocol_paused: false,
                plenty: false,
            }),
        })
    }

    /// Send `data`, bytes or the like, now or as soon as that is possible.
    fn write(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        stream_write::write(slf, data)
    }

    /// Send what an iterable of bytes or the like yields.
    fn writelines(slf: &Bound<'_, Self>, list_of_data: &Bound<'_, PyAny>) -> PyResult<()> {
        stream_write::writelines(slf, list_of_data)
    }

    /// Close the sending side once everything is sent.
    fn write_eof(slf: &Bound<'_, Self>) -> PyResult<()> {
        stream_write::write_eof(slf)
    }

    /// Returns how many bytes have still to be sent.
    fn get_write_buffer_size(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.out.len())
    }

    /// Close the transport once everything is sent; the protocol's `connection_lost` is called then.
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let closes = this
            .state
            .with(py, |state| !std::mem::replace(&mut state.is_closing, true));
        if !closes {
            return Ok(());
        }
        this.end_reading(py);
        let is_done = this.state.with(py, |state| {
            let is_done = state.out.is_empty();
            state.lost += u32::from(is_done);
            is_done
        });
        if is_done {
            slf.call_method1(intern!(py, "_schedule_connection_lost"), (py.None(),))?;
        }
        Ok(())
    }

    /// Close the transport at once, without sending what is buffered.
    fn _force_close(slf: &Bound<'_, Self>, exc: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let was_lost = this.state.with(py, |state| state.lost > 0);
        if was_lost {
            return Ok(());
        }
        let out = this.state.with(py, |state| {
            state.is_closing = true;
            state.lost += 1;
            std::mem::take(&mut state.out)
        });
        drop(out);
        this.end_reading(py);
        slf.call_method1(intern!(py, "_schedule_connection_lost"), (exc,))?;
        Ok(())
    }

    /// Have the protocol receive nothing until `resume_reading`.
    fn pause_reading(&self, py: Python<'_>) {
        let pauses = self.state.with(py, |state| {
            let pauses = !state.is_closing && !state.is_paused;
            state.is_paused |= pauses;
            pauses
        });
        if pauses {
            self.end_reading(py);
        }
    }

    /// Have the protocol receive again.
    fn resume_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        let resumes = slf.get().state.with(slf.py(), |state| {
            !state.is_closing && std::mem::take(&mut state.is_paused)
        });
        if resumes {
            Self::begin_reading(slf)?;
        }
        Ok(())
    }

    /// Begin to read; `context` is the one to call the protocol in (None: a copy of the current one).
    #[pyo3(signature = (context = None))]
    fn _begin_reading(slf: &Bound<'_, Self>, context: Option<Py<PyAny>>) -> PyResult<()> {
        let old = slf.get().state.with(slf.py(), |state| {
            std::mem::replace(&mut state.context, context)
        });
        drop(old);
        Self::begin_reading(slf)
    }

    /// Return true if the transport is closed or about to be.
    fn is_closing(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.is_closing)
    }

    /// Return true if the protocol receives what comes.
    fn is_reading(&self, py: Python<'_>) -> bool {
        self.state
            .with(py, |state| !state.is_closing && !state.is_paused)
    }

    /// Have another protocol called from now on.
    fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        let class = py
            .import(intern!(py, "asyncio.protocols"))?
            .getattr(intern!(py, "BufferedProtocol"))?;
        let is_buffered = protocol.is_instance(&class)?;
        let old = self.state.with(py, |state| {
            state.is_buffered = is_buffered;
            state.protocol.replace(protocol.clone().unbind())
        });
        drop(old);
        Ok(())
    }

    /// The protocol, None once the connection is lost.
    fn get_protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| {
            state
                .protocol
                .as_ref()
                .map(|protocol| protocol.clone_ref(py))
        })
    }

    /// End the registration of the socket, which is about to be closed, and let go of everything; return the socket.
    fn _detach(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let (registration, owner, sock, rest) = self.state.with(py, |state| {
            state.is_reading = false;
            state.is_closing = true;
            state.lost = state.lost.max(1);
            (
                state.registration.take(),
                state.loop_.take(),
                state.sock.take(),
                (state.protocol.take(), state.context.take()),
            )
        });
        if let (Some(registration), Some(owner)) = (registration, owner) {
            registration.end(py, owner.get());
        }
        drop(rest);
        sock
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Option<Py<AsyncioLoop>> {
        self.state.with(py, |state| {
            state.loop_.as_ref().map(|owner| owner.clone_ref(py))
        })
    }

    #[getter]
    fn _sock(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| {
            state.sock.as_ref().map(|sock| sock.clone_ref(py))
        })
    }

    #[getter]
    fn _protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.get_protocol(py)
    }

    #[getter]
    fn _sock_fd(&self, py: Python<'_>) -> RawFd {
        self.state.with(py, |state| state.fd)
    }

    #[getter]
    fn _conn_lost(&self, py: Python<'_>) -> u32 {
        self.state.with(py, |state| state.lost)
    }

    #[getter]
    fn _closing(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.is_closing)
    }

    #[getter]
    fn _paused(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.is_paused)
    }

    #[getter]
    fn _eof(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.is_ended)
    }

    #[getter]
    fn _protocol_paused(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.protocol_paused)
    }

    #[setter(_protocol_paused)]
    fn set_protocol_paused(&self, py: Python<'_>, value: bool) {
        self.state.with(py, |state| state.protocol_paused = value);
    }

    #[getter]
    fn _empty_waiter(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| {
            state
                .empty_waiter
                .as_ref()
                .map(|waiter| waiter.clone_ref(py))
        })
    }

    #[setter(_empty_waiter)]
    fn set_empty_waiter(&self, py: Python<'_>, waiter: Option<Py<PyAny>>) {
        let old = self.state.with(py, |state| {
            std::mem::replace(&mut state.empty_waiter, waiter)
        });
        drop(old);
    }

    /// The sizes of the buffer, in bytes, at which the protocol goes on writing and pauses: ``(low, high)``.
    #[getter]
    fn _limits(&self, py: Python<'_>) -> (usize, usize) {
        self.state.with(py, |state| (state.low, state.high))
    }

    #[setter(_limits)]
    fn set_limits(&self, py: Python<'_>, limits: (usize, usize)) {
        self.state
            .with(py, |state| (state.low, state.high) = limits);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visit_all = |state: &State| {
            visit.call(&state.loop_)?;
            visit.call(&state.sock)?;
            visit.call(&state.protocol)?;
            visit.call(&state.context)?;
            visit.call(&state.empty_waiter)
        };
        self.state.peek(&visit, visit_all).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self._detach(py));
        self.set_empty_waiter(py, None);
    }
}

/// Refuses what is not bytes or the like, as asyncio does.
///
/// # Errors
/// `TypeError`.
pub fn check_data(data: &Bound<'_, PyAny>) -> PyResult<()> {
    use pyo3::types::{PyByteArray, PyMemoryView};
    let is_bytes_like = PyBytes::is_type_of(data)
        || PyByteArray::is_type_of(data)
        || PyMemoryView::is_type_of(data);
    if is_bytes_like {
        return Ok(());
    }
    let kind = data.get_type();
    Err(PyTypeError::new_err(format!(
        "data argument must be a bytes-like object, not '{}'",
        kind.name()?
    )))
}
