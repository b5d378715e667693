//! The exception that the running thread handles: interpreter state that a greenlet has beside its stack.

use pyo3::ffi;
use pyo3::prelude::*;

/// Returns the exception that the running code handles: the one that `sys.exception()` returns.
pub fn handled_exception(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    // SAFETY: the GIL is held; the result is a new reference, or NULL without an error set.
    let found = unsafe { Bound::from_owned_ptr_or_opt(py, ffi::PyErr_GetHandledException()) };
    found.filter(|exception| !exception.is_none())
}
