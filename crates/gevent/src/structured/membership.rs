//! Greenlets that belong to a task group: the group, and not the hub, is notified of their ends.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::greenlets::greenlet::Greenlet;
use crate::greenlets::spawn_settings::all_inherit_context;
use crate::structured::context;

/// Start a greenlet that runs ``function(*args, **kwargs)`` as a child of `group`, in a copy of the running context.
///
/// Its end calls `group._child_over(child, error)`, with None for no error, in place of the hub's report of an error.
#[pyfunction]
pub fn spawn_in_group<'py>(
    group: Bound<'py, PyAny>,
    function: Bound<'py, PyAny>,
    args: Bound<'py, PyTuple>,
    kwargs: Bound<'py, PyDict>,
) -> PyResult<Bound<'py, Greenlet>> {
    let py = group.py();
    let new = Bound::new(py, Greenlet::blank())?;
    let kwargs = Some(kwargs).filter(|kwargs| !kwargs.is_empty());
    Greenlet::init(&new, Some(function), args, kwargs)?;
    if !all_inherit_context(py) {
        context::inherit(&new)?;
    }
    drop(Greenlet::with(&new, |state| {
        state.join_group(group.unbind())
    }));
    Greenlet::start(&new)?;
    Ok(new)
}

/// Return the task group that `greenlet` is or was a child of, or None.
#[pyfunction]
pub fn group_of(greenlet: &Bound<'_, PyAny>) -> Option<Py<PyAny>> {
    greenlet.cast::<Greenlet>().ok().and_then(of_child)
}

#[inline]
fn of_child(child: &Bound<'_, Greenlet>) -> Option<Py<PyAny>> {
    let py = child.py();
    Greenlet::with(child, |state| state.group(py))
}

/// Notifies the group of `child` of its end; returns false if it belongs to none, so that the hub has to report an
/// error.
pub fn end_in_group(child: &Bound<'_, Greenlet>, error: Option<&Bound<'_, PyAny>>) -> bool {
    let py = child.py();
    let Some(group) = of_child(child) else {
        return false;
    };
    let name = pyo3::intern!(py, "_child_over");
    if let Err(failed) = group.bind(py).call_method1(name, (child, error)) {
        failed.write_unraisable(py, Some(child.as_any()));
    }
    true
}

/// Returns the words of `repr` for the group of a greenlet, empty if it belongs to none.
///
/// # Errors
/// Returns the error that the group's `_label` raises.
pub fn describe_group(child: &Bound<'_, Greenlet>) -> PyResult<String> {
    let py = child.py();
    match of_child(child) {
        Some(group) => Ok(format!(
            " in {}",
            group.bind(py).call_method0(pyo3::intern!(py, "_label"))?
        )),
        None => Ok(String::new()),
    }
}
