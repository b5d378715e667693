//! Accesses attributes through CPython's internals, which is faster than by name: those of objects whose instance
//! dictionary is kept elsewhere (`gevent.local`), of classes, and of bound methods.

use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};

type Object = *mut ffi::PyObject;

// CPython exports these functions for `_thread._local` and similar types; PyO3 does not declare them.
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
    fn _PyObject_GetDictPtr(object: Object) -> *mut Object;
}

// These functions are part of CPython's documented API; PyO3 does not declare them.
unsafe extern "C" {
    static mut PyMethod_Type: ffi::PyTypeObject;
    fn PyMethod_Function(method: Object) -> Object;
}

/// Returns what `object.__getattribute__` returns when `dict` is the instance dictionary.
///
/// # Errors
/// Returns `AttributeError`, or the error that a descriptor raises.
#[inline]
pub fn get<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    dict: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: three live objects, of which `name` is a string and `dict` a dictionary; the result is a new reference,
    // or NULL with an error set, as nothing is suppressed.
    unsafe {
        let found =
            _PyObject_GenericGetAttrWithDict(object.as_ptr(), name.as_ptr(), dict.as_ptr(), 0);
        Bound::from_owned_ptr_or_err(object.py(), found)
    }
}

/// Sets an attribute as `object.__setattr__` does when `dict` is the instance dictionary; without a value, deletes it.
///
/// # Errors
/// Returns `AttributeError`, or the error that a descriptor raises.
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

/// Returns the object's own attributes, if it has been given any.
#[inline]
pub fn own<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
    // SAFETY: the object is live; the result is NULL, or points to its field for the dictionary, which is NULL or a
    // dictionary.
    unsafe {
        let field = _PyObject_GetDictPtr(object.as_ptr());
        if field.is_null() {
            return None;
        }
        let dict = Bound::from_borrowed_ptr_or_opt(object.py(), *field)?;
        Some(dict.cast_into_unchecked())
    }
}

/// Returns an attribute that is usually the object's own. The instance dictionary is searched before the class, so the
/// class must have no data descriptor of this name.
///
/// # Errors
/// Returns `AttributeError`, or the error that a descriptor raises.
#[inline]
pub fn own_first<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    if let Some(own) = own(object)
        && let Some(found) = own.get_item(name)?
    {
        return Ok(found);
    }
    object.getattr(name)
}

/// Returns an attribute, or `None` if there is none. As no `AttributeError` is made, this is quicker than `getattr_opt`
/// before CPython 3.13 where the attribute is usually missing.
///
/// # Errors
/// Returns the error that a descriptor, or the `__getattr__` of a class, raises.
#[inline]
pub fn find<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = object.py();
    // SAFETY: a live type object, of which one field is read with the GIL held.
    let getattro = unsafe { (*object.get_type_ptr()).tp_getattro };
    let is_generic = getattro.is_some_and(|getattro| {
        std::ptr::fn_addr_eq(getattro, ffi::PyObject_GenericGetAttr as ffi::getattrofunc)
    });
    if !is_generic {
        return object.getattr_opt(name);
    }
    // SAFETY: two live objects, of which `name` is a string; NULL as the dictionary means that of the object. The result
    // is a new reference, or NULL, without an error set if the attribute is missing, as that is suppressed.
    let found = unsafe {
        let found = _PyObject_GenericGetAttrWithDict(
            object.as_ptr(),
            name.as_ptr(),
            std::ptr::null_mut(),
            1,
        );
        Bound::from_owned_ptr_or_opt(py, found)
    };
    match found {
        None => PyErr::take(py).map_or(Ok(None), Err),
        found => Ok(found),
    }
}

/// Returns a number that changes whenever an attribute of the class or of one of its bases does; `None` where CPython
/// keeps none.
///
/// The number alone is compared: CPython sets it to 0 with every such change, until a look-up gives the class a new
/// one. The flag `Py_TPFLAGS_VALID_VERSION_TAG`, which used to accompany it, is not set any more since CPython 3.13.
#[inline]
pub fn version(class: &Bound<'_, PyType>) -> Option<u32> {
    // SAFETY: a live type object, of which one field is read with the GIL held.
    let tag = unsafe { (*class.as_type_ptr()).tp_version_tag };
    (tag != 0).then_some(tag)
}

/// Returns the function of a bound method; `None` for any other object.
#[inline]
pub fn function_of<'a, 'py>(method: &'a Bound<'py, PyAny>) -> Option<Borrowed<'a, 'py, PyAny>> {
    // SAFETY: the object is live; a bound method has a function for as long as it lives.
    unsafe {
        let is_method = ffi::Py_IS_TYPE(method.as_ptr(), &raw mut PyMethod_Type) != 0;
        is_method.then(|| Borrowed::from_ptr(method.py(), PyMethod_Function(method.as_ptr())))
    }
}
