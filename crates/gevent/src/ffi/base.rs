//! Types that are defined elsewhere: `#[pyclass(extends = PyGreenlet)]` derives from `greenlet.greenlet`, whose type lives in
//! another extension, and [`new_instance`] makes instances of classes that programs derive from ours.

use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;

use pyo3::PyTypeInfo;
use pyo3::exceptions::{PyImportError, PyTypeError};
use pyo3::ffi;
use pyo3::impl_::pycell::{PyClassObjectBase, PyStaticClassObject};
use pyo3::impl_::pyclass::{PyClassBaseType, PyClassImpl};
use pyo3::impl_::pyclass_init::PyNativeTypeInitializer;
use pyo3::prelude::*;
use pyo3::type_object::{PyLayout, PySizedLayout};
use pyo3::types::{PyTuple, PyType};

use super::greenlet;

/// A `greenlet.greenlet` object.
#[repr(transparent)]
pub struct PyGreenlet(PyAny);

impl fmt::Debug for PyGreenlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PyGreenlet(..)")
    }
}

/// The instance layout of `greenlet.h`; its size is compared with `tp_basicsize` at import.
#[repr(C)]
#[derive(Debug)]
pub struct GreenletLayout {
    ob_base: ffi::PyObject,
    weakreflist: *mut ffi::PyObject,
    dict: *mut ffi::PyObject,
    pimpl: *mut c_void,
}

// SAFETY: `GreenletLayout` mirrors `struct _greenlet` of greenlet.h, checked by `check_layout`.
unsafe impl PyLayout<PyGreenlet> for GreenletLayout {}
impl PySizedLayout<PyGreenlet> for GreenletLayout {}

// SAFETY: the pointer comes from greenlet's own capsule and lives as long as the process.
unsafe impl PyTypeInfo for PyGreenlet {
    fn type_object_raw(_py: Python<'_>) -> *mut ffi::PyTypeObject {
        greenlet::api().greenlet_type
    }
}

impl PyClassBaseType for PyGreenlet {
    type LayoutAsBase = PyClassObjectBase<GreenletLayout>;
    type BaseNativeType = PyGreenlet;
    type Initializer = PyNativeTypeInitializer<Self>;
    type PyClassMutability = <PyAny as PyClassBaseType>::PyClassMutability;
    type Layout<T: PyClassImpl> = PyStaticClassObject<T>;
}

/// Calls greenlet's own constructor, with which that of a derived class begins.
pub fn as_greenlet() -> <PyGreenlet as PyClassBaseType>::Initializer {
    PyNativeTypeInitializer(PhantomData)
}

/// Makes an instance of `class`, a subclass of `T`, as `T.__new__` does; `__init__` is not called.
///
/// # Errors
/// Returns `TypeError` for another class, and the error that `__new__` raises.
pub fn new_instance<'py, T: PyTypeInfo>(class: &Bound<'py, PyType>) -> PyResult<Bound<'py, T>> {
    let py = class.py();
    let base = py.get_type::<T>();
    if !class.is_subclass(&base)? {
        return Err(PyTypeError::new_err(format!(
            "{} is not a subclass of {}",
            class.name()?,
            base.name()?
        )));
    }
    let arguments = PyTuple::empty(py);
    // SAFETY: both types are live and `class` is `base` or derived from it, so that `base`'s constructor, if it has one, may
    // be called for it with a tuple and no keywords; it returns a new reference to an instance, or NULL with an error set.
    unsafe {
        let Some(new) = (*base.as_type_ptr()).tp_new else {
            return Err(PyTypeError::new_err(format!(
                "cannot create instances of {}",
                base.name()?
            )));
        };
        let made = new(
            class.as_type_ptr(),
            arguments.as_ptr(),
            std::ptr::null_mut(),
        );
        Bound::from_owned_ptr_or_err(py, made).map(|made| made.cast_into_unchecked())
    }
}

/// Refuses a greenlet whose instances are laid out differently from what this build mirrors.
///
/// # Errors
/// Returns `ImportError` when `tp_basicsize` differs.
pub fn check_layout(py: Python<'_>) -> PyResult<()> {
    let size: usize = PyType::new::<PyGreenlet>(py)
        .getattr("__basicsize__")?
        .extract()?;
    if size == size_of::<GreenletLayout>() {
        Ok(())
    } else {
        Err(PyImportError::new_err(format!(
            "this build of gevent needs greenlet objects of {} bytes, and the installed version of greenlet has {size}",
            size_of::<GreenletLayout>()
        )))
    }
}
