//! How a transport waits: its descriptor as an edge-triggered source of the hub, whose events go to the loop's mailbox.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::prelude::*;
use reactor::{Direction, Readiness, SourceKey};

use crate::asyncio::base::{AsyncioLoop, Io};
use crate::asyncio::mailbox::{Mailbox, Ready};
use crate::event_loop::loop_::Loop;
use crate::event_loop::parked::Listener;
use crate::hub;

/// Puts an object of a loop into its mailbox when its source is ready.
struct IoListener {
    mailbox: Arc<Mailbox>,
    place: u32,
}

impl Listener for IoListener {
    fn ready(&self, py: Python<'_>, direction: Direction) {
        self.mailbox.push(py, Ready::Io(self.place, direction));
    }
}

/// A descriptor that is registered with the hub of the thread that runs a loop, for an object of that loop.
///
/// The hub's sources know the mailbox alone, so that a loop and its transports that nobody uses any more are freed together.
pub struct Registration {
    hub_loop: Py<Loop>,
    key: SourceKey,
    listener: Arc<IoListener>,
    is_over: AtomicBool,
}

impl Registration {
    /// Registers `fd` with the hub of the running thread. The owner ends the registration before it closes the descriptor.
    ///
    /// # Errors
    /// `OSError` from `epoll_ctl(2)`.
    pub fn new(py: Python<'_>, owner: &AsyncioLoop, fd: RawFd, io: Io) -> PyResult<Arc<Self>> {
        let hub_loop = hub::current_loop(py)?;
        let key = hub_loop.get().register_source(py, fd)?;
        let place = owner.io.with(py, |places| places.insert(io));
        Ok(Arc::new(Self {
            hub_loop,
            key,
            listener: Arc::new(IoListener {
                mailbox: Arc::clone(owner.mailbox()),
                // There are no more descriptors in a process than this.
                place: u32::try_from(place).unwrap_or(u32::MAX),
            }),
            is_over: AtomicBool::new(false),
        }))
    }

    /// Has the object try this direction as soon as that is worth it: with the next turn, if nothing says that it would block.
    #[inline]
    pub fn expect(&self, py: Python<'_>, direction: Direction) {
        let hub_loop = self.hub_loop.get();
        let ready = hub_loop
            .sources
            .with(py, |sources| sources.is_ready(self.key, direction));
        if ready {
            self.repeat(py, direction);
        } else {
            let listener: Arc<dyn Listener> = self.listener.clone();
            hub_loop.listen(py, self.key, direction, listener);
        }
    }

    /// Has the object try this direction again with the next turn.
    pub fn repeat(&self, py: Python<'_>, direction: Direction) {
        let place = self.listener.place;
        let mailbox = &self.listener.mailbox;
        mailbox.push(py, Ready::Io(place, direction));
    }

    /// Expects nothing any more in this direction.
    pub fn forget(&self, py: Python<'_>, direction: Direction) {
        self.hub_loop.get().unlisten(py, self.key, direction);
    }

    /// Notes that an operation met `EAGAIN`.
    pub fn blocked(&self, py: Python<'_>, direction: Direction) {
        self.hub_loop
            .get()
            .sources
            .with(py, |sources| sources.clear(self.key, direction));
    }

    /// Notes that a read of a stream took all there was.
    #[inline]
    pub fn drained(&self, py: Python<'_>) {
        self.hub_loop.get().sources.with(py, |sources| {
            // A read of a TCP socket ends before urgent data, though more is there.
            if !sources.readiness(self.key).intersects(Readiness::URGENT) {
                sources.clear(self.key, Direction::Read);
            }
        });
    }

    /// Ends the registration; what is expected is forgotten. Does nothing the second time.
    pub fn end(&self, py: Python<'_>, owner: &AsyncioLoop) {
        if self.is_over.swap(true, Relaxed) {
            return;
        }
        for direction in Direction::BOTH {
            self.forget(py, direction);
        }
        drop(self.hub_loop.get().deregister_source(py, self.key));
        let place = self.listener.place as usize;
        let removed = owner.io.with(py, |places| places.try_remove(place));
        drop(removed);
    }
}
