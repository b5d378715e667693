//! The numbers behind `gevent.util.stats`: they are counted anyway, or can be counted when somebody asks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::event_loop::loop_::Loop;
use crate::greenlets::greenlet;

/// The number of greenlets that were made.
static MADE: AtomicU64 = AtomicU64::new(0);

/// Counts a greenlet that is made. The GIL is held, so a load and a store do.
#[inline]
pub fn count_greenlet() {
    MADE.store(MADE.load(Relaxed) + 1, Relaxed);
}

/// Return a dict of what `loop` did so far and holds now; from any thread.
#[pyfunction]
fn loop_counters<'py>(loop_: &Bound<'py, Loop>) -> PyResult<Bound<'py, PyDict>> {
    let py = loop_.py();
    let this = loop_.get();
    let counters = PyDict::new(py);
    counters.set_item("tasks", this.activity.load(Relaxed))?;
    counters.set_item("polls", this.iterations.load(Relaxed))?;
    counters.set_item("ready", this.queue.with(py, |queue| queue.len()))?;
    counters.set_item("timers", this.timers.with(py, |timers| timers.len()))?;
    counters.set_item("sockets", this.sources.with(py, |sources| sources.len()))?;
    let waiting = this.sources.with(py, |sources| sources.waiting());
    counters.set_item("sockets_waited_for", waiting)?;
    counters.set_item("watched", this.watched.with(py, |watched| watched.len()))?;
    Ok(counters)
}

/// Return how many `gevent.Greenlet` objects were made and how many ended, in all threads.
#[pyfunction]
fn greenlet_counters() -> (u64, u64) {
    (MADE.load(Relaxed), greenlet::ended())
}

/// Adds the functions to the module.
///
/// # Errors
/// `MemoryError`.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(loop_counters, module)?)?;
    module.add_function(wrap_pyfunction!(greenlet_counters, module)?)
}
