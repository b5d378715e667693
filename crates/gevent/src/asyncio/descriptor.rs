//! Futures for descriptors that belong to the program: `sock_recv` and its like wait for them.
//!
//! Such a descriptor cannot stay registered, as the program may close it without a notice. The hub watches it until it is
//! ready once. Watches that end linger in the hub until its next poll, so that operations that wait for one descriptor again and
//! again need no system call for that.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use pyo3::intern;
use pyo3::prelude::*;
use reactor::{Direction, Interest};

use crate::asyncio::base::{AsyncioLoop, Io};
use crate::asyncio::mailbox::{Mailbox, Ready};
use crate::event_loop::loop_::parked::Listener;
use crate::event_loop::loop_::{Loop, Watched};
use crate::hub;

/// Puts a future's place into the mailbox when its descriptor is ready.
#[derive(Debug)]
struct FutureListener {
    mailbox: Arc<Mailbox>,
    place: AtomicU32,
    /// Set when it was notified, which ended the watch.
    is_over: AtomicBool,
}

impl Listener for FutureListener {
    fn ready(&self, py: Python<'_>, direction: Direction) {
        self.is_over.store(true, Relaxed);
        let place = self.place.load(Relaxed);
        self.mailbox.push(py, Ready::Io(place, direction));
    }
}

/// A future that is done when a descriptor is ready.
#[derive(Debug)]
pub struct DescriptorFuture {
    /// The future of asyncio.
    pub future: Py<PyAny>,
    hub_loop: Py<Loop>,
    fd: RawFd,
    key: usize,
    listener: Arc<FutureListener>,
}

impl DescriptorFuture {
    /// Returns another reference to the future and its watch.
    pub fn clone_ref(&self, py: Python<'_>) -> Self {
        Self {
            future: self.future.clone_ref(py),
            hub_loop: self.hub_loop.clone_ref(py),
            fd: self.fd,
            key: self.key,
            listener: Arc::clone(&self.listener),
        }
    }

    /// Ends the watch.
    pub fn end_watch(&self, py: Python<'_>) {
        if !self.listener.is_over.swap(true, Relaxed) {
            self.hub_loop.get().unwatch_soon(py, self.fd, self.key);
        }
    }
}

/// Makes a future of the loop that is done when `fd` can be read from (1) or written to (2); returns it and its place.
///
/// # Errors
/// `OSError` when the descriptor is closed or cannot be watched.
pub fn watch<'py>(
    slf: &Bound<'py, AsyncioLoop>,
    fd: RawFd,
    events: u8,
) -> PyResult<(Bound<'py, PyAny>, u32)> {
    let py = slf.py();
    let this = slf.get();
    let hub_loop = hub::current_loop(py)?;
    let future = slf.call_method0(intern!(py, "create_future"))?;
    let listener = Arc::new(FutureListener {
        mailbox: Arc::clone(this.mailbox()),
        place: AtomicU32::new(u32::MAX),
        is_over: AtomicBool::new(false),
    });
    let watched = Watched::Listener(fd, listener.clone());
    let key = hub_loop
        .get()
        .watch(py, fd, Interest::from_bits(events), watched)?;
    let waiting = DescriptorFuture {
        future: future.clone().unbind(),
        hub_loop,
        fd,
        key,
        listener: Arc::clone(&listener),
    };
    let place = this
        .io
        .with(py, |places| places.insert(Io::Future(waiting)));
    // The number fits: a process has fewer descriptors than this.
    let place = u32::try_from(place).unwrap_or(u32::MAX);
    listener.place.store(place, Relaxed);
    Ok((future, place))
}

/// Ends the watch at `place`, if it is that of `future`, which is not awaited any more.
pub fn forget(slf: &Bound<'_, AsyncioLoop>, place: u32, future: &Bound<'_, PyAny>) {
    let py = slf.py();
    let is_same = |io: &Io| matches!(io, Io::Future(waiting) if waiting.future.is(future));
    let taken = slf.get().io.with(py, |places| {
        let place = place as usize;
        if places.get(place).is_some_and(is_same) {
            places.try_remove(place)
        } else {
            None
        }
    });
    if let Some(Io::Future(waiting)) = taken {
        waiting.end_watch(py);
    }
}

/// Ends the watch at `place`, whose descriptor is ready, and sets the result of the future.
///
/// # Errors
/// Returns the errors of `Future.set_result`.
pub fn ready(slf: &Bound<'_, AsyncioLoop>, place: u32, waiting: &DescriptorFuture) -> PyResult<()> {
    let py = slf.py();
    let future = waiting.future.bind(py);
    forget(slf, place, future);
    if future.call_method0(intern!(py, "done"))?.is_truthy()? {
        return Ok(());
    }
    future.call_method1(intern!(py, "set_result"), (py.None(),))?;
    Ok(())
}
