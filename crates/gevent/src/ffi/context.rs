//! Contexts of `contextvars`: enters one for a call and leaves it afterwards, copies one, and reads and sets that of a
//! greenlet.

use std::ffi::{c_int, c_void};

use pyo3::ffi;
use pyo3::prelude::*;

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

/// Returns a copy of `context`.
///
/// # Errors
/// Returns `MemoryError`, and `TypeError` when it is no context.
#[inline]
pub fn copy<'py>(context: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the object is live; anything but a context is refused. Returns a new reference, or NULL with an error set.
    unsafe { Bound::from_owned_ptr_or_err(context.py(), ffi::PyContext_Copy(context.as_ptr())) }
}

/// Returns the address of what `context` holds now, or 0 if that cannot be seen.
///
/// A change of a context puts another mapping into it and changes none, so that two contexts with the same address hold
/// the same values. CPython has no function for that; the collector is shown the mapping, though.
#[inline]
pub fn contents(context: &Bound<'_, PyAny>) -> usize {
    let mut found = 0_usize;
    // SAFETY: the object is live, and its class's function for the collector only calls `note`, with the number.
    unsafe {
        if let Some(traverse) = (*ffi::Py_TYPE(context.as_ptr())).tp_traverse {
            traverse(context.as_ptr(), note, (&raw mut found).cast());
        }
    }
    found
}

/// Stores the address of `object`, unless it is a context, such as the one that was left for the examined one.
unsafe extern "C" fn note(object: *mut ffi::PyObject, found: *mut c_void) -> c_int {
    // SAFETY: called by `contents` only, with an object that a live context refers to and with the place of the number.
    unsafe {
        if ffi::PyContext_CheckExact(object) == 0 {
            *found.cast::<usize>() = object.addr();
        }
    }
    0
}

/// Returns true if nobody refers to `context`, the current one, but the thread and the caller.
#[inline]
pub fn is_unseen(context: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the object is live.
    unsafe { ffi::Py_REFCNT(context.as_ptr()) <= 2 }
}

/// Returns the attribute of greenlet's class that `gevent.Greenlet` hides by its own.
fn attribute(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    greenlet::class(py).getattr(pyo3::intern!(py, "gr_context"))
}

/// Returns the context of `greenlet`: the current one if it runs, otherwise that which it goes on in. `None` stands for
/// an empty one.
///
/// # Errors
/// Returns greenlet's `ValueError` for a greenlet that runs in another thread.
pub fn of<'py>(greenlet: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = greenlet.py();
    let found = attribute(py)?.call_method1(pyo3::intern!(py, "__get__"), (greenlet,))?;
    Ok(Some(found).filter(|found| !found.is_none()))
}

/// Sets the context of `greenlet`: the current one if it runs, otherwise that which it goes on in.
///
/// # Errors
/// Returns the errors of greenlet's class: `TypeError` for anything but a context or None, `ValueError` for a greenlet
/// that runs in another thread.
pub fn give(greenlet: &Bound<'_, PyAny>, context: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = greenlet.py();
    let set = pyo3::intern!(py, "__set__");
    attribute(py)?
        .call_method1(set, (greenlet, context))
        .map(drop)
}
