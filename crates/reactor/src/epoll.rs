//! An epoll set and the buffer its events are read into.
//!
//! Descriptors are passed as raw numbers: a caller that serves Python gets numbers that any code may close, and the
//! kernel answers a closed number with an error, so that it is harmless. `BorrowedFd` promises more than such a caller
//! can keep, so `epoll_ctl` is called directly.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::epoll::{self as sys, CreateFlags, Event, EventData};
use rustix::time::Timespec;

use crate::anonymous::Anonymous;

pub use rustix::event::epoll::EventFlags;

/// The number of events that one wait can report.
const EVENTS: usize = 256;

/// True if `epoll_pwait2` (Linux 5.11) may be tried; cleared for the process when it turns out missing.
static HAVE_PWAIT2: AtomicBool = AtomicBool::new(true);

/// An epoll set.
#[derive(Debug)]
pub struct Epoll(Anonymous);

impl Epoll {
    /// Creates an empty set, closed on `exec`.
    ///
    /// # Errors
    /// Returns the error that `epoll_create1` reports, usually that no more descriptors can be opened.
    pub fn new() -> io::Result<Epoll> {
        let set = sys::create(CreateFlags::CLOEXEC)?;
        Ok(Epoll(Anonymous::new(set, "anon_inode:[eventpoll]")))
    }

    /// Checks that the descriptor was not closed by the program; if it was, its number is left alone when this is dropped.
    ///
    /// It must be called before other descriptors are opened, which may get the number.
    pub fn verify(&self) {
        self.0.verify();
    }

    /// Adds `fd`; its events carry `token`.
    ///
    /// # Errors
    /// Returns the error that `epoll_ctl` reports: `EBADF` when `fd` is closed, `EEXIST` when it is in the set, `EPERM`
    /// when such a file cannot be polled.
    pub fn add(&self, fd: RawFd, flags: EventFlags, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, flags, token)
    }

    /// Changes the events and token of `fd`. The present readiness is reported anew, even if the descriptor is
    /// edge-triggered.
    ///
    /// # Errors
    /// Returns the error that `epoll_ctl` reports: `EBADF` when `fd` is closed, `ENOENT` when it is not in the set.
    pub fn modify(&self, fd: RawFd, flags: EventFlags, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, flags, token)
    }

    /// Removes `fd`.
    ///
    /// # Errors
    /// Returns the error that `epoll_ctl` reports: `EBADF` when `fd` is closed, `ENOENT` when it is not in the set.
    pub fn delete(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, EventFlags::empty(), 0)
    }

    fn control(&self, op: libc::c_int, fd: RawFd, flags: EventFlags, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: flags.bits(),
            u64: token,
        };
        // SAFETY: `event` outlives the call, which only reads it; any number is allowed as descriptor.
        if unsafe { libc::epoll_ctl(self.0.as_raw_fd(), op, fd, &raw mut event) } == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Waits until something is ready or `timeout` has passed, for ever when it is `None`, and replaces
    /// what is in `buf`. It never returns early for lack of precision: where the kernel cannot wait for
    /// a fraction of a millisecond, the timeout is rounded up.
    ///
    /// Events that do not fit the buffer are reported by the next wait.
    ///
    /// # Errors
    /// Returns the error that the kernel reports; [`io::ErrorKind::Interrupted`] when a signal handler ran. The buffer
    /// is empty then.
    pub fn wait(&self, buf: &mut EventBuffer, timeout: Option<Duration>) -> io::Result<()> {
        buf.len = 0;
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        if let Some(timeout) = &timeout
            && timeout.tv_nsec % 1_000_000 != 0
            && HAVE_PWAIT2.load(Ordering::Relaxed)
        {
            match self.wait_precisely(&mut buf.events, timeout) {
                // Sandboxes refuse system calls they do not know with EPERM, which epoll never reports.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                    HAVE_PWAIT2.store(false, Ordering::Relaxed);
                }
                result => {
                    buf.len = result?;
                    return Ok(());
                }
            }
        }
        // Months are longer than the older call can express; waking once in 24 days does no harm.
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.tv_sec.min(i64::from(i32::MAX / 1000 - 1)),
            ..timeout
        });
        buf.len = sys::wait(self, buf.events.as_mut_slice(), timeout.as_ref())?;
        Ok(())
    }

    fn wait_precisely(&self, events: &mut [Event], timeout: &Timespec) -> io::Result<usize> {
        let timeout = libc::timespec {
            tv_sec: timeout.tv_sec as libc::time_t,
            tv_nsec: timeout.tv_nsec as libc::c_long,
        };
        // SAFETY: `events` is writable memory of that many records in the kernel's layout, `timeout` is
        // only read, and a null signal mask leaves the mask alone.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                events.len() as libc::c_int,
                &raw const timeout,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Epoll {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Duplicates a descriptor (`F_DUPFD_CLOEXEC`).
pub(crate) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: any number is allowed as descriptor, and this command involves no memory of ours.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made `copy`, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// A reusable buffer of events.
pub struct EventBuffer {
    events: Vec<Event>,
    len: usize,
}

// SAFETY: an event's data is typed as "pointer or number", and only numbers are ever stored in it.
unsafe impl Send for EventBuffer {}
// SAFETY: as for `Send`.
unsafe impl Sync for EventBuffer {}

impl EventBuffer {
    /// Returns an empty buffer with room for 256 events.
    #[must_use]
    pub fn new() -> EventBuffer {
        let none = Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        EventBuffer {
            events: vec![none; EVENTS],
            len: 0,
        }
    }

    /// Returns the number of events that the last wait reported.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns true if the last wait reported nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the token and flags of each event of the last wait.
    pub fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = (u64, EventFlags)> + ExactSizeIterator + '_ {
        self.events[..self.len].iter().map(unpack)
    }
}

fn unpack(event: &Event) -> (u64, EventFlags) {
    let (data, flags) = (event.data, event.flags);
    (data.u64(), flags)
}

impl fmt::Debug for EventBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Default for EventBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> IntoIterator for &'a EventBuffer {
    type Item = (u64, EventFlags);
    type IntoIter = std::iter::Map<std::slice::Iter<'a, Event>, fn(&Event) -> Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.events[..self.len]
            .iter()
            .map(unpack as fn(&Event) -> Self::Item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn never_returns_early_with_either_system_call() {
        let epoll = Epoll::new().unwrap();
        let mut buf = EventBuffer::new();
        for have_pwait2 in [true, false] {
            HAVE_PWAIT2.store(have_pwait2, Ordering::Relaxed);
            for micros in [1, 300, 999, 1_000, 1_001, 2_500] {
                let timeout = Duration::from_micros(micros);
                let start = Instant::now();
                epoll.wait(&mut buf, Some(timeout)).unwrap();
                assert!(start.elapsed() >= timeout);
                assert!(buf.is_empty());
            }
        }
        HAVE_PWAIT2.store(true, Ordering::Relaxed);
    }

    #[test]
    fn accepts_any_timeout() {
        let epoll = Epoll::new().unwrap();
        let waker = crate::Waker::new().unwrap();
        waker.wake();
        epoll.add(waker.as_raw_fd(), EventFlags::IN, 7).unwrap();
        let mut buf = EventBuffer::new();
        for timeout in [
            None,
            Some(Duration::ZERO),
            Some(Duration::MAX),
            Some(Duration::from_secs(u64::MAX)),
            Some(Duration::from_secs(1 << 40)),
        ] {
            epoll.wait(&mut buf, timeout).unwrap();
            assert_eq!(buf.iter().collect::<Vec<_>>(), [(7, EventFlags::IN)]);
        }
    }
}
