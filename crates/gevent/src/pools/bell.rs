//! Where the worker threads of a pool wait for work, without the GIL.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::pyfunction;

use crate::event_loop::spin;

/// Set when the interpreter is about to end: a thread that asks it for the GIL then is ended in the middle of things.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Where idle workers wait. It counts how often it was rung and nobody heard it yet.
#[derive(Default)]
pub struct Bell {
    rung: AtomicUsize,
    asleep: Mutex<usize>,
    changed: Condvar,
}

impl Bell {
    /// Has one of those who wait, or the next one who comes, go on.
    pub fn ring(&self) {
        self.rung.fetch_add(1, SeqCst);
        let asleep = *self.lock();
        if asleep > 0 {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.asleep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) -> bool {
        let mut rung = self.rung.load(SeqCst);
        // Not by `fetch_update`, which newer compilers deprecate for a name that older ones do not have.
        while rung > 0 {
            match self
                .rung
                .compare_exchange_weak(rung, rung - 1, SeqCst, SeqCst)
            {
                Ok(_) => return true,
                Err(now) => rung = now,
            }
        }
        false
    }

    /// Waits until it is rung; false when that took longer than `limit`.
    pub fn wait(&self, limit: Option<Duration>, look_out: bool) -> bool {
        if look_out && spin::until(spin::LOOK_OUT, || self.heard()) {
            return true;
        }
        let mut asleep = self.lock();
        *asleep += 1;
        let silent = |_: &mut usize| self.rung.load(SeqCst) == 0;
        asleep = match limit {
            None => self
                .changed
                .wait_while(asleep, silent)
                .unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                let waited = self.changed.wait_timeout_while(asleep, limit, silent);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        *asleep -= 1;
        drop(asleep);
        let heard = self.heard();
        while !heard && ENDING.load(Relaxed) {
            std::thread::park();
        }
        heard
    }
}

/// Have workers that were idle for long sleep on, rather than leave, from now on: the interpreter ends.
#[pyfunction]
pub fn retire_workers() {
    ENDING.store(true, Relaxed);
}
