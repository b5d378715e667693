//! A part of a response's body, as an application yields or writes it.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::ffi::buffer::Frozen;

/// Returns the memory of a part of a body.
///
/// # Errors
/// Returns `TypeError` when it is not bytes-like, as text is not; `BufferError` when it is not in one piece.
pub fn readable(part: &Bound<'_, PyAny>) -> PyResult<Frozen> {
    Frozen::of(part).map_err(|error| {
        let py = part.py();
        if !error.is_instance_of::<PyTypeError>(py) {
            return error;
        }
        match part.get_type().name() {
            Ok(kind) => PyTypeError::new_err(format!(
                "the application must yield or write bytes, not {kind}"
            )),
            Err(error) => error,
        }
    })
}

/// Checks that a part of a body can be sent. An empty part of any type passes, as nothing is sent for it.
///
/// # Errors
/// Fails as [`readable`], and returns the error that the part's `__bool__` or `__len__` raises.
pub fn check_part(part: &Bound<'_, PyAny>) -> PyResult<()> {
    if part.is_exact_instance_of::<PyBytes>() || !part.is_truthy()? {
        return Ok(());
    }
    readable(part).map(drop)
}
