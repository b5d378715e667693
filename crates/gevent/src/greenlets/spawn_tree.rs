//! The tree of spawns: what a greenlet keeps of the place and the greenlet that made it.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyType};

use crate::event_loop::loop_::Loop;
use crate::ffi::frames::{self, Stack};
use crate::ffi::{attribute, greenlet};
use crate::greenlets::greenlet::Greenlet;

/// Returns the dictionary that greenlets spawned by the same greenlet share with it; none where the spawner is a main
/// greenlet, whose children each have their own.
///
/// # Errors
/// Returns the error that the spawner's attributes raise.
pub fn inherited_locals(spawner: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyDict>>> {
    let py = spawner.py();
    if let Ok(greenlet) = spawner.cast::<Greenlet>() {
        return Ok(Some(tree_locals(greenlet)));
    }
    if greenlet::is_main(spawner) {
        return Ok(None);
    }
    let name = pyo3::intern!(py, "spawn_tree_locals");
    match spawner.getattr_opt(name)? {
        Some(found) => Ok(found.cast_into::<PyDict>().ok().map(Bound::unbind)),
        None => {
            let new = PyDict::new(py);
            spawner.setattr(name, &new)?;
            Ok(Some(new.unbind()))
        }
    }
}

/// Returns the frames of the running greenlet, which spawns another one. `limits` is the new greenlet or its class, and
/// has the largest number of frames.
///
/// # Errors
/// Fails when `spawning_stack_limit` is no number.
pub fn spawning_stack(limits: &Bound<'_, PyAny>, loop_: &Loop) -> PyResult<Stack> {
    let py = limits.py();
    let limit = stack_limit(limits)?;
    Ok(loop_.capture_spawner(py, limit))
}

/// The version of `gevent.Greenlet` that [`LIMIT`] was read from, or 0.
static VERSION: AtomicU32 = AtomicU32::new(0);
/// The `spawning_stack_limit` of that version. It is kept because the lookup of a class attribute takes longer than
/// much of the rest of a spawn.
static LIMIT: AtomicUsize = AtomicUsize::new(0);

/// Returns the version of `limits` if that is `gevent.Greenlet` itself.
#[inline]
fn version_of(limits: &Bound<'_, PyAny>) -> Option<u32> {
    let class = limits.cast::<PyType>().ok()?;
    let is_ours = std::ptr::eq(class.as_type_ptr(), Greenlet::type_ptr(limits.py()));
    is_ours.then(|| attribute::version(class)).flatten()
}

#[inline]
fn stack_limit(limits: &Bound<'_, PyAny>) -> PyResult<usize> {
    match version_of(limits) {
        Some(version) if version == VERSION.load(Relaxed) => Ok(LIMIT.load(Relaxed)),
        _ => read_stack_limit(limits),
    }
}

#[inline(never)]
fn read_stack_limit(limits: &Bound<'_, PyAny>) -> PyResult<usize> {
    let found = limits.getattr(pyo3::intern!(limits.py(), "spawning_stack_limit"))?;
    let limit = found.extract()?;
    if let Some(version) = version_of(limits).filter(|_| found.is_exact_instance_of::<PyInt>()) {
        LIMIT.store(limit, Relaxed);
        VERSION.store(version, Relaxed);
    }
    Ok(limit)
}

/// Returns the greenlet's tree locals, which are made when first asked for.
pub fn tree_locals(slf: &Bound<'_, Greenlet>) -> Py<PyDict> {
    let py = slf.py();
    let found = Greenlet::with(slf, |state| state.tree_locals(py));
    found.unwrap_or_else(|| {
        let new = PyDict::new(py).unbind();
        let kept = new.clone_ref(py);
        drop(Greenlet::with(slf, |state| state.share_tree_locals(kept)));
        new
    })
}

/// One frame of the stack that spawned a greenlet, in the shape of a frame object.
#[pyclass(frozen, name = "_Frame", module = "gevent.greenlet")]
#[derive(Debug)]
pub struct SpawnFrame {
    #[pyo3(get)]
    f_code: Option<Py<PyAny>>,
    #[pyo3(get)]
    f_lineno: i32,
    #[pyo3(get)]
    f_back: Option<Py<SpawnFrame>>,
}

#[pymethods]
impl SpawnFrame {
    /// Always None: the globals of the frame are not kept alive.
    #[getter]
    fn f_globals(&self) -> Option<Py<PyAny>> {
        None
    }
}

/// Returns the innermost of the kept frames of the spawning stack.
///
/// # Errors
/// Fails when a frame object cannot be made.
pub fn stack(slf: &Bound<'_, Greenlet>) -> PyResult<Option<Py<SpawnFrame>>> {
    let py = slf.py();
    let kept: Vec<_> = Greenlet::with(slf, |state| {
        let kept = state.spawned_from().iter();
        kept.map(|frame| (frame.code.clone_ref(py), frame.lasti()))
            .collect()
    });
    let mut below = None;
    for (code, lasti) in kept.into_iter().rev() {
        let f_lineno = frames::line(&code, lasti, py);
        below = Some(Py::new(
            py,
            SpawnFrame {
                f_code: Some(code.into_any()),
                f_lineno,
                f_back: below,
            },
        )?);
    }
    Ok(below)
}
