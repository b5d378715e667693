//! The memory of Python objects as slices: what is sent, what is received into, and bytes objects filled in place.

use std::ffi::c_int;
use std::mem::MaybeUninit;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

unsafe extern "C" {
    // Part of CPython's documented API; pyo3 does not declare it.
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> c_int;
}

/// A buffer that an object lends: one piece of its memory, which stays in place meanwhile.
pub struct Loan(Box<ffi::Py_buffer>);

// SAFETY: the structure is only read, and the memory only touched, with the GIL held (the accessors take a token).
unsafe impl Send for Loan {}
// SAFETY: as for `Send`.
unsafe impl Sync for Loan {}

impl Loan {
    fn of(object: &Bound<'_, PyAny>, flags: c_int) -> PyResult<Self> {
        let mut loan = Box::new(ffi::Py_buffer::new());
        // SAFETY: `loan` is a valid structure on the heap, which stays where it is until it is released.
        match unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *loan, flags) } {
            0 => Ok(Self(loan)),
            _ => Err(PyErr::fetch(object.py())),
        }
    }

    fn memory(&self) -> (*mut u8, usize) {
        match usize::try_from(self.0.len) {
            Ok(len) if len > 0 => (self.0.buf.cast(), len),
            _ => (std::ptr::dangling_mut(), 0),
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // SAFETY: the structure was filled by `PyObject_GetBuffer` and is released once, with the GIL held.
        Python::attach(|_| unsafe { ffi::PyBuffer_Release(&raw mut *self.0) });
    }
}

/// The memory of a bytes-like object, which it keeps alive and in place. It may wait in a suspended greenlet: only the
/// object's memory, on the heap, is ever given out.
pub enum Readable {
    /// Bytes need not be asked.
    Bytes(Py<PyBytes>),
    /// Anything else that has one piece of memory.
    Loan(Loan),
}

impl Readable {
    /// The memory of `object`.
    ///
    /// # Errors
    /// `TypeError` when it is not bytes-like, `BufferError` when it is not in one piece.
    #[inline]
    pub fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        match object.cast_exact::<PyBytes>() {
            Ok(bytes) => Ok(Self::Bytes(bytes.clone().unbind())),
            Err(_) => Loan::of(object, ffi::PyBUF_SIMPLE).map(Self::Loan),
        }
    }

    /// What is in it now. Nothing may run Python code while the slice is used.
    #[inline]
    pub fn bytes<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(py),
            Self::Loan(loan) => {
                let (start, len) = loan.memory();
                // SAFETY: the exporter keeps the `len` bytes in place until the loan is given back, which needs `self`.
                // With the GIL held and no Python code running, nobody writes to them.
                unsafe { std::slice::from_raw_parts(start, len) }
            }
        }
    }
}

/// The memory of a writable bytes-like object, kept as in [`Readable`].
pub struct Writable(Loan);

impl Writable {
    /// The memory of `object`, for the function `name` in messages.
    ///
    /// # Errors
    /// `TypeError` when it is not bytes-like, not writable or not in one piece.
    pub fn of(object: &Bound<'_, PyAny>, name: &str) -> PyResult<Self> {
        Loan::of(object, ffi::PyBUF_WRITABLE)
            .map(Self)
            .map_err(|_| {
                let kind = object.get_type();
                let kind = kind
                    .name()
                    .map_or_else(|_| "object".to_owned(), |kind| kind.to_string());
                PyTypeError::new_err(format!(
                    "{name}() argument 1 must be read-write bytes-like object, not {kind}"
                ))
            })
    }

    /// The memory, which must not be left uninitialised. Nothing may run Python code while the slice is used.
    #[inline]
    pub fn room<'a>(&'a mut self, _py: Python<'a>) -> &'a mut [MaybeUninit<u8>] {
        let (start, len) = self.0.memory();
        // SAFETY: as in `Readable::bytes`; the memory is writable, and nobody else reads or writes it while the GIL is
        // held and no Python code runs.
        unsafe { std::slice::from_raw_parts_mut(start.cast(), len) }
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
