//! Enters a context of `contextvars` for a call, and leaves it afterwards.

use pyo3::ffi;
use pyo3::prelude::*;

/// Returns a copy of the current context.
///
/// # Errors
/// Returns `MemoryError`.
#[inline]
pub fn copy_current(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: returns a new reference, or NULL with an error set.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()) }
}

/// Calls `body` with `context` as the current one.
///
/// # Errors
/// Returns `RuntimeError` when the context is entered already, `TypeError` when it is no context, and the error that
/// `body` raises.
#[inline]
pub fn run_in<'py, R>(
    context: &Bound<'py, PyAny>,
    body: impl FnOnce() -> PyResult<R>,
) -> PyResult<R> {
    let py = context.py();
    // SAFETY: the object is live; anything but a context is refused.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } != 0 {
        return Err(PyErr::fetch(py));
    }
    let result = body();
    // SAFETY: entered above. Where `body` left another context behind, this is refused with an error.
    if unsafe { ffi::PyContext_Exit(context.as_ptr()) } != 0 {
        let error = PyErr::fetch(py);
        return result.and(Err(error));
    }
    result
}
