//! The exceptions that the engine raises, and the conversion of the pure crates' errors to Python's.
//!
//! An exception that is no more than a name, a base and a docstring is made here: raising it imports nothing, which matters as
//! most of them are raised in the hub, where an import could block, or at the end of the interpreter, where it fails. Exceptions
//! with methods of Python, and those that belong to a family of the package or the standard library, stay where they are
//! defined; their Rust types find them by their names.

use pyo3::create_exception;
use pyo3::exceptions::{PyAssertionError, PyOSError, PyRuntimeError};
use pyo3::prelude::*;

use crate::registered::registered_exception;

registered_exception!(Cancelled);
registered_exception!(LoopExit);
registered_exception!(HubDestroyed);
registered_exception!(Empty);
registered_exception!(Full);
registered_exception!(ShutDown);
registered_exception!(cancel_wait_ex);
pyo3::import_exception!(greenlet, GreenletExit);

create_exception!(
    gevent.exceptions,
    BlockingSwitchOutError,
    PyAssertionError,
    "Raised when a callback that runs in the hub calls something that would have to wait.\n\n\
The hub is what wakes the waiters, so it can never wait itself. Spawn a greenlet instead."
);
create_exception!(
    gevent.exceptions,
    InvalidSwitchError,
    PyAssertionError,
    "Raised when a waiting greenlet is resumed by something else than what it waits for."
);
create_exception!(
    gevent.exceptions,
    InvalidThreadUseError,
    PyRuntimeError,
    "Raised when an object bound to the hub of one thread is used from another thread."
);
create_exception!(
    gevent.exceptions,
    ConcurrentObjectUseError,
    PyAssertionError,
    "Raised when a greenlet waits on an object that only one greenlet may wait on at a time,\n\
while another one already does.\n\n\
See :func:`gevent.socket.wait`."
);

/// Adds the exceptions that are made here to the module, from which `gevent.exceptions` takes them.
///
/// # Errors
/// `MemoryError`.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    for class in [
        py.get_type::<BlockingSwitchOutError>(),
        py.get_type::<InvalidSwitchError>(),
        py.get_type::<InvalidThreadUseError>(),
        py.get_type::<ConcurrentObjectUseError>(),
    ] {
        module.add(class.name()?, class)?;
    }
    Ok(())
}

/// Makes the `OSError` with the number and the text of `error`. The conversion of PyO3 keeps the text alone.
pub fn os_error(error: &std::io::Error) -> PyErr {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(errno) => {
            let suffix = format!(" (os error {errno})");
            PyOSError::new_err((errno, text.trim_end_matches(&suffix).to_owned()))
        }
        None => PyOSError::new_err(text),
    }
}

/// Makes the `OSError` of an error number.
pub fn errno_error(number: i32) -> PyErr {
    os_error(&std::io::Error::from_raw_os_error(number))
}

/// Returns true for an error of the class of `ssl` with this name.
///
/// The module is not imported for that: the interpreter may be built without it, and where it is not imported yet there is no
/// such error.
pub fn is_ssl_error(py: Python<'_>, error: &PyErr, class: &str) -> bool {
    let is_one = || -> PyResult<bool> {
        let modules = py.import("sys")?.getattr("modules")?;
        let ssl = modules.call_method1("get", ("ssl",))?;
        if ssl.is_none() {
            return Ok(false);
        }
        error.value(py).is_instance(&ssl.getattr(class)?)
    };
    is_one().unwrap_or(false)
}
