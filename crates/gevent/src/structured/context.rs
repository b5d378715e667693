//! Greenlets that begin with a copy of their spawner's context.
//!
//! A greenlet begins with an empty context unless its `gr_context` says otherwise, as in gevent. Children of a task group
//! always get a copy, other greenlets by the setting `inherit_context`.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::ffi::context;
use crate::greenlets::greenlet::Greenlet;
use crate::greenlets::spawn_settings::{inherit_context, spawn_settings};

/// Has `greenlet`, which has not begun, run in a copy of the running context.
///
/// # Errors
/// `MemoryError`, and the error that a subclass which overrides `gr_context` raises.
pub fn inherit(greenlet: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = greenlet.py();
    let copy = context::copy_current(py)?;
    match greenlet.cast_exact::<Greenlet>() {
        Ok(greenlet) => context::give(greenlet, &copy),
        Err(_) => greenlet.setattr(pyo3::intern!(py, "gr_context"), copy),
    }
}

/// Returns a call that a native thread is to make: with the setting on, it calls the same function in a copy of the
/// running context.
///
/// # Errors
/// The error of reading the setting, and `MemoryError`.
pub fn inherited_call(
    py: Python<'_>,
    function: Py<PyAny>,
    args: Py<PyTuple>,
) -> PyResult<(Py<PyAny>, Py<PyTuple>)> {
    if !spawn_settings(py)?.1 {
        return Ok((function, args));
    }
    let run = context::copy_current(py)?.getattr(pyo3::intern!(py, "run"))?;
    let mut all = vec![function.into_bound(py)];
    all.extend(args.bind(py).iter());
    Ok((run.unbind(), PyTuple::new(py, all)?.unbind()))
}

/// Set whether spawned greenlets begin with a copy of their spawner's context.
#[pyfunction]
pub fn set_inherit_context(py: Python<'_>, value: bool) {
    inherit_context(py, value);
}
