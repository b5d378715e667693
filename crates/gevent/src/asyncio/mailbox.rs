//! The work of an event loop of asyncio: callbacks and transports that are ready, in order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;
use reactor::Direction;

use crate::args::from_python;
use crate::asyncio::base::AsyncioLoop;
use crate::asyncio::handle::{Call, Handles};
use crate::cell::{GilCell, Made};
use crate::waiting::wait::WaitRef;

/// One thing to do.
#[derive(Debug)]
pub enum Ready {
    /// Run a handle.
    Handle(Py<PyAny>),
    /// Have the object at this place of the loop try its operation in this direction.
    Io(u32, Direction),
}

/// Room that an empty queue keeps after a burst.
const KEPT: usize = 4096;

/// The ready queue of one event loop, which wakes the greenlet that waits for something to be put in.
///
/// It is separate from the loop's object, as sources refer to it: they must not keep the loop alive.
#[derive(Debug)]
pub struct Mailbox {
    ready: GilCell<VecDeque<Ready>>,
    parked: GilCell<Option<WaitRef>>,
    /// Set when the loop's selector has something to report.
    selector: AtomicBool,
}

impl Mailbox {
    /// Makes an empty mailbox.
    pub fn new() -> Self {
        Self {
            ready: GilCell::new(VecDeque::new()),
            parked: GilCell::new(None),
            selector: AtomicBool::new(false),
        }
    }

    /// Appends something to do, from any thread that holds the GIL.
    #[inline]
    pub fn push(&self, py: Python<'_>, ready: Ready) {
        self.ready.with(py, |queue| queue.push_back(ready));
        self.wake(py);
    }

    /// Wakes the greenlet that waits in the loop's turn, if one waits.
    #[inline]
    pub fn wake(&self, py: Python<'_>) {
        if let Some(wait) = self.parked.take(py) {
            wait.wake_none(py);
        }
    }

    /// Has `wait` woken with the next entry that is put in; None takes it back.
    pub fn park(&self, py: Python<'_>, wait: Option<WaitRef>) {
        drop(self.parked.replace(py, wait));
    }

    /// Takes out the first entry.
    #[inline]
    pub fn pop(&self, py: Python<'_>) -> Option<Ready> {
        self.ready.with(py, |queue| {
            let first = queue.pop_front();
            if first.is_none() && queue.capacity() > KEPT {
                queue.shrink_to(KEPT);
            }
            first
        })
    }

    /// Returns the number of entries.
    #[inline]
    pub fn len(&self, py: Python<'_>) -> usize {
        self.ready.with(py, |queue| queue.len())
    }

    /// Returns true if there is anything to do.
    #[inline]
    pub fn has_mail(&self, py: Python<'_>) -> bool {
        self.selector.load(Relaxed) || self.len(py) > 0
    }

    /// Takes out all entries.
    pub fn take_all(&self, py: Python<'_>) -> VecDeque<Ready> {
        self.ready.take(py)
    }

    /// Removes the handles. The entries of transports stay, as the kernel reports only once that a source is ready.
    pub fn remove_handles(&self, py: Python<'_>) {
        let all = self.take_all(py);
        let (handles, io): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|ready| matches!(ready, Ready::Handle(_)));
        self.ready.with(py, |queue| {
            for ready in io.into_iter().rev() {
                queue.push_front(ready);
            }
        });
        drop(handles);
    }

    /// Returns true if the selector has something to report that the loop has not read yet.
    #[inline]
    pub fn has_selector(&self) -> bool {
        self.selector.load(Relaxed)
    }

    /// Notes that the selector has something to report, or that the loop reads it.
    #[inline]
    pub fn set_selector(&self, has: bool) {
        self.selector.store(has, Relaxed);
    }

    /// Visits the handles, for the loop that owns the mailbox.
    ///
    /// # Errors
    /// Returns the error of the visitor.
    pub fn visit(&self, visit: &pyo3::gc::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        let visit_all = |queue: &VecDeque<Ready>| {
            queue.iter().try_for_each(|ready| match ready {
                Ready::Handle(handle) => visit.call(handle),
                Ready::Io(..) => Ok(()),
            })
        };
        self.ready.peek(visit, visit_all).unwrap_or(Ok(()))
    }

    fn handles(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.ready.with(py, |queue| {
            let handle = |ready: &Ready| match ready {
                Ready::Handle(handle) => Some(handle.clone_ref(py)),
                Ready::Io(..) => None,
            };
            queue.iter().filter_map(handle).collect()
        })
    }
}

/// The handles that are to run, as a queue that can be used like the `deque` that asyncio's loops have as `_ready`.
#[pyclass(frozen, sequence, module = "gevent._core", name = "ReadyView")]
#[derive(Debug)]
pub struct ReadyView {
    owner: Made<Py<AsyncioLoop>>,
}

impl ReadyView {
    /// Makes a view of a loop's mailbox.
    pub fn of(owner: &Bound<'_, AsyncioLoop>) -> Self {
        Self {
            owner: Made::new(owner.clone().unbind()),
        }
    }

    fn mailbox(&self) -> &Mailbox {
        self.owner.get().mailbox()
    }
}

#[pymethods]
impl ReadyView {
    fn __len__(&self, py: Python<'_>) -> usize {
        self.mailbox().len(py)
    }

    fn __contains__(&self, py: Python<'_>, handle: &Bound<'_, PyAny>) -> bool {
        let handles = self.mailbox().handles(py);
        handles.iter().any(|other| other.is(handle))
    }

    fn __getitem__(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = from_python)] index: isize,
    ) -> PyResult<Py<PyAny>> {
        let mut handles = self.mailbox().handles(py);
        let index = if index < 0 {
            handles.len().checked_add_signed(index)
        } else {
            Some(index.unsigned_abs())
        };
        match index.filter(|index| *index < handles.len()) {
            Some(index) => Ok(handles.swap_remove(index)),
            None => Err(PyIndexError::new_err("deque index out of range")),
        }
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        PyList::new(py, self.mailbox().handles(py))?.call_method0("__iter__")
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let handles = PyList::new(py, self.mailbox().handles(py))?;
        Ok(format!("ReadyView({})", handles.repr()?))
    }

    /// Append a handle.
    fn append(&self, py: Python<'_>, handle: Py<PyAny>) {
        self.mailbox().push(py, Ready::Handle(handle));
    }

    /// Append the handles of an iterable.
    fn extend(&self, py: Python<'_>, handles: &Bound<'_, PyAny>) -> PyResult<()> {
        for handle in handles.try_iter()? {
            self.mailbox().push(py, Ready::Handle(handle?.unbind()));
        }
        Ok(())
    }

    /// Put a handle ahead of all others.
    fn appendleft(&self, py: Python<'_>, handle: Py<PyAny>) {
        let ready = Ready::Handle(handle);
        self.mailbox()
            .ready
            .with(py, |queue| queue.push_front(ready));
        self.mailbox().wake(py);
    }

    /// Remove and return the first handle.
    ///
    /// Raises `IndexError` when there is none.
    fn popleft(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.mailbox().pop(py) {
            Some(Ready::Handle(handle)) => Ok(handle),
            Some(Ready::Io(place, direction)) => {
                let owner = self.owner.bind(py).as_any();
                let call = Call {
                    callback: owner.getattr(intern!(py, "_io_ready"))?,
                    args: (place, direction as u8).into_pyobject(py)?,
                    context: None,
                };
                Handles::get(py)?
                    .handle(owner, call, None)
                    .map(Bound::unbind)
            }
            None => Err(PyIndexError::new_err("pop from an empty deque")),
        }
    }

    /// Remove a handle.
    ///
    /// Raises `ValueError` when it is not there.
    fn remove(&self, py: Python<'_>, handle: &Bound<'_, PyAny>) -> PyResult<()> {
        let removed = self.mailbox().ready.with(py, |queue| {
            let place = queue
                .iter()
                .position(|ready| matches!(ready, Ready::Handle(other) if other.is(handle)))?;
            queue.remove(place)
        });
        match removed {
            Some(_) => Ok(()),
            None => Err(PyValueError::new_err("deque.remove(x): x not in deque")),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        self.owner.peek().map_or(Ok(()), |owner| visit.call(owner))
    }

    /// Remove all handles.
    fn clear(&self, py: Python<'_>) {
        self.mailbox().remove_handles(py);
    }
}
