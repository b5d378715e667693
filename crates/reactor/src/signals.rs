//! Signals of the process, noticed by a handler and taken by a loop.
//!
//! A disposition belongs to the process, so this module is one set of statics. The handler does the two
//! things that are safe in one: it sets a bit and writes to the subscribed eventfd. Which loop subscribes
//! is up to the caller; the others do not see signals.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// The greatest signal number of Linux: each has a bit in [`PENDING`].
const MAX: i32 = 64;

/// The value of [`SUBSCRIBER`] when there is none.
const NOBODY: RawFd = -1;

/// Signals that came since they were last taken: bit `signo - 1`.
static PENDING: AtomicU64 = AtomicU64::new(0);

/// The eventfd that the handler writes to.
static SUBSCRIBER: AtomicI32 = AtomicI32::new(NOBODY);

/// The number of handlers that may hold the subscriber's number at this moment.
static IN_HANDLER: AtomicUsize = AtomicUsize::new(0);

static WATCHED: Mutex<[Option<Watched>; MAX as usize]> = Mutex::new([const { None }; MAX as usize]);

/// A signal that is watched.
struct Watched {
    /// The number of watches.
    watchers: usize,
    /// The disposition that the last watch's end restores.
    previous: libc::sigaction,
}

extern "C" fn on_signal(signo: libc::c_int) {
    PENDING.fetch_or(bit(signo), Ordering::SeqCst);
    IN_HANDLER.fetch_add(1, Ordering::SeqCst);
    notify(SUBSCRIBER.load(Ordering::SeqCst));
    IN_HANDLER.fetch_sub(1, Ordering::SeqCst);
}

/// Makes the subscriber readable. Safe in a signal handler: it leaves the interrupted code's errno alone.
fn notify(fd: RawFd) {
    if fd < 0 {
        return;
    }
    let one = 1u64.to_ne_bytes();
    // Only a full counter makes the write fail, and then the descriptor is readable.
    // SAFETY: errno's location is valid for the thread's life, and the write reads eight bytes that are
    // there. `unsubscribe` waits for handlers, so the number is still the subscriber's.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(fd, one.as_ptr().cast(), one.len());
        *libc::__errno_location() = errno;
    }
}

const fn bit(signo: i32) -> u64 {
    1 << (signo - 1)
}

/// Starts watching a signal, in place of its disposition. Watches of the same signal are counted.
///
/// # Errors
/// Returns `EINVAL` when there is no such signal or it cannot be caught.
pub fn watch(signo: i32) -> io::Result<()> {
    let slot = index(signo)?;
    let mut watched = watched();
    if let Some(watched) = &mut watched[slot] {
        watched.watchers += 1;
        return Ok(());
    }
    // SAFETY: all zeros is a valid sigaction: the default disposition, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
    // System calls of other threads are restarted, as the interruption is not meant for them. epoll_wait is never
    // restarted (signal(7)), so a waiting loop notices the signal all the same.
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    let previous = exchange(signo, Some(&action))?;
    watched[slot] = Some(Watched {
        watchers: 1,
        previous,
    });
    Ok(())
}

/// Ends one watch. The last one restores the disposition that the signal had before, unless other code has set another
/// one since.
///
/// # Errors
/// Returns `EINVAL` when the signal is not watched.
pub fn unwatch(signo: i32) -> io::Result<()> {
    let slot = index(signo)?;
    let mut watched = watched();
    let Some(entry) = &mut watched[slot] else {
        return Err(invalid());
    };
    entry.watchers -= 1;
    if entry.watchers > 0 {
        return Ok(());
    }
    let previous = entry.previous;
    watched[slot] = None;
    let current = exchange(signo, None)?;
    if current.sa_sigaction == on_signal as extern "C" fn(libc::c_int) as usize {
        exchange(signo, Some(&previous))?;
    }
    PENDING.fetch_and(!bit(signo), Ordering::Relaxed);
    Ok(())
}

/// Makes `fd`, a non-blocking eventfd such as that of a [`Waker`](crate::Waker), the one that handlers write
/// to. It must be unsubscribed before it is closed.
pub fn subscribe(fd: RawFd) {
    SUBSCRIBER.store(fd, Ordering::SeqCst);
    // A signal that came while there was no subscriber must not wait for the next one.
    if PENDING.load(Ordering::SeqCst) != 0 {
        notify(fd);
    }
}

/// Ends the subscription of `fd`, if it is the subscriber. No handler uses the number after the return.
pub fn unsubscribe(fd: RawFd) {
    if SUBSCRIBER
        .compare_exchange(fd, NOBODY, Ordering::SeqCst, Ordering::SeqCst)
        .is_err()
    {
        return;
    }
    // The wait is bounded, because in a forked child the count may include a thread that no longer exists. A handler
    // takes two instructions and a system call.
    for _ in 0..1000 {
        if IN_HANDLER.load(Ordering::SeqCst) == 0 {
            break;
        }
        thread::yield_now();
    }
}

/// Forgets what belongs to the parent, in the child of a fork: signals that came before, and the subscriber, whose
/// number may be another file's in a child that closes all descriptors. It is async-signal-safe, as a
/// `pthread_atfork(3)` handler has to be.
pub fn forget_parent() {
    SUBSCRIBER.store(NOBODY, Ordering::SeqCst);
    IN_HANDLER.store(0, Ordering::SeqCst);
    PENDING.store(0, Ordering::SeqCst);
}

/// Takes the signals that came since the last call, each once, in ascending order. It costs one atomic load when there
/// are none.
pub fn take_pending() -> impl Iterator<Item = i32> {
    let mut pending = match PENDING.load(Ordering::Relaxed) {
        0 => 0,
        _ => PENDING.swap(0, Ordering::Acquire),
    };
    std::iter::from_fn(move || {
        if pending == 0 {
            return None;
        }
        let signo = pending.trailing_zeros() as i32 + 1;
        pending &= pending - 1;
        Some(signo)
    })
}

/// Sets a disposition, if one is given, and returns the one before.
fn exchange(signo: i32, action: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let mut previous = MaybeUninit::uninit();
    // SAFETY: `action` is null or valid, with a handler that is safe in any thread at any time;
    // `previous` has room for what is written there.
    let result = unsafe {
        libc::sigaction(
            signo,
            action.map_or(ptr::null(), ptr::from_ref),
            previous.as_mut_ptr(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, and so has written it.
    Ok(unsafe { previous.assume_init() })
}

fn index(signo: i32) -> io::Result<usize> {
    match signo {
        libc::SIGKILL | libc::SIGSTOP => Err(invalid()),
        1..=MAX => Ok(signo as usize - 1),
        _ => Err(invalid()),
    }
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

fn watched() -> MutexGuard<'static, [Option<Watched>; MAX as usize]> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}
