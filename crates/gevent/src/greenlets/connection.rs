//! The function that a server spawns for each connection: its handler, and then the end of the connection.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use crate::ffi::{attribute, entry};

static FUNCTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The function `StreamServer.do_close`, unless a program has changed it. The engine does its work without calling it.
static PLAIN_CLOSE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Notes `StreamServer.do_close`.
pub fn set_plain_close(py: Python<'_>, do_close: &Py<PyAny>) {
    PLAIN_CLOSE.set(py, do_close.clone_ref(py)).ok();
}

/// Adds the function to the module.
///
/// # Errors
/// Fails when the function cannot be made.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let function = entry::handle_function(module, "gevent.baseserver")?;
    module.add(entry::HANDLE_NAME, &function)?;
    FUNCTION.set(module.py(), function.unbind()).ok();
    Ok(())
}

/// Returns the function ``_handle_and_close_when_done(handle, close, args)``.
pub fn function(py: Python<'_>) -> Option<&Py<PyAny>> {
    FUNCTION.get(py)
}

/// A call of the function, taken apart: a greenlet that makes it calls the handler straight away, with no frame of the
/// function under all that the handler does.
pub struct Handling<'py> {
    /// The handler.
    pub handle: Bound<'py, PyAny>,
    /// The function that ends the connection.
    pub close: Bound<'py, PyAny>,
    /// The arguments of both.
    pub args: Bound<'py, PyTuple>,
}

impl<'py> Handling<'py> {
    /// Takes the call apart; returns none when it calls another function, or has other arguments than the function
    /// takes.
    pub fn of(
        function: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> Option<Self> {
        let py = function.py();
        if kwargs.is_some() || !self::function(py).is_some_and(|ours| ours.is(function)) {
            return None;
        }
        let [handle, close, args] = args.as_slice() else {
            return None;
        };
        Some(Self {
            handle: handle.clone(),
            close: close.clone(),
            args: args.cast::<PyTuple>().ok()?.clone(),
        })
    }

    /// Ends the connection after the handler; returns the handler's result, unless closing fails.
    ///
    /// # Errors
    /// Returns the handler's error, or the error of closing, with the handler's error as its context.
    pub fn end<T>(&self, result: PyResult<T>) -> PyResult<T> {
        let py = self.close.py();
        match self.close() {
            Ok(()) => result,
            Err(failure) => {
                if let Err(first) = result {
                    let first = first.into_value(py);
                    let context = pyo3::intern!(py, "__context__");
                    failure.value(py).setattr(context, first)?;
                }
                Err(failure)
            }
        }
    }

    /// Calls `close`; without a Python frame where that is `StreamServer.do_close`.
    fn close(&self) -> PyResult<()> {
        let py = self.close.py();
        let plain = PLAIN_CLOSE.get(py).is_some_and(|plain| {
            attribute::function_of(&self.close).is_some_and(|function| function.is(plain))
        });
        match self.args.as_slice() {
            [socket, ..] if plain && !socket.is_none() => {
                socket.call_method0(pyo3::intern!(py, "close")).map(drop)
            }
            _ => self.close.call1(&self.args).map(drop),
        }
    }
}
