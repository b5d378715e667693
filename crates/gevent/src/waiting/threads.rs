//! Distinguishes the main thread from all others.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::ffi::{fork, thread};

/// The main thread's pointer, 0 until that thread first calls [`is_main`].
static MAIN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The last answer to this thread, unless it is the main one, and the number of forks at that time.
    static ANSWER: Cell<Option<(u64, bool)>> = const { Cell::new(None) };
}

/// Returns true in the main thread of the process.
#[inline]
pub fn is_main() -> bool {
    MAIN.load(Relaxed) == thread::id() || ask()
}

#[inline(never)]
fn ask() -> bool {
    let forks = fork::count();
    match ANSWER.get() {
        Some((then, main)) if then == forks => main,
        _ => find_out(forks),
    }
}

#[cold]
fn find_out(forks: u64) -> bool {
    let main = rustix::thread::gettid() == rustix::process::getpid();
    if main {
        MAIN.store(thread::id(), Relaxed);
    }
    ANSWER.set(Some((forks, main)));
    main
}

/// Notes, in a forked child, that the calling thread, its only one, is the main one now.
pub fn in_child() {
    MAIN.store(thread::id(), Relaxed);
}
