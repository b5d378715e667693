//! Where a queue keeps its items, and in which order it gives them out.

use std::collections::VecDeque;

use pyo3::PyTraverseError;
use pyo3::exceptions::PyTypeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyType};

use crate::queues::heap;

/// Which item a queue gives out next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The oldest.
    Fifo,
    /// The newest.
    Lifo,
    /// The least.
    Priority,
}

/// The items. They stay native until somebody asks for the `queue` attribute, which is a Python container from then on.
pub enum Items {
    /// Of a FIFO queue that nobody looked into.
    Native(VecDeque<Py<PyAny>>),
    /// A `collections.deque`, a list, or what a subclass uses.
    Python(Py<PyAny>),
}

impl Default for Items {
    fn default() -> Self {
        Self::Native(VecDeque::new())
    }
}

impl Items {
    /// Visits what it owns.
    ///
    /// # Errors
    /// What the visitor returns.
    pub fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Native(items) => items.iter().try_for_each(|item| visit.call(item)),
            Self::Python(container) => visit.call(container),
        }
    }
}

fn deque_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static DEQUE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    DEQUE.import(py, "collections", "deque")
}

/// Returns the Python container of a queue of this kind, filled with `items`.
///
/// # Errors
/// `TypeError` when `items` cannot be iterated over; what comparing them raises.
pub fn container<'py>(kind: Kind, items: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = items.py();
    if kind == Kind::Fifo {
        return deque_type(py)?.call1((items,));
    }
    let list = py.get_type::<PyList>().call1((items,))?;
    if kind == Kind::Priority && list.len()? > 1 {
        py.import("heapq")?.call_method1("heapify", (&list,))?;
    }
    Ok(list)
}

/// Puts an item into a container. `changes` is a number that is another one after any change of the container.
///
/// # Errors
/// What the container raises, or comparing items; the container is as it was then.
#[inline]
pub fn push(
    kind: Kind,
    container: &Bound<'_, PyAny>,
    item: Bound<'_, PyAny>,
    changes: impl Fn() -> u64,
) -> PyResult<()> {
    match (kind, container.cast_exact::<PyList>()) {
        (Kind::Priority, _) => heap::push(heap(container)?, item, changes),
        (_, Ok(list)) => list.append(item),
        _ => container
            .call_method1(pyo3::intern!(container.py(), "append"), (item,))
            .map(drop),
    }
}

/// Takes the next item out of a container. `changes` is as for [`push`].
///
/// # Errors
/// `IndexError` from an empty one; what the container raises, or comparing items: it is as it was then.
#[inline]
pub fn pop<'py>(
    kind: Kind,
    container: &Bound<'py, PyAny>,
    changes: impl Fn() -> u64,
) -> PyResult<Bound<'py, PyAny>> {
    let py = container.py();
    match kind {
        Kind::Fifo => container.call_method0(pyo3::intern!(py, "popleft")),
        Kind::Lifo => container.call_method0(pyo3::intern!(py, "pop")),
        Kind::Priority => heap::pop(heap(container)?, changes),
    }
}

/// Returns the next item of a container, left in it.
///
/// # Errors
/// `IndexError` from an empty one; what the container raises.
pub fn peek<'py>(kind: Kind, container: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    container.get_item(if kind == Kind::Lifo { -1 } else { 0 })
}

fn heap<'a, 'py>(container: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyList>> {
    container
        .cast()
        .map_err(|_| PyTypeError::new_err("heap argument must be a list"))
}
