//! Swaps what the state of a thread has for coroutines: the hooks of async generators, and the depth to which the
//! origins of coroutines are recorded.
//!
//! A greenlet that runs a loop of asyncio has them swapped twice for each of its waits. The functions of `sys` take an
//! audit event, a tuple and a parse of arguments for that, so the fields are exchanged where they are. Their place is not
//! part of CPython's API: it is found relative to that of the frames ([`frame_stack`]), and counts only if values that
//! the functions of `sys` set are read there. Otherwise these functions are called.

use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::ffi::frame_stack;

/// The state that a thread keeps for its coroutines. The default is that of a thread in which no loop runs.
#[derive(Debug, Default)]
pub struct CoroutineState {
    /// The hook that an async generator calls as its iteration begins.
    pub firstiter: Option<Py<PyAny>>,
    /// The hook that an async generator calls before it is finalized.
    pub finalizer: Option<Py<PyAny>>,
    /// The number of frames that a new coroutine records as its origin.
    pub origin_depth: c_int,
}

/// The same as it is in the state of the thread. The hooks are references that the thread owns, or NULL.
#[repr(C)]
struct Fields {
    origin_depth: c_int,
    firstiter: *mut ffi::PyObject,
    finalizer: *mut ffi::PyObject,
}

/// The functions of `sys` for these fields.
struct Functions {
    get_hooks: Py<PyAny>,
    set_hooks: Py<PyAny>,
    get_depth: Py<PyAny>,
    set_depth: Py<PyAny>,
    /// The offset of [`Fields`] in a thread's state, if it is known.
    offset: Option<usize>,
}

static FUNCTIONS: PyOnceLock<Functions> = PyOnceLock::new();

impl CoroutineState {
    /// Returns true if it is that of a thread in which no loop runs.
    pub fn is_default(&self) -> bool {
        self.firstiter.is_none() && self.finalizer.is_none() && self.origin_depth == 0
    }

    /// Sets it in the running thread, and returns what was there.
    ///
    /// # Errors
    /// Only where the functions of `sys` are called: the error that an audit hook raises.
    pub fn swap(self, py: Python<'_>) -> PyResult<Self> {
        let functions = FUNCTIONS.get_or_try_init(py, || Functions::load(py))?;
        match functions.offset {
            // SAFETY: the offset was found to be that of the fields.
            Some(offset) => Ok(unsafe { self.swap_fields(py, offset) }),
            None => functions.swap(py, self),
        }
    }

    /// Exchanges the fields at `offset` in the state of the running thread.
    ///
    /// # Safety
    /// The fields are at this offset in a thread's state.
    unsafe fn swap_fields(self, py: Python<'_>, offset: usize) -> Self {
        let into_ptr = |hook: Option<Py<PyAny>>| hook.map_or(std::ptr::null_mut(), Py::into_ptr);
        let new = Fields {
            origin_depth: self.origin_depth,
            firstiter: into_ptr(self.firstiter),
            finalizer: into_ptr(self.finalizer),
        };
        // SAFETY: the state of the running thread lives, and only this thread uses it, which holds the GIL; the fields
        // are there by this function's contract. Each reference moves: the thread's to the caller, the new to the thread.
        unsafe {
            let old = frame_stack::at::<Fields>(offset).replace(new);
            Self {
                firstiter: Bound::from_owned_ptr_or_opt(py, old.firstiter).map(Bound::unbind),
                finalizer: Bound::from_owned_ptr_or_opt(py, old.finalizer).map(Bound::unbind),
                origin_depth: old.origin_depth,
            }
        }
    }
}

impl Functions {
    fn load(py: Python<'_>) -> PyResult<Self> {
        let sys = py.import("sys")?;
        let function = |name: &str| sys.getattr(name).map(Bound::unbind);
        let mut functions = Self {
            get_hooks: function("get_asyncgen_hooks")?,
            set_hooks: function("set_asyncgen_hooks")?,
            get_depth: function("get_coroutine_origin_tracking_depth")?,
            set_depth: function("set_coroutine_origin_tracking_depth")?,
            offset: None,
        };
        functions.offset = functions.find(py)?;
        Ok(functions)
    }

    /// Returns the offset of the fields, if values that `sys` sets are read there.
    fn find(&self, py: Python<'_>) -> PyResult<Option<usize>> {
        // The fields precede those of the frames, with the current context, its version and the thread's number in
        // between.
        let Some(offset) = frame_stack::offset_before(py, size_of::<Fields>() + 24) else {
            return Ok(None);
        };
        let probe = CoroutineState {
            firstiter: Some(self.get_hooks.clone_ref(py)),
            finalizer: Some(self.set_hooks.clone_ref(py)),
            origin_depth: 12_345,
        };
        let before = self.swap(py, probe)?;
        // SAFETY: the fields of the frames are in the thread's state, and so is what precedes them by this little. The
        // memory is compared as numbers, whatever it is.
        let fits = unsafe {
            let at = frame_stack::at::<Fields>(offset);
            (&raw const (*at).origin_depth).read() == 12_345
                && (&raw const (*at).firstiter).read() == self.get_hooks.as_ptr()
                && (&raw const (*at).finalizer).read() == self.set_hooks.as_ptr()
        };
        self.swap(py, before)?;
        Ok(fits.then_some(offset))
    }

    /// Does what [`CoroutineState::swap`] does, through the functions of `sys`.
    fn swap(&self, py: Python<'_>, new: CoroutineState) -> PyResult<CoroutineState> {
        let hooks = self.get_hooks.call0(py)?;
        let (firstiter, finalizer) = hooks.extract::<(Option<Py<PyAny>>, Option<Py<PyAny>>)>(py)?;
        self.set_hooks.call1(py, (new.firstiter, new.finalizer))?;
        let origin_depth = self.get_depth.call0(py)?.extract(py)?;
        self.set_depth.call1(py, (new.origin_depth,))?;
        Ok(CoroutineState {
            firstiter,
            finalizer,
            origin_depth,
        })
    }
}
