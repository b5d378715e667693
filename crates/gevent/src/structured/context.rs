//! Greenlets that begin with a copy of their spawner's context.
//!
//! A greenlet begins with an empty context unless its `gr_context` says otherwise, as in gevent. Children of a task group
//! always get a copy, other greenlets by the setting `inherit_context`.

use pyo3::prelude::*;

use crate::ffi::interpreter;
use crate::greenlets::spawn_settings::SETTINGS;

/// Has `greenlet`, which has not begun, run in a copy of the running context.
///
/// # Errors
/// `MemoryError`, and what a subclass that overrides `gr_context` raises.
pub fn inherit(greenlet: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = greenlet.py();
    greenlet.setattr(
        pyo3::intern!(py, "gr_context"),
        interpreter::copy_context(py)?,
    )
}

/// Set whether spawned greenlets begin with a copy of their spawner's context.
#[pyfunction]
pub fn set_inherit_context(py: Python<'_>, value: bool) {
    SETTINGS.with(py, |settings| settings.inherit_context = value);
}
