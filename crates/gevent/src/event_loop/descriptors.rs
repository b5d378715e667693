//! Waiting for descriptors by number: `select`, `poll`, `wait_read` and their like.
//!
//! What is ready is asked of `poll(2)`, which knows every condition; the loop tells when to ask.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use reactor::{Interest, Time};

use crate::cell::GilCell;
use crate::errors::{errno_error, os_error};
use crate::event_loop::loop_::Watched;
use crate::ffi::descriptor;
use crate::hub;
use crate::waiting::park::{park, yield_now};
use crate::waiting::wait::WaitRef;

const READING: i16 = libc::POLLIN | libc::POLLRDNORM | libc::POLLRDBAND;
const WRITING: i16 = libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND;
/// The longest time that is told apart from for ever, in seconds.
const LONGEST: f64 = 1e9;

fn interest_of(events: i16) -> Interest {
    let reading = if events & READING != 0 {
        Interest::READ
    } else {
        Interest::EMPTY
    };
    let writing = if events & WRITING != 0 {
        Interest::WRITE
    } else {
        Interest::EMPTY
    };
    reading | writing
}

/// What the loop reports to a greenlet that waits for several descriptors.
///
/// It is remembered, as it may be over when the greenlet goes on: the callback of a watcher of the same descriptor, which
/// runs before, may have taken what there was to read, and the greenlet is to look what has become of it.
pub struct Reports {
    wait: WaitRef,
    seen: GilCell<Vec<(RawFd, i16)>>,
}

impl Reports {
    /// Wakes the greenlet, if it still waits, as `fd` is ready for `events` (1: reading, 2: writing, 3: either).
    pub fn add(&self, py: Python<'_>, fd: RawFd, events: u32) {
        let seen = flags_of(events);
        self.seen.with(py, |all| all.push((fd, seen)));
        self.wait.wake_none(py);
    }

    /// Adds to `entries` what was reported and is over.
    fn fill(&self, py: Python<'_>, entries: &mut [libc::pollfd]) {
        let seen = self.seen.replace(py, Vec::new());
        for entry in entries.iter_mut().filter(|entry| entry.revents == 0) {
            for (_, events) in seen.iter().filter(|(fd, _)| *fd == entry.fd) {
                entry.revents |= events & entry.events;
            }
        }
    }
}

fn flags_of(events: u32) -> i16 {
    let reading = if events & 1 != 0 { libc::POLLIN } else { 0 };
    let writing = if events & 2 != 0 { libc::POLLOUT } else { 0 };
    reading | writing
}

/// Waits until the loop reports one of `entries` or the time comes.
fn park_for(
    py: Python<'_>,
    entries: &[libc::pollfd],
    until: Option<Time>,
) -> PyResult<Arc<Reports>> {
    let wait = hub::new_wait(py)?;
    let reports = Arc::new(Reports {
        wait: wait.clone(),
        seen: GilCell::new(Vec::new()),
    });
    let loop_ = wait.loop_().clone_ref(py);
    let loop_ = loop_.get();
    let mut watches = Vec::with_capacity(entries.len());
    let mut failed = false;
    for entry in entries {
        let interest = interest_of(entry.events);
        if interest.is_empty() {
            continue;
        }
        match loop_.watch(
            py,
            entry.fd,
            interest,
            Watched::Report(reports.clone(), entry.fd),
        ) {
            Ok(key) => watches.push((entry.fd, key)),
            // Closed behind our back: `poll` says so.
            Err(_) => failed = true,
        }
    }
    let counted = isize::from(!watches.is_empty());
    loop_.count_ref(counted);
    if let Some(at) = until {
        wait.limit(py, at.until(Time::now()), true);
    }
    if failed {
        wait.wake_none(py);
    }
    let woken = park(py, &wait);
    loop_.count_ref(-counted);
    for (fd, key) in watches {
        loop_.unwatch_soon(py, fd, key);
    }
    woken?;
    Ok(reports)
}

fn look(entries: &mut [libc::pollfd]) -> PyResult<()> {
    descriptor::poll(entries).map_err(|error| os_error(&error))
}

fn deadline(timeout: Option<f64>) -> Option<Time> {
    timeout
        .filter(|seconds| *seconds < LONGEST)
        .map(|seconds| Time::now().after(Duration::from_secs_f64(seconds.max(0.0))))
}

/// Wait until a descriptor is ready for `events` (1: reading, 2: writing, 3: either); return False if `timeout` seconds
/// pass before.
#[pyfunction]
#[pyo3(signature = (fd, events, timeout = None))]
pub fn wait_descriptor(
    py: Python<'_>,
    fd: RawFd,
    events: u8,
    timeout: Option<f64>,
) -> PyResult<bool> {
    let mut entry = [libc::pollfd {
        fd,
        events: flags_of(events.into()),
        revents: 0,
    }];
    look(&mut entry)?;
    if entry[0].revents & libc::POLLNVAL != 0 {
        return Err(errno_error(libc::EBADF));
    }
    Ok(!park_for(py, &entry, deadline(timeout))?.wait.expired())
}

/// Wait until at least one of `requests`, pairs of a descriptor and ``POLL*`` flags, is ready, for at most `timeout`
/// seconds (None: any time); return those that are, with the flags that hold.
///
/// A descriptor that is closed counts as ready, with ``POLLNVAL``. Others get to run even when nothing has to be waited for.
#[pyfunction]
#[pyo3(signature = (requests, timeout = None))]
pub fn poll_descriptors(
    py: Python<'_>,
    requests: Vec<(RawFd, i16)>,
    timeout: Option<f64>,
) -> PyResult<Vec<(RawFd, i16)>> {
    let mut entries: Vec<libc::pollfd> = requests
        .into_iter()
        .map(|(fd, events)| libc::pollfd {
            fd,
            events,
            revents: 0,
        })
        .collect();
    let until = deadline(timeout);
    let mut reports: Option<Arc<Reports>> = None;
    loop {
        look(&mut entries)?;
        if let Some(reports) = &reports {
            reports.fill(py, &mut entries);
        }
        let ready: Vec<_> = entries
            .iter()
            .filter(|entry| entry.revents != 0)
            .map(|entry| (entry.fd, entry.revents))
            .collect();
        if !ready.is_empty() || until.is_some_and(|at| Time::now() >= at) {
            if reports.is_none() {
                // A loop around it must not keep everybody else from running.
                yield_now(py)?;
            }
            return Ok(ready);
        }
        reports = Some(park_for(py, &entries, until)?);
    }
}
