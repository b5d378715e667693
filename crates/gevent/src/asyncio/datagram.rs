//! `DatagramTransport`, the base class of the transports of datagram sockets.
//!
//! It passes datagrams that are received to the protocol, and sends those that the kernel takes without waiting.
//! `gevent.aio`'s class, which is derived from it, queues the others, and sets a transport up and ends it.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use reactor::Direction;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny};

use crate::asyncio::base::AsyncioLoop;
use crate::asyncio::stream::check_data;
use crate::asyncio::transport::BaseTransport;
use crate::asyncio::turn;
use crate::cell::GilCell;
use crate::errors::errno_error;
use crate::ffi::buffer::{Frozen, Room, Scratch, filled};
use crate::ffi::descriptor;
use crate::sockets::addr;

/// The maximum length of a datagram of the internet, which no datagram exceeds.
const LONGEST: usize = 65536;
/// The size of the buffer for a datagram of another family, as in asyncio.
const MOST: usize = 256 * 1024;
/// The number of datagrams that are received before other objects get their turn.
const BATCH: usize = 8;

/// The state of the sending side, behind its cell.
struct Sending {
    /// True if the socket has a peer, to which everything is sent.
    is_connected: bool,
    /// True while datagrams wait to be sent, so that none may overtake them.
    is_waiting: bool,
}

/// The base class of transports of datagram sockets.
#[pyclass(frozen, subclass, extends = BaseTransport, module = "gevent._core", name = "DatagramTransport")]
#[derive(Debug)]
pub struct DatagramTransport {
    sending: GilCell<Sending>,
    family: i32,
}

type Datagram<'py> = (PyResult<Bound<'py, PyBytes>>, Option<SocketAddrAny>);

impl DatagramTransport {
    /// Does the work that is due when its source is worth trying in a direction.
    ///
    /// # Errors
    /// `KeyboardInterrupt` and `SystemExit` of the protocol, and the error that it raises as the last datagram is sent.
    pub fn ready(slf: &Bound<'_, Self>, direction: Direction) -> PyResult<()> {
        let py = slf.py();
        let work = || match direction {
            Direction::Read => read_ready(slf),
            Direction::Write => slf.call_method0(intern!(py, "_send_waiting")).map(drop),
        };
        slf.as_super().get().run_ready(py, direction, work)
    }
}

fn try_receive<'py>(slf: &Bound<'py, DatagramTransport>) -> rustix::io::Result<Datagram<'py>> {
    if matches!(slf.get().family, libc::AF_INET | libc::AF_INET6) {
        receive_short(slf)
    } else {
        receive_long(slf)
    }
}

#[inline(never)]
fn receive_short<'py>(slf: &Bound<'py, DatagramTransport>) -> rustix::io::Result<Datagram<'py>> {
    let mut scratch = Scratch::<LONGEST>::new();
    let (from, got) = scratch.fill(LONGEST, |room| receive_into(slf, room))?;
    Ok((Ok(PyBytes::new(slf.py(), got)), from))
}

#[inline(never)]
fn receive_long<'py>(slf: &Bound<'py, DatagramTransport>) -> rustix::io::Result<Datagram<'py>> {
    let mut from = None;
    let bytes = filled(slf.py(), MOST, |room| {
        from = receive_into(slf, room)?;
        Ok::<_, Errno>(())
    })?;
    Ok((bytes, from))
}

/// Receives a datagram; returns the address that it came from.
fn receive_into(
    slf: &Bound<'_, DatagramTransport>,
    room: &mut Room<'_>,
) -> rustix::io::Result<Option<SocketAddrAny>> {
    let fd = slf.as_super().get().fd;
    let tried = descriptor::borrowed(fd, |fd| room.recvfrom(fd, RecvFlags::empty()));
    tried.unwrap_or(Err(Errno::BADF)).map(|(_, from)| from)
}

fn read_ready(slf: &Bound<'_, DatagramTransport>) -> PyResult<()> {
    let py = slf.py();
    let base = slf.as_super().get();
    for _ in 0..BATCH {
        let Some(protocol) = base.reader(py) else {
            return Ok(());
        };
        let protocol = protocol.bind(py);
        let called = match try_receive(slf) {
            Ok((bytes, from)) => bytes.and_then(|bytes| {
                let from = match from {
                    // Python returns None for the address of a Unix socket without a name.
                    None => py.None().into_bound(py),
                    from => addr::to_python(py, slf.get().family, from)?,
                };
                protocol.call_method1(intern!(py, "datagram_received"), (bytes, from))
            }),
            Err(Errno::AGAIN) => {
                if let Some(registration) = base.registration(py) {
                    registration.blocked(py, Direction::Read);
                }
                break;
            }
            Err(Errno::INTR) => py.check_signals().map(|()| py.None().into_bound(py)),
            Err(error) => {
                let error = errno_error(error.raw_os_error()).into_value(py);
                protocol.call_method1(intern!(py, "error_received"), (error,))
            }
        };
        if let Err(error) = called {
            return go_on_after(slf, error);
        }
    }
    base.expect_more(py);
    Ok(())
}

/// Reports an error of the protocol, and continues to receive, as a loop of asyncio does after an error in a callback.
fn go_on_after(slf: &Bound<'_, DatagramTransport>, error: PyErr) -> PyResult<()> {
    let py = slf.py();
    slf.as_super().get().expect_more(py);
    if turn::ends_loop(py, &error) {
        return Err(error);
    }
    let error = error.into_value(py);
    slf.call_method1(intern!(py, "_report"), (error,)).map(drop)
}

/// The outcome of sending a datagram.
enum Sent {
    Done,
    /// The datagram has to wait.
    Waits,
    Failed(Errno),
    /// The address has a form that only Python's socket can send to.
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
    ) -> PyResult<PyClassInitializer<Self>> {
        let family: i32 = sock.getattr(intern!(sock.py(), "family"))?.extract()?;
        let datagram = Self {
            sending: GilCell::new(Sending {
                is_connected: false,
                is_waiting: false,
            }),
            family,
        };
        Ok(PyClassInitializer::from(BaseTransport::new(r#loop, sock)?).add_subclass(datagram))
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
        let this = slf.get();
        let (is_connected, is_waiting) = this
            .sending
            .with(py, |sending| (sending.is_connected, sending.is_waiting));
        if is_waiting {
            return Ok(false);
        }
        let plain = match address {
            Some(address) if !is_connected && this.family == libc::AF_INET => {
                addr::plain_v4(address)
            }
            _ => None,
        };
        let sent = {
            let fd = slf.as_super().get().fd;
            let tried = descriptor::borrowed(fd, |fd| match &plain {
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
        };
        match sent {
            Sent::Done => Ok(true),
            Sent::Waits => Ok(false),
            Sent::Failed(error) => Err(errno_error(error.raw_os_error())),
            Sent::Unknown => {
                let sock = slf.as_super().get()._sock(py);
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
        let registration = BaseTransport::register(slf.as_super())?;
        slf.get()
            .sending
            .with(py, |sending| sending.is_waiting = true);
        registration.blocked(py, Direction::Write);
        registration.expect(py, Direction::Write);
        Ok(())
    }

    /// True while datagrams wait to be sent.
    #[getter]
    fn _is_waiting(&self, py: Python<'_>) -> bool {
        self.sending.with(py, |sending| sending.is_waiting)
    }

    #[setter(_is_waiting)]
    fn set_waiting(&self, py: Python<'_>, value: bool) {
        self.sending.with(py, |sending| sending.is_waiting = value);
    }

    #[setter(_is_connected)]
    fn set_connected(&self, py: Python<'_>, value: bool) {
        self.sending
            .with(py, |sending| sending.is_connected = value);
    }

    /// Receive nothing any more, since the transport is to be closed; return false if that was done before. With `lost`, the
    /// connection counts as lost.
    fn _begin_closing(slf: &Bound<'_, Self>, lost: bool) -> bool {
        let py = slf.py();
        let base = slf.as_super().get();
        let begins = base.endpoint.with(py, |endpoint| {
            let begins = if lost {
                endpoint.lost == 0
            } else {
                !endpoint.is_closing
            };
            endpoint.is_closing = true;
            endpoint.lost += u32::from(lost && begins);
            begins
        });
        base.end_reading(py);
        begins
    }
}
