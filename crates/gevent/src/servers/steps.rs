//! The methods of a server as this package defines them. They are compared with those of a server's class, so that
//! steps which are not overridden are done without a Python call.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::greenlets::connection;
use crate::registered::SERVER_STEPS;

/// The methods that `BaseServer` and `StreamServer` were defined with.
pub struct OwnSteps {
    /// `full`.
    pub full: Py<PyAny>,
    /// `do_read` of `StreamServer`.
    pub do_read: Py<PyAny>,
    /// `do_handle`.
    pub do_handle: Py<PyAny>,
    /// `do_close` of `StreamServer`.
    pub do_close: Py<PyAny>,
    /// `_spawn`.
    pub spawn: Py<PyAny>,
}

static OWN_STEPS: PyOnceLock<OwnSteps> = PyOnceLock::new();

/// Returns the steps, as `gevent.server` noted them when it was imported.
///
/// # Errors
/// Fails when it cannot be imported.
pub fn own_steps(py: Python<'_>) -> PyResult<&OwnSteps> {
    OWN_STEPS.get_or_try_init(py, || {
        let noted = SERVER_STEPS.get(py)?;
        let step = |name: &str| noted.get_item(name).map(Bound::unbind);
        let own = OwnSteps {
            full: step("full")?,
            do_read: step("do_read")?,
            do_handle: step("do_handle")?,
            do_close: step("do_close")?,
            spawn: step("_spawn")?,
        };
        connection::set_plain_close(py, &own.do_close);
        Ok(own)
    })
}
