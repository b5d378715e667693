//! The fields of an object whose memory is all zeroes until it is made: values that one closure at a time may use, and values
//! that are set once.
//!
//! CPython shows an object to the garbage collector as soon as its memory is allocated, before its fields are written. A
//! field of a type in here holds nothing then: [`peek`](Exclusive::peek) passes over it, and every other access panics.
//!
//! The extension's `GilCell` is an [`Exclusive`] that threads share by the GIL. What it does to memory is in here, without
//! Python, so that Miri can run its tests.

#![warn(missing_docs, missing_debug_implementations)]

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::mem::MaybeUninit;

/// The memory is all zeroes: the object is being made.
const BLANK: u8 = 0;
/// There is a value, and no closure uses it.
const CLOSED: u8 = 1;
/// A closure uses the value.
const OPEN: u8 = 2;

/// A value that one closure at a time may use. A second one panics in place of getting a second reference to it.
///
/// Memory of zeroes is a valid `Exclusive`, which holds no value.
pub struct Exclusive<T> {
    state: Cell<u8>,
    value: UnsafeCell<MaybeUninit<T>>,
}

impl<T> Exclusive<T> {
    /// Wraps `value`.
    #[inline]
    pub const fn new(value: T) -> Self {
        Self {
            state: Cell::new(CLOSED),
            value: UnsafeCell::new(MaybeUninit::new(value)),
        }
    }

    /// Returns true if it is memory of zeroes, without a value.
    #[inline]
    pub fn is_blank(&self) -> bool {
        self.state.get() == BLANK
    }

    /// Calls `f` with the value.
    ///
    /// # Panics
    /// Panics while another closure uses the value, and if there is none yet.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        if self.state.get() != CLOSED {
            refuse(self.state.get());
        }
        self.state.set(OPEN);
        let _close = Close(&self.state);
        // SAFETY: the state was CLOSED, so there is a value and no reference to it; and none can be made before `_close` has
        // reset the state, as `f` returns or unwinds. The type is not `Sync`, so no other thread is here.
        f(unsafe { (*self.value.get()).assume_init_mut() })
    }

    /// Calls `f` with the value, unless there is none yet or another closure uses it.
    #[inline]
    pub fn peek<R>(&self, f: impl FnOnce(&T) -> R) -> Option<R> {
        (self.state.get() == CLOSED).then(|| self.with(|value| f(value)))
    }
}

impl<T> Drop for Exclusive<T> {
    #[inline]
    fn drop(&mut self) {
        if !self.is_blank() {
            // SAFETY: there is a value, and no other code can reach it any more.
            unsafe { self.value.get_mut().assume_init_drop() };
        }
    }
}

impl<T> fmt::Debug for Exclusive<T> {
    /// Shows no value: opening it could panic, and values refer to each other in circles.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exclusive(..)")
    }
}

struct Close<'a>(&'a Cell<u8>);

impl Drop for Close<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.set(CLOSED);
    }
}

#[cold]
#[inline(never)]
fn refuse(state: u8) -> ! {
    match state {
        BLANK => panic!("the object has not been made yet"),
        _ => panic!("a cell was opened twice"),
    }
}

/// A value that is set as its object is made and never changes.
///
/// Memory of zeroes is a valid `Made`, which holds no value.
pub struct Made<T> {
    is_made: bool,
    value: MaybeUninit<T>,
}

impl<T> Made<T> {
    /// Wraps `value`.
    #[inline]
    pub const fn new(value: T) -> Self {
        Self {
            is_made: true,
            value: MaybeUninit::new(value),
        }
    }

    /// Returns the value; `None` in memory of zeroes.
    #[inline]
    pub fn peek(&self) -> Option<&T> {
        // SAFETY: `new` alone sets the flag, with the value.
        self.is_made
            .then(|| unsafe { self.value.assume_init_ref() })
    }

    /// Returns the value.
    ///
    /// # Panics
    /// Panics in memory of zeroes.
    #[inline]
    pub fn get(&self) -> &T {
        match self.peek() {
            Some(value) => value,
            None => refuse(BLANK),
        }
    }
}

impl<T> Drop for Made<T> {
    #[inline]
    fn drop(&mut self) {
        if self.is_made {
            // SAFETY: there is a value, and no other code can reach it any more.
            unsafe { self.value.assume_init_drop() };
        }
    }
}

impl<T> fmt::Debug for Made<T> {
    /// Shows no value, like the formatter of an [`Exclusive`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Made(..)")
    }
}
