//! The numbers behind `gevent.util.stats`. Some are counted in any case, some can be counted when a program asks, and
//! some are measured from the first question on.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::event_loop::loop_::Loop;
use crate::event_loop::runs;
use crate::event_loop::unusual::Unusual;
use crate::ffi::{arena, chunks};
use crate::greenlets::state;

/// The number of greenlets that were made.
static MADE: AtomicU64 = AtomicU64::new(0);

/// Counts a greenlet that is made. The GIL is held, so a load and a store suffice.
#[inline]
pub fn count_greenlet() {
    MADE.store(MADE.load(Relaxed) + 1, Relaxed);
}

/// Return a dict of the counts and present contents of `loop`, and of the measures since the first call. It may be
/// called from any thread.
#[pyfunction]
fn loop_counters<'py>(loop_: &Bound<'py, Loop>) -> PyResult<Bound<'py, PyDict>> {
    let py = loop_.py();
    let this = loop_.get();
    let counters = PyDict::new(py);
    runs::begin();
    this.unusual.put(Unusual::MEASURED, true);
    counters.set_item("tasks", this.activity.load(Relaxed))?;
    counters.set_item("polls", this.iterations.load(Relaxed))?;
    counters.set_item("ready", this.queue.with(py, |queue| queue.len()))?;
    counters.set_item("timers", this.timers.with(py, |timers| timers.len()))?;
    counters.set_item("sockets", this.sources.with(py, |sources| sources.len()))?;
    let waiting = this.sources.with(py, |sources| sources.waiting());
    counters.set_item("sockets_waited_for", waiting)?;
    counters.set_item("watched", this.watched.with(py, |watched| watched.len()))?;
    let runs = &this.runs;
    counters.set_item("poll_seconds", seconds(runs.poll_nanos()))?;
    counters.set_item("turn_seconds", seconds(runs.turn_nanos()))?;
    let bounds = runs::BOUNDS.iter().map(|bound| seconds(*bound));
    let bounds = bounds.chain([f64::INFINITY]);
    counters.set_item("turns", bounds.zip(runs.classes()).collect::<Vec<_>>())?;
    let present = match this.polling.load(Relaxed) {
        true => 0,
        false => runs.present_turn(),
    };
    counters.set_item("present_turn", seconds(present))?;
    let (longest, stack) = runs.longest(py);
    counters.set_item("longest_run", seconds(longest))?;
    let frames = stack.as_deref().unwrap_or_default().iter();
    let places = frames
        .map(|frame| frame.place(py))
        .collect::<PyResult<Vec<_>>>()?;
    counters.set_item("longest_run_stack", places)?;
    Ok(counters)
}

fn seconds(nanos: u64) -> f64 {
    std::time::Duration::from_nanos(nanos).as_secs_f64()
}

/// Have the runs of greenlets measured from now on, also in loops that are yet to be made.
#[pyfunction]
fn measure_runs() {
    runs::begin();
}

/// Return how many bytes of memory for greenlets' Python frames are resident, and how many of those are in use.
#[pyfunction]
fn frame_memory() -> (usize, usize) {
    let (arena, chunks) = (arena::memory(), chunks::memory());
    (arena.0 + chunks.0, arena.1 + chunks.1)
}

/// Return how many `gevent.Greenlet` objects were made and how many ended, in all threads.
#[pyfunction]
fn greenlet_counters() -> (u64, u64) {
    (MADE.load(Relaxed), state::ended())
}

/// Adds the functions to the module.
///
/// # Errors
/// `MemoryError`.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(loop_counters, module)?)?;
    module.add_function(wrap_pyfunction!(measure_runs, module)?)?;
    module.add_function(wrap_pyfunction!(frame_memory, module)?)?;
    module.add_function(wrap_pyfunction!(greenlet_counters, module)?)
}
