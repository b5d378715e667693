//! Notices a program that tries for a lock again and again instead of waiting for it.
//!
//! A try that fails must not let other greenlets run: the caller may hold other locks, and does not expect that an
//! error is thrown into it there. Yet `while not lock.acquire(False): pass` has to come to an end, as it does with
//! threads, which are preempted. So a greenlet gives way when many tries failed in a row and nothing ran between them.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use pyo3::prelude::*;

use crate::args::from_python;
use crate::ffi::greenlet;
use crate::hub;
use crate::waiting::park;

/// Counts the tries for one object that failed since anything else ran in the thread.
#[derive(Default, Debug)]
pub struct BusyWait {
    failures: AtomicU32,
    progress: AtomicU64,
}

impl BusyWait {
    /// Counts a try that failed; from the one numbered `limit` on, lets the other greenlets of the thread run.
    ///
    /// # Errors
    /// Returns the error that is thrown into the greenlet meanwhile.
    pub fn failed(&self, py: Python<'_>, limit: u32) -> PyResult<()> {
        let Some(hub) = hub::get_hub_if_exists(py) else {
            return Ok(());
        };
        let progress = hub::loop_of(&hub)?.get().progress();
        let failures = if self.progress.swap(progress, Relaxed) == progress {
            self.failures.load(Relaxed).saturating_add(1)
        } else {
            1
        };
        self.failures.store(failures, Relaxed);
        if failures < limit || greenlet::current(py)?.is(&hub) {
            return Ok(());
        }
        park::yield_now(py)
    }
}

/// Counts failed tries for one object of Python code.
#[pyclass(frozen, name = "BusyWait", module = "gevent._core")]
#[derive(Default, Debug)]
pub struct PyBusyWait(BusyWait);

#[pymethods]
impl PyBusyWait {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Count a try that failed; from the one numbered `limit` on, let the other greenlets of the thread run.
    fn failed(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = from_python)] limit: u32,
    ) -> PyResult<()> {
        self.0.failed(py, limit)
    }
}
