//! Finds the memory of a thread's Python frames in its state.
//!
//! The fields are not part of CPython's API. From 3.13 on CPython itself says where one of them is, in the table of
//! offsets that it keeps for debuggers and profilers of other processes, which is right for debug builds too. CPython
//! 3.11 and 3.12 have no such entry, and their layout does not change any more.

use std::ffi::{c_char, c_void};

use pyo3::ffi;
use pyo3::prelude::*;

/// CPython's `_PyStackChunk`, without the frames that follow.
#[repr(C)]
pub struct Chunk {
    /// The chunk that was full before this one was added.
    pub previous: *mut Chunk,
    /// The size in bytes, this head included.
    pub size: usize,
    /// The end of the frames in this chunk, while a later one is in use.
    pub top: usize,
}

/// The fields of a thread's state that say where its next frame goes. They follow one another in every version.
#[repr(C)]
pub struct FrameStack {
    /// The chunk in use.
    pub chunk: *mut Chunk,
    /// The address of the next frame.
    pub top: *mut *mut ffi::PyObject,
    /// The end of the chunk.
    pub limit: *mut *mut ffi::PyObject,
}

/// The offsets at which CPython's `_Py_DebugOffsets` keeps the size of a thread's state, and the offset of its first
/// field of [`FrameStack`].
struct Entries {
    size: usize,
    chunk: usize,
}

/// The head of `_Py_DebugOffsets`, which is the beginning of `_PyRuntime`.
#[repr(C)]
struct DebugOffsets {
    cookie: [u8; 8],
    version: u64,
}

const COOKIE: &[u8; 8] = b"xdebugpy";
/// The largest plausible size of a thread's state. A larger number means that the table has another layout.
const LARGEST: u64 = 64 * 1024;

/// Returns the offset of [`FrameStack`] in a thread's state, or `None` where this CPython is not known.
pub fn offset(py: Python<'_>) -> Option<usize> {
    if size_of::<usize>() != 8 {
        return None;
    }
    let version = py.version_info();
    let entries = match (version.major, version.minor) {
        (3, 11) => return Some(296),
        (3, 12) => return Some(232),
        (3, 13) => Entries {
            size: 152,
            chunk: 208,
        },
        (3, 14) => Entries {
            size: 176,
            chunk: 232,
        },
        (3, 15) => Entries {
            size: 176,
            chunk: 256,
        },
        _ => return None,
    };
    let table = debug_offsets()?;
    // SAFETY: the table is CPython's own of this version, as `debug_offsets` has made sure, and is longer than that; it
    // consists of numbers of this size and alignment, which nobody writes once the interpreter runs.
    let (size, chunk) = unsafe {
        let number = |at: usize| table.byte_add(at).cast::<u64>().read();
        (number(entries.size), number(entries.chunk))
    };
    let fits = size <= LARGEST && chunk % 8 == 0 && chunk + size_of::<FrameStack>() as u64 <= size;
    fits.then(|| usize::try_from(chunk).ok()).flatten()
}

/// Returns the offset of what comes `distance` bytes before [`FrameStack`]. In CPython 3.11 a cache of line numbers lies
/// in between, which is not counted.
pub fn offset_before(py: Python<'_>, distance: usize) -> Option<usize> {
    let cache = if py.version_info().minor == 11 { 48 } else { 0 };
    offset(py)?.checked_sub(distance + cache)
}

/// Returns CPython's table of offsets, if it has one that belongs to the version for which this module is compiled.
fn debug_offsets() -> Option<*const DebugOffsets> {
    const NAME: *const c_char = c"_PyRuntime".as_ptr();
    // SAFETY: the name is a string of C; the result is NULL, or the address of CPython's variable.
    let runtime = unsafe { libc::dlsym(libc::RTLD_DEFAULT, NAME) }.cast::<DebugOffsets>();
    if runtime.is_null() {
        return None;
    }
    // SAFETY: the variable begins with this table since 3.12, and is larger; no earlier version comes here.
    let head = unsafe { runtime.read() };
    // SAFETY: a constant of CPython.
    let running = unsafe { ffi::Py_Version };
    (head.cookie == *COOKIE && head.version == u64::from(running as u32)).then_some(runtime)
}

/// Returns the address of the fields at `offset` in the running thread's state.
///
/// # Safety
/// The GIL is held, and the offset lies in the thread's state.
#[inline]
pub unsafe fn at<T>(offset: usize) -> *mut T {
    // SAFETY: by this function's contract.
    unsafe {
        ffi::PyThreadState_Get()
            .cast::<c_void>()
            .byte_add(offset)
            .cast()
    }
}
