//! One call that a thread pool's worker makes for a greenlet.

use std::sync::Arc;
use std::time::Instant;

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::cell::{GilCell, Made, check};
use crate::event_loop::kernel::Inbox;
use crate::sync::async_result::AsyncResult;

use crate::event_loop::ready::Task;
use crate::pools::threadpool::TaskQueue;

/// The outcome of a call.
enum Outcome {
    Value(Py<PyAny>),
    /// The context to name in the report, and the result of `sys.exc_info()`.
    Error(Py<PyAny>, Py<PyTuple>),
}

#[derive(Default)]
struct Call {
    func: Option<Py<PyAny>>,
    args: Option<Py<PyTuple>>,
    kwargs: Option<Py<PyDict>>,
    outcome: Option<Outcome>,
    result: Option<Py<AsyncResult>>,
}

/// A call that a worker makes. Its outcome is sent to the hub when the worker asks for the next call.
#[pyclass(frozen, name = "Job", module = "gevent.threadpool")]
#[derive(Debug)]
pub struct Job {
    call: GilCell<Call>,
    queue: Made<Py<TaskQueue>>,
    hub: Made<Py<PyAny>>,
    submitted: Made<Instant>,
}

const _: () = check::<Job>();

impl Job {
    /// Returns a call of `func` whose result goes to `result`.
    pub fn new(
        func: Py<PyAny>,
        args: Py<PyTuple>,
        kwargs: Py<PyDict>,
        result: Py<AsyncResult>,
        queue: Py<TaskQueue>,
        hub: Py<PyAny>,
    ) -> Self {
        let call = Call {
            func: Some(func),
            args: Some(args),
            kwargs: Some(kwargs),
            outcome: None,
            result: Some(result),
        };
        Self {
            call: GilCell::new(call),
            queue: Made::new(queue),
            hub: Made::new(hub),
            submitted: Made::new(Instant::now()),
        }
    }

    /// Stores the outcome in the result that greenlets wait for; runs in the hub.
    ///
    /// # Errors
    /// Returns the error that the hub's `handle_error` raises.
    fn deliver(&self, py: Python<'_>) -> PyResult<()> {
        self.queue.get().job_done(py, self.submitted.elapsed());
        let (outcome, result) = self
            .call
            .with(py, |call| (call.outcome.take(), call.result.take()));
        let Some(result) = result else { return Ok(()) };
        match outcome {
            Some(Outcome::Value(value)) => AsyncResult::set(result.bind(py), Some(value)),
            Some(Outcome::Error(context, error)) => {
                let error = error.into_bound(py);
                AsyncResult::fail(result.bind(py), error.clone())?;
                let (class, value, traceback) =
                    (error.get_item(0)?, error.get_item(1)?, error.get_item(2)?);
                let report = pyo3::intern!(py, "handle_error");
                self.hub
                    .call_method1(py, report, (context, class, value, traceback))
                    .map(drop)
            }
            None => AsyncResult::set(result.bind(py), None),
        }
    }

    /// Drops the call, and returns its completion: the task that delivers the outcome, and the inbox to send it to.
    pub fn completion(job: &Bound<'_, Self>) -> Option<(Arc<Inbox>, Task)> {
        let py = job.py();
        let this = job.get();
        let call = this.call.with(py, |call| {
            (call.func.take(), call.args.take(), call.kwargs.take())
        });
        drop(call);
        let inbox = this.queue.get().loop_().inbox(py)?;
        let job = job.clone().unbind();
        Some((
            inbox,
            Task::Native(Box::new(move |py| job.get().deliver(py))),
        ))
    }
}

#[pymethods]
impl Job {
    #[getter]
    fn func(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.call
            .with(py, |call| call.func.as_ref().map(|func| func.clone_ref(py)))
    }

    #[getter]
    fn args(&self, py: Python<'_>) -> Option<Py<PyTuple>> {
        self.call
            .with(py, |call| call.args.as_ref().map(|args| args.clone_ref(py)))
    }

    #[getter]
    fn kwargs(&self, py: Python<'_>) -> Option<Py<PyDict>> {
        self.call.with(py, |call| {
            call.kwargs.as_ref().map(|kwargs| kwargs.clone_ref(py))
        })
    }

    /// Store the value that the call returned.
    fn set(&self, py: Python<'_>, value: Py<PyAny>) {
        let old = self
            .call
            .with(py, |call| call.outcome.replace(Outcome::Value(value)));
        drop(old);
    }

    /// Store the error that the call raised, as `sys.exc_info()` returned it, and the context to name in the report.
    fn handle_error(&self, py: Python<'_>, context: Py<PyAny>, exc_info: Py<PyTuple>) {
        let old = self.call.with(py, |call| {
            call.outcome.replace(Outcome::Error(context, exc_info))
        });
        drop(old);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.queue.peek())?;
        visit.call(self.hub.peek())?;
        let visited = self.call.peek(&visit, |call| {
            visit.call(&call.func)?;
            visit.call(&call.args)?;
            visit.call(&call.kwargs)?;
            visit.call(&call.result)?;
            match &call.outcome {
                Some(Outcome::Value(value)) => visit.call(value),
                Some(Outcome::Error(context, error)) => {
                    visit.call(context)?;
                    visit.call(error)
                }
                None => Ok(()),
            }
        });
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.call.take(py));
    }
}
