//! An epoll set whose events identify connections by their index in a table.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;

/// The largest number of events that one wait can report.
const EVENTS: usize = 256;

/// The set and its buffer.
pub struct Poll {
    set: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    /// Returns an empty set.
    ///
    /// # Errors
    /// Returns the error that `epoll_create1` reports.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            set: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
        })
    }

    /// Adds a descriptor, edge-triggered in both directions.
    ///
    /// # Errors
    /// Returns the error that `epoll_ctl` reports.
    pub fn add(&self, fd: impl AsFd, place: usize) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(
            &self.set,
            fd,
            EventData::new_u64(place as u64),
            flags,
        )?)
    }

    /// Waits for at most `limit`; yields the indices of connections with events.
    ///
    /// # Errors
    /// Returns the error that `epoll_wait` reports.
    pub fn wait(&mut self, limit: Duration) -> io::Result<impl Iterator<Item = usize> + '_> {
        let limit = Timespec {
            tv_sec: limit.as_secs() as i64,
            tv_nsec: limit.subsec_nanos().into(),
        };
        self.events.clear();
        let room = rustix::buffer::spare_capacity(&mut self.events);
        epoll::wait(&self.set, room, Some(&limit))?;
        Ok(self.events.iter().map(|event| {
            let data = event.data;
            data.u64() as usize
        }))
    }
}
