//! The methods of all watchers as Python sees them, and the registration of their classes.

use std::sync::atomic::Ordering::Relaxed;

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use super::{Watcher, async_, check_callable, child, clamped, io, phase, signal, stat, timer};
use crate::args::from_python;
use crate::cell::{add_class, check};
use crate::event_loop::loop_::Loop;

/// The class of `EVENTS`: as first argument of a callback it stands for the events that occurred.
#[pyclass(frozen, name = "_EVENTSType", module = "gevent.core")]
#[derive(Debug)]
pub struct Events;

const _: () = check::<Events>();

#[pymethods]
impl Events {
    fn __repr__(&self) -> &'static str {
        "gevent.core.EVENTS"
    }
}

/// Returns the one `EVENTS`.
pub(super) fn events(py: Python<'_>) -> PyResult<Py<Events>> {
    static EVENTS: PyOnceLock<Py<Events>> = PyOnceLock::new();
    EVENTS
        .get_or_try_init(py, || Py::new(py, Events))
        .map(|events| events.clone_ref(py))
}

#[pymethods]
impl Watcher {
    /// Start watching: call `callback` with `args` in the hub at each event, until stopped.
    ///
    /// On an active watcher it sets what is called. Raises `TypeError` when `callback` cannot be called.
    #[pyo3(signature = (callback, *args))]
    fn start(
        slf: &Bound<'_, Self>,
        callback: &Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        Self::start_with(slf, callback, args)
    }

    /// Stop watching and forget the callback. What is pending is not called any more.
    fn stop(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().loop_().kernel(slf.py())?;
        Self::stop_now(slf.as_unbound(), slf.py());
        Ok(())
    }

    /// The same as `stop`, for use when the watcher is not needed any more.
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::stop(slf)
    }

    /// Behave as if `revents` had occurred: call `callback` with `args` once, soon.
    #[pyo3(signature = (revents, callback, *args))]
    fn feed(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = from_python)] revents: i32,
        callback: &Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        let py = slf.py();
        check_callable(callback)?;
        let this = slf.get();
        this.loop_().kernel(py)?;
        this.set_call(py, Some(callback.clone().unbind()), Some(args.unbind()));
        Self::queue(slf.as_unbound(), py, this.loop_(), revents.cast_unsigned());
        Ok(())
    }

    /// True if it is watching.
    #[getter]
    fn active(&self, py: Python<'_>) -> bool {
        self.is_active(py)
    }

    /// True if the callback is about to be called.
    #[getter]
    fn pending(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.pending.is_some())
    }

    /// True if the watcher keeps the loop running while it is active.
    #[getter]
    fn r#ref(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.counts)
    }

    #[setter]
    fn set_ref(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.loop_().kernel(py)?;
        let counts = value.is_truthy()?;
        let changed = self.state.with(py, |state| {
            let before = std::mem::replace(&mut state.counts, counts);
            state.active && before != counts
        });
        if changed {
            self.loop_().count_ref(if counts { 1 } else { -1 });
        }
        Ok(())
    }

    /// From -2 to 2: of the watchers that are ready at the same time those with a higher priority are called first.
    #[getter(priority)]
    fn get_priority(&self) -> i32 {
        self.priority()
    }

    #[setter]
    fn set_priority(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = from_python)] value: i32,
    ) -> PyResult<()> {
        if self.is_active(py) {
            return Err(PyAttributeError::new_err(
                "Cannot set priority of an active watcher",
            ));
        }
        self.priority.store(clamped(value), Relaxed);
        Ok(())
    }

    /// The callback, `None` when the watcher is not active.
    #[getter]
    fn callback(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| {
            state
                .callback
                .as_ref()
                .map(|callback| callback.clone_ref(py))
        })
    }

    #[setter]
    fn set_callback(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if !value.is_none() {
            check_callable(value)?;
        }
        let value = (!value.is_none()).then(|| value.clone().unbind());
        let old = self
            .state
            .with(py, |state| std::mem::replace(&mut state.callback, value));
        drop(old);
        Ok(())
    }

    /// The arguments of the callback, `None` when the watcher is not active.
    #[getter]
    fn args(&self, py: Python<'_>) -> Option<Py<PyTuple>> {
        self.state.with(py, |state| {
            state.args.as_ref().map(|args| args.clone_ref(py))
        })
    }

    #[setter]
    fn set_args(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = if value.is_none() {
            None
        } else {
            let tuple = value.cast::<PyTuple>().map_err(|_| {
                let kind = value
                    .get_type()
                    .name()
                    .map_or_else(|_| "?".into(), |name| name.to_string());
                PyTypeError::new_err(format!("Expected tuple, got {kind}"))
            })?;
            Some(tuple.clone().unbind())
        };
        let old = self
            .state
            .with(py, |state| std::mem::replace(&mut state.args, value));
        drop(old);
        Ok(())
    }

    /// The loop it belongs to.
    #[getter]
    fn r#loop(&self, py: Python<'_>) -> Py<Loop> {
        self.loop_.clone_ref(py)
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(slf: &Bound<'_, Self>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        Self::close(slf)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let py = slf.py();
        let this = slf.get();
        let name = slf.get_type().name()?;
        let mut text = format!(
            "<{name} at {:#x}{}",
            slf.as_ptr() as usize,
            this.details(py)
        );
        if this.is_active(py) {
            text.push_str(" active");
        }
        if this.pending(py) {
            text.push_str(" pending");
        }
        if let Some(callback) = this.callback(py) {
            text.push_str(&format!(" callback={}", callback.bind(py).repr()?));
        }
        if let Some(args) = this.args(py) {
            text.push_str(&format!(" args={}", args.bind(py).repr()?));
        }
        text.push('>');
        Ok(text)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.loop_.peek())?;
        let visited = self.state.peek(&visit, |state| {
            visit.call(&state.callback)?;
            visit.call(&state.args)
        });
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        self.set_call(py, None, None);
    }
}

/// Adds the classes, as namespace `watchers`, and `EVENTS` to the extension module.
///
/// # Errors
/// The error that adding to a module raises.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    // Apart, as some have the names of functions.
    let watchers = PyModule::new(py, "watchers")?;
    add_class::<Watcher>(&watchers)?;
    add_class::<io::Io>(&watchers)?;
    add_class::<timer::Timer>(&watchers)?;
    add_class::<signal::Signal>(&watchers)?;
    add_class::<phase::Idle>(&watchers)?;
    add_class::<phase::Prepare>(&watchers)?;
    add_class::<phase::Check>(&watchers)?;
    add_class::<phase::Fork>(&watchers)?;
    add_class::<async_::Async>(&watchers)?;
    add_class::<child::Child>(&watchers)?;
    add_class::<stat::Stat>(&watchers)?;
    module.add_submodule(&watchers)?;
    module.add("EVENTS", events(py)?)
}
