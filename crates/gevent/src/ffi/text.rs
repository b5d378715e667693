//! Conversion between bytes and Python strings of one character a byte (ISO-8859-1), which is what WSGI calls native strings
//! and the heads of HTTP consist of.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// Makes the string that has a character for each byte (ISO-8859-1).
///
/// # Errors
/// Returns `MemoryError`.
#[inline]
pub fn from_latin1<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let size = bytes.len() as ffi::Py_ssize_t;
    // SAFETY: pointer and size are those of a slice; the result is a new string, or NULL with an error set.
    unsafe {
        let text = ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), size, std::ptr::null());
        Ok(Bound::from_owned_ptr_or_err(py, text)?.cast_into_unchecked())
    }
}

/// Returns the characters of a string as bytes; `None` if it has characters beyond U+00FF.
#[inline]
pub fn as_latin1<'a>(text: &'a Bound<'_, PyString>) -> Option<&'a [u8]> {
    let object = text.as_ptr();
    // SAFETY: `object` is a string, which CPython 3.12 has ready at all times and 3.11 once made by any public function.
    // With characters of one byte each, the memory holds as many bytes as characters; it does not change while the string
    // lives.
    unsafe {
        if ffi::PyUnicode_KIND(object) != ffi::PyUnicode_1BYTE_KIND {
            return None;
        }
        let length = ffi::PyUnicode_GET_LENGTH(object).unsigned_abs();
        let start = ffi::PyUnicode_DATA(object).cast::<u8>();
        Some(std::slice::from_raw_parts(start, length))
    }
}
