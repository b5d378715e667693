//! Shows the signatures of functions and methods to tools that read them from `__call__`.
//!
//! `inspect.signature(sleep)` reads the function's docstring. `unittest.mock` reads a signature so only from functions and
//! bound methods that are written in Python; of any other callable it takes `__call__`, which CPython documents as
//! `(*args, **kwargs)` for all functions and methods in C. So a mock made by `create_autospec` would accept any call.
//!
//! ```text
//!   mock.create_autospec(Event)().wait(1, 2, 3)
//!   └── Event.wait.__call__                    the type of `wait` has one slot wrapper `__call__` for all methods
//!       └── the slot wrapper's __get__         CPython's: a method-wrapper with (*args, **kwargs)
//!                                              here, for code of this extension: one with (timeout=None)
//! ```
//!
//! The two slot wrappers, of functions and of methods, are given a type derived from their own, whose `__get__` differs as
//! drawn. The objects remain where they are, do what they did, and return for every other function and method what they
//! returned before. Our functions and methods remain of CPython's own types, and that is the reason for this way:
//!
//! - CPython's interpreter has fast instructions for calls of exactly these types. With types derived from them, `acquire`
//!   and `release` of a semaphore took a fifth longer.
//! - Profilers are notified of calls of exactly these types. Calls of a derived type are missing in their reports.
//! - A function written in Python in front of ours costs a frame for each call.

use std::collections::HashMap;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::null_mut;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::attached::attached;
use super::signatures::{documented, of_method};
use crate::cell::GilCell;

type Object = *mut ffi::PyObject;

/// A slot wrapper and the definition of a function or method, by their addresses, which stay theirs to the end of the process.
type Known = (usize, usize);

/// The documented slot wrappers that were asked for so far. Each is made once, as its text is never freed.
static WRAPPERS: GilCell<Option<HashMap<Known, Py<PyAny>>>> = GilCell::in_static(None);

/// Has `__call__` of the functions and methods of this extension state their signatures.
///
/// # Errors
/// Fails when the type of the slot wrappers cannot be made.
pub fn document_calls(py: Python<'_>) -> PyResult<()> {
    let derived = derived_type(py)?;
    for class in [
        &raw mut ffi::PyCFunction_Type,
        &raw mut ffi::PyMethodDescr_Type,
    ] {
        // SAFETY: the type is one of CPython's, which live as long as the process.
        let class = unsafe { PyType::from_borrowed_type_ptr(py, class) };
        let wrapper = class.getattr(pyo3::intern!(py, "__call__"))?;
        // SAFETY: the object is live, and of exactly the type from which the new one is derived without a field more, so its
        // memory is as the new type needs it. Both types live as long as the process and count no references of instances.
        unsafe {
            if ffi::Py_IS_TYPE(wrapper.as_ptr(), &raw mut ffi::PyWrapperDescr_Type) != 0 {
                (*wrapper.as_ptr()).ob_type = derived;
            }
        }
    }
    Ok(())
}

/// Makes the type of the two slot wrappers. It lives to the end of the process, as the types of CPython do.
fn derived_type(py: Python<'_>) -> PyResult<*mut ffi::PyTypeObject> {
    // SAFETY: zeroes are a valid value of each of the fields: NULL, 0 and no function.
    let mut class: Box<ffi::PyTypeObject> =
        Box::new(unsafe { MaybeUninit::zeroed().assume_init() });
    class.ob_base.ob_base = ffi::PyObject_HEAD_INIT;
    class.tp_name = c"gevent._core.wrapper_descriptor".as_ptr();
    class.tp_base = &raw mut ffi::PyWrapperDescr_Type;
    class.tp_flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_METHOD_DESCRIPTOR;
    class.tp_descr_get = Some(get);
    let class = Box::into_raw(class);
    // SAFETY: the type is filled as CPython documents it for types that are no objects of Python code, and is never freed.
    match unsafe { ffi::PyType_Ready(class) } {
        0 => Ok(class),
        _ => Err(PyErr::fetch(py)),
    }
}

/// `__get__` of the slot wrappers: CPython calls it for `function.__call__`.
///
/// # Safety
/// The GIL is held, and `wrapper` is a slot wrapper that [`document_calls`] changed.
unsafe extern "C" fn get(wrapper: Object, callable: Object, class: Object) -> Object {
    // SAFETY: by this function's contract; CPython passes live objects, or NULL.
    unsafe {
        if let Some(definition) = definition_of(callable)
            && is_ours(definition)
        {
            let found = attached(|py| {
                let wrapper = Bound::from_borrowed_ptr(py, wrapper);
                let callable = Bound::from_borrowed_ptr(py, callable);
                documented_wrapper(&wrapper, &callable, definition)
            });
            match found {
                None => return null_mut(),
                Some(None) => {}
                Some(Some(own)) => {
                    let method = ffi::PyWrapper_New(own.as_ptr(), callable);
                    ffi::Py_DECREF(own.into_ptr());
                    return method;
                }
            }
        }
        let base = ffi::PyWrapperDescr_Type.tp_descr_get;
        base.map_or(null_mut(), |base| base(wrapper, callable, class))
    }
}

/// Returns the definition of a function or method in C; none of other objects.
///
/// # Safety
/// The GIL is held, and `callable` is a live object or NULL.
unsafe fn definition_of(callable: Object) -> Option<*mut ffi::PyMethodDef> {
    // SAFETY: by this function's contract; objects of exactly these types are laid out so.
    unsafe {
        if callable.is_null() {
            None
        } else if ffi::PyCFunction_CheckExact(callable) != 0 {
            Some((*callable.cast::<ffi::PyCFunctionObject>()).m_ml)
        } else if ffi::Py_IS_TYPE(callable, &raw mut ffi::PyMethodDescr_Type) != 0 {
            Some((*callable.cast::<ffi::PyMethodDescrObject>()).d_method)
        } else {
            None
        }
    }
}

/// Returns true if the code of a function or method is in this extension.
///
/// # Safety
/// The definition is that of a live function or method.
unsafe fn is_ours(definition: *const ffi::PyMethodDef) -> bool {
    // SAFETY: by this function's contract; each field of the union is the address of one function.
    let code = unsafe { (*definition).ml_meth.PyCFunction } as *const c_void;
    library_of(code).is_some_and(|library| Some(library) == library_of(get as *const c_void))
}

/// Returns the address at which the library begins that has the code at `address`.
fn library_of(address: *const c_void) -> Option<usize> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: the C library compares the address with those of the libraries, without reading what is there, and fills `info`
    // if it finds one. Zeroes are valid for its fields, which are addresses.
    unsafe {
        let found = libc::dladdr(address, info.as_mut_ptr()) != 0;
        found.then(|| info.assume_init().dli_fbase.addr())
    }
}

/// Returns the slot wrapper to bind to `callable` in the place of `wrapper`; none if the callable states no signature.
///
/// # Safety
/// `wrapper` is a slot wrapper that [`document_calls`] changed, `callable` is of the class to which it belongs, and
/// `definition` is that of `callable`.
unsafe fn documented_wrapper(
    wrapper: &Bound<'_, PyAny>,
    callable: &Bound<'_, PyAny>,
    definition: *const ffi::PyMethodDef,
) -> PyResult<Option<Py<PyAny>>> {
    let py = wrapper.py();
    let known = (wrapper.as_ptr().addr(), definition.addr());
    let found = WRAPPERS.with(py, |wrappers| {
        wrappers
            .as_ref()?
            .get(&known)
            .map(|found| found.clone_ref(py))
    });
    if found.is_some() {
        return Ok(found);
    }
    let text = callable
        .getattr(pyo3::intern!(py, "__text_signature__"))?
        .extract::<Option<String>>()?;
    let Some(signature) = text.and_then(|text| of_method(&text)) else {
        return Ok(None);
    };
    let doc = format!("__call__{signature}\n--\n\nCall self as a function.");
    // SAFETY: by this function's contract. The class and the function in its slot are those of the wrapper that is there.
    let own = unsafe {
        let original = wrapper.as_ptr().cast::<ffi::PyWrapperDescrObject>();
        documented(
            wrapper,
            (*original).d_common.d_type,
            (*original).d_wrapped,
            doc,
        )?
        .unbind()
    };
    let former = WRAPPERS.with(py, |wrappers| {
        wrappers
            .get_or_insert_default()
            .insert(known, own.clone_ref(py))
    });
    drop(former);
    Ok(Some(own))
}
