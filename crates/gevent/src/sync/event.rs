//! `gevent.event.Event`: a flag that greenlets wait for.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple, PyType};

use crate::args;
use crate::ffi::blocking::{self, Blocking, First, Step};
use crate::ffi::greenlet;
use crate::hub;
use crate::sync::linkable::{Linkable, Linked};
use crate::waiting::deadline::Deadline;
use crate::waiting::park::park;
use crate::waiting::reason::{Reason, WaitKind};

/// A flag that greenlets wait for: `set` raises it and wakes all waiters, `clear` lowers it.
///
/// Greenlets of several threads may share it. Beside what ``threading.Event`` does, it can be waited for among others with
/// `gevent.wait`, and linked with `rawlink`.
///
/// Example::
///
///     ready = Event()
///     gevent.spawn_later(0.1, ready.set)
///     assert ready.wait(timeout=5)
#[pyclass(frozen, subclass, weakref, name = "Event", module = "gevent.event")]
#[derive(Debug)]
pub struct Event {
    flag: AtomicBool,
    links: Linkable,
}

impl Linked for Event {
    const RECURS: bool = true;

    fn links(&self) -> &Linkable {
        &self.links
    }
}

impl Event {
    /// Lets the greenlets that were notified before run first, as they waited longer.
    fn queue_up(&self, py: Python<'_>) -> PyResult<()> {
        if !self.links.has_notified_here(py) || greenlet::current(py)?.is(&hub::current(py)?) {
            return Ok(());
        }
        let wait = hub::new_wait(py)?;
        wait.wake_none(py);
        park(py, &wait).map(drop)
    }

    /// Returns the step of a call that waits until the flag is up, or the timeout is over; it returns true or false.
    fn wait_until_set(
        slf: &Bound<'_, Self>,
        timeout: Option<&Bound<'_, PyAny>>,
        reason: Reason,
    ) -> PyResult<Step> {
        Linkable::wait_for(slf, Deadline::of(timeout)?, reason, |event, passed| {
            Ok(truth(event.py(), passed.is_none()))
        })
    }
}

fn truth(py: Python<'_>, value: bool) -> Py<PyAny> {
    PyBool::new(py, value).to_owned().into_any().unbind()
}

/// `Event.wait`.
pub struct WaitForEvent;

impl Blocking for WaitForEvent {
    type Owner = Event;
    const NAME: &'static CStr = c"wait";
    const DOC: &'static CStr = c"wait($self, /, timeout=None)\n--\n\n\
Wait until the flag is up, for at most `timeout` seconds, and return whether it was.\n\n\
Whoever was waiting at `set` returns True even if `clear` comes before it runs. `timeout` may be a `Timeout`,\n\
which is then started, and cancelled afterwards.";
    const PARAMETERS: &'static [&'static str] = &["timeout"];

    fn begin(slf: &Bound<'_, Event>, arguments: &[Option<Bound<'_, PyAny>>]) -> PyResult<First> {
        let py = slf.py();
        let this = slf.get();
        if this.is_set() {
            this.queue_up(py)?;
            return Ok(Step::Done(truth(py, true)).into());
        }
        let reason = Reason::on(WaitKind::Wait, slf);
        Event::wait_until_set(slf, arguments[0].as_ref(), reason).map(Into::into)
    }
}

#[pymethods]
impl Event {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*args, **kwargs), text_signature = "()")]
    fn new(
        class: &Bound<'_, PyType>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        args::refuse_excess(class, args, kwargs)?;
        Ok(Self {
            flag: AtomicBool::new(false),
            links: Linkable::new(),
        })
    }

    /// Return True if the flag is up.
    fn is_set(&self) -> bool {
        self.flag.load(Relaxed)
    }

    /// The same as `is_set`.
    #[pyo3(name = "isSet")]
    fn is_set_by_its_old_name(&self) -> bool {
        self.is_set()
    }

    /// The same as `is_set`, under the name that `gevent.wait` calls.
    fn ready(&self) -> bool {
        self.is_set()
    }

    /// Raise the flag and wake all waiters, in the order in which they came.
    fn set(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().flag.store(true, Relaxed);
        Linkable::notify_all(slf)
    }

    /// Wait as `wait` does, as a part of `owner`: reports then show that the greenlet joins `owner`.
    #[pyo3(signature = (owner, timeout = None))]
    fn _wait_as_part_of(
        slf: &Bound<'_, Self>,
        owner: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if slf.get().is_set() {
            slf.get().queue_up(py)?;
            return Ok(truth(py, true));
        }
        let reason = Reason::on(WaitKind::Join, owner);
        blocking::complete(py, Event::wait_until_set(slf, timeout, reason)?)
    }

    /// Lower the flag: a greenlet that waits from now on waits for the next `set`.
    fn clear(&self) {
        self.flag.store(false, Relaxed);
    }

    /// Have `callback(event)` called in the hub when the flag is up, once.
    ///
    /// Raises `TypeError` if it cannot be called.
    fn rawlink(slf: &Bound<'_, Self>, callback: &Bound<'_, PyAny>) -> PyResult<()> {
        let ticket = slf.get().links.rawlink(callback)?;
        if slf.get().is_set() {
            Linkable::notify_callable(slf, ticket, None)
        } else {
            Ok(())
        }
    }

    /// Remove a `rawlink`; nothing happens when there is none.
    fn unlink(&self, callback: &Bound<'_, PyAny>) -> PyResult<()> {
        self.links.unlink(callback)
    }

    /// Return how many waiters and links there are.
    fn linkcount(&self, py: Python<'_>) -> usize {
        self.links.count(py)
    }

    /// The hub of the first greenlet that waited, None before.
    #[getter]
    fn hub(&self, py: Python<'_>) -> Option<Py<hub::BaseHub>> {
        self.links.hub(py)
    }

    /// Make it usable in a forked child, where other threads are gone.
    fn _at_fork_reinit(&self, py: Python<'_>) {
        self.links.after_fork(py);
    }

    fn __str__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let kind = slf.get_type();
        Ok(format!(
            "<{}.{} at {:#x} {} _links[{}]>",
            kind.module()?,
            kind.name()?,
            slf.as_ptr() as usize,
            if slf.get().is_set() { "set" } else { "clear" },
            slf.get().links.count(slf.py()),
        ))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.links.traverse(visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.links.clear(py);
    }
}
