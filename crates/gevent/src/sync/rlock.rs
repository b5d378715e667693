//! `gevent.lock.RLock`: a lock that the greenlet which holds it may take again.

use pyo3::PyTraverseError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::args::Flag;
use crate::cell::{GilCell, Made};
use crate::ffi::greenlet;
use crate::hub::BaseHub;
use crate::sync::lock::Semaphore;
use crate::waiting::timeout::Limit;

#[derive(Default)]
struct Held {
    owner: Option<Py<PyAny>>,
    count: i64,
}

/// A lock that the greenlet which holds it may acquire again, and must release as often.
///
/// A context manager. Greenlets of several threads may share it, and threads that have no hub.
#[pyclass(frozen, subclass, weakref, name = "RLock", module = "gevent.lock")]
pub struct RLock {
    block: Made<Py<Semaphore>>,
    held: GilCell<Held>,
}

impl RLock {
    /// Counts one acquire more if the running greenlet is the owner.
    #[inline]
    fn take_again(&self, py: Python<'_>, me: &Bound<'_, PyAny>) -> bool {
        self.held.with(py, |held| {
            let mine = held.owner.as_ref().is_some_and(|owner| owner.is(me));
            if mine {
                held.count += 1;
            }
            mine
        })
    }

    #[inline]
    fn take(
        &self,
        py: Python<'_>,
        blocking: bool,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let me = greenlet::current(py)?;
        if self.take_again(py, &me) {
            return Ok(true);
        }
        let taken = self.block.get().try_take()
            || (blocking && Semaphore::take(self.block.bind(py), &Limit::of(timeout)?)?);
        if !taken {
            return Ok(false);
        }
        self.own(py, Some(me.unbind()), 1);
        Ok(true)
    }

    #[inline]
    fn own(&self, py: Python<'_>, owner: Option<Py<PyAny>>, count: i64) {
        let old = self.held.replace(py, Held { owner, count });
        drop(old);
    }

    #[inline]
    fn give(&self, py: Python<'_>) -> PyResult<()> {
        let me = greenlet::current(py)?;
        let (mine, over) = self.held.with(py, |held| {
            let mine = held.owner.as_ref().is_some_and(|owner| owner.is(&me));
            if !mine {
                return (false, None);
            }
            held.count -= 1;
            (
                true,
                if held.count == 0 {
                    held.owner.take()
                } else {
                    None
                },
            )
        });
        if !mine {
            return Err(self.not_owned(&me));
        }
        if over.is_some() {
            drop(over);
            Semaphore::give(self.block.bind(py))?;
        }
        Ok(())
    }

    #[cold]
    fn not_owned(&self, me: &Bound<'_, PyAny>) -> PyErr {
        let py = me.py();
        let owner = self._owner(py).unwrap_or_else(|| py.None());
        let message = || -> PyResult<String> {
            let (owner, me) = (owner.bind(py).repr()?, me.repr()?);
            Ok(format!(
                "cannot release un-acquired lock. Owner: {owner} Current: {me}"
            ))
        };
        message().map_or_else(|error| error, PyRuntimeError::new_err)
    }
}

#[pymethods]
impl RLock {
    #[new]
    #[pyo3(signature = (hub = None))]
    fn new(py: Python<'_>, hub: Option<Py<BaseHub>>) -> PyResult<Self> {
        let block = Py::new(py, Semaphore::of(1))?;
        block.get().belong_to(py, hub);
        Ok(Self {
            block: Made::new(block),
            held: GilCell::new(Held::default()),
        })
    }

    /// Take the lock, waiting for it at most `timeout` seconds, and return whether it was taken.
    ///
    /// The greenlet that holds it takes it once more, at once. With `blocking` false it does not wait.
    #[pyo3(
        signature = (blocking = Flag(true), timeout = None),
        text_signature = "($self, blocking=True, timeout=None)"
    )]
    fn acquire(
        &self,
        py: Python<'_>,
        blocking: Flag,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        self.take(py, blocking.0, timeout)
    }

    /// Undo one `acquire`; the last one wakes whoever waited longest.
    ///
    /// Raises `RuntimeError` unless the running greenlet holds the lock.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.give(py)
    }

    /// Whether any greenlet holds it.
    fn locked(&self, py: Python<'_>) -> bool {
        self.held.with(py, |held| held.count > 0)
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
        self.take(py, true, None)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        typ: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (typ, value, tb);
        self.give(py)
    }

    #[getter]
    fn _block(&self, py: Python<'_>) -> Py<Semaphore> {
        self.block.clone_ref(py)
    }

    #[getter]
    fn _count(&self, py: Python<'_>) -> i64 {
        self.held.with(py, |held| held.count)
    }

    #[getter]
    fn _owner(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.held.with(py, |held| {
            held.owner.as_ref().map(|owner| owner.clone_ref(py))
        })
    }

    fn _is_owned(&self, py: Python<'_>) -> PyResult<bool> {
        let me = greenlet::current(py)?;
        Ok(self.held.with(py, |held| {
            held.owner.as_ref().is_some_and(|owner| owner.is(&me))
        }))
    }

    /// Give the lock up altogether, for `threading.Condition`; what `_acquire_restore` takes to have it again.
    fn _release_save(&self, py: Python<'_>) -> PyResult<(i64, Option<Py<PyAny>>)> {
        let held = self.held.take(py);
        Semaphore::give(self.block.bind(py))?;
        Ok((held.count, held.owner))
    }

    fn _acquire_restore(
        &self,
        py: Python<'_>,
        count_owner: (i64, Option<Py<PyAny>>),
    ) -> PyResult<()> {
        if !self.block.get().try_take() {
            Semaphore::take(self.block.bind(py), &Limit::Never)?;
        }
        let (count, owner) = count_owner;
        self.own(py, owner, count);
        Ok(())
    }

    /// Make it usable in a forked child, free.
    fn _at_fork_reinit(&self, py: Python<'_>) -> PyResult<()> {
        self.own(py, None, 0);
        Semaphore::reset(self.block.bind(py), 1)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let py = slf.py();
        let this = slf.get();
        Ok(format!(
            "<{} at {:#x} _block={} _count={} _owner={}>",
            slf.get_type().name()?,
            slf.as_ptr() as usize,
            this.block.bind(py).str()?,
            this._count(py),
            this._owner(py)
                .unwrap_or_else(|| py.None())
                .bind(py)
                .repr()?,
        ))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.block.peek())?;
        self.held
            .peek(&visit, |held| visit.call(&held.owner))
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.held.take(py));
    }
}
