//! Shows greenlets to the garbage collector for as long as they live.
//!
//! greenlet declares the objects of greenlets that are under way to be none of the collector's (`tp_is_gc`), and changes that
//! at their end. CPython does not expect a change: it stops tracking dictionaries and tuples in which it finds nothing to
//! collect, so that a greenlet's attributes, once looked at while what they refer to is under way, hide a cycle for ever.
//! A greenlet of ours is the collector's from its beginning to its end.
//!
//! That is sound where the collector cannot find a greenlet unreachable while it is under way, as clearing it would take away
//! what its switches need. So it holds from the moment on that it executes the `run` of its class: who called that, as a
//! bound method, holds a reference to it that lies on its stack, where the collector does not count references.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::{PyClass, PyTypeInfo, ffi};

use super::{arena, greenlet};

/// Tells how far a greenlet has come with the `run` of its class.
#[derive(Default)]
pub struct Begun(AtomicU8);

const BEGUN: u8 = 1;
const ENDED: u8 = 2;

impl Begun {
    /// Notes that it executes it.
    #[inline]
    pub fn set(&self) {
        self.0.store(BEGUN, Relaxed);
    }

    /// Notes that it has given back the memory of its frames, or is about to.
    #[inline]
    pub fn end(&self) {
        self.0.store(ENDED, Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Relaxed) != 0
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.0.load(Relaxed) == BEGUN {
            // SAFETY: CPython drops the fields of an object with the GIL held, before those of its base. greenlet is about to
            // free the memory of the frames that never end.
            arena::install(unsafe { Python::assume_attached() });
        }
    }
}

/// A class derived from greenlet's.
pub trait Collected: PyClass<Frozen = True> + PyTypeInfo + Sync {
    /// Returns true if the object executes, or executed, the `run` of its class.
    fn begun(&self) -> &Begun;
}

/// Has the objects of `T`, of `C` which is `T` or derived from it, and of classes that are made of `C` later, be the
/// collector's at all times.
pub fn always_collected<T: Collected, C: PyTypeInfo>(py: Python<'_>) {
    let class = py.get_type::<C>();
    debug_assert!(class.is_subclass_of::<T>().unwrap_or_default());
    // SAFETY: the type object is live and writable: it is on the heap, the GIL is held, and only this module, which is being
    // imported, knows it. The slot gets a function for instances of `T`, as those of `C` are.
    unsafe { (*class.as_type_ptr()).tp_is_gc = Some(is_gc::<T>) };
}

unsafe extern "C" fn is_gc<T: Collected>(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: CPython asks this of an instance of the type with the GIL held. The flag is an atomic without a destructor, and
    // memory of zeroes a flag that is not set, so that it may be read at any time while the object has its memory.
    unsafe {
        let object = Borrowed::from_ptr(Python::assume_attached(), object);
        if object.cast_unchecked::<T>().get().begun().is_set() {
            return 1;
        }
        (*greenlet::api().greenlet_type)
            .tp_is_gc
            .map_or(1, |is_gc| is_gc(object.as_ptr()))
    }
}
