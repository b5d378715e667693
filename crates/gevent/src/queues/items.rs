//! The containers of a queue's items, and the order in which they give items out.

use std::collections::VecDeque;

use pyo3::PyTraverseError;
use pyo3::exceptions::PyTypeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyType};

use crate::queues::heap;

/// The order of a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The oldest item comes out first.
    Fifo,
    /// The newest item comes out first.
    Lifo,
    /// The least item comes out first.
    Priority,
}

/// The items of a queue. Those of a FIFO queue stay native until a program reads the attribute `queue`, which is a Python
/// container: from then on they are in that.
#[derive(Debug)]
pub enum Items {
    /// The items of a FIFO queue whose attribute `queue` nothing has read.
    Native(VecDeque<Py<PyAny>>),
    /// A `collections.deque`, a list, or a container of a subclass's own.
    Python(Py<PyAny>),
}

impl Default for Items {
    fn default() -> Self {
        Self::Native(VecDeque::new())
    }
}

impl Items {
    /// Visits the objects that it owns, for the garbage collector.
    ///
    /// # Errors
    /// Returns the error that the visitor returns.
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

/// Makes the Python container of a queue of this kind, with `items` in it.
///
/// # Errors
/// Returns `TypeError` when `items` cannot be iterated over, and the error that comparing them raises.
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

/// Puts an item into a container. `changes` returns a number that every change of the container changes.
///
/// # Errors
/// Returns the error that the container or a comparison of items raises; the container is then unchanged.
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
/// Returns `IndexError` for an empty container, and the error that the container or a comparison of items raises; it is
/// then unchanged.
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

/// Returns the next item of a container, and leaves it there.
///
/// # Errors
/// Returns `IndexError` for an empty container, and the error that the container raises.
pub fn peek<'py>(kind: Kind, container: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    container.get_item(if kind == Kind::Lifo { -1 } else { 0 })
}

fn heap<'a, 'py>(container: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyList>> {
    container
        .cast()
        .map_err(|_| PyTypeError::new_err("heap argument must be a list"))
}
