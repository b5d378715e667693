//! Puts the signatures of constructors where tools that check calls read them.
//!
//! `inspect.signature(Queue)` reads the class's docstring. `unittest.mock.create_autospec(Queue)` reads `Queue.__init__`
//! in its place, and CPython documents the `__init__` of every class that is not written in Python as `(*args, **kwargs)`,
//! so a mock would accept any call. The text belongs to the entry of CPython's table of special methods from which the
//! method object was made. So each class gets a method object from a copy of that entry, with the signature of the class.
//! Nothing else differs: the method calls the same function, and classes derived in Python still inherit that function
//! directly, as CPython compares the entry's name and wrapper.

use std::ffi::{CString, c_void};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

// This function is part of CPython's C API; PyO3 does not declare it.
unsafe extern "C" {
    fn PyDescr_NewWrapper(
        class: *mut ffi::PyTypeObject,
        base: *mut ffi::wrapperbase,
        wrapped: *mut c_void,
    ) -> *mut ffi::PyObject;
}

/// Gives the classes of a module an `__init__` with their own signature, if they have one.
///
/// # Errors
/// Fails when a method object cannot be made.
pub fn document_constructors(names: &Bound<'_, PyDict>) -> PyResult<()> {
    for (_, value) in names.iter() {
        if let Ok(class) = value.cast::<PyType>()
            && let Ok(text) = class.getattr("__text_signature__")?.extract::<String>()
            && let Some(signature) = of_method(&text)
        {
            document(class, &signature)?;
        }
    }
    Ok(())
}

/// Returns the signature of `__init__` for the signature of a class; `None` if the class accepts any arguments and
/// checks them later.
fn of_method(text: &str) -> Option<String> {
    let inner = text.strip_prefix('(')?;
    let inner = inner.strip_prefix("$cls, ").unwrap_or(inner);
    if inner.starts_with('*') && inner.contains("args, **") {
        return None;
    }
    let separator = if inner == ")" { "" } else { ", " };
    Some(format!("($self{separator}{inner}"))
}

fn document(class: &Bound<'_, PyType>, signature: &str) -> PyResult<()> {
    let found = class.getattr("__init__")?;
    let doc = CString::new(format!(
        "__init__{signature}\n--\n\nInitialize self.  See help(type(self)) for accurate signature."
    ))?;
    // SAFETY: the class is live. An object of exactly this type is a `PyWrapperDescrObject`, whose entry lives as long as the
    // process, and so does the copy. `tp_init` is the function that the entry's wrapper calls: both are those of `__init__`.
    // The result is a new reference or NULL with an error set.
    let method = unsafe {
        if ffi::Py_IS_TYPE(found.as_ptr(), &raw mut ffi::PyWrapperDescr_Type) == 0 {
            return Ok(());
        }
        let Some(init) = (*class.as_type_ptr()).tp_init else {
            return Ok(());
        };
        let descriptor = found.as_ptr().cast::<ffi::PyWrapperDescrObject>();
        let mut entry = (*descriptor).d_base.read();
        entry.doc = doc.into_raw();
        let entry = Box::leak(Box::new(entry));
        Bound::from_owned_ptr_or_err(
            class.py(),
            PyDescr_NewWrapper(class.as_type_ptr(), entry, init as *mut c_void),
        )?
    };
    class.setattr("__init__", method)
}

#[cfg(test)]
mod tests {
    use super::of_method;

    #[test]
    fn signatures_of_classes_become_those_of_methods() {
        for (class, method) in [
            ("()", Some("($self)")),
            ("(value=1, hub=None)", Some("($self, value=1, hub=None)")),
            ("(*, strict)", Some("($self, *, strict)")),
            (
                "(run=None, *args, **kwargs)",
                Some("($self, run=None, *args, **kwargs)"),
            ),
            ("($cls, deadline)", Some("($self, deadline)")),
            ("(*_args, **_kwargs)", None),
            ("($cls, *args, **kwargs)", None),
        ] {
            assert_eq!(of_method(class).as_deref(), method);
        }
    }
}
