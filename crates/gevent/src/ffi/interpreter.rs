//! The parts of the running thread's interpreter state beside the stack: the exception being handled, and the context.

use pyo3::ffi;
use pyo3::prelude::*;

/// Returns the exception that the running code handles: the one that `sys.exception()` returns.
pub fn handled_exception(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    // SAFETY: the GIL is held; the result is a new reference, or NULL without an error set.
    let found = unsafe { Bound::from_owned_ptr_or_opt(py, ffi::PyErr_GetHandledException()) };
    found.filter(|exception| !exception.is_none())
}

/// Returns a copy of the context that the running code reads and sets context variables in.
///
/// # Errors
/// `MemoryError`.
#[inline]
pub fn copy_context(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: the GIL is held; the result is a new reference, or NULL with an error set.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()) }
}
