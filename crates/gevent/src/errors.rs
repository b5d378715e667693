//! The exceptions of `gevent.exceptions`, and how the pure crates' errors become Python's.

pyo3::import_exception!(gevent.exceptions, LoopExit);
pyo3::import_exception!(gevent.exceptions, BlockingSwitchOutError);
pyo3::import_exception!(gevent.exceptions, InvalidSwitchError);
pyo3::import_exception!(gevent.exceptions, ConcurrentObjectUseError);
pyo3::import_exception!(gevent.exceptions, InvalidThreadUseError);
pyo3::import_exception!(gevent.exceptions, HubDestroyed);
pyo3::import_exception!(greenlet, GreenletExit);
pyo3::import_exception!(gevent._socketcommon, cancel_wait_ex);

/// The `OSError` of a failed system call, of the class that Python has for its number.
pub fn os_error(number: i32) -> pyo3::PyErr {
    let text = std::io::Error::from_raw_os_error(number).to_string();
    let text = text
        .split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned();
    pyo3::exceptions::PyOSError::new_err((number, text))
}

/// [`os_error`] of what a system call reported.
pub fn io_error(error: &std::io::Error) -> pyo3::PyErr {
    os_error(error.raw_os_error().unwrap_or(libc::EIO))
}
