//! The bottom frame of every `gevent.Greenlet`: its `run` method, as a C function of our own.
//!
//! This frame lies under all that the greenlet does and is copied at each of its switches. A generated method would bring
//! 400 bytes of wrappers with it; this one calls out for the work before and after the function and keeps three pointers.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::greenlets::greenlet::Greenlet;

/// The function of a greenlet with its arguments.
pub struct Call<'py> {
    /// What to call.
    pub function: Bound<'py, PyAny>,
    /// Its positional arguments.
    pub args: Bound<'py, PyTuple>,
    /// Its keyword arguments.
    pub kwargs: Option<Bound<'py, PyDict>>,
}

/// A `Call` as owned pointers, for the one frame that cannot afford more.
struct RawCall {
    function: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
    kwargs: *mut ffi::PyObject,
}

struct Definition(ffi::PyMethodDef);

// SAFETY: the definition is constant data that CPython only reads.
unsafe impl Sync for Definition {}

static RUN: Definition = Definition(ffi::PyMethodDef {
    ml_name: c"run".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunction: run },
    ml_flags: ffi::METH_NOARGS as c_int,
    ml_doc: c"The greenlet's body: calls its function and keeps the result. Called when the hub switches to it.".as_ptr(),
});

/// Gives `gevent.Greenlet` its `run`.
///
/// # Errors
/// When the method object cannot be made.
pub fn install(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<Greenlet>();
    // SAFETY: the type is live and the definition static; the result is a new reference or NULL with an error set.
    let method = unsafe {
        let definition = (&raw const RUN.0).cast_mut();
        Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(class.as_type_ptr(), definition))?
    };
    class.setattr("run", method)
}

unsafe extern "C" fn run(slf: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let Some(call) = before(slf) else {
        return none();
    };
    // SAFETY: three live objects (or NULL keywords) that `before` handed over, released below.
    let result = unsafe { ffi::PyObject_Call(call.function, call.args, call.kwargs) };
    after(slf, call, result);
    none()
}

fn none() -> *mut ffi::PyObject {
    // SAFETY: None is immortal or counted here.
    unsafe {
        let none = ffi::Py_None();
        ffi::Py_INCREF(none);
        none
    }
}

#[inline(never)]
fn before(slf: *mut ffi::PyObject) -> Option<RawCall> {
    for_greenlet(slf, |slf| match Greenlet::call(slf) {
        Ok(call) => Some(RawCall {
            function: call.function.into_ptr(),
            args: call.args.into_ptr(),
            kwargs: call.kwargs.map_or(std::ptr::null_mut(), Bound::into_ptr),
        }),
        Err(error) => {
            Greenlet::fail(slf, error);
            None
        }
    })
    .flatten()
}

#[inline(never)]
fn after(slf: *mut ffi::PyObject, call: RawCall, result: *mut ffi::PyObject) {
    for_greenlet(slf, |slf| {
        let py = slf.py();
        // SAFETY: the pointers are the references that `before` gave up and the call's result, a new reference or NULL
        // with an error set.
        let result = unsafe {
            drop(Bound::from_owned_ptr(py, call.function));
            drop(Bound::from_owned_ptr(py, call.args));
            drop(Bound::from_owned_ptr_or_opt(py, call.kwargs));
            Bound::from_owned_ptr_or_err(py, result)
        };
        match result {
            Ok(value) => Greenlet::succeed(slf, value),
            Err(error) => Greenlet::fail(slf, error),
        }
    });
}

/// Runs safe code for the greenlet; a panic there becomes the greenlet's error.
fn for_greenlet<R>(
    slf: *mut ffi::PyObject,
    f: impl FnOnce(&Bound<'_, Greenlet>) -> R,
) -> Option<R> {
    Python::attach(|py| {
        // SAFETY: CPython calls `run` with an instance of the type that it is a method of, checked by the descriptor.
        let slf = unsafe { Bound::from_borrowed_ptr(py, slf).cast_into_unchecked::<Greenlet>() };
        match catch_unwind(AssertUnwindSafe(|| f(&slf))) {
            Ok(value) => Some(value),
            Err(_) => {
                Greenlet::fail(&slf, panicked());
                None
            }
        }
    })
}

fn panicked() -> PyErr {
    PanicException::new_err("the engine panicked")
}
