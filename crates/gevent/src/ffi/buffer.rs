//! The memory of Python objects: buffers to send from and to receive into, and bytes objects that are filled in place.

use std::ffi::{c_int, c_void};
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny};

unsafe extern "C" {
    // This function is part of CPython's documented API; pyo3 does not declare it.
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

    fn copied(&self, py: Python<'_>) -> PyResult<Frozen> {
        let (start, len) = self.memory();
        // SAFETY: the exporter keeps the `len` bytes in place until the loan is given back; they are copied as they are. The
        // result is a new bytes object, or NULL with MemoryError set.
        unsafe {
            let bytes = ffi::PyBytes_FromStringAndSize(start.cast(), len as ffi::Py_ssize_t);
            let bytes = Bound::from_owned_ptr_or_err(py, bytes)?;
            Ok(Frozen(bytes.cast_into_unchecked().unbind()))
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

/// Bytes that do not change while they are used: those of a bytes object, into which any other bytes-like object is
/// copied. A `&[u8]` must not be made over the memory of a bytearray or an array, as another thread may write to that
/// without the GIL, in `readinto` of a file for example.
pub struct Frozen(Py<PyBytes>);

impl Frozen {
    /// Returns the bytes of `object`.
    ///
    /// # Errors
    /// Returns `TypeError` when it is not bytes-like, `BufferError` when it is not in one piece, `MemoryError`.
    #[inline]
    pub fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        match object.cast_exact::<PyBytes>() {
            Ok(bytes) => Ok(Self(bytes.clone().unbind())),
            Err(_) => Loan::of(object, ffi::PyBUF_SIMPLE)?.copied(object.py()),
        }
    }

    /// Returns the bytes.
    #[inline]
    pub fn bytes<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        self.0.as_bytes(py)
    }
}

/// The memory of a bytes-like object, which this keeps alive and in place. A suspended greenlet may own one: only the object's
/// memory, which is on the heap, is ever handed to a system call, and never a copy on the stack.
pub enum Readable {
    /// A bytes object, whose memory never moves or changes.
    Bytes(Py<PyBytes>),
    /// Any other object that lends one piece of memory.
    Loan(Loan),
}

impl Readable {
    /// Returns the memory of `object`.
    ///
    /// # Errors
    /// Returns `TypeError` when it is not bytes-like, `BufferError` when it is not in one piece.
    #[inline]
    pub fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        match object.cast_exact::<PyBytes>() {
            Ok(bytes) => Ok(Self::Bytes(bytes.clone().unbind())),
            Err(_) => Loan::of(object, ffi::PyBUF_SIMPLE).map(Self::Loan),
        }
    }

    /// Returns how many bytes there are.
    #[inline]
    pub fn len(&self, py: Python<'_>) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(py).len(),
            Self::Loan(loan) => loan.memory().1,
        }
    }

    /// Sends the bytes after the first `skip` by one system call, which reads the object's memory itself.
    ///
    /// # Errors
    /// Returns the error that `send(2)` reports.
    #[inline]
    pub fn send(
        &self,
        py: Python<'_>,
        skip: usize,
        fd: BorrowedFd<'_>,
        flags: SendFlags,
    ) -> rustix::io::Result<usize> {
        match self {
            Self::Bytes(bytes) => {
                let rest = bytes.as_bytes(py).get(skip..).unwrap_or_default();
                rustix::net::send(fd, rest, flags)
            }
            Self::Loan(loan) => {
                let (start, len) = loan.memory();
                let skip = skip.min(len);
                // SAFETY: the exporter keeps the `len` bytes in place until the loan is given back, which needs `self`. The
                // kernel copies them as they are; no reference to them exists, so others may write to them meanwhile.
                let sent = unsafe {
                    let rest = start.add(skip).cast();
                    libc::send(fd.as_raw_fd(), rest, len - skip, flags.bits() as c_int)
                };
                usize::try_from(sent).map_err(|_| last_error())
            }
        }
    }
}

/// The memory of a writable bytes-like object, kept as in [`Readable`].
pub struct Writable(Loan);

impl Writable {
    /// Returns the memory of `object`, for the function `name` in messages.
    ///
    /// # Errors
    /// Returns `TypeError` when it is not bytes-like, not writable or not in one piece.
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

    /// Returns how many bytes it has.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.memory().1
    }

    /// Returns its first `size` bytes as room to receive into.
    #[inline]
    pub fn room(&mut self, size: usize) -> Room<'_> {
        let (start, len) = self.0.memory();
        Room {
            start,
            size: size.min(len),
            received: 0,
            of: PhantomData,
        }
    }

    /// Copies `data` to its beginning, or as much of it as fits.
    pub fn put(&mut self, data: &[u8]) {
        self.room(data.len()).put(data);
    }
}

/// Memory that is filled from its beginning on. It is used by its address only, never as a slice: it may be the memory
/// of a Python object, to which others write too. The bytes that count as received were written by the kernel or by
/// [`put`](Self::put).
#[derive(Debug)]
pub struct Room<'a> {
    start: *mut u8,
    size: usize,
    received: usize,
    of: PhantomData<&'a mut [MaybeUninit<u8>]>,
}

impl<'a> Room<'a> {
    /// Returns how many bytes there is room for.
    #[inline]
    pub fn left(&self) -> usize {
        self.size - self.received
    }

    /// Returns how many bytes were received.
    #[inline]
    pub fn received(&self) -> usize {
        self.received
    }

    /// Appends `data`, or as much of it as there is room for.
    pub fn put(&mut self, data: &[u8]) {
        let count = data.len().min(self.left());
        // SAFETY: there is room for `count` bytes after those that were received. `data` cannot be in the same place, as a
        // reference shows that nobody writes there.
        unsafe {
            std::ptr::copy_nonoverlapping(data.as_ptr(), self.start.add(self.received), count)
        };
        self.received += count;
    }

    /// Appends the bytes that one system call receives, and returns their number.
    ///
    /// # Errors
    /// Returns the error that `recv(2)` reports.
    #[inline]
    pub fn recv(&mut self, fd: BorrowedFd<'_>, flags: RecvFlags) -> rustix::io::Result<usize> {
        let left = self.left();
        let rest = self.rest(flags);
        // SAFETY: there are `left` bytes at `rest`, in memory that stays in place meanwhile; no reference to it exists.
        let got = unsafe { libc::recv(fd.as_raw_fd(), rest, left, flags.bits() as c_int) };
        let got = usize::try_from(got).map_err(|_| last_error())?;
        self.received += got.min(left);
        Ok(got)
    }

    /// Receives as [`recv`](Self::recv) does, and returns the sender's address too, if it has one.
    ///
    /// # Errors
    /// Returns the error that `recvfrom(2)` reports.
    pub fn recvfrom(
        &mut self,
        fd: BorrowedFd<'_>,
        flags: RecvFlags,
    ) -> rustix::io::Result<(usize, Option<SocketAddrAny>)> {
        let left = self.left();
        let rest = self.rest(flags);
        let mut from = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        let mut size = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        // SAFETY: as in `recv`; the address has as much room as is stated.
        let got = unsafe {
            let flags = flags.bits() as c_int;
            let from = from.as_mut_ptr().cast();
            libc::recvfrom(fd.as_raw_fd(), rest, left, flags, from, &raw mut size)
        };
        let got = usize::try_from(got).map_err(|_| last_error())?;
        self.received += got.min(left);
        // SAFETY: the kernel wrote an address of `size` bytes; every kind of address has room here.
        let from = (size > 0).then(|| unsafe { SocketAddrAny::read(from.as_ptr().cast(), size) });
        Ok((got, from))
    }

    /// Returns the address at which the rest of the room begins.
    ///
    /// With `MSG_TRUNC` the kernel returns the length of the whole message, and writes nothing for a stream. The rest is then
    /// zeroed first, as all of it may come to count as received and must not show what was in the memory before.
    #[inline]
    fn rest(&mut self, flags: RecvFlags) -> *mut c_void {
        // SAFETY: there is room for that many bytes after those that were received.
        unsafe {
            let rest = self.start.add(self.received);
            if flags.contains(RecvFlags::TRUNC) {
                rest.write_bytes(0, self.left());
            }
            rest.cast()
        }
    }

    /// Receives as [`recv`](Self::recv) does without flags; returns true as well if ancillary data was dropped (`MSG_CTRUNC`):
    /// descriptors or credentials that came along.
    ///
    /// # Errors
    /// Returns the error that `recvmsg(2)` reports.
    pub fn recv_noticing(&mut self, fd: BorrowedFd<'_>) -> rustix::io::Result<(usize, bool)> {
        let mut part = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: self.left(),
        };
        // SAFETY: zero is a valid value of this plain structure: no name, no control data.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iovlen = 1;
        // SAFETY: the message names one piece of memory: the room for `iov_len` bytes after those that were received.
        let got = unsafe {
            part.iov_base = self.start.add(self.received).cast();
            message.msg_iov = &raw mut part;
            libc::recvmsg(fd.as_raw_fd(), &raw mut message, 0)
        };
        let got = usize::try_from(got).map_err(|_| last_error())?;
        self.received += got;
        Ok((got, message.msg_flags & libc::MSG_CTRUNC != 0))
    }
}

fn last_error() -> Errno {
    let error = io::Error::last_os_error();
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// Memory of this module to receive into, which is not a Python object's.
pub struct Scratch<const SIZE: usize>([MaybeUninit<u8>; SIZE]);

impl<const SIZE: usize> Scratch<SIZE> {
    /// Returns memory that is not initialised.
    #[inline]
    pub const fn new() -> Self {
        Self([MaybeUninit::uninit(); SIZE])
    }

    /// Calls `fill` with the first `size` bytes, or all if there are fewer; returns its result and the bytes that it received.
    ///
    /// # Errors
    /// Returns the error that `fill` reports.
    #[inline]
    pub fn fill<T, E>(
        &mut self,
        size: usize,
        fill: impl FnOnce(&mut Room<'_>) -> Result<T, E>,
    ) -> Result<(T, &[u8]), E> {
        let start = self.0.as_mut_ptr().cast::<u8>();
        let mut room = Room {
            start,
            size: size.min(SIZE),
            received: 0,
            of: PhantomData,
        };
        let result = fill(&mut room)?;
        // `fill` could have swapped another room into this one's place; that would have another start.
        assert!(std::ptr::eq(room.start, start));
        // SAFETY: a room is made by this module alone, and counts as received what was written from its start on.
        let received = unsafe { std::slice::from_raw_parts(start, room.received) };
        Ok((result, received))
    }
}

/// Makes a bytes object of the bytes, at most `capacity`, that `fill` receives into the room that it is given.
///
/// # Errors
/// Returns the error that `fill` reports; the inner result is `MemoryError` when there is no memory.
pub fn filled<E>(
    py: Python<'_>,
    capacity: usize,
    fill: impl FnOnce(&mut Room<'_>) -> Result<(), E>,
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
    // SAFETY: the object is a bytes object.
    let start = unsafe { ffi::PyBytes_AsString(bytes.as_ptr()) }.cast::<u8>();
    let mut room = Room {
        start,
        size: capacity,
        received: 0,
        of: PhantomData,
    };
    fill(&mut room)?;
    assert!(std::ptr::eq(room.start, start));
    let length = room.received;
    let mut raw = bytes.into_ptr();
    // SAFETY: the only reference to a bytes object goes in; a new reference, or NULL with MemoryError set, comes out. The
    // first `length` bytes, which remain, were written through the room, which has the object's own start.
    Ok(unsafe {
        if length != capacity {
            _PyBytes_Resize(&raw mut raw, length as ffi::Py_ssize_t);
        }
        Bound::from_owned_ptr_or_err(py, raw).map(|bytes| bytes.cast_into_unchecked())
    })
}
