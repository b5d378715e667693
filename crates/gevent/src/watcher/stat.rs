//! `loop.stat`: calls a function when the attributes of a path change.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};
use reactor::{Time, TimerKey};
use rustix::fs::Stat as Attributes;

use super::{Kind, Watcher, timer};
use crate::args::from_python;
use crate::cell::GilCell;
use crate::event_loop::loop_::{Due, Loop};

/// The event number that callbacks get.
const STAT: u32 = 4096;
/// The least number of seconds between two checks, the same as in libev.
const SHORTEST: f64 = 0.107_489_1;
/// The number of seconds between two checks when no interval is given, the same as in libev.
const USUAL: f64 = 5.007_489_1;

/// A path, and the attributes that it had at the last check.
#[derive(Debug)]
pub struct Path {
    path: PathBuf,
    interval: f64,
    now: Option<Attributes>,
    before: Option<Attributes>,
    key: Option<TimerKey>,
}

pub(super) fn arm(watcher: &Py<Watcher>, py: Python<'_>, cell: &GilCell<Path>) -> PyResult<()> {
    cell.with(py, |path| {
        if path.interval != 0.0 {
            path.interval = path.interval.max(SHORTEST);
        }
    });
    let seen = read_attributes(py, cell);
    cell.with(py, |path| path.now = seen);
    schedule(watcher, py, cell);
    Ok(())
}

fn schedule(watcher: &Py<Watcher>, py: Python<'_>, cell: &GilCell<Path>) {
    let interval = cell.with(py, |path| {
        if path.interval == 0.0 {
            USUAL
        } else {
            path.interval
        }
    });
    let deadline = Due::Watcher(watcher.clone_ref(py));
    let at = Time::now().after(timer::delay(interval));
    let key = watcher.get().loop_().set_timer(py, at, deadline);
    cell.with(py, |path| path.key = Some(key));
}

pub(super) fn disarm(loop_: &Loop, py: Python<'_>, cell: &GilCell<Path>) {
    if let Some(key) = cell.with(py, |path| path.key.take()) {
        loop_.cancel_timer(py, key);
    }
}

/// Reads the attributes of the path by `lstat(2)`, so those of a symbolic link itself; returns `None` if nothing exists
/// there.
fn read_attributes(py: Python<'_>, cell: &GilCell<Path>) -> Option<Attributes> {
    let path = cell.with(py, |path| path.path.clone());
    rustix::fs::lstat(&path).ok()
}

/// Checks the path, fires the watcher if something has changed, and schedules the next check.
pub(super) fn check(watcher: &Py<Watcher>, py: Python<'_>, cell: &GilCell<Path>) {
    let seen = read_attributes(py, cell);
    let changed = cell.with(py, |path| {
        path.key = None;
        let changed = !same(path.now.as_ref(), seen.as_ref());
        if changed {
            path.before = path.now;
            path.now = seen;
        }
        changed
    });
    schedule(watcher, py, cell);
    if changed {
        Watcher::fire(watcher, py, watcher.get().loop_(), STAT);
    }
}

fn same(a: Option<&Attributes>, b: Option<&Attributes>) -> bool {
    let identity = |a: &Attributes| {
        (
            a.st_dev, a.st_ino, a.st_mode, a.st_nlink, a.st_uid, a.st_gid, a.st_rdev, a.st_size,
        )
    };
    let times = |a: &Attributes| {
        [
            (a.st_atime, a.st_atime_nsec),
            (a.st_mtime, a.st_mtime_nsec),
            (a.st_ctime, a.st_ctime_nsec),
        ]
    };
    match (a, b) {
        (Some(a), Some(b)) => identity(a) == identity(b) && times(a) == times(b),
        (None, None) => true,
        _ => false,
    }
}

/// Makes the object that `os.stat` would return, with times in whole seconds.
fn result<'py>(py: Python<'py>, seen: Option<Attributes>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(a) = seen else { return Ok(None) };
    let fields = (
        a.st_mode, a.st_ino, a.st_dev, a.st_nlink, a.st_uid, a.st_gid, a.st_size, a.st_atime,
        a.st_mtime, a.st_ctime,
    );
    let fields: Bound<'py, PyTuple> = fields.into_pyobject(py)?;
    py.import("os")?
        .getattr(pyo3::intern!(py, "stat_result"))?
        .call1((fields,))
        .map(Some)
}

/// Calls its function when a file appears, vanishes or changes at `path`, which is checked every `interval` seconds: at
/// least 0.1074891, about 5 if it is 0.
#[pyclass(extends = Watcher, frozen, subclass, name = "stat", module = "gevent.core")]
#[derive(Debug)]
pub struct Stat;

impl Stat {
    fn cell<'a>(slf: &'a Bound<'_, Self>) -> &'a GilCell<Path> {
        match &*slf.as_super().get().kind {
            Kind::Stat(cell) => cell,
            _ => unreachable!("a stat watcher is made of a stat kind"),
        }
    }
}

#[pymethods]
impl Stat {
    #[new]
    #[pyo3(signature = (r#loop, path, interval = 0.0, r#ref = true, priority = None))]
    pub(crate) fn new(
        r#loop: Py<Loop>,
        path: &Bound<'_, PyString>,
        #[pyo3(from_py_with = from_python)] interval: f64,
        r#ref: bool,
        #[pyo3(from_py_with = from_python)] priority: Option<i32>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let path = Path {
            path: path.extract()?,
            interval,
            now: None,
            before: None,
            key: None,
        };
        Ok(Watcher::base(
            r#loop,
            Kind::Stat(Box::new(GilCell::new(path))),
            r#ref,
            priority,
        )
        .add_subclass(Self))
    }

    /// The path.
    #[getter]
    fn path(slf: &Bound<'_, Self>) -> OsString {
        Self::cell(slf).with(slf.py(), |path| path.path.clone().into_os_string())
    }

    #[getter]
    fn _paths<'py>(slf: &Bound<'py, Self>) -> Bound<'py, PyBytes> {
        PyBytes::new(slf.py(), Self::path(slf).as_bytes())
    }

    /// Seconds between two checks, as given; it is raised to the least possible at the start.
    #[getter]
    fn interval(slf: &Bound<'_, Self>) -> f64 {
        Self::cell(slf).with(slf.py(), |path| path.interval)
    }

    /// The attributes at the last check, an `os.stat_result`; `None` when there was nothing.
    #[getter]
    fn attr<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        result(slf.py(), Self::cell(slf).with(slf.py(), |path| path.now))
    }

    /// The attributes before the last change, an `os.stat_result`; `None` when there was nothing.
    #[getter]
    fn prev<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        result(slf.py(), Self::cell(slf).with(slf.py(), |path| path.before))
    }
}
