//! Entries in the order of their tickets.
//!
//! Most of what can be waited for is waited for by one, so the first entry lies in the list itself and costs no allocation.

use std::collections::VecDeque;

use crate::queue::Ticket;

/// One entry with its place in the order.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    pub ticket: Ticket,
    pub item: T,
}

/// The entries. Without a first one there is no rest.
#[derive(Clone, Debug)]
pub struct Ordered<T> {
    first: Option<Entry<T>>,
    rest: VecDeque<Entry<T>>,
}

impl<T> Ordered<T> {
    pub const fn new() -> Self {
        Self {
            first: None,
            rest: VecDeque::new(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    #[inline]
    pub fn first(&self) -> Option<&Entry<T>> {
        self.first.as_ref()
    }

    /// Puts an entry in its place, which most of the time is the last.
    #[inline]
    pub fn insert(&mut self, entry: Entry<T>) {
        let Some(first) = &mut self.first else {
            self.first = Some(entry);
            return;
        };
        if entry.ticket < first.ticket {
            let second = std::mem::replace(first, entry);
            self.rest.push_front(second);
            return;
        }
        match self.rest.back() {
            Some(back) if back.ticket > entry.ticket => {
                let at = self
                    .rest
                    .partition_point(|other| other.ticket < entry.ticket);
                self.rest.insert(at, entry);
            }
            _ => self.rest.push_back(entry),
        }
    }

    #[inline]
    pub fn pop(&mut self) -> Option<Entry<T>> {
        let first = self.first.take()?;
        self.first = self.rest.pop_front();
        Some(first)
    }

    #[inline]
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        if self.first.as_ref()?.ticket == ticket {
            return self.pop().map(|entry| entry.item);
        }
        let at = self
            .rest
            .binary_search_by_key(&ticket, |entry| entry.ticket)
            .ok()?;
        self.rest.remove(at).map(|entry| entry.item)
    }

    /// Takes out the first entry that `is_it` picks.
    pub fn remove_first(&mut self, is_it: impl Fn(&T) -> bool) -> Option<Entry<T>> {
        if is_it(&self.first.as_ref()?.item) {
            return self.pop();
        }
        let at = self.rest.iter().position(|entry| is_it(&entry.item))?;
        self.rest.remove(at)
    }

    /// Returns the first entry behind `ticket`.
    #[inline]
    pub fn after(&self, ticket: Ticket) -> Option<&Entry<T>> {
        let first = self.first.as_ref()?;
        if first.ticket > ticket {
            return Some(first);
        }
        let at = self.rest.partition_point(|entry| entry.ticket <= ticket);
        self.rest.get(at)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry<T>> {
        self.first.iter().chain(&self.rest)
    }

    pub fn into_iter(self) -> impl Iterator<Item = Entry<T>> {
        self.first.into_iter().chain(self.rest)
    }
}
