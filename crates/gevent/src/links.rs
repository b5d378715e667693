//! Who is to be told when something becomes ready: parked greenlets and callables, in order of arrival.

use std::collections::VecDeque;

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::wait::{Wait, WaitRef};

/// One listener.
pub enum Link {
    /// A parked greenlet.
    Wait(WaitRef),
    /// A function to be called in the hub.
    Callable(Py<PyAny>),
}

/// Listeners in order. Valid when zeroed, as objects built on foreign types need.
#[derive(Default)]
pub struct Links(Option<Box<VecDeque<Link>>>);

impl Links {
    /// No listener.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Appends a listener.
    pub fn push(&mut self, link: Link) {
        self.0.get_or_insert_default().push_back(link);
    }

    /// Takes the first listener out.
    pub fn pop(&mut self) -> Option<Link> {
        let list = self.0.as_mut()?;
        let first = list.pop_front();
        if list.is_empty() {
            self.0 = None;
        }
        first
    }

    /// Takes all listeners out, for the caller to drop outside the cell.
    pub fn take(&mut self) -> Links {
        std::mem::take(self)
    }

    /// Whether nobody listens.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|list| list.is_empty())
    }

    /// Whether a callable is among them.
    pub fn has_callable(&self) -> bool {
        self.0.as_ref().is_some_and(|list| list.iter().any(|link| matches!(link, Link::Callable(_))))
    }

    /// Removes a parked greenlet's wait. The returned link is to be dropped outside the cell.
    pub fn remove_wait(&mut self, wait: &WaitRef) -> Option<Link> {
        let list = self.0.as_mut()?;
        let at = list.iter().position(|link| matches!(link, Link::Wait(other) if same(other, wait)))?;
        let removed = list.remove(at);
        if list.is_empty() {
            self.0 = None;
        }
        removed
    }

    /// The callables, as new references, for comparing them outside the cell.
    pub fn callables(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.iter()
            .filter_map(|link| match link {
                Link::Callable(callable) => Some(callable.clone_ref(py)),
                Link::Wait(_) => None,
            })
            .collect()
    }

    /// Removes the first listener that is this very callable. The returned link is to be dropped outside the cell.
    pub fn remove_callable(&mut self, callable: &Py<PyAny>) -> Option<Link> {
        let list = self.0.as_mut()?;
        let at = list.iter().position(|link| matches!(link, Link::Callable(other) if other.is(callable)))?;
        let removed = list.remove(at);
        if list.is_empty() {
            self.0 = None;
        }
        removed
    }

    fn iter(&self) -> impl Iterator<Item = &Link> {
        self.0.iter().flat_map(|list| list.iter())
    }

    /// Visits what it owns alone. A wait is shared with others who will wake it, and its one reference must not be visited
    /// more than once.
    ///
    /// # Errors
    /// What the visitor returns.
    pub fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.iter().try_for_each(|link| match link {
            // Shared: what waits is reached from its own stack, and must not be counted once for each list it is in.
            Link::Wait(_) => Ok(()),
            Link::Callable(callable) => visit.call(callable),
        })
    }
}

fn same(one: &WaitRef, other: &WaitRef) -> bool {
    std::ptr::eq::<Wait>(&**one, &**other)
}
