//! The cancel scopes that one greenlet is inside of, and the exceptions that their shields hold back.
//!
//! A `gevent.Greenlet` has its nest in its state; any other greenlet, such as a thread's main one, has it among its
//! attributes. So the nest lives as long as the greenlet, and the garbage collector can traverse it.

use std::collections::VecDeque;

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::cell::GilCell;
use crate::event_loop::ready::Task;
use crate::ffi::base::PyGreenlet;
use crate::greenlets::greenlet::Greenlet;
use crate::hub;
use crate::structured::scope::CancelScope;

/// The name of the attribute of a greenlet that is not a `gevent.Greenlet`.
const ATTRIBUTE: &str = "_gevent_scopes";

#[derive(Default)]
struct Inner {
    /// The scopes, the outermost first.
    scopes: Vec<Py<CancelScope>>,
    /// Kills that a shield holds back, in the order in which they came.
    kills: VecDeque<Py<PyAny>>,
    /// The exception that was last raised in the greenlet from outside: by a kill, a timeout or a scope.
    raised: Option<Py<PyAny>>,
}

/// The cancel scopes that a greenlet is inside of.
#[pyclass(frozen, name = "Nest", module = "gevent._core")]
#[derive(Debug)]
pub struct Nest {
    inner: GilCell<Inner>,
}

impl Nest {
    /// Returns the nest of `greenlet`; none if it never entered a scope.
    pub fn of(greenlet: &Bound<'_, PyAny>) -> Option<Py<Self>> {
        let py = greenlet.py();
        if let Ok(ours) = greenlet.cast::<Greenlet>() {
            return Greenlet::with(ours, |state| state.nest(py));
        }
        let attributes = greenlet.getattr(pyo3::intern!(py, "__dict__")).ok()?;
        let found = attributes.cast::<PyDict>().ok()?.get_item(ATTRIBUTE).ok()?;
        found?.cast_into::<Self>().ok().map(Bound::unbind)
    }

    /// Returns the nest of `greenlet`, which is made if there is none.
    ///
    /// # Errors
    /// `MemoryError`, and the error that setting an attribute of the greenlet raises.
    pub fn make(greenlet: &Bound<'_, PyAny>) -> PyResult<Py<Self>> {
        if let Some(nest) = Self::of(greenlet) {
            return Ok(nest);
        }
        let py = greenlet.py();
        let inner = GilCell::new(Inner::default());
        let new = Py::new(py, Self { inner })?;
        let kept = new.clone_ref(py);
        match greenlet.cast::<Greenlet>() {
            Ok(ours) => drop(Greenlet::with(ours, |state| state.enter_nest(kept))),
            Err(_) => greenlet.setattr(ATTRIBUTE, kept)?,
        }
        Ok(new)
    }

    /// Adds the innermost scope.
    pub fn push(&self, py: Python<'_>, scope: Py<CancelScope>) {
        self.inner.with(py, |inner| inner.scopes.push(scope));
    }

    /// Takes out the scopes inside `scope`; returns them, the outermost first.
    pub fn remove_inside(&self, py: Python<'_>, scope: &Py<CancelScope>) -> Vec<Py<CancelScope>> {
        let strand = scope.get().strand(py);
        self.inner.with(py, |inner| {
            let Some(at) = inner.scopes.iter().position(|other| other.is(scope)) else {
                return Vec::new();
            };
            let inside = inner.scopes.split_off(at + 1);
            let (removed, others) = inside
                .into_iter()
                .partition(|other| other.get().strand(py) == strand);
            inner.scopes.extend::<Vec<_>>(others);
            removed
        })
    }

    /// Takes out `scope`.
    pub fn remove(&self, py: Python<'_>, scope: &Py<CancelScope>) {
        let removed = self.inner.with(py, |inner| {
            // It is the last one, unless those of other tasks are behind it.
            let at = inner.scopes.iter().rposition(|other| other.is(scope));
            let removed = at.map(|at| inner.scopes.remove(at));
            let raised = if inner.scopes.is_empty() {
                inner.raised.take()
            } else {
                None
            };
            (removed, raised)
        });
        drop(removed);
    }

    /// Returns new references to the scopes, the outermost first.
    pub fn scopes(&self, py: Python<'_>) -> Vec<Py<CancelScope>> {
        self.inner.with(py, |inner| {
            inner
                .scopes
                .iter()
                .map(|scope| scope.clone_ref(py))
                .collect()
        })
    }

    /// Returns the scopes that hold back kills, the outermost first.
    pub fn shields(&self, py: Python<'_>) -> Vec<Py<CancelScope>> {
        let mut scopes = self.scopes(py);
        scopes.retain(|scope| scope.get().is_shield(py));
        scopes
    }

    /// Returns true if a shield is on: kills are held back.
    pub fn is_shielded(&self, py: Python<'_>) -> bool {
        self.inner.with(py, |inner| {
            inner.scopes.iter().any(|scope| scope.get().is_shield(py))
        })
    }

    /// Returns true if a shield inside `scope` is on: the cancellation of the scope is held back. All tasks of a loop of
    /// asyncio are inside of the scopes around the loop.
    pub fn is_shielded_from(&self, py: Python<'_>, scope: &Py<CancelScope>) -> bool {
        let strand = scope.get().strand(py);
        self.inner.with(py, |inner| {
            let behind = inner.scopes.iter().rev();
            let mut behind = behind.take_while(|other| !other.is(scope));
            behind.any(|other| {
                let is_inside = strand == 0 || other.get().strand(py) == strand;
                is_inside && other.get().is_shield(py)
            })
        })
    }

    /// Returns true if the greenlet is inside `scope`.
    pub fn contains(&self, py: Python<'_>, scope: &Py<PyAny>) -> bool {
        self.inner
            .with(py, |inner| inner.scopes.iter().any(|other| other.is(scope)))
    }

    /// Keeps a kill until the shield ends; gives the error back where there is no shield.
    ///
    /// # Errors
    /// The error of the kill, untouched.
    pub fn hold_back(&self, py: Python<'_>, error: PyErr) -> Result<(), PyErr> {
        if !self.is_shielded(py) {
            return Err(error);
        }
        let exception = error.into_value(py).into_any();
        self.inner
            .with(py, |inner| inner.kills.push_back(exception));
        Ok(())
    }

    /// Takes out the exceptions that the shields no longer hold back. Returns one of them, to be raised now at the end of
    /// a block of `strand`; the others are queued, to be raised when the greenlet waits. With `queue_all`, all of them
    /// are queued.
    ///
    /// # Errors
    /// Fails when the exception of a cancellation cannot be made.
    pub fn release(
        &self,
        greenlet: &Bound<'_, PyAny>,
        strand: usize,
        queue_all: bool,
    ) -> PyResult<Option<Py<PyAny>>> {
        let py = greenlet.py();
        let mut now = None;
        if !self.is_shielded(py) {
            let kills = self
                .inner
                .with(py, |inner| std::mem::take(&mut inner.kills));
            for kill in kills {
                // A kill is meant for the greenlet, and not for a coroutine that its loop carries out.
                if now.is_none() && !queue_all && strand == 0 {
                    now = Some(kill);
                    continue;
                }
                let error = PyErr::from_value(kill.into_bound(py));
                let task = Task::Throw(Box::new((greenlet.clone().unbind(), error)));
                hub::current_loop(py)?.get().push(py, task);
            }
        }
        for scope in self.scopes(py) {
            if !scope.get().is_held_back(py) || self.is_shielded_from(py, &scope) {
                continue;
            }
            if now.is_none() && !queue_all && scope.get().strand(py) == strand {
                now = Some(CancelScope::raise_now(scope.bind(py))?);
            } else {
                CancelScope::queue_again(scope.bind(py));
            }
        }
        Ok(now)
    }

    /// Notes the exception that is about to be raised in the greenlet from outside.
    pub fn note_raised(&self, py: Python<'_>, exception: &Py<PyAny>) {
        let noted = exception.clone_ref(py);
        let old = self.inner.with(py, |inner| {
            if inner.scopes.is_empty() {
                return Some(noted);
            }
            inner.raised.replace(noted)
        });
        drop(old);
    }

    /// Returns true if `exception` is the last one that was raised in the greenlet from outside.
    pub fn was_raised(&self, py: Python<'_>, exception: &Bound<'_, PyAny>) -> bool {
        self.inner.with(py, |inner| {
            inner
                .raised
                .as_ref()
                .is_some_and(|raised| raised.is(exception))
        })
    }
}

#[pymethods]
impl Nest {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.inner.peek(&visit, |inner| {
            for scope in &inner.scopes {
                visit.call(scope)?;
            }
            for kill in &inner.kills {
                visit.call(kill)?;
            }
            visit.call(&inner.raised)
        });
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.inner.take(py));
    }
}

/// Keeps the error of a kill for the end of the shield that `target` is inside of; gives the error back where there is
/// no shield.
///
/// # Errors
/// The error, untouched.
pub fn hold_back(target: &Bound<'_, PyAny>, error: PyErr) -> Result<(), PyErr> {
    match Nest::of(target) {
        Some(nest) => nest.get().hold_back(target.py(), error),
        None => Err(error),
    }
}

/// Notes the error that is about to be raised in `target` from outside, if `target` is inside of a scope.
pub fn note_raised(target: &Bound<'_, PyAny>, error: &PyErr) {
    if let Some(nest) = Nest::of(target) {
        let exception = error.value(target.py()).clone().into_any().unbind();
        nest.get().note_raised(target.py(), &exception);
    }
}

/// Return the cancel scopes that `greenlet` is inside of, the outermost first.
#[pyfunction]
pub fn scopes_of(greenlet: &Bound<'_, PyGreenlet>) -> Vec<Py<CancelScope>> {
    let nest = Nest::of(greenlet.as_any());
    nest.map_or_else(Vec::new, |nest| nest.get().scopes(greenlet.py()))
}
