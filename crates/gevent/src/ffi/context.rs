//! Contexts of `contextvars`: enters one for a call and leaves it afterwards, and gives one to a greenlet.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::greenlet;

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

/// The descriptor `greenlet.greenlet.gr_context`.
static GR_CONTEXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Sets the context that `greenlet` begins with, as greenlet's own class does it: for greenlets whose class does not
/// override `gr_context`, which are then spared the search for it.
///
/// # Errors
/// Returns `MemoryError`, and the error that greenlet's setter raises.
pub fn give<'py>(greenlet: &Bound<'py, PyAny>, context: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = greenlet.py();
    let descriptor = GR_CONTEXT.get_or_try_init(py, || {
        greenlet::class(py)
            .getattr(pyo3::intern!(py, "gr_context"))
            .map(Bound::unbind)
    })?;
    // SAFETY: the objects are live. A slot of a descriptor's type takes the descriptor, the object and the value, and
    // checks that the object is of the descriptor's class; a result other than 0 means that an error is set.
    let done = unsafe {
        (*ffi::Py_TYPE(descriptor.as_ptr()))
            .tp_descr_set
            .map(|set| set(descriptor.as_ptr(), greenlet.as_ptr(), context.as_ptr()))
    };
    match done {
        Some(0) => Ok(()),
        Some(_) => Err(PyErr::fetch(py)),
        None => greenlet.setattr(pyo3::intern!(py, "gr_context"), context),
    }
}
