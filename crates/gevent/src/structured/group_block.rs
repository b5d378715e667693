//! The parts of a task group that no signal may interrupt: the end of its block comes after those of all children, each of
//! which is cancelled once at most.
//!
//! The interpreter runs the handlers of signals between the instructions of Python's code, and they raise errors there,
//! such as `KeyboardInterrupt`. One that came before a block written in Python had begun to wait, or while the end of a
//! child was noted, would leave children behind, or a block that waits for ever. So this is not Python. The rest of a
//! group is (`gevent/_structured.py`), and each call of it may end with such an error.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString, PyTuple};

use crate::errors::{Cancelled, GreenletExit, InvalidThreadUseError};
use crate::greenlets::greenlet::Greenlet;
use crate::hub;
use crate::structured::interruption::{MOST_IN_A_ROW, ends_program};
use crate::structured::scope::CancelScope;
use crate::waiting::sleep::kill;
use crate::waiting::timeout::Timeout;

/// The base class of `TaskGroup`, whose attributes hold the state of the group: its scope, its children, their errors and
/// how far the block has come.
#[pyclass(frozen, subclass, name = "GroupBlock", module = "gevent._core")]
#[derive(Debug)]
pub struct GroupBlock {}

#[pymethods]
impl GroupBlock {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {}
    }

    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let py = slf.py();
        CancelScope::enter(&scope_of(slf)?)?;
        slf.setattr(pyo3::intern!(py, "_hub"), hub::current(py)?)?;
        Ok(slf.clone())
    }

    fn __exit__(
        slf: &Bound<'_, Self>,
        kind: &Bound<'_, PyAny>,
        error: Option<&Bound<'_, PyAny>>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let _ = (kind, tb);
        let scope = scope_of(slf)?;
        let wrong = CancelScope::close(&scope)?;
        let ended = end_block(slf, &scope, error, wrong);
        CancelScope::leave(&scope);
        forget(slf)?;
        ended
    }

    /// Cancel the children and the body: each gets `gevent.Cancelled`, once.
    ///
    /// That is no error: the block ends without one, unless a child or the body raises something else. Nothing happens
    /// when it was called before, or the block is over. A group that is cancelled before its block begins is cancelled
    /// as soon as that waits.
    ///
    /// :raises gevent.exceptions.InvalidThreadUseError: the group is another thread's.
    #[pyo3(name = "cancel")]
    fn py_cancel(slf: &Bound<'_, Self>) -> PyResult<()> {
        cancel(slf)
    }

    /// Cancel one child, unless it has been cancelled.
    fn _cancel_child(slf: &Bound<'_, Self>, child: &Bound<'_, PyAny>) -> PyResult<()> {
        cancel_child(slf, &children_of(slf)?, child)
    }
}

fn scope_of<'py>(group: &Bound<'py, PyAny>) -> PyResult<Bound<'py, CancelScope>> {
    let scope = group.getattr(pyo3::intern!(group.py(), "_scope"))?;
    Ok(scope.cast_into()?)
}

fn children_of<'py>(group: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let children = group.getattr(pyo3::intern!(group.py(), "_children"))?;
    Ok(children.cast_into()?)
}

fn is_true(group: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> PyResult<bool> {
    group.getattr(name)?.is_truthy()
}

fn object_of(py: Python<'_>, error: PyErr) -> Bound<'_, PyAny> {
    error.into_value(py).into_bound(py).into_any()
}

/// Cancels the children and the body, once.
fn cancel(group: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = group.py();
    let own = group.getattr(pyo3::intern!(py, "_hub"))?;
    if !own.is_none() && !own.is(hub::current(py)?) {
        return Err(InvalidThreadUseError::new_err(format!(
            "cannot cancel {} from another thread",
            group.repr()?
        )));
    }
    let name = pyo3::intern!(py, "_is_cancelling");
    if is_true(group, name)? || is_true(group, pyo3::intern!(py, "_is_over"))? {
        return Ok(());
    }
    group.setattr(name, true)?;
    if !is_true(group, pyo3::intern!(py, "_is_exiting"))? {
        CancelScope::cancel(&scope_of(group)?);
    }
    let children = children_of(group)?;
    for child in children.keys() {
        cancel_child(group, &children, &child)?;
    }
    Ok(())
}

fn cancel_child(
    group: &Bound<'_, PyAny>,
    children: &Bound<'_, PyDict>,
    child: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = group.py();
    // A second cancellation would interrupt the clean-up that the first one began.
    let is_due = children
        .get_item(child)?
        .is_some_and(|cancelled| cancelled.is(PyBool::new(py, false)));
    if !is_due {
        return Ok(());
    }
    children.set_item(child, true)?;
    // By a call of the class, as a `PyErr` would get the exception that is being handled here as its context.
    let error = py.get_type::<Cancelled>().call1((scope_of(group)?,))?;
    // A child that has not begun ends at once.
    kill(py, child, Some(error))
}

/// Counts an error as one of the group.
fn record(group: &Bound<'_, PyAny>, error: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = group.py();
    if !ends_program(error) {
        // A child may pass the error of another on, which counts once.
        let errors = group.getattr(pyo3::intern!(py, "_errors"))?;
        return errors.set_item(error.as_ptr() as usize, error);
    }
    let name = pyo3::intern!(py, "_program_end");
    if group.getattr(name)?.is_none() {
        group.setattr(name, error)?;
    }
    Ok(())
}

/// Takes note of the end of `child`, which is no child any more, in the greenlet that ends.
///
/// # Errors
/// Returns an error of the interpreter; the group's block ends all the same.
pub fn child_over(
    group: &Bound<'_, PyAny>,
    children: &Bound<'_, PyDict>,
    child: &Bound<'_, Greenlet>,
    error: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = group.py();
    let starting = group.getattr(pyo3::intern!(py, "_starting"))?;
    let starting = starting.cast::<PyDict>()?;
    let noted = match (starting.get_item(child)?, error) {
        (Some(status), _) => starting
            .del_item(child)
            .and_then(|()| start_ended(&status, error)),
        (None, Some(error)) => child_failed(group, child, error),
        (None, None) => Ok(()),
    };
    if children.is_empty() {
        let childless = group.getattr(pyo3::intern!(py, "_childless"))?;
        childless.call_method0(pyo3::intern!(py, "set"))?;
    }
    noted
}

/// Has `TaskGroup.start` go on, whose child ended without reporting that it is ready.
fn start_ended(status: &Bound<'_, PyAny>, error: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let py = status.py();
    status.setattr(pyo3::intern!(py, "_error"), error)?;
    // An error refers to the function's frame, which refers to the status.
    status.setattr(pyo3::intern!(py, "_child"), py.None())?;
    let changed = status.getattr(pyo3::intern!(py, "_changed"))?;
    changed.call_method0(pyo3::intern!(py, "set")).map(drop)
}

fn child_failed(
    group: &Bound<'_, PyAny>,
    child: &Bound<'_, Greenlet>,
    error: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = group.py();
    // The class of the error may refuse a note, and the repr() of the child's arguments may fail.
    let noted = child.repr().and_then(|child| {
        let note = format!("Raised in {child}");
        error.call_method1(pyo3::intern!(py, "add_note"), (note,))
    });
    record(group, error)?;
    if let Err(interruption) = noted
        && !interruption.is_instance_of::<PyException>(py)
    {
        record(group, &object_of(py, interruption))?;
    }
    cancel(group)
}

/// Waits for the children of a group whose body ended with `error`, and raises what ends the block; returns true if
/// `error` is the group's own cancellation. `wrong` is the error of a scope that the body left open.
fn end_block(
    group: &Bound<'_, GroupBlock>,
    scope: &Bound<'_, CancelScope>,
    error: Option<&Bound<'_, PyAny>>,
    wrong: Option<PyErr>,
) -> PyResult<bool> {
    let py = group.py();
    group.setattr(pyo3::intern!(py, "_is_exiting"), true)?;
    let (is_own, interrupted) = match error {
        Some(error) => CancelScope::catch(scope, error),
        None => (false, None),
    };
    let failure = error.filter(|_| !is_own);
    let mut leaving = interrupted;
    if let Some(failure) = failure {
        leaving = Some(failure.clone()).filter(|_| goes_on(scope, failure));
        if leaving.is_none() {
            record(group, failure)?;
        }
    }
    let leaving = wrong.map(|wrong| object_of(py, wrong)).or(leaving);
    let leaving = wait_for_children(group, leaving, failure.is_some())?;
    group.setattr(pyo3::intern!(py, "_is_over"), true)?;
    group.call_method1(pyo3::intern!(py, "_raise_outcome"), (error, leaving))?;
    Ok(is_own)
}

/// Returns true for an error of the body that ends the block as it is and is none of the group's.
fn goes_on(scope: &Bound<'_, CancelScope>, error: &Bound<'_, PyAny>) -> bool {
    !ends_program(error)
        && (error.is_instance_of::<GreenletExit>()
            || error.is_instance_of::<Timeout>()
            || CancelScope::came_from_outside(scope, error))
}

/// Waits until there are no children, and returns the exception to raise: `leaving`, unless another one came.
///
/// The children are cancelled if the body has failed or there is an exception to raise.
fn wait_for_children<'py>(
    group: &Bound<'py, GroupBlock>,
    mut leaving: Option<Bound<'py, PyAny>>,
    has_failed: bool,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = group.py();
    let children = children_of(group)?;
    let childless = group.getattr(pyo3::intern!(py, "_childless"))?;
    let mut in_a_row = 0;
    while !children.is_empty() {
        let before = progress(py);
        let cancels = has_failed || leaving.is_some();
        let Err(error) = wait_once(group, &children, &childless, cancels) else {
            continue;
        };
        in_a_row = if progress(py) == before {
            in_a_row + 1
        } else {
            0
        };
        let error = object_of(py, error);
        let name = pyo3::intern!(py, "_interrupted");
        match group.call_method1(name, (leaving.as_ref(), error)) {
            Ok(found) => {
                let (next, waits) = found.extract::<(Bound<'py, PyAny>, bool)>()?;
                leaving = Some(next);
                if !waits || in_a_row > MOST_IN_A_ROW {
                    break;
                }
            }
            Err(again) => leaving = Some(object_of(py, again)),
        }
    }
    Ok(leaving)
}

/// Returns a number that changes when a greenlet waits, if the thread's hub has a loop.
fn progress(py: Python<'_>) -> Option<u64> {
    let loop_ = hub::current_loop(py).ok()?;
    Some(loop_.get().progress())
}

fn wait_once(
    group: &Bound<'_, GroupBlock>,
    children: &Bound<'_, PyDict>,
    childless: &Bound<'_, PyAny>,
    cancels: bool,
) -> PyResult<()> {
    let py = group.py();
    if cancels {
        cancel(group)?;
    }
    childless.call_method0(pyo3::intern!(py, "clear"))?;
    if !children.is_empty() {
        childless.call_method1(pyo3::intern!(py, "_wait_as_part_of"), (group,))?;
    }
    Ok(())
}

/// Drops what the end of the block leaves behind.
fn forget(group: &Bound<'_, GroupBlock>) -> PyResult<()> {
    let py = group.py();
    group.setattr(pyo3::intern!(py, "_is_over"), true)?;
    group.setattr(pyo3::intern!(py, "_errors"), PyDict::new(py))?;
    group.setattr(pyo3::intern!(py, "_program_end"), py.None())
}
