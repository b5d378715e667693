//! The selector of a loop, which has the descriptors of `add_reader` and the like, and of the sockets that accept.
//!
//! It stays the selector of `selectors`, an epoll set in Python: programs look into it, and its answers belong to the
//! turn in which they are asked for. The hub reports before the loop has its turn, and another greenlet may read from the
//! descriptor in between, after which the callback of `add_reader` would block the thread where a descriptor blocks. So
//! the hub watches the set alone, and each turn in which the set has something to report reads it ([`report`]).

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use reactor::{Direction, Interest};
use rustix::event::epoll::{self, Event, EventFlags};
use rustix::io::Errno;

use crate::asyncio::base::AsyncioLoop;
use crate::asyncio::handle::Handles;
use crate::asyncio::mailbox::{Mailbox, Ready};
use crate::errors::errno_error;
use crate::event_loop::loop_::parked::Listener;
use crate::event_loop::loop_::{Loop, Watched};
use crate::ffi::descriptor;

/// `EVENT_READ` of Python's `selectors`.
const READ: u8 = 1;
/// `EVENT_WRITE`.
const WRITE: u8 = 2;

/// The watch of a selector's descriptor by a hub.
pub struct SelectorWatch {
    hub_loop: Py<Loop>,
    fd: RawFd,
    key: usize,
    listener: Arc<SelectorListener>,
}

impl SelectorWatch {
    fn serves(&self, fd: RawFd, hub_loop: &Py<Loop>) -> bool {
        !self.listener.is_over.load(Relaxed) && self.fd == fd && self.hub_loop.is(hub_loop)
    }
}

/// Notifies a loop that its selector has something to report.
struct SelectorListener {
    mailbox: Arc<Mailbox>,
    /// Set when the watch has ended.
    is_over: AtomicBool,
}

impl Listener for SelectorListener {
    fn ready(&self, py: Python<'_>, _direction: Direction) {
        if !self.goes_on() {
            self.is_over.store(true, Relaxed);
        }
        self.mailbox.set_selector(true);
        self.mailbox.wake(py);
    }

    /// A loop that has not yet read what it was notified of, as it does not run or is busy, is not notified of it time
    /// and again: the watch ends, and begins anew with the loop's next turn.
    fn goes_on(&self) -> bool {
        !self.mailbox.has_selector()
    }
}

/// Has the hub watch the selector's descriptor, unless it does.
///
/// # Errors
/// `OSError` from `epoll_ctl(2)`.
pub fn watch(py: Python<'_>, this: &AsyncioLoop, hub_loop: &Py<Loop>) -> PyResult<()> {
    let Some(fd) = this.selector_fd() else {
        return Ok(());
    };
    let watched = this.watch.with(py, |watch| {
        watch
            .as_ref()
            .is_some_and(|watch| watch.serves(fd, hub_loop))
    });
    if watched {
        return Ok(());
    }
    end_watch(py, this);
    let listener = Arc::new(SelectorListener {
        mailbox: Arc::clone(this.mailbox()),
        is_over: AtomicBool::new(false),
    });
    let watched = Watched::Listener(fd, listener.clone());
    let key = hub_loop.get().watch(py, fd, Interest::READ, watched)?;
    let watch = SelectorWatch {
        hub_loop: hub_loop.clone_ref(py),
        fd,
        key,
        listener,
    };
    drop(this.watch.replace(py, Some(watch)));
    Ok(())
}

/// Ends the watch of the selector's descriptor.
pub fn end_watch(py: Python<'_>, this: &AsyncioLoop) {
    if let Some(watch) = this.watch.take(py)
        && !watch.listener.is_over.load(Relaxed)
    {
        watch.hub_loop.get().unwatch_soon(py, watch.fd, watch.key);
    }
}

/// Puts the handles of the descriptors that are ready into the mailbox, as `_process_events` of asyncio's loop does.
///
/// # Errors
/// `OSError` of the selector, and the errors of asyncio's methods.
pub fn report(slf: &Bound<'_, AsyncioLoop>) -> PyResult<()> {
    let py = slf.py();
    let this = slf.get();
    let keys = this
        .selector_keys
        .with(py, |keys| keys.as_ref().map(|keys| keys.clone_ref(py)));
    let (Some(fd), Some(keys)) = (this.selector_fd(), keys) else {
        // A subclass has a method of its own for what the selector reports.
        return slf.call_method0(intern!(py, "_poll_selector")).map(drop);
    };
    let keys = keys.bind(py);
    for event in events(fd, keys.len())? {
        let (flags, data) = (event.flags, event.data);
        // `select.epoll` stores the number in the first four of the eight bytes alone.
        let [a, b, c, d, ..] = data.u64().to_ne_bytes();
        let Some(key) = keys.get_item(i32::from_ne_bytes([a, b, c, d]))? else {
            continue;
        };
        let mut mask = 0;
        if !(flags - EventFlags::IN).is_empty() {
            mask |= WRITE;
        }
        if !(flags - EventFlags::OUT).is_empty() {
            mask |= READ;
        }
        report_key(slf, &key, mask)?;
    }
    Ok(())
}

/// Returns what an epoll set of Python's reports of at most `count` descriptors.
fn events(fd: RawFd, count: usize) -> PyResult<Vec<Event>> {
    let mut events = Vec::with_capacity(count.max(1));
    let now = rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let wait = |fd: std::os::fd::BorrowedFd<'_>| {
        epoll::wait(fd, rustix::buffer::spare_capacity(&mut events), Some(&now))
    };
    match descriptor::borrowed(fd, wait) {
        Some(Ok(_)) | Some(Err(Errno::INTR)) | None => Ok(events),
        Some(Err(error)) => Err(errno_error(error.raw_os_error())),
    }
}

/// Puts the handles of a key of the selector, whose descriptor is ready in the directions of `mask`, into the mailbox.
fn report_key(slf: &Bound<'_, AsyncioLoop>, key: &Bound<'_, PyAny>, mask: u8) -> PyResult<()> {
    let py = slf.py();
    let fields = key.cast::<PyTuple>()?;
    let mask = mask & fields.get_item(2)?.extract::<u8>()?;
    let data = fields.get_item(3)?;
    let both = data.cast_exact::<PyTuple>().ok();
    let Some(both) = both.filter(|both| both.len() == 2) else {
        let events = (vec![(key, mask)],);
        return slf
            .call_method1(intern!(py, "_process_events"), events)
            .map(drop);
    };
    for (bit, remove) in [
        (READ, intern!(py, "_remove_reader")),
        (WRITE, intern!(py, "_remove_writer")),
    ] {
        if mask & bit == 0 {
            continue;
        }
        let handle = both.get_item(usize::from(bit == WRITE))?;
        if handle.is_none() {
            continue;
        }
        if Handles::get(py)?.is_cancelled(&handle)? {
            slf.call_method1(remove, (fields.get_item(0)?,))?;
        } else {
            slf.get().mailbox().push(py, Ready::Handle(handle.unbind()));
        }
    }
    Ok(())
}
