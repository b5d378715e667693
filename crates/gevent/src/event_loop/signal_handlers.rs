//! Runs Python's signal handlers while everything waits.
//!
//! CPython calls handlers between two instructions of the main thread. When its greenlets all wait, the only
//! instructions are those of the hub, in which nothing may block; and a handler may well block, as it joins a thread,
//! takes a lock, logs, or runs a child. So the hub makes a greenlet for the handlers that are due and goes on.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::cell::Made;
use crate::event_loop::loop_::Loop;
use crate::event_loop::ready::Task;
use crate::ffi::base::PyGreenlet;
use crate::ffi::greenlet;
use crate::hub::{self, BaseHub};

/// Runs the handlers of signals that came, before the hub's next task. If they ran in the next callback instead, an
/// error of a handler would be taken for an error of that callback, and stop its watcher.
pub fn run(py: Python<'_>, loop_: &Loop) {
    let result = if loop_.take_signals() {
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

/// Runs the handlers in a greenlet, which passes their errors on to the hub.
fn in_greenlet(hub: &Bound<'_, BaseHub>, loop_: &Loop) -> PyResult<()> {
    let py = hub.py();
    let handlers = hub.getattr(pyo3::intern!(py, "_run_signal_handlers"))?;
    call_in_greenlet(hub, loop_, handlers.unbind(), PyTuple::empty(py).unbind())
}

/// The name of the attribute that marks a greenlet which runs handlers.
const RUNS_HANDLERS: &str = "_runs_signal_handlers";

/// Returns true in a greenlet that runs handlers. Such a greenlet has the hub do what gevent lets only the hub do,
/// since gevent's handlers run in the hub.
///
/// # Errors
/// Returns the error that reading the greenlet's attribute raises.
pub fn are_running(py: Python<'_>) -> PyResult<bool> {
    greenlet::current(py)?.hasattr(pyo3::intern!(py, RUNS_HANDLERS))
}

fn call_in_greenlet(
    hub: &Bound<'_, BaseHub>,
    loop_: &Loop,
    function: Py<PyAny>,
    arguments: Py<PyTuple>,
) -> PyResult<()> {
    let py = hub.py();
    let body = move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        let py = args.py();
        if let Err(error) = function.call1(py, arguments.clone_ref(py)) {
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
    new.setattr(pyo3::intern!(py, RUNS_HANDLERS), true)?;
    loop_.in_task(|| greenlet::switch(&new).map(drop))
}

/// The object that `signal.signal` of a patched process gives to CPython in place of the program's handler.
///
/// CPython calls handlers wherever the main thread executes Python, which may be a callback in the hub. The program's handler
/// may block, so there it is called in a greenlet, as soon as the callback returns.
#[pyclass(frozen, module = "gevent._core")]
#[derive(Debug)]
pub struct SignalHandler(Made<Py<PyAny>>);

#[pymethods]
impl SignalHandler {
    #[new]
    fn new(handler: Py<PyAny>) -> Self {
        Self(Made::new(handler))
    }

    /// The program's handler.
    #[getter]
    fn handler(&self, py: Python<'_>) -> Py<PyAny> {
        self.0.clone_ref(py)
    }

    fn __call__(
        &self,
        py: Python<'_>,
        signum: Bound<'_, PyAny>,
        frame: Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        if let Some(hub) = running_hub(py) {
            let loop_ = hub::loop_of(&hub)?;
            if !loop_.get().is_destroyed(py) {
                let handler = self.0.clone_ref(py);
                let arguments = PyTuple::new(py, [signum, frame])?.unbind();
                let hub = hub.unbind();
                let later = move |py: Python<'_>| {
                    let hub = hub.bind(py);
                    call_in_greenlet(hub, hub::loop_of(hub)?.get(), handler, arguments)
                };
                loop_.get().push_first(py, Task::Native(Box::new(later)));
                return Ok(py.None());
            }
        }
        self.0.call1(py, (signum, frame))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.peek().map_or(Ok(()), |handler| visit.call(handler))
    }
}
