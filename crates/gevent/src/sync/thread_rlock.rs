//! The lock that `threading.RLock` makes in a patched process.
//!
//! A signal handler, or a finalizer, may run between any two bytecodes and take the very lock that the interrupted code
//! is just taking or releasing. Here, taking and releasing are each one call into the engine, in which no other Python
//! code runs.

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::args::Flag;
use crate::sync::busy_wait::BusyWait;
use crate::sync::rlock::{RLock, running};
use crate::sync::thread_acquire;
use crate::sync::thread_lock::ThreadLock;

/// A lock that the greenlet which holds it may acquire again, and must release as often.
///
/// It has the arguments of the standard library's, and works between threads too. Its module is that of the standard
/// library's class in C, by which programs such as trio recognize a lock that signal handlers may take.
#[pyclass(frozen, subclass, weakref, extends = RLock, name = "ThreadRLock", module = "_thread")]
#[derive(Debug)]
pub struct ThreadRLock {
    tries: BusyWait,
}

impl ThreadRLock {
    fn lock<'a, 'py>(slf: &'a Bound<'py, Self>) -> &'a RLock {
        slf.as_super().get()
    }

    #[inline]
    fn give(slf: &Bound<'_, Self>) -> PyResult<()> {
        if Self::lock(slf).give_if_held(slf.py())? {
            return Ok(());
        }
        Err(PyRuntimeError::new_err("cannot release un-acquired lock"))
    }
}

#[pymethods]
impl ThreadRLock {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "()")]
    fn new(
        py: Python<'_>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        // The standard library's class ignores arguments before CPython 3.15 and refuses them since.
        let refuses = py.version_info() >= (3, 15);
        if refuses && !(args.is_empty() && kwargs.is_none_or(|kwargs| kwargs.is_empty())) {
            return Err(PyTypeError::new_err("RLock() takes no arguments"));
        }
        let tries = BusyWait::default();
        // Programs that look inside the lock find the kind of lock that `threading.Lock` makes, as in the standard
        // library's class in Python.
        let block = Bound::new(py, ThreadLock::free())?;
        let block = block.into_super().into_super().unbind();
        Ok(PyClassInitializer::from(RLock::over(block)).add_subclass(Self { tries }))
    }

    /// Take the lock, waiting for it if `blocking` is true, at most `timeout` seconds unless that is -1, and return whether
    /// it was taken.
    ///
    /// The greenlet that holds it takes it once more without waiting. Raises `ValueError` for a timeout that is
    /// negative or given without `blocking`, `OverflowError` for one above `TIMEOUT_MAX`.
    #[pyo3(
        signature = (blocking = Flag(true), timeout = None),
        text_signature = "($self, blocking=True, timeout=-1)"
    )]
    fn acquire(
        slf: &Bound<'_, Self>,
        blocking: Flag,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let tries = &slf.get().tries;
        thread_acquire::acquire(slf.py(), tries, blocking.0, timeout, |limit| {
            RLock::take_within(slf.as_super(), || Ok(limit))
        })
    }

    /// Undo one `acquire`; the last one wakes the waiter that waited longest.
    ///
    /// Raises `RuntimeError` unless the running greenlet holds the lock.
    fn release(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::give(slf)
    }

    fn __exit__(
        slf: &Bound<'_, Self>,
        typ: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (typ, value, tb);
        Self::give(slf)
    }

    /// Return how often the running greenlet holds it.
    fn _recursion_count(slf: &Bound<'_, Self>) -> i64 {
        let py = slf.py();
        let (count, owner) = Self::lock(slf).holder(py);
        let me = running(py);
        if owner.is_some_and(|owner| owner.is(&me)) {
            count
        } else {
            0
        }
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let kind = slf.get_type();
        let (count, owner) = Self::lock(slf).holder(slf.py());
        Ok(format!(
            "<{} {}.{} object owner={} count={count} at {:#x}>",
            if count > 0 { "locked" } else { "unlocked" },
            kind.module()?,
            kind.qualname()?,
            owner.map_or(0, |owner| owner.as_ptr() as usize),
            slf.as_ptr() as usize,
        ))
    }
}
