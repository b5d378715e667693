//! `loop.async_`: calls a function when another thread asks for it.

use pyo3::prelude::*;

use super::{Kind, Watcher};
use crate::args::from_python;
use crate::event_loop::loop_::Loop;
use crate::event_loop::ready::Task;

/// The event number that callbacks get.
pub(super) const ASYNC: u32 = 0x8_0000;

/// Calls its function in the hub after any thread, or a signal handler, has called `send`.
#[pyclass(extends = Watcher, frozen, subclass, name = "async_", module = "gevent.core")]
#[derive(Debug)]
pub struct Async;

#[pymethods]
impl Async {
    #[new]
    #[pyo3(signature = (r#loop, r#ref = true, priority = None))]
    pub(crate) fn new(
        r#loop: Py<Loop>,
        r#ref: bool,
        #[pyo3(from_py_with = from_python)] priority: Option<i32>,
    ) -> PyClassInitializer<Self> {
        Watcher::base(r#loop, Kind::Async, r#ref, priority).add_subclass(Self)
    }

    /// Have the function called at the next poll, once for all calls of `send` until then. It may be called from any
    /// thread. Nothing happens while the watcher is not active.
    fn send(slf: &Bound<'_, Self>) {
        let py = slf.py();
        let watcher = slf.as_super();
        let this = watcher.get();
        if this.is_active(py)
            && this.mark_pending(py, ASYNC)
            && let Some(inbox) = this.loop_().inbox(py)
        {
            inbox.send(Task::Watcher(watcher.clone().unbind()));
        }
    }

    /// The same as `send`, for use as a callback that is given an argument.
    fn send_ignoring_arg(slf: &Bound<'_, Self>, _ignored: &Bound<'_, PyAny>) {
        Self::send(slf);
    }
}
