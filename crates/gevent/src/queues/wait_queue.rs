//! A wait queue: parked greenlets in order of arrival, of which a notified one keeps its claim until it has run.
//!
//! Waking a greenlet and its running are two moments. Between them the greenlet can be killed, or another one can take what
//! it was woken for. So a queue hands nothing over: it wakes the first waiter, which takes an item itself when it runs, goes
//! back to its old position when nothing is left, and in any case sees to it that the next waiter is woken if need be.
//!
//! ```text
//! join ──► waiting ──next──► woken ──leave──► (it runs)
//!             ▲                                   │
//!             └────────────rejoin─────────────────┘   with its old ticket, so it keeps its position
//! ```

use std::collections::VecDeque;

use pyo3::PyTraverseError;
use pyo3::prelude::*;

use crate::waiting::wait::WaitRef;

/// A greenlet in the wait queue, with what it waits with.
pub struct Waiting<T> {
    ticket: u64,
    /// Its present wait.
    pub wait: WaitRef,
    /// What it waits with: the item to be put, for example.
    pub with: T,
}

impl<T> Waiting<T> {
    /// Returns true if the greenlet will never run again, as its thread has ended.
    fn is_gone(&self, py: Python<'_>) -> bool {
        self.wait.loop_().get().is_gone(py)
    }
}

/// The waiters, and the notified ones that have not run since; both in order of arrival.
pub struct WaitQueue<T> {
    waiting: VecDeque<Waiting<T>>,
    woken: VecDeque<Waiting<T>>,
    tickets: u64,
}

impl<T> Default for WaitQueue<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            woken: VecDeque::new(),
            tickets: 0,
        }
    }
}

impl<T> WaitQueue<T> {
    /// Adds a waiter at the end; returns the ticket to leave with.
    pub fn join(&mut self, wait: WaitRef, with: T) -> u64 {
        self.tickets += 1;
        self.waiting.push_back(Waiting {
            ticket: self.tickets,
            wait,
            with,
        });
        self.tickets
    }

    /// Adds a waiter again at its old position.
    pub fn rejoin(&mut self, ticket: u64, wait: WaitRef, with: T) {
        let at = self.waiting.partition_point(|other| other.ticket < ticket);
        self.waiting.insert(at, Waiting { ticket, wait, with });
    }

    /// Removes a waiter, notified or not; returns `None` if [`take`](Self::take) has removed it.
    pub fn leave(&mut self, ticket: u64) -> Option<Waiting<T>> {
        let find = |entries: &VecDeque<Waiting<T>>| {
            entries.iter().position(|entry| entry.ticket == ticket)
        };
        if let Some(at) = find(&self.woken) {
            return self.woken.remove(at);
        }
        let at = self
            .waiting
            .binary_search_by_key(&ticket, |entry| entry.ticket)
            .ok()?;
        self.waiting.remove(at)
    }

    /// Returns the next waiter to wake, which counts as notified from now on. Waiters whose thread has ended will never run: they
    /// are passed over, and do not count among the notified.
    pub fn next(&mut self, py: Python<'_>) -> Option<WaitRef> {
        while let Some(entry) = self.waiting.pop_front() {
            let gone = entry.is_gone(py);
            let wait = entry.wait.clone();
            self.woken.push_back(entry);
            if !gone {
                return Some(wait);
            }
        }
        None
    }

    /// Removes and returns the first waiter that can still run, a notified one if there is one.
    pub fn take(&mut self, py: Python<'_>) -> Option<Waiting<T>> {
        [&mut self.woken, &mut self.waiting]
            .into_iter()
            .find_map(|entries| {
                let at = entries.iter().position(|entry| !entry.is_gone(py))?;
                entries.remove(at)
            })
    }

    /// Removes all, for the caller to drop outside the cell.
    pub fn clear(&mut self) -> Self {
        let empty = Self {
            tickets: self.tickets,
            ..Self::default()
        };
        std::mem::replace(self, empty)
    }

    /// Returns the number of waiters that are not notified.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the number of notified waiters that are still to run.
    pub fn woken(&self, py: Python<'_>) -> usize {
        self.iter_woken(py).count()
    }

    /// Returns the number of all that can still run.
    pub fn len(&self, py: Python<'_>) -> usize {
        self.iter(py).count()
    }

    /// Iterates over what the notified waiters that are still to run wait with.
    pub fn iter_woken(&self, py: Python<'_>) -> impl Iterator<Item = &T> {
        self.woken
            .iter()
            .filter(move |entry| !entry.is_gone(py))
            .map(|entry| &entry.with)
    }

    /// Iterates over the waiters that are not notified.
    pub fn iter_waiting(&self) -> impl Iterator<Item = &Waiting<T>> {
        self.waiting.iter()
    }

    /// Iterates over all that can still run: the notified ones, then the others.
    pub fn iter(&self, py: Python<'_>) -> impl Iterator<Item = &Waiting<T>> {
        self.woken
            .iter()
            .chain(&self.waiting)
            .filter(move |entry| !entry.is_gone(py))
    }

    /// Visits what the greenlets wait with, by `inner`. The waits are not visited: others that will wake them share them.
    ///
    /// # Errors
    /// What the visitor returns.
    pub fn traverse(
        &self,
        inner: impl Fn(&T) -> Result<(), PyTraverseError>,
    ) -> Result<(), PyTraverseError> {
        let entries = self.woken.iter().chain(&self.waiting);
        entries.map(|entry| &entry.with).try_for_each(inner)
    }
}

/// Wakes `wait`, if there is one.
#[inline]
pub fn wake(py: Python<'_>, wait: Option<WaitRef>) {
    if let Some(wait) = wait {
        wait.wake_none(py);
    }
}
