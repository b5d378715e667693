//! The package's exceptions as Rust types, and the conversion of the pure crates' errors to Python's.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use crate::registered::registered_exception;

registered_exception!(Cancelled);
registered_exception!(LoopExit);
registered_exception!(BlockingSwitchOutError);
registered_exception!(InvalidSwitchError);
registered_exception!(ConcurrentObjectUseError);
registered_exception!(InvalidThreadUseError);
registered_exception!(HubDestroyed);
registered_exception!(Empty);
registered_exception!(Full);
registered_exception!(ShutDown);
registered_exception!(cancel_wait_ex);
pyo3::import_exception!(greenlet, GreenletExit);

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
