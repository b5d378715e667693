//! A semaphore of the operating system's threads: idle workers of a thread pool acquire it without the GIL.
//!
//! A semaphore of `gevent.lock` would not do, as a worker has no hub and must not hold the GIL while it waits. Each release
//! stands for one job that a worker is to fetch, so a release that comes before its acquire is never lost.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::spin;

/// True once the interpreter is about to end. CPython ends a thread that asks for the GIL from then on, wherever it is, so
/// that idle workers must not ask for it any more.
static ENDING: AtomicBool = AtomicBool::new(false);

/// The semaphore of one pool, which starts at zero.
#[derive(Debug, Default)]
pub struct WorkSemaphore {
    /// The number of releases that no worker has acquired yet.
    released: AtomicUsize,
    /// The number of workers that sleep. Under its lock a worker checks `released` once more before it sleeps, so that
    /// `release` either is seen by that check or sees the sleeper.
    asleep: Mutex<usize>,
    changed: Condvar,
}

impl WorkSemaphore {
    /// Lets one worker go on: one that waits, or else the next that acquires.
    pub fn release(&self) {
        self.released.fetch_add(1, SeqCst);
        let asleep = *self.lock();
        if asleep > 0 {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.asleep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_acquire(&self) -> bool {
        let mut released = self.released.load(SeqCst);
        // This is not done by `fetch_update`, which newer compilers deprecate for a name that older ones do not have.
        while released > 0 {
            match self
                .released
                .compare_exchange_weak(released, released - 1, SeqCst, SeqCst)
            {
                Ok(_) => return true,
                Err(now) => released = now,
            }
        }
        false
    }

    /// Waits for a release; returns false once that has taken longer than `timeout`.
    ///
    /// A worker that may `spin` tries for some microseconds before it sleeps. That pays if the next job comes soon, as
    /// going to sleep and being woken take longer.
    pub fn acquire(&self, timeout: Option<Duration>, spin: bool) -> bool {
        if spin && spin::until(spin::BRIEFLY, || self.try_acquire()) {
            return true;
        }
        let mut asleep = self.lock();
        *asleep += 1;
        let is_taken = |_: &mut usize| self.released.load(SeqCst) == 0;
        asleep = match timeout {
            None => self
                .changed
                .wait_while(asleep, is_taken)
                .unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                let waited = self.changed.wait_timeout_while(asleep, timeout, is_taken);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        *asleep -= 1;
        drop(asleep);
        let acquired = self.try_acquire();
        while !acquired && ENDING.load(Relaxed) {
            std::thread::park();
        }
        acquired
    }
}

/// Makes workers that have been idle for long sleep on from now on instead of leaving, as the interpreter is about to
/// end.
pub fn keep_idle_workers() {
    ENDING.store(true, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_release_before_the_acquire_is_not_lost() {
        let semaphore = WorkSemaphore::default();
        semaphore.release();
        semaphore.release();
        assert!(semaphore.acquire(Some(Duration::ZERO), false));
        assert!(semaphore.acquire(None, true));
        assert!(!semaphore.acquire(Some(Duration::ZERO), false));
    }

    #[test]
    fn each_release_lets_one_worker_go_on() {
        let semaphore = Arc::new(WorkSemaphore::default());
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let semaphore = Arc::clone(&semaphore);
                std::thread::spawn(move || semaphore.acquire(None, false))
            })
            .collect();
        for _ in 0..4 {
            semaphore.release();
        }
        assert!(workers.into_iter().all(|worker| worker.join().unwrap()));
        assert!(!semaphore.acquire(Some(Duration::ZERO), false));
    }
}
