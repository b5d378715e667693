//! The fields of `#[pyclass]`es: state that changes, which the GIL guards, and values that are set once, as the object is made.
//!
//! Frozen classes keep their state in [`GilCell`]s. A cell is opened in a closure that contains no Python call, no decref and
//! no greenlet switch, so that no other code can reach it meanwhile. A flag turns a breach of that rule into a panic, which is
//! a Python exception, in place of two mutable references to one value.
//!
//! CPython shows an object to the garbage collector as soon as its memory is allocated: the constructor of its base may
//! allocate, and so start a collection, before our fields are written. Their memory is all zeroes then. So every field of a class
//! is valid when zeroed, which [`add_class`] has the compiler prove: a cell or a [`Made`] of zeroes holds nothing, traversal
//! passes over it, and every other access panics.

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Deref;

use pyo3::PyClass;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::ffi::thread;

/// The cell is memory of zeroes: its object is being made.
const BLANK: u8 = 0;
/// The cell holds a value.
const CLOSED: u8 = 1;
/// A closure uses the value.
const OPEN: u8 = 2;

/// A value that is only touched with the GIL held, one closure at a time.
pub struct GilCell<T> {
    state: Cell<u8>,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: every access needs a `Python` token or a collector's visit, so at most one thread is inside; `state` makes access
// by a second closure on the same thread panic before a second reference exists. Moving the value across threads needs
// `T: Send`.
unsafe impl<T: Send> Sync for GilCell<T> {}

impl<T> GilCell<T> {
    /// Wraps `value`.
    #[inline]
    pub fn new(value: T) -> Self {
        thread::enter();
        Self::in_static(value)
    }

    /// Wraps `value`, for the initializer of a static.
    pub const fn in_static(value: T) -> Self {
        Self {
            state: Cell::new(CLOSED),
            value: UnsafeCell::new(MaybeUninit::new(value)),
        }
    }

    /// Opens the cell. `f` must not call Python, drop a Python object or switch greenlets.
    #[inline]
    pub fn with<R>(&self, py: Python<'_>, f: impl FnOnce(&mut T) -> R) -> R {
        thread::enter();
        self.with_entered(py, f)
    }

    /// Opens the cell as [`with`](Self::with) does, where the same call has noted before that the thread is inside this crate:
    /// it has opened another cell, asked for the hub, or found a loop to be the thread's own.
    #[inline]
    pub fn with_entered<R>(&self, _py: Python<'_>, f: impl FnOnce(&mut T) -> R) -> R {
        if self.state.get() != CLOSED {
            refuse(self.state.get());
        }
        self.state.set(OPEN);
        let _close = Close(&self.state);
        // SAFETY: the state was CLOSED, so the cell holds a value, and, as the GIL is held (`_py`), no other reference to it
        // exists; `_close` resets the state when `f` returns or unwinds.
        f(unsafe { (*self.value.get()).assume_init_mut() })
    }

    /// Puts `value` in and returns what was there, for the caller to drop outside.
    #[inline]
    pub fn replace(&self, py: Python<'_>, value: T) -> T {
        self.with(py, |slot| std::mem::replace(slot, value))
    }

    /// Takes the value out, leaving the default.
    #[inline]
    pub fn take(&self, py: Python<'_>) -> T
    where
        T: Default,
    {
        self.replace(py, T::default())
    }

    /// Returns a copy of the value.
    #[inline]
    pub fn get(&self, py: Python<'_>) -> T
    where
        T: Copy,
    {
        self.with(py, |value| *value)
    }

    /// Stores a value that has nothing to drop.
    #[inline]
    pub fn set(&self, py: Python<'_>, value: T)
    where
        T: Copy,
    {
        self.with(py, |slot| *slot = value);
    }

    /// Calls `f` with the value, for `__traverse__`: the collector's visit proves that this is one. Returns `None` while the
    /// object is being made.
    #[inline]
    pub fn peek<R>(&self, _visit: &PyVisit<'_>, f: impl FnOnce(&T) -> R) -> Option<R> {
        if self.state.get() != CLOSED {
            return None;
        }
        // SAFETY: the cell holds a value. The collector, which made the visit, holds the GIL, and the state is not OPEN, so no
        // mutable reference exists; `f` only reports objects to the collector, which runs no Python code while it traverses.
        Some(f(unsafe { (*self.value.get()).assume_init_ref() }))
    }
}

impl<T> fmt::Debug for GilCell<T> {
    /// Shows no value: opening the cell could panic, and values refer to each other in circles.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GilCell(..)")
    }
}

impl<T> Drop for GilCell<T> {
    #[inline]
    fn drop(&mut self) {
        if self.state.get() != BLANK {
            thread::enter();
            // SAFETY: the cell holds a value, and no other code can reach it any more.
            unsafe { self.value.get_mut().assume_init_drop() };
        }
    }
}

#[cold]
#[inline(never)]
fn refuse(state: u8) -> ! {
    match state {
        BLANK => panic!("the object has not been made yet"),
        _ => panic!("a GIL cell was opened twice"),
    }
}

impl<T: Clone> GilCell<T> {
    /// Returns a clone of a value whose `Clone` runs no Python code (an `Arc`).
    #[inline]
    pub fn cloned(&self, py: Python<'_>) -> T {
        self.with(py, |value| value.clone())
    }
}

impl<P> GilCell<Option<pyo3::Py<P>>> {
    /// Returns a new reference to the stored object.
    #[inline]
    pub fn get_ref(&self, py: Python<'_>) -> Option<pyo3::Py<P>> {
        self.with(py, |value| {
            value.as_ref().map(|object| object.clone_ref(py))
        })
    }
}

/// Drops a reference where the GIL is known to be held. Dropping the `Py` itself would read the thread's own data
/// first, which in an extension module is a call of the dynamic linker.
#[inline]
pub fn release<P>(py: Python<'_>, object: Option<Py<P>>) {
    drop(object.map(|object| object.into_bound(py)));
}

struct Close<'a>(&'a Cell<u8>);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.set(CLOSED);
    }
}

/// A field that is set as its object is made and never changes.
pub struct Made<T> {
    is_made: bool,
    value: MaybeUninit<T>,
}

impl<T> Made<T> {
    /// Wraps `value`.
    #[inline]
    pub fn new(value: T) -> Self {
        thread::enter();
        Self {
            is_made: true,
            value: MaybeUninit::new(value),
        }
    }

    /// Returns the value, for `__traverse__`; `None` while the object is being made.
    #[inline]
    pub fn peek(&self) -> Option<&T> {
        // SAFETY: `new` alone sets the flag, with the value.
        self.is_made
            .then(|| unsafe { self.value.assume_init_ref() })
    }
}

impl<T> Deref for Made<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        thread::enter();
        match self.peek() {
            Some(value) => value,
            None => refuse(BLANK),
        }
    }
}

impl<T> fmt::Debug for Made<T> {
    /// Shows no value, like the formatter of a [`GilCell`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Made(..)")
    }
}

impl<T> Drop for Made<T> {
    #[inline]
    fn drop(&mut self) {
        if self.is_made {
            thread::enter();
            // SAFETY: the field holds a value, and no other code can reach it any more.
            unsafe { self.value.assume_init_drop() };
        }
    }
}

struct Zeroed<T>(PhantomData<T>);

impl<T> Zeroed<T> {
    // SAFETY: nothing is assumed here: the compiler evaluates this constant, and refuses one that is no valid value of its
    // type. A field of a class that is changed to a type which must not be zero gives that error.
    const VALUE: ManuallyDrop<T> = unsafe { MaybeUninit::zeroed().assume_init() };
}

/// Has the compiler prove that memory of zeroes is a valid `T`, for a class that no module gets.
pub const fn check<T: PyClass>() {
    let _ = &Zeroed::<T>::VALUE;
}

/// Adds a class to a module, once the compiler has proved that memory of zeroes is a valid `T`.
///
/// # Errors
/// Fails when the type object cannot be made.
pub fn add_class<T: PyClass>(module: &Bound<'_, PyModule>) -> PyResult<()> {
    const { check::<T>() };
    module.add_class::<T>()
}
