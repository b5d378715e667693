//! Wakes a loop from other threads and from signal handlers.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

use crate::anonymous::Anonymous;

/// An eventfd that is readable once the waker has been woken.
///
/// No wake-up is lost if both sides keep to this order: one makes its work visible, then calls [`wake`](Waker::wake); the other
/// calls [`drain`](Waker::drain), then checks for work.
#[derive(Debug)]
pub struct Waker {
    fd: Anonymous,
    woken: AtomicBool,
}

impl Waker {
    /// Creates a waker, closed on `exec`.
    ///
    /// # Errors
    /// Returns the error that `eventfd` reports, usually that no more descriptors can be opened.
    pub fn new() -> io::Result<Waker> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Waker {
            fd: Anonymous::new(fd, "anon_inode:[eventfd]"),
            woken: AtomicBool::new(false),
        })
    }

    /// Checks that the descriptor was not closed by the program; if it was, its number is left alone when this is dropped.
    ///
    /// It must be called before other descriptors are opened, which may get the number.
    pub fn verify(&self) {
        self.fd.verify();
    }

    /// Makes the descriptor readable. Any thread and any signal handler may call it; only the first
    /// call since the last drain costs a system call.
    pub fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            // A full counter, the only failure, means that the descriptor is readable.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }

    /// Makes the descriptor unreadable again. The caller checks for work afterwards, not before.
    pub fn drain(&self) {
        // An error is ignored: there is nothing to read if the wake-up was drained already.
        let _ = rustix::io::read(&self.fd, &mut [0u8; 8]);
        // The flag is cleared last. If it were cleared first, this read could consume the write of a wake-up in
        // between, and leave the flag set over an empty counter: every later wake-up would then be lost.
        self.woken.swap(false, Ordering::AcqRel);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
