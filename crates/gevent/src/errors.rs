//! The exceptions of `gevent.exceptions`, and how the pure crates' errors become Python's.

pyo3::import_exception!(gevent.exceptions, LoopExit);
pyo3::import_exception!(gevent.exceptions, BlockingSwitchOutError);
pyo3::import_exception!(gevent.exceptions, InvalidSwitchError);
pyo3::import_exception!(gevent.exceptions, ConcurrentObjectUseError);
pyo3::import_exception!(gevent.exceptions, InvalidThreadUseError);
pyo3::import_exception!(gevent.exceptions, HubDestroyed);
pyo3::import_exception!(greenlet, GreenletExit);
