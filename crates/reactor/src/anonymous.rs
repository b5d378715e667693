//! Descriptors that the loop owns, but that the program may close all the same: a program that becomes a daemon closes
//! every number.
//!
//! The number may then belong to another file, which must not be closed when the loop ends.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// A descriptor of an anonymous file (an epoll set, an eventfd). It is closed when this is dropped, unless its number
/// is another file's by then.
#[derive(Debug)]
pub(crate) struct Anonymous {
    fd: ManuallyDrop<OwnedFd>,
    /// The name that `/proc/self/fd` shows for such a file.
    kind: &'static str,
    /// Device and inode, which anonymous files share with one another and with nothing else.
    inode: Option<(u64, u64)>,
    /// True once the number was found to be another file's.
    lost: AtomicBool,
}

impl Anonymous {
    pub(crate) fn new(fd: OwnedFd, kind: &'static str) -> Self {
        let inode = inode(fd.as_fd());
        Anonymous {
            fd: ManuallyDrop::new(fd),
            kind,
            inode,
            lost: AtomicBool::new(false),
        }
    }

    /// Checks that the number still names this file, and gives the descriptor up if not.
    ///
    /// It must be called before the loop opens another file of the same kind, which may get the number and would be
    /// taken for this one. Where `/proc` cannot be read, as in a chroot, the inode decides.
    pub(crate) fn verify(&self) {
        let link = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let is_ours = match std::fs::read_link(link) {
            Ok(file) => file == Path::new(self.kind),
            Err(_) => self.inode.is_some() && inode(self.fd.as_fd()) == self.inode,
        };
        if !is_ours {
            self.lost.store(true, Ordering::Relaxed);
        }
    }
}

/// Returns the device and the inode of an open file.
fn inode(fd: BorrowedFd<'_>) -> Option<(u64, u64)> {
    let found = rustix::fs::fstat(fd).ok()?;
    Some((found.st_dev, found.st_ino))
}

impl Drop for Anonymous {
    fn drop(&mut self) {
        self.verify();
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
