//! The timers of an event loop: the list that asyncio's loops have as `_scheduled`, kept as a heap.
//!
//! It stays a Python list in the order of `heapq`, and cancelled timers stay in it until they come up or are too many, as in
//! asyncio: libraries that run a loop's turns by themselves take timers out of it with `heapq.heappop`. Handles are compared
//! here by their times, where `heapq` would call a Python method for each comparison.

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::asyncio::handle::Handles;

/// From this number on, cancelled timers are removed once they are more than half of all.
const MANY: usize = 100;

/// Adds a timer's handle.
///
/// # Errors
/// Fails when a handle in the list has no time.
pub fn push(list: &Bound<'_, PyList>, handle: Bound<'_, PyAny>) -> PyResult<()> {
    let handles = Handles::get(list.py())?;
    list.append(handle)?;
    sift_up(list, handles, list.len() - 1)
}

/// Returns the first timer's handle and its time.
///
/// # Errors
/// Fails when the handle has no time.
pub fn first<'py>(list: &Bound<'py, PyList>) -> PyResult<Option<(Bound<'py, PyAny>, f64)>> {
    if list.is_empty() {
        return Ok(None);
    }
    let handle = list.get_item(0)?;
    let when = Handles::get(list.py())?.when(&handle)?;
    Ok(Some((handle, when)))
}

/// Removes the first timer's handle, which is no longer scheduled then.
///
/// # Errors
/// Fails when a handle in the list has no time.
pub fn pop<'py>(list: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyAny>> {
    let handles = Handles::get(list.py())?;
    let last = list.call_method0("pop")?;
    let first = if list.is_empty() {
        last
    } else {
        let first = list.get_item(0)?;
        list.set_item(0, last)?;
        sift_down(list, handles, 0)?;
        first
    };
    handles.unschedule(&first)?;
    Ok(first)
}

/// Removes cancelled timers where they come first, or all of them where they are many. `cancelled` is the loop's count
/// of them; returns the count that remains.
///
/// # Errors
/// Fails when a handle in the list has no time.
pub fn remove_cancelled(list: &Bound<'_, PyList>, mut cancelled: i64) -> PyResult<i64> {
    let handles = Handles::get(list.py())?;
    let many = list.len() > MANY && cancelled as f64 / list.len() as f64 > 0.5;
    if many {
        let kept = PyList::empty(list.py());
        for handle in list.iter() {
            if handles.is_cancelled(&handle)? {
                handles.unschedule(&handle)?;
            } else {
                kept.append(handle)?;
            }
        }
        list.set_slice(0, list.len(), kept.as_any())?;
        for place in (0..list.len() / 2).rev() {
            sift_down(list, handles, place)?;
        }
        return Ok(0);
    }
    while !list.is_empty() && handles.is_cancelled(&list.get_item(0)?)? {
        pop(list)?;
        cancelled -= 1;
    }
    Ok(cancelled)
}

fn sift_up(list: &Bound<'_, PyList>, handles: &Handles, mut place: usize) -> PyResult<()> {
    let moved = list.get_item(place)?;
    let when = handles.when(&moved)?;
    while place > 0 {
        let above = (place - 1) / 2;
        let parent = list.get_item(above)?;
        if handles.when(&parent)? <= when {
            break;
        }
        list.set_item(place, parent)?;
        list.set_item(above, &moved)?;
        place = above;
    }
    Ok(())
}

fn sift_down(list: &Bound<'_, PyList>, handles: &Handles, mut place: usize) -> PyResult<()> {
    let moved = list.get_item(place)?;
    let when = handles.when(&moved)?;
    loop {
        let mut below = 2 * place + 1;
        if below >= list.len() {
            return Ok(());
        }
        let mut child = list.get_item(below)?;
        let mut earliest = handles.when(&child)?;
        if below + 1 < list.len() {
            let right = list.get_item(below + 1)?;
            let time = handles.when(&right)?;
            if time < earliest {
                (below, child, earliest) = (below + 1, right, time);
            }
        }
        if when <= earliest {
            return Ok(());
        }
        list.set_item(place, child)?;
        list.set_item(below, &moved)?;
        place = below;
    }
}
