//! Waiting for descriptors by number: `select`, `poll`, `wait_read` and their like.
//!
//! What is ready is always asked of `poll(2)`, which knows every condition; the loop only tells when to ask.

use std::os::fd::RawFd;
use std::time::Duration;

use pyo3::prelude::*;
use reactor::{Interest, Time};

use crate::errors::{errno_error, os_error};
use crate::event_loop::loop_::Watched;
use crate::ffi::descriptor;
use crate::hub;
use crate::waiting::park::{park, yield_now};

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

/// Waits until the loop reports one of `entries` or the time comes; false for the latter.
fn park_for(py: Python<'_>, entries: &[libc::pollfd], until: Option<Time>) -> PyResult<bool> {
    let wait = hub::new_wait(py)?;
    let loop_ = wait.loop_().clone_ref(py);
    let loop_ = loop_.get();
    let mut watches = Vec::with_capacity(entries.len());
    let mut failed = false;
    for entry in entries {
        let interest = interest_of(entry.events);
        if interest.is_empty() {
            continue;
        }
        match loop_.watch(py, entry.fd, interest, Watched::Wake(wait.clone())) {
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
    Ok(!wait.expired())
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
    let reading = if events & 1 != 0 { libc::POLLIN } else { 0 };
    let writing = if events & 2 != 0 { libc::POLLOUT } else { 0 };
    let mut entry = [libc::pollfd {
        fd,
        events: reading | writing,
        revents: 0,
    }];
    look(&mut entry)?;
    if entry[0].revents & libc::POLLNVAL != 0 {
        return Err(errno_error(libc::EBADF));
    }
    park_for(py, &entry, deadline(timeout))
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
    let mut first = true;
    loop {
        look(&mut entries)?;
        let ready: Vec<_> = entries
            .iter()
            .filter(|entry| entry.revents != 0)
            .map(|entry| (entry.fd, entry.revents))
            .collect();
        if !ready.is_empty() || until.is_some_and(|at| Time::now() >= at) {
            if first {
                // A loop around it must not keep everybody else from running.
                yield_now(py)?;
            }
            return Ok(ready);
        }
        first = false;
        park_for(py, &entries, until)?;
    }
}
