//! The wait of a transport: its descriptor is an edge-triggered source of the hub, whose events go to the loop's mailbox.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

use pyo3::prelude::*;
use reactor::{Direction, SourceKey};

use crate::asyncio::base::{AsyncioLoop, Io};
use crate::asyncio::mailbox::{Mailbox, Ready};
use crate::cell::GilCell;
use crate::event_loop::loop_::Loop;
use crate::event_loop::loop_::parked::Listener;
use crate::hub;

/// Puts an object of a loop into its mailbox when its source is ready.
#[derive(Debug)]
struct IoListener {
    mailbox: Arc<Mailbox>,
    place: u32,
    /// The directions for which the object is in the mailbox, as bits.
    queued: AtomicU8,
}

impl IoListener {
    /// Puts the object into the mailbox, unless it is there. Each entry that finds more to do puts in another one, so
    /// two entries would stay two, and a protocol that pauses and resumes in every call would double them each time.
    #[inline]
    fn queue(&self, py: Python<'_>, direction: Direction) {
        let bit = 1 << direction as u8;
        let queued = self.queued.load(Relaxed);
        if queued & bit == 0 {
            self.queued.store(queued | bit, Relaxed);
            self.mailbox.push(py, Ready::Io(self.place, direction));
        }
    }
}

impl Listener for IoListener {
    fn ready(&self, py: Python<'_>, direction: Direction) {
        self.queue(py, direction);
    }
}

/// A descriptor that is registered with the hub of the thread that runs a loop, for an object of that loop.
///
/// The hub's sources know the mailbox alone, so that a loop and its transports are freed together once they are unreachable.
#[derive(Debug)]
pub struct Registration {
    source: GilCell<Source>,
    fd: RawFd,
    listener: Arc<IoListener>,
    is_over: AtomicBool,
}

/// The loop and the source that the descriptor is registered as.
struct Source {
    hub_loop: Py<Loop>,
    key: SourceKey,
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
            source: GilCell::new(Source { hub_loop, key }),
            fd,
            listener: Arc::new(IoListener {
                mailbox: Arc::clone(owner.mailbox()),
                // The number fits: a process has fewer descriptors than this.
                place: u32::try_from(place).unwrap_or(u32::MAX),
                queued: AtomicU8::new(0),
            }),
            is_over: AtomicBool::new(false),
        }))
    }

    /// Has the object try this direction as soon as a try can succeed. That is in the next turn, unless the socket is
    /// known to block.
    #[inline]
    pub fn expect(&self, py: Python<'_>, direction: Direction) {
        let ready = self.with(py, |hub_loop, key| {
            let ready = hub_loop.is_worth_trying(py, key, direction);
            if !ready {
                let listener: Arc<dyn Listener> = self.listener.clone();
                hub_loop.listen(py, key, direction, listener);
            }
            ready
        });
        if ready {
            self.repeat(py, direction);
        }
    }

    fn with<R>(&self, py: Python<'_>, use_source: impl FnOnce(&Loop, SourceKey) -> R) -> R {
        self.source
            .with(py, |source| use_source(source.hub_loop.get(), source.key))
    }

    /// Moves to the hub of the running thread, where the loop is about to run, if it is registered with another one.
    ///
    /// # Errors
    /// `OSError` from `epoll_ctl(2)`.
    pub fn follow(&self, py: Python<'_>, hub_loop: &Py<Loop>) -> PyResult<()> {
        let here = self.source.with(py, |source| source.hub_loop.is(hub_loop));
        if here || self.is_over.load(Relaxed) {
            return Ok(());
        }
        let key = hub_loop.get().register_source(py, self.fd)?;
        let hub_loop = hub_loop.clone_ref(py);
        let former = self.source.replace(py, Source { hub_loop, key });
        leave(py, &former);
        for direction in Direction::BOTH {
            self.repeat(py, direction);
        }
        Ok(())
    }

    /// Has the object try this direction again with the next turn.
    pub fn repeat(&self, py: Python<'_>, direction: Direction) {
        self.listener.queue(py, direction);
    }

    /// Notes that the object was taken out of the mailbox for this direction.
    #[inline]
    pub fn begin(&self, direction: Direction) {
        let queued = &self.listener.queued;
        queued.store(queued.load(Relaxed) & !(1 << direction as u8), Relaxed);
    }

    /// Cancels the expectation in this direction.
    pub fn forget(&self, py: Python<'_>, direction: Direction) {
        self.with(py, |hub_loop, key| hub_loop.unlisten(py, key, direction));
    }

    /// Notes that an operation met `EAGAIN`.
    pub fn blocked(&self, py: Python<'_>, direction: Direction) {
        self.with(py, |hub_loop, key| hub_loop.blocked(py, key, direction));
    }

    /// Notes that a read of a stream took all the bytes that were there.
    #[inline]
    pub fn drained(&self, py: Python<'_>) {
        self.with(py, |hub_loop, key| hub_loop.drained(py, key));
    }

    /// Ends the registration and cancels its expectations. Does nothing the second time.
    pub fn end(&self, py: Python<'_>, owner: &AsyncioLoop) {
        if self.is_over.swap(true, Relaxed) {
            return;
        }
        let source = self.source.with(py, |source| Source {
            hub_loop: source.hub_loop.clone_ref(py),
            key: source.key,
        });
        leave(py, &source);
        let place = self.listener.place as usize;
        let removed = owner.io.with(py, |places| places.try_remove(place));
        drop(removed);
    }
}

fn leave(py: Python<'_>, source: &Source) {
    let hub_loop = source.hub_loop.get();
    for direction in Direction::BOTH {
        hub_loop.unlisten(py, source.key, direction);
    }
    drop(hub_loop.deregister_source(py, source.key));
}
