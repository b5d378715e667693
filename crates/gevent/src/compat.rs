//! The setting by which calls mean what they meant in gevent 0.13, where that differs from today.

use pyo3::prelude::*;

/// Returns true if the setting `compat` is on.
///
/// # Errors
/// The error of reading the setting, as `GEVENT_COMPAT` may be no boolean.
pub fn is_on(py: Python<'_>) -> PyResult<bool> {
    py.import(pyo3::intern!(py, "gevent._config"))?
        .getattr(pyo3::intern!(py, "config"))?
        .getattr(pyo3::intern!(py, "compat"))?
        .is_truthy()
}
