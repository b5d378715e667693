//! Runs safe code inside a C function that CPython called.
//!
//! Code that CPython calls already holds the GIL, so the check of `Python::attach` would be wasted, and it costs more than
//! many a call does here. The methods that pyo3 generates skip the check through a private trampoline of pyo3's, which also
//! turns panics into Python exceptions; so does this module.

use std::ffi::c_int;
use std::marker::PhantomData;

use pyo3::ffi;
use pyo3::impl_::trampoline::{MethodDef, inquiry};
use pyo3::prelude::*;

use super::thread;

struct Work<F, R> {
    body: Option<F>,
    result: Option<R>,
}

struct Run<F, R>(PhantomData<(F, R)>);

impl<F, R> MethodDef<inquiry::Func> for Run<F, R>
where
    F: FnOnce(Python<'_>) -> PyResult<R>,
{
    const METH: inquiry::Func = run::<F, R>;
}

/// # Safety
/// `work` points to a `Work<F, R>` that nobody else uses meanwhile.
unsafe fn run<F, R>(py: Python<'_>, work: *mut ffi::PyObject) -> PyResult<c_int>
where
    F: FnOnce(Python<'_>) -> PyResult<R>,
{
    // SAFETY: by this function's contract.
    let work = unsafe { &mut *work.cast::<Work<F, R>>() };
    let Some(body) = work.body.take() else {
        return Ok(0);
    };
    body(py).map(|result| {
        work.result = Some(result);
        0
    })
}

/// Runs `body` and returns its result, or `None` when it failed or panicked: then an error is set in the interpreter.
///
/// # Safety
/// The GIL is held.
#[inline(always)]
pub unsafe fn attached<F, R>(body: F) -> Option<R>
where
    F: FnOnce(Python<'_>) -> PyResult<R>,
{
    thread::enter();
    let mut work = Work {
        body: Some(body),
        result: None,
    };
    // SAFETY: the GIL is held, by this function's contract; pyo3 passes the pointer on to `run` and does nothing else with
    // it.
    unsafe { inquiry::<Run<F, R>>((&raw mut work).cast()) };
    work.result
}
