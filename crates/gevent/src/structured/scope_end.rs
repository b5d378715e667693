//! The end of a scope's block: which exception goes on, and that nothing of the scope comes after it.

use pyo3::exceptions::PyTimeoutError;
use pyo3::prelude::*;

use crate::ffi::greenlet;
use crate::structured::in_task;
use crate::structured::interruption::{ends_program, find_interrupted, is_cancellation_of};
use crate::structured::scope::{CancelScope, Delivery, Stage, misuse};

impl CancelScope {
    /// Ends the body of the block in the running greenlet: from here on nothing is raised. Scopes inside it that are
    /// not left yet are left with it, and the error for that is returned.
    ///
    /// # Errors
    /// `RuntimeError` if the running greenlet may not leave the scope.
    pub fn close(slf: &Bound<'_, Self>) -> PyResult<Option<PyErr>> {
        let py = slf.py();
        let Some((nest, host)) = Self::inside(slf) else {
            return Err(misuse(slf, "is left, but no greenlet is in it"));
        };
        let task = Self::in_task(slf);
        let (leaving, host) = match &task {
            Some(task) => (task.other_running(py)?, task.task(py)),
            None => {
                let running = greenlet::current(py)?;
                (
                    Some(running).filter(|running| !running.is(&host)),
                    host.into_bound(py),
                )
            }
        };
        if let Some(leaving) = leaving {
            let text = format!(
                "is left by {}, but was entered by {}",
                leaving.repr()?,
                host.repr()?
            );
            return Err(misuse(slf, &text));
        }
        Self::disarm(slf);
        let has_cancelled_task = Self::read(slf, |state| {
            state.stage = Stage::Closing;
            state.delivery = Delivery::None;
            std::mem::take(&mut state.has_cancelled_task)
        });
        if let Some(task) = task.filter(|_| has_cancelled_task) {
            let is_last = task.uncancel(py)?;
            Self::read(slf, |state| state.owns_task_error = is_last);
        }
        let inner = nest.get().remove_inside(py, slf.as_unbound());
        let mut wrong = None;
        for scope in inner {
            let scope = scope.bind(py);
            if wrong.is_none() {
                let text = format!("is left before {}, entered inside it", scope.repr()?);
                wrong = Some(misuse(slf, &text));
            }
            Self::disarm(scope);
            Self::forget(scope);
        }
        Ok(wrong)
    }

    /// Drops the references to the greenlet, for good.
    fn forget(slf: &Bound<'_, Self>) {
        let dropped = Self::read(slf, |state| {
            state.stage = Stage::Left;
            state.delivery = Delivery::None;
            state.take_references()
        });
        drop(dropped);
    }

    /// Ends the block after its [`close`](Self::close).
    pub fn leave(slf: &Bound<'_, Self>) {
        let py = slf.py();
        let nest = Self::read(slf, |state| {
            state.nest.as_ref().map(|nest| nest.clone_ref(py))
        });
        if let Some(nest) = nest {
            nest.get().remove(py, slf.as_unbound());
        }
        Self::forget(slf);
    }

    /// Returns true if `exception` is its own cancellation, and then also the exception that the cancellation
    /// interrupted and that is to propagate.
    pub fn catch<'py>(
        slf: &Bound<'py, Self>,
        exception: &Bound<'py, PyAny>,
    ) -> (bool, Option<Bound<'py, PyAny>>) {
        let py = slf.py();
        let is_own = is_cancellation_of(exception, slf.as_any().as_unbound())
            || (Self::read(slf, |state| state.owns_task_error)
                && in_task::is_cancellation(exception));
        if !is_own {
            return (false, None);
        }
        let (nest, before) = Self::read(slf, |state| {
            state.is_caught = true;
            (
                state.nest.as_ref().map(|nest| nest.clone_ref(py)),
                state.before.as_ref().map(|before| before.clone_ref(py)),
            )
        });
        let interrupted =
            nest.and_then(|nest| find_interrupted(exception, nest.get(), before.as_ref()));
        (true, interrupted)
    }

    /// Returns true if `exception` was raised in the greenlet from outside: by a kill, a timeout or a scope; in a
    /// coroutine, by a cancellation of its task.
    pub fn came_from_outside(slf: &Bound<'_, Self>, exception: &Bound<'_, PyAny>) -> bool {
        let py = slf.py();
        if Self::in_task(slf).is_some() && in_task::is_cancellation(exception) {
            return true;
        }
        let nest = Self::read(slf, |state| {
            state.nest.as_ref().map(|nest| nest.clone_ref(py))
        });
        nest.is_some_and(|nest| nest.get().was_raised(py, exception))
    }

    /// Ends the block; returns true if `exception`, with which its body ended, is its own cancellation.
    ///
    /// # Errors
    /// `RuntimeError` for misuse, unless `exception` ends the program; `TimeoutError` for a scope of `fail_after`; the
    /// exception that the block, as a shield, held back, or that its cancellation interrupted.
    pub fn exit(slf: &Bound<'_, Self>, exception: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let py = slf.py();
        let wrong = Self::close(slf)?;
        let (own, interrupted) = match exception {
            Some(exception) => Self::catch(slf, exception),
            None => (false, None),
        };
        let inside = Self::inside(slf);
        let fails = Self::read(slf, |state| state.settings.fails && state.is_timed_out);
        let strand = slf.get().strand(py);
        Self::leave(slf);
        let goes_on = exception.is_some() && !own;
        let busy = goes_on || interrupted.is_some() || wrong.is_some();
        let held_back = match inside {
            Some((nest, host)) => {
                let held_back = nest.get().release(host.bind(py), strand, busy)?;
                if let Some(held_back) = &held_back {
                    nest.get().note_raised(py, held_back);
                }
                held_back
            }
            None => None,
        };
        // Ctrl-C may have come as a scope inside was entered, which then is never left.
        let is_ending = exception.is_some_and(ends_program);
        if let Some(wrong) = wrong.filter(|_| !is_ending) {
            return Err(wrong);
        }
        if let Some(next) = interrupted.or(held_back.map(|kill| kill.into_bound(py))) {
            return Err(PyErr::from_value(next));
        }
        match exception {
            Some(exception) if own && fails => {
                let error = PyTimeoutError::new_err(Self::limit_text(slf));
                error.set_cause(py, Some(PyErr::from_value(exception.clone())));
                Err(error)
            }
            _ => Ok(own),
        }
    }
}

impl CancelScope {
    fn limit_text(slf: &Bound<'_, Self>) -> String {
        match Self::read(slf, |state| state.settings.delay) {
            Some(delay) => format!("the block did not end within {} s", delay.as_secs_f64()),
            None => "the block did not end before its deadline".to_owned(),
        }
    }
}
