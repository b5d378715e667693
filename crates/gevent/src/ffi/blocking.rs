//! Functions and methods that park from a frame of a few pointers, with a fast path that needs no wait.
//!
//! A switch copies the stack from its top to the greenlet's start. A method that pyo3 generates has 800 bytes of wrappers
//! there, and the functions that it calls have as much again. A call made here is split at the switch instead: the first half,
//! which needs all the room, returns before the switch, and the second half runs after it and finds what it needs on the
//! heap, in the wait.
//!
//! ```text
//!   Python calls recv(100)
//!   └── enter::<Receive>          the one frame that is copied: an object, a wait, a target
//!       ├── try_fast_path         returns; the system call succeeded: that is the result, nothing else is done
//!       ├── first                 returns; the system call would block: a wait is registered, a greenlet chosen
//!       ├── greenlet's switch     ═══ the stack is copied here; other greenlets run ═══
//!       └── second                returns; reads the wait's outcome, tries again, and parks once more if need be
//! ```

use std::ffi::{CStr, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyClass, PyTypeInfo};

use super::attached::attached;
use super::entry::panicked;
use super::{greenlet, tracing};
use crate::hub;
use crate::structured::interruption;
use crate::waiting::park::{self, Came, Who};
use crate::waiting::turn::Turn;
use crate::waiting::wait::{Outcome, Wait, WaitRef};

type Object = *mut ffi::PyObject;

/// The next step of a call that may park.
#[derive(Debug)]
pub enum Step {
    /// The call returns this.
    Done(Py<PyAny>),
    /// The call parks on this wait, and goes on with the wait's second half.
    Park(WaitRef),
}

/// The first step of a call.
pub enum First {
    /// A step that later calls may return, too.
    Step(Step),
    /// The call yields, to this greenlet if there is one, and then returns None.
    Yield(Turn, Option<Py<PyAny>>),
}

/// The result of a call's fast path.
#[derive(Debug)]
pub enum FastPath {
    /// The call returns this.
    Done(Py<PyAny>),
    /// The call raises this.
    Failed(PyErr),
    /// The slow path does the rest of the call, of which this much is done.
    Incomplete(usize),
}

impl From<Step> for First {
    fn from(step: Step) -> Self {
        Self::Step(step)
    }
}

/// The second half of a call, which gets the wait and its outcome.
pub type Then = Box<dyn FnOnce(Python<'_>, &WaitRef, Outcome) -> PyResult<Step> + Send + Sync>;

/// A function or method whose first half is `begin`.
pub trait Blocking {
    /// The class that it is a method of, or the module for a function.
    type Owner;
    /// The name of the function or method.
    const NAME: &'static CStr;
    /// Its docstring, signature line first.
    const DOC: &'static CStr;
    /// The names of its parameters, all optional.
    const PARAMETERS: &'static [&'static str];
    /// True if the parameters may be passed by name.
    const NAMED: bool = true;

    /// Tries a call without named arguments in one non-blocking attempt.
    ///
    /// It must not call Python or drop a Python object: the panic and GIL guards of pyo3 are not set up here, which is what
    /// makes it fast. Whatever needs more returns [`FastPath::Incomplete`], and the call goes on with
    /// [`begin_after`](Self::begin_after).
    fn fast_path(
        _slf: &Bound<'_, Self::Owner>,
        _arguments: &[Borrowed<'_, '_, PyAny>],
    ) -> FastPath {
        FastPath::Incomplete(0)
    }

    /// Runs the slow path from the beginning, until the call is done or has to park.
    ///
    /// # Errors
    /// Returns the error that the call raises.
    fn begin(
        slf: &Bound<'_, Self::Owner>,
        arguments: &[Option<Bound<'_, PyAny>>],
    ) -> PyResult<First>;

    /// Runs the slow path after [`fast_path`](Self::fast_path) did so much of the call.
    ///
    /// # Errors
    /// Returns the error that the call raises.
    fn begin_after(
        slf: &Bound<'_, Self::Owner>,
        arguments: &[Option<Bound<'_, PyAny>>],
        _done: usize,
    ) -> PyResult<First> {
        Self::begin(slf, arguments)
    }
}

fn definition<B: Blocking>() -> *mut ffi::PyMethodDef {
    let definition = ffi::PyMethodDef {
        ml_name: B::NAME.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: enter::<B>,
        },
        ml_flags: (ffi::METH_FASTCALL | ffi::METH_KEYWORDS) as c_int,
        ml_doc: B::DOC.as_ptr(),
    };
    // CPython keeps the address for as long as the function lives, which may be to the end of the process.
    Box::leak(Box::new(definition))
}

/// Adds `B` to the methods of its owner.
///
/// # Errors
/// Fails when the method object cannot be made.
pub fn add_method<B>(py: Python<'_>) -> PyResult<()>
where
    B: Blocking<Owner: PyClass + PyTypeInfo>,
{
    add_method_to::<B, B::Owner>(py)
}

/// Adds `B` to the methods of a class derived from its owner, as CPython calls a class's own method faster than an
/// inherited one.
///
/// # Errors
/// Fails when the method object cannot be made.
pub fn add_method_to<B, C>(py: Python<'_>) -> PyResult<()>
where
    B: Blocking<Owner: PyClass + PyTypeInfo>,
    C: PyClass + PyTypeInfo,
{
    let class = py.get_type::<C>();
    // SAFETY: the type is live and the definition leaked; the result is a new reference or NULL with an error set.
    let method = unsafe {
        Bound::from_owned_ptr_or_err(
            py,
            ffi::PyDescr_NewMethod(class.as_type_ptr(), definition::<B>()),
        )?
    };
    class.setattr(B::NAME.to_str().unwrap_or_default(), method)
}

/// Makes `B` a function object of the module `name`.
///
/// # Errors
/// Fails when the object cannot be made.
pub fn function<'py, B: Blocking<Owner = PyModule>>(
    module: &Bound<'py, PyModule>,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let name = pyo3::types::PyString::new(module.py(), name);
    // SAFETY: the definition is leaked; the function holds references to the module and the name.
    unsafe {
        let function = ffi::PyCFunction_NewEx(definition::<B>(), module.as_ptr(), name.as_ptr());
        Bound::from_owned_ptr_or_err(module.py(), function)
    }
}

/// A `Step` as bare pointers: a new reference (NULL with an error set), or a leaked wait, whose target greenlet is
/// stored separately.
enum Raw {
    Done(Object),
    Park(*const Wait),
    /// The greenlet that yields; its target is stored separately.
    Yield(Object),
}

unsafe extern "C" fn enter<B: Blocking>(
    slf: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    names: Object,
) -> Object {
    let done = if names.is_null() {
        match try_fast_path::<B>(slf, args, count) {
            Err(done) => done,
            Ok(result) => return result,
        }
    } else {
        0
    };
    let mut target = std::ptr::null_mut();
    let mut step = first::<B>(slf, (args, count, names), done, &mut target);
    loop {
        if let Raw::Done(result) = step {
            return result;
        }
        let came = if target.is_null() {
            std::ptr::null_mut()
        } else {
            // SAFETY: a target that was stored is a greenlet, held by the reference that the second half releases.
            unsafe { greenlet::suspend_raw(target) }
        };
        match step {
            Raw::Done(result) => return result,
            Raw::Park(wait) => step = second(wait, came, &mut target),
            Raw::Yield(greenlet) => return after_yield(greenlet, came, target),
        }
    }
}

/// Returns the result of the fast path (NULL with an error set), or how much of the call it has done.
#[inline(never)]
fn try_fast_path<B: Blocking>(
    slf: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
) -> Result<Object, usize> {
    // SAFETY: CPython calls with the GIL held, and passes the object (checked by the descriptor) or module that the function
    // belongs to, and `count` live objects, which stay so until the call returns; a `Borrowed` is nothing but such a pointer.
    // pyo3's count of attachments, which this leaves alone, matters where objects are dropped: not here.
    let (slf, arguments) = unsafe {
        let slf = Borrowed::from_ptr(Python::assume_attached(), slf);
        let arguments = match count.unsigned_abs() {
            0 => &[],
            count => std::slice::from_raw_parts(args.cast::<Borrowed<'_, '_, PyAny>>(), count),
        };
        (slf.cast_unchecked::<B::Owner>(), arguments)
    };
    match catch_unwind(AssertUnwindSafe(|| B::fast_path(&slf, arguments))) {
        Ok(FastPath::Done(result)) => Ok(result.into_ptr()),
        Ok(FastPath::Incomplete(done)) => Err(done),
        Ok(FastPath::Failed(error)) => Ok(in_call(|_| Err(error)).unwrap_or(std::ptr::null_mut())),
        // The panic is reported here. The slow path must not retry the call, which may have received or sent something by now.
        Err(_panic) => Ok(in_call(|_| Err(panicked())).unwrap_or(std::ptr::null_mut())),
    }
}

#[inline(never)]
fn first<B: Blocking>(
    slf: Object,
    (args, count, names): (*const Object, ffi::Py_ssize_t, Object),
    done: usize,
    target: &mut Object,
) -> Raw {
    guarded(target, |py| {
        // SAFETY: CPython passes the module that the function belongs to, or an instance of the type that the descriptor was
        // made for, which checks it: the owner. By the vectorcall protocol there are `count` positional arguments, then one
        // for each of the names.
        let (slf, arguments) = unsafe {
            (
                Bound::from_borrowed_ptr(py, slf).cast_into_unchecked::<B::Owner>(),
                arguments::<B>(py, args, count.unsigned_abs(), names)?,
            )
        };
        B::begin_after(&slf, &arguments[..B::PARAMETERS.len()], done)
    })
}

#[inline(never)]
fn second(wait: *const Wait, came: Object, target: &mut Object) -> Raw {
    let switched = std::mem::replace(target, std::ptr::null_mut());
    guarded(target, |py| {
        // SAFETY: the wait is the reference that `leave` leaked, `switched` the one it stored; `came` is what the switch
        // returned: a new reference, or NULL with an error set, or NULL where there was no switch.
        let (wait, came) = unsafe {
            let came = match Bound::from_owned_ptr_or_opt(py, came) {
                Some(value) => Came::Switched(value.unbind()),
                None if switched.is_null() => Came::Stayed,
                None => Came::Thrown,
            };
            drop(Bound::from_owned_ptr_or_opt(py, switched));
            (Arc::from_raw(wait), came)
        };
        let outcome = park::arrive(py, &wait, came);
        go_on(py, &wait, outcome).map(First::Step)
    })
}

/// Chooses the greenlet that runs while the current one yields.
fn give_way(py: Python<'_>, turn: Turn, target: &mut Object) -> PyResult<Raw> {
    let loop_ = hub::current_loop(py)?;
    match park::next_greenlet(py, loop_.get(), &Who::Yielder(&turn))? {
        Some(next) => {
            *target = next.into_ptr();
            Ok(Raw::Yield(turn.into_greenlet().into_ptr()))
        }
        None => {
            turn.end(py);
            Ok(Raw::Done(py.None().into_ptr()))
        }
    }
}

#[inline(never)]
fn after_yield(greenlet: Object, came: Object, target: Object) -> Object {
    in_call(|py| {
        // The error that was thrown into the greenlet is fetched first, as dropping objects must not run with an error
        // set.
        let error = if came.is_null() {
            PyErr::take(py)
        } else {
            None
        };
        // SAFETY: the yielding greenlet and the target are the references that `give_way` gave up, `came` is what the switch
        // returned.
        unsafe {
            let greenlet = Bound::from_owned_ptr(py, greenlet).cast_into_unchecked();
            Turn::end_of(&greenlet);
            drop(Bound::from_owned_ptr(py, target));
            drop(Bound::from_owned_ptr_or_opt(py, came));
        }
        tracing::resumed(py);
        match error {
            Some(error) => Err(interruption::in_context(py, error)),
            None => Ok(py.None().into_ptr()),
        }
    })
    .unwrap_or(std::ptr::null_mut())
}

/// Runs a call to its end, for callers whose own frame stays on the stack.
///
/// # Errors
/// Returns the error that the call raises.
pub fn complete(py: Python<'_>, mut step: Step) -> PyResult<Py<PyAny>> {
    loop {
        let wait = match step {
            Step::Done(result) => return Ok(result),
            Step::Park(wait) => wait,
        };
        let outcome = park::park(py, &wait);
        step = go_on(py, &wait, outcome)?;
    }
}

fn go_on(py: Python<'_>, wait: &WaitRef, outcome: Outcome) -> PyResult<Step> {
    match wait.take_then(py) {
        Some(then) => then(py, wait, outcome),
        None => outcome.map(|_| Step::Done(py.None())),
    }
}

/// Chooses the greenlet to switch to after the first step, if that parks or yields.
#[inline(never)]
fn set_out(py: Python<'_>, first: PyResult<First>, target: &mut Object) -> PyResult<Raw> {
    match first? {
        First::Step(step) => leave(py, step, target),
        First::Yield(turn, None) => give_way(py, turn, target),
        First::Yield(turn, Some(next)) => {
            *target = next.into_ptr();
            Ok(Raw::Yield(turn.into_greenlet().into_ptr()))
        }
    }
}

/// Chooses the greenlet to switch to for a step that parks.
fn leave(py: Python<'_>, mut step: Step, target: &mut Object) -> PyResult<Raw> {
    loop {
        let wait = match step {
            Step::Done(result) => return Ok(Raw::Done(result.into_ptr())),
            Step::Park(wait) => wait,
        };
        match park::choose(py, &wait) {
            Ok(next) => {
                *target = next.map_or(std::ptr::null_mut(), Bound::into_ptr);
                return Ok(Raw::Park(Arc::into_raw(wait)));
            }
            Err(error) => step = go_on(py, &wait, Err(error))?,
        }
    }
}

/// Runs `f`; sets its error or panic as an exception in the interpreter.
fn in_call<R>(f: impl FnOnce(Python<'_>) -> PyResult<R>) -> Option<R> {
    // SAFETY: what calls this is called by CPython, directly or after a switch, which is over in the same thread.
    unsafe { attached(f) }
}

fn guarded(target: &mut Object, f: impl FnOnce(Python<'_>) -> PyResult<First>) -> Raw {
    in_call(|py| {
        let first = f(py);
        set_out(py, first, target)
    })
    .unwrap_or(Raw::Done(std::ptr::null_mut()))
}

const MOST: usize = 3;

/// # Safety
/// The arguments are those of a vectorcall.
#[inline(never)]
unsafe fn arguments<'py, B: Blocking>(
    py: Python<'py>,
    args: *const Object,
    count: usize,
    names: Object,
) -> PyResult<[Option<Bound<'py, PyAny>>; MOST]> {
    const { assert!(B::PARAMETERS.len() <= MOST) };
    let function = || B::NAME.to_string_lossy();
    if count > B::PARAMETERS.len() {
        let function = function();
        return Err(PyTypeError::new_err(format!(
            "{function}() takes at most {} arguments ({count} given)",
            B::PARAMETERS.len()
        )));
    }
    // SAFETY: by this function's contract.
    let argument = |at: usize| unsafe { Bound::from_borrowed_ptr(py, *args.add(at)) };
    let mut found = [const { None }; MOST];
    for (at, slot) in found.iter_mut().enumerate().take(count) {
        *slot = Some(argument(at));
    }
    if !names.is_null() {
        // SAFETY: the names of a vectorcall are a tuple of strings.
        let names = unsafe { Bound::from_borrowed_ptr(py, names).cast_into_unchecked::<PyTuple>() };
        for (at, name) in names.iter().enumerate() {
            let text = name.extract::<&str>()?;
            let named = |parameter: &&str| B::NAMED && *parameter == text;
            let Some(place) = B::PARAMETERS.iter().position(named) else {
                let function = function();
                let message = format!("{function}() got an unexpected keyword argument '{text}'");
                return Err(PyTypeError::new_err(message));
            };
            if found[place].replace(argument(count + at)).is_some() {
                let function = function();
                let message = format!("{function}() got multiple values for argument '{text}'");
                return Err(PyTypeError::new_err(message));
            }
        }
    }
    Ok(found)
}
