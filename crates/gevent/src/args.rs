//! Conversion of arguments by gevent's rules.

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyTuple, PyType};

use crate::ffi::thread;

/// An argument of any type that is taken by its truth.
pub struct Flag(pub bool);

impl<'a, 'py> FromPyObject<'a, 'py> for Flag {
    type Error = PyErr;

    #[inline]
    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match object.cast::<PyBool>() {
            Ok(flag) => Ok(Self(flag.is_true())),
            Err(_) => {
                thread::enter();
                object.is_truthy().map(Self)
            }
        }
    }
}

/// Returns the truth of an optional argument that is true by default.
///
/// # Errors
/// The error that its `__bool__` raises.
#[inline]
pub fn flag(argument: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
    argument.map_or(Ok(true), |argument| {
        Flag::extract(argument.as_borrowed()).map(|flag| flag.0)
    })
}

/// Converts an argument as pyo3 does by itself, for `#[pyo3(from_py_with = from_python)]`.
///
/// Every parameter that is a number, or a sequence, has this attribute. Its conversion may call `__index__`, `__float__` or
/// `__iter__` of a user's class before anything of ours runs, and the interpreter may end the thread there, so the thread
/// has to be noted first ([`crate::ffi::thread`]).
///
/// # Errors
/// Returns the errors of the conversion.
#[inline]
pub fn from_python<'py, T: FromPyObjectOwned<'py>>(argument: &Bound<'py, PyAny>) -> PyResult<T> {
    thread::enter();
    argument.extract().map_err(Into::into)
}

/// A whole number; the fraction of a float is dropped.
pub struct Count(pub i64);

impl<'a, 'py> FromPyObject<'a, 'py> for Count {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(float) = object.cast::<PyFloat>() {
            return whole(float.value()).map(Self);
        }
        thread::enter();
        match object.extract() {
            Ok(count) => Ok(Self(count)),
            Err(error) if error.is_instance_of::<PyTypeError>(object.py()) => {
                Err(PyTypeError::new_err("an integer is required"))
            }
            Err(error) => Err(error),
        }
    }
}

/// Converts an argument that is a number, such as a count of seconds.
///
/// # Errors
/// `TypeError` for an argument that is no number, `OverflowError` for a whole number beyond the range of a float; the
/// error that its `__float__` or `__index__` raises.
#[inline]
pub fn number(argument: &Bound<'_, PyAny>) -> PyResult<f64> {
    if let Ok(float) = argument.cast_exact::<PyFloat>() {
        return Ok(float.value());
    }
    // CPython converts a whole number by way of an object.
    if argument.is_exact_instance_of::<PyInt>()
        && let Ok(whole) = argument.extract::<i64>()
    {
        return Ok(whole as f64);
    }
    thread::enter();
    argument.extract()
}

/// Returns the whole part of a number.
fn whole(number: f64) -> PyResult<i64> {
    // Both bounds are powers of two, which a float represents exactly.
    if (-(2f64.powi(63))..2f64.powi(63)).contains(&number) {
        Ok(number as i64)
    } else {
        Err(PyOverflowError::new_err("number does not fit into 64 bits"))
    }
}

/// Refuses arguments to the constructor of a class that takes none, unless the class has an `__init__` that may take them.
///
/// # Errors
/// `TypeError` where there are some arguments.
#[inline]
pub fn refuse_excess(
    class: &Bound<'_, PyType>,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<()> {
    if args.is_empty() && kwargs.is_none_or(|kwargs| kwargs.is_empty()) {
        return Ok(());
    }
    let py = class.py();
    let init = pyo3::intern!(py, "__init__");
    // A class of ours has a copy of CPython's own method, with its signature.
    let native = py.get_type::<PyAny>().getattr(init)?.get_type();
    if !class.getattr(init)?.get_type().is(&native) {
        return Ok(());
    }
    Err(PyTypeError::new_err(format!(
        "{}() takes no arguments",
        class.name()?
    )))
}
