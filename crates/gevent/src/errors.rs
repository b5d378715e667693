//! The exceptions of `gevent.exceptions`, and how the pure crates' errors become Python's.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

pyo3::import_exception!(gevent.exceptions, Cancelled);
pyo3::import_exception!(gevent.exceptions, LoopExit);
pyo3::import_exception!(gevent.exceptions, BlockingSwitchOutError);
pyo3::import_exception!(gevent.exceptions, InvalidSwitchError);
pyo3::import_exception!(gevent.exceptions, ConcurrentObjectUseError);
pyo3::import_exception!(gevent.exceptions, InvalidThreadUseError);
pyo3::import_exception!(gevent.exceptions, HubDestroyed);
pyo3::import_exception!(greenlet, GreenletExit);

/// The `OSError` with the number and the text of `error`; the conversion of PyO3 keeps the text alone.
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
pyo3::import_exception!(gevent.queue, Empty);
pyo3::import_exception!(gevent.queue, Full);
pyo3::import_exception!(gevent.queue, ShutDown);
pyo3::import_exception!(gevent._socketcommon, cancel_wait_ex);

/// The `OSError` of the error `number`.
pub fn errno_error(number: i32) -> PyErr {
    os_error(&std::io::Error::from_raw_os_error(number))
}

/// Returns true for an error of the class of `ssl` with this name. The module is not imported for it: an interpreter may be
/// built without, and where nobody has imported it there is no such error.
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
