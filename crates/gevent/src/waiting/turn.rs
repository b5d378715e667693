//! A greenlet's place in the ready queue while it yields.
//!
//! No other greenlet has to wake it and nothing is brought to it, so it needs no wait: a number states whether the
//! greenlet is still at the yield that queued it.

use pyo3::prelude::*;

use crate::greenlets::greenlet::Greenlet;

/// One yield of one greenlet.
#[derive(Debug)]
pub struct Turn {
    greenlet: Py<Greenlet>,
    number: u32,
}

impl Turn {
    /// Returns the turn of the running greenlet, which is about to yield.
    #[inline]
    pub fn of(greenlet: &Bound<'_, Greenlet>) -> Self {
        let number = greenlet.get().turn(greenlet.py());
        Self {
            greenlet: greenlet.clone().unbind(),
            number,
        }
    }

    /// Returns a second reference to the same turn, for the queue.
    pub fn clone_ref(&self, py: Python<'_>) -> Self {
        Self {
            greenlet: self.greenlet.clone_ref(py),
            number: self.number,
        }
    }

    /// Returns the greenlet that yields.
    pub fn greenlet(&self) -> &Py<Greenlet> {
        &self.greenlet
    }

    /// Returns the greenlet, as the target of a switch.
    pub fn into_greenlet(self) -> Py<Greenlet> {
        self.greenlet
    }

    /// Returns true if `other` is the same turn.
    pub fn is(&self, other: &Self) -> bool {
        self.greenlet.is(&other.greenlet) && self.number == other.number
    }

    /// Returns true if the greenlet has not gone on since.
    #[inline]
    pub fn is_due(&self, py: Python<'_>) -> bool {
        self.greenlet.get().turn(py) == self.number
    }

    /// Notes that the greenlet goes on.
    #[inline]
    pub fn end(&self, py: Python<'_>) {
        Self::end_of(self.greenlet.bind(py));
    }

    /// Notes that `greenlet` goes on, which was at a yield.
    #[inline]
    pub fn end_of(greenlet: &Bound<'_, Greenlet>) {
        greenlet.get().end_turn(greenlet.py());
    }
}
