//! The object that `loop.run_callback` returns: a call that the hub will make once.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::cell::GilCell;

struct Call {
    callback: Option<Py<PyAny>>,
    args: Option<Py<PyTuple>>,
}

/// A function to be called in the hub, in the order of scheduling, unless stopped before.
#[pyclass(frozen, name = "callback", module = "gevent.core")]
#[derive(Debug)]
pub struct Callback {
    call: GilCell<Call>,
}

impl Callback {
    /// Makes a pending call.
    pub fn new(callback: Py<PyAny>, args: Py<PyTuple>) -> Self {
        Self {
            call: GilCell::new(Call {
                callback: Some(callback),
                args: Some(args),
            }),
        }
    }

    /// Makes the call, once; does nothing when it was stopped.
    ///
    /// # Errors
    /// Returns the error that the function raises.
    pub fn run(&self, py: Python<'_>) -> PyResult<()> {
        let callback = self.call.with(py, |call| call.callback.take());
        let result = match callback {
            None => Ok(()),
            Some(callback) => match self
                .call
                .with(py, |call| call.args.as_ref().map(|args| args.clone_ref(py)))
            {
                Some(args) => callback.call1(py, args).map(drop),
                None => callback.call0(py).map(drop),
            },
        };
        let args = self.call.with(py, |call| call.args.take());
        drop(args);
        result
    }
}

#[pymethods]
impl Callback {
    /// Cancel the call.
    fn stop(&self, py: Python<'_>) {
        let taken = self
            .call
            .with(py, |call| (call.callback.take(), call.args.take()));
        drop(taken);
    }

    /// The same as `stop`.
    fn close(&self, py: Python<'_>) {
        self.stop(py);
    }

    #[getter]
    fn callback(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.call.with(py, |call| {
            call.callback
                .as_ref()
                .map(|callback| callback.clone_ref(py))
        })
    }

    #[setter]
    fn set_callback(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        let old = self
            .call
            .with(py, |call| std::mem::replace(&mut call.callback, value));
        drop(old);
    }

    #[getter]
    fn args(&self, py: Python<'_>) -> Option<Py<PyTuple>> {
        self.call
            .with(py, |call| call.args.as_ref().map(|args| args.clone_ref(py)))
    }

    #[setter]
    fn set_args(&self, py: Python<'_>, value: Option<Py<PyTuple>>) {
        let old = self
            .call
            .with(py, |call| std::mem::replace(&mut call.args, value));
        drop(old);
    }

    /// Return True if the call is still to be made.
    #[getter]
    fn pending(&self, py: Python<'_>) -> bool {
        self.call.with(py, |call| call.callback.is_some())
    }

    fn __bool__(&self, py: Python<'_>) -> bool {
        self.call.with(py, |call| call.args.is_some())
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let py = slf.py();
        let this = slf.get();
        let mut text = format!("<callback at {:#x}", slf.as_ptr() as usize);
        match (this.callback(py), this.args(py)) {
            (Some(callback), args) => {
                text.push_str(&format!(" pending callback={}", callback.bind(py).repr()?));
                if let Some(args) = args {
                    text.push_str(&format!(" args={}", args.bind(py).repr()?));
                }
            }
            (None, Some(_)) => {}
            (None, None) => text.push_str(" stopped"),
        }
        text.push('>');
        Ok(text)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.call
            .peek(&visit, |call| {
                visit.call(&call.callback)?;
                visit.call(&call.args)
            })
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        self.stop(py);
    }
}
