//! Objects that CPython calls without a tuple of arguments (PEP 590).
//!
//! pyo3 makes `__call__` a type's `tp_call`, for which CPython puts the arguments of each call into a new tuple. An object
//! with a function in a field of its own is called by that, with the arguments where the caller has them. pyo3 has no slot
//! for it, so the type is told here at which offset the field is.

use std::ptr::null_mut;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{PyClass, PyTypeInfo};

use super::attached::attached;

type Object = *mut ffi::PyObject;

/// The most arguments that are passed without a tuple.
const MOST: usize = 3;

/// The field that holds the function by which its object is called. It is empty while the object is being made.
#[derive(Debug)]
pub struct Entry(
    #[expect(
        dead_code,
        reason = "CPython reads it, at the offset that the type states"
    )]
    Option<ffi::vectorcallfunc>,
);

impl Entry {
    /// Returns the field for an object of class `T`.
    pub const fn of<T: Called>() -> Self {
        Self(Some(enter::<T>))
    }
}

/// A class whose objects are called often, by positional arguments.
pub trait Called: PyClass<Frozen = True> + PyTypeInfo + Sync {
    /// The least number of arguments. With fewer, more than three, or with keywords, CPython calls `__call__`.
    const LEAST: usize;

    /// Returns the object's field.
    fn entry(&self) -> &Entry;

    /// Calls the object with as many arguments as there are.
    ///
    /// # Errors
    /// Returns the error that the call raises.
    fn call<'py>(
        slf: &Bound<'py, Self>,
        arguments: [Option<&Bound<'py, PyAny>>; MOST],
    ) -> PyResult<Bound<'py, PyAny>>;
}

/// Has CPython call objects of this one's class by their entries.
pub fn install<T: Called>(object: &Bound<'_, T>) {
    let entry: *const Entry = object.get().entry();
    let offset = entry.addr() - object.as_ptr().addr();
    let class = object.as_any().get_type().as_type_ptr();
    // SAFETY: the type object lives, and the GIL is held, so nobody else writes to it. Each object of exactly this class has
    // its entry at the offset, since the class has one layout; a subclass, which would inherit the offset with the layout,
    // does not inherit the flag from a class that Python code may change.
    unsafe {
        (*class).tp_vectorcall_offset = offset as ffi::Py_ssize_t;
        (*class).tp_flags |= ffi::Py_TPFLAGS_HAVE_VECTORCALL;
    }
}

/// The function that CPython calls.
///
/// # Safety
/// The GIL is held, `callable` is a `T`, and `args` points to the arguments, as PEP 590 says.
unsafe extern "C" fn enter<T: Called>(
    callable: Object,
    args: *const Object,
    count: usize,
    names: Object,
) -> Object {
    // SAFETY: the function only takes the flag out of the number.
    let count = unsafe { ffi::PyVectorcall_NARGS(count) } as usize;
    if !names.is_null() || !(T::LEAST..=MOST).contains(&count) {
        // SAFETY: by this function's contract.
        return unsafe { by_tuple(callable, args, count, names) };
    }
    // SAFETY: CPython calls with the GIL held.
    let result = unsafe {
        attached(|py| {
            // SAFETY: the callable and the arguments are live objects until the call returns. The callable is a `T`, as only
            // those have this function in the place that their type names.
            let slf = Borrowed::from_ptr(py, callable);
            let argument = |at| (at < count).then(|| Borrowed::from_ptr(py, *args.add(at)));
            let arguments: [Option<Borrowed<'_, '_, PyAny>>; MOST] = std::array::from_fn(argument);
            let slf = slf.cast_unchecked::<T>();
            T::call(&slf, arguments.each_ref().map(|found| found.as_deref())).map(Bound::unbind)
        })
    };
    result.map_or(null_mut(), Py::into_ptr)
}

/// Calls the object by its type's `tp_call`.
///
/// # Safety
/// As for [`enter`].
#[cold]
unsafe fn by_tuple(callable: Object, args: *const Object, count: usize, names: Object) -> Object {
    // SAFETY: CPython calls with the GIL held.
    let result = unsafe {
        attached(|py| {
            // SAFETY: the arguments are live objects until the call returns; those with names follow the others.
            let argument = |at| Borrowed::from_ptr(py, *args.add(at));
            let tuple = PyTuple::new(py, (0..count).map(argument))?;
            let keywords = match Bound::from_borrowed_ptr_or_opt(py, names) {
                None => None,
                Some(names) => {
                    let keywords = PyDict::new(py);
                    for (at, name) in names.cast_into::<PyTuple>()?.iter().enumerate() {
                        keywords.set_item(name.cast_into::<PyString>()?, argument(count + at))?;
                    }
                    Some(keywords)
                }
            };
            let keywords = keywords.as_ref().map_or(null_mut(), Bound::as_ptr);
            // SAFETY: the type of a callable of ours has the slot, which pyo3 fills for `__call__`.
            let call = (*ffi::Py_TYPE(callable)).tp_call;
            let result = call.map_or(null_mut(), |call| call(callable, tuple.as_ptr(), keywords));
            Bound::from_owned_ptr_or_err(py, result).map(Bound::unbind)
        })
    };
    result.map_or(null_mut(), Py::into_ptr)
}
