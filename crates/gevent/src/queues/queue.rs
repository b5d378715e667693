//! The state of a queue, and the steps that a subclass may override.
//!
//! All classes share one struct. They differ in the container of their items (`items`) and in their Python methods
//! (`classes`); `put_get` puts and gets items.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use wait::WaitQueue;

use crate::cell::GilCell;
use crate::queues::items::{self, Items, Kind};
use crate::registered::QUEUE_CONDITIONS;
use crate::waiting::wait::WaitRef;
use crate::waiting::waiters::{Waiting, next};

/// A queue without `Queue.join`: items go in by `put` and come out by `get`, first in, first out.
///
/// Other than ``queue.SimpleQueue`` it can have a largest size, be iterated over, and be peeked into.
///
/// :param maxsize: The largest number of items, or ``None`` for any number.
/// :param items: The first items, an iterable.
#[pyclass(
    frozen,
    subclass,
    weakref,
    name = "SimpleQueue",
    module = "gevent.queue"
)]
#[derive(Debug)]
pub struct SimpleQueue {
    pub(crate) kind: Kind,
    /// True if a subclass may override how items are kept, or a program waits at the conditions: each step then goes through
    /// the Python method of its name.
    hooked: AtomicBool,
    pub(crate) state: GilCell<State>,
}

/// The state of a queue.
#[derive(Default)]
pub struct State {
    pub(crate) items: Items,
    /// The number of items that it may hold. Zero makes a channel of it, in which no item stays: `put` waits for a getter.
    pub(crate) maxsize: Option<isize>,
    /// The greenlets that wait for an item; true for those that leave it in the queue (`peek`).
    pub(crate) getters: WaitQueue<Waiting<bool>>,
    /// The greenlets that wait for a free slot, each with its item.
    pub(crate) putters: WaitQueue<Waiting<Py<PyAny>>>,
    /// True once `shutdown` was called.
    pub(crate) shut: bool,
    /// The number of changes of a Python container so far.
    pub(crate) changes: u64,
    /// The number of items that were put and not reported by `task_done`.
    pub(crate) unfinished: isize,
    /// The greenlets that wait in `join`.
    pub(crate) joiners: WaitQueue<WaitRef>,
    /// The standard library's mutex and conditions, once a program has asked for them.
    pub(crate) conditions: Option<Py<PyAny>>,
}

/// The result of a non-blocking put.
pub enum Put {
    /// The item is among the native items; this getter is to be woken.
    Done(Option<WaitRef>),
    /// The caller is to put the item into this container, unless that has as many items as the number says.
    Into(Py<PyAny>, Option<isize>, Py<PyAny>),
    /// There is no free slot; the item is given back.
    Refused(Py<PyAny>),
}

/// The result of a non-blocking get.
pub enum Got {
    /// The item, which was among the native items; this putter is to be woken.
    Done(Py<PyAny>, Option<WaitRef>),
    /// The next item is in this container, if there is one.
    From(Py<PyAny>),
    /// There is no item.
    Nothing,
}

impl State {
    /// Puts an item into native items with a free slot.
    #[inline]
    pub fn put_native(&mut self, py: Python<'_>, item: Py<PyAny>) -> Put {
        if self.shut {
            return Put::Refused(item);
        }
        match &mut self.items {
            Items::Native(items) => {
                if self.maxsize.is_some_and(|max| items.len() as isize >= max) {
                    return Put::Refused(item);
                }
                items.push_back(item);
                self.unfinished += 1;
                let size = items.len() as isize;
                Put::Done(self.getter_for(py, size))
            }
            Items::Python(items) => Put::Into(items.clone_ref(py), self.maxsize, item),
        }
    }

    /// Gets an item from native items, if no putter waits for its slot: nothing else is to be done then.
    #[inline]
    pub fn get_unawaited(&mut self) -> Option<Py<PyAny>> {
        match &mut self.items {
            Items::Native(items) if self.putters.is_empty() => items.pop_front(),
            _ => None,
        }
    }

    /// Gets an item from native items.
    #[inline]
    pub fn get_native(&mut self, py: Python<'_>) -> Got {
        match &mut self.items {
            Items::Native(items) => match items.pop_front() {
                Some(item) => {
                    let size = items.len() as isize;
                    Got::Done(item, self.putter_for(py, size))
                }
                None => Got::Nothing,
            },
            Items::Python(items) => Got::From(items.clone_ref(py)),
        }
    }

    /// Returns true if `put` always waits for a getter.
    pub fn is_channel(&self) -> bool {
        self.maxsize == Some(0)
    }

    /// Returns the number of items that a getter would find among the putters.
    pub fn offers(&self, py: Python<'_>) -> isize {
        if self.is_channel() {
            self.putters.len(py) as isize
        } else {
            0
        }
    }

    /// Returns the getter to wake when there are `size` items: `None` as long as a notified getter claims each of them.
    #[inline]
    pub fn getter_for(&mut self, py: Python<'_>, size: isize) -> Option<WaitRef> {
        if !self.getters.is_empty() && self.getters.claims_fewer_than(size as i64, py) {
            next(&mut self.getters, py)
        } else {
            None
        }
    }

    /// Returns the putter to wake when there are `size` items: `None` as long as a notified putter claims each free slot.
    #[inline]
    pub fn putter_for(&mut self, py: Python<'_>, size: isize) -> Option<WaitRef> {
        if self.putters.is_empty() {
            return None;
        }
        let claimed = size.saturating_add(self.putters.notified(py) as isize);
        if self.maxsize.is_none_or(|max| claimed < max) {
            next(&mut self.putters, py)
        } else {
            None
        }
    }
}

impl SimpleQueue {
    /// Returns a queue on which `__init__` was not called yet.
    pub fn blank(py: Python<'_>, kind: Kind, hooked: bool) -> Self {
        let items = match kind {
            Kind::Fifo => Items::default(),
            Kind::Lifo | Kind::Priority => Items::Python(PyList::empty(py).into_any().unbind()),
        };
        Self {
            kind,
            hooked: AtomicBool::new(hooked),
            state: GilCell::new(State {
                items,
                ..State::default()
            }),
        }
    }

    /// Returns the container, if it is a Python object.
    fn python_items<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| match &state.items {
            Items::Native(_) => None,
            Items::Python(items) => Some(items.bind(py).clone()),
        })
    }

    /// Returns a Python container of the items: the queue's own, or else a copy of the native items.
    ///
    /// # Errors
    /// Fails when a container cannot be made.
    pub fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(items) = self.python_items(py) {
            return Ok(items);
        }
        let items: Vec<_> = self.state.with(py, |state| match &state.items {
            Items::Native(items) => items.iter().map(|item| item.clone_ref(py)).collect(),
            Items::Python(_) => Vec::new(),
        });
        items::container(self.kind, PyList::new(py, items)?.as_any())
    }

    /// Returns the queue's own Python container. Native items move into it first, and stay there from then on.
    ///
    /// # Errors
    /// Fails when it cannot be made.
    pub fn container<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(items) = self.python_items(py) {
            return Ok(items);
        }
        let container = items::container(self.kind, PyTuple::empty(py).as_any())?;
        let native = self.state.with(py, |state| match &mut state.items {
            Items::Native(items) => {
                let items = std::mem::take(items);
                state.items = Items::Python(container.clone().unbind());
                Ok(items)
            }
            // Making the container ran a finalizer that had the queue make another one.
            Items::Python(other) => Err(other.clone_ref(py)),
        });
        match native {
            Ok(items) => {
                for item in items {
                    items::push(self.kind, &container, item.into_bound(py), || 0)?;
                }
                Ok(container)
            }
            Err(other) => Ok(other.into_bound(py)),
        }
    }

    /// Replaces all items.
    pub fn replace_items(&self, py: Python<'_>, items: Items) {
        let old = self.state.with(py, |state| {
            state.changes += 1;
            std::mem::replace(&mut state.items, items)
        });
        drop(old);
    }

    /// Returns true if each step has to go through the Python method of its name.
    pub fn is_hooked(&self) -> bool {
        self.hooked.load(Relaxed)
    }

    /// Returns the mutex and the conditions that a queue of the standard library has. They are made at the first call, and are
    /// notified of every change from then on.
    ///
    /// # Errors
    /// Returns the error that making them raises.
    pub fn conditions<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        let existing = || {
            this.state
                .with(py, |state| Some(state.conditions.as_ref()?.clone_ref(py)))
        };
        if let Some(found) = existing() {
            return Ok(found.into_bound(py));
        }
        let new = QUEUE_CONDITIONS.get(py)?.call1((slf,))?;
        // Making them may have run code that had the queue make others.
        if let Some(found) = existing() {
            return Ok(found.into_bound(py));
        }
        let given = new.clone().unbind();
        this.state.with(py, |state| state.conditions = Some(given));
        this.hooked.store(true, Relaxed);
        Ok(new)
    }

    /// Notifies the conditions, if there are any; each waiter checks for itself what has changed.
    pub fn notify_conditions(slf: &Bound<'_, Self>) {
        let py = slf.py();
        let conditions = slf
            .get()
            .state
            .with(py, |state| Some(state.conditions.as_ref()?.clone_ref(py)));
        if let Some(conditions) = conditions
            && let Err(error) = conditions.call_method0(py, pyo3::intern!(py, "changed"))
        {
            error.write_unraisable(py, Some(slf.as_any()));
        }
    }

    /// Returns the number of items, as `_qsize` of this class does.
    ///
    /// # Errors
    /// Returns the error that the container raises.
    pub fn own_size(&self, py: Python<'_>) -> PyResult<usize> {
        let native = self.state.with(py, |state| match &state.items {
            Items::Native(items) => Ok(items.len()),
            Items::Python(items) => Err(items.clone_ref(py)),
        });
        native.or_else(|items| items.bind(py).len())
    }

    /// Returns a number that every change of the container changes.
    #[inline]
    pub fn changes(&self, py: Python<'_>) -> u64 {
        self.state.with(py, |state| state.changes)
    }

    /// Puts an item into the container, as `_put` of this class does.
    ///
    /// # Errors
    /// Returns the errors of [`items::push`].
    pub fn own_put(&self, item: Bound<'_, PyAny>) -> PyResult<()> {
        let py = item.py();
        let item = item.unbind();
        let elsewhere = self.state.with(py, |state| match &mut state.items {
            Items::Native(items) => {
                items.push_back(item);
                None
            }
            Items::Python(items) => Some((items.clone_ref(py), item)),
        });
        if let Some((items, item)) = elsewhere {
            let changes = || self.changes(py);
            items::push(self.kind, items.bind(py), item.into_bound(py), changes)?;
        }
        self.state.with(py, |state| {
            state.changes += 1;
            state.unfinished += 1;
        });
        Ok(())
    }

    /// Takes the next item out of the container, as `_get` of this class does.
    ///
    /// # Errors
    /// Returns the errors of [`items::pop`].
    pub fn own_get(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let native = self.state.with(py, |state| match &mut state.items {
            Items::Native(items) => items.pop_front(),
            Items::Python(_) => None,
        });
        match native {
            Some(item) => Ok(item),
            None => {
                let item = items::pop(self.kind, &self.container(py)?, || self.changes(py))?;
                self.state.with(py, |state| state.changes += 1);
                Ok(item.unbind())
            }
        }
    }

    /// Returns the next item of the container, as `_peek` of this class does.
    ///
    /// # Errors
    /// Returns the errors of [`items::peek`].
    pub fn own_peek(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let native = self.state.with(py, |state| match &state.items {
            Items::Native(items) => items.front().map(|item| item.clone_ref(py)),
            Items::Python(_) => None,
        });
        match native {
            Some(item) => Ok(item),
            None => items::peek(self.kind, &self.container(py)?).map(Bound::unbind),
        }
    }

    /// Returns the result of `qsize()`, which a subclass may override.
    ///
    /// # Errors
    /// Returns the error that the subclass raises.
    pub fn size(slf: &Bound<'_, Self>) -> PyResult<isize> {
        let py = slf.py();
        if slf.get().is_hooked() {
            slf.call_method0(pyo3::intern!(py, "qsize"))?.extract()
        } else {
            slf.get().own_size(py).map(|size| size as isize)
        }
    }

    /// Returns the result of `_qsize()`, which a subclass may override.
    ///
    /// # Errors
    /// Returns the error that the subclass raises.
    pub fn inner_size(slf: &Bound<'_, Self>) -> PyResult<isize> {
        let py = slf.py();
        if slf.get().is_hooked() {
            slf.call_method0(pyo3::intern!(py, "_qsize"))?.extract()
        } else {
            slf.get().own_size(py).map(|size| size as isize)
        }
    }

    /// Puts an item by `_put()`, which a subclass may override.
    ///
    /// # Errors
    /// Returns the error that the subclass or a comparison of items raises.
    pub fn put_now(slf: &Bound<'_, Self>, item: Bound<'_, PyAny>) -> PyResult<()> {
        if slf.get().is_hooked() {
            slf.call_method1(pyo3::intern!(slf.py(), "_put"), (item,))
                .map(drop)
        } else {
            slf.get().own_put(item)
        }
    }

    /// Returns the result of `_get()` or `_peek()`, which a subclass may override.
    ///
    /// # Errors
    /// Returns the error that the subclass or a comparison of items raises.
    pub fn get_now(slf: &Bound<'_, Self>, peek: bool) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        match (slf.get().is_hooked(), peek) {
            (false, false) => slf.get().own_get(py),
            (false, true) => slf.get().own_peek(py),
            (true, false) => slf
                .call_method0(pyo3::intern!(py, "_get"))
                .map(Bound::unbind),
            (true, true) => slf
                .call_method0(pyo3::intern!(py, "_peek"))
                .map(Bound::unbind),
        }
    }

    /// Returns true if there is no free slot.
    ///
    /// # Errors
    /// Returns the error that a subclass's `qsize` raises.
    pub fn is_full(slf: &Bound<'_, Self>) -> PyResult<bool> {
        match slf.get().state.with(slf.py(), |state| state.maxsize) {
            Some(max) => Ok(Self::size(slf)? >= max),
            None => Ok(false),
        }
    }

    /// Visits the objects that it owns, for the garbage collector.
    ///
    /// # Errors
    /// Returns the error that the visitor returns.
    pub fn visit(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let traverse = |state: &State| {
            state.items.traverse(visit)?;
            // The waits themselves are not visited: others that will wake them hold references to them, too.
            let putters = state.putters.iter_all();
            putters
                .map(|putter| &putter.with)
                .try_for_each(|item| visit.call(item))?;
            visit.call(&state.conditions)
        };
        self.state.peek(&visit, traverse).unwrap_or(Ok(()))
    }

    /// Empties it for the garbage collector.
    pub fn release(&self, py: Python<'_>) {
        let taken = self.state.with(py, |state| {
            let items = std::mem::replace(&mut state.items, Items::Native(VecDeque::new()));
            (
                items,
                state.getters.take_all(),
                state.putters.take_all(),
                state.joiners.take_all(),
                state.conditions.take(),
            )
        });
        drop(taken);
    }
}
