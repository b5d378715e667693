//! Shows greenlets to the garbage collector for as long as they live.
//!
//! greenlet hides a greenlet that is under way from the collector (`tp_is_gc`), and shows it again at its end. CPython
//! does not expect this to change: it stops tracking dictionaries and tuples that hold no object which it could
//! collect. A dictionary that it examines while the greenlet in it is hidden is never examined again, and a cycle
//! through it is never freed. So our greenlets are shown to the collector from beginning to end.
//!
//! The collector must then never find a greenlet unreachable while it is under way, as clearing it would take away what its
//! switches need. It cannot, once the greenlet executes the `run` of its class: the call of that bound method holds a
//! reference to the greenlet from the greenlet's own stack, where the collector sees no references.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::{PyClass, PyTypeInfo, ffi};

use super::{arena, greenlet};

/// Records how far a greenlet has come with the `run` of its class.
#[derive(Default, Debug)]
pub struct Begun(AtomicU8);

const BEGUN: u8 = 1;
const ENDED: u8 = 2;

impl Begun {
    /// Notes that the greenlet executes `run` from now on.
    #[inline]
    pub fn set(&self) {
        self.0.store(BEGUN, Relaxed);
    }

    /// Notes that the greenlet has given back the memory of its frames, or is about to.
    #[inline]
    pub fn end(&self) {
        self.0.store(ENDED, Relaxed);
    }

    /// Returns true if the greenlet executes `run`, or has executed it.
    #[inline]
    pub fn is_set(&self) -> bool {
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
    /// Returns the record of how far the object has come with the `run` of its class.
    fn begun(&self) -> &Begun;
}

/// Makes the garbage collector track the instances of `C`, which is `T` or derived from it, and of classes derived from
/// `C` later, at all times.
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
