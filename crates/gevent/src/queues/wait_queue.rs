//! A line of parked greenlets in which a woken one keeps its claim until it has run.
//!
//! Waking a greenlet and its running are two moments; between them it can be killed, or somebody else can take what it
//! was woken for. So a queue hands nothing over: it wakes the first in line, which helps itself when it runs, goes back
//! to its old place when there is nothing left, and in any case sees to it that the next one is woken if need be.

use std::collections::VecDeque;

use pyo3::PyTraverseError;
use pyo3::prelude::*;

use crate::waiting::wait::WaitRef;

/// One greenlet in line, with what it came with.
pub struct Waiting<T> {
    ticket: u64,
    /// Its present wait.
    pub wait: WaitRef,
    /// What it came with.
    pub with: T,
}

impl<T> Waiting<T> {
    /// Returns true if the greenlet will never run again, as its thread has ended.
    fn is_gone(&self, py: Python<'_>) -> bool {
        self.wait.loop_().get().is_gone(py)
    }
}

/// The line: those who wait, and those who were woken and have not run since. Both in order of arrival.
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
    /// Queues up; returns the ticket to leave with.
    pub fn join(&mut self, wait: WaitRef, with: T) -> u64 {
        self.tickets += 1;
        self.waiting.push_back(Waiting {
            ticket: self.tickets,
            wait,
            with,
        });
        self.tickets
    }

    /// Queues up again at the old place.
    pub fn rejoin(&mut self, ticket: u64, wait: WaitRef, with: T) {
        let at = self.waiting.partition_point(|other| other.ticket < ticket);
        self.waiting.insert(at, Waiting { ticket, wait, with });
    }

    /// Leaves; none when [`take`](Self::take) was quicker.
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

    /// Returns the next one to wake, who counts as woken from now on. Those who will never run, as their thread has ended, are
    /// passed over: woken, they count no more.
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

    /// Takes the first one out that still runs, woken or not.
    pub fn take(&mut self, py: Python<'_>) -> Option<Waiting<T>> {
        [&mut self.woken, &mut self.waiting]
            .into_iter()
            .find_map(|entries| {
                let at = entries.iter().position(|entry| !entry.is_gone(py))?;
                entries.remove(at)
            })
    }

    /// Takes everybody out, for the caller to drop outside the cell.
    pub fn clear(&mut self) -> Self {
        let empty = Self {
            tickets: self.tickets,
            ..Self::default()
        };
        std::mem::replace(self, empty)
    }

    /// Returns greenlets that nobody has woken.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns greenlets that were woken and are still to run.
    pub fn woken(&self, py: Python<'_>) -> usize {
        self.iter_woken(py).count()
    }

    /// Returns all of them.
    pub fn len(&self, py: Python<'_>) -> usize {
        self.iter(py).count()
    }

    /// Returns what those who were woken and are still to run came with.
    pub fn iter_woken(&self, py: Python<'_>) -> impl Iterator<Item = &T> {
        self.woken
            .iter()
            .filter(move |entry| !entry.is_gone(py))
            .map(|entry| &entry.with)
    }

    /// Returns those whom nobody has woken.
    pub fn iter_waiting(&self) -> impl Iterator<Item = &Waiting<T>> {
        self.waiting.iter()
    }

    /// Returns all who still run: the woken, then those who wait.
    pub fn iter(&self, py: Python<'_>) -> impl Iterator<Item = &Waiting<T>> {
        self.woken
            .iter()
            .chain(&self.waiting)
            .filter(move |entry| !entry.is_gone(py))
    }

    /// Visits what the greenlets came with by `inner`; the waits themselves are shared with others who will wake them.
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
