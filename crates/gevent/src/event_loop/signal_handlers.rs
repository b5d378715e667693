//! Runs Python's signal handlers while everything waits.
//!
//! CPython calls handlers between two instructions of the main thread. When its greenlets all wait, there is no instruction
//! but those of the hub, in which nothing may block; and a handler may well want to: it joins a thread, takes a lock, logs,
//! or runs a child. So the hub makes a greenlet for the handlers that are due and goes on.

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::event_loop::loop_::Loop;
use crate::event_loop::ready::Task;
use crate::event_loop::unusual::Unusual;
use crate::ffi::base::PyGreenlet;
use crate::ffi::greenlet;
use crate::hub::{self, BaseHub};

/// Runs the handlers of signals that came, before the hub's next task: in the next callback, an error of a handler would be
/// taken for that callback's, and stop its watcher.
pub fn run(py: Python<'_>, loop_: &Loop) {
    let result = if loop_.unusual.put(Unusual::SIGNALS, false) {
        match running_hub(py) {
            Some(hub) => in_greenlet(&hub, loop_),
            None => py.check_signals(),
        }
    } else {
        loop_.in_task(|| py.check_signals())
    };
    if let Err(error) = result {
        loop_.in_task(|| hub::handle_error(py, loop_, None, error));
    }
}

fn running_hub(py: Python<'_>) -> Option<Bound<'_, BaseHub>> {
    let running = greenlet::current(py).ok()?;
    running.cast_into::<BaseHub>().ok()
}

/// Runs the handlers in a greenlet, which takes their errors back to the hub.
fn in_greenlet(hub: &Bound<'_, BaseHub>, loop_: &Loop) -> PyResult<()> {
    let py = hub.py();
    let handlers = hub.getattr(pyo3::intern!(py, "_run_signal_handlers"))?;
    let handlers = handlers.unbind();
    let body = move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        let py = args.py();
        if let Err(error) = handlers.call0(py) {
            let report = move |py: Python<'_>| {
                hub::handle_error(py, hub::current_loop(py)?.get(), None, error);
                Ok(())
            };
            let loop_ = hub::current_loop(py)?;
            loop_.get().push_first(py, Task::Native(Box::new(report)));
        }
        Ok::<_, PyErr>(())
    };
    let body = PyCFunction::new_closure(py, Some(c"signal handlers"), None, body)?;
    let new = py.get_type::<PyGreenlet>().call1((body, hub))?;
    loop_.in_task(|| greenlet::switch(&new).map(drop))
}
