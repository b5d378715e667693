//! `gevent.thread.LockType`: the class of `threading.Lock` in a patched process.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::args::Flag;
use crate::sync::bounded_semaphore::BoundedSemaphore;
use crate::sync::busy_wait::BusyWait;
use crate::sync::lock::Semaphore;
use crate::sync::thread_acquire;
use crate::waiting::deadline::Deadline;

/// A lock that parks only the greenlet that waits for it.
///
/// It works between threads too. Like the lock of the standard library it takes no arguments and cannot be derived
/// from. `release` raises `RuntimeError` if it is not held.
#[pyclass(frozen, dict, weakref, extends = BoundedSemaphore, name = "LockType", module = "gevent.thread")]
#[derive(Debug)]
pub struct ThreadLock {
    tries: BusyWait,
}

impl ThreadLock {
    /// Makes a lock that is not held.
    pub fn free() -> PyClassInitializer<Self> {
        PyClassInitializer::from(Semaphore::of(1))
            .add_subclass(BoundedSemaphore::of(1))
            .add_subclass(Self {
                tries: BusyWait::default(),
            })
    }

    fn semaphore<'a, 'py>(slf: &'a Bound<'py, Self>) -> &'a Bound<'py, Semaphore> {
        slf.as_super().as_super()
    }

    #[inline]
    fn take(slf: &Bound<'_, Self>, deadline: Deadline) -> PyResult<bool> {
        let semaphore = Self::semaphore(slf);
        Ok(semaphore.get().try_take(slf.py()) || Semaphore::take(semaphore, deadline)?)
    }

    #[inline]
    fn give(slf: &Bound<'_, Self>) -> PyResult<()> {
        let semaphore = Self::semaphore(slf);
        if semaphore.get().has_permit() {
            return Err(PyRuntimeError::new_err("Semaphore released too many times"));
        }
        Semaphore::give(semaphore).map(drop)
    }
}

#[pymethods]
impl ThreadLock {
    #[new]
    fn new() -> PyClassInitializer<Self> {
        Self::free()
    }

    fn __init__(&self) {}

    /// The class of the error that a surplus release raises.
    #[classattr]
    #[pyo3(name = "_OVER_RELEASE_ERROR")]
    fn over_release_error(py: Python<'_>) -> Bound<'_, PyType> {
        py.get_type::<PyRuntimeError>()
    }

    /// Take the lock, waiting for it if `blocking` is true, at most `timeout` seconds unless that is -1, and return whether
    /// it was taken.
    ///
    /// No other greenlet runs if `blocking` is false, except after many such tries in a row that failed: so trying in
    /// a loop comes to an end. Raises `ValueError` for a timeout that is negative or given without `blocking`,
    /// `OverflowError` for one above `TIMEOUT_MAX`.
    #[pyo3(
        signature = (blocking = Flag(true), timeout = None),
        text_signature = "($self, blocking=True, timeout=-1)"
    )]
    fn acquire(
        slf: &Bound<'_, Self>,
        blocking: Flag,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let py = slf.py();
        thread_acquire::acquire(
            py,
            &slf.get().tries,
            blocking.0,
            timeout,
            |deadline| match deadline {
                Some(deadline) => Self::take(slf, deadline),
                None => Ok(Self::semaphore(slf).get().try_take(py)),
            },
        )
    }

    /// Give the lock back, and wake the waiter that waited longest.
    ///
    /// Raises `RuntimeError` if it is not held. Unlike a semaphore's, and like the method of the standard library's lock,
    /// it returns nothing.
    fn release(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::give(slf)
    }

    /// Return True if the lock is held. `threading.Condition` calls it; without it, it would try to take the lock.
    fn _is_owned(slf: &Bound<'_, Self>) -> bool {
        !Self::semaphore(slf).get().has_permit()
    }

    /// Take the lock for `threading.Condition`, which must hold it when its `wait` ends: an error that is thrown into
    /// the greenlet meanwhile is raised when the lock is taken.
    fn _acquire_restore(slf: &Bound<'_, Self>, state: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = state;
        Semaphore::take_in_any_case(Self::semaphore(slf), slf.as_any())?.map_or(Ok(()), Err)
    }

    fn __enter__(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Self::take(slf, Deadline::Never)
    }

    fn __exit__(
        slf: &Bound<'_, Self>,
        t: &Bound<'_, PyAny>,
        v: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (t, v, tb);
        Self::give(slf)
    }
}
