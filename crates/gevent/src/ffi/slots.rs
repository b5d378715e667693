//! Reads and writes the fields of instances of a Python class with `__slots__` directly in their memory.
//!
//! asyncio's `Handle` is such a class. A loop makes one for each callback, and going through its constructor takes longer
//! than everything else that the loop does for the callback.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

type Object = *mut ffi::PyObject;

/// The layout of CPython's `PyMemberDescrObject`, the same from 3.11 to 3.15.
#[repr(C)]
struct MemberDescriptor {
    ob_base: ffi::PyObject,
    d_type: *mut ffi::PyTypeObject,
    d_name: Object,
    d_qualname: Object,
    d_member: *mut ffi::PyMemberDef,
}

/// A class whose instances are made without its constructor.
pub struct SlottedClass {
    class: Py<PyType>,
}

/// The offset of a field in the instances of one class and of those derived from it.
#[derive(Copy, Clone)]
pub struct Slot {
    offset: usize,
}

/// An instance of a class for which slots were looked up.
pub struct Slotted<'py>(Bound<'py, PyAny>);

impl SlottedClass {
    /// Returns `class`, whose instances are to be made without its constructor.
    pub fn new(class: Bound<'_, PyType>) -> Self {
        Self {
            class: class.unbind(),
        }
    }

    /// Returns true if the object is an instance of this very class.
    #[inline]
    pub fn is_exact(&self, object: &Bound<'_, PyAny>) -> bool {
        object.get_type_ptr() == self.class.as_ptr().cast()
    }

    /// Returns the object as one whose fields can be reached, if it is an instance of this very class; gives it back otherwise.
    ///
    /// # Errors
    /// Returns the object, if it is of another class.
    #[inline]
    pub fn fields<'py>(
        &self,
        object: Bound<'py, PyAny>,
    ) -> Result<Slotted<'py>, Bound<'py, PyAny>> {
        if self.is_exact(&object) {
            Ok(Slotted(object))
        } else {
            Err(object)
        }
    }

    /// Returns a new instance whose fields are all unset.
    ///
    /// # Errors
    /// Returns `MemoryError`.
    #[inline]
    pub fn allocate<'py>(&self, py: Python<'py>) -> PyResult<Slotted<'py>> {
        let class: *mut ffi::PyTypeObject = self.class.as_ptr().cast();
        // SAFETY: the class is a live type that was made by a `class` statement, whose instances are valid when their memory
        // is zeroed, as the slot for allocation leaves it: unset fields are NULL.
        unsafe {
            let allocate = (*class).tp_alloc.unwrap_or(ffi::PyType_GenericAlloc);
            Bound::from_owned_ptr_or_err(py, allocate(class, 0)).map(Slotted)
        }
    }

    /// Returns true if the caller's reference to the instance is the only one, weak ones included.
    #[inline]
    pub fn is_unshared(&self, instance: &Slotted<'_>) -> bool {
        let class: *mut ffi::PyTypeObject = self.class.as_ptr().cast();
        let object = instance.0.as_ptr();
        // SAFETY: the object is a live instance of the class, which says where the list of weak references lies, if it has
        // one: a pointer, NULL where there are none.
        unsafe {
            let offset = (*class).tp_weaklistoffset;
            let list = usize::try_from(offset).ok().filter(|offset| *offset > 0);
            let no_weak = list.is_none_or(|offset| {
                let list: *mut Object = object.cast::<u8>().add(offset).cast();
                (*list).is_null()
            });
            no_weak && ffi::Py_REFCNT(object) == 1
        }
    }

    /// Finds where the class, or one that it is derived from, keeps the field `name`.
    ///
    /// # Errors
    /// Returns `AttributeError` when there is no such field, `TypeError` when it is no slot.
    pub fn slot(&self, py: Python<'_>, name: &str) -> PyResult<Slot> {
        let descriptor = self.class.bind(py).getattr(PyString::new(py, name))?;
        let kind = &raw mut ffi::PyMemberDescr_Type;
        if descriptor.get_type_ptr() != kind {
            return Err(PyTypeError::new_err(format!(
                "'{name}' is not a slot of the class"
            )));
        }
        // SAFETY: a member descriptor has this layout, and its definition lives as long as the class that defines it, which
        // this class keeps alive.
        let (offset, is_object) = unsafe {
            let member = (*descriptor.as_ptr().cast::<MemberDescriptor>()).d_member;
            let kind = (*member).type_code;
            ((*member).offset, kind == ffi::Py_T_OBJECT_EX)
        };
        match usize::try_from(offset) {
            Ok(offset) if is_object && offset > 0 => Ok(Slot { offset }),
            _ => Err(PyTypeError::new_err(format!(
                "'{name}' is not a slot of the class"
            ))),
        }
    }
}

impl<'py> Slotted<'py> {
    fn place(&self, slot: Slot) -> *mut Object {
        // SAFETY: the object is an instance of the class that the slot was looked up for, or of one with the same fields at
        // its start, so that a pointer to an object, or NULL, lies at the offset.
        unsafe { self.0.as_ptr().cast::<u8>().add(slot.offset).cast() }
    }

    /// Returns what the field holds, if it is set.
    #[inline]
    pub fn get(&self, slot: Slot) -> Option<Bound<'py, PyAny>> {
        // SAFETY: the field holds NULL or an object that it owns; the GIL is held.
        unsafe { Bound::from_borrowed_ptr_or_opt(self.0.py(), *self.place(slot)) }
    }

    /// Returns true if the field holds this very object.
    #[inline]
    pub fn holds(&self, slot: Slot, object: Borrowed<'_, 'py, PyAny>) -> bool {
        // SAFETY: the field may be read, as the GIL is held.
        unsafe { *self.place(slot) == object.as_ptr() }
    }

    /// Puts an object into the field, and drops the old one afterwards.
    #[inline]
    pub fn set(&self, slot: Slot, value: Bound<'py, PyAny>) {
        // SAFETY: the field owns what it holds. The old object is released when the new one is in place, as its release may
        // run code that looks at the field.
        unsafe {
            let place = self.place(slot);
            let old = std::mem::replace(&mut *place, value.into_ptr());
            drop(Bound::from_owned_ptr_or_opt(self.0.py(), old));
        }
    }

    /// Unsets the field.
    #[inline]
    pub fn unset(&self, slot: Slot) {
        // SAFETY: as in `set`; NULL says that the field is not set.
        unsafe {
            let old = std::mem::replace(&mut *self.place(slot), std::ptr::null_mut());
            drop(Bound::from_owned_ptr_or_opt(self.0.py(), old));
        }
    }

    /// Returns the object.
    pub fn object(&self) -> &Bound<'py, PyAny> {
        &self.0
    }

    /// Returns the object.
    pub fn into_object(self) -> Bound<'py, PyAny> {
        self.0
    }
}
