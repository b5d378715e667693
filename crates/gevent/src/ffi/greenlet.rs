//! The only place that switches stacks: safe functions over the C API that greenlet exports in a capsule.
//!
//! A caller of [`suspend`], [`switch`] or [`throw`] has no cell open, holds no lock and the GIL, and has no Python
//! error set (ARCHITECTURE.md, "Rules of stack switching"): anything it held would stay held while other greenlets run.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

type Object = *mut ffi::PyObject;

type Current = unsafe extern "C" fn() -> Object;
type Throw = unsafe extern "C" fn(Object, Object, Object, Object) -> Object;
type Switch = unsafe extern "C" fn(Object, Object, Object) -> Object;
type SetParent = unsafe extern "C" fn(Object, Object) -> c_int;
type Is = unsafe extern "C" fn(Object) -> c_int;
type Parent = unsafe extern "C" fn(Object) -> Object;

/// The entries of `_C_API` that are used here, in the order of greenlet.h.
pub struct Api {
    /// The class `greenlet.greenlet`.
    pub greenlet_type: *mut ffi::PyTypeObject,
    /// The class `greenlet.GreenletExit`.
    pub greenlet_exit: Object,
    get_current: Current,
    throw: Throw,
    switch: Switch,
    set_parent: SetParent,
    is_main: Is,
    started: Is,
    active: Is,
    get_parent: Parent,
    no_args: Object,
}

// SAFETY: the table is written once, before any use, and holds function pointers and immortal objects only; calling
// through it needs a `Python` token in every function below.
unsafe impl Send for Api {}
// SAFETY: as for `Send`.
unsafe impl Sync for Api {}

static API: OnceLock<Api> = OnceLock::new();

/// Returns the table. [`load`] ran when the module was imported, before any object of ours could exist.
#[inline]
pub fn api() -> &'static Api {
    API.get()
        .expect("greenlet's C API is loaded when the module is imported")
}

/// Finds greenlet's C API.
///
/// # Errors
/// Returns `ImportError` when greenlet is missing or its capsule is not the expected one.
pub fn load(py: Python<'_>) -> PyResult<()> {
    if API.get().is_some() {
        return Ok(());
    }
    py.import("greenlet")?;
    // SAFETY: the name is NUL-terminated; the result is checked.
    let table =
        unsafe { ffi::PyCapsule_Import(c"greenlet._C_API".as_ptr(), 0) }.cast::<*mut c_void>();
    if table.is_null() {
        let error = PyImportError::new_err("greenlet does not export its C API");
        error.set_cause(py, PyErr::take(py));
        return Err(error);
    }
    // SAFETY: greenlet.h fixes the meaning and the number (12) of the table's entries; they are static for the life of
    // the process. The empty tuple is leaked on purpose, as it is passed to every switch.
    let api = unsafe {
        let entry = |index: usize| *table.add(index);
        Api {
            greenlet_type: entry(0).cast(),
            greenlet_exit: entry(2).cast(),
            get_current: std::mem::transmute::<*mut c_void, Current>(entry(4)),
            throw: std::mem::transmute::<*mut c_void, Throw>(entry(5)),
            switch: std::mem::transmute::<*mut c_void, Switch>(entry(6)),
            set_parent: std::mem::transmute::<*mut c_void, SetParent>(entry(7)),
            is_main: std::mem::transmute::<*mut c_void, Is>(entry(8)),
            started: std::mem::transmute::<*mut c_void, Is>(entry(9)),
            active: std::mem::transmute::<*mut c_void, Is>(entry(10)),
            get_parent: std::mem::transmute::<*mut c_void, Parent>(entry(11)),
            no_args: PyTuple::empty(py).into_ptr(),
        }
    };
    let _ = API.set(api);
    Ok(())
}

/// Returns the running greenlet.
///
/// # Errors
/// greenlet's `RuntimeError` once the interpreter is being finalized.
#[inline]
pub fn current(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: returns a new reference, or NULL with an error set.
    unsafe { Bound::from_owned_ptr_or_err(py, (api().get_current)()) }
}

/// Suspends the caller and resumes (or starts) `target` with no value; returns what the caller is resumed with.
///
/// `None` means that an error was thrown into the caller meanwhile: it is set in the interpreter, and [`thrown`]
/// fetches it. The result is no `PyResult`, as its eight words would lie in the frames that are copied at each switch.
#[inline]
pub fn suspend<'py>(target: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    // SAFETY: `target` is a greenlet (its constructors check); arguments are a tuple and NULL; the result is a new
    // reference or NULL with an error set.
    unsafe {
        let result = (api().switch)(target.as_ptr(), api().no_args, std::ptr::null_mut());
        Bound::from_owned_ptr_or_opt(target.py(), result)
    }
}

/// Does what [`suspend`] does, for a frame that holds bare pointers: `target` is borrowed, the result a new reference
/// or NULL with an error set.
///
/// # Safety
/// `target` is a greenlet, and the GIL is held.
#[inline]
pub unsafe fn suspend_raw(target: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as for `suspend`, by this function's contract.
    unsafe { (api().switch)(target, api().no_args, std::ptr::null_mut()) }
}

/// Fetches the error that [`suspend`] left in the interpreter.
#[cold]
#[inline(never)]
pub fn thrown(py: Python<'_>) -> PyErr {
    PyErr::fetch(py)
}

/// Suspends the caller as [`suspend`] does, and fetches the error.
///
/// # Errors
/// Returns the error that is thrown into the caller while it is suspended.
#[inline]
pub fn switch<'py>(target: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    suspend(target).ok_or_else(|| thrown(target.py()))
}

/// Suspends the caller as [`switch`] does; the target receives these positional arguments.
///
/// # Errors
/// Returns the error that is thrown into the caller while it is suspended.
pub fn switch_with<'py>(
    target: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: as for `switch`.
    unsafe {
        let result = (api().switch)(target.as_ptr(), args.as_ptr(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(target.py(), result)
    }
}

/// Suspends the caller and raises `error` in `target`.
///
/// # Errors
/// Returns the error that is thrown into the caller while it is suspended.
pub fn throw<'py>(target: &Bound<'py, PyAny>, error: PyErr) -> PyResult<Bound<'py, PyAny>> {
    let py = target.py();
    let value = error.into_value(py).into_bound(py);
    let kind = value.get_type();
    let traceback = value
        .getattr(pyo3::intern!(py, "__traceback__"))
        .ok()
        .filter(|traceback| !traceback.is_none());
    let traceback = traceback
        .as_ref()
        .map_or(std::ptr::null_mut(), Bound::as_ptr);
    // SAFETY: `target` is a greenlet; class, instance and traceback (or NULL) belong together and outlive the call.
    unsafe {
        let result = (api().throw)(target.as_ptr(), kind.as_ptr(), value.as_ptr(), traceback);
        Bound::from_owned_ptr_or_err(py, result)
    }
}

/// Makes `parent` the greenlet that runs when `child` ends.
///
/// # Errors
/// greenlet's `ValueError` for a parent of another thread or a cycle.
#[inline]
pub fn set_parent(child: &Bound<'_, PyAny>, parent: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: both are greenlets; -1 means an error is set.
    match unsafe { (api().set_parent)(child.as_ptr(), parent.as_ptr()) } {
        -1 => Err(PyErr::fetch(child.py())),
        _ => Ok(()),
    }
}

/// Returns the parent, `None` for a main greenlet.
pub fn parent<'py>(of: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    // SAFETY: `of` is a greenlet; the result is a new reference or NULL, possibly with an error set, which is cleared.
    unsafe {
        let found = Bound::from_owned_ptr_or_opt(of.py(), (api().get_parent)(of.as_ptr()));
        if found.is_none() {
            ffi::PyErr_Clear();
        }
        found
    }
}

/// Returns true if `greenlet` has run at all, ended ones included.
#[inline]
pub fn started(greenlet: &Bound<'_, PyAny>) -> bool {
    // SAFETY: `greenlet` is a greenlet; reads its state.
    unsafe { (api().started)(greenlet.as_ptr()) != 0 }
}

/// Returns true if `greenlet` has begun and not ended.
#[inline]
pub fn active(greenlet: &Bound<'_, PyAny>) -> bool {
    // SAFETY: `greenlet` is a greenlet; reads its state.
    unsafe { (api().active)(greenlet.as_ptr()) != 0 }
}

/// Returns true if `greenlet` is the main greenlet of its thread.
pub fn is_main(greenlet: &Bound<'_, PyAny>) -> bool {
    // SAFETY: `greenlet` is a greenlet; reads its state.
    unsafe { (api().is_main)(greenlet.as_ptr()) != 0 }
}

/// Returns `greenlet.GreenletExit`.
pub fn exit_type(py: Python<'_>) -> Bound<'_, PyAny> {
    // SAFETY: an immortal class object owned by greenlet's module.
    unsafe { Bound::from_borrowed_ptr(py, api().greenlet_exit) }
}

/// Returns the class `greenlet.greenlet`.
pub fn class(py: Python<'_>) -> Bound<'_, PyAny> {
    // SAFETY: an immortal class object owned by greenlet's module.
    unsafe { Bound::from_borrowed_ptr(py, api().greenlet_type.cast()) }
}
