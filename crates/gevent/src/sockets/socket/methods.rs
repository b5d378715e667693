//! The Python methods of `gevent._core.SocketBase`, by which `gevent.socket.socket` does its operations.

use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::sync::Arc;

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use reactor::Direction;
use rustix::io::Errno;

use crate::args::from_python;
use crate::cell::GilCell;
use crate::errors::errno_error;
use crate::ffi::descriptor;
use crate::sockets::pair::Pair;
use crate::sockets::socket::open_close::{default_timeout, finish, native_class, socket_class};
use crate::sockets::socket::{SocketBase, State, Unset};

#[pymethods]
impl SocketBase {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(family=-1, type=-1, proto=-1, fileno=None)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            state: GilCell::new(State::blank()),
        }
    }

    #[pyo3(signature = (family = -1, r#type = -1, proto = -1, fileno = None))]
    fn __init__(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = from_python)] family: i32,
        #[pyo3(from_py_with = from_python)] r#type: i32,
        #[pyo3(from_py_with = from_python)] proto: i32,
        fileno: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let given = |value: i32, default: i32| if value == -1 { default } else { value };
        let stdlib_socket = match fileno {
            None => {
                let kind = given(r#type, libc::SOCK_STREAM) | libc::SOCK_NONBLOCK;
                native_class(py)?.call1((given(family, libc::AF_INET), kind, given(proto, 0)))?
            }
            Some(number) => {
                let stdlib_socket = native_class(py)?.call1((family, r#type, proto, number))?;
                stdlib_socket.call_method1(intern!(py, "setblocking"), (false,))?;
                stdlib_socket
            }
        };
        let family = stdlib_socket.getattr(intern!(py, "family"))?.extract()?;
        let kind = stdlib_socket.getattr(intern!(py, "type"))?.extract()?;
        let proto = stdlib_socket.getattr(intern!(py, "proto"))?.extract()?;
        let number: RawFd = stdlib_socket
            .call_method0(intern!(py, "fileno"))?
            .extract()?;
        let timeout = default_timeout(py)?;
        let old = self.release(py, "closed")?;
        // Nothing fails from here on. An error would drop the descriptor, which closes it, and the standard library's object,
        // which has the same one, would close the number again when it may be another file's.
        let fd = descriptor::adopt(number).map_err(|error| errno_error(error.raw_os_error()))?;
        self.state.with(py, |state| {
            state.fd = Some(fd);
            (state.family, state.kind, state.proto) = (family, kind, proto);
            state.timeout = timeout;
            state.closed = false;
        });
        let stand_in = self.state.with(py, |state| {
            state.stdlib_socket.replace(stdlib_socket.unbind())
        });
        if let Some((fd, stdlib_socket)) = old {
            finish(py, fd, stdlib_socket)?;
        }
        drop(stand_in);
        Ok(())
    }

    /// The C-level socket object of the same descriptor. It never blocks, and never waits.
    #[getter]
    fn _sock(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.stdlib_socket(py)
    }

    #[getter]
    fn _family(&self, py: Python<'_>) -> i32 {
        self.state.with(py, |state| state.family)
    }

    /// The kind of socket, such as ``SOCK_STREAM``, without flags.
    #[getter]
    fn r#type(&self, py: Python<'_>) -> i32 {
        self.state.with(py, |state| state.kind)
    }

    /// The protocol number.
    #[getter]
    fn proto(&self, py: Python<'_>) -> i32 {
        self.state.with(py, |state| state.proto)
    }

    /// The seconds that an operation may take; None for any time, 0.0 if it must not wait.
    #[getter]
    fn timeout(&self, py: Python<'_>) -> Option<f64> {
        self.state.with(py, |state| state.timeout)
    }

    #[setter]
    fn set_timeout(&self, py: Python<'_>, value: Bound<'_, PyAny>) -> PyResult<()> {
        self.settimeout(py, &value)
    }

    /// Set how many seconds an operation may take: None for any time, 0 for not waiting at all.
    #[pyo3(signature = (howlong, /))]
    fn settimeout(&self, py: Python<'_>, howlong: &Bound<'_, PyAny>) -> PyResult<()> {
        let timeout = Self::timeout_of(howlong)?;
        self.state.with(py, |state| state.timeout = timeout);
        Ok(())
    }

    /// Return the timeout in seconds, or None.
    fn gettimeout(&self, py: Python<'_>) -> Option<f64> {
        self.timeout(py)
    }

    /// Make operations wait without a limit (true), or not wait at all (false).
    fn setblocking(&self, py: Python<'_>, flag: &Bound<'_, PyAny>) -> PyResult<()> {
        let timeout = if flag.is_truthy()? { None } else { Some(0.0) };
        self.state.with(py, |state| state.timeout = timeout);
        Ok(())
    }

    /// Return true if operations may wait.
    fn getblocking(&self, py: Python<'_>) -> bool {
        self.timeout(py) != Some(0.0)
    }

    /// True if waiting for this socket keeps the loop running.
    #[getter]
    fn r#ref(&self, py: Python<'_>) -> PyResult<bool> {
        self.open(py)?;
        Ok(self.state.with(py, |state| state.keeps_loop_alive))
    }

    #[setter]
    fn set_ref(&self, py: Python<'_>, value: bool) -> PyResult<()> {
        let watchers = self.state.with(py, |state| {
            state.keeps_loop_alive = value;
            [0, 1].map(|at: usize| {
                state.watchers[at]
                    .as_ref()
                    .map(|watcher| watcher.clone_ref(py))
            })
        });
        for watcher in watchers.into_iter().flatten() {
            watcher.bind(py).setattr(intern!(py, "ref"), value)?;
        }
        Ok(())
    }

    /// The hub of the calling thread, which is the one that operations wait in.
    #[getter]
    fn hub(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(crate::hub::current(py)?.into_any().unbind())
    }

    /// A watcher for reading, for programs that ask for one; the socket's operations do not use it.
    #[getter]
    fn _read_event(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.watcher(py, Direction::Read)
    }

    /// A watcher for writing, for programs that ask for one; the socket's operations do not use it.
    #[getter]
    fn _write_event(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.watcher(py, Direction::Write)
    }

    #[getter]
    fn _io_refs(&self, py: Python<'_>) -> i64 {
        self.state.with(py, |state| state.files)
    }

    #[setter(_io_refs)]
    fn set_io_refs(&self, py: Python<'_>, #[pyo3(from_py_with = from_python)] value: i64) {
        self.state.with(py, |state| state.files = value);
    }

    #[getter]
    fn _closed(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.closed)
    }

    #[setter(_closed)]
    fn set_closed(&self, py: Python<'_>, value: bool) {
        self.state.with(py, |state| state.closed = value);
    }

    /// True if it was closed or detached. The files of `makefile` may still use the descriptor.
    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.closed)
    }

    /// Return the descriptor's number, -1 once closed.
    fn fileno(&self, py: Python<'_>) -> RawFd {
        self.state.with(py, |state| {
            state.expose();
            state.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd)
        })
    }

    /// Close the socket, once the files of `makefile` are closed as well. A greenlet that waits for it gets an
    /// `OSError` (EBADF).
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let in_use = slf.get().state.with(py, |state| {
            state.closed = true;
            state.files > 0
        });
        if in_use {
            return Ok(());
        }
        if slf.get_type().is(socket_class(py)?) {
            return slf.get().close_now(py);
        }
        slf.call_method0(intern!(py, "_real_close")).map(drop)
    }

    /// Close the descriptor now.
    #[pyo3(signature = (*_args))]
    fn _real_close(&self, py: Python<'_>, _args: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close_now(py)
    }

    fn _decref_socketios(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let closed = slf.get().state.with(py, |state| {
            state.files = (state.files - 1).max(0);
            state.closed
        });
        if closed { Self::close(slf) } else { Ok(()) }
    }

    /// Return the descriptor's number and forget it, without closing it; -1 when there is none.
    fn detach(&self, py: Python<'_>) -> PyResult<RawFd> {
        self.state.with(py, |state| state.closed = true);
        let Some((fd, stdlib_socket)) = self.release(py, "detached")? else {
            return Ok(-1);
        };
        let number = fd.into_raw_fd();
        if let Some(stdlib_socket) = stdlib_socket {
            stdlib_socket.call_method0(py, intern!(py, "detach"))?;
        }
        Ok(number)
    }

    /// Shut down receiving (``SHUT_RD``), sending (``SHUT_WR``) or both (``SHUT_RDWR``). A greenlet that waits
    /// for that gets an `OSError` (EBADF).
    #[pyo3(signature = (how, /))]
    fn shutdown(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = from_python)] how: i32,
    ) -> PyResult<()> {
        let how = match how {
            libc::SHUT_RD => rustix::net::Shutdown::Read,
            libc::SHUT_WR => rustix::net::Shutdown::Write,
            libc::SHUT_RDWR => rustix::net::Shutdown::Both,
            _ => return Err(errno_error(libc::EINVAL)),
        };
        if how != rustix::net::Shutdown::Write {
            self.cancel(py, Direction::Read)?;
        }
        if how != rustix::net::Shutdown::Read {
            self.cancel(py, Direction::Write)?;
        }
        let done = self.state.with(py, |state| {
            let fd = state.fd.as_ref().ok_or(Errno::BADF)?;
            rustix::net::shutdown(fd, how)
        });
        done.map_err(|error| errno_error(error.raw_os_error()))
    }

    /// Wait until a system call that would have blocked is worth another try, for at most `seconds`, by default those
    /// of the socket's timeout.
    #[pyo3(signature = (write = false, seconds = Unset::Unset))]
    fn _wait_ready(&self, py: Python<'_>, write: bool, seconds: Unset<'_>) -> PyResult<()> {
        let direction = if write {
            Direction::Write
        } else {
            Direction::Read
        };
        let mut deadline = self.deadline(py, seconds)?;
        self.wait_ready(py, direction, &mut deadline)
    }

    /// Note that `other` is the other end of this one's pair.
    fn _pair_with(&self, py: Python<'_>, other: &Bound<'_, Self>) {
        let pair = Arc::new(Pair::new());
        let mine = (pair.clone(), 0);
        let old = self.state.with(py, |state| state.pair.replace(mine));
        let old_other = other
            .get()
            .state
            .with(py, |state| state.pair.replace((pair, 1)));
        drop((old, old_other));
    }

    /// Forget the known readiness, which `connect` makes stale.
    fn _rearm(&self, py: Python<'_>) {
        self.rearm(py);
    }

    /// Receive up to `nbytes` bytes (0: as many as fit) into `buffer`; return the number of bytes received.
    #[pyo3(signature = (buffer, nbytes = 0, flags = 0))]
    fn recv_into(
        &self,
        buffer: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = from_python)] nbytes: isize,
        #[pyo3(from_py_with = from_python)] flags: i32,
    ) -> PyResult<usize> {
        self.receive_into(buffer, nbytes, flags)
    }

    /// Receive as `recv` does; return the data and the sender's address.
    #[pyo3(signature = (bufsize, flags = 0, /))]
    fn recvfrom<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = from_python)] bufsize: isize,
        #[pyo3(from_py_with = from_python)] flags: i32,
    ) -> PyResult<Bound<'py, PyTuple>> {
        self.receive_from(py, bufsize, flags)
    }

    /// Receive as `recv_into` does; return the number of bytes and the sender's address.
    #[pyo3(signature = (buffer, nbytes = 0, flags = 0))]
    fn recvfrom_into<'py>(
        &self,
        buffer: &Bound<'py, PyAny>,
        #[pyo3(from_py_with = from_python)] nbytes: isize,
        #[pyo3(from_py_with = from_python)] flags: i32,
    ) -> PyResult<Bound<'py, PyTuple>> {
        self.receive_from_into(buffer, nbytes, flags)
    }

    /// Send `data` to an address: ``sendto(data, address)`` or ``sendto(data, flags, address)``.
    #[pyo3(signature = (*args))]
    fn sendto<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::transmit_to(slf, args)
    }

    /// Wait for a connection; return a new socket and the other side's address.
    fn accept<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::accept_next(slf)
    }

    /// Accept a connection without waiting; return its descriptor and the other side's address.
    fn _accept<'py>(slf: &Bound<'py, Self>) -> PyResult<(RawFd, Bound<'py, PyAny>)> {
        match Self::accept_raw(slf)? {
            Some((fd, address)) => Ok((fd.into_raw_fd(), address)),
            None => Err(errno_error(libc::EAGAIN)),
        }
    }

    /// Accept a connection as `accept` does, but without waiting; return None when there is none.
    fn _accept_now<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        Self::accept_if_any(slf)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.state.peek(&visit, |state| {
            visit.call(&state.stdlib_socket)?;
            state
                .watchers
                .iter()
                .try_for_each(|watcher| visit.call(watcher))
        });
        visited.unwrap_or(Ok(()))
    }
}
