//! Deadlines: an indexed 4-ary heap over a slab.
//!
//! The typical deadline guards an operation that finishes in time, so it is inserted as the latest one and cancelled
//! soon after. Both are O(1) here: the latest belongs at the heap's end, where it takes one comparison to see that it
//! may stay, and nothing moves when it goes. Everything else is O(log n). A cancelled timer leaves the heap
//! immediately, so there are no dead entries to sweep.

use slab::Slab;

use crate::time::Time;

/// The number of children of a heap node: four 24-byte entries span at most three cache lines, and the tree is half as
/// deep as a binary one.
const ARITY: usize = 4;

/// The key of one timer. When the timer fires or is cancelled the key becomes stale: it names no timer any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerKey {
    index: u32,
    generation: u32,
}

/// An element of the heap. It has its deadline inline, so that comparing two does not read the slab.
#[derive(Clone, Copy, Debug)]
struct Node {
    deadline: Time,
    seq: u64,
    index: u32,
}

impl Node {
    fn before(&self, other: &Node) -> bool {
        (self.deadline, self.seq) < (other.deadline, other.seq)
    }
}

#[derive(Debug)]
struct Entry<T> {
    /// The low half of the insertion's sequence number.
    generation: u32,
    /// The position of the node in the heap.
    position: u32,
    value: T,
}

/// Values with deadlines, fired in the order of (deadline, insertion).
///
/// At most 2^32 timers can be pending at the same time.
#[derive(Debug)]
pub struct Timers<T> {
    heap: Vec<Node>,
    entries: Slab<Entry<T>>,
    next_seq: u64,
}

impl<T> Timers<T> {
    /// Returns an empty set.
    #[must_use]
    pub const fn new() -> Self {
        Timers {
            heap: Vec::new(),
            entries: Slab::new(),
            next_seq: 0,
        }
    }

    /// Returns the number of pending timers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Returns true if no timer is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Adds a timer that is due at `deadline`.
    pub fn insert(&mut self, deadline: Time, value: T) -> TimerKey {
        let seq = self.next_seq;
        self.next_seq += 1;
        let generation = seq as u32;
        let position = self.heap.len();
        let index = self.entries.insert(Entry {
            generation,
            position: position as u32,
            value,
        }) as u32;
        let node = Node {
            deadline,
            seq,
            index,
        };
        self.heap.push(node);
        self.sift_up(position, node);
        TimerKey { index, generation }
    }

    /// Removes a timer before it fires; returns `None` if it has fired, was cancelled or never existed.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let position = self.entry(key)?.position as usize;
        self.remove_node(position);
        Some(self.entries.remove(key.index as usize).value)
    }

    /// Returns the value of a pending timer.
    #[must_use]
    pub fn get(&self, key: TimerKey) -> Option<&T> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Returns the deadline of a pending timer.
    #[must_use]
    pub fn deadline(&self, key: TimerKey) -> Option<Time> {
        let position = self.entry(key)?.position as usize;
        Some(self.heap[position].deadline)
    }

    /// Returns the earliest deadline.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.heap.first().map(|node| node.deadline)
    }

    /// Removes and returns the first timer if it is due at `now`; of equal deadlines the one inserted
    /// first.
    pub fn pop_expired(&mut self, now: Time) -> Option<(TimerKey, T)> {
        let first = *self.heap.first()?;
        if first.deadline > now {
            return None;
        }
        self.remove_node(0);
        let entry = self.entries.remove(first.index as usize);
        let key = TimerKey {
            index: first.index,
            generation: entry.generation,
        };
        Some((key, entry.value))
    }

    /// Removes every timer, in no particular order; those the iterator was not asked for are dropped with
    /// it.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.heap.clear();
        self.entries.drain().map(|entry| entry.value)
    }

    /// Removes every timer, in no particular order.
    ///
    /// The values are handed out rather than dropped, for callers whose values run code when dropped.
    #[must_use]
    pub fn clear(&mut self) -> Vec<T> {
        self.drain().collect()
    }

    fn entry(&self, key: TimerKey) -> Option<&Entry<T>> {
        self.entries
            .get(key.index as usize)
            .filter(|entry| entry.generation == key.generation)
    }

    /// Takes the node at `position` out of the heap and lets the last one fill the hole.
    fn remove_node(&mut self, position: usize) {
        let Some(last) = self.heap.pop() else { return };
        if position == self.heap.len() {
            return;
        }
        if position > 0 && last.before(&self.heap[(position - 1) / ARITY]) {
            self.sift_up(position, last);
        } else {
            self.sift_down(position, last);
        }
    }

    /// Moves the hole at `position` towards the root until `node` fits: either a node just pushed there, or
    /// one known to belong further up.
    fn sift_up(&mut self, mut position: usize, node: Node) {
        let start = position;
        while position > 0 {
            let parent = (position - 1) / ARITY;
            if !node.before(&self.heap[parent]) {
                break;
            }
            self.place(position, self.heap[parent]);
            position = parent;
        }
        // A node that stays has been placed by the push.
        if position != start {
            self.place(position, node);
        }
    }

    /// Moves the hole at `position` towards the leaves until `node` fits.
    fn sift_down(&mut self, mut position: usize, node: Node) {
        let len = self.heap.len();
        loop {
            let first = position * ARITY + 1;
            if first >= len {
                break;
            }
            let mut least = first;
            for child in first + 1..len.min(first + ARITY) {
                if self.heap[child].before(&self.heap[least]) {
                    least = child;
                }
            }
            if !self.heap[least].before(&node) {
                break;
            }
            self.place(position, self.heap[least]);
            position = least;
        }
        self.place(position, node);
    }

    fn place(&mut self, position: usize, node: Node) {
        self.heap[position] = node;
        self.entries[node.index as usize].position = position as u32;
    }
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_cancelled_timer_leaves_nothing_behind() {
        let mut timers = Timers::new();
        let start = Time::now();
        for n in 0..1_000_000u64 {
            let key = timers.insert(start.after(Duration::from_nanos(n)), n);
            assert_eq!(timers.cancel(key), Some(n));
        }
        assert!(timers.is_empty());
        assert!(timers.heap.capacity() <= 4);
        assert!(timers.entries.capacity() <= 4);
    }

    #[test]
    fn places_are_reused_while_others_stay() {
        let mut timers = Timers::new();
        let start = Time::now();
        for n in 0..100 {
            timers.insert(start.after(Duration::from_secs(n)), n);
        }
        for n in 0..10_000u64 {
            let key = timers.insert(start.after(Duration::from_millis(n * 7919 % 100_000)), n);
            assert_eq!(timers.cancel(key), Some(n));
        }
        assert_eq!(timers.len(), 100);
        assert!(timers.entries.capacity() <= 256);
    }
}
