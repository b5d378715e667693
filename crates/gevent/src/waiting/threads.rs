//! Tells the main thread from all others.

use std::cell::Cell;

use crate::ffi::fork;

thread_local! {
    /// The answer, and after how many forks it was found: the thread that forks is the main one of the child.
    static MAIN: Cell<Option<(u64, bool)>> = const { Cell::new(None) };
}

/// Returns true in the main thread of the process.
#[inline]
pub fn is_main() -> bool {
    let forks = fork::count();
    match MAIN.get() {
        Some((then, main)) if then == forks => main,
        _ => find_out(forks),
    }
}

#[cold]
fn find_out(forks: u64) -> bool {
    let main = rustix::thread::gettid() == rustix::process::getpid();
    MAIN.set(Some((forks, main)));
    main
}
