//! A Python call whose result is one pointer, for frames that are copied at each switch.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// Calls `function`; none means that it raised and the error is set in the interpreter, for
/// [`thrown`](super::greenlet::thrown) to fetch.
#[inline]
pub fn call<'py>(
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> Option<Bound<'py, PyAny>> {
    let kwargs = kwargs.map_or(std::ptr::null_mut(), |kwargs| kwargs.as_ptr());
    // SAFETY: all three are live objects of the types the call wants; the result is a new reference or NULL with an error.
    unsafe {
        let result = ffi::PyObject_Call(function.as_ptr(), args.as_ptr(), kwargs);
        Bound::from_owned_ptr_or_opt(function.py(), result)
    }
}
