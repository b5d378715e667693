//! The end of a greenlet: waiting for it, reading its result, notifying the listeners, and killing the greenlet.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTraceback, PyTuple, PyType};

use crate::event_loop::loop_::Loop;
use crate::event_loop::ready::Task;
use crate::event_loop::runs;
use crate::ffi::base::PyGreenlet;
use crate::ffi::frames::{FrameRef, Stack};
use crate::ffi::greenlet;
use crate::greenlets::greenlet::Greenlet;
use crate::greenlets::spawned_link::{LinkKind, SpawnedLink};
use crate::greenlets::state::Ended;
use crate::hub;
use crate::registered::{LINK, SPAWN_LINKED};
use crate::waiting::deadline::Deadline;
use crate::waiting::links::Link;
use crate::waiting::reason::{Reason, WaitKind};
use crate::waiting::waiter::error_of;

impl Greenlet {
    /// Returns the loop that it is scheduled in.
    pub fn own_loop(slf: &Bound<'_, Self>) -> Option<Py<Loop>> {
        Self::with(slf, |state| state.own_loop(slf.py()))
    }

    /// Notes, where runs are measured, the end of the last run of this greenlet, whose `function` has returned.
    #[inline]
    pub fn end_last_run(slf: &Bound<'_, Self>, function: &Bound<'_, PyAny>) {
        if runs::any_measured() {
            Self::end_measured_run(slf, function);
        }
    }

    #[cold]
    #[inline(never)]
    fn end_measured_run(slf: &Bound<'_, Self>, function: &Bound<'_, PyAny>) {
        let py = slf.py();
        let Some(loop_) = Self::own_loop(slf) else {
            return;
        };
        let place = || FrameRef::of_function(function).map(|frame| Stack::from([frame]));
        loop_.get().end_last_run(py, place);
    }

    /// Ends a greenlet that has not begun.
    pub fn die_before_start(slf: &Bound<'_, Self>, error: PyErr) {
        if !Self::with(slf, |state| state.has_ended()) {
            Self::fail(slf, error);
        }
    }

    /// Parks the running greenlet until this one is over; returns false when the deadline passed first.
    ///
    /// # Errors
    /// Returns the error that is thrown into the running greenlet meanwhile.
    pub fn wait_over(slf: &Bound<'_, Self>, deadline: &mut Deadline) -> PyResult<bool> {
        if Self::is_ready(slf) {
            return Ok(true);
        }
        let py = slf.py();
        let wait = hub::new_wait_for(py, Reason::on(WaitKind::Join, slf))?;
        let ticket = Self::with(slf, |state| state.add_link(py, Link::Wait(wait.clone())));
        let resumed = deadline.park(py, &wait);
        let left = Self::with(slf, |state| state.remove_link(ticket));
        drop(left);
        Ok(resumed?.is_some())
    }

    /// Returns the value that it returned or the error that it raised; none until it is over.
    pub fn result(slf: &Bound<'_, Self>) -> Option<PyResult<Py<PyAny>>> {
        let py = slf.py();
        match Self::with(slf, |state| state.end_of(py))? {
            Ended::Value(value) => Some(Ok(value)),
            Ended::Error(value, traceback) => {
                let error = PyErr::from_value(value.into_bound(py));
                let traceback = traceback
                    .and_then(|traceback| traceback.into_bound(py).cast_into::<PyTraceback>().ok());
                error.set_traceback(py, traceback);
                Some(Err(error))
            }
        }
    }

    /// Adds a listener that is notified when it is over.
    pub fn add_link(slf: &Bound<'_, Self>, link: Link) {
        Self::with(slf, |state| state.add_link(slf.py(), link));
        if Self::is_ready(slf) {
            Self::schedule_links(slf);
        }
    }

    /// Adds a link of `class`, or of the class that `kind` names. Without a callback, or with a greenlet in its place,
    /// it adds a link with the meaning of gevent 0.13.
    ///
    /// # Errors
    /// `TypeError` for what cannot be called; the error that the link raises because this greenlet is over.
    pub fn link_as(
        slf: &Bound<'_, Self>,
        callback: Option<Bound<'_, PyAny>>,
        class: Option<Bound<'_, PyAny>>,
        kind: LinkKind,
    ) -> PyResult<()> {
        let py = slf.py();
        let callback = match callback {
            Some(given) if given.is_callable() || !given.is_instance_of::<PyGreenlet>() => {
                given.unbind()
            }
            receiver => {
                return LINK
                    .get(py)?
                    .call1((slf, receiver, kind.method()))
                    .map(drop);
            }
        };
        let link = match class {
            Some(class) => class.call1((callback,))?.unbind(),
            None => SpawnedLink::make(py, callback, kind)?,
        };
        Self::add_link(slf, Link::Callable(link));
        Ok(())
    }

    /// Does the part of `kill` that does not wait; returns true if the error is now the last thing in this thread's
    /// ready queue.
    ///
    /// # Errors
    /// `TypeError` for something that is no exception.
    pub fn kill_soon(slf: &Bound<'_, Self>, exception: Option<Bound<'_, PyAny>>) -> PyResult<bool> {
        let py = slf.py();
        if Self::with(slf, |state| state.has_ended()) {
            return Ok(false);
        }
        let error = match exception {
            // An argument that is no exception is refused in the greenlet, which gets the `TypeError` about it.
            Some(exception) => {
                error_of(&PyTuple::new(py, [exception])?).unwrap_or_else(|error| error)
            }
            None => exit_error(py),
        };
        let cancelled = Self::cancel_start(slf);
        if !cancelled && Self::is_ready(slf) {
            return Ok(false);
        }
        if cancelled {
            Self::die_before_start(slf, error);
            return Ok(false);
        }
        let Some(loop_) = Self::own_loop(slf) else {
            return Ok(false);
        };
        let target = slf.clone().into_any().unbind();
        loop_.get().push(py, Task::Throw(Box::new((target, error))));
        Ok(loop_.get().is_mine())
    }
}

/// Makes a greenlet of `class` and links it to the current one.
///
/// # Errors
/// Returns the error that making it raises.
pub fn spawn_linked<'py>(
    class: &Bound<'py, PyType>,
    kind: LinkKind,
    args: Bound<'py, PyTuple>,
    kwargs: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    SPAWN_LINKED
        .get(class.py())?
        .call1((class, kind.method(), args, kwargs))
}

/// Makes a fresh `GreenletExit`.
pub fn exit_error(py: Python<'_>) -> PyErr {
    PyErr::from_type(
        greenlet::exit_type(py)
            .cast_into::<PyType>()
            .unwrap_or_else(|_| py.get_type::<PyBaseException>()),
        (),
    )
}
