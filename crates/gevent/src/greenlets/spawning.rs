//! Making greenlets of a class: `gevent.Greenlet` itself on a fast path, a subclass by a call of the class.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple, PyType};

use crate::greenlets::greenlet::Greenlet;

/// Does what `spawn(function, *args, **kwargs)` of `gevent.Greenlet` itself or of a subclass does.
///
/// # Errors
/// Fails as [`Greenlet::init`] and the class do.
pub fn spawn_of<'py>(
    class: &Bound<'py, PyType>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, Greenlet>> {
    let py = class.py();
    if std::ptr::eq(class.as_type_ptr(), Greenlet::type_ptr(py)) && !args.is_empty() {
        let named = match kwargs {
            Some(kwargs) => kwargs.contains(pyo3::intern!(py, "run"))?,
            None => false,
        };
        if !named {
            let rest = args.get_slice(1, args.len());
            return Greenlet::spawned(args.get_item(0)?, rest, kwargs.cloned());
        }
    }
    let new = make(class, args, kwargs)?;
    Greenlet::start(&new)?;
    Ok(new)
}

/// Returns true for `gevent.Greenlet` itself, false for a subclass.
pub fn is_plain(class: &Bound<'_, PyType>) -> bool {
    std::ptr::eq(class.as_type_ptr(), Greenlet::type_ptr(class.py()))
}

/// Returns a new instance of `class`.
///
/// # Errors
/// Returns the error that the class raises.
pub fn make<'py>(
    class: &Bound<'py, PyType>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, Greenlet>> {
    Ok(class.call(args, kwargs)?.cast_into::<Greenlet>()?)
}

/// Returns the function that a greenlet without a function runs.
pub fn do_nothing(py: Python<'_>) -> PyResult<Bound<'_, PyCFunction>> {
    PyCFunction::new_closure(
        py,
        Some(c"_run"),
        None,
        |args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>| {
            if args.is_empty() {
                return Ok(args.py().None());
            }
            let message = format!("_run() takes no arguments ({} given)", args.len());
            Err(PyTypeError::new_err(message))
        },
    )
}
