//! `gevent.lock.RLock`: a lock that the greenlet which holds it may take again.

use pyo3::PyTraverseError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::args::{Flag, from_python};
use crate::cell::{GilCell, Made};
use crate::ffi::greenlet;
use crate::hub::BaseHub;
use crate::sync::lock::Semaphore;
use crate::waiting::deadline::Deadline;

#[derive(Default)]
struct Held {
    owner: Option<Py<PyAny>>,
    count: i64,
}

/// A lock that the greenlet which holds it may acquire again, and must release as often.
///
/// It is a context manager. Greenlets of several threads may share it, and threads that have no hub. Unlike
/// ``threading.RLock`` it belongs to a greenlet, and not to a thread.
///
/// :param hub: Accepted for compatibility.
#[pyclass(frozen, subclass, weakref, name = "RLock", module = "gevent.lock")]
#[derive(Debug)]
pub struct RLock {
    block: Made<Py<Semaphore>>,
    held: GilCell<Held>,
}

/// Returns the running greenlet. None stands for the only thread that is left while the interpreter is finalized, when
/// greenlets are no longer available and finalizers still take locks.
#[inline]
pub fn running(py: Python<'_>) -> Bound<'_, PyAny> {
    greenlet::current(py).unwrap_or_else(|_| py.None().into_bound(py))
}

impl RLock {
    /// Makes a lock that is not held.
    ///
    /// # Errors
    /// `MemoryError`.
    pub fn free(py: Python<'_>) -> PyResult<Self> {
        Ok(Self::over(Py::new(py, Semaphore::of(1))?))
    }

    /// Makes a lock that is not held, over a semaphore with one permit.
    pub fn over(block: Py<Semaphore>) -> Self {
        Self {
            block: Made::new(block),
            held: GilCell::new(Held::default()),
        }
    }

    /// Returns how often it is held, and by which greenlet.
    pub fn holder(&self, py: Python<'_>) -> (i64, Option<Py<PyAny>>) {
        self.held.with(py, |held| {
            let owner = held.owner.as_ref().map(|owner| owner.clone_ref(py));
            (held.count, owner)
        })
    }

    /// Counts one more acquire if the running greenlet is the owner; returns true if so.
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
        slf: &Bound<'_, Self>,
        blocking: bool,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        Self::take_within(slf, || blocking.then(|| Deadline::of(timeout)).transpose())
    }

    /// Takes the lock, waiting for it if it must until the deadline that `deadline` returns; returns true if it was
    /// taken.
    ///
    /// # Errors
    /// Returns the error that `deadline` raises, or that is thrown into the greenlet meanwhile.
    #[inline]
    pub fn take_within(
        slf: &Bound<'_, Self>,
        deadline: impl FnOnce() -> PyResult<Option<Deadline>>,
    ) -> PyResult<bool> {
        let (py, this) = (slf.py(), slf.get());
        let me = running(py);
        if this.take_again(py, &me) {
            return Ok(true);
        }
        let taken = this.block.get().try_take(py)
            || match deadline()? {
                Some(deadline) => Semaphore::take_in(this.block.bind(py), deadline, slf.as_any())?,
                None => false,
            };
        if !taken {
            return Ok(false);
        }
        this.own(py, Some(me.unbind()), 1);
        Ok(true)
    }

    #[inline]
    fn own(&self, py: Python<'_>, owner: Option<Py<PyAny>>, count: i64) {
        let old = self.held.replace(py, Held { owner, count });
        drop(old);
    }

    /// Undoes one `acquire`; returns false if the running greenlet does not hold the lock.
    ///
    /// # Errors
    /// Returns the error that making a hub for linked callables raises.
    #[inline]
    pub fn give_if_held(&self, py: Python<'_>) -> PyResult<bool> {
        let me = running(py);
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
        if over.is_some() {
            drop(over);
            Semaphore::give(self.block.bind(py))?;
        }
        Ok(mine)
    }

    #[inline]
    fn give(&self, py: Python<'_>) -> PyResult<()> {
        if self.give_if_held(py)? {
            return Ok(());
        }
        Err(self.not_owned(&running(py)))
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
        let lock = Self::free(py)?;
        lock.block.get().belong_to(py, hub);
        Ok(lock)
    }

    /// Take the lock, waiting for it at most `timeout` seconds, and return whether it was taken.
    ///
    /// The greenlet that holds it takes it once more without waiting. With `blocking` false it does not wait.
    #[pyo3(
        signature = (blocking = Flag(true), timeout = None),
        text_signature = "($self, blocking=True, timeout=None)"
    )]
    fn acquire(
        slf: &Bound<'_, Self>,
        blocking: Flag,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        Self::take(slf, blocking.0, timeout)
    }

    /// Undo one `acquire`; the last one wakes the waiter that waited longest.
    ///
    /// Raises `RuntimeError` unless the running greenlet holds the lock.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.give(py)
    }

    /// Return True if any greenlet holds it.
    fn locked(&self, py: Python<'_>) -> bool {
        self.held.with(py, |held| held.count > 0)
    }

    fn __enter__(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Self::take(slf, true, None)
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

    fn _is_owned(&self, py: Python<'_>) -> bool {
        let me = running(py);
        self.held.with(py, |held| {
            held.owner.as_ref().is_some_and(|owner| owner.is(&me))
        })
    }

    /// Release the lock altogether, for `threading.Condition`; return the arguments with which `_acquire_restore` takes
    /// it again.
    fn _release_save(&self, py: Python<'_>) -> PyResult<(i64, Option<Py<PyAny>>)> {
        let held = self.held.take(py);
        if held.count == 0 {
            return Err(PyRuntimeError::new_err("cannot release un-acquired lock"));
        }
        Semaphore::give(self.block.bind(py))?;
        Ok((held.count, held.owner))
    }

    /// Take the lock again, as often as `_release_save` states, for that owner; an error that is thrown into the
    /// greenlet meanwhile is raised once the lock is taken.
    fn _acquire_restore(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = from_python)] count_owner: (i64, Option<Py<PyAny>>),
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let (count, owner) = count_owner;
        let thrown = Semaphore::take_in_any_case(this.block.bind(py), slf.as_any())?;
        this.own(py, owner, count);
        thrown.map_or(Ok(()), Err)
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

/// Return the number of the greenlet that holds `lock`, as `numbers_of` gives it, or None if no greenlet is known to hold it.
#[pyfunction]
pub fn holder_of(lock: &Bound<'_, PyAny>) -> Option<u64> {
    if let Ok(lock) = lock.cast::<RLock>() {
        return lock.get().block.get().holder();
    }
    lock.cast::<Semaphore>().ok()?.get().holder()
}
