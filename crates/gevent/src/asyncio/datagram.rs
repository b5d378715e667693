//! `DatagramTransport`, the base class of the transports of datagram sockets.
//!
//! What is received goes to the protocol, and what the kernel takes at once is sent from here. `gevent.aio`'s class, which is
//! derived from it, keeps what has to wait, and has what happens once in a transport's life.

use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use reactor::Direction;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny};

use crate::asyncio::base::{AsyncioLoop, Io};
use crate::asyncio::registration::Registration;
use crate::asyncio::stream::check_data;
use crate::asyncio::turn;
use crate::cell::GilCell;
use crate::errors::errno_error;
use crate::ffi::buffer::{Frozen, Room, Scratch, filled};
use crate::ffi::{context, descriptor};
use crate::sockets::addr;

/// No datagram of the internet is longer.
const LONGEST: usize = 65536;
/// The room that a datagram of another family is given, as in asyncio.
const MOST: usize = 256 * 1024;
/// The number of datagrams that are received before others get their turn.
const BATCH: usize = 8;

struct State {
    loop_: Option<Py<AsyncioLoop>>,
    sock: Option<Py<PyAny>>,
    protocol: Option<Py<PyAny>>,
    context: Option<Py<PyAny>>,
    registration: Option<Arc<Registration>>,
    fd: RawFd,
    family: i32,
    /// The socket has a peer, to which everything is sent.
    is_connected: bool,
    is_reading: bool,
    is_paused: bool,
    is_closing: bool,
    /// Datagrams wait to be sent, so that none may overtake them.
    is_waiting: bool,
    lost: u32,
}

/// The base class of transports of datagram sockets.
#[pyclass(frozen, subclass, module = "gevent._core", name = "DatagramTransport")]
pub struct DatagramTransport {
    state: GilCell<State>,
}

type Datagram<'py> = (PyResult<Bound<'py, PyBytes>>, Option<SocketAddrAny>);

impl DatagramTransport {
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
            Direction::Read => read_ready(slf),
            Direction::Write => slf.call_method0(intern!(py, "_send_waiting")).map(drop),
        };
        match context {
            Some(context) => context::run_in(context.bind(py), work),
            None => work(),
        }
    }

    fn register(slf: &Bound<'_, Self>) -> PyResult<Arc<Registration>> {
        let py = slf.py();
        let this = slf.get();
        if let Some(registration) = this.registration(py) {
            return Ok(registration);
        }
        let (owner, fd) = this.state.with(py, |state| {
            let owner = state.loop_.as_ref().map(|owner| owner.clone_ref(py));
            (owner, state.fd)
        });
        let Some(owner) = owner else {
            return Err(errno_error(libc::EBADF));
        };
        let io = Io::Datagram(slf.clone().unbind());
        let registration = Registration::new(py, owner.get(), fd, io)?;
        let context = context::copy_current(py)?.unbind();
        let unused = this.state.with(py, |state| {
            let unused = match &state.context {
                Some(_) => Some(context),
                None => state.context.replace(context),
            };
            let old = state.registration.replace(Arc::clone(&registration));
            (old, unused)
        });
        drop(unused);
        Ok(registration)
    }

    fn begin_reading(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let begins = slf.get().state.with(py, |state| {
            let wants = !state.is_closing && !state.is_paused && state.lost == 0;
            let begins = wants && !state.is_reading;
            state.is_reading |= wants;
            begins
        });
        if begins {
            Self::register(slf)?.expect(py, Direction::Read);
        }
        Ok(())
    }

    fn end_reading(&self, py: Python<'_>) {
        let registration = self.state.with(py, |state| {
            let was = std::mem::take(&mut state.is_reading);
            state.registration.clone().filter(|_| was)
        });
        if let Some(registration) = registration {
            registration.forget(py, Direction::Read);
        }
    }

    fn try_receive<'py>(&self, py: Python<'py>, family: i32) -> rustix::io::Result<Datagram<'py>> {
        if matches!(family, libc::AF_INET | libc::AF_INET6) {
            self.receive_short(py)
        } else {
            self.receive_long(py)
        }
    }

    #[inline(never)]
    fn receive_short<'py>(&self, py: Python<'py>) -> rustix::io::Result<Datagram<'py>> {
        let mut scratch = Scratch::<LONGEST>::new();
        let (from, got) = scratch.fill(LONGEST, |room| self.receive_into(py, room))?;
        Ok((Ok(PyBytes::new(py, got)), from))
    }

    #[inline(never)]
    fn receive_long<'py>(&self, py: Python<'py>) -> rustix::io::Result<Datagram<'py>> {
        let mut from = None;
        let bytes = filled(py, MOST, |room| {
            from = self.receive_into(py, room)?;
            Ok::<_, Errno>(())
        })?;
        Ok((bytes, from))
    }

    /// Receives a datagram; returns where it came from.
    fn receive_into(
        &self,
        py: Python<'_>,
        room: &mut Room<'_>,
    ) -> rustix::io::Result<Option<SocketAddrAny>> {
        self.state.with(py, |state| {
            let tried = descriptor::borrowed(state.fd, |fd| room.recvfrom(fd, RecvFlags::empty()));
            tried.unwrap_or(Err(Errno::BADF)).map(|(_, from)| from)
        })
    }
}

fn read_ready(slf: &Bound<'_, DatagramTransport>) -> PyResult<()> {
    let py = slf.py();
    let this = slf.get();
    for _ in 0..BATCH {
        let state = this.state.with(py, |state| {
            let protocol = state
                .protocol
                .as_ref()
                .filter(|_| state.is_reading && state.lost == 0);
            protocol.map(|protocol| (protocol.clone_ref(py), state.family))
        });
        let Some((protocol, family)) = state else {
            return Ok(());
        };
        let protocol = protocol.bind(py);
        let called = match this.try_receive(py, family) {
            Ok((bytes, from)) => bytes.and_then(|bytes| {
                let from = match from {
                    // Python says None where a Unix socket has no name.
                    None => py.None().into_bound(py),
                    from => addr::to_python(py, family, from)?,
                };
                protocol.call_method1(intern!(py, "datagram_received"), (bytes, from))
            }),
            Err(Errno::AGAIN) => {
                if let Some(registration) = this.registration(py) {
                    registration.blocked(py, Direction::Read);
                }
                break;
            }
            Err(Errno::INTR) => {
                py.check_signals()?;
                continue;
            }
            Err(error) => {
                let error = errno_error(error.raw_os_error()).into_value(py);
                protocol.call_method1(intern!(py, "error_received"), (error,))
            }
        };
        if let Err(error) = called {
            return go_on_after(slf, error);
        }
    }
    expect_more(py, this);
    Ok(())
}

fn expect_more(py: Python<'_>, this: &DatagramTransport) {
    let registration = this.state.with(py, |state| {
        state.registration.clone().filter(|_| state.is_reading)
    });
    if let Some(registration) = registration {
        registration.expect(py, Direction::Read);
    }
}

/// Reports an error of the protocol, and receives on, as a loop of asyncio does after an error in a callback.
fn go_on_after(slf: &Bound<'_, DatagramTransport>, error: PyErr) -> PyResult<()> {
    let py = slf.py();
    expect_more(py, slf.get());
    if turn::ends_loop(py, &error) {
        return Err(error);
    }
    let error = error.into_value(py);
    slf.call_method1(intern!(py, "_report"), (error,)).map(drop)
}

/// The outcome of sending a datagram.
enum Sent {
    Done,
    /// It waits.
    Waits,
    Failed(Errno),
    /// Only Python's socket knows how to send it there.
    Unknown,
}

#[pymethods]
impl DatagramTransport {
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
                fd,
                family,
                is_connected: false,
                is_reading: false,
                is_paused: false,
                is_closing: false,
                is_waiting: false,
                lost: 0,
            }),
        })
    }

    /// Send a datagram now, and return true; false if it is to be kept until the kernel takes it. `address` is None for the
    /// peer of a connected socket.
    fn _send(
        slf: &Bound<'_, Self>,
        data: &Bound<'_, PyAny>,
        address: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let py = slf.py();
        check_data(data)?;
        let memory = Frozen::of(data)?;
        let bytes = memory.bytes(py);
        let (is_connected, family) = slf
            .get()
            .state
            .with(py, |state| (state.is_connected, state.family));
        let plain = match address {
            Some(address) if !is_connected && family == libc::AF_INET => addr::plain_v4(address),
            _ => None,
        };
        let sent = slf.get().state.with(py, |state| {
            if state.is_waiting {
                return Sent::Waits;
            }
            let tried = descriptor::borrowed(state.fd, |fd| match &plain {
                _ if is_connected => Some(rustix::net::send(fd, bytes, SendFlags::NOSIGNAL)),
                Some(plain) => Some(rustix::net::sendto(fd, bytes, SendFlags::NOSIGNAL, plain)),
                None => None,
            });
            match tried {
                Some(None) => Sent::Unknown,
                Some(Some(Ok(_))) => Sent::Done,
                Some(Some(Err(Errno::AGAIN | Errno::INTR))) => Sent::Waits,
                Some(Some(Err(error))) => Sent::Failed(error),
                None => Sent::Failed(Errno::BADF),
            }
        });
        match sent {
            Sent::Done => Ok(true),
            Sent::Waits => Ok(false),
            Sent::Failed(error) => Err(errno_error(error.raw_os_error())),
            Sent::Unknown => {
                let sock = slf.get()._sock(py);
                let Some(sock) = sock else {
                    return Err(errno_error(libc::EBADF));
                };
                match sock.call_method1(py, intern!(py, "sendto"), (data, address)) {
                    Ok(_) => Ok(true),
                    Err(error)
                        if error.is_instance_of::<pyo3::exceptions::PyBlockingIOError>(py)
                            || error.is_instance_of::<pyo3::exceptions::PyInterruptedError>(py) =>
                    {
                        Ok(false)
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Have `_send_waiting` called as soon as the kernel takes datagrams again, and none sent before that.
    fn _wait_to_send(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let registration = Self::register(slf)?;
        slf.get().state.with(py, |state| state.is_waiting = true);
        registration.blocked(py, Direction::Write);
        registration.expect(py, Direction::Write);
        Ok(())
    }

    /// True while datagrams wait to be sent.
    #[getter]
    fn _is_waiting(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.is_waiting)
    }

    #[setter(_is_waiting)]
    fn set_waiting(&self, py: Python<'_>, value: bool) {
        self.state.with(py, |state| state.is_waiting = value);
    }

    #[setter(_is_connected)]
    fn set_connected(&self, py: Python<'_>, value: bool) {
        self.state.with(py, |state| state.is_connected = value);
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

    /// Receive nothing any more, since the transport is to be closed; return false if that was done before. With `lost`, the
    /// connection counts as lost.
    fn _begin_closing(&self, py: Python<'_>, lost: bool) -> bool {
        let begins = self.state.with(py, |state| {
            let begins = if lost {
                state.lost == 0
            } else {
                !state.is_closing
            };
            state.is_closing = true;
            state.lost += u32::from(lost && begins);
            begins
        });
        self.end_reading(py);
        begins
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
    fn set_protocol(&self, protocol: &Bound<'_, PyAny>) {
        let protocol = protocol.clone();
        let py = protocol.py();
        let protocol = protocol.unbind();
        let old = self
            .state
            .with(py, |state| state.protocol.replace(protocol));
        drop(old);
    }

    /// The protocol, None once the transport is closed.
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

    #[setter(_conn_lost)]
    fn set_conn_lost(&self, py: Python<'_>, value: u32) {
        self.state.with(py, |state| state.lost = value);
    }

    #[getter]
    fn _closing(&self, py: Python<'_>) -> bool {
        self.is_closing(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visit_all = |state: &State| {
            visit.call(&state.loop_)?;
            visit.call(&state.sock)?;
            visit.call(&state.protocol)?;
            visit.call(&state.context)
        };
        self.state.peek(&visit, visit_all).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self._detach(py));
    }
}
