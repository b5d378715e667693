//! `gevent._core.SocketBase`: the class and its state. Its methods are in `methods`; `io` has the operations, `wait` how they
//! wait, `life` how descriptors come and go.
//!
//! The descriptor is non-blocking for good. Python's own socket object for it, `_sock`, serves everything that is not
//! worth doing here; it is made when first asked for.

use std::cell::Cell;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use pyo3::prelude::*;
use reactor::SourceKey;

use crate::cell::GilCell;
use crate::event_loop::loop_::Loop;
use crate::sockets::pair::Pair;
use crate::waiting::wait::WaitRef;

/// What a socket is, behind its cell.
pub struct State {
    /// The descriptor; none before `__init__` and once closed or detached.
    pub(crate) fd: Option<OwnedFd>,
    /// Python's socket object of the same descriptor, which then owns it; or what stands for it once that is gone.
    pub(crate) stdlib_socket: Option<Py<PyAny>>,
    pub(crate) family: i32,
    pub(crate) kind: i32,
    pub(crate) proto: i32,
    /// Seconds that an operation may take; none for any time.
    pub(crate) timeout: Option<f64>,
    /// True if waiting for it keeps the loop running.
    pub(crate) keeps_loop_alive: bool,
    /// Where its readiness is known, once it had to wait.
    pub(crate) source: Option<(Py<Loop>, SourceKey)>,
    /// Waits that are not the source's: in another loop, or such as do not count.
    pub(crate) watching: [Option<WaitRef>; 2],
    /// What it shares with the other end of a pair, and which end it is.
    pub(crate) pair: Option<(Arc<Pair>, usize)>,
    /// True if the last receive filled all it was given at first.
    pub(crate) plenty: Cell<bool>,
    pub(crate) watchers: [Option<Py<PyAny>>; 2],
    pub(super) files: i64,
    pub(super) closed: bool,
    pub(crate) gone: (RawFd, &'static str),
}

impl State {
    /// Returns that of a socket before `__init__`.
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

/// The base of `gevent.socket.socket`: a descriptor, its readiness and its timeout, with what runs often.
#[pyclass(
    frozen,
    subclass,
    weakref,
    name = "SocketBase",
    module = "gevent._core"
)]
pub struct SocketBase {
    pub(crate) state: GilCell<State>,
}

/// An argument that may be left out, where None means something else.
pub enum Unset<'py> {
    /// Left out.
    Unset,
    /// Given.
    Set(Bound<'py, PyAny>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Unset<'py> {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self::Set(value.to_owned()))
    }
}
