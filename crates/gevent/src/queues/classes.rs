//! The queue classes as Python sees them: `SimpleQueue`, `Queue`, `LifoQueue` and `PriorityQueue`.

use std::collections::VecDeque;

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyDeprecationWarning, PyStopIteration};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyGenericAlias, PyTuple, PyType};
use pyo3::{PyClass, PyTypeInfo};

use crate::args::{Flag, from_python};
use crate::ffi::blocking;
use crate::hub::{self, BaseHub};
use crate::queues::items::{self, Items, Kind};
use crate::queues::queue::SimpleQueue;
use crate::waiting::deadline::Deadline;

fn set_maxsize(queue: &SimpleQueue, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let bounded = !value.is_none() && !value.le(0)?;
    let maxsize = if bounded {
        Some(value.extract()?)
    } else {
        None
    };
    queue
        .state
        .with(value.py(), |state| state.maxsize = maxsize);
    Ok(())
}

/// Returns true if `Queue(0)` makes a channel as in gevent 0.13, which the setting `compat` decides. It warns in both
/// cases.
fn zero_is_channel(py: Python<'_>) -> PyResult<bool> {
    let channel = crate::compat::is_on(py)?;
    let text = if channel {
        c"Queue(0) is a channel by the setting compat; use gevent.queue.Channel"
    } else {
        c"Queue(0) now equivalent to Queue(None); if you want a channel, use Channel"
    };
    PyErr::warn(py, &py.get_type::<PyDeprecationWarning>(), text, 1)?;
    Ok(channel)
}

/// Does what `__init__` of every queue class does.
fn initialize(
    slf: &Bound<'_, SimpleQueue>,
    maxsize: Option<Bound<'_, PyAny>>,
    items: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = slf.py();
    let this = slf.get();
    let maxsize = maxsize.unwrap_or_else(|| py.None().into_bound(py));
    let channel = !maxsize.is_none() && maxsize.eq(0)? && zero_is_channel(py)?;
    set_maxsize(this, &maxsize)?;
    this.state.with(py, |state| {
        if channel {
            state.maxsize = Some(0);
        }
        state.shut = false;
        state.unfinished = 0;
    });
    let items = match items {
        Some(items) if items.is_truthy()? => Some(items),
        _ => None,
    };
    if this.is_hooked() {
        let name = pyo3::intern!(py, "_init");
        match items {
            Some(items) => slf.call_method1(name, (maxsize, items))?,
            None => slf.call_method1(name, (maxsize,))?,
        };
        return Ok(());
    }
    keep(slf, items)
}

/// Puts the first items into the queue.
fn keep(slf: &Bound<'_, SimpleQueue>, items: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    let py = slf.py();
    let this = slf.get();
    let none = || PyTuple::empty(py).into_any();
    let items = if this.is_hooked() {
        let items = items.unwrap_or_else(none);
        Items::Python(
            slf.call_method1(pyo3::intern!(py, "_create_queue"), (items,))?
                .unbind(),
        )
    } else {
        match (this.kind, items) {
            (Kind::Fifo, None) => Items::default(),
            (Kind::Fifo, Some(items)) => {
                let items: PyResult<VecDeque<_>> = items
                    .try_iter()?
                    .map(|item| item.map(Bound::unbind))
                    .collect();
                Items::Native(items?)
            }
            (kind, items) => {
                Items::Python(items::container(kind, &items.unwrap_or_else(none))?.unbind())
            }
        }
    };
    this.replace_items(py, items);
    SimpleQueue::settle(slf);
    Ok(())
}

/// Describes an object as `<Class at 0x... details>`, with the address if asked for.
///
/// # Errors
/// Returns the error that the subclass's `_format` raises.
pub fn describe(slf: &Bound<'_, PyAny>, address: bool, separator: &str) -> PyResult<String> {
    let name = slf.get_type().name()?;
    let at = if address {
        format!(" at {:#x}", slf.as_ptr() as usize)
    } else {
        String::new()
    };
    let what = slf.call_method0(pyo3::intern!(slf.py(), "_format"))?;
    Ok(format!("<{name}{at}{separator}{what}>"))
}

fn format(slf: &Bound<'_, SimpleQueue>) -> PyResult<String> {
    let py = slf.py();
    let this = slf.get();
    let (maxsize, getters, putters) = this.state.with(py, |state| {
        (state.maxsize, state.getters.len(py), state.putters.len(py))
    });
    let mut text = maxsize.map_or_else(String::new, |maxsize| format!(" maxsize={maxsize}"));
    let items = this.snapshot(py)?;
    if items.is_truthy()? {
        text.push_str(&format!(" queue={}", items.repr()?));
    }
    if getters > 0 {
        text.push_str(&format!(" getters[{getters}]"));
    }
    if putters > 0 {
        text.push_str(&format!(" putters[{putters}]"));
    }
    Ok(text)
}

/// Returns true if `class` is derived from `T`, and so may override its steps.
fn is_hooked<T: PyClass + PyTypeInfo>(class: &Bound<'_, PyType>) -> bool {
    !class.is(class.py().get_type::<T>())
}

#[pymethods]
impl SimpleQueue {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(maxsize=None, items=())")]
    fn new(
        class: &Bound<'_, PyType>,
        _args: &Bound<'_, PyAny>,
        _kwargs: Option<&Bound<'_, PyAny>>,
    ) -> Self {
        Self::blank(class.py(), Kind::Fifo, is_hooked::<Self>(class))
    }

    #[pyo3(signature = (maxsize = None, items = None))]
    fn __init__(
        slf: &Bound<'_, Self>,
        maxsize: Option<Bound<'_, PyAny>>,
        items: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        initialize(slf, maxsize, items)
    }

    /// Set up the container; subclasses may override it.
    #[pyo3(signature = (maxsize, items = None), text_signature = "($self, maxsize, items=())")]
    fn _init(
        slf: &Bound<'_, Self>,
        maxsize: Bound<'_, PyAny>,
        items: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let _ = maxsize;
        keep(slf, items)
    }

    /// Return a new container with `items`; subclasses may override it.
    #[pyo3(signature = (items = None), text_signature = "($self, items=())")]
    fn _create_queue<'py>(
        &self,
        py: Python<'py>,
        items: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        items::container(
            self.kind,
            &items.unwrap_or_else(|| PyTuple::empty(py).into_any()),
        )
    }

    /// Return the number of items in the container; subclasses may override it.
    fn _qsize(&self, py: Python<'_>) -> PyResult<usize> {
        self.own_size(py)
    }

    /// Put an item into the container; subclasses may override it.
    fn _put(&self, item: Bound<'_, PyAny>) -> PyResult<()> {
        self.own_put(item)
    }

    /// Take the next item out of the container; subclasses may override it.
    fn _get(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.own_get(py)
    }

    /// Return the next item of the container; subclasses may override it.
    fn _peek(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.own_peek(py)
    }

    /// The container of the items: a `collections.deque`, or a list for LIFO and priority queues.
    #[getter]
    fn queue<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.container(py)
    }

    #[setter]
    fn set_queue(slf: &Bound<'_, Self>, value: Py<PyAny>) {
        slf.get().replace_items(slf.py(), Items::Python(value));
        Self::settle(slf);
    }

    /// The largest number of items, or None for any number. It may be changed at any time; 0 and less mean None.
    #[getter]
    fn maxsize(&self, py: Python<'_>) -> Option<isize> {
        self.state.with(py, |state| state.maxsize)
    }

    #[setter]
    fn set_maxsize(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        set_maxsize(slf.get(), value)?;
        Self::settle(slf);
        Ok(())
    }

    /// The hub of the calling thread.
    #[getter]
    fn hub<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, BaseHub>> {
        hub::current(py)
    }

    /// True if `shutdown` was called.
    #[getter]
    fn is_shutdown(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.shut)
    }

    /// Return the number of items.
    fn qsize(slf: &Bound<'_, Self>) -> PyResult<isize> {
        Self::inner_size(slf)
    }

    fn __len__(slf: &Bound<'_, Self>) -> PyResult<usize> {
        Ok(usize::try_from(Self::size(slf)?)?)
    }

    fn __bool__(&self) -> bool {
        true
    }

    /// Return true if there is no item.
    fn empty(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Ok(Self::size(slf)? == 0)
    }

    /// Return true if there are as many items as `maxsize` allows.
    fn full(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Self::is_full(slf)
    }

    /// Put an item into the queue.
    ///
    /// When the queue is full, wait for a free slot, `timeout` seconds at most (None: for ever), then raise `Full`;
    /// with `block` false, and in the hub, raise it without waiting. A `Timeout` given as `timeout` is raised itself.
    /// Raises `ShutDown` when the queue is shut, and `ValueError` for a negative `timeout` if there is a free slot.
    #[pyo3(
        name = "put",
        signature = (item, block = Flag(true), timeout = None),
        text_signature = "($self, item, block=True, timeout=None)"
    )]
    fn py_put(
        slf: &Bound<'_, Self>,
        item: Bound<'_, PyAny>,
        block: Flag,
        timeout: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Self::put(slf, item, block.0, timeout.as_ref())
    }

    /// Put an item into the queue, or raise `Full`.
    fn put_nowait(slf: &Bound<'_, Self>, item: Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        if slf.get().is_hooked() {
            return slf
                .call_method1(pyo3::intern!(py, "put"), (item, false, py.None()))
                .map(drop);
        }
        Self::put(slf, item, false, None)
    }

    /// Take the next item out of the queue and return it, or raise `Empty`.
    fn get_nowait(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if slf.get().is_hooked() {
            return slf
                .call_method1(pyo3::intern!(py, "get"), (false, py.None()))
                .map(Bound::unbind);
        }
        blocking::complete(slf.py(), Self::get(slf, false, None, false)?)
    }

    /// Return the next item and leave it in the queue; `block` and `timeout` are as for `get`.
    #[pyo3(signature = (block = Flag(true), timeout = None), text_signature = "($self, block=True, timeout=None)")]
    fn peek(
        slf: &Bound<'_, Self>,
        block: Flag,
        timeout: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        blocking::complete(slf.py(), Self::get(slf, block.0, timeout.as_ref(), true)?)
    }

    /// Return the next item and leave it in the queue, or raise `Empty`.
    fn peek_nowait(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if slf.get().is_hooked() {
            return slf
                .call_method1(pyo3::intern!(py, "peek"), (false, py.None()))
                .map(Bound::unbind);
        }
        blocking::complete(slf.py(), Self::get(slf, false, None, true)?)
    }

    /// Return a new queue with the same class, size and items.
    fn copy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        slf.get_type()
            .call1((slf.get().maxsize(py), slf.get().snapshot(py)?))
    }

    fn __iter__<'py>(slf: Bound<'py, Self>) -> Bound<'py, Self> {
        slf
    }

    fn __next__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let item = if slf.get().is_hooked() {
            slf.call_method1(pyo3::intern!(py, "get"), (true, py.None()))?
                .unbind()
        } else {
            blocking::complete(py, Self::get(slf, true, None, false)?)?
        };
        if item.bind(py).is(py.get_type::<PyStopIteration>()) {
            return Err(PyStopIteration::new_err(()));
        }
        Ok(item)
    }

    #[classmethod]
    fn __class_getitem__<'py>(
        class: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyGenericAlias>> {
        PyGenericAlias::new(class.py(), class, item)
    }

    fn _format(slf: &Bound<'_, Self>) -> PyResult<String> {
        format(slf)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        describe(slf, true, "")
    }

    fn __str__(slf: &Bound<'_, Self>) -> PyResult<String> {
        describe(slf, false, "")
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.visit(visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.release(py);
    }
}

/// A queue between greenlets, first in, first out, whose users can wait until every item was dealt with.
///
/// It has the interface of ``queue.Queue``; greenlets of several threads may share it. Beside that it can be iterated
/// over, until an item is ``StopIteration`` itself, and `peek` returns the next item without taking it.
///
/// :param maxsize: The largest number of items, or ``None`` for any number; a greenlet that puts more waits. It can be
///     changed. 0 means ``None``, with a ``DeprecationWarning``: it once made a channel.
/// :param items: The first items, an iterable.
/// :param unfinished_tasks: The number of items that count as put and not dealt with; the number of `items` unless
///     given.
///
/// Example::
///
///     jobs = Queue(maxsize=100)
///
///     def work():
///         for job in jobs:
///             handle(job)
///             jobs.task_done()
///
///     workers = [gevent.spawn(work) for _ in range(10)]
///     jobs.put("a job")
///     jobs.join()
#[pyclass(frozen, subclass, extends = SimpleQueue, name = "Queue", module = "gevent.queue")]
#[derive(Debug)]
pub struct Queue;

impl Queue {
    /// Returns a queue on which `__init__` was not called yet, as the base of an instance of `class`: `T`, or one that
    /// is derived from it, and may override its steps.
    fn blank<T: PyClass + PyTypeInfo>(
        class: &Bound<'_, PyType>,
        kind: Kind,
    ) -> PyClassInitializer<Self> {
        let base = SimpleQueue::blank(class.py(), kind, is_hooked::<T>(class));
        PyClassInitializer::from(base).add_subclass(Self)
    }
}

#[pymethods]
impl Queue {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(maxsize=None, items=(), unfinished_tasks=None)")]
    fn new(
        class: &Bound<'_, PyType>,
        _args: &Bound<'_, PyAny>,
        _kwargs: Option<&Bound<'_, PyAny>>,
    ) -> PyClassInitializer<Self> {
        Self::blank::<Self>(class, Kind::Fifo)
    }

    #[pyo3(signature = (maxsize = None, items = None, unfinished_tasks = None))]
    fn __init__(
        slf: &Bound<'_, Self>,
        maxsize: Option<Bound<'_, PyAny>>,
        items: Option<Bound<'_, PyAny>>,
        #[pyo3(from_py_with = from_python)] unfinished_tasks: Option<isize>,
    ) -> PyResult<()> {
        let queue = slf.as_super();
        initialize(queue, maxsize, items)?;
        let unfinished = match unfinished_tasks {
            Some(given) => given,
            None => SimpleQueue::size(queue)?,
        };
        queue
            .get()
            .state
            .with(slf.py(), |state| state.unfinished = unfinished);
        Ok(())
    }

    // CPython calls a method of the class itself faster than an inherited one, so the two methods that are called most
    // are defined here again: this one, and `get`, which lib.rs adds.

    /// Put an item into the queue; see `SimpleQueue.put`.
    #[pyo3(
        signature = (item, block = Flag(true), timeout = None),
        text_signature = "($self, item, block=True, timeout=None)"
    )]
    fn put(
        slf: &Bound<'_, Self>,
        item: Bound<'_, PyAny>,
        block: Flag,
        timeout: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        SimpleQueue::put(slf.as_super(), item, block.0, timeout.as_ref())
    }

    /// The number of items that were put and not yet reported by `task_done`.
    #[getter]
    fn unfinished_tasks(slf: &Bound<'_, Self>) -> isize {
        let queue = slf.as_super().get();
        queue.state.with(slf.py(), |state| state.unfinished)
    }

    #[setter]
    fn set_unfinished_tasks(slf: &Bound<'_, Self>, #[pyo3(from_py_with = from_python)] n: isize) {
        SimpleQueue::set_unfinished(slf.as_super(), n);
    }

    /// The lock of the three conditions, as the standard library's queues have it. The queue itself needs no lock.
    #[getter]
    fn mutex<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        SimpleQueue::conditions(slf.as_super())?.getattr("mutex")
    }

    /// The condition that is notified when there may be an item.
    #[getter]
    fn not_empty<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        SimpleQueue::conditions(slf.as_super())?.getattr("not_empty")
    }

    /// The condition that is notified when there may be a free slot.
    #[getter]
    fn not_full<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        SimpleQueue::conditions(slf.as_super())?.getattr("not_full")
    }

    /// The condition that is notified when an item is dealt with.
    #[getter]
    fn all_tasks_done<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        SimpleQueue::conditions(slf.as_super())?.getattr("all_tasks_done")
    }

    /// Wake the waiters that can go on, after the container was changed directly.
    fn _settle(slf: &Bound<'_, Self>) {
        SimpleQueue::settle(slf.as_super());
    }

    /// Report that an item that was got is dealt with. Raises `ValueError` when called more often than items were put.
    fn task_done(slf: &Bound<'_, Self>) -> PyResult<()> {
        SimpleQueue::task_done(slf.as_super())
    }

    /// Wait until `task_done` was called for every item, `timeout` seconds at most (None: for ever).
    ///
    /// Returns false if the time passed first.
    #[pyo3(signature = (timeout = None))]
    fn join(slf: &Bound<'_, Self>, timeout: Option<Bound<'_, PyAny>>) -> PyResult<bool> {
        SimpleQueue::join(slf.as_super(), Deadline::of(timeout.as_ref())?)
    }

    /// Shut the queue: `put` raises `ShutDown` from now on, and so does `get` when there is no item left.
    ///
    /// With `immediate`, the items are dropped and count as dealt with. All greenlets that wait in `put` and `get` are
    /// woken.
    #[pyo3(signature = (immediate = Flag(false)), text_signature = "($self, immediate=False)")]
    fn shutdown(slf: &Bound<'_, Self>, immediate: Flag) -> PyResult<()> {
        SimpleQueue::shut(slf.as_super(), immediate.0)
    }

    /// Return a new queue with the same class, size, items and unfinished tasks.
    fn copy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let queue = slf.as_super().get();
        let (maxsize, unfinished) = queue
            .state
            .with(py, |state| (state.maxsize, state.unfinished));
        slf.get_type()
            .call1((maxsize, queue.snapshot(py)?, unfinished))
    }

    fn _format(slf: &Bound<'_, Self>) -> PyResult<String> {
        let mut text = format(slf.as_super())?;
        let unfinished = Self::unfinished_tasks(slf);
        if unfinished != 0 {
            text.push_str(&format!(" tasks={unfinished}"));
        }
        Ok(text)
    }
}

/// A `Queue` that gives out the newest item first.
#[pyclass(frozen, subclass, extends = Queue, name = "LifoQueue", module = "gevent.queue")]
#[derive(Debug)]
pub struct LifoQueue;

#[pymethods]
impl LifoQueue {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(maxsize=None, items=(), unfinished_tasks=None)")]
    fn new(
        class: &Bound<'_, PyType>,
        _args: &Bound<'_, PyAny>,
        _kwargs: Option<&Bound<'_, PyAny>>,
    ) -> PyClassInitializer<Self> {
        Queue::blank::<Self>(class, Kind::Lifo).add_subclass(Self)
    }
}

/// A `Queue` that gives out the least item first, by ``<``. A comparison that raises leaves the queue as it was.
#[pyclass(frozen, subclass, extends = Queue, name = "PriorityQueue", module = "gevent.queue")]
#[derive(Debug)]
pub struct PriorityQueue;

#[pymethods]
impl PriorityQueue {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(maxsize=None, items=(), unfinished_tasks=None)")]
    fn new(
        class: &Bound<'_, PyType>,
        _args: &Bound<'_, PyAny>,
        _kwargs: Option<&Bound<'_, PyAny>>,
    ) -> PyClassInitializer<Self> {
        Queue::blank::<Self>(class, Kind::Priority).add_subclass(Self)
    }
}
