//! A queue of waiters in which a notified one keeps its claim until it has run.
//!
//! Waking a greenlet and its running are two moments. Between them it can be killed, or another greenlet can take what
//! it was woken for. So nothing is handed over: the first in the queue is notified, and takes what it needs when it
//! runs. If there is nothing left, it goes back to its old place, by its ticket; if it was killed instead, it learns as
//! it leaves that it had been notified ([`Left::Notified`]), and notifies the next one.
//!
//! ```text
//!             join                 next                     leave
//!   (outside) ────▶ waiting ───────────────▶ notified ────────────▶ (outside)
//!                      ▲                                      │
//!                      └──────────────────────────────────────┘ join, with the same ticket
//! ```
//!
//! A ticket is never given twice, whatever queue it was for. A waiter may come back to a queue that was emptied, or
//! made anew, since it was notified, and must not take out another waiter there.
//!
//! A waiter whose thread has ended will never run. It stays listed until it is dropped, but it is never notified and is
//! not counted.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::ordered::{Entry, Ordered};

/// A place in a queue: later places are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(NonZeroU64);

/// Gives out tickets. Only one thread at a time may ask for one.
#[derive(Debug, Default)]
pub struct Tickets(AtomicU64);

impl Tickets {
    /// Makes a source of tickets from which no ticket was taken yet.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Returns a ticket that is greater than all that were given before.
    #[inline]
    pub fn next(&self) -> Ticket {
        let next = self.0.load(Relaxed) + 1;
        self.0.store(next, Relaxed);
        // The number is not zero: with one ticket per nanosecond it would wrap after 584 years.
        Ticket(NonZeroU64::new(next).unwrap_or(NonZeroU64::MAX))
    }
}

impl Clone for Tickets {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Relaxed)))
    }
}

/// A type whose values can wait in a queue.
pub trait Waiter {
    /// The proof that is needed to inspect a waiter, for example that the GIL is held.
    type Token<'a>: Copy;

    /// Returns true if it will never run again, as its thread has ended.
    fn is_gone(&self, token: Self::Token<'_>) -> bool;

    /// Returns false if no waiter can be gone, so that they need not be inspected one by one.
    fn may_be_gone() -> bool {
        true
    }
}

/// The state in which a waiter left a queue.
#[derive(Debug)]
pub enum Left<T> {
    /// It had not been notified.
    Waiting(T),
    /// It had been notified. If it does not take what it was notified of, the next one is to be notified in its place.
    Notified(T),
}

impl<T> Left<T> {
    /// Returns true if it had been notified.
    #[inline]
    pub fn was_notified(&self) -> bool {
        matches!(self, Self::Notified(_))
    }
}

/// The waiters of one object.
#[derive(Clone, Debug)]
pub struct WaitQueue<T> {
    waiting: Ordered<T>,
    notified: Ordered<T>,
}

impl<T> Default for WaitQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> WaitQueue<T> {
    /// Makes an empty queue.
    pub const fn new() -> Self {
        Self {
            waiting: Ordered::new(),
            notified: Ordered::new(),
        }
    }

    /// Puts a waiter in its place: last with a new ticket, and where it was before with the ticket that it left with.
    #[inline]
    pub fn join(&mut self, ticket: Ticket, item: T) {
        self.waiting.insert(Entry { ticket, item });
    }

    /// Takes a waiter out, notified or not; returns none when it was taken out before.
    #[inline]
    pub fn leave(&mut self, ticket: Ticket) -> Option<Left<T>> {
        match self.notified.remove(ticket) {
            Some(item) => Some(Left::Notified(item)),
            None => self.waiting.remove(ticket).map(Left::Waiting),
        }
    }

    /// Takes out the first waiter that was not notified. It is served for good, as there is nothing that it could miss.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.waiting.pop().map(|entry| entry.item)
    }

    /// Takes out a waiter that was not notified.
    #[inline]
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        self.waiting.remove(ticket)
    }

    /// Takes out the first waiter that was not notified and that `is_it` picks.
    pub fn remove_first(&mut self, is_it: impl Fn(&T) -> bool) -> Option<T> {
        self.waiting.remove_first(is_it).map(|entry| entry.item)
    }

    /// Returns the first waiter behind `ticket`, or the first of all, that was not notified.
    #[inline]
    pub fn after(&self, ticket: Option<Ticket>) -> Option<(Ticket, &T)> {
        let found = match ticket {
            None => self.waiting.first(),
            Some(ticket) => self.waiting.after(ticket),
        };
        found.map(|entry| (entry.ticket, &entry.item))
    }

    /// Lists a waiter that was taken out by [`remove`](Self::remove) as notified.
    #[inline]
    pub fn remember(&mut self, ticket: Ticket, item: T) {
        self.notified.insert(Entry { ticket, item });
    }

    /// Takes all waiters out, notified or not, for the caller to drop where dropping is allowed.
    pub fn take_all(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Takes out the waiters that `is_it` picks, notified or not.
    pub fn drain(&mut self, is_it: impl Fn(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for list in [&mut self.waiting, &mut self.notified] {
            for entry in std::mem::replace(list, Ordered::new()).into_iter() {
                if is_it(&entry.item) {
                    taken.push(entry.item);
                } else {
                    list.insert(entry);
                }
            }
        }
        taken
    }

    /// Returns true if all waiters were notified, or there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns how many were not notified, gone ones included.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the waiters that were not notified, in order, gone ones included.
    pub fn iter_waiting(&self) -> impl Iterator<Item = (Ticket, &T)> {
        self.waiting.iter().map(|entry| (entry.ticket, &entry.item))
    }

    /// Returns all waiters, gone ones included.
    pub fn iter_all(&self) -> impl Iterator<Item = &T> {
        let waiting = self.waiting.iter().map(|entry| &entry.item);
        self.iter_notified().chain(waiting)
    }

    /// Returns the waiters that were notified and have not left, in order, gone ones included.
    pub fn iter_notified(&self) -> impl Iterator<Item = &T> {
        self.notified.iter().map(|entry| &entry.item)
    }
}

impl<T: Waiter> WaitQueue<T> {
    /// Returns the result of `see` for the next waiter to notify, which counts as notified from now on. Gone ones are
    /// skipped.
    #[inline]
    pub fn next<R>(&mut self, token: T::Token<'_>, see: impl Fn(&T) -> R) -> Option<R> {
        loop {
            let entry = self.waiting.pop()?;
            let gone = T::may_be_gone() && entry.item.is_gone(token);
            let seen = (!gone).then(|| see(&entry.item));
            self.notified.insert(entry);
            if seen.is_some() {
                return seen;
            }
        }
    }

    /// Returns true if fewer than `number` were notified and are still to run: there is something that none of them claims.
    #[inline]
    pub fn claims_fewer_than(&self, number: i64, token: T::Token<'_>) -> bool {
        let fewer = |claims: usize| number > i64::try_from(claims).unwrap_or(i64::MAX);
        fewer(self.notified.len())
            || (number > 0 && T::may_be_gone() && fewer(self.notified(token)))
    }

    /// Takes out the first waiter that still runs, notified or not.
    pub fn take(&mut self, token: T::Token<'_>) -> Option<T> {
        let runs = |item: &T| !item.is_gone(token);
        let found = self.notified.remove_first(runs);
        found
            .or_else(|| self.waiting.remove_first(runs))
            .map(|entry| entry.item)
    }

    fn living(list: &Ordered<T>, token: T::Token<'_>) -> usize {
        if T::may_be_gone() {
            let living = list.iter().filter(|entry| !entry.item.is_gone(token));
            living.count()
        } else {
            list.len()
        }
    }

    /// Returns how many were notified and are still to run.
    #[inline]
    pub fn notified(&self, token: T::Token<'_>) -> usize {
        Self::living(&self.notified, token)
    }

    /// Returns how many still run, notified or not.
    #[inline]
    pub fn len(&self, token: T::Token<'_>) -> usize {
        Self::living(&self.waiting, token) + Self::living(&self.notified, token)
    }

    /// Returns the waiters that still run: the notified ones, then the others.
    pub fn iter(&self, token: T::Token<'_>) -> impl Iterator<Item = &T> {
        self.iter_all().filter(move |item| !item.is_gone(token))
    }
}
