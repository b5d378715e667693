//! Puts the signatures of constructors where tools that check calls read them.
//!
//! `inspect.signature(Queue)` reads the class's docstring. `unittest.mock.create_autospec(Queue)` reads `Queue.__init__`
//! in its place, and CPython documents the `__init__` of every class that is not written in Python as `(*args, **kwargs)`,
//! so a mock would accept any call. The text belongs to the entry of CPython's table of special methods from which the
//! method object was made. So each class gets a method object from a copy of that entry, with the signature of the class.
//! Nothing else differs: the method calls the same function, and classes derived in Python still inherit that function
//! directly, as CPython compares the entry's name and wrapper. `call_signatures.rs` does the same for `__call__`.

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

/// Returns the signature of a special method, such as `__init__`, for that of the class, function or method that it calls;
/// `None` if that accepts any arguments and checks them later.
pub(super) fn of_method(text: &str) -> Option<String> {
    let inner = text.strip_prefix('(')?;
    let inner = ["$self", "$cls", "$module"]
        .iter()
        .find_map(|bound| inner.strip_prefix(bound))
        .map_or(inner, |rest| rest.strip_prefix(", ").unwrap_or(rest));
    if inner.starts_with('*') && inner.contains("args, **") {
        return None;
    }
    let separator = if inner == ")" { "" } else { ", " };
    Some(format!("($self{separator}{inner}"))
}

fn document(class: &Bound<'_, PyType>, signature: &str) -> PyResult<()> {
    let found = class.getattr("__init__")?;
    // SAFETY: the class is live, and only its type is read of the object.
    let init = unsafe {
        let plain = ffi::Py_IS_TYPE(found.as_ptr(), &raw mut ffi::PyWrapperDescr_Type) != 0;
        plain.then(|| (*class.as_type_ptr()).tp_init).flatten()
    };
    let Some(init) = init else {
        return Ok(());
    };
    let doc = format!(
        "__init__{signature}\n--\n\nInitialize self.  See help(type(self)) for accurate signature."
    );
    // SAFETY: the object is of the required type, by the test above. `tp_init` is the function that the wrapper of every
    // `__init__` calls.
    let method = unsafe { documented(&found, class.as_type_ptr(), init as *mut c_void, doc)? };
    class.setattr("__init__", method)
}

/// Returns a special method like `method`, for a class and the function in its slot, with this docstring. Its entry and text
/// are never freed, as CPython keeps their addresses.
///
/// # Safety
/// `method` is laid out as a `PyWrapperDescrObject`, and its entry's wrapper can call `wrapped`.
pub(super) unsafe fn documented<'py>(
    method: &Bound<'py, PyAny>,
    class: *mut ffi::PyTypeObject,
    wrapped: *mut c_void,
    doc: String,
) -> PyResult<Bound<'py, PyAny>> {
    let doc = CString::new(doc)?;
    // SAFETY: by this function's contract. The entry lives as long as the process, and so does its copy; the result is a new
    // reference or NULL with an error set.
    unsafe {
        let mut entry = (*method.as_ptr().cast::<ffi::PyWrapperDescrObject>())
            .d_base
            .read();
        entry.doc = doc.into_raw();
        let entry = Box::leak(Box::new(entry));
        Bound::from_owned_ptr_or_err(method.py(), PyDescr_NewWrapper(class, entry, wrapped))
    }
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
            ("($self)", Some("($self)")),
            ("($self, /)", Some("($self, /)")),
            ("($self, timeout=None)", Some("($self, timeout=None)")),
            ("($module, seconds)", Some("($self, seconds)")),
            ("(*_args, **_kwargs)", None),
            ("($cls, *args, **kwargs)", None),
        ] {
            assert_eq!(of_method(class).as_deref(), method);
        }
    }
}
