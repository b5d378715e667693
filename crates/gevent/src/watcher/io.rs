//! `loop.io`: readiness of a descriptor that the loop does not own.

use std::os::fd::RawFd;

use pyo3::exceptions::{PyAttributeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use reactor::Interest;

use super::{Kind, READ, WRITE, Watcher};
use crate::args::from_python;
use crate::cell::GilCell;
use crate::errors::errno_error;
use crate::event_loop::loop_::{Loop, Watched};
use crate::ffi::descriptor;

/// Set in `events` until the watcher first starts, as programs that print events expect.
const FRESH: u32 = 128;

/// A descriptor, and the events that it is watched for.
#[derive(Debug)]
pub struct Descriptor {
    pub(super) fd: RawFd,
    pub(super) events: u32,
    key: Option<usize>,
}

pub(super) fn arm(
    watcher: &Py<Watcher>,
    py: Python<'_>,
    cell: &GilCell<Descriptor>,
) -> PyResult<()> {
    let (fd, events) = cell.with(py, |descriptor| {
        descriptor.events &= !FRESH;
        (descriptor.fd, descriptor.events)
    });
    let interest = Interest::from_bits(events as u8);
    // A watcher for no event is active all the same, and never ready.
    if !interest.is_empty() {
        let watched = Watched::Watcher(watcher.clone_ref(py));
        let key = watcher.get().loop_().watch(py, fd, interest, watched)?;
        cell.with(py, |descriptor| descriptor.key = Some(key));
    }
    Ok(())
}

pub(super) fn disarm(loop_: &Loop, py: Python<'_>, cell: &GilCell<Descriptor>) {
    let (fd, key) = cell.with(py, |descriptor| (descriptor.fd, descriptor.key.take()));
    if let Some(key) = key {
        loop_.unwatch_soon(py, fd, key);
    }
}

fn checked_fd(fd: RawFd) -> PyResult<RawFd> {
    match descriptor::borrowed(fd, |fd| rustix::io::fcntl_getfd(fd)) {
        None => Err(PyValueError::new_err(format!(
            "fd must be non-negative: {fd}"
        ))),
        Some(Err(error)) => Err(errno_error(error.raw_os_error())),
        Some(Ok(_)) => Ok(fd),
    }
}

fn checked_events(events: i32) -> PyResult<u32> {
    match u32::try_from(events) {
        Ok(bits) if bits & !(READ | WRITE | FRESH) == 0 => Ok(bits | FRESH),
        _ => Err(PyValueError::new_err(format!(
            "illegal event mask: {events}"
        ))),
    }
}

/// Calls its function whenever a descriptor can be read from (`events` 1), written to (2), or either (3). The watcher
/// is level-triggered: the function is called again and again as long as the descriptor is ready. If it raises an
/// exception, the watcher is stopped, unless it is one that ends the program, such as `KeyboardInterrupt`.
#[pyclass(extends = Watcher, frozen, subclass, name = "io", module = "gevent.core")]
#[derive(Debug)]
pub struct Io;

impl Io {
    fn cell<'a>(slf: &'a Bound<'_, Self>) -> &'a GilCell<Descriptor> {
        match &*slf.as_super().get().kind {
            Kind::Io(cell) => cell,
            _ => unreachable!("an io watcher is made of an io kind"),
        }
    }

    fn check_inactive(slf: &Bound<'_, Self>, name: &str) -> PyResult<()> {
        if slf.as_super().get().is_active(slf.py()) {
            return Err(PyAttributeError::new_err(format!(
                "'io' watcher attribute '{name}' is read-only while watcher is active"
            )));
        }
        Ok(())
    }
}

#[pymethods]
impl Io {
    #[new]
    #[pyo3(signature = (r#loop, fd, events, r#ref = true, priority = None))]
    pub(crate) fn new(
        r#loop: Py<Loop>,
        #[pyo3(from_py_with = from_python)] fd: RawFd,
        #[pyo3(from_py_with = from_python)] events: i32,
        r#ref: bool,
        #[pyo3(from_py_with = from_python)] priority: Option<i32>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let descriptor = Descriptor {
            fd: checked_fd(fd)?,
            events: checked_events(events)?,
            key: None,
        };
        Ok(
            Watcher::base(r#loop, Kind::Io(GilCell::new(descriptor)), r#ref, priority)
                .add_subclass(Self),
        )
    }

    /// Start watching: call `callback` with `args`, preceded by the events that occurred if `pass_events` is true.
    ///
    /// Raises `OSError` when the descriptor is closed.
    #[pyo3(signature = (callback, *args, pass_events = false))]
    fn start(
        slf: &Bound<'_, Self>,
        callback: &Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
        pass_events: bool,
    ) -> PyResult<()> {
        let args = if pass_events {
            let py = slf.py();
            let events = super::events(py)?.into_bound(py).into_any();
            PyTuple::new(
                py,
                std::iter::once(events)
                    .chain(args.iter())
                    .collect::<Vec<_>>(),
            )?
        } else {
            args
        };
        Watcher::start_with(slf.as_super(), callback, args)
    }

    /// The descriptor. It can be set while the watcher is not active.
    #[getter]
    fn fd(slf: &Bound<'_, Self>) -> RawFd {
        Self::cell(slf).with(slf.py(), |descriptor| descriptor.fd)
    }

    #[setter]
    fn set_fd(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = from_python)] value: RawFd,
    ) -> PyResult<()> {
        Self::check_inactive(slf, "fd")?;
        let fd = checked_fd(value)?;
        Self::cell(slf).with(slf.py(), |descriptor| {
            descriptor.fd = fd;
            descriptor.events |= FRESH;
        });
        Ok(())
    }

    /// The events to watch for: 1 (reading), 2 (writing) or 3. It can be set while the watcher is not active.
    #[getter]
    fn events(slf: &Bound<'_, Self>) -> u32 {
        Self::cell(slf).with(slf.py(), |descriptor| descriptor.events)
    }

    #[setter]
    fn set_events(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = from_python)] value: i32,
    ) -> PyResult<()> {
        Self::check_inactive(slf, "events")?;
        let events = checked_events(value)?;
        Self::cell(slf).with(slf.py(), |descriptor| descriptor.events = events);
        Ok(())
    }

    /// `events` in words.
    #[getter]
    fn events_str(slf: &Bound<'_, Self>) -> String {
        crate::event_loop::flags::events_to_str(i64::from(Self::events(slf)))
    }
}
