//! The hub's part of `gevent.iwait`: the objects that have become ready, and the waiter of the greenlet that wants the
//! next one.
//!
//! The interpreter runs the handlers of signals between the instructions of Python's code, and they raise errors there. One
//! that came while the hub noted an object, or before it had woken the greenlet, would leave that waiting for ever. So what
//! the hub calls is not Python. The rest of the iterator is (`gevent/_waiting.py`): its errors reach the greenlet itself.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::cell::GilCell;
use crate::hub;
use crate::waiting::waiter::Waiter;

/// The base class of the iterator that `gevent.iwait` returns.
#[pyclass(frozen, subclass, name = "Arrivals", module = "gevent._core")]
#[derive(Debug)]
pub struct Arrivals {
    ready: GilCell<VecDeque<Py<PyAny>>>,
    timed_out: AtomicBool,
    waiter: GilCell<Option<Py<Waiter>>>,
}

impl Arrivals {
    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        let Some(waiter) = self.waiter.take(py) else {
            return Ok(());
        };
        let waiter = waiter.into_bound(py);
        let Some(own) = waiter.get().hub(py).map(|hub| hub.into_bound(py)) else {
            return Ok(());
        };
        if hub::get_hub_if_exists(py).is_some_and(|hub| hub.is(&own)) {
            return Waiter::switch(&waiter, None);
        }
        // An object of another thread notifies in that thread.
        let switch = waiter.getattr(pyo3::intern!(py, "switch"))?;
        own.getattr(pyo3::intern!(py, "loop"))?
            .call_method1(
                pyo3::intern!(py, "run_callback_threadsafe"),
                (switch, py.None()),
            )
            .map(drop)
    }
}

#[pymethods]
impl Arrivals {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            ready: GilCell::new(VecDeque::new()),
            timed_out: AtomicBool::new(false),
            waiter: GilCell::new(None),
        }
    }

    /// Note that an object is ready, and have the greenlet that waits for one go on.
    fn _on_ready(&self, py: Python<'_>, obj: Py<PyAny>) -> PyResult<()> {
        self.ready.with(py, |ready| ready.push_back(obj));
        self.wake(py)
    }

    /// Have the greenlet go on, as nothing more is to be waited for.
    fn _on_timeout(&self, py: Python<'_>) -> PyResult<()> {
        self.timed_out.store(true, Relaxed);
        self.wake(py)
    }

    /// Return the next ready object, waiting for it; `None` when the time is up and none is there.
    fn _next_ready(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let first = self.ready.with(py, VecDeque::pop_front);
        if first.is_some() || self.timed_out.load(Relaxed) {
            return Ok(first);
        }
        // Each step has a new waiter, as the caller may do anything between two steps.
        let waiter = Waiter::of_hub(hub::current(py)?.into_any().unbind());
        let waiter = Bound::new(py, waiter)?;
        drop(self.waiter.replace(py, Some(waiter.clone().unbind())));
        // The object may belong to another thread.
        let woken = Waiter::wait_for_any_thread(&waiter);
        drop(self.waiter.take(py));
        woken?;
        Ok(self.ready.with(py, VecDeque::pop_front))
    }

    /// Forget the objects.
    fn _forget(&self, py: Python<'_>) {
        drop(self.ready.take(py));
    }

    /// The waiter of the greenlet that waits for the next object.
    #[getter]
    fn _waiter(&self, py: Python<'_>) -> Option<Py<Waiter>> {
        self.waiter.get_ref(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let objects = self.ready.peek(&visit, |ready| {
            ready.iter().try_for_each(|object| visit.call(object))
        });
        objects.unwrap_or(Ok(()))?;
        self.waiter
            .peek(&visit, |waiter| visit.call(waiter))
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.ready.take(py));
        drop(self.waiter.take(py));
    }
}
