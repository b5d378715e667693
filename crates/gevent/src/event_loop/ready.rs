//! The tasks of a loop's ready queue.

use std::fmt;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use reactor::Time;

use crate::event_loop::callback::Callback;
use crate::greenlets::greenlet::Greenlet;
use crate::structured::scope::CancelScope;
use crate::waiting::timeout::Timeout;
use crate::waiting::turn::Turn;
use crate::waiting::wait::WaitRef;
use crate::watcher::Watcher;

/// One thing to do.
pub enum Task {
    /// Resume a parked greenlet.
    Wake(WaitRef),
    /// Go on with a greenlet that yielded.
    Yield(Turn),
    /// Start a `gevent.Greenlet`, unless it was killed meanwhile.
    Start(Py<Greenlet>),
    /// Switch to a greenlet, started or not, with arguments.
    Switch(Py<PyAny>, Py<PyTuple>),
    /// Raise in a greenlet.
    Throw(Box<(Py<PyAny>, PyErr)>),
    /// Raise a timeout whose time is up, unless it was cancelled meanwhile.
    Timeout(Py<Timeout>),
    /// Raise the cancellation of a scope, unless its block is over.
    Scope(Py<CancelScope>),
    /// Call a function that `run_callback` took.
    Callback(Py<Callback>),
    /// Call a watcher's callback, unless it was stopped meanwhile.
    Watcher(Py<Watcher>),
    /// Work of this crate that runs in the hub (and must not block).
    Native(Box<dyn FnOnce(Python<'_>) -> PyResult<()> + Send + Sync>),
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wake(_) => "Wake",
            Self::Yield(_) => "Yield",
            Self::Start(_) => "Start",
            Self::Switch(..) => "Switch",
            Self::Throw(_) => "Throw",
            Self::Timeout(_) => "Timeout",
            Self::Scope(_) => "Scope",
            Self::Callback(_) => "Callback",
            Self::Watcher(_) => "Watcher",
            Self::Native(_) => "Native",
        })
    }
}

/// The ready queue of a loop.
pub type ReadyQueue = primitives::ReadyQueue<Task>;

impl primitives::ready_queue::Task for Task {
    #[inline]
    fn is_resumption(&self) -> bool {
        matches!(self, Self::Yield(_) | Self::Wake(_))
    }

    #[inline]
    fn priority(&self) -> Option<i32> {
        match self {
            Self::Watcher(watcher) => Some(watcher.get().priority()),
            _ => None,
        }
    }
}

/// Reads the clock, for a [`ReadyQueue`].
#[inline]
pub fn clock() -> u64 {
    Time::now().as_nanos()
}
