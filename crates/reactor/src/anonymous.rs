//! Descriptors of the loop's own, which programs close behind its back: those that become daemons close every number.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// A descriptor of an anonymous file. It is closed when dropped, unless its number means something else by then.
#[derive(Debug)]
pub(crate) struct Anonymous {
    fd: ManuallyDrop<OwnedFd>,
    /// What the kernel calls the file.
    kind: &'static str,
    lost: AtomicBool,
}

impl Anonymous {
    pub(crate) fn new(fd: OwnedFd, kind: &'static str) -> Self {
        let fd = ManuallyDrop::new(fd);
        Anonymous {
            fd,
            kind,
            lost: AtomicBool::new(false),
        }
    }

    /// Notes whether the number still means this file: another of its kind, opened later, may get the number.
    pub(crate) fn look(&self) {
        let link = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        if !std::fs::read_link(link).is_ok_and(|file| file == Path::new(self.kind)) {
            self.lost.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Anonymous {
    fn drop(&mut self) {
        self.look();
        if !self.lost.load(Ordering::Relaxed) {
            // SAFETY: the descriptor is owned, and not used after this.
            unsafe { ManuallyDrop::drop(&mut self.fd) };
        }
    }
}

impl AsFd for Anonymous {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Anonymous {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
