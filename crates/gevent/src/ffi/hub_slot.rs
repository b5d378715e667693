//! The hub of each thread, found without reading thread-local data in nearly every call.
//!
//! Reading a `thread_local!` of a shared library is a call into the dynamic linker, which costs more than many an operation
//! does here. So two statics cache the hub that was asked for last and the pointer of its thread, which the processor has in
//! a register. With the GIL held, the cached hub is right whenever the pointers are equal.
//!
//! The cache holds no reference. The thread's slot does, so every change and the end of a slot clears the cache first.

use std::cell::RefCell;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

use pyo3::ffi;
use pyo3::prelude::*;

use super::thread;
use crate::hub::BaseHub;

/// The pointer of the thread whose hub is cached; 0 when the cache is empty.
static THREAD: AtomicUsize = AtomicUsize::new(0);
/// The cached hub, borrowed from the slot of its thread.
static HUB: AtomicPtr<ffi::PyObject> = AtomicPtr::new(std::ptr::null_mut());

struct Slot(RefCell<Option<Py<BaseHub>>>);

impl Drop for Slot {
    fn drop(&mut self) {
        forget_copy_of(thread::id());
    }
}

thread_local! {
    static SLOT: Slot = const { Slot(RefCell::new(None)) };
}

/// Returns the hub of the calling thread, if it has one.
#[inline]
pub fn get(py: Python<'_>) -> Option<Bound<'_, BaseHub>> {
    if THREAD.load(Relaxed) != thread::id() {
        return hub_of_thread(py);
    }
    // SAFETY: the two statics are written together, with the GIL held, which `py` shows to be held now; only `THREAD` is
    // cleared without it, by its own thread or in a forked child that has no other. So the pointer is that of this thread's
    // hub, which the slot holds a reference to: it is cleared or changed after the copy only.
    Some(unsafe { Bound::from_borrowed_ptr(py, HUB.load(Relaxed)).cast_into_unchecked() })
}

#[cold]
#[inline(never)]
fn hub_of_thread(py: Python<'_>) -> Option<Bound<'_, BaseHub>> {
    thread::enter();
    let hub = SLOT.with(|slot| slot.0.borrow().as_ref().map(|hub| hub.bind(py).clone()))?;
    HUB.store(hub.as_ptr(), Relaxed);
    THREAD.store(thread::id(), Relaxed);
    Some(hub)
}

/// Puts `hub` into the calling thread's slot and returns what was there, for the caller to drop; `None` also at the end of the
/// thread, when the slot is gone.
pub fn replace(hub: Option<Py<BaseHub>>) -> Option<Py<BaseHub>> {
    forget_copy_of(thread::id());
    SLOT.try_with(|slot| slot.0.replace(hub)).ok().flatten()
}

/// Forgets, in a forked child, which thread asked last: a new thread of the child may have the same pointer.
pub fn in_child() {
    THREAD.store(0, Relaxed);
}

fn forget_copy_of(thread: usize) {
    let _ = THREAD.compare_exchange(thread, 0, Relaxed, Relaxed);
}
