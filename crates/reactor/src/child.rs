//! Waits for child processes through pidfds.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::process::{
    Pid, PidfdFlags, Resource, WaitOptions, getrlimit, pidfd_open, wait, waitpid,
};

/// The number of [`ChildFd`]s that the process has.
static OPEN: AtomicU64 = AtomicU64::new(0);

/// The share of the process's descriptors that children may take, as its inverse: at most one in four.
const SHARE: u64 = 4;

/// A descriptor that becomes readable when a process ends: see `pidfd_open(2)`.
#[derive(Debug)]
pub struct ChildFd(OwnedFd);

impl ChildFd {
    /// Opens the descriptor of the process `pid`, closed on `exec`.
    ///
    /// # Errors
    /// Returns `ESRCH` when there is no such process (one that ended but was not reaped counts as existing),
    /// `EINVAL` when `pid` is not positive, `ENOSYS` before Linux 5.3, and `EMFILE` when the process has
    /// more of them than leave it enough descriptors for other uses.
    pub fn open(pid: i32) -> io::Result<ChildFd> {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        if OPEN.load(Relaxed) >= limit / SHARE {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let fd = pidfd_open(positive(pid)?, PidfdFlags::empty())?;
        OPEN.fetch_add(1, Relaxed);
        Ok(ChildFd(fd))
    }
}

impl Drop for ChildFd {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Relaxed);
    }
}

impl AsFd for ChildFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for ChildFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Collects the child `pid` if it has ended. Returns its wait status as `waitpid` encodes it, or `None` while it runs.
///
/// # Errors
/// Returns `ECHILD` when there is no such child, or other code has collected it; `EINVAL` when `pid` is not
/// positive.
pub fn reap(pid: i32) -> io::Result<Option<i32>> {
    let ended = waitpid(Some(positive(pid)?), WaitOptions::NOHANG)?;
    Ok(ended.map(|(_, status)| status.as_raw()))
}

/// Collects any child that has ended. Returns its process number and its wait status, or `None` while all run.
///
/// # Errors
/// Returns `ECHILD` when there are no children.
pub fn reap_any() -> io::Result<Option<(i32, i32)>> {
    let ended = wait(WaitOptions::NOHANG)?;
    Ok(ended.map(|(pid, status)| (pid.as_raw_pid(), status.as_raw())))
}

fn positive(pid: i32) -> io::Result<Pid> {
    // Negative numbers name process groups, which neither call here is meant for.
    if pid <= 0 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    Pid::from_raw(pid).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}
