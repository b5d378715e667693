//! Descriptors as the numbers that Python programs pass.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

/// Takes over a descriptor that a Python object gives up.
///
/// # Errors
/// Returns `EBADF` for a negative number, which Python's objects have once they are closed.
pub fn adopt(number: RawFd) -> rustix::io::Result<OwnedFd> {
    if number < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: not -1; a number that names nothing, or something that is closed elsewhere, only makes system calls fail
    // or act on whatever has the number then, as for every Python program; no memory depends on it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Calls `f` with a descriptor that a Python object lends; returns `None` for a negative number, which is no
/// descriptor.
pub fn borrowed<R>(number: RawFd, f: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
    if number < 0 {
        return None;
    }
    // SAFETY: not -1; as in `adopt`, a number that names something else by now makes `f` act on that, and no memory
    // depends on it. The borrow ends with the call.
    Some(f(unsafe { BorrowedFd::borrow_raw(number) }))
}

/// Closes a descriptor, and reports the error that dropping it would hide.
///
/// # Errors
/// Returns the error that `close(2)` reports, except that the peer reset the connection.
pub fn close(descriptor: OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is owned, and given up here.
    if unsafe { libc::close(descriptor.into_raw_fd()) } == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ECONNRESET) => Ok(()),
        error => Err(error),
    }
}

/// Records in `entries` which of them are ready, without waiting.
///
/// # Errors
/// Returns the error that `poll(2)` reports.
pub fn poll(entries: &mut [libc::pollfd]) -> io::Result<()> {
    // SAFETY: the pointer and the number of entries are those of a slice; the kernel writes `revents` only.
    match unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The request `SIOCOUTQNSD` of `<linux/sockios.h>`, the same on every architecture: the bytes in a TCP socket's buffer that
/// were not put on the wire yet.
const UNSENT: libc::Ioctl = 0x894B;

/// Returns the number of bytes that the kernel has taken for a socket and not sent; 0 if it cannot say.
pub fn unsent(socket: BorrowedFd<'_>) -> usize {
    let mut bytes: c_int = 0;
    // SAFETY: the kernel writes one int at most, to the address of one.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), UNSENT, &raw mut bytes) };
    if done == 0 {
        usize::try_from(bytes).unwrap_or(0)
    } else {
        0
    }
}
