//! Interior mutability guarded by the GIL.
//!
//! Frozen `#[pyclass]`es keep their state in [`GilCell`]s. A cell is opened in a closure that contains no Python call, no
//! decref and no greenlet switch, so that nobody else can reach it meanwhile; a flag turns a breach of that rule into a
//! panic (a Python exception) instead of aliasing.

use std::cell::{Cell, UnsafeCell};

use pyo3::Python;

/// A value that is only touched with the GIL held, one closure at a time.
pub struct GilCell<T> {
    open: Cell<bool>,
    value: UnsafeCell<T>,
}

// SAFETY: every access needs a `Python` token, so at most one thread is inside `with`; `open` makes access by a second
// closure on the same thread panic before a second reference exists. Moving the value across threads needs `T: Send`.
unsafe impl<T: Send> Sync for GilCell<T> {}

impl<T> GilCell<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self {
            open: Cell::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Opens the cell. `f` must not call Python, drop a Python object or switch greenlets.
    #[inline]
    pub fn with<R>(&self, _py: Python<'_>, f: impl FnOnce(&mut T) -> R) -> R {
        assert!(!self.open.replace(true), "a GIL cell was opened twice");
        let _close = Close(&self.open);
        // SAFETY: the GIL is held (`_py`) and `open` was false, so no other reference to the value exists; `_close`
        // resets the flag when `f` returns or unwinds.
        f(unsafe { &mut *self.value.get() })
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

    /// A copy of the value.
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

    /// The value, for `__traverse__` only: the collector runs with the GIL held while this thread may be anywhere, and
    /// never inside `with` (which contains no allocation of Python objects).
    #[inline]
    pub fn peek<R>(&self, f: impl FnOnce(&T) -> R) -> Option<R> {
        if self.open.get() {
            return None;
        }
        // SAFETY: called by the garbage collector, which holds the GIL; `open` is false, so no mutable reference exists.
        Some(f(unsafe { &*self.value.get() }))
    }
}

impl<T: Clone> GilCell<T> {
    /// A clone of a value whose `Clone` runs no Python code (an `Arc`).
    #[inline]
    pub fn cloned(&self, py: Python<'_>) -> T {
        self.with(py, |value| value.clone())
    }
}

impl<P> GilCell<Option<pyo3::Py<P>>> {
    /// A new reference to the stored object.
    #[inline]
    pub fn get_ref(&self, py: Python<'_>) -> Option<pyo3::Py<P>> {
        self.with(py, |value| {
            value.as_ref().map(|object| object.clone_ref(py))
        })
    }
}

struct Close<'a>(&'a Cell<bool>);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
