//! Notices forks, however they are made: `os.fork`, `multiprocessing`, or C code.
//!
//! What another thread holds during a fork, a lock or a value that is being made, the child has for ever. A native thread
//! that uses more than its own things works between [`begin_work`] and [`end_work`], and forks wait until it is done.

use std::sync::Once;
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::thread::sleep;
use std::time::{Duration, Instant};

use reactor::signals;

static FORKS: AtomicU64 = AtomicU64::new(0);

/// Whether the native thread works.
static WORKING: AtomicBool = AtomicBool::new(false);
/// Forks that are being made.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// How long to wait at a time, and for how long a fork is put off.
const MOMENT: Duration = Duration::from_micros(20);
const PATIENCE: Duration = Duration::from_secs(1);

extern "C" fn before() {
    UNDER_WAY.fetch_add(1, SeqCst);
    let began = Instant::now();
    while WORKING.load(SeqCst) && began.elapsed() < PATIENCE {
        sleep(MOMENT);
    }
}

extern "C" fn in_parent() {
    UNDER_WAY.fetch_sub(1, SeqCst);
}

extern "C" fn in_child() {
    FORKS.fetch_add(1, Relaxed);
    UNDER_WAY.store(0, SeqCst);
    WORKING.store(false, SeqCst);
    signals::forget_parent();
    super::thread::in_child();
    super::hub_slot::in_child();
    crate::waiting::threads::in_child();
    crate::orphan::in_child();
}

/// The native thread goes on, as soon as no fork is under way.
pub fn begin_work() {
    loop {
        WORKING.store(true, SeqCst);
        if UNDER_WAY.load(SeqCst) == 0 {
            return;
        }
        WORKING.store(false, SeqCst);
        sleep(MOMENT);
    }
}

/// The native thread is about to wait.
pub fn end_work() {
    WORKING.store(false, SeqCst);
}

/// Starts counting. Idempotent.
pub fn install() {
    static INSTALLED: Once = Once::new();
    // SAFETY: the handlers only use atomics, clocks and sleep, and the child's only atomics, which is all that is allowed in
    // the child of a process with threads; they live as long as the process, since extension modules are never unloaded.
    // Out of memory, the only failure, leaves programs to call `reinit` as they do with other loops.
    INSTALLED.call_once(|| unsafe {
        libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child));
    });
}

/// How many forks lie between this process and the one that first imported the module.
#[inline]
pub fn count() -> u64 {
    FORKS.load(Relaxed)
}
