//! The hub reports the errors that no greenlet can get: those of callbacks, of greenlets that nobody waits for, and of the
//! handlers of signals.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use super::{BaseHub, current_loop};
use crate::errors::{GreenletExit, HubDestroyed};
use crate::event_loop::loop_::Loop;
use crate::event_loop::ready::Task;
use crate::ffi::collector::Collected;
use crate::ffi::greenlet;

/// Hands an error that no greenlet can get to the loop's error handler, which is the hub.
pub fn handle_error(py: Python<'_>, loop_: &Loop, context: Option<Py<PyAny>>, error: PyErr) {
    let Some(handler) = loop_.error_handler(py) else {
        error.print_and_set_sys_last_vars(py);
        return;
    };
    let handler = handler.bind(py);
    let in_hub = greenlet::current(py).is_ok_and(|running| running.is(handler));
    if in_hub && error.is_instance_of::<HubDestroyed>(py) {
        loop_.end_run(py, error);
        return;
    }
    let before = loop_.progress();
    let Err(error) = call_handler(handler, context, error) else {
        return;
    };
    // A hub that raises an error in the main greenlet is suspended there, and is resumed when that greenlet waits next:
    // either to end, or to run the handler of a signal, which may raise. An error of the error handler itself can only
    // be printed.
    if in_hub && ends_hub(py, &error) {
        loop_.end_run(py, error);
    } else if loop_.progress() != before || !error.is_instance_of::<PyException>(py) {
        let again = move |py: Python<'_>| {
            handle_error(py, current_loop(py)?.get(), None, error);
            Ok(())
        };
        loop_.push(py, Task::Native(Box::new(again)));
    } else {
        error.write_unraisable(py, Some(handler));
    }
}

fn call_handler(
    handler: &Bound<'_, PyAny>,
    context: Option<Py<PyAny>>,
    error: PyErr,
) -> PyResult<()> {
    let py = handler.py();
    let value = error.into_value(py).into_bound(py);
    let traceback = value
        .getattr(pyo3::intern!(py, "__traceback__"))
        .ok()
        .filter(|traceback| !traceback.is_none());
    let args = (context, value.get_type(), &value, traceback);
    handler
        .call_method1(pyo3::intern!(py, "handle_error"), args)
        .map(drop)
}

/// Returns true if an error that was raised in the hub ends the hub.
pub fn ends_hub(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<GreenletExit>(py)
}

/// Has the errors of a loop's callbacks go to `hub`, or be printed.
pub(super) fn set_error_handler(
    py: Python<'_>,
    loop_: &Py<Loop>,
    hub: Option<&Bound<'_, BaseHub>>,
) {
    let handler = hub.map(|hub| hub.clone().into_any().unbind());
    loop_.get().report_errors_to(py, handler);
}

/// Hands an error to the hub while its loop does not run.
pub(super) fn report(hub: &Bound<'_, BaseHub>, loop_: &Py<Loop>, error: PyErr) {
    let py = hub.py();
    let this = loop_.get();
    set_error_handler(py, loop_, Some(hub));
    this.in_task(|| handle_error(py, this, None, error));
    set_error_handler(py, loop_, None);
}

/// Reports an error that ended the method `run` of the running hub before that ran the loop, as the handler of a signal may
/// raise one in its first line.
///
/// # Errors
/// Returns the error unchanged if the loop has run, or if it is one that ends the hub.
pub fn outlives(py: Python<'_>, error: PyErr) -> PyResult<()> {
    let hub = greenlet::current(py)?.cast_into::<BaseHub>()?;
    match hub.get().loop_.get_ref(py) {
        Some(loop_) if !hub.get().begun().is_set() && !ends_hub(py, &error) => {
            report(&hub, &loop_, error);
            Ok(())
        }
        _ => Err(error),
    }
}
