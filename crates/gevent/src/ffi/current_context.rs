//! Reads and exchanges the context in which a thread's code runs.
//!
//! CPython's functions enter a context and leave it, and greenlet's `gr_context` tests the greenlet and its thread at
//! each use, which would be most of what a context costs a spawn. So the field of the thread's state is used. Its place
//! is not part of CPython's API: it is found relative to that of the frames ([`frame_stack`]), and counts only if a
//! context that was entered is read there. Otherwise `gr_context` of the running greenlet is used.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::{context, frame_stack, greenlet};

/// The fields of a thread's state. CPython raises the version whenever it changes the context, so that a variable knows
/// that the value which it remembers belongs to another one.
#[repr(C)]
struct Fields {
    context: *mut ffi::PyObject,
    version: u64,
}

/// The offset of [`Fields`] in a thread's state, if it is known.
static OFFSET: PyOnceLock<Option<usize>> = PyOnceLock::new();

/// Returns the context that code runs in; `None` stands for an empty one.
///
/// # Errors
/// Returns the error of CPython's functions, if no memory is left at the first use.
#[inline]
pub fn get(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    match OFFSET.get_or_try_init(py, || find(py))? {
        // SAFETY: the offset was found to be that of the fields, and the context is a live object or NULL.
        Some(offset) => unsafe {
            let current = (*frame_stack::at::<Fields>(*offset)).context;
            Ok(Bound::from_borrowed_ptr_or_opt(py, current))
        },
        None => context::of(&greenlet::current(py)?),
    }
}

/// Has code run in the context `new`, which stays as it was otherwise: it is not entered, and can be by others.
///
/// # Errors
/// Fails as [`get`] does.
#[inline]
pub fn set(py: Python<'_>, new: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    match OFFSET.get_or_try_init(py, || find(py))? {
        Some(offset) => {
            // SAFETY: the offset was found to be that of the fields. The state of the running thread lives, and only this
            // thread uses it, which holds the GIL. Each reference moves: the new one to the thread, the old one to here,
            // where it is dropped when the fields are as they are to be.
            let old = unsafe {
                let fields = frame_stack::at::<Fields>(*offset);
                let new = new.map_or(std::ptr::null_mut(), Bound::into_ptr);
                let old = std::mem::replace(&mut (*fields).context, new);
                (*fields).version = (*fields).version.wrapping_add(1);
                Bound::from_owned_ptr_or_opt(py, old)
            };
            drop(old);
            Ok(())
        }
        None => {
            let new = new.unwrap_or_else(|| py.None().into_bound(py));
            context::give(&greenlet::current(py)?, &new)
        }
    }
}

/// Returns the offset of the fields, if a context that is entered is read there.
fn find(py: Python<'_>) -> PyResult<Option<usize>> {
    // The fields precede those of the frames, with the thread's number in between.
    let Some(offset) = frame_stack::offset_before(py, size_of::<Fields>() + 8) else {
        return Ok(None);
    };
    // SAFETY: the fields of the frames are in the thread's state, and so is what precedes them by this little. The memory
    // is read as numbers, whatever it is.
    let read = || unsafe {
        let at = frame_stack::at::<Fields>(offset);
        ((*at).context.addr(), (*at).version)
    };
    let probe = context::copy_current(py)?;
    let (before, version) = read();
    let (during, entered) = context::run_in(&probe, || Ok(read()))?;
    let (after, left) = read();
    let fits = during == probe.as_ptr().addr()
        && after == before
        && entered == version.wrapping_add(1)
        && left == entered.wrapping_add(1);
    Ok(fits.then_some(offset))
}
