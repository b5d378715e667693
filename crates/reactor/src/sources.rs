//! Readiness: edge-triggered descriptors that are registered once, for both directions.
//!
//! # Why descriptors are registered once
//!
//! A loop in the manner of libev registers a watcher when an operation would block, waits, and removes it again: two
//! `epoll_ctl` and one `epoll_wait` for each wait, 1.2 µs of system calls beside the read itself. Here a descriptor is
//! registered with the kernel once (`EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET`, see `epoll(7)`). From then
//! on it reports each *change* to ready, and what it has reported is remembered in a [`Readiness`]. An operation that
//! does not block costs no system call of the loop, and one that is known to block is not even tried.
//!
//! ```text
//!              registered
//!                  │ nothing is known: counts as ready
//!                  ▼
//!            ┌──────────┐   the operation meets EAGAIN: clear()     ┌─────────────┐
//!            │  ready   │ ────────────────────────────────────────► │  not ready  │
//!            │ (try it) │ ◄──────────────────────────────────────── │ (set_waiter)│
//!            └──────────┘   the kernel's event: on_event()          └─────────────┘
//!                  ▲                                                       │
//!                  └── an event that comes in between is remembered:  ◄────┘
//!                      the next attempt is made without a wait
//! ```
//!
//! # The caller's side of the contract
//!
//! 1. Try the operation first (a new source counts as ready in both directions).
//! 2. On `EAGAIN`, and on nothing else, [`clear`](Sources::clear) the direction and
//!    [`set_waiter`](Sources::set_waiter), with no wait on the set between the attempt and the waiter.
//! 3. Hand every event to [`on_event`](Sources::on_event), wake the waiters that it returns, and let them try
//!    again: an event is a hint, not a promise.
//!
//! An edge is reported once. If 2 cleared a direction without `EAGAIN`, or an event were dropped, nothing would ever
//! report the direction again and its waiter would sleep for ever.
//!
//! # Stale events
//!
//! The kernel may still report a source that is gone, and its descriptor number and its index here are soon used again.
//! So a key and a token carry a generation, and what arrives for another generation reaches no waiter.

use std::io;
use std::mem;
use std::ops::{BitOr, BitOrAssign};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use slab::Slab;

use crate::epoll::{Epoll, EventFlags, duplicate};

/// The state of a source as far as it is known: a set of the constants below.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Readiness(u8);

impl Readiness {
    /// Nothing is ready.
    pub const EMPTY: Readiness = Readiness(0);
    /// A read would not block.
    pub const READABLE: Readiness = Readiness(1);
    /// A write would not block.
    pub const WRITABLE: Readiness = Readiness(2);
    /// The peer sends no more, or the connection is down.
    pub const READ_CLOSED: Readiness = Readiness(4);
    /// The connection is down.
    pub const WRITE_CLOSED: Readiness = Readiness(8);
    /// An error is pending.
    pub const ERROR: Readiness = Readiness(16);
    /// Urgent data came at some time: a read that stops short may have stopped before it, with more to come.
    pub const URGENT: Readiness = Readiness(32);

    /// Returns true if all of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Readiness) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns true if any of `other` is set.
    #[must_use]
    pub const fn intersects(self, other: Readiness) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns true if nothing is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns this set without `other`.
    #[must_use]
    pub const fn without(self, other: Readiness) -> Readiness {
        Readiness(self.0 & !other.0)
    }

    /// Returns the set as bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }
}

impl BitOr for Readiness {
    type Output = Readiness;

    fn bitor(self, other: Readiness) -> Readiness {
        Readiness(self.0 | other.0)
    }
}

impl BitOrAssign for Readiness {
    fn bitor_assign(&mut self, other: Readiness) {
        self.0 |= other.0;
    }
}

impl From<EventFlags> for Readiness {
    fn from(flags: EventFlags) -> Readiness {
        let mut readiness = Readiness::EMPTY;
        for (flag, means) in [
            (EventFlags::IN, Readiness::READABLE),
            (EventFlags::OUT, Readiness::WRITABLE),
            (EventFlags::RDHUP, Readiness::READ_CLOSED),
            (EventFlags::HUP, CLOSED),
            (EventFlags::ERR, Readiness::ERROR),
            (EventFlags::PRI, Readiness::URGENT),
        ] {
            if flags.contains(flag) {
                readiness |= means;
            }
        }
        readiness
    }
}

const CLOSED: Readiness = Readiness(Readiness::READ_CLOSED.0 | Readiness::WRITE_CLOSED.0);

/// The readiness that is assumed before the kernel has reported any: one failing attempt is better than a wait for a
/// change that came before the registration.
const UNKNOWN: Readiness = Readiness(Readiness::READABLE.0 | Readiness::WRITABLE.0);

const FLAGS: EventFlags = EventFlags::IN
    .union(EventFlags::OUT)
    .union(EventFlags::PRI)
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);

/// One of the two directions of a source.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Reading, and accepting.
    Read,
    /// Writing, and connecting.
    Write,
}

impl Direction {
    /// Both, in the order in which waiters are returned.
    pub const BOTH: [Direction; 2] = [Direction::Read, Direction::Write];

    const fn open(self) -> Readiness {
        match self {
            Direction::Read => Readiness::READABLE,
            Direction::Write => Readiness::WRITABLE,
        }
    }

    /// Returns all that makes an operation in this direction return without blocking.
    const fn ready(self) -> Readiness {
        Readiness(
            Readiness::ERROR.0
                | match self {
                    Direction::Read => Readiness::READABLE.0 | Readiness::READ_CLOSED.0,
                    Direction::Write => Readiness::WRITABLE.0 | Readiness::WRITE_CLOSED.0,
                },
        )
    }
}

/// The key of one registered source. When the source is deregistered the key becomes stale: it names no source any
/// more.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SourceKey {
    index: u32,
    generation: u32,
}

impl SourceKey {
    /// Returns the key as an epoll token; never below 2^32.
    #[must_use]
    pub const fn token(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// Returns the key that has this token. A token that never was one gives a key that names nothing.
    #[must_use]
    pub const fn from_token(token: u64) -> SourceKey {
        SourceKey {
            index: token as u32,
            generation: (token >> 32) as u32,
        }
    }
}

#[derive(Debug)]
struct Source<W> {
    generation: u32,
    /// The number that is registered with the kernel.
    fd: RawFd,
    readiness: Readiness,
    waiters: [Option<W>; 2],
    /// The owner of `fd`, if that is a duplicate which this module has made.
    duplicate: Option<OwnedFd>,
}

impl<W> Source<W> {
    #[inline]
    fn clear(&mut self, direction: Direction) {
        let gone = direction.open() | Readiness::ERROR;
        self.readiness = self.readiness.without(gone);
    }
}

/// The entry of [`Sources::owners`] for no source: an index that the slab cannot reach.
const NONE: u32 = u32::MAX;

/// The sources of one epoll set, each with at most one waiter of type `W` per direction.
#[derive(Debug)]
pub struct Sources<W> {
    slab: Slab<Source<W>>,
    /// The source that registered each descriptor number last. A number that was closed without deregistering and is
    /// used again belongs to that source, and an older one must not touch its registration.
    owners: Vec<u32>,
    generation: u32,
    waiting: usize,
}

impl<W> Sources<W> {
    /// Returns no sources.
    #[must_use]
    pub const fn new() -> Self {
        Sources {
            slab: Slab::new(),
            owners: Vec::new(),
            generation: 0,
            waiting: 0,
        }
    }

    /// Returns the number of registered sources.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Returns true if no source is registered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Returns the number of parked waiters.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Registers a descriptor, which the caller puts in non-blocking mode and deregisters before closing.
    ///
    /// A number that is registered already, because two of the caller's objects share it, is registered
    /// a second time through a duplicate of ours, so that each gets its events.
    ///
    /// Register a stream socket once it is connecting or listening. One that is neither yet is reported as
    /// closed; when it was registered all the same, [`rearm`](Sources::rearm) it afterwards.
    ///
    /// # Errors
    /// Returns the error that `epoll_ctl` reports: `EBADF` when `fd` is closed, `EPERM` when such a file cannot be
    /// polled.
    pub fn register(&mut self, epoll: &Epoll, fd: RawFd) -> io::Result<SourceKey> {
        // Zero is skipped to keep small tokens for the caller.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let generation = self.generation;
        let entry = self.slab.vacant_entry();
        let index = entry.key() as u32;
        let key = SourceKey { index, generation };
        let mut source = Source {
            generation,
            fd,
            readiness: UNKNOWN,
            waiters: [None, None],
            duplicate: None,
        };
        if let Err(error) = epoll.add(fd, FLAGS, key.token()) {
            if error.raw_os_error() != Some(libc::EEXIST) {
                return Err(error);
            }
            let duplicate = duplicate(fd)?;
            source.fd = duplicate.as_raw_fd();
            source.duplicate = Some(duplicate);
            epoll.add(source.fd, FLAGS, key.token())?;
        }
        let number = source.fd as usize;
        if self.owners.len() <= number {
            self.owners.resize(number + 1, NONE);
        }
        self.owners[number] = index;
        entry.insert(source);
        Ok(key)
    }

    /// Forgets a source and returns its waiters; none if the key is stale.
    ///
    /// It is no error if the descriptor was closed before: the kernel has forgotten it by itself then.
    pub fn deregister(&mut self, epoll: &Epoll, key: SourceKey) -> [Option<W>; 2] {
        if self.get(key).is_none() {
            return [None, None];
        }
        let source = self.slab.remove(key.index as usize);
        let owner = &mut self.owners[source.fd as usize];
        if *owner == key.index {
            *owner = NONE;
            // EBADF and ENOENT are ignored: the number was closed, and perhaps used again for another file.
            let _ = epoll.delete(source.fd);
        }
        self.waiting -= source.waiters.iter().flatten().count();
        source.waiters
    }

    /// Notes that other code is about to close this number, and takes the waiters to wake: every operation is worth
    /// trying, as the system call then reports the error. Returns no waiters if no source has the number.
    pub fn closing(&mut self, fd: RawFd) -> [Option<W>; 2] {
        let owner = usize::try_from(fd)
            .ok()
            .and_then(|number| self.owners.get(number));
        let source = owner.and_then(|index| self.slab.get_mut(*index as usize));
        let Some(source) = source.filter(|source| source.fd == fd) else {
            return [None, None];
        };
        source.readiness = UNKNOWN;
        let woken = mem::take(&mut source.waiters);
        self.waiting -= woken.iter().flatten().count();
        woken
    }

    /// Takes the waiters of a source that gets no events any more: every operation is worth trying, as in
    /// [`closing`](Self::closing).
    pub fn take_waiters(&mut self, key: SourceKey) -> [Option<W>; 2] {
        let Some(source) = self.get_mut(key) else {
            return [None, None];
        };
        source.readiness = UNKNOWN;
        let woken = mem::take(&mut source.waiters);
        self.waiting -= woken.iter().flatten().count();
        woken
    }

    /// Returns the readiness of a source as far as it is known; the empty one if the key is stale.
    #[must_use]
    pub fn readiness(&self, key: SourceKey) -> Readiness {
        self.get(key)
            .map_or(Readiness::EMPTY, |source| source.readiness)
    }

    /// Returns true if an operation is worth trying. An end of file and an error count as ready, as the operation then
    /// returns without blocking.
    #[must_use]
    pub fn is_ready(&self, key: SourceKey, direction: Direction) -> bool {
        self.readiness(key).intersects(direction.ready())
    }

    /// Notes that an operation in this direction met `EAGAIN`.
    ///
    /// An error goes too, since it would have been reported instead. A closed side stays closed until an
    /// event says otherwise.
    pub fn clear(&mut self, key: SourceKey, direction: Direction) {
        if let Some(source) = self.get_mut(key) {
            source.clear(direction);
        }
    }

    /// Parks a waiter.
    ///
    /// # Errors
    /// Returns the given waiter when there is one already or the key is stale.
    pub fn set_waiter(&mut self, key: SourceKey, direction: Direction, waiter: W) -> Result<(), W> {
        match self.get_mut(key) {
            Some(source) if source.waiters[direction as usize].is_none() => {
                source.waiters[direction as usize] = Some(waiter);
                self.waiting += 1;
                Ok(())
            }
            _ => Err(waiter),
        }
    }

    /// Removes and returns the waiter of this direction, if there is one.
    pub fn take_waiter(&mut self, key: SourceKey, direction: Direction) -> Option<W> {
        let waiter = self.get_mut(key)?.waiters[direction as usize].take()?;
        self.waiting -= 1;
        Some(waiter)
    }

    /// Notes an event and returns the waiters to wake; none if the token is stale.
    pub fn on_event(&mut self, token: u64, flags: EventFlags) -> [Option<W>; 2] {
        let Some(source) = self.get_mut(SourceKey::from_token(token)) else {
            return [None, None];
        };
        let event = Readiness::from(flags);
        // An event shows the whole present state. "Closed" is believed also when it says "no longer",
        // as for a socket that was not connected and now is.
        source.readiness = source.readiness.without(CLOSED) | event;
        let woken = Direction::BOTH.map(|direction| {
            if event.intersects(direction.ready()) {
                source.waiters[direction as usize].take()
            } else {
                None
            }
        });
        self.waiting -= woken.iter().flatten().count();
        woken
    }

    /// Notes that an operation in this direction met `EAGAIN`, as [`clear`](Sources::clear) does, and parks a waiter, as
    /// [`set_waiter`](Sources::set_waiter) does.
    ///
    /// # Errors
    /// Returns the given waiter when there is one already or the key is stale.
    #[inline]
    pub fn park(&mut self, key: SourceKey, direction: Direction, waiter: W) -> Result<(), W> {
        let Some(source) = self.get_mut(key) else {
            return Err(waiter);
        };
        source.clear(direction);
        let slot = &mut source.waiters[direction as usize];
        if slot.is_some() {
            return Err(waiter);
        }
        *slot = Some(waiter);
        self.waiting += 1;
        Ok(())
    }

    /// Notes that a read is worth trying, before the event that will say so, and takes the reader to wake.
    #[inline]
    pub fn note_readable(&mut self, key: SourceKey) -> Option<W> {
        let source = self.get_mut(key)?;
        source.readiness |= Readiness::READABLE;
        let reader = source.waiters[Direction::Read as usize].take()?;
        self.waiting -= 1;
        Some(reader)
    }

    /// Forgets what is known about a source and has the kernel report its present state anew, as an event.
    ///
    /// # Errors
    /// Returns the error that `epoll_ctl` reports: `EBADF` or `ENOENT` when the descriptor was closed before or the
    /// key is stale.
    pub fn rearm(&mut self, epoll: &Epoll, key: SourceKey) -> io::Result<()> {
        let fd = self.registered_fd(key)?;
        epoll.modify(fd, FLAGS, key.token())?;
        if let Some(source) = self.get_mut(key) {
            source.readiness = Readiness::EMPTY;
        }
        Ok(())
    }

    /// Registers every source in a new set, as after `fork`. Keys and waiters stay; what is ready is
    /// unknown again.
    ///
    /// Returns the sources for which that failed, which then get no events: their descriptors were closed. The caller
    /// wakes their [waiters](Self::take_waiters), which get the error from the system call.
    #[must_use]
    pub fn rearm_all(&mut self, new: &Epoll) -> Vec<(SourceKey, io::Error)> {
        let keys: Vec<SourceKey> = self
            .slab
            .iter()
            .map(|(index, source)| SourceKey {
                index: index as u32,
                generation: source.generation,
            })
            .collect();
        let mut failures = Vec::new();
        for key in keys {
            let added = self
                .registered_fd(key)
                .and_then(|fd| new.add(fd, FLAGS, key.token()));
            if let Err(error) = added {
                failures.push((key, error));
            }
            if let Some(source) = self.get_mut(key) {
                source.readiness = UNKNOWN;
            }
        }
        failures
    }

    /// Returns true if a source is registered by this number.
    #[must_use]
    pub fn has_descriptor(&self, fd: RawFd) -> bool {
        self.slab.iter().any(|(_, source)| source.fd == fd)
    }

    fn get(&self, key: SourceKey) -> Option<&Source<W>> {
        self.slab
            .get(key.index as usize)
            .filter(|source| source.generation == key.generation)
    }

    fn get_mut(&mut self, key: SourceKey) -> Option<&mut Source<W>> {
        self.slab
            .get_mut(key.index as usize)
            .filter(|source| source.generation == key.generation)
    }

    /// Returns the descriptor number of a source, unless a newer source has registered the number since.
    fn registered_fd(&self, key: SourceKey) -> io::Result<RawFd> {
        self.get(key)
            .filter(|source| self.owners[source.fd as usize] == key.index)
            .map(|source| source.fd)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }
}

impl<W> Default for Sources<W> {
    fn default() -> Self {
        Self::new()
    }
}
