//! Where a queue keeps its items, and in which order it gives them out.

use std::collections::VecDeque;

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyIndexError, PyRuntimeError, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyType};

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

/// The Python container of a queue of this kind, filled with `items`.
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

/// Puts an item into a container.
///
/// # Errors
/// What the container raises, or comparing items; the container is as it was then.
pub fn push(kind: Kind, container: &Bound<'_, PyAny>, item: Bound<'_, PyAny>) -> PyResult<()> {
    match (kind, container.cast_exact::<PyList>()) {
        (Kind::Priority, _) => heap_push(heap(container)?, item),
        (_, Ok(list)) => list.append(item),
        _ => container
            .call_method1(pyo3::intern!(container.py(), "append"), (item,))
            .map(drop),
    }
}

/// Takes the next item out of a container.
///
/// # Errors
/// `IndexError` from an empty one; what the container raises, or comparing items: it is as it was then.
pub fn pop<'py>(kind: Kind, container: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = container.py();
    match kind {
        Kind::Fifo => container.call_method0(pyo3::intern!(py, "popleft")),
        Kind::Lifo => container.call_method0(pyo3::intern!(py, "pop")),
        Kind::Priority => heap_pop(heap(container)?),
    }
}

/// The next item of a container, left in it.
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

// The heap is that of `heapq`, items of equal rank included. But all comparisons come before the first change, so that
// one that raises leaves the queue as it was. Comparing may run Python code, which may let another greenlet at the same
// list: what was compared is looked at again before the change, which starts over if it is not the same.

/// Starts before giving up on items whose comparison keeps changing the queue.
const STARTS: u32 = 100;

fn gave_up() -> PyErr {
    PyRuntimeError::new_err("the queue changed whenever its items were compared")
}

/// An item that was compared, and its place.
type Seen<'py> = (usize, Bound<'py, PyAny>);

fn see<'py>(list: &Bound<'py, PyList>, at: usize) -> PyResult<Seen<'py>> {
    Ok((at, list.get_item(at)?))
}

/// Levels of a heap of this size, and one.
fn levels(len: usize) -> usize {
    (usize::BITS - len.leading_zeros()) as usize + 1
}

fn unchanged(list: &Bound<'_, PyList>, len: usize, seen: &[Seen<'_>]) -> bool {
    list.len() == len
        && seen
            .iter()
            .all(|(at, item)| list.get_item(*at).is_ok_and(|now| now.is(item)))
}

fn heap_push(list: &Bound<'_, PyList>, item: Bound<'_, PyAny>) -> PyResult<()> {
    for _ in 0..STARTS {
        let len = list.len();
        let mut place = len;
        let mut above = Vec::with_capacity(levels(len));
        while place > 0 {
            let parent = see(list, (place - 1) / 2)?;
            let rises = item.lt(&parent.1)?;
            above.push(parent);
            if !rises {
                break;
            }
            place = (place - 1) / 2;
        }
        if !unchanged(list, len, &above) {
            continue;
        }
        list.append(&item)?;
        if place == len {
            return Ok(());
        }
        let mut hole = len;
        for (at, parent) in above.into_iter().take_while(|(at, _)| *at >= place) {
            list.set_item(hole, parent)?;
            hole = at;
        }
        return list.set_item(hole, item);
    }
    Err(gave_up())
}

fn heap_pop<'py>(list: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyAny>> {
    for _ in 0..STARTS {
        let len = list.len();
        if len == 0 {
            return Err(PyIndexError::new_err("index out of range"));
        }
        let end = len - 1;
        let (_, last) = see(list, end)?;
        // The hole at the root sinks to a leaf; the last item rises from there to its place.
        let mut seen = Vec::with_capacity(levels(len));
        let mut path = Vec::with_capacity(levels(len));
        seen.push(see(list, 0)?);
        let mut child = 1;
        while child < end {
            let mut lesser = see(list, child)?;
            if child + 1 < end {
                let right = see(list, child + 1)?;
                let left_is_less = lesser.1.lt(&right.1)?;
                let other = if left_is_less {
                    right
                } else {
                    std::mem::replace(&mut lesser, right)
                };
                seen.push(other);
            }
            child = 2 * lesser.0 + 1;
            path.push(lesser);
        }
        let mut sunk = path.len();
        while sunk > 0 && last.lt(&path[sunk - 1].1)? {
            sunk -= 1;
        }
        if !unchanged(list, len, &seen)
            || !unchanged(list, len, &path)
            || !list.get_item(end)?.is(&last)
        {
            continue;
        }
        list.del_item(end)?;
        let (_, least) = seen.swap_remove(0);
        let mut hole = 0;
        for (at, item) in path.into_iter().take(sunk) {
            list.set_item(hole, item)?;
            hole = at;
        }
        if end > 0 {
            list.set_item(hole, last)?;
        }
        return Ok(least);
    }
    Err(gave_up())
}
