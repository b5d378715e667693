//! Level-triggered watches on descriptors that the caller does not own.
//!
//! Any number of watches may ask for the same descriptor; the kernel sees it once, with all that is asked
//! for merged, under the descriptor's number as token. The set is an [`Epoll`] of its own, since the other
//! one may hold the same descriptors edge-triggered.
//!
//! The owner may close a descriptor at any time, and open something else under its number. So what is registered is a
//! guess that every change verifies. One case cannot be repaired in the same set: a closed descriptor whose file is
//! still open in a duplicate goes on being reported under a number that can no longer remove it. An event for which
//! [`Watches::ready`] yields nothing indicates this case: the caller then replaces the set and calls
//! [`rearm_all`](Watches::rearm_all).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::ops::{BitAnd, BitOr};
use std::os::fd::RawFd;

use crate::epoll::{Epoll, EventFlags};

/// The directions a watch asks for.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Interest(u8);

impl Interest {
    /// Neither direction.
    pub const EMPTY: Interest = Interest(0);
    /// Reading would not block.
    pub const READ: Interest = Interest(1);
    /// Writing would not block.
    pub const WRITE: Interest = Interest(2);
    /// Both directions.
    pub const BOTH: Interest = Interest(3);

    /// Returns the set with these bits; others than those of the constants are ignored.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Interest {
        Interest(bits & Interest::BOTH.0)
    }

    /// Returns the set as bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Returns true if all of `other` is asked for.
    #[must_use]
    pub const fn contains(self, other: Interest) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns true if neither direction is asked for.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.contains(Interest::READ));
        flags.set(EventFlags::OUT, self.contains(Interest::WRITE));
        flags
    }

    /// Returns the directions that an event makes ready. If the connection or the other end is gone, nothing blocks any
    /// more.
    fn ready(flags: EventFlags) -> Interest {
        if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            return Interest::BOTH;
        }
        let mut ready = Interest::EMPTY;
        if flags.contains(EventFlags::IN) {
            ready = ready | Interest::READ;
        }
        if flags.contains(EventFlags::OUT) {
            ready = ready | Interest::WRITE;
        }
        ready
    }
}

impl BitOr for Interest {
    type Output = Interest;

    fn bitor(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }
}

impl BitAnd for Interest {
    type Output = Interest;

    fn bitand(self, other: Interest) -> Interest {
        Interest(self.0 & other.0)
    }
}

/// The watches on one descriptor.
#[derive(Debug)]
struct Watched<K> {
    watches: Vec<(K, Interest)>,
    /// The interest that was registered with the kernel last.
    merged: Interest,
}

impl<K> Watched<K> {
    fn wanted(&self) -> Interest {
        self.watches
            .iter()
            .fold(Interest::EMPTY, |all, &(_, interest)| all | interest)
    }
}

/// The watches of one epoll set, each named by a `K` of the caller's.
#[derive(Debug)]
pub struct Watches<K: Copy + Eq> {
    by_fd: HashMap<RawFd, Watched<K>>,
    /// Descriptors that epoll refuses because they never block, as regular files.
    always: Vec<RawFd>,
}

impl<K: Copy + Eq> Watches<K> {
    /// Returns no watches.
    #[must_use]
    pub fn new() -> Self {
        Watches {
            by_fd: HashMap::new(),
            always: Vec::new(),
        }
    }

    /// Returns true if there is no watch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_fd.is_empty()
    }

    /// Returns the number of watched descriptors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_fd.len()
    }

    /// Adds a watch, or changes what it asks for when `key` watches `fd` already.
    ///
    /// # Errors
    /// Returns the error that `epoll_ctl` reports, `EBADF` when `fd` is closed; `EINVAL` when `interest` is empty.
    /// Nothing is changed then.
    pub fn add(&mut self, epoll: &Epoll, fd: RawFd, interest: Interest, key: K) -> io::Result<()> {
        if interest.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let known = self.by_fd.get(&fd);
        let others = known.map_or(Interest::EMPTY, |watched| {
            let others = watched.watches.iter().filter(|(other, _)| *other != key);
            others.fold(Interest::EMPTY, |all, &(_, interest)| all | interest)
        });
        let merged = others | interest;
        // The kernel is asked even when nothing changes, as the number may be another file's by now.
        let pollable = register(epoll, fd, merged, known.is_some())?;
        self.set_always(fd, !pollable);
        let watched = self.by_fd.entry(fd).or_insert_with(|| Watched {
            watches: Vec::with_capacity(1),
            merged,
        });
        watched.merged = merged;
        match watched.watches.iter_mut().find(|(other, _)| *other == key) {
            Some(watch) => watch.1 = interest,
            None => watched.watches.push((key, interest)),
        }
        Ok(())
    }

    /// Removes a watch. It is no error if there is none, or if the owner has closed the descriptor.
    ///
    /// # Errors
    /// Returns the error that `epoll_ctl` reports beyond that. The watch is removed all the same.
    pub fn remove(&mut self, epoll: &Epoll, fd: RawFd, key: K) -> io::Result<()> {
        let Entry::Occupied(mut entry) = self.by_fd.entry(fd) else {
            return Ok(());
        };
        let watched = entry.get_mut();
        watched.watches.retain(|(other, _)| *other != key);
        let wanted = watched.wanted();
        let result = if wanted.is_empty() {
            entry.remove();
            self.set_always(fd, false);
            epoll.delete(fd)
        } else if wanted != watched.merged {
            watched.merged = wanted;
            register(epoll, fd, wanted, true).map(|pollable| self.set_always(fd, !pollable))
        } else {
            Ok(())
        };
        match result.as_ref().err().and_then(io::Error::raw_os_error) {
            Some(libc::EBADF | libc::ENOENT | libc::EPERM) => Ok(()),
            _ => result,
        }
    }

    /// Returns the watches that an event on `fd` concerns, each with the directions that it asked for and that are
    /// ready.
    pub fn ready(&self, fd: RawFd, flags: EventFlags) -> impl Iterator<Item = (K, Interest)> + '_ {
        let ready = Interest::ready(flags);
        self.watches(fd)
            .map(move |(key, interest)| (key, interest & ready))
            .filter(|(_, interest)| !interest.is_empty())
    }

    /// Returns true if some watch is ready at all times, so that a loop must not wait.
    #[must_use]
    pub fn has_always_ready(&self) -> bool {
        !self.always.is_empty()
    }

    /// Returns the watches on files that epoll refuses because they never block, with the directions that they ask for.
    pub fn always_ready(&self) -> impl Iterator<Item = (K, Interest)> + '_ {
        self.always.iter().flat_map(|&fd| self.watches(fd))
    }

    /// Registers every descriptor in a new set, as after `fork`.
    ///
    /// Returns the descriptors for which that failed, which then get no events: they were closed.
    #[must_use]
    pub fn rearm_all(&mut self, new: &Epoll) -> Vec<(RawFd, io::Error)> {
        self.always.clear();
        let mut failures = Vec::new();
        for (&fd, watched) in &self.by_fd {
            match register(new, fd, watched.merged, false) {
                Ok(true) => {}
                Ok(false) => self.always.push(fd),
                Err(error) => failures.push((fd, error)),
            }
        }
        failures
    }

    /// Returns true if the descriptor with this number is watched.
    #[must_use]
    pub fn has_descriptor(&self, fd: RawFd) -> bool {
        self.by_fd.contains_key(&fd)
    }

    fn watches(&self, fd: RawFd) -> impl Iterator<Item = (K, Interest)> + '_ {
        self.by_fd
            .get(&fd)
            .into_iter()
            .flat_map(|watched| watched.watches.iter().copied())
    }

    fn set_always(&mut self, fd: RawFd, always: bool) {
        match self.always.iter().position(|&other| other == fd) {
            Some(index) if !always => drop(self.always.swap_remove(index)),
            None if always => self.always.push(fd),
            _ => {}
        }
    }
}

impl<K: Copy + Eq> Default for Watches<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// Registers `interest` in `fd` with the kernel; returns false if `fd` is always ready. `known` is true if the set is
/// expected to have the descriptor, which is a guess that may be wrong.
fn register(epoll: &Epoll, fd: RawFd, interest: Interest, known: bool) -> io::Result<bool> {
    let (flags, token) = (interest.flags(), fd as u64);
    let first = if known {
        epoll.modify(fd, flags, token)
    } else {
        epoll.add(fd, flags, token)
    };
    let result = match first.as_ref().err().and_then(io::Error::raw_os_error) {
        Some(libc::ENOENT) => epoll.add(fd, flags, token),
        Some(libc::EEXIST) => epoll.modify(fd, flags, token),
        _ => first,
    };
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(false),
        Err(error) => Err(error),
    }
}
