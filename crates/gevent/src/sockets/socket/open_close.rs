//! Opens and closes sockets, and makes on demand their standard library object (`_sock`) and their watchers.

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use pyo3::exceptions::{PyResourceWarning, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use reactor::Direction;

use crate::errors::{cancel_wait_ex, errno_error, os_error};
use crate::ffi::base::new_instance;
use crate::ffi::descriptor;
use crate::hub;
use crate::registered::{CLOSED_SOCKET, SOCKET, STDLIB_SOCKET};
use crate::sockets::socket::{SocketBase, Unset};
use crate::waiting::deadline::Deadline;
use crate::waiting::wait::WaitRef;

static DEFAULT_TIMEOUT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Returns the class of `_sock`: the standard library's own, in C.
///
/// # Errors
/// Fails when it cannot be imported.
pub fn native_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    STDLIB_SOCKET.class(py)
}

/// Returns `gevent.socket.socket`.
///
/// # Errors
/// Fails when it cannot be imported.
pub fn socket_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    SOCKET.class(py)
}

/// Returns the timeout that `socket.setdefaulttimeout` has set.
///
/// # Errors
/// Fails when the standard library's function cannot be called.
pub fn default_timeout(py: Python<'_>) -> PyResult<Option<f64>> {
    DEFAULT_TIMEOUT
        .import(py, "_socket", "getdefaulttimeout")?
        .call0()?
        .extract()
}

impl SocketBase {
    /// Makes a `gevent.socket.socket` of a non-blocking descriptor, of the same family, type and protocol as this one.
    ///
    /// # Errors
    /// Fails when the object cannot be made; the descriptor is closed then.
    pub fn sibling<'py>(&self, py: Python<'py>, fd: OwnedFd) -> PyResult<Bound<'py, PyAny>> {
        let timeout = default_timeout(py)?;
        let made = new_instance::<SocketBase>(socket_class(py)?)?;
        let (family, kind, proto) = self
            .state
            .with(py, |state| (state.family, state.kind, state.proto));
        made.get().state.with(py, |state| {
            state.fd = Some(fd);
            (state.family, state.kind, state.proto) = (family, kind, proto);
            state.timeout = timeout;
        });
        Ok(made.into_any())
    }

    /// Returns the standard library's socket object for the descriptor, or the one that stands in for it once the descriptor is
    /// closed. It is made at the first call.
    ///
    /// # Errors
    /// Returns `OSError` when it cannot be made.
    pub fn stdlib_socket(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if let Some(stdlib_socket) = self.state.with(py, |state| {
            state.expose();
            state
                .stdlib_socket
                .as_ref()
                .map(|stdlib_socket| stdlib_socket.clone_ref(py))
        }) {
            return Ok(stdlib_socket);
        }
        let open = self.state.with(py, |state| {
            let kind = state.kind | libc::SOCK_NONBLOCK;
            let open = state
                .fd
                .as_ref()
                .map(|fd| (state.family, kind, state.proto, fd.as_raw_fd()));
            open.ok_or(state.gone)
        });
        let stdlib_socket = match open {
            Ok(arguments) => native_class(py)?.call1(arguments)?,
            Err((number, reason)) => CLOSED_SOCKET.get(py)?.call1((number, reason))?,
        };
        let stdlib_socket = stdlib_socket.unbind();
        let old = self.state.with(py, |state| {
            state.stdlib_socket.replace(stdlib_socket.clone_ref(py))
        });
        drop(old);
        Ok(stdlib_socket)
    }

    /// Closes the descriptor, if there is one.
    ///
    /// # Errors
    /// Returns the error that `close(2)` reports, and the errors of [`release`](Self::release).
    pub fn close_now(&self, py: Python<'_>) -> PyResult<()> {
        match self.release(py, "closed")? {
            Some((fd, stdlib_socket)) => finish(py, fd, stdlib_socket),
            None => Ok(()),
        }
    }

    /// Takes the descriptor out of the socket, and wakes everything that waits for it. `reason` goes into the error of
    /// later operations. Returns `None` when there is no descriptor.
    ///
    /// # Errors
    /// Fails when a greenlet that waits by a watcher cannot be woken.
    pub fn release(
        &self,
        py: Python<'_>,
        reason: &'static str,
    ) -> PyResult<Option<(OwnedFd, Option<Py<PyAny>>)>> {
        let (fd, stdlib_socket, source, watching, watchers) = self.state.with(py, |state| {
            let fd = state.fd.take();
            if let Some(fd) = &fd {
                state.gone = (fd.as_raw_fd(), reason);
            }
            let stdlib_socket = if fd.is_some() {
                state.stdlib_socket.take()
            } else {
                None
            };
            (
                fd,
                stdlib_socket,
                state.source.take(),
                std::mem::take(&mut state.watching),
                std::mem::take(&mut state.watchers),
            )
        });
        let Some(fd) = fd else { return Ok(None) };
        self.leave_pair(py);
        let waiting = match &source {
            Some((loop_, key)) => loop_.get().deregister_source(py, *key),
            None => [None, None],
        };
        notify(py, waiting.into_iter().chain(watching), watchers, true)?;
        if let Some(hub) = hub::get_hub_if_exists(py)
            && let Ok(loop_) = hub::loop_of(&hub)
        {
            // Watches that were made by number, as those of `select`, are known to the loop only.
            loop_.get().closing(py, fd.as_raw_fd());
        }
        Ok(Some((fd, stdlib_socket)))
    }

    /// Wakes everything that waits in one direction, as `shutdown` does: there is nothing to wait for any more.
    ///
    /// # Errors
    /// Fails when a greenlet that waits by a watcher cannot be woken.
    pub fn cancel(&self, py: Python<'_>, direction: Direction) -> PyResult<()> {
        let (parked, watching, watcher) = self.state.with(py, |state| {
            let parked = state
                .source
                .as_ref()
                .and_then(|(loop_, key)| loop_.get().take_parked(py, *key, direction));
            let watcher = state.watchers[direction as usize].as_ref();
            (
                parked,
                state.watching[direction as usize].take(),
                watcher.map(|watcher| watcher.clone_ref(py)),
            )
        });
        notify(py, [parked, watching], [watcher], false)
    }

    /// Checks that there is a descriptor.
    ///
    /// # Errors
    /// Returns `OSError` (EBADF) when there is none.
    pub fn open(&self, py: Python<'_>) -> PyResult<()> {
        match self.state.with(py, |state| state.fd.is_some()) {
            true => Ok(()),
            false => Err(errno_error(libc::EBADF)),
        }
    }

    fn leave_pair(&self, py: Python<'_>) {
        let pair = self.state.with(py, |state| state.pair.take());
        if let Some((pair, end)) = pair {
            // A detached descriptor is used by other code from now on.
            pair.expose();
            drop(pair.register(py, end, None));
        }
    }

    /// Converts the timeout that a program passes: seconds, or `None` for no timeout.
    ///
    /// # Errors
    /// Returns `TypeError` for an object that is no number, `ValueError` for a negative number.
    pub fn timeout_of(value: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
        if value.is_none() {
            return Ok(None);
        }
        let seconds: f64 = value.extract().map_err(|error: PyErr| {
            if error.is_instance_of::<PyTypeError>(value.py()) {
                PyTypeError::new_err((
                    "a float is required",
                    value.clone().unbind(),
                    value.get_type().unbind(),
                ))
            } else {
                error
            }
        })?;
        if seconds < 0.0 {
            return Err(PyValueError::new_err("Timeout value out of range"));
        }
        Ok(Some(seconds))
    }

    /// Calls `operation` while no operation of the socket may wait, as with a timeout of zero.
    pub fn without_waiting<R>(&self, py: Python<'_>, operation: impl FnOnce() -> R) -> R {
        let before = self.state.with(py, |state| state.timeout.replace(0.0));
        let result = operation();
        self.state.with(py, |state| state.timeout = before);
        result
    }

    /// Returns the deadline that the socket's timeout sets to an operation.
    #[inline]
    pub fn own_deadline(&self, py: Python<'_>) -> Deadline {
        Deadline::seconds(self.state.with(py, |state| state.timeout))
    }

    /// Returns the deadline of an operation that may be given a timeout of its own.
    ///
    /// # Errors
    /// Returns the errors of [`timeout_of`](Self::timeout_of).
    pub fn deadline(&self, py: Python<'_>, given: Unset<'_>) -> PyResult<Deadline> {
        match given {
            Unset::Unset => Ok(self.own_deadline(py)),
            Unset::Set(value) => Ok(Deadline::seconds(Self::timeout_of(&value)?)),
        }
    }

    /// Returns a watcher of the loop for one direction, which is made at the first call.
    ///
    /// # Errors
    /// Returns `OSError` once the socket is closed, and the error that making the watcher raises.
    pub fn watcher(&self, py: Python<'_>, direction: Direction) -> PyResult<Py<PyAny>> {
        let (known, fd, keeps_loop_alive) = self.state.with(py, |state| {
            let known = state.watchers[direction as usize]
                .as_ref()
                .map(|watcher| watcher.clone_ref(py));
            (
                known,
                state.fd.as_ref().map(AsRawFd::as_raw_fd),
                state.keeps_loop_alive,
            )
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let fd = fd.ok_or_else(|| errno_error(libc::EBADF))?;
        let events = match direction {
            Direction::Read => 1,
            Direction::Write => 2,
        };
        let made = hub::current_loop(py)?
            .bind(py)
            .call_method1(pyo3::intern!(py, "io"), (fd, events, keeps_loop_alive))?
            .unbind();
        let old = self.state.with(py, |state| {
            state.watchers[direction as usize].replace(made.clone_ref(py))
        });
        drop(old);
        Ok(made)
    }
}

/// Wakes waits, and the greenlets that wait by watchers, with the error that closing gives.
fn notify(
    py: Python<'_>,
    waits: impl IntoIterator<Item = Option<WaitRef>>,
    watchers: impl IntoIterator<Item = Option<Py<PyAny>>>,
    close_watchers: bool,
) -> PyResult<()> {
    for wait in waits.into_iter().flatten() {
        wait.wake(py, Err(closed_elsewhere(py)?));
    }
    for watcher in watchers.into_iter().flatten() {
        let hub = hub::current(py)?;
        let error = py.get_type::<cancel_wait_ex>();
        hub.call_method1(intern!(py, "cancel_wait"), (watcher, error, close_watchers))?;
    }
    Ok(())
}

fn closed_elsewhere(py: Python<'_>) -> PyResult<PyErr> {
    Ok(PyErr::from_value(py.get_type::<cancel_wait_ex>().call0()?))
}

impl Drop for SocketBase {
    /// Closes a descriptor that the program forgot to close, with a `ResourceWarning`, as the standard library's sockets do.
    fn drop(&mut self) {
        Python::attach(|py| {
            let (fd, stdlib_socket, source) = self.state.with(py, |state| {
                (
                    state.fd.take(),
                    state.stdlib_socket.take(),
                    state.source.take(),
                )
            });
            let Some(fd) = fd else { return };
            self.leave_pair(py);
            if let Some((loop_, key)) = source {
                drop(loop_.get().deregister_source(py, key));
            }
            if stdlib_socket.is_some() {
                // The standard library's object owns the descriptor: it closes it and warns.
                let _ = fd.into_raw_fd();
                return;
            }
            let pending = PyErr::take(py);
            let text = format!(
                "unclosed <gevent._socket3.socket object, fd={}>\0",
                fd.as_raw_fd()
            );
            if let Ok(text) = std::ffi::CStr::from_bytes_with_nul(text.as_bytes())
                && let Err(error) = PyErr::warn(py, &py.get_type::<PyResourceWarning>(), text, 1)
            {
                error.write_unraisable(py, None);
            }
            let _ = descriptor::close(fd);
            if let Some(pending) = pending {
                pending.restore(py);
            }
        });
    }
}

/// Closes a descriptor that was released, through its standard library object if it has one.
///
/// # Errors
/// Returns the error that `close(2)` reports.
pub fn finish(py: Python<'_>, fd: OwnedFd, stdlib_socket: Option<Py<PyAny>>) -> PyResult<()> {
    match stdlib_socket {
        Some(stdlib_socket) => {
            let _ = fd.into_raw_fd();
            stdlib_socket
                .call_method0(py, intern!(py, "close"))
                .map(drop)
        }
        None => descriptor::close(fd).map_err(|error| os_error(&error)),
    }
}
