//! `gevent.lock.BoundedSemaphore`: a semaphore that refuses a release too many.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::args::Count;
use crate::hub::BaseHub;
use crate::sync::lock::Semaphore;

/// A semaphore that never has more permits than it was created with: `release` raises `ValueError` instead.
///
/// :param value: The number of permits, at first and at most.
/// :param hub: Accepted for compatibility.
/// :raises ValueError: `value` is negative.
#[pyclass(frozen, subclass, weakref, extends = Semaphore, name = "BoundedSemaphore", module = "gevent.lock")]
#[derive(Debug)]
pub struct BoundedSemaphore {
    initial: AtomicI64,
}

impl BoundedSemaphore {
    /// Makes the part of a semaphore that limits it to `initial` permits.
    pub fn of(initial: i64) -> Self {
        Self {
            initial: AtomicI64::new(initial),
        }
    }
}

#[pymethods]
impl BoundedSemaphore {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(value=1, hub=None)")]
    fn new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        PyClassInitializer::from(Semaphore::of(0)).add_subclass(Self::of(0))
    }

    #[pyo3(signature = (value = Count(1), hub = None))]
    fn __init__(slf: &Bound<'_, Self>, value: Count, hub: Option<Py<BaseHub>>) -> PyResult<()> {
        slf.as_super().get().init(slf.py(), value.0, hub)?;
        slf.get().initial.store(value.0, Relaxed);
        Ok(())
    }

    /// The class of the error that a surplus release raises.
    #[classattr]
    #[pyo3(name = "_OVER_RELEASE_ERROR")]
    fn over_release_error(py: Python<'_>) -> Bound<'_, PyType> {
        py.get_type::<PyValueError>()
    }

    #[getter]
    fn _initial_value(&self) -> i64 {
        self.initial.load(Relaxed)
    }

    /// Give a permit back, wake the waiter that waited longest, and return how many permits there are.
    ///
    /// Raises `ValueError` when it has all its permits already.
    fn release(slf: &Bound<'_, Self>) -> PyResult<i64> {
        let semaphore = slf.as_super();
        if semaphore.get().count() >= slf.get().initial.load(Relaxed) {
            let class = slf.getattr(pyo3::intern!(slf.py(), "_OVER_RELEASE_ERROR"))?;
            return Err(PyErr::from_value(
                class.call1(("Semaphore released too many times",))?,
            ));
        }
        Semaphore::give(semaphore)
    }

    fn __enter__(slf: &Bound<'_, Self>) -> PyResult<()> {
        Semaphore::enter::<Self>(slf.as_super())
    }

    fn __exit__(
        slf: &Bound<'_, Self>,
        t: &Bound<'_, PyAny>,
        v: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (t, v, tb);
        if Semaphore::is_exactly::<Self>(slf.as_super()) {
            return Self::release(slf).map(drop);
        }
        slf.call_method0(pyo3::intern!(slf.py(), "release"))
            .map(drop)
    }

    /// Make it usable in a forked child, with all its permits.
    fn _at_fork_reinit(slf: &Bound<'_, Self>) -> PyResult<()> {
        Semaphore::reset(slf.as_super(), slf.get().initial.load(Relaxed))
    }
}
