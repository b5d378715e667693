//! The memory of Python objects as slices: what is sent, what is received into, and bytes objects filled in place.

use std::mem::MaybeUninit;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

unsafe extern "C" {
    // Part of CPython's documented API; pyo3 does not declare it.
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> std::ffi::c_int;
}

/// The memory of a bytes-like object, which it keeps alive and in place. It may wait in a suspended greenlet: only the
/// object's memory, on the heap, is ever given out.
pub enum Readable<'py> {
    /// Bytes need no buffer to be asked for.
    Bytes(Bound<'py, PyBytes>),
    /// Anything else that has one piece of memory.
    Buffer(PyUntypedBuffer),
}

impl<'py> Readable<'py> {
    /// The memory of `object`.
    ///
    /// # Errors
    /// `TypeError` when it is not bytes-like, `BufferError` when it is not in one piece.
    #[inline]
    pub fn of(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        match object.cast_exact::<PyBytes>() {
            Ok(bytes) => Ok(Self::Bytes(bytes.clone())),
            Err(_) => Ok(Self::Buffer(in_one_piece(object)?)),
        }
    }

    /// What is in it now. Nothing may run Python code while the slice is used.
    #[inline]
    pub fn bytes<'a>(&'a self, _py: Python<'a>) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            Self::Buffer(buffer) if buffer.len_bytes() == 0 => &[],
            // SAFETY: the exporter keeps the `len_bytes` bytes in place until the buffer is released, which needs `self`;
            // they are in one piece (checked) and not empty, so the pointer is valid. With the GIL held and no Python code
            // running, nobody writes to them.
            Self::Buffer(buffer) => unsafe {
                std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes())
            },
        }
    }
}

/// The memory of a writable bytes-like object, kept as in [`Readable`].
pub struct Writable(PyUntypedBuffer);

impl Writable {
    /// The memory of `object`, for the function `name` in messages.
    ///
    /// # Errors
    /// `TypeError` when it is not bytes-like or not writable, `BufferError` when it is not in one piece.
    pub fn of(object: &Bound<'_, PyAny>, name: &str) -> PyResult<Self> {
        let refused = || {
            let kind = object
                .get_type()
                .name()
                .map_or_else(|_| "object".to_owned(), |name| name.to_string());
            PyTypeError::new_err(format!(
                "{name}() argument 1 must be read-write bytes-like object, not {kind}"
            ))
        };
        if object.is_instance_of::<pyo3::types::PyString>() {
            return Err(refused());
        }
        let buffer = in_one_piece(object)?;
        if buffer.readonly() {
            Err(refused())
        } else {
            Ok(Self(buffer))
        }
    }

    /// The memory. Nothing may run Python code while the slice is used.
    #[inline]
    pub fn bytes<'a>(&'a mut self, _py: Python<'a>) -> &'a mut [u8] {
        if self.0.len_bytes() == 0 {
            return &mut [];
        }
        // SAFETY: as in `Readable::bytes`; the buffer is writable, and nobody else reads or writes it while the GIL is
        // held and no Python code runs.
        unsafe { std::slice::from_raw_parts_mut(self.0.buf_ptr().cast::<u8>(), self.0.len_bytes()) }
    }
}

fn in_one_piece(object: &Bound<'_, PyAny>) -> PyResult<PyUntypedBuffer> {
    let buffer = PyUntypedBuffer::get(object)?;
    if buffer.is_c_contiguous() {
        Ok(buffer)
    } else {
        Err(PyBufferError::new_err(
            "memoryview: underlying buffer is not C-contiguous",
        ))
    }
}

/// A bytes object of at most `capacity` bytes, made of what `fill` wrote at the start of the memory it is given.
///
/// # Errors
/// What `fill` reports. Inside: `MemoryError`.
pub fn filled<E>(
    py: Python<'_>,
    capacity: usize,
    fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize, E>,
) -> Result<PyResult<Bound<'_, PyBytes>>, E> {
    let Ok(size) = ffi::Py_ssize_t::try_from(capacity) else {
        return Ok(Err(pyo3::exceptions::PyMemoryError::new_err(())));
    };
    // SAFETY: with NULL for its content, a bytes object of `size` uninitialised bytes is made; NULL means MemoryError.
    let made = unsafe {
        Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(std::ptr::null(), size))
    };
    let bytes = match made {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Err(error)),
    };
    // SAFETY: the object is new, so nobody else sees its `capacity` bytes.
    let spare = unsafe {
        std::slice::from_raw_parts_mut(
            ffi::PyBytes_AsString(bytes.as_ptr()).cast::<MaybeUninit<u8>>(),
            capacity,
        )
    };
    let length = fill(spare)?.min(capacity);
    let mut raw = bytes.into_ptr();
    // SAFETY: the only reference to a bytes object goes in; a new reference, or NULL with MemoryError set, comes out. The
    // first `length` bytes, which remain, were written by `fill`.
    Ok(unsafe {
        if length != capacity {
            _PyBytes_Resize(&raw mut raw, length as ffi::Py_ssize_t);
        }
        Bound::from_owned_ptr_or_err(py, raw).map(|bytes| bytes.cast_into_unchecked())
    })
}
