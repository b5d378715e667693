//! Functions of the package that the error of a signal must not leave half done, or end.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::cell::GilCell;
use crate::errors::GreenletExit;
use crate::hub;
use crate::structured::interruption::{MOST_IN_A_ROW, ends_program};

/// Calls a function, and calls it again when the error of a signal's handler cut it short, as `SA_RESTART` has the kernel
/// do with system calls (sigaction(2)). The error is raised once the function has come to its end.
///
/// The function must not raise errors of its own, and must do what is left to do when it is called again.
#[pyclass(frozen, name = "restarting", module = "gevent._core")]
#[derive(Debug)]
pub struct Restarting {
    function: GilCell<Option<Py<PyAny>>>,
}

/// Makes a call, and makes it again until it ends without an error, as [`Restarting`] does.
///
/// # Errors
/// Returns the first error that the call ended with, or the first of those that end the program.
pub fn to_its_end(py: Python<'_>, call: impl Fn() -> PyResult<()>) -> PyResult<()> {
    let mut raised: PyResult<()> = Ok(());
    for _ in 0..MOST_IN_A_ROW {
        let Err(error) = call() else {
            break;
        };
        match &raised {
            Err(before) if ends_program(before.value(py)) || !ends_program(error.value(py)) => {}
            _ => raised = Err(error),
        }
    }
    raised
}

/// Call a function, the body of a greenlet, and call it again after every error, until it returns. The errors go to the hub.
///
/// A `GreenletExit` ends the greenlet, and so does an error after many others between which nothing else has run.
#[pyfunction]
pub fn keep_running(function: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = function.py();
    let mut in_a_row = 0;
    let mut progress = None;
    loop {
        let Err(error) = function.call0() else {
            return Ok(());
        };
        let loop_ = hub::current_loop(py)?;
        let now = Some(loop_.get().progress());
        in_a_row = if now == progress { in_a_row + 1 } else { 0 };
        progress = now;
        if error.is_instance_of::<GreenletExit>(py) || in_a_row >= MOST_IN_A_ROW {
            return Err(error);
        }
        hub::handle_error(py, loop_.get(), Some(function.clone().unbind()), error);
    }
}

#[pymethods]
impl Restarting {
    #[new]
    fn new(function: Py<PyAny>) -> Self {
        Self {
            function: GilCell::new(Some(function)),
        }
    }

    #[pyo3(signature = (*args))]
    fn __call__(&self, args: &Bound<'_, PyTuple>) -> PyResult<()> {
        let py = args.py();
        let Some(function) = self.function.get_ref(py) else {
            return Ok(());
        };
        to_its_end(py, || function.bind(py).call1(args).map(drop))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.function
            .peek(&visit, |function| visit.call(function))
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.function.take(py));
    }
}
