//! `gevent.lock.DummySemaphore`: the interface of a semaphore where nothing is limited.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// A semaphore that always has a permit: nothing ever waits.
#[pyclass(
    frozen,
    subclass,
    weakref,
    dict,
    name = "DummySemaphore",
    module = "gevent.lock"
)]
#[derive(Debug)]
pub struct DummySemaphore;

#[pymethods]
impl DummySemaphore {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(value=None)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self
    }

    /// Takes a `value` as `Semaphore` does, and ignores it.
    #[pyo3(signature = (value = None))]
    fn __init__(&self, value: Option<&Bound<'_, PyAny>>) {
        let _ = value;
    }

    /// Return True without waiting, whatever the arguments.
    #[pyo3(signature = (blocking = None, timeout = None), text_signature = "($self, blocking=True, timeout=None)")]
    fn acquire(
        &self,
        blocking: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> bool {
        let _ = (blocking, timeout);
        true
    }

    /// Do nothing.
    fn release(&self) {}

    /// Return 1 without waiting.
    #[pyo3(signature = (timeout = None))]
    fn wait(&self, timeout: Option<&Bound<'_, PyAny>>) -> i64 {
        let _ = timeout;
        1
    }

    /// Return False.
    fn locked(&self) -> bool {
        false
    }

    /// Return True.
    fn ready(&self) -> bool {
        true
    }

    /// Do nothing: the callback is never called.
    fn rawlink(&self, callback: &Bound<'_, PyAny>) {
        let _ = callback;
    }

    /// Do nothing.
    fn unlink(&self, callback: &Bound<'_, PyAny>) {
        let _ = callback;
    }

    fn __enter__(&self) {}

    fn __exit__(&self, typ: &Bound<'_, PyAny>, val: &Bound<'_, PyAny>, tb: &Bound<'_, PyAny>) {
        let _ = (typ, val, tb);
    }
}
