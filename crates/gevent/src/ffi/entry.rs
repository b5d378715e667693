//! The bottom frames of greenlets: the `run` of every `gevent.Greenlet`, the function that a server spawns, and what calls
//! the `run` of hubs are C functions of this module.
//!
//! Such a frame lies under all other frames of the greenlet and is copied at each of its switches. A method that pyo3
//! generates would add 400 bytes of wrappers. These functions leave the work before and after the call to other
//! functions, which have returned when the greenlet switches, and keep a few pointers.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::attached::attached;
use super::chunks;
use super::collector::Collected;
use crate::greenlets::connection::Handling;
use crate::greenlets::greenlet::Greenlet;
use crate::hub;
use crate::structured::interruption::MOST_IN_A_ROW;
use crate::waiting::running;

/// The call that a greenlet makes.
#[derive(Debug)]
pub struct Call<'py> {
    /// The function.
    pub function: Bound<'py, PyAny>,
    /// Its positional arguments.
    pub args: Bound<'py, PyTuple>,
    /// Its keyword arguments.
    pub kwargs: Option<Bound<'py, PyDict>>,
    /// A function that is called with the same positional arguments afterwards, such as a server's `do_close`.
    pub close: Option<Bound<'py, PyAny>>,
}

/// A `Call` as owned pointers, for the bottom frame of a greenlet, which is copied at every switch and so has to be
/// small.
struct RawCall {
    function: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
    kwargs: *mut ffi::PyObject,
    close: *mut ffi::PyObject,
}

struct Definition(ffi::PyMethodDef);

// SAFETY: the definition is constant data that CPython only reads.
unsafe impl Sync for Definition {}

static RUN: Definition = Definition(ffi::PyMethodDef {
    ml_name: c"run".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunction: run },
    ml_flags: ffi::METH_NOARGS as c_int,
    ml_doc: c"run($self, /)\n--\n\nThe greenlet's body: calls its function and keeps the result. Called when the hub switches to it.".as_ptr(),
});

/// Gives `gevent.Greenlet` its `run`.
///
/// # Errors
/// Fails when the method object cannot be made.
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
    let number = running::next_number();
    // SAFETY: a `gevent.Greenlet` calls this as it begins, with the GIL held.
    unsafe { chunks::begin(number) };
    if let Some(call) = before(slf, number) {
        // SAFETY: three live objects (or NULL keywords) that `before` handed over, released below.
        let result = unsafe { ffi::PyObject_Call(call.function, call.args, call.kwargs) };
        after(slf, call, result);
    }
    // SAFETY: as for `begin`; the function has returned.
    unsafe { chunks::end() };
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
fn before(slf: *mut ffi::PyObject, number: u64) -> Option<RawCall> {
    for_greenlet(slf, |slf| match Greenlet::call(slf, number) {
        Ok(call) => Some(RawCall {
            function: call.function.into_ptr(),
            args: call.args.into_ptr(),
            kwargs: call.kwargs.map_or(std::ptr::null_mut(), Bound::into_ptr),
            close: call.close.map_or(std::ptr::null_mut(), Bound::into_ptr),
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
        let (result, ending) = unsafe {
            let result = Bound::from_owned_ptr_or_err(py, result);
            let args = Bound::from_owned_ptr(py, call.args).cast_into_unchecked();
            let handle = Bound::from_owned_ptr(py, call.function);
            Greenlet::end_last_run(slf, &handle);
            drop(Bound::from_owned_ptr_or_opt(py, call.kwargs));
            let close = Bound::from_owned_ptr_or_opt(py, call.close);
            let handling = close.map(|close| Handling {
                handle,
                close,
                args,
            });
            (result, handling)
        };
        let result = match ending {
            Some(handling) => handling.end(result),
            None => result,
        };
        match result {
            Ok(value) => Greenlet::succeed(slf, value),
            Err(error) => Greenlet::fail(slf, error),
        }
        slf.get().begun().end();
    });
}

/// Runs `f` with the greenlet; a panic becomes the error that the greenlet ends with.
fn for_greenlet<R>(
    slf: *mut ffi::PyObject,
    f: impl FnOnce(&Bound<'_, Greenlet>) -> R,
) -> Option<R> {
    let work = |py: Python<'_>| {
        // SAFETY: CPython calls `run` with an instance of the type that it is a method of, checked by the descriptor.
        let slf = unsafe { Bound::from_borrowed_ptr(py, slf).cast_into_unchecked::<Greenlet>() };
        Ok(match catch_unwind(AssertUnwindSafe(|| f(&slf))) {
            Ok(value) => Some(value),
            Err(_) => {
                Greenlet::fail(&slf, panicked());
                None
            }
        })
    };
    // SAFETY: `run` is called by CPython, with the GIL held.
    unsafe { attached(work) }.flatten()
}

/// Returns the Python exception that is raised in place of a panic.
pub fn panicked() -> PyErr {
    PanicException::new_err("the engine panicked")
}

/// The name of the function that [`handle_function`] makes.
pub const HANDLE_NAME: &str = "_handle_and_close_when_done";

static HANDLE: Definition = Definition(ffi::PyMethodDef {
    ml_name: c"_handle_and_close_when_done".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer {
        PyCFunctionFast: handle_and_close,
    },
    ml_flags: ffi::METH_FASTCALL as c_int,
    ml_doc: c"_handle_and_close_when_done($module, handle, close, args, /)\n--\n\n\
Call ``handle(*args)``, and then, also after an error, ``close(*args)``; return what the former returned."
        .as_ptr(),
});

/// Makes the function that servers spawn, as a function of the module `name`.
///
/// # Errors
/// Fails when the object cannot be made.
pub fn handle_function<'py>(
    module: &Bound<'py, PyModule>,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    function(module, &PyString::new(module.py(), name), &HANDLE)
}

/// Makes a function of the module `name`.
fn function<'py>(
    module: &Bound<'py, PyModule>,
    name: &Bound<'py, PyString>,
    definition: &'static Definition,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the definition is static; the function holds references to the module and the name.
    unsafe {
        let definition = (&raw const definition.0).cast_mut();
        let function = ffi::PyCFunction_NewEx(definition, module.as_ptr(), name.as_ptr());
        Bound::from_owned_ptr_or_err(module.py(), function)
    }
}

unsafe extern "C" fn handle_and_close(
    _: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: by the vectorcall protocol there are `count` arguments, which the caller holds for the time of the call.
    unsafe {
        if count != 3 || ffi::PyTuple_Check(*args.add(2)) == 0 {
            return refused();
        }
        let result = ffi::PyObject_Call(*args, *args.add(2), std::ptr::null_mut());
        closed(*args, *args.add(1), *args.add(2), result)
    }
}

#[cold]
#[inline(never)]
fn refused() -> *mut ffi::PyObject {
    let text = "_handle_and_close_when_done() takes a handler, what closes, and a tuple";
    // SAFETY: CPython calls the function with the GIL held.
    unsafe { attached(|_| Err(PyTypeError::new_err(text))) }.unwrap_or(std::ptr::null_mut())
}

/// # Safety
/// `handle`, `close` and `args`, a tuple, are live objects; `result` is a new reference, or NULL with an error set.
#[inline(never)]
unsafe fn closed(
    handle: *mut ffi::PyObject,
    close: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
    result: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let work = |py: Python<'_>| {
        // SAFETY: by this function's contract.
        let (handling, result) = unsafe {
            let handling = Handling {
                handle: Bound::from_borrowed_ptr(py, handle),
                close: Bound::from_borrowed_ptr(py, close),
                args: Bound::from_borrowed_ptr(py, args).cast_into_unchecked(),
            };
            (handling, Bound::from_owned_ptr_or_err(py, result))
        };
        handling.end(result).map(Bound::into_ptr)
    };
    // SAFETY: CPython calls the function with the GIL held.
    unsafe { attached(work) }.unwrap_or(std::ptr::null_mut())
}

static RUN_HUB: Definition = Definition(ffi::PyMethodDef {
    ml_name: c"run_hub".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer {
        PyCFunction: run_hub,
    },
    ml_flags: ffi::METH_VARARGS as c_int,
    ml_doc: c"run_hub($module, /, *results)\n--\n\n\
Call the method ``run`` of the hub that runs this: the body of hubs. A hub has to outlive the error of a signal's\n\
handler, and the method, which is Python, may be ended by one before it runs the loop; it is called again then."
        .as_ptr(),
});

/// Adds the body of hubs to the module.
///
/// # Errors
/// Fails when the object cannot be made.
pub fn add_body_of_hubs(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let name = module.name()?;
    let body = function(module, &name, &RUN_HUB)?;
    module.add("run_hub", body)
}

unsafe extern "C" fn run_hub(
    _: *mut ffi::PyObject,
    results: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let mut errors = 0;
    loop {
        let run = method_of_hub();
        if run.is_null() {
            return run;
        }
        // SAFETY: CPython calls this with the GIL held and a live tuple; `run` is a new reference.
        let result = unsafe {
            let result = ffi::PyObject_Call(run, results, std::ptr::null_mut());
            ffi::Py_DECREF(run);
            result
        };
        errors += 1;
        if !result.is_null() || errors > MOST_IN_A_ROW || !is_outlived() {
            return result;
        }
    }
}

/// Returns the method `run` of the hub that is the running greenlet as a new reference, or NULL with an error set.
#[inline(never)]
fn method_of_hub() -> *mut ffi::PyObject {
    // SAFETY: CPython calls `run_hub`, which calls this, with the GIL held.
    unsafe { attached(|py| hub::method_run(py).map(Bound::into_ptr)) }
        .unwrap_or(std::ptr::null_mut())
}

/// Takes the error that is set and reports it, and returns true, if the hub is to go on after it.
#[cold]
#[inline(never)]
fn is_outlived() -> bool {
    // SAFETY: as in `method_of_hub`.
    unsafe { attached(|py| hub::outlives(py, PyErr::fetch(py))) }.is_some()
}
