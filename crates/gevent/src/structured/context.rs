//! Greenlets that begin with a copy of their spawner's context.
//!
//! A greenlet begins with an empty context unless its `gr_context` says otherwise, as in gevent. Children of a task group
//! always get a copy, other greenlets by the setting `inherit_context`.
//!
//! Greenlets that are spawned in a row mostly find the same values. They share one copy, in which nothing runs, and each
//! takes a copy of its own as it begins, which it gives up at its end if it changed nothing. So contexts are as many as
//! greenlets under way, and the collector, which runs the more often the more objects are made, has fewer to examine.

use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyWeakrefMethods, PyWeakrefReference};

use crate::cell::GilCell;
use crate::ffi::{context, current_context};
use crate::greenlets::greenlet::Greenlet;
use crate::greenlets::spawn_settings::{inherit_context, spawn_settings};

/// The copy that was made last, for others to share. The greenlets that are to begin with it, or have ended with the same
/// values, keep it alive, and nothing else, as the values may be large.
struct Shared {
    copy: Py<PyWeakrefReference>,
    contents: usize,
}

static SHARED: GilCell<Option<Shared>> = GilCell::in_static(None);

/// Returns the copy that was made last, if it lives and has these contents.
#[inline]
fn shared_copy(py: Python<'_>, contents: usize) -> Option<Bound<'_, PyAny>> {
    let copy = SHARED.with(py, |shared| {
        let shared = shared.as_ref()?;
        (shared.contents == contents).then(|| shared.copy.clone_ref(py))
    })?;
    copy.bind(py).upgrade()
}

/// Has `greenlet`, which has not begun, run in a copy of the running context as it is now.
///
/// # Errors
/// Returns `MemoryError`.
pub fn inherit(greenlet: &Bound<'_, Greenlet>) -> PyResult<()> {
    let py = greenlet.py();
    let Some(current) = current_context::get(py)? else {
        return Ok(());
    };
    let contents = context::contents(&current);
    let copy = match shared_copy(py, contents) {
        Some(copy) => copy,
        None => copy_to_share(&current, contents)?,
    };
    let copy = Some(copy.unbind());
    drop(Greenlet::with(greenlet, |state| state.share_context(copy)));
    Ok(())
}

/// Returns a copy of `current` that others find by its contents, if these are known.
fn copy_to_share<'py>(current: &Bound<'py, PyAny>, contents: usize) -> PyResult<Bound<'py, PyAny>> {
    let py = current.py();
    let copy = context::copy(current)?;
    if contents != 0 {
        let new = Shared {
            copy: PyWeakrefReference::new(&copy)?.unbind(),
            contents,
        };
        drop(SHARED.with(py, |shared| shared.replace(new)));
    }
    Ok(copy)
}

/// Has the running greenlet, which begins, run in a copy of `shared`.
///
/// # Errors
/// Returns `MemoryError`.
#[inline]
pub fn begin(py: Python<'_>, shared: Py<PyAny>) -> PyResult<()> {
    let shared = shared.into_bound(py);
    current_context::set(py, Some(context::copy(&shared)?))
}

/// Has `greenlet`, which runs and ends, give up its own context, if a shared one has the same contents and nobody else
/// has seen its own.
pub fn end(greenlet: &Bound<'_, Greenlet>) {
    let py = greenlet.py();
    let Ok(Some(own)) = current_context::get(py) else {
        return;
    };
    if !context::is_unseen(&own) {
        return;
    }
    if let Some(shared) = shared_copy(py, context::contents(&own))
        && current_context::set(py, None).is_ok()
    {
        let shared = Some(shared.unbind());
        drop(Greenlet::with(greenlet, |state| {
            state.share_context(shared)
        }));
    }
}

/// Returns the context of `greenlet`; `None` stands for an empty one.
///
/// # Errors
/// Returns `MemoryError`, and greenlet's `ValueError` for a greenlet that runs in another thread.
pub fn of<'py>(greenlet: &Bound<'py, Greenlet>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = greenlet.py();
    if let Some(shared) = Greenlet::with(greenlet, |state| state.share_context(None)) {
        context::give(greenlet.as_any(), &context::copy(shared.bind(py))?)?;
    }
    context::of(greenlet.as_any())
}

/// Sets the context of `greenlet`.
///
/// # Errors
/// Returns greenlet's `TypeError` for anything but a context or None, and its `ValueError` for a greenlet that runs in
/// another thread.
pub fn give(greenlet: &Bound<'_, Greenlet>, context: &Bound<'_, PyAny>) -> PyResult<()> {
    context::give(greenlet.as_any(), context)?;
    drop(Greenlet::with(greenlet, |state| state.share_context(None)));
    Ok(())
}

/// Gives `greenlet`, which has not begun and is none of our class, a copy of the running context.
///
/// # Errors
/// Returns `MemoryError`.
pub fn inherit_at_once(greenlet: &Bound<'_, PyAny>) -> PyResult<()> {
    match current_context::get(greenlet.py())? {
        Some(current) => context::give(greenlet, &context::copy(&current)?),
        None => Ok(()),
    }
}

/// Returns a call that a native thread is to make: with the setting on, it calls the same function in a copy of the
/// running context.
///
/// # Errors
/// The error of reading the setting, and `MemoryError`.
pub fn inherited_call(
    py: Python<'_>,
    function: Py<PyAny>,
    args: Py<PyTuple>,
) -> PyResult<(Py<PyAny>, Py<PyTuple>)> {
    if !spawn_settings(py)?.1 {
        return Ok((function, args));
    }
    let run = context::copy_current(py)?.getattr(pyo3::intern!(py, "run"))?;
    let mut all = vec![function.into_bound(py)];
    all.extend(args.bind(py).iter());
    Ok((run.unbind(), PyTuple::new(py, all)?.unbind()))
}

/// Set whether spawned greenlets begin with a copy of their spawner's context.
#[pyfunction]
pub fn set_inherit_context(py: Python<'_>, value: bool) {
    inherit_context(py, value);
}
