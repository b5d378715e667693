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
//!
//! The crate `exclusive` has the two without Python, where Miri runs their tests. This file adds the GIL, by which threads may
//! share them, and the note that the thread is inside this crate.

use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Deref;

use exclusive::Exclusive;
use pyo3::PyClass;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::ffi::thread;

/// A value that is only touched with the GIL held, one closure at a time.
pub struct GilCell<T>(Exclusive<T>);

// SAFETY: every access needs a `Python` token or a collector's visit, which only the thread that holds the GIL has, so at most
// one thread is inside; a second closure on the same thread is refused. Moving the value across threads needs `T: Send`.
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
        Self(Exclusive::new(value))
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
        self.0.with(f)
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
        self.0.peek(f)
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
        if !self.0.is_blank() {
            thread::enter();
        }
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

/// A field that is set as its object is made and never changes.
pub struct Made<T>(exclusive::Made<T>);

impl<T> Made<T> {
    /// Wraps `value`.
    #[inline]
    pub fn new(value: T) -> Self {
        thread::enter();
        Self(exclusive::Made::new(value))
    }

    /// Returns the value, for `__traverse__`; `None` while the object is being made.
    #[inline]
    pub fn peek(&self) -> Option<&T> {
        self.0.peek()
    }
}

impl<T> Deref for Made<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        thread::enter();
        self.0.get()
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
        if self.peek().is_some() {
            thread::enter();
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
