//! Scopes of coroutines.
//!
//! The coroutines of a loop of asyncio take turns in one greenlet. Raising an exception there would end the loop, and not
//! the coroutine that waits. So a scope that is entered in a coroutine belongs to its task, and cancels that as
//! `asyncio.timeout` does: by `Task.cancel`, which is taken back by `Task.uncancel` at the end of the block. The number
//! of cancellations that were asked for before the block tells whether the `CancelledError` was its own.
//!
//! A coroutine may also call a function that blocks the greenlet, and its loop with it. Then the scope raises `Cancelled`
//! there, as in any greenlet.
//!
//! Only scopes of the same task are inside each other: those of other tasks come and go in between.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::ffi::greenlet;
use crate::waiting::asyncio_state;

/// The time after which the cancellation of a task that does not await yet is tried again, in seconds.
const RETRY: f64 = 0.01;

/// The task whose coroutine is in a scope.
#[derive(Debug)]
pub struct InTask {
    task: Py<PyAny>,
    loop_: Py<PyAny>,
    /// The number of its cancellations that had been asked for as the block began.
    cancellations: usize,
    /// True if the task runs in the greenlet that entered the scope. An eager task takes its first step in the greenlet
    /// that makes it.
    is_at_home: bool,
}

impl InTask {
    /// Returns the task that runs in the current greenlet, if there is one.
    ///
    /// # Errors
    /// Returns the error of asyncio's functions.
    #[inline]
    pub fn current(py: Python<'_>) -> PyResult<Option<Self>> {
        if asyncio_state::runs_a_loop(py) {
            Self::find(py)
        } else {
            Ok(None)
        }
    }

    #[cold]
    fn find(py: Python<'_>) -> PyResult<Option<Self>> {
        let Some((task, loop_)) = current_task(py)? else {
            return Ok(None);
        };
        // A task of another make may know no cancellations that are counted.
        let cancellations = task.call_method0(pyo3::intern!(py, "cancelling"));
        let Ok(cancellations) = cancellations.and_then(|count| count.extract()) else {
            return Ok(None);
        };
        let home = loop_.getattr_opt(pyo3::intern!(py, "_greenlet"))?;
        let is_at_home = match home {
            Some(home) => home.is(&greenlet::current(py)?),
            None => true,
        };
        Ok(Some(Self {
            task: task.unbind(),
            loop_: loop_.unbind(),
            cancellations,
            is_at_home,
        }))
    }

    /// Returns what the scopes of one task, and no others, have in common.
    pub fn identity(&self) -> usize {
        self.task.as_ptr() as usize
    }

    /// Returns the task.
    pub fn task<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.task.bind(py).clone()
    }

    /// Returns another task if that is the one that runs in the current greenlet.
    ///
    /// # Errors
    /// Returns the error of asyncio's functions.
    pub fn other_running<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if !asyncio_state::runs_a_loop(py) {
            return Ok(None);
        }
        let running = current_task(py)?.map(|(task, _)| task);
        Ok(running.filter(|task| !task.is(&self.task)))
    }

    /// Returns true if the coroutine is carried out, so that it must be waiting in a call that blocks its greenlet.
    pub fn is_carried_out(&self, py: Python<'_>) -> bool {
        let coroutine = self
            .task
            .bind(py)
            .call_method0(pyo3::intern!(py, "get_coro"));
        coroutine
            .and_then(|coroutine| coroutine.getattr(pyo3::intern!(py, "cr_running")))
            .and_then(|running| running.is_truthy())
            .unwrap_or(false)
    }

    /// Returns true if the coroutine is carried out in the greenlet that entered the scope.
    pub fn blocks_its_greenlet(&self, py: Python<'_>) -> bool {
        self.is_at_home && self.is_carried_out(py)
    }

    /// Has the loop call `function` soon, when no coroutine is carried out.
    pub fn call_soon(&self, function: &Bound<'_, PyAny>) {
        let name = pyo3::intern!(function.py(), "call_soon_threadsafe");
        // The loop refuses if it is closed; then the task will never go on.
        let _ = self
            .loop_
            .bind(function.py())
            .call_method1(name, (function,));
    }

    /// Has the loop call `function` a little later.
    ///
    /// # Errors
    /// Returns the error of the loop.
    pub fn call_later(&self, function: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = pyo3::intern!(function.py(), "call_later");
        let loop_ = self.loop_.bind(function.py());
        loop_.call_method1(name, (RETRY, function)).map(drop)
    }

    /// Cancels the task, which awaits; returns true if it will get the cancellation.
    ///
    /// # Errors
    /// Returns the error of a future that the task awaits.
    pub fn cancel(&self, py: Python<'_>, reason: &str) -> PyResult<bool> {
        let task = self.task.bind(py);
        task.call_method1(pyo3::intern!(py, "cancel"), (reason,))?
            .is_truthy()
    }

    /// Takes back a cancellation by [`cancel`](Self::cancel); returns true if there are none left but those from before
    /// the block.
    ///
    /// # Errors
    /// Returns the error of a task of another make.
    pub fn uncancel(&self, py: Python<'_>) -> PyResult<bool> {
        let task = self.task.bind(py);
        let left: usize = task
            .call_method0(pyo3::intern!(py, "uncancel"))?
            .extract()?;
        Ok(left <= self.cancellations)
    }

    /// Visits the objects that it refers to.
    ///
    /// # Errors
    /// Returns the error of the visitor.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.task)?;
        visit.call(&self.loop_)
    }
}

/// Returns the task that runs in the current greenlet, and its loop.
fn current_task(py: Python<'_>) -> PyResult<Option<(Bound<'_, PyAny>, Bound<'_, PyAny>)>> {
    let asyncio = py.import(pyo3::intern!(py, "asyncio"))?;
    let loop_ = asyncio.call_method0(pyo3::intern!(py, "_get_running_loop"))?;
    if loop_.is_none() {
        return Ok(None);
    }
    let task = asyncio.call_method1(pyo3::intern!(py, "current_task"), (&loop_,))?;
    Ok((!task.is_none()).then_some((task, loop_)))
}

/// Returns true if `exception` is the one that a cancelled task gets.
pub fn is_cancellation(exception: &Bound<'_, PyAny>) -> bool {
    let py = exception.py();
    let class = py
        .import(pyo3::intern!(py, "asyncio"))
        .and_then(|asyncio| asyncio.getattr(pyo3::intern!(py, "CancelledError")));
    class
        .and_then(|class| exception.is_instance(&class))
        .unwrap_or(false)
}
