//! The choice of the exception that propagates where one interrupted another.
//!
//! A greenlet that was cancelled, killed or timed out cleans up, and while it does, the deadline of a scope inside may
//! end the clean-up. Python then has the new exception replace the old one, and the scope inside swallows the new one.
//! The old one would be lost, and with it a cancellation that comes only once. So an exception that the engine raises
//! has the exception that was being handled as its context, like the exception of a `raise` statement. A scope that
//! swallows its own cancellation searches that chain for an interruption that has not reached its target yet, and has
//! it propagate.

use pyo3::exceptions::{PyBaseException, PyKeyboardInterrupt, PySystemExit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::errors::{Cancelled, GreenletExit};
use crate::ffi::interpreter;
use crate::structured::nest::Nest;
use crate::waiting::timeout::Timeout;

/// The most links of a chain of contexts that are followed, as a program may have made the chain circular.
const LONGEST: usize = 1000;

/// The most errors in a row, between which nothing has happened, that may be those of signals. More of them come from what
/// was called, such as the wait of a greenlet whose `switch_out` refuses it.
pub const MOST_IN_A_ROW: u32 = 10;

/// Gives a cancellation, about to be raised in the running greenlet, the exception that is handled there as its
/// context.
#[cold]
#[inline(never)]
pub fn in_context(py: Python<'_>, error: PyErr) -> PyErr {
    if error.is_instance_of::<Cancelled>(py)
        && let Some(handled) = interpreter::handled_exception(py)
        && !handled.is(error.value(py))
    {
        // The context is informative only: where it cannot be set, the error itself is what counts.
        let _ = error
            .value(py)
            .setattr(pyo3::intern!(py, "__context__"), handled);
    }
    error
}

/// Returns true if `exception` is the cancellation of `scope`.
pub fn is_cancellation_of(exception: &Bound<'_, PyAny>, scope: &Py<PyAny>) -> bool {
    scope_of(exception).is_some_and(|other| other.is(scope))
}

fn scope_of<'py>(exception: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    if !exception.is_instance_of::<Cancelled>() {
        return None;
    }
    // The attribute `scope` is a property in Python, where the handler of a signal may raise an error.
    let args = exception.getattr(pyo3::intern!(exception.py(), "args"));
    args.ok()?.cast_into::<PyTuple>().ok()?.get_item(0).ok()
}

/// Returns the exception that the cancellation `exception` of a scope interrupted and that is to propagate: a
/// cancellation of one of the scopes in `nest`, which are around it, a kill, a timeout, or an exception that ends the
/// program. The search ends at `before`, which was being handled as the scope was entered.
pub fn find_interrupted<'py>(
    exception: &Bound<'py, PyAny>,
    nest: &Nest,
    before: Option<&Py<PyAny>>,
) -> Option<Bound<'py, PyAny>> {
    let py = exception.py();
    let name = pyo3::intern!(py, "__context__");
    let own = scope_of(exception)?;
    let mut at = exception.getattr(name).ok()?;
    for _ in 0..LONGEST {
        if at.is_none() || before.is_some_and(|before| before.is(&at)) {
            return None;
        }
        let goes_on = match scope_of(&at) {
            Some(scope) => !scope.is(&own) && nest.contains(py, &scope.unbind()),
            None => is_interruption(&at),
        };
        if goes_on && at.is_instance_of::<PyBaseException>() {
            return Some(at);
        }
        at = at.getattr(name).ok()?;
    }
    None
}

fn is_interruption(exception: &Bound<'_, PyAny>) -> bool {
    exception.is_instance_of::<GreenletExit>()
        || exception.is_instance_of::<Timeout>()
        || ends_program(exception)
}

/// Returns true for an exception that ends the program, unless something catches it.
pub fn ends_program(exception: &Bound<'_, PyAny>) -> bool {
    exception.is_instance_of::<PyKeyboardInterrupt>() || exception.is_instance_of::<PySystemExit>()
}
