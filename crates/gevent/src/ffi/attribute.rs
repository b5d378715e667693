//! Attributes of an object whose instance dictionary is somewhere else.

use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

type Object = *mut ffi::PyObject;

// CPython exports these for `_thread._local` and its like; PyO3 does not declare them.
unsafe extern "C" {
    fn _PyObject_GenericGetAttrWithDict(
        object: Object,
        name: Object,
        dict: Object,
        suppress: c_int,
    ) -> Object;
    fn _PyObject_GenericSetAttrWithDict(
        object: Object,
        name: Object,
        value: Object,
        dict: Object,
    ) -> c_int;
}

/// What `object.__getattribute__` returns when `dict` is the instance dictionary.
///
/// # Errors
/// `AttributeError`; what a descriptor raises.
#[inline]
pub fn get<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    dict: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: three live objects, of which `name` is a string and `dict` a dictionary; the result is a new reference, or
    // NULL with an error set, as nothing is suppressed.
    unsafe {
        let found =
            _PyObject_GenericGetAttrWithDict(object.as_ptr(), name.as_ptr(), dict.as_ptr(), 0);
        Bound::from_owned_ptr_or_err(object.py(), found)
    }
}

/// What `object.__setattr__` (or, without a value, `object.__delattr__`) does when `dict` is the instance dictionary.
///
/// # Errors
/// `AttributeError`; what a descriptor raises.
#[inline]
pub fn set(
    object: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    value: Option<&Bound<'_, PyAny>>,
    dict: &Bound<'_, PyDict>,
) -> PyResult<()> {
    let value = value.map_or(std::ptr::null_mut(), Bound::as_ptr);
    // SAFETY: live objects, of which `name` is a string and `dict` a dictionary; NULL as the value means deletion; -1
    // means that an error is set.
    match unsafe {
        _PyObject_GenericSetAttrWithDict(object.as_ptr(), name.as_ptr(), value, dict.as_ptr())
    } {
        0 => Ok(()),
        _ => Err(PyErr::fetch(object.py())),
    }
}
