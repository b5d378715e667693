//! The heap of a priority queue. It gives items out in the order of the standard library's `heapq`, equal items
//! included.
//!
//! All comparisons come before the first change, so that one that raises leaves the queue as it was. A comparison may run
//! Python code, which may let another greenlet use the same queue meanwhile: then everything starts over.

use pyo3::exceptions::{PyIndexError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyList;

/// The number of attempts before the queue gives up on items whose comparison keeps changing it.
const STARTS: u32 = 100;

fn gave_up() -> PyErr {
    PyRuntimeError::new_err("the queue was changed during each comparison of its items")
}

#[inline]
fn parent(slot: usize) -> usize {
    (slot - 1) / 2
}

/// Puts an item into the heap.
///
/// # Errors
/// Returns the error that comparing items raises, and `RuntimeError` when comparisons keep changing the queue.
pub fn push(
    list: &Bound<'_, PyList>,
    item: Bound<'_, PyAny>,
    changes: impl Fn() -> u64,
) -> PyResult<()> {
    for _ in 0..STARTS {
        let (len, before) = (list.len(), changes());
        let mut slot = len;
        while slot > 0 && item.lt(list.get_item(parent(slot))?)? {
            slot = parent(slot);
        }
        if list.len() != len || changes() != before {
            continue;
        }
        list.append(&item)?;
        if slot == len {
            return Ok(());
        }
        let mut hole = len;
        while hole != slot {
            list.set_item(hole, list.get_item(parent(hole))?)?;
            hole = parent(hole);
        }
        return list.set_item(slot, item);
    }
    Err(gave_up())
}

/// Takes the least item out of the heap.
///
/// # Errors
/// Returns `IndexError` when there is no item, the error that comparing items raises, and `RuntimeError` when
/// comparisons keep changing the queue.
pub fn pop<'py>(
    list: &Bound<'py, PyList>,
    changes: impl Fn() -> u64,
) -> PyResult<Bound<'py, PyAny>> {
    for _ in 0..STARTS {
        let (len, before) = (list.len(), changes());
        let Some(end) = len.checked_sub(1) else {
            return Err(PyIndexError::new_err("index out of range"));
        };
        let last = list.get_item(end)?;
        let slot = slot_of_last(list, &last, end)?;
        if list.len() != len || changes() != before {
            continue;
        }
        list.del_item(end)?;
        if end == 0 {
            return Ok(last);
        }
        // The items on the way from the root to that slot each move one up.
        let (mut at, mut carried) = (slot, last);
        loop {
            let item = list.get_item(at)?;
            list.set_item(at, carried)?;
            carried = item;
            if at == 0 {
                return Ok(carried);
            }
            at = parent(at);
        }
    }
    Err(gave_up())
}

/// Returns the slot that the last item moves to when the root is taken: a hole sinks from the root to a leaf, towards the
/// lesser child each time, and the item rises from there.
fn slot_of_last(list: &Bound<'_, PyList>, last: &Bound<'_, PyAny>, end: usize) -> PyResult<usize> {
    let mut slot = 0;
    let mut child = 1;
    while child < end {
        let right = child + 1;
        slot = if right < end && !list.get_item(child)?.lt(list.get_item(right)?)? {
            right
        } else {
            child
        };
        child = 2 * slot + 1;
    }
    while slot > 0 && last.lt(list.get_item(slot)?)? {
        slot = parent(slot);
    }
    Ok(slot)
}
