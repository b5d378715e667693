//! Entries in the order of their tickets.
//!
//! Most objects have at most one waiter at a time, so the first entry lies in the list itself and costs no allocation;
//! the rest begins with the second one.

use std::collections::VecDeque;

use crate::queue::Ticket;

/// One entry with its place in the order.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    pub ticket: Ticket,
    pub item: T,
}

/// The entries. If there is no first entry, the rest is empty.
#[derive(Clone, Debug)]
pub struct Ordered<T> {
    first: Option<Entry<T>>,
    rest: Option<VecDeque<Entry<T>>>,
}

impl<T> Ordered<T> {
    pub const fn new() -> Self {
        Self {
            first: None,
            rest: None,
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, VecDeque::len)
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
            self.rest.get_or_insert_default().push_front(second);
            return;
        }
        let rest = self.rest.get_or_insert_default();
        match rest.back() {
            Some(back) if back.ticket > entry.ticket => {
                let at = rest.partition_point(|other| other.ticket < entry.ticket);
                rest.insert(at, entry);
            }
            _ => rest.push_back(entry),
        }
    }

    #[inline]
    pub fn pop(&mut self) -> Option<Entry<T>> {
        let first = self.first.take()?;
        self.first = self.rest.as_mut().and_then(VecDeque::pop_front);
        Some(first)
    }

    #[inline]
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        if self.first.as_ref()?.ticket == ticket {
            return self.pop().map(|entry| entry.item);
        }
        let rest = self.rest.as_mut()?;
        let at = rest
            .binary_search_by_key(&ticket, |entry| entry.ticket)
            .ok()?;
        rest.remove(at).map(|entry| entry.item)
    }

    /// Takes out the first entry that `is_it` picks.
    pub fn remove_first(&mut self, is_it: impl Fn(&T) -> bool) -> Option<Entry<T>> {
        if is_it(&self.first.as_ref()?.item) {
            return self.pop();
        }
        let rest = self.rest.as_mut()?;
        let at = rest.iter().position(|entry| is_it(&entry.item))?;
        rest.remove(at)
    }

    /// Returns the first entry behind `ticket`.
    #[inline]
    pub fn after(&self, ticket: Ticket) -> Option<&Entry<T>> {
        let first = self.first.as_ref()?;
        if first.ticket > ticket {
            return Some(first);
        }
        let rest = self.rest.as_ref()?;
        let at = rest.partition_point(|entry| entry.ticket <= ticket);
        rest.get(at)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry<T>> {
        self.first.iter().chain(self.rest.iter().flatten())
    }

    pub fn into_iter(self) -> impl Iterator<Item = Entry<T>> {
        let rest = self.rest.into_iter().flatten();
        self.first.into_iter().chain(rest)
    }
}
