//! Greenlets that belong to a task group: the group, and not the hub, is notified of their ends.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::greenlets::greenlet::{Greenlet, not_callable};
use crate::greenlets::spawn_settings::all_inherit_context;
use crate::structured::{context, group_block};

/// A greenlet's place in a task group.
#[derive(Debug)]
pub struct Membership {
    group: Py<PyAny>,
    /// The children of the group that have not ended.
    children: Py<PyDict>,
    /// True if the group is to be notified of an end that is no error and leaves other children.
    notified: bool,
}

impl Membership {
    /// Returns the same place again.
    #[inline]
    pub fn clone_ref(&self, py: Python<'_>) -> Self {
        Self {
            group: self.group.clone_ref(py),
            children: self.children.clone_ref(py),
            notified: self.notified,
        }
    }

    /// Visits the objects that it refers to.
    ///
    /// # Errors
    /// Returns the error of the visitor.
    pub fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.group)?;
        visit.call(&self.children)
    }
}

/// Start a greenlet that runs ``function(*args, **kwargs)`` as a child of `group`, in a copy of the running context.
///
/// It is in the dictionary `children`, with the value False, until it ends. An end with an error, or of the last child
/// (of each child if `notified` is true), is noted in the group. The hub does not report the error.
#[pyfunction]
pub fn spawn_in_group<'py>(
    group: Bound<'py, PyAny>,
    children: Bound<'py, PyDict>,
    notified: bool,
    function: Bound<'py, PyAny>,
    args: Bound<'py, PyTuple>,
    kwargs: Bound<'py, PyDict>,
) -> PyResult<Bound<'py, Greenlet>> {
    let py = group.py();
    if function.is_none() {
        // `gevent.spawn(None)` makes a greenlet that does nothing; a child has to do something.
        return Err(not_callable());
    }
    let kwargs = Some(kwargs).filter(|kwargs| !kwargs.is_empty());
    let new = Greenlet::made(function, args, kwargs)?;
    if !all_inherit_context(py) {
        context::inherit(&new)?;
    }
    let membership = Membership {
        group: group.unbind(),
        children: children.clone().unbind(),
        notified,
    };
    drop(Greenlet::with(&new, |state| state.join_group(membership)));
    children.set_item(&new, false)?;
    if let Err(error) = Greenlet::start(&new) {
        children.del_item(&new)?;
        return Err(error);
    }
    Ok(new)
}

/// Return the task group that `greenlet` is or was a child of, or None.
#[pyfunction]
pub fn group_of(greenlet: &Bound<'_, PyAny>) -> Option<Py<PyAny>> {
    let membership = of_child(greenlet.cast::<Greenlet>().ok()?)?;
    Some(membership.group)
}

#[inline]
fn of_child(child: &Bound<'_, Greenlet>) -> Option<Membership> {
    let py = child.py();
    Greenlet::with(child, |state| state.membership(py))
}

/// Takes `child` out of its group, which is notified if that matters to it; returns false if it belongs to none, so that
/// the hub has to report an error.
pub fn end_in_group(child: &Bound<'_, Greenlet>, error: Option<&Bound<'_, PyAny>>) -> bool {
    let py = child.py();
    let Some(membership) = of_child(child) else {
        return false;
    };
    let (group, children) = (membership.group.bind(py), membership.children.bind(py));
    let ended = children.del_item(child).and_then(|()| {
        if error.is_none() && !membership.notified && !children.is_empty() {
            return Ok(());
        }
        group_block::child_over(group, children, child, error)
    });
    if let Err(failed) = ended {
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
        Some(membership) => {
            let group = membership.group.bind(py);
            let label = group.call_method0(pyo3::intern!(py, "_label"))?;
            Ok(format!(" in {label}"))
        }
        None => Ok(String::new()),
    }
}
