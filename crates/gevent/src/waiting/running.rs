//! The numbers of greenlets, by which locks note their holder.
//!
//! A report of a deadlock says which greenlet holds a lock. The address of a greenlet would not do: a greenlet that ended
//! without a release may leave its address to another. So each greenlet that takes a lock has a number that no other ever
//! gets. greenlet's own function that returns the running greenlet takes as long as taking a lock does, so the number
//! lies beside the greenlet's frames, where it is found in a few steps ([`chunks::noted`]) and is right also if greenlets
//! switch to each other by hand. A `Greenlet` has its number from its beginning. A raw greenlet gets one as it first takes a
//! lock, and is listed here, as it has no room for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyWeakrefMethods, PyWeakrefReference};

use crate::cell::GilCell;
use crate::ffi::{chunks, greenlet};
use crate::greenlets::greenlet::Greenlet;

/// The last number that was given, without the bit that marks numbers.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// The numbered raw greenlets by their addresses.
type Raw = HashMap<usize, (u64, Py<PyWeakrefReference>)>;

static RAW: GilCell<Option<Raw>> = GilCell::in_static(None);

/// The size of the list of raw greenlets from which on those that are gone are searched for.
const MANY: usize = 256;

/// Returns a number that no greenlet has.
#[inline]
pub fn next_number() -> u64 {
    // With the GIL held nobody else counts, so this needs no atomic addition.
    let number = NUMBERS.load(Relaxed) + 1;
    NUMBERS.store(number, Relaxed);
    chunks::NUMBERED | number
}

/// Returns the number of the running greenlet; 0 while the interpreter is finalized.
#[inline]
pub fn number(py: Python<'_>) -> u64 {
    match chunks::noted(py) {
        0 => find(py),
        number => number,
    }
}

/// Finds the number of the running greenlet by the greenlet package, and notes it beside the greenlet's frames.
#[cold]
#[inline(never)]
fn find(py: Python<'_>) -> u64 {
    let Ok(running) = greenlet::current(py) else {
        return 0;
    };
    let number = match running.cast::<Greenlet>() {
        Ok(ours) => Greenlet::number_or(ours, next_number()),
        Err(_) => number_of_raw(&running).unwrap_or_else(|| list(&running)),
    };
    chunks::note(py, number);
    number
}

/// Returns the number of a raw greenlet, if it has one.
fn number_of_raw(of: &Bound<'_, PyAny>) -> Option<u64> {
    let py = of.py();
    let (number, weak) = RAW.with(py, |raw| {
        let (number, weak) = raw.as_ref()?.get(&(of.as_ptr() as usize))?;
        Some((*number, weak.clone_ref(py)))
    })?;
    weak.bind(py)
        .upgrade()
        .is_some_and(|found| found.is(of))
        .then_some(number)
}

/// Gives a raw greenlet a number; returns that, or 0 where there is no memory for it.
fn list(raw: &Bound<'_, PyAny>) -> u64 {
    let py = raw.py();
    let Ok(weak) = PyWeakrefReference::new(raw) else {
        return 0;
    };
    let number = next_number();
    let address = raw.as_ptr() as usize;
    let (former, many) = RAW.with(py, |raw| {
        let raw = raw.get_or_insert_default();
        let former = raw.insert(address, (number, weak.unbind()));
        (former, raw.len() >= MANY && raw.len().is_power_of_two())
    });
    drop(former);
    if many {
        forget_ended(py);
    }
    number
}

/// Takes raw greenlets that are gone off the list.
fn forget_ended(py: Python<'_>) {
    let listed = RAW.take(py).unwrap_or_default();
    let (kept, gone): (Raw, Raw) = listed
        .into_iter()
        .partition(|(_, (_, weak))| weak.bind(py).upgrade().is_some());
    RAW.with(py, |raw| raw.get_or_insert_default().extend(kept));
    drop(gone);
}

/// Return a dict of those of `greenlets` that are under way and have a number, by their numbers; see `holder_of`.
#[pyfunction]
pub fn numbers_of<'py>(greenlets: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyDict>> {
    let found = PyDict::new(greenlets.py());
    for one in greenlets.iter() {
        let number = match one.cast::<Greenlet>() {
            Ok(ours) => Some(Greenlet::number(ours)).filter(|number| *number != 0),
            // An `RLock` keeps an owner that has ended. Only greenlets have a number.
            Err(_) => number_of_raw(&one).filter(|_| greenlet::active(&one)),
        };
        if let Some(number) = number {
            found.set_item(number, one)?;
        }
    }
    Ok(found)
}
