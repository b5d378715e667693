//! A socket's life: how it comes to be, its stand-ins in Python, and how it ends.

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
use crate::sockets::socket::{SocketBase, Unset};
use crate::sockets::wait::Patience;
use crate::waiting::wait::WaitRef;

static NATIVE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static CLOSED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static SOCKET: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static DEFAULT_TIMEOUT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The C-level class of `_sock`.
///
/// # Errors
/// When it cannot be imported.
pub fn native_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    NATIVE.import(py, "gevent._socket3", "_wrefsocket")
}

/// `gevent.socket.socket`.
///
/// # Errors
/// When it cannot be imported.
pub fn socket_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    SOCKET.import(py, "gevent._socket3", "socket")
}

/// What `socket.setdefaulttimeout` set.
///
/// # Errors
/// When it cannot be asked.
pub fn default_timeout(py: Python<'_>) -> PyResult<Option<f64>> {
    DEFAULT_TIMEOUT
        .import(py, "_socket", "getdefaulttimeout")?
        .call0()?
        .extract()
}

impl SocketBase {
    /// A new `gevent.socket.socket` over a non-blocking descriptor that is like this one.
    ///
    /// # Errors
    /// When the object cannot be made; the descriptor is closed then.
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

    /// Python's socket object for the descriptor, or its stand-in when that is gone.
    ///
    /// # Errors
    /// `OSError` when it cannot be made.
    pub fn twin(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if let Some(twin) = self.state.with(py, |state| {
            state.expose();
            state.twin.as_ref().map(|twin| twin.clone_ref(py))
        }) {
            return Ok(twin);
        }
        let open = self.state.with(py, |state| {
            let kind = state.kind | libc::SOCK_NONBLOCK;
            let open = state
                .fd
                .as_ref()
                .map(|fd| (state.family, kind, state.proto, fd.as_raw_fd()));
            open.ok_or(state.gone)
        });
        let twin = match open {
            Ok(arguments) => native_class(py)?.call1(arguments)?,
            Err((number, reason)) => {
                let class = CLOSED.import(py, "gevent._socket3", "_closedsocket")?;
                class.call1((number, reason))?
            }
        };
        let twin = twin.unbind();
        let old = self
            .state
            .with(py, |state| state.twin.replace(twin.clone_ref(py)));
        drop(old);
        Ok(twin)
    }

    /// Closes the descriptor, if there is one.
    ///
    /// # Errors
    /// What `close(2)` reports, and as [`release`](Self::release).
    pub fn close_now(&self, py: Python<'_>) -> PyResult<()> {
        match self.release(py, "closed")? {
            Some((fd, twin)) => finish(py, fd, twin),
            None => Ok(()),
        }
    }

    /// Gives the descriptor up, for `reason`, and tells everybody who waits for it. None when there is none.
    ///
    /// # Errors
    /// When those who wait by a watcher cannot be told.
    pub fn release(
        &self,
        py: Python<'_>,
        reason: &'static str,
    ) -> PyResult<Option<(OwnedFd, Option<Py<PyAny>>)>> {
        let (fd, twin, source, watching, watchers) = self.state.with(py, |state| {
            let fd = state.fd.take();
            if let Some(fd) = &fd {
                state.gone = (fd.as_raw_fd(), reason);
            }
            let twin = if fd.is_some() {
                state.twin.take()
            } else {
                None
            };
            (
                fd,
                twin,
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
        tell(py, waiting.into_iter().chain(watching), watchers, true)?;
        if let Some(hub) = hub::get_hub_if_exists(py)
            && let Ok(loop_) = hub::loop_of(&hub)
        {
            // Whoever selects on it.
            loop_.get().closing(py, fd.as_raw_fd());
        }
        Ok(Some((fd, twin)))
    }

    /// Tells everybody who waits in one direction that there is nothing to wait for any more.
    ///
    /// # Errors
    /// When those who wait by a watcher cannot be told.
    pub fn cancel(&self, py: Python<'_>, direction: Direction) -> PyResult<()> {
        let (parked, watching, watcher) = self.state.with(py, |state| {
            let parked = state.source.as_ref().and_then(|(loop_, key)| {
                let sources = &loop_.get().sources;
                sources
                    .with(py, |sources| sources.take_waiter(*key, direction))?
                    .into_wait()
            });
            let watcher = state.watchers[direction as usize].as_ref();
            (
                parked,
                state.watching[direction as usize].take(),
                watcher.map(|watcher| watcher.clone_ref(py)),
            )
        });
        tell(py, [parked, watching], [watcher], false)
    }

    /// Whether there is a descriptor.
    ///
    /// # Errors
    /// `OSError` (EBADF) when there is none.
    pub fn open(&self, py: Python<'_>) -> PyResult<()> {
        match self.state.with(py, |state| state.fd.is_some()) {
            true => Ok(()),
            false => Err(errno_error(libc::EBADF)),
        }
    }

    fn leave_pair(&self, py: Python<'_>) {
        let pair = self.state.with(py, |state| state.pair.take());
        if let Some((pair, end)) = pair {
            // A detached end goes on without us.
            pair.expose();
            drop(pair.place(py, end, None));
        }
    }

    /// A timeout as programs give it; none for None.
    ///
    /// # Errors
    /// `TypeError` for what is no number, `ValueError` for one below zero.
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

    /// The patience of an operation with a timeout of its own, or without.
    ///
    /// # Errors
    /// As [`timeout_of`](Self::timeout_of).
    pub fn patience(&self, py: Python<'_>, given: Unset<'_>) -> PyResult<Patience> {
        match given {
            Unset::Unset => Ok(Patience::of(self, py)),
            Unset::Set(value) => Ok(Patience::seconds(Self::timeout_of(&value)?)),
        }
    }

    /// A watcher of the loop for one direction, made when first asked for.
    ///
    /// # Errors
    /// `OSError` once closed, and what making it raises.
    pub fn watcher(&self, py: Python<'_>, direction: Direction) -> PyResult<Py<PyAny>> {
        let (known, fd, counted) = self.state.with(py, |state| {
            let known = state.watchers[direction as usize]
                .as_ref()
                .map(|watcher| watcher.clone_ref(py));
            (
                known,
                state.fd.as_ref().map(AsRawFd::as_raw_fd),
                state.counted,
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
            .call_method1(pyo3::intern!(py, "io"), (fd, events, counted))?
            .unbind();
        let old = self.state.with(py, |state| {
            state.watchers[direction as usize].replace(made.clone_ref(py))
        });
        drop(old);
        Ok(made)
    }
}

/// Wakes waits, and those who wait by watchers, with the error that closing gives.
fn tell(
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
    /// Closes what the program forgot to close, as Python's own sockets do.
    fn drop(&mut self) {
        Python::attach(|py| {
            let (fd, twin, source) = self.state.with(py, |state| {
                (state.fd.take(), state.twin.take(), state.source.take())
            });
            let Some(fd) = fd else { return };
            self.leave_pair(py);
            if let Some((loop_, key)) = source {
                drop(loop_.get().deregister_source(py, key));
            }
            if twin.is_some() {
                // The twin owns the descriptor, and warns.
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

/// Closes a descriptor that was released, through its twin if it has one.
///
/// # Errors
/// What `close(2)` reports.
pub fn finish(py: Python<'_>, fd: OwnedFd, twin: Option<Py<PyAny>>) -> PyResult<()> {
    match twin {
        Some(twin) => {
            let _ = fd.into_raw_fd();
            twin.call_method0(py, intern!(py, "close")).map(drop)
        }
        None => descriptor::close(fd).map_err(|error| os_error(&error)),
    }
}
