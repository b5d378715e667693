//! Lets `#[pyclass(extends = PyGreenlet)]` build on `greenlet.greenlet`, whose type lives in another extension.

use std::ffi::c_void;

use pyo3::PyTypeInfo;
use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::impl_::pycell::{PyClassObjectBase, PyStaticClassObject};
use pyo3::impl_::pyclass::{PyClassBaseType, PyClassImpl};
use pyo3::impl_::pyclass_init::PyNativeTypeInitializer;
use pyo3::prelude::*;
use pyo3::type_object::{PyLayout, PySizedLayout};
use pyo3::types::PyType;

use super::greenlet;

/// A `greenlet.greenlet` object.
#[repr(transparent)]
pub struct PyGreenlet(PyAny);

/// The instance layout of `greenlet.h`; its size is compared with `tp_basicsize` at import.
#[repr(C)]
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

/// Refuses a greenlet whose instances are laid out differently from what this build mirrors.
///
/// # Errors
/// `ImportError` when `tp_basicsize` differs.
pub fn check_layout(py: Python<'_>) -> PyResult<()> {
    let size: usize = PyType::new::<PyGreenlet>(py)
        .getattr("__basicsize__")?
        .extract()?;
    if size == size_of::<GreenletLayout>() {
        Ok(())
    } else {
        Err(PyImportError::new_err(format!(
            "gevent was built for greenlet objects of {} bytes, the installed greenlet has {size}",
            size_of::<GreenletLayout>()
        )))
    }
}
