//! The waiters in a [`WaitQueue`]: greenlets, by their waits.

use pyo3::prelude::*;
use wait::{Ticket, Tickets, WaitQueue, Waiter};

use crate::event_loop::unusual::any_loop_is_gone;
use crate::waiting::wait::WaitRef;

/// The tickets of all queues. A ticket is taken with the GIL held.
static TICKETS: Tickets = Tickets::new();

/// Returns a ticket that is greater than all that were given before.
#[inline]
pub fn ticket(_py: Python<'_>) -> Ticket {
    TICKETS.next()
}

/// Appends a waiter to a queue; returns its ticket.
#[inline]
pub fn join<T>(queue: &mut WaitQueue<T>, py: Python<'_>, item: T) -> Ticket {
    let ticket = ticket(py);
    queue.join(ticket, item);
    ticket
}

/// A parked greenlet in a queue, with the value that it brought along.
pub struct Waiting<T> {
    /// Its present wait.
    pub wait: WaitRef,
    /// The item, flag or the like that it brought along.
    pub with: T,
}

impl<T> Waiting<T> {
    /// Makes an entry for a greenlet that waits.
    #[inline]
    pub fn new(wait: &WaitRef, with: T) -> Self {
        let wait = wait.clone();
        Self { wait, with }
    }
}

impl<T> Waiter for Waiting<T> {
    type Token<'a> = Python<'a>;

    fn is_gone(&self, py: Python<'_>) -> bool {
        self.wait.is_gone(py)
    }

    #[inline]
    fn may_be_gone() -> bool {
        any_loop_is_gone()
    }
}

/// Notifies the next greenlet, which counts as notified from now on; returns its wait, for the caller to wake outside
/// the cell.
#[inline]
pub fn next<T>(queue: &mut WaitQueue<Waiting<T>>, py: Python<'_>) -> Option<WaitRef> {
    queue.next(py, |next| next.wait.clone())
}

/// Wakes `wait`, if there is one.
#[inline]
pub fn wake(py: Python<'_>, wait: Option<WaitRef>) {
    if let Some(wait) = wait {
        wait.wake_none(py);
    }
}

/// Wakes all greenlets of a queue that was taken out of its cell.
pub fn wake_all(py: Python<'_>, mut queue: WaitQueue<WaitRef>) {
    while let Some(wait) = queue.pop() {
        wait.wake_none(py);
    }
}
