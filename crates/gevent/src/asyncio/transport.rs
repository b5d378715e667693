//! `BaseTransport`, the base class of the transports of stream and of datagram sockets.
//!
//! It has the socket and its protocol, and knows whether the protocol receives data. The classes derived from it move
//! the data.

use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use reactor::Direction;

use crate::args::from_python;
use crate::asyncio::base::{AsyncioLoop, Io};
use crate::asyncio::datagram::DatagramTransport;
use crate::asyncio::registration::Registration;
use crate::asyncio::stream::StreamTransport;
use crate::cell::GilCell;
use crate::errors::errno_error;
use crate::ffi::context;

/// The state that all transports have, behind its cell.
pub struct Endpoint {
    loop_: Option<Py<AsyncioLoop>>,
    sock: Option<Py<PyAny>>,
    protocol: Option<Py<PyAny>>,
    /// The context in which the protocol is called, as for asyncio's handles.
    context: Option<Py<PyAny>>,
    registration: Option<Arc<Registration>>,
    /// The number of times that the connection was found to be lost, or about to be.
    pub(super) lost: u32,
    pub(super) is_reading: bool,
    is_paused: bool,
    pub(super) is_closing: bool,
}

/// The base class of the transports of sockets.
#[pyclass(frozen, subclass, module = "gevent._core", name = "BaseTransport")]
#[derive(Debug)]
pub struct BaseTransport {
    pub(super) endpoint: GilCell<Endpoint>,
    /// The descriptor of the socket, valid for as long as the socket is open.
    pub(super) fd: RawFd,
}

impl BaseTransport {
    /// Makes the base of a new transport.
    ///
    /// # Errors
    /// Fails when `sock` is no socket.
    pub fn new(loop_: Py<AsyncioLoop>, sock: Bound<'_, PyAny>) -> PyResult<Self> {
        let fd: RawFd = sock.call_method0(intern!(sock.py(), "fileno"))?.extract()?;
        Ok(Self {
            endpoint: GilCell::new(Endpoint {
                loop_: Some(loop_),
                sock: Some(sock.unbind()),
                protocol: None,
                context: None,
                registration: None,
                lost: 0,
                is_reading: false,
                is_paused: false,
                is_closing: false,
            }),
            fd,
        })
    }

    /// Returns its registration, unless it does not read yet or is closed.
    pub fn registration(&self, py: Python<'_>) -> Option<Arc<Registration>> {
        self.endpoint
            .with(py, |endpoint| endpoint.registration.clone())
    }

    /// Calls `work`, which does the work that is due in a direction, in the context of the protocol.
    ///
    /// # Errors
    /// Returns the errors of `work`, and `RuntimeError` when the context is entered already.
    pub fn run_ready(
        &self,
        py: Python<'_>,
        direction: Direction,
        work: impl FnOnce() -> PyResult<()>,
    ) -> PyResult<()> {
        let context = self.endpoint.with(py, |endpoint| {
            if let Some(registration) = &endpoint.registration {
                registration.begin(direction);
            }
            endpoint
                .context
                .as_ref()
                .map(|context| context.clone_ref(py))
        });
        match context {
            Some(context) => context::run_in(context.bind(py), work),
            None => work(),
        }
    }

    /// Returns the protocol, if it is to receive data.
    pub fn reader(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.endpoint.with(py, |endpoint| {
            let reads = endpoint.is_reading && endpoint.lost == 0;
            let protocol = endpoint.protocol.as_ref().filter(|_| reads);
            protocol.map(|protocol| protocol.clone_ref(py))
        })
    }

    /// Returns true if the connection is lost or about to be.
    pub fn is_lost(&self, py: Python<'_>) -> bool {
        self.endpoint.with(py, |endpoint| endpoint.lost > 0)
    }

    /// Starts or resumes reading.
    ///
    /// # Errors
    /// Fails when the socket cannot be registered.
    pub fn begin_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let begins = slf.get().endpoint.with(py, |endpoint| {
            let wants = !endpoint.is_closing && !endpoint.is_paused && endpoint.lost == 0;
            let begins = wants && !endpoint.is_reading;
            endpoint.is_reading |= wants;
            begins
        });
        if begins {
            Self::register(slf)?.expect(py, Direction::Read);
        }
        Ok(())
    }

    /// Has the source notify the transport of further data, if the protocol is to receive that.
    pub fn expect_more(&self, py: Python<'_>) {
        let registration = self.endpoint.with(py, |endpoint| {
            let registration = endpoint.registration.as_ref();
            registration.filter(|_| endpoint.is_reading).cloned()
        });
        if let Some(registration) = registration {
            registration.expect(py, Direction::Read);
        }
    }

    /// Stops reading.
    pub fn end_reading(&self, py: Python<'_>) {
        let registration = self.endpoint.with(py, |endpoint| {
            let was = std::mem::take(&mut endpoint.is_reading);
            endpoint.registration.clone().filter(|_| was)
        });
        if let Some(registration) = registration {
            registration.forget(py, Direction::Read);
        }
    }

    /// Registers the socket, if that has not been done, and returns the registration.
    ///
    /// # Errors
    /// Fails when the socket cannot be registered, or is closed.
    pub fn register(slf: &Bound<'_, Self>) -> PyResult<Arc<Registration>> {
        let py = slf.py();
        let this = slf.get();
        if let Some(registration) = this.registration(py) {
            return Ok(registration);
        }
        let Some(owner) = this._loop(py) else {
            return Err(errno_error(libc::EBADF));
        };
        let io = match slf.cast::<StreamTransport>() {
            Ok(stream) => Io::Stream(stream.clone().unbind()),
            Err(_) => Io::Datagram(slf.cast::<DatagramTransport>()?.clone().unbind()),
        };
        let registration = Registration::new(py, owner.get(), this.fd, io)?;
        let context = context::copy_current(py)?.unbind();
        let unused = this.endpoint.with(py, |endpoint| {
            let unused = match &endpoint.context {
                Some(_) => Some(context),
                None => endpoint.context.replace(context),
            };
            let old = endpoint.registration.replace(Arc::clone(&registration));
            (old, unused)
        });
        drop(unused);
        Ok(registration)
    }
}

#[pymethods]
impl BaseTransport {
    /// Have the protocol receive nothing until `resume_reading`.
    fn pause_reading(&self, py: Python<'_>) {
        let pauses = self.endpoint.with(py, |endpoint| {
            let pauses = !endpoint.is_closing && !endpoint.is_paused;
            endpoint.is_paused |= pauses;
            pauses
        });
        if pauses {
            self.end_reading(py);
        }
    }

    /// Have the protocol receive again.
    fn resume_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        let resumes = slf.get().endpoint.with(slf.py(), |endpoint| {
            !endpoint.is_closing && std::mem::take(&mut endpoint.is_paused)
        });
        if resumes {
            Self::begin_reading(slf)?;
        }
        Ok(())
    }

    /// Begin to read; `context` is the one to call the protocol in (None: a copy of the current one).
    #[pyo3(signature = (context = None))]
    fn _begin_reading(slf: &Bound<'_, Self>, context: Option<Py<PyAny>>) -> PyResult<()> {
        let old = slf.get().endpoint.with(slf.py(), |endpoint| {
            std::mem::replace(&mut endpoint.context, context)
        });
        drop(old);
        Self::begin_reading(slf)
    }

    /// Return true if the transport is closed or about to be.
    fn is_closing(&self, py: Python<'_>) -> bool {
        self.endpoint.with(py, |endpoint| endpoint.is_closing)
    }

    /// Return true if the protocol receives data.
    fn is_reading(&self, py: Python<'_>) -> bool {
        self.endpoint
            .with(py, |endpoint| !endpoint.is_closing && !endpoint.is_paused)
    }

    /// Have another protocol called from now on.
    pub(super) fn set_protocol(&self, protocol: &Bound<'_, PyAny>) {
        let new = protocol.clone().unbind();
        let old = self
            .endpoint
            .with(protocol.py(), |endpoint| endpoint.protocol.replace(new));
        drop(old);
    }

    /// Return the protocol, or None once the connection is lost.
    fn get_protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.endpoint.with(py, |endpoint| {
            let protocol = endpoint.protocol.as_ref();
            protocol.map(|protocol| protocol.clone_ref(py))
        })
    }

    /// End the registration of the socket, which is about to be closed, and drop everything else; return the socket.
    fn _detach(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let (registration, owner, sock, rest) = self.endpoint.with(py, |endpoint| {
            endpoint.is_reading = false;
            endpoint.is_closing = true;
            endpoint.lost = endpoint.lost.max(1);
            (
                endpoint.registration.take(),
                endpoint.loop_.take(),
                endpoint.sock.take(),
                (endpoint.protocol.take(), endpoint.context.take()),
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
        self.endpoint.with(py, |endpoint| {
            endpoint.loop_.as_ref().map(|owner| owner.clone_ref(py))
        })
    }

    #[getter]
    pub(super) fn _sock(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.endpoint.with(py, |endpoint| {
            endpoint.sock.as_ref().map(|sock| sock.clone_ref(py))
        })
    }

    #[getter]
    fn _protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.get_protocol(py)
    }

    #[getter]
    fn _sock_fd(&self) -> RawFd {
        self.fd
    }

    #[getter]
    fn _conn_lost(&self, py: Python<'_>) -> u32 {
        self.endpoint.with(py, |endpoint| endpoint.lost)
    }

    #[setter(_conn_lost)]
    fn set_conn_lost(&self, py: Python<'_>, #[pyo3(from_py_with = from_python)] value: u32) {
        self.endpoint.with(py, |endpoint| endpoint.lost = value);
    }

    #[getter]
    fn _closing(&self, py: Python<'_>) -> bool {
        self.is_closing(py)
    }

    #[getter]
    fn _paused(&self, py: Python<'_>) -> bool {
        self.endpoint.with(py, |endpoint| endpoint.is_paused)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visit_all = |endpoint: &Endpoint| {
            visit.call(&endpoint.loop_)?;
            visit.call(&endpoint.sock)?;
            visit.call(&endpoint.protocol)?;
            visit.call(&endpoint.context)
        };
        self.endpoint.peek(&visit, visit_all).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self._detach(py));
    }
}
