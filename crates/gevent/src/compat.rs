//! The setting `compat`, with which calls mean what they meant in gevent 0.13 where that differs from today.

use pyo3::prelude::*;

use crate::registered::CONFIG;

/// Returns true if the setting `compat` is on.
///
/// # Errors
/// The error of reading the setting, as `GEVENT_COMPAT` may be no boolean.
pub fn is_on(py: Python<'_>) -> PyResult<bool> {
    CONFIG
        .get(py)?
        .getattr(pyo3::intern!(py, "compat"))?
        .is_truthy()
}
