//! `gevent._core.SocketBase`: the class and its state.
//!
//! The descriptor is in non-blocking mode as long as it is open. The standard library's socket object for it, `_sock`, serves
//! everything that programs seldom do; it is made when it is needed for the first time.

use std::cell::Cell;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use pyo3::prelude::*;
use reactor::SourceKey;

use crate::cell::GilCell;
use crate::event_loop::loop_::Loop;
use crate::sockets::pair::Pair;
use crate::waiting::wait::WaitRef;

pub mod io;
pub mod methods;
pub mod open_close;
pub mod readiness;
pub mod send;

/// The state of a socket.
#[derive(Debug)]
pub struct State {
    /// The descriptor; none before `__init__` and once closed or detached.
    fd: Option<OwnedFd>,
    /// The standard library's socket object of the same descriptor, which it owns from then on; once that is closed, an object
    /// whose methods all raise `EBADF`.
    stdlib_socket: Option<Py<PyAny>>,
    family: i32,
    kind: i32,
    proto: i32,
    /// The seconds that an operation may take; `None` for any time.
    timeout: Option<f64>,
    /// True if waiting for the socket keeps the loop running.
    keeps_loop_alive: bool,
    /// The loop and the key that its readiness is registered under, once it had to wait.
    source: Option<(Py<Loop>, SourceKey)>,
    /// The waits by direction that use a watch instead of the source: those in another loop, and those that do not keep
    /// their loop running.
    watching: [Option<WaitRef>; 2],
    /// The state that this socket shares with the other end of a socket pair, and the number of its own end.
    pair: Option<(Arc<Pair>, usize)>,
    /// True if the last receive filled the small memory that it tried first.
    plenty: Cell<bool>,
    /// The watchers by direction that were made for programs that ask for them.
    watchers: [Option<Py<PyAny>>; 2],
    /// The number of files of `makefile` that use the descriptor.
    files: i64,
    /// True once the program has closed it, though files may still use the descriptor.
    closed: bool,
    /// The number that the descriptor had, and the reason why it is gone, for the object that stands in for `_sock`.
    gone: (RawFd, &'static str),
}

impl State {
    /// Returns the state of a socket before `__init__`.
    pub fn blank() -> Self {
        Self {
            fd: None,
            stdlib_socket: None,
            family: -1,
            kind: -1,
            proto: -1,
            timeout: None,
            keeps_loop_alive: true,
            source: None,
            watching: [None, None],
            pair: None,
            plenty: Cell::new(false),
            watchers: [None, None],
            files: 0,
            closed: false,
            gone: (-1, "closed"),
        }
    }
}

/// The base class of `gevent.socket.socket`: a descriptor with its readiness, its timeout, and the operations that run often.
#[pyclass(
    frozen,
    subclass,
    weakref,
    name = "SocketBase",
    module = "gevent._core"
)]
#[derive(Debug)]
pub struct SocketBase {
    state: GilCell<State>,
}

/// An argument that may be left out, where `None` means something else.
#[derive(Debug)]
pub enum Unset<'py> {
    /// The argument was left out.
    Unset,
    /// The argument was given.
    Set(Bound<'py, PyAny>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Unset<'py> {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self::Set(value.to_owned()))
    }
}
