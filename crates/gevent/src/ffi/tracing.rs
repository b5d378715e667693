//! Lets tracers written in C notice which greenlet runs after a switch.
//!
//! A tracer that `PyEval_SetTrace` installed gets an event for each line, and remembers by itself which frame is
//! current. It notices another greenlet only at the next call or return of a Python function, where coverage.py asks
//! for the running greenlet. A wait that ends in this extension makes no such event, so the lines that follow would be
//! counted for the greenlet that ran before. While such a tracer is set, every greenlet that goes on calls an empty
//! Python function first.
//!
//! CPython's thread state says if such a tracer is set. It is a public structure whose layout is fixed for each minor
//! version.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyFunction, PyModule};

/// The offset of the trace function in the thread state; 0 while it is not known.
static TRACE_FUNCTION: AtomicUsize = AtomicUsize::new(0);

/// The distance from the trace function to the object that belongs to it.
const TO_OBJECT: usize = 2 * size_of::<usize>();

/// The empty Python function.
static EMPTY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Finds the trace function in the thread state, if the layout of this version of CPython is known and proves right.
///
/// # Errors
/// Fails when `sys.gettrace` fails.
pub fn install(py: Python<'_>) -> PyResult<()> {
    let version = py.version_info();
    let offset = match (version.major, version.minor) {
        (3, 11 | 12) => 72,
        (3, 13 | 14) => 88,
        (3, 15) => 112,
        _ => return Ok(()),
    };
    let object = py.import("sys")?.call_method0("gettrace")?;
    // SAFETY: the thread state is longer than this in all of these versions, and is only read from.
    let (function, kept) = unsafe { (field(offset), field(offset + TO_OBJECT)) };
    let known = if object.is_none() {
        function.is_null() && kept.is_null()
    } else {
        !function.is_null() && std::ptr::eq(kept, object.as_ptr())
    };
    if known {
        TRACE_FUNCTION.store(offset, Relaxed);
    }
    Ok(())
}

/// # Safety
/// The GIL is held, and the thread state has a pointer at this offset.
unsafe fn field(offset: usize) -> *mut ffi::PyObject {
    // SAFETY: by this function's contract.
    unsafe { *ffi::PyThreadState_Get().byte_add(offset).cast() }
}

/// Sets the empty Python function to call.
#[pyfunction]
pub fn set_resumed_function(function: &Bound<'_, PyFunction>) {
    // A second call is ignored, as its function would be as empty as the first.
    let _ = EMPTY.set(function.py(), function.clone().into_any().unbind());
}

/// Calls the empty Python function if a tracer is set. This runs whenever a greenlet goes on after a switch.
#[inline]
pub fn resumed(py: Python<'_>) {
    let offset = TRACE_FUNCTION.load(Relaxed);
    // SAFETY: the token shows that the GIL is held; `install` found the pointer at this offset.
    if offset != 0 && unsafe { !field(offset).is_null() } {
        call_empty(py, offset);
    }
}

#[cold]
#[inline(never)]
fn call_empty(py: Python<'_>, offset: usize) {
    // SAFETY: as in `resumed`; the object that belongs to the tracer is NULL or held by the thread state.
    let object = unsafe { Bound::from_borrowed_ptr_or_opt(py, field(offset + TO_OBJECT)) };
    // A tracer that is a Python function, such as a debugger's, gets the frame with each event, so it needs no call and
    // would only stop in the empty function.
    let is_python = object.is_some_and(|object| {
        let is_method = || object.get_type().name().is_ok_and(|name| name == "method");
        object.is_instance_of::<PyFunction>() || is_method()
    });
    if is_python {
        return;
    }
    if let Some(empty) = EMPTY.get(py)
        && let Err(error) = empty.call0(py)
    {
        error.write_unraisable(py, None);
    }
}

/// Adds the Python function of this file to the module.
///
/// # Errors
/// Fails when it cannot be added.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(set_resumed_function, module)?)?;
    install(module.py())
}
