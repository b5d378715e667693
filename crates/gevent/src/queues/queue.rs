//! `gevent.queue`: what a queue consists of, and how it keeps items.
//!
//! All classes share one struct; what tells them apart is where items are kept (`items.rs`) and which methods they
//! show (`api.rs`). Putting, getting and waiting are in `wait.rs`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::cell::GilCell;
use crate::queues::items::{self, Items, Kind};
use crate::queues::wait_queue::WaitQueue;
use crate::registered::QUEUE_CONDITIONS;
use crate::waiting::links::Links;
use crate::waiting::wait::WaitRef;

/// A queue without `Queue.join`: items go in by `put` and come out by `get`, first in, first out.
///
/// Other than ``queue.SimpleQueue`` it can have a largest size, and be iterated over and looked into.
///
/// :param maxsize: How many items it holds at most, ``None`` for any number.
/// :param items: The first items, an iterable.
#[pyclass(
    frozen,
    subclass,
    weakref,
    name = "SimpleQueue",
    module = "gevent.queue"
)]
pub struct SimpleQueue {
    pub(crate) kind: Kind,
    /// True if a subclass, or one who waits at the conditions, may have a say in how items are kept.
    hooked: AtomicBool,
    pub(crate) state: GilCell<State>,
}

/// Everything mutable.
#[derive(Default)]
pub struct State {
    pub(crate) items: Items,
    /// Zero makes a channel of it, in which nothing stays: `put` waits until a getter comes for its item.
    pub(crate) maxsize: Option<isize>,
    /// Who waits for an item; true for those who only want to see it.
    pub(crate) getters: WaitQueue<bool>,
    /// Who waits for a free slot, with the item to put there.
    pub(crate) putters: WaitQueue<Py<PyAny>>,
    pub(crate) shut: bool,
    /// Items put into a Python container or taken out of one.
    pub(crate) changes: u64,
    pub(crate) unfinished: isize,
    pub(crate) joiners: Links,
    /// The standard library's mutex and conditions, once somebody asked for them.
    pub(crate) conditions: Option<Py<PyAny>>,
}

/// What became of an item to be put.
pub enum Put {
    /// It is among the native items; this getter is to be woken.
    Done(Option<WaitRef>),
    /// It belongs into this container, unless that has so many items.
    Into(Py<PyAny>, Option<isize>, Py<PyAny>),
    /// There is no room.
    Refused(Py<PyAny>),
}

/// What became of a wish for an item.
pub enum Got {
    /// It was among the native items; this putter is to be woken.
    Done(Py<PyAny>, Option<WaitRef>),
    /// It is in this container, if anywhere.
    From(Py<PyAny>),
    /// There is none.
    Nothing,
}

impl State {
    /// Puts into native items that have room.
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

    /// Gets from native items, where nobody waits for the free slot.
    #[inline]
    pub fn get_unawaited(&mut self) -> Option<Py<PyAny>> {
        match &mut self.items {
            Items::Native(items) if self.putters.waiting() == 0 => items.pop_front(),
            _ => None,
        }
    }

    /// Gets from native items.
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

    /// Returns true if `put` always waits for somebody who gets.
    pub fn is_channel(&self) -> bool {
        self.maxsize == Some(0)
    }

    /// Returns items that a getter would find among the putters.
    pub fn offers(&self, py: Python<'_>) -> isize {
        if self.is_channel() {
            self.putters.len(py) as isize
        } else {
            0
        }
    }

    /// Returns the getter to wake when there are `size` items: none as long as each is claimed by somebody woken.
    #[inline]
    pub fn getter_for(&mut self, py: Python<'_>, size: isize) -> Option<WaitRef> {
        if self.getters.waiting() > 0 && size > self.getters.woken(py) as isize {
            self.getters.next(py)
        } else {
            None
        }
    }

    /// Returns the putter to wake when there are `size` items: none as long as each free slot is claimed by somebody woken.
    #[inline]
    pub fn putter_for(&mut self, py: Python<'_>, size: isize) -> Option<WaitRef> {
        if self.putters.waiting() == 0 {
            return None;
        }
        let claimed = size.saturating_add(self.putters.woken(py) as isize);
        if self.maxsize.is_none_or(|max| claimed < max) {
            self.putters.next(py)
        } else {
            None
        }
    }
}

impl SimpleQueue {
    /// Returns a queue before `__init__`.
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

    /// Returns the items as their container shows them, which may be the container itself.
    ///
    /// # Errors
    /// When a container cannot be made.
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

    /// Returns the container, which the items stay in from now on.
    ///
    /// # Errors
    /// When it cannot be made.
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
            // Making the container ran a finalizer that made one.
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

    /// Puts other items in place of those it has.
    pub fn replace_items(&self, py: Python<'_>, items: Items) {
        let old = self.state.with(py, |state| {
            state.changes += 1;
            std::mem::replace(&mut state.items, items)
        });
        drop(old);
    }

    /// Returns true if a subclass may have a say in how items are kept.
    pub fn is_hooked(&self) -> bool {
        self.hooked.load(Relaxed)
    }

    /// Returns the mutex and the conditions that a queue of the standard library has, made for the first who asks. From then on all
    /// that happens is told to those who wait at them.
    ///
    /// # Errors
    /// What making them raises.
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
        // Making them may have run somebody who made others.
        if let Some(found) = existing() {
            return Ok(found.into_bound(py));
        }
        let given = new.clone().unbind();
        this.state.with(py, |state| state.conditions = Some(given));
        this.hooked.store(true, Relaxed);
        Ok(new)
    }

    /// Wakes those who wait at the conditions, if there are any: each looks for itself what has changed.
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

    /// `_qsize` as this class has it.
    ///
    /// # Errors
    /// What the container raises.
    pub fn own_size(&self, py: Python<'_>) -> PyResult<usize> {
        let native = self.state.with(py, |state| match &state.items {
            Items::Native(items) => Ok(items.len()),
            Items::Python(items) => Err(items.clone_ref(py)),
        });
        native.or_else(|items| items.bind(py).len())
    }

    /// Returns a number that is another one after any change of the container.
    #[inline]
    pub fn changes(&self, py: Python<'_>) -> u64 {
        self.state.with(py, |state| state.changes)
    }

    /// `_put` as this class has it.
    ///
    /// # Errors
    /// As [`items::push`].
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

    /// `_get` as this class has it.
    ///
    /// # Errors
    /// As [`items::pop`].
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

    /// `_peek` as this class has it.
    ///
    /// # Errors
    /// As [`items::peek`].
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

    /// `qsize()`, as a subclass may have it.
    ///
    /// # Errors
    /// What the subclass raises.
    pub fn size(slf: &Bound<'_, Self>) -> PyResult<isize> {
        let py = slf.py();
        if slf.get().is_hooked() {
            slf.call_method0(pyo3::intern!(py, "qsize"))?.extract()
        } else {
            slf.get().own_size(py).map(|size| size as isize)
        }
    }

    /// `_qsize()`, as a subclass may have it.
    ///
    /// # Errors
    /// What the subclass raises.
    pub fn inner_size(slf: &Bound<'_, Self>) -> PyResult<isize> {
        let py = slf.py();
        if slf.get().is_hooked() {
            slf.call_method0(pyo3::intern!(py, "_qsize"))?.extract()
        } else {
            slf.get().own_size(py).map(|size| size as isize)
        }
    }

    /// `_put()`, as a subclass may have it.
    ///
    /// # Errors
    /// What the subclass raises, or comparing items.
    pub fn put_now(slf: &Bound<'_, Self>, item: Bound<'_, PyAny>) -> PyResult<()> {
        if slf.get().is_hooked() {
            slf.call_method1(pyo3::intern!(slf.py(), "_put"), (item,))
                .map(drop)
        } else {
            slf.get().own_put(item)
        }
    }

    /// `_get()` or `_peek()`, as a subclass may have it.
    ///
    /// # Errors
    /// What the subclass raises, or comparing items.
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

    /// `full()`.
    ///
    /// # Errors
    /// What a subclass's `qsize` raises.
    pub fn is_full(slf: &Bound<'_, Self>) -> PyResult<bool> {
        match slf.get().state.with(slf.py(), |state| state.maxsize) {
            Some(max) => Ok(Self::size(slf)? >= max),
            None => Ok(false),
        }
    }

    /// Visits what it owns.
    ///
    /// # Errors
    /// What the visitor returns.
    pub fn visit(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let traverse = |state: &State| {
            state.items.traverse(visit)?;
            state.getters.traverse(|_| Ok(()))?;
            state.putters.traverse(|item| visit.call(item))?;
            state.joiners.traverse(visit)?;
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
                state.getters.clear(),
                state.putters.clear(),
                state.joiners.take(),
                state.conditions.take(),
            )
        });
        drop(taken);
    }
}
