//! Notices forks, however they are made: `os.fork`, `multiprocessing`, or C code.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Once, OnceLock};

use reactor::signals;

static FORKS: AtomicU64 = AtomicU64::new(0);

extern "C" fn in_child() {
    FORKS.fetch_add(1, Relaxed);
    signals::forget_parent();
    super::thread::in_child();
    for hook in HOOKS.get().copied().into_iter().flatten() {
        hook();
    }
}

/// The functions that run in a child as it begins; they may use atomics and thread-local data only.
static HOOKS: OnceLock<&'static [fn()]> = OnceLock::new();

/// Starts counting, and has `hooks` run in each child as it begins: they may use atomics and thread-local data only, as other
/// threads may have held anything at the fork. Idempotent.
pub fn install(hooks: &'static [fn()]) {
    let _ = HOOKS.set(hooks);
    static INSTALLED: Once = Once::new();
    // SAFETY: the handler only uses atomics and thread-local data, which is all that is allowed in the child of a process
    // with threads; it lives as long as the process, since extension modules are never unloaded. Out of memory, the only
    // failure, leaves programs to call `reinit` as they do with other loops.
    INSTALLED.call_once(|| unsafe {
        libc::pthread_atfork(None, None, Some(in_child));
    });
}

/// Returns the number of forks between this process and the one that first imported the module. An object that remembers the
/// number knows by it that it is a copy in a child.
#[inline]
pub fn count() -> u64 {
    FORKS.load(Relaxed)
}
