//! `loop.child`: calls a function when a child process ends, and collects its status.
//!
//! A pidfd (`pidfd_open(2)`) becomes readable at the end of one child, and leaves the signals of the process alone.
//! SIGCHLD is watched where there is no pidfd (before Linux 5.3, in some sandboxes, or when descriptors run short), and
//! for a watcher of all children.

use std::os::fd::AsRawFd;

use pyo3::prelude::*;
use reactor::{ChildFd, Interest};

use super::{Kind, Phase, Watcher, phase, signal};
use crate::args::from_python;
use crate::cell::GilCell;
use crate::event_loop::loop_::{Loop, Watched};

/// The event number that callbacks get.
pub(super) const CHILD: u32 = 2048;

/// A child process, or all of them.
#[derive(Debug)]
pub struct Process {
    /// The process; 0 for every child.
    pub(super) pid: i32,
    rpid: i32,
    pub(super) rstatus: i32,
    notice: Option<Notice>,
}

/// Notices for the loop that a child may have ended: by its pidfd, or by SIGCHLD.
#[derive(Debug)]
enum Notice {
    /// The pidfd becomes readable; the number is that of its watch.
    Descriptor(ChildFd, usize),
    /// SIGCHLD comes.
    Signal,
}

pub(super) fn arm(watcher: &Py<Watcher>, py: Python<'_>, cell: &GilCell<Process>) -> PyResult<()> {
    let pid = cell.with(py, |process| process.pid);
    phase::list(watcher, py, Phase::Child);
    let noticed = match pid {
        0 => watch_signal(watcher, py, cell),
        pid if pid > 0 => watch(watcher, py, cell, pid),
        // No process has a negative number, so this watcher is never called.
        _ => Ok(()),
    };
    if noticed.is_err() {
        phase::unlist(watcher, py, Phase::Child);
    }
    noticed
}

fn watch(watcher: &Py<Watcher>, py: Python<'_>, cell: &GilCell<Process>, pid: i32) -> PyResult<()> {
    let fd = match ChildFd::open(pid) {
        Ok(fd) => fd,
        // The child has ended, and other code has collected it, which alone knows its status.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
        Err(_) => {
            watch_signal(watcher, py, cell)?;
            // The child may have ended before the signal was watched.
            ended(watcher, py);
            return Ok(());
        }
    };
    let watched = Watched::Watcher(watcher.clone_ref(py));
    let key = watcher
        .get()
        .loop_()
        .watch(py, fd.as_raw_fd(), Interest::READ, watched)?;
    cell.with(py, |process| {
        process.notice = Some(Notice::Descriptor(fd, key))
    });
    Ok(())
}

fn watch_signal(watcher: &Py<Watcher>, py: Python<'_>, cell: &GilCell<Process>) -> PyResult<()> {
    signal::arm(watcher, py, libc::SIGCHLD)?;
    cell.with(py, |process| process.notice = Some(Notice::Signal));
    Ok(())
}

pub(super) fn disarm(watcher: &Py<Watcher>, py: Python<'_>, cell: &GilCell<Process>) {
    unwatch(watcher, py, cell);
    phase::unlist(watcher, py, Phase::Child);
}

fn unwatch(watcher: &Py<Watcher>, py: Python<'_>, cell: &GilCell<Process>) {
    match cell.with(py, |process| process.notice.take()) {
        Some(Notice::Descriptor(fd, key)) => watcher.get().loop_().unwatch(py, fd.as_raw_fd(), key),
        Some(Notice::Signal) => signal::disarm(watcher, py, libc::SIGCHLD),
        None => {}
    }
}

/// Closes the pidfds of a loop that a forked child has a copy of, once the kernel objects are no longer the parent's: the
/// processes are no children of this one, so it could not collect them. Without it the last of many children would inherit
/// a descriptor for each that began before.
pub fn forget_parents(py: Python<'_>, loop_: &Loop) {
    for watcher in loop_.watchers_of(py, Phase::Child) {
        let Kind::Child(cell) = &*watcher.get().kind else {
            continue;
        };
        let by_pidfd = cell.with(py, |process| {
            matches!(process.notice, Some(Notice::Descriptor(..)))
        });
        if by_pidfd {
            unwatch(&watcher, py, cell);
        }
    }
}

/// Collects the children that a watcher waits for, and notifies all watchers that are concerned.
pub(super) fn ended(watcher: &Py<Watcher>, py: Python<'_>) {
    let this = watcher.get();
    let Kind::Child(cell) = &*this.kind else {
        return;
    };
    let (pid, awaited) = cell.with(py, |process| (process.pid, process.notice.is_some()));
    if !awaited {
        // Another watcher has notified this one of the same signal.
        return;
    }
    if pid == 0 {
        while let Ok(Some((pid, status))) = reactor::reap_any() {
            notify(py, this.loop_(), pid, status);
        }
        return;
    }
    match reactor::reap(pid) {
        Ok(Some(status)) => notify(py, this.loop_(), pid, status),
        Ok(None) => {}
        // Other code has collected the child.
        Err(_) => unwatch(watcher, py, cell),
    }
}

fn notify(py: Python<'_>, loop_: &Loop, pid: i32, status: i32) {
    for watcher in phase::listed(py, loop_, Phase::Child) {
        let Kind::Child(cell) = &*watcher.get().kind else {
            continue;
        };
        let concerned = cell.with(py, |process| {
            let concerned = process.pid == pid || process.pid == 0;
            if concerned {
                process.rpid = pid;
                process.rstatus = status;
            }
            concerned
        });
        if concerned {
            if cell.with(py, |process| process.pid) != 0 {
                unwatch(&watcher, py, cell);
            }
            Watcher::queue(&watcher, py, loop_, CHILD);
        }
    }
}

/// Calls its function when the child process `pid` (0: any child) has ended, after collecting its status. Any loop can
/// watch children.
#[pyclass(extends = Watcher, frozen, subclass, name = "child", module = "gevent.core")]
#[derive(Debug)]
pub struct Child;

impl Child {
    fn cell<'a>(slf: &'a Bound<'_, Self>) -> &'a GilCell<Process> {
        match &*slf.as_super().get().kind {
            Kind::Child(cell) => cell,
            _ => unreachable!("a child watcher is made of a child kind"),
        }
    }
}

#[pymethods]
impl Child {
    #[new]
    #[pyo3(signature = (r#loop, pid, trace = 0, r#ref = true))]
    pub(crate) fn new(
        r#loop: Py<Loop>,
        #[pyo3(from_py_with = from_python)] pid: i32,
        #[pyo3(from_py_with = from_python)] trace: i32,
        r#ref: bool,
    ) -> PyClassInitializer<Self> {
        // Stops and continuations (`trace`) are not reported: no program is known to ask for them.
        let _ = trace;
        let process = Process {
            pid,
            rpid: 0,
            rstatus: 0,
            notice: None,
        };
        Watcher::base(r#loop, Kind::Child(GilCell::new(process)), r#ref, None).add_subclass(Self)
    }

    /// The process that is watched, 0 for all children.
    #[getter]
    fn pid(slf: &Bound<'_, Self>) -> i32 {
        Self::cell(slf).with(slf.py(), |process| process.pid)
    }

    /// The process that has ended, 0 before.
    #[getter]
    fn rpid(slf: &Bound<'_, Self>) -> i32 {
        Self::cell(slf).with(slf.py(), |process| process.rpid)
    }

    #[setter]
    fn set_rpid(slf: &Bound<'_, Self>, #[pyo3(from_py_with = from_python)] value: i32) {
        Self::cell(slf).with(slf.py(), |process| process.rpid = value);
    }

    /// Its wait status, as `os.waitpid` returns it.
    #[getter]
    fn rstatus(slf: &Bound<'_, Self>) -> i32 {
        Self::cell(slf).with(slf.py(), |process| process.rstatus)
    }

    #[setter]
    fn set_rstatus(slf: &Bound<'_, Self>, #[pyo3(from_py_with = from_python)] value: i32) {
        Self::cell(slf).with(slf.py(), |process| process.rstatus = value);
    }
}
