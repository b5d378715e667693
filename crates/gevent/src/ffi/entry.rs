//! The two frames that are on nearly every suspended stack, as C functions of our own: `Greenlet.run` at its bottom and
//! `sleep` at its top.
//!
//! A switch copies the stack from one to the other. Generated methods would bring 400 and 800 bytes of wrappers with them;
//! these call out for the work before and after and keep a few pointers.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::greenlet::Greenlet;
use crate::park::{self, Came};
use crate::wait::Wait;

use super::greenlet;

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
    let Some(call) = before(slf) else { return none() };
    // SAFETY: three live objects (or NULL keywords) that `before` handed over, released below.
    let result = unsafe { ffi::PyObject_Call(call.function, call.args, call.kwargs) };
    after(slf, call, result);
    none()
}

static SLEEP: Definition = Definition(ffi::PyMethodDef {
    ml_name: c"sleep".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: sleep },
    ml_flags: (ffi::METH_FASTCALL | ffi::METH_KEYWORDS) as c_int,
    ml_doc: c"sleep(seconds=0, ref=True)\n--\n\n\
Put the running greenlet to sleep for at least `seconds` (a number; nothing or less only lets others run).\n\n\
With `ref` False, the sleep alone does not keep the hub waiting. Raises `TypeError` for what is no number.\n\
Unlike `time.sleep`, only this greenlet sleeps."
        .as_ptr(),
});

/// `gevent.sleep` as a function object.
///
/// # Errors
/// When the object cannot be made.
pub fn sleep_function<'py>(module: &Bound<'py, PyModule>) -> PyResult<Bound<'py, PyAny>> {
    // Where gevent has it, for those who look.
    let name = pyo3::intern!(module.py(), "gevent.hub");
    // SAFETY: the definition is static; the function holds a reference to the module's name.
    unsafe {
        let definition = (&raw const SLEEP.0).cast_mut();
        let function = ffi::PyCFunction_NewEx(definition, std::ptr::null_mut(), name.as_ptr());
        Bound::from_owned_ptr_or_err(module.py(), function)
    }
}

unsafe extern "C" fn sleep(
    _module: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let mut target = std::ptr::null_mut();
    let wait = match begin_sleep(args, count, names, &mut target) {
        Begun::Wait(wait) => wait,
        Begun::Done => return none(),
        Begun::Failed => return std::ptr::null_mut(),
    };
    // SAFETY: a target that was stored is a greenlet, held by the reference that `end_sleep` releases.
    let came = if target.is_null() { std::ptr::null_mut() } else { unsafe { greenlet::suspend_raw(target) } };
    end_sleep(wait, target, came)
}

/// How the first half of `sleep` went.
enum Begun {
    /// Switch to the target that was stored (the sleeper itself where that is NULL), then end this wait.
    Wait(*const Wait),
    /// There was nothing to wait for.
    Done,
    /// An error is set.
    Failed,
}

#[inline(never)]
fn begin_sleep(
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
    target: &mut *mut ffi::PyObject,
) -> Begun {
    let begun = guarded(|py| {
        // SAFETY: the vectorcall protocol: `count` positional arguments, then one for each of the names.
        let (seconds, counted) = unsafe { sleep_arguments(py, args, count, names)? };
        let Some(wait) = crate::sleep::begin(py, seconds.as_ref(), counted)? else { return Ok(Begun::Done) };
        if let Some(next) = park::choose(py, &wait)? {
            *target = next.into_ptr();
        }
        Ok(Begun::Wait(Arc::into_raw(wait)))
    });
    begun.unwrap_or(Begun::Failed)
}

/// # Safety
/// The arguments are those of a vectorcall.
unsafe fn sleep_arguments<'py>(
    py: Python<'py>,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> PyResult<(Option<Bound<'py, PyAny>>, bool)> {
    let count = count.unsigned_abs();
    // SAFETY: by this function's contract.
    let argument = |at: usize| unsafe { Bound::from_borrowed_ptr(py, *args.add(at)) };
    let mut found = [(count > 0).then(|| argument(0)), (count > 1).then(|| argument(1))];
    if count > 2 {
        let message = format!("sleep() takes from 0 to 2 positional arguments but {count} were given");
        return Err(PyTypeError::new_err(message));
    }
    if !names.is_null() {
        // SAFETY: the names of a vectorcall are a tuple of strings.
        let names = unsafe { Bound::from_borrowed_ptr(py, names).cast_into_unchecked::<PyTuple>() };
        for (at, name) in names.iter().enumerate() {
            let slot = match name.extract::<&str>()? {
                "seconds" => &mut found[0],
                "ref" => &mut found[1],
                other => {
                    let message = format!("sleep() got an unexpected keyword argument '{other}'");
                    return Err(PyTypeError::new_err(message));
                }
            };
            if slot.replace(argument(count + at)).is_some() {
                return Err(PyTypeError::new_err(format!("sleep() got multiple values for argument {}", name.repr()?)));
            }
        }
    }
    let [seconds, counted] = found;
    Ok((seconds, counted.map_or(Ok(true), |counted| counted.is_truthy())?))
}

#[inline(never)]
fn end_sleep(wait: *const Wait, target: *mut ffi::PyObject, came: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let ended = guarded(|py| {
        // SAFETY: the wait is the reference that `begin_sleep` leaked, `target` the one it stored; `came` is what the
        // switch returned: a new reference, or NULL with an error set, or NULL where there was no switch.
        let (wait, came) = unsafe {
            let switched = !target.is_null();
            drop(Bound::from_owned_ptr_or_opt(py, target));
            let came = match Bound::from_owned_ptr_or_opt(py, came) {
                Some(value) => Came::Switched(value.unbind()),
                None if switched => Came::Thrown,
                None => Came::Stayed,
            };
            (Arc::from_raw(wait), came)
        };
        park::arrive(py, &wait, came).map(drop)
    });
    if ended.is_some() { none() } else { std::ptr::null_mut() }
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
fn for_greenlet<R>(slf: *mut ffi::PyObject, f: impl FnOnce(&Bound<'_, Greenlet>) -> R) -> Option<R> {
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

/// Runs safe code of a function; none when it failed or panicked, with the error set in the interpreter.
fn guarded<R>(f: impl FnOnce(Python<'_>) -> PyResult<R>) -> Option<R> {
    Python::attach(|py| {
        let result = catch_unwind(AssertUnwindSafe(|| f(py))).unwrap_or_else(|_| Err(panicked()));
        result.map_err(|error| error.restore(py)).ok()
    })
}

fn panicked() -> PyErr {
    PanicException::new_err("the engine panicked")
}
