//! The results of an `imap`: calls store them, and greenlets read them.

use std::collections::VecDeque;

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use wait::{Ticket, WaitQueue};

use crate::cell::{GilCell, Made, check};
use crate::greenlets::greenlet::Greenlet;
use crate::hub;
use crate::waiting::park;
use crate::waiting::reason::{Reason, WaitKind};
use crate::waiting::wait::WaitRef;
use crate::waiting::waiters::{join, wake};

/// The outcome of one call.
#[derive(Debug)]
pub enum Slot {
    /// The call is not over.
    Pending,
    /// The call returned this.
    Value(Py<PyAny>),
    /// The call raised this.
    Error(Py<PyAny>),
}

/// The result of a non-blocking read.
#[derive(Debug)]
pub enum Taken {
    /// The next result.
    Slot(Slot),
    /// There is no result yet.
    Later,
    /// All results have been read.
    Over,
}

struct Queued {
    /// If results come in the order of the items, a slot for each call that was begun and not read; otherwise the
    /// results of the finished calls alone.
    slots: VecDeque<Slot>,
    ordered: bool,
    begun: usize,
    read: usize,
    finished: usize,
    /// True if all calls are begun.
    over: bool,
    readers: WaitQueue<WaitRef>,
    spawner: WaitQueue<WaitRef>,
}

impl Queued {
    fn is_ready(&self) -> bool {
        self.slots
            .front()
            .is_some_and(|slot| !matches!(slot, Slot::Pending))
    }

    fn is_exhausted(&self) -> bool {
        self.over && self.read == self.begun
    }
}

/// The results that are not read yet.
#[pyclass(frozen, name = "Results", module = "gevent._imap")]
#[derive(Debug)]
pub struct Results {
    queued: GilCell<Queued>,
}

const _: () = check::<Results>();

impl Results {
    /// Returns no results; with `ordered` they will come out in the order of their indices.
    pub fn new(ordered: bool) -> Self {
        let queued = Queued {
            slots: VecDeque::new(),
            ordered,
            begun: 0,
            read: 0,
            finished: 0,
            over: false,
            readers: WaitQueue::new(),
            spawner: WaitQueue::new(),
        };
        Self {
            queued: GilCell::new(queued),
        }
    }

    /// Expects one more result; returns its index.
    pub fn begin(&self, py: Python<'_>) -> usize {
        self.queued.with(py, |queued| {
            if queued.ordered {
                queued.slots.push_back(Slot::Pending);
            }
            queued.begun += 1;
            queued.begun - 1
        })
    }

    /// Stores the result of a greenlet that has ended.
    ///
    /// # Errors
    /// Never fails: the signature is that of every listener to a greenlet's end.
    pub fn on_end(
        slf: &Bound<'_, PyAny>,
        index: usize,
        greenlet: &Bound<'_, Greenlet>,
    ) -> PyResult<()> {
        slf.cast::<Self>()?.get().put_end_of(greenlet, index);
        Ok(())
    }

    /// Stores what a greenlet that has ended returned or raised.
    fn put_end_of(&self, greenlet: &Bound<'_, Greenlet>, index: usize) {
        let py = greenlet.py();
        let result = match Greenlet::result(greenlet) {
            Some(Ok(value)) => Slot::Value(value),
            Some(Err(error)) => Slot::Error(error.into_value(py).into_any()),
            None => Slot::Value(py.None()),
        };
        self.put(py, index, result);
    }

    /// Stores the result of the call at `index`, and wakes a reader.
    pub fn put(&self, py: Python<'_>, index: usize, result: Slot) {
        let old = self.queued.with(py, |queued| {
            if !queued.ordered {
                queued.finished += 1;
                queued.slots.push_back(result);
                return None;
            }
            let at = index.checked_sub(queued.read);
            match at.and_then(|at| queued.slots.get_mut(at)) {
                Some(slot @ Slot::Pending) => {
                    queued.finished += 1;
                    *slot = result;
                    None
                }
                _ => Some(result),
            }
        });
        drop(old);
        self.wake_readers(py);
    }

    /// Wakes a reader if there is a result to read, and all readers if there never will be another one.
    pub fn wake_readers(&self, py: Python<'_>) {
        loop {
            let (reader, all) = self.queued.with(py, |queued| {
                let all = queued.is_exhausted();
                (
                    if all || queued.is_ready() {
                        queued.readers.pop()
                    } else {
                        None
                    },
                    all,
                )
            });
            match reader {
                Some(wait) if wait.wake_none(py) && !all => return,
                Some(_) => {}
                None => return,
            }
        }
    }

    /// Returns true if no further calls will be begun.
    pub fn is_over(&self, py: Python<'_>) -> bool {
        self.queued.with(py, |queued| queued.over)
    }

    /// Notes that no further calls will be begun, and wakes the readers.
    pub fn end(&self, py: Python<'_>) {
        self.queued.with(py, |queued| queued.over = true);
        self.wake_readers(py);
    }

    /// Takes the next result out, which makes room for a call.
    pub fn take(&self, py: Python<'_>) -> Taken {
        let (taken, spawner, others) = self.queued.with(py, |queued| {
            if !queued.is_ready() {
                return (
                    if queued.is_exhausted() {
                        Taken::Over
                    } else {
                        Taken::Later
                    },
                    None,
                    false,
                );
            }
            queued.read += 1;
            queued.finished -= 1;
            let taken = queued.slots.pop_front().map_or(Taken::Over, Taken::Slot);
            (taken, queued.spawner.pop(), !queued.readers.is_empty())
        });
        wake(py, spawner);
        if others {
            self.wake_readers(py);
        }
        taken
    }

    /// Waits until fewer than `most` calls are begun and not read.
    ///
    /// # Errors
    /// Returns the error that is thrown into the current greenlet meanwhile.
    pub fn wait_for_room(&self, py: Python<'_>, most: usize) -> PyResult<()> {
        while self
            .queued
            .with(py, |queued| queued.begun - queued.read >= most)
        {
            let wait = hub::new_wait_for(py, Reason::only(WaitKind::Room))?;
            let ticket = self
                .queued
                .with(py, |queued| join(&mut queued.spawner, py, wait.clone()));
            let woken = park::park(py, &wait);
            let left = self.queued.with(py, |queued| queued.spawner.leave(ticket));
            drop(left);
            woken?;
        }
        Ok(())
    }

    /// Registers the wait of a greenlet, to be woken when there is a result to read; returns its ticket.
    pub fn push_reader(&self, py: Python<'_>, wait: &WaitRef) -> Ticket {
        self.queued
            .with(py, |queued| join(&mut queued.readers, py, wait.clone()))
    }

    /// Undoes [`push_reader`](Self::push_reader).
    pub fn remove_reader(&self, py: Python<'_>, place: Ticket) {
        let left = self.queued.with(py, |queued| queued.readers.leave(place));
        drop(left);
    }
}

#[pymethods]
impl Results {
    fn __len__(&self, py: Python<'_>) -> usize {
        self.queued.with(py, |queued| queued.finished)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.queued.peek(&visit, |queued| {
            queued.slots.iter().try_for_each(|slot| match slot {
                Slot::Pending => Ok(()),
                Slot::Value(object) | Slot::Error(object) => visit.call(object),
            })
        });
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let slots = self
            .queued
            .with(py, |queued| std::mem::take(&mut queued.slots));
        drop(slots);
    }
}

/// A link to one call, which stores its result.
#[pyclass(frozen, name = "ResultLink", module = "gevent._imap")]
#[derive(Debug)]
pub struct ResultLink {
    results: Made<Py<Results>>,
    index: usize,
}

const _: () = check::<ResultLink>();

impl ResultLink {
    /// Returns a link for the call at `index`.
    pub fn new(results: Py<Results>, index: usize) -> Self {
        Self {
            results: Made::new(results),
            index,
        }
    }
}

#[pymethods]
impl ResultLink {
    fn __call__(&self, source: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = source.py();
        let results = self.results.get();
        if let Ok(greenlet) = source.cast::<Greenlet>() {
            results.put_end_of(greenlet, self.index);
            return Ok(());
        }
        let result = if source
            .call_method0(pyo3::intern!(py, "successful"))?
            .is_truthy()?
        {
            Slot::Value(source.getattr(pyo3::intern!(py, "value"))?.unbind())
        } else {
            Slot::Error(source.getattr(pyo3::intern!(py, "exception"))?.unbind())
        };
        results.put(py, self.index, result);
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.results.peek())
    }
}
