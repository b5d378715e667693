//! Contexts of `contextvars`: enters one for a call and leaves it afterwards, and gives one to a greenlet.

use std::ffi::c_void;

use pyo3::ffi;
use pyo3::impl_::pyclass::PyClassImpl;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::base::PyGreenlet;
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

/// The setter behind `greenlet.greenlet.gr_context`.
struct Setter {
    set: ffi::setter,
    closure: *mut c_void,
}

// SAFETY: the function and its argument are constants of greenlet's extension, which stays loaded.
unsafe impl Send for Setter {}
// SAFETY: as for `Send`; the function is called with the GIL held only.
unsafe impl Sync for Setter {}

static SET_CONTEXT: PyOnceLock<Option<Setter>> = PyOnceLock::new();

/// Returns the setter; `None` if `gr_context` is not what a class in C has for an attribute with a setter.
fn find_setter(py: Python<'_>) -> PyResult<Option<Setter>> {
    let descriptor = greenlet::class(py).getattr(pyo3::intern!(py, "gr_context"))?;
    // SAFETY: an object of exactly this type is laid out as a `PyGetSetDescrObject`, whose definition lives as long as the class.
    unsafe {
        if ffi::Py_IS_TYPE(descriptor.as_ptr(), &raw mut ffi::PyGetSetDescr_Type) == 0 {
            return Ok(None);
        }
        let definition = (*descriptor.as_ptr().cast::<ffi::PyGetSetDescrObject>()).d_getset;
        let closure = (*definition).closure;
        Ok((*definition).set.map(|set| Setter { set, closure }))
    }
}

/// Sets the context that `greenlet` begins with, as greenlet's own class does it: for greenlets whose class does not
/// override `gr_context`, which are then spared the search for it and the test of their class.
///
/// # Errors
/// Returns `MemoryError`, and the error that greenlet's setter raises.
#[inline]
pub fn give<G>(greenlet: &Bound<'_, G>, context: &Bound<'_, PyAny>) -> PyResult<()>
where
    G: PyClassImpl<BaseType = PyGreenlet>,
{
    let py = greenlet.py();
    let Some(setter) = SET_CONTEXT.get_or_try_init(py, || find_setter(py))? else {
        return greenlet
            .as_any()
            .setattr(pyo3::intern!(py, "gr_context"), context);
    };
    // SAFETY: the objects are live, and the first is of a class derived from greenlet's, for which the setter is made. A result
    // other than 0 means that an error is set.
    match unsafe { (setter.set)(greenlet.as_ptr(), context.as_ptr(), setter.closure) } {
        0 => Ok(()),
        _ => Err(PyErr::fetch(py)),
    }
}
