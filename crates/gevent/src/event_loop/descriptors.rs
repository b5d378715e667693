//! Waiting for descriptors by number: `select`, `poll`, `wait_read` and their like.
//!
//! `poll(2)` reports which descriptors are ready, as it knows every condition; the loop reports when to call it.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use reactor::{Interest, Time};

use crate::args::from_python;
use crate::cell::GilCell;
use crate::errors::{errno_error, os_error};
use crate::event_loop::loop_::Watched;
use crate::ffi::descriptor;
use crate::hub;
use crate::waiting::deadline::LONGEST;
use crate::waiting::park::{park, yield_now};
use crate::waiting::reason::Reason;
use crate::waiting::wait::WaitRef;

const READING: i16 = libc::POLLIN | libc::POLLRDNORM | libc::POLLRDBAND;
const WRITING: i16 = libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND;
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

/// The reports of the loop to a greenlet that waits for several descriptors.
///
/// A report is remembered, as the condition may be over when the greenlet goes on: the callback of a watcher of the
/// same descriptor, which runs before, may have read the data already. The greenlet then still learns that the
/// descriptor was ready.
#[derive(Debug)]
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

    /// Adds the reported events to the `entries` for which `poll(2)` now finds nothing.
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

fn is_closed(py: Python<'_>, error: &PyErr) -> bool {
    let number = error.value(py).getattr(intern!(py, "errno"));
    number.is_ok_and(|number| {
        number
            .extract::<i32>()
            .is_ok_and(|number| number == libc::EBADF)
    })
}

/// Waits until the loop reports one of `entries` or the deadline passes.
fn park_for(
    py: Python<'_>,
    entries: &[libc::pollfd],
    until: Option<Time>,
    changes: Option<&Py<PollChanges>>,
) -> PyResult<Arc<Reports>> {
    let wait = hub::new_wait_for(
        py,
        Reason::descriptors(entries.iter().map(|entry| entry.fd)),
    )?;
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
            // The descriptor is closed, which is no reason to wake up.
            Err(error) if is_closed(py, &error) => {}
            Err(_) => failed = true,
        }
    }
    let counted = isize::from(!watches.is_empty());
    loop_.count_ref(counted);
    if let Some(at) = until {
        wait.expire_after(py, at.until(Time::now()), true);
    }
    if failed {
        wait.wake_none(py);
    }
    if let Some(changes) = changes {
        changes.get().add(py, &wait);
    }
    let woken = park(py, &wait);
    if let Some(changes) = changes {
        changes.get().remove(py, &wait);
    }
    loop_.count_ref(-counted);
    for (fd, key) in watches {
        loop_.unwatch_soon(py, fd, key);
    }
    woken?;
    Ok(reports)
}

/// Probes `entries` without waiting. A signal that arrives meanwhile is handled, and ends the probe only when its handler
/// raises (PEP 475).
fn probe(py: Python<'_>, entries: &mut [libc::pollfd]) -> PyResult<()> {
    loop {
        match descriptor::poll(entries) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => py.check_signals()?,
            Err(error) => return Err(os_error(&error)),
        }
    }
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
    #[pyo3(from_py_with = from_python)] fd: RawFd,
    #[pyo3(from_py_with = from_python)] events: u8,
    #[pyo3(from_py_with = from_python)] timeout: Option<f64>,
) -> PyResult<bool> {
    let mut entry = [libc::pollfd {
        fd,
        events: flags_of(events.into()),
        revents: 0,
    }];
    probe(py, &mut entry)?;
    if entry[0].revents & libc::POLLNVAL != 0 {
        return Err(errno_error(libc::EBADF));
    }
    Ok(!park_for(py, &entry, deadline(timeout), None)?
        .wait
        .expired())
}

/// Wakes the greenlets that poll a set of descriptors when the set changes, so that they poll the changed set.
#[pyclass(frozen, module = "gevent._core")]
#[derive(Debug)]
pub struct PollChanges {
    waiting: GilCell<Vec<WaitRef>>,
    closed: AtomicBool,
}

#[pymethods]
impl PollChanges {
    #[new]
    fn new() -> Self {
        Self {
            waiting: GilCell::new(Vec::new()),
            closed: AtomicBool::new(false),
        }
    }

    /// End the polls that are under way, and those to come, as if their time were over.
    fn close(&self, py: Python<'_>) {
        self.closed.store(true, Relaxed);
        self.notify(py);
    }

    /// Have the polls that are under way read their requests again.
    fn notify(&self, py: Python<'_>) {
        for wait in self.waiting.replace(py, Vec::new()) {
            wait.wake_none(py);
        }
    }
}

impl PollChanges {
    fn add(&self, py: Python<'_>, wait: &WaitRef) {
        self.waiting
            .with(py, |waiting| waiting.push(Arc::clone(wait)));
    }

    fn remove(&self, py: Python<'_>, wait: &WaitRef) {
        let removed = self.waiting.with(py, |waiting| {
            let place = waiting.iter().position(|other| Arc::ptr_eq(other, wait));
            place.map(|place| waiting.swap_remove(place))
        });
        drop(removed);
    }
}

/// Returns the entries for `poll(2)` of a dict of descriptors and flags.
fn entries_of(requests: &Bound<'_, PyDict>) -> PyResult<Vec<libc::pollfd>> {
    requests
        .iter()
        .map(|(fd, events)| {
            Ok(libc::pollfd {
                fd: fd.extract()?,
                events: events.extract()?,
                revents: 0,
            })
        })
        .collect()
}

/// Wait until at least one of `requests`, a dict of descriptors and ``POLL*`` flags, is ready, for at most `timeout`
/// seconds (None: any time); return those that are, with the flags that hold.
///
/// A descriptor that is closed at the time of the call counts as ready, with ``POLLNVAL``. One that is closed later by
/// gevent's functions is ready for what was asked; one that is closed by other means never is. `changes` notifies the
/// call when the dict was changed meanwhile. Other greenlets get to run even when nothing has to be waited for.
#[pyfunction]
#[pyo3(signature = (requests, timeout = None, changes = None))]
pub fn poll_descriptors(
    py: Python<'_>,
    requests: &Bound<'_, PyDict>,
    #[pyo3(from_py_with = from_python)] timeout: Option<f64>,
    changes: Option<Py<PollChanges>>,
) -> PyResult<Vec<(RawFd, i16)>> {
    let until = deadline(timeout);
    let mut reports: Option<Arc<Reports>> = None;
    let mut open = Vec::new();
    loop {
        let mut entries = entries_of(requests)?;
        probe(py, &mut entries)?;
        if let Some(reports) = &reports {
            forget_closed(&mut entries, &open);
            reports.fill(py, &mut entries);
        }
        let ready: Vec<_> = entries
            .iter()
            .filter(|entry| entry.revents != 0)
            .map(|entry| (entry.fd, entry.revents))
            .collect();
        let closed = changes
            .as_ref()
            .is_some_and(|changes| changes.get().closed.load(Relaxed));
        if !ready.is_empty() || closed || until.is_some_and(|at| Time::now() >= at) {
            if reports.is_none() {
                // A loop around this call must not keep all other greenlets from running.
                yield_now(py)?;
            }
            return Ok(ready);
        }
        open = entries.iter().map(|entry| entry.fd).collect();
        reports = Some(park_for(py, &entries, until, changes.as_ref())?);
    }
}

/// Clears the mark of a closed descriptor from those that were open when the wait began: `poll(2)` and `select(2)` do
/// not notice a close that comes later.
fn forget_closed(entries: &mut [libc::pollfd], open: &[RawFd]) {
    for entry in entries
        .iter_mut()
        .filter(|entry| entry.revents & libc::POLLNVAL != 0)
    {
        if open.contains(&entry.fd) {
            entry.revents = 0;
        }
    }
}
