//! `gevent.queue`: how greenlets put items, get them, and wait for one another meanwhile.
//!
//! All classes share one struct; what tells them apart is where items are kept (`queue_items.rs`) and which methods they
//! show (`queue_api.rs`). A greenlet that waits helps itself when it is woken (`line.rs`), so whatever ends its wait
//! otherwise (a timeout, a kill) neither takes an item nor leaves one behind.

use std::collections::VecDeque;

use pyo3::PyTraverseError;
use pyo3::exceptions::PyValueError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use reactor::Time;

use crate::cell::GilCell;
use crate::errors::{Empty, Full, ShutDown};
use crate::ffi::greenlet;
use crate::hub;
use crate::line::{Line, wake};
use crate::links::{Link, Links};
use crate::queue_items::{self, Items, Kind};
use crate::timeout::{Limit, Timeout};
use crate::wait::WaitRef;

/// A queue that cannot be joined: `gevent.queue.SimpleQueue`, and the state of those that can.
#[pyclass(frozen, subclass, weakref, name = "SimpleQueue", module = "gevent.queue")]
pub struct SimpleQueue {
    pub(crate) kind: Kind,
    /// Whether a subclass may have a say in how items are kept.
    hooked: bool,
    pub(crate) state: GilCell<State>,
}

/// Everything mutable.
#[derive(Default)]
pub struct State {
    pub(crate) items: Items,
    pub(crate) maxsize: Option<isize>,
    /// Who waits for an item; true for those who only want to see it.
    pub(crate) getters: Line<bool>,
    /// Who waits for a free place, with the item to put there.
    pub(crate) putters: Line<Py<PyAny>>,
    pub(crate) shut: bool,
    pub(crate) unfinished: isize,
    pub(crate) joiners: Links,
}

impl State {
    /// The common `put`: into native items that have room. Gives the item back otherwise.
    #[inline]
    fn put_native(&mut self, item: Py<PyAny>) -> Result<Option<WaitRef>, Py<PyAny>> {
        let Items::Native(items) = &mut self.items else { return Err(item) };
        if self.shut || self.maxsize.is_some_and(|max| items.len() as isize >= max) {
            return Err(item);
        }
        items.push_back(item);
        self.unfinished += 1;
        let size = items.len() as isize;
        Ok(self.getter_for(size))
    }

    /// The common `get`: from native items. A queue that is shut gives out what it has.
    #[inline]
    fn get_native(&mut self) -> Option<(Py<PyAny>, Option<WaitRef>)> {
        let Items::Native(items) = &mut self.items else { return None };
        let item = items.pop_front()?;
        let size = items.len() as isize;
        Some((item, self.putter_for(size)))
    }

    /// The getter to wake when there are `size` items: none as long as each is claimed by somebody woken.
    #[inline]
    fn getter_for(&mut self, size: isize) -> Option<WaitRef> {
        if self.getters.waiting() > 0 && size > self.getters.woken() as isize { self.getters.next() } else { None }
    }

    /// The putter to wake when there are `size` items: none as long as each free place is claimed by somebody woken.
    #[inline]
    fn putter_for(&mut self, size: isize) -> Option<WaitRef> {
        if self.putters.waiting() == 0 {
            return None;
        }
        let claimed = size.saturating_add(self.putters.woken() as isize);
        if self.maxsize.is_none_or(|max| claimed < max) { self.putters.next() } else { None }
    }
}

/// Whether the caller is the hub, which must not wait.
///
/// # Errors
/// When the hub cannot be made.
pub fn in_hub(py: Python<'_>) -> PyResult<bool> {
    Ok(greenlet::current(py).is(&hub::current(py)?))
}

fn check_not_negative(timeout: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    match timeout {
        Some(timeout) if !timeout.is_none() && !timeout.is_instance_of::<Timeout>() && timeout.lt(0)? => {
            Err(PyValueError::new_err("'timeout' must be a non-negative number"))
        }
        _ => Ok(()),
    }
}

/// A limit over several waits.
pub struct Patience {
    limit: Limit,
    until: Option<Time>,
}

impl Patience {
    /// Counts from now.
    pub fn new(limit: Limit) -> Self {
        let until = match &limit {
            Limit::After(delay, _) => Some(Time::now().after(*delay)),
            Limit::Never | Limit::Object(_) => None,
        };
        Self { limit, until }
    }

    /// Parks; false when the limit passed.
    ///
    /// # Errors
    /// What is thrown into the greenlet meanwhile.
    pub fn park(&mut self, py: Python<'_>, wait: &WaitRef) -> PyResult<bool> {
        if let (Limit::After(delay, _), Some(until)) = (&mut self.limit, self.until) {
            *delay = until.until(Time::now());
        }
        self.limit.park(py, wait).map(|woken| woken.is_some())
    }

    /// The error for a limit that passed: the caller's own `Timeout`, or else `other`.
    pub fn error(&self, py: Python<'_>, other: PyErr) -> PyErr {
        match &self.limit {
            Limit::Object(_) => self.limit.error(py).unwrap_or_else(|error| error),
            Limit::Never | Limit::After(..) => other,
        }
    }
}

impl SimpleQueue {
    /// A queue before `__init__`.
    pub fn blank(kind: Kind, hooked: bool) -> Self {
        Self { kind, hooked, state: GilCell::new(State::default()) }
    }

    /// The container, if it is a Python object.
    fn python_items<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state.with(py, |state| match &state.items {
            Items::Native(_) => None,
            Items::Python(items) => Some(items.bind(py).clone()),
        })
    }

    /// The items as their container shows them, which may be the container itself.
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
        queue_items::container(self.kind, PyList::new(py, items)?.as_any())
    }

    /// The container, which the items stay in from now on.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn container<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(items) = self.python_items(py) {
            return Ok(items);
        }
        let container = queue_items::container(self.kind, PyTuple::empty(py).as_any())?;
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
                    queue_items::push(self.kind, &container, item.into_bound(py))?;
                }
                Ok(container)
            }
            Err(other) => Ok(other.into_bound(py)),
        }
    }

    /// Puts other items in place of those it has.
    pub fn replace_items(&self, py: Python<'_>, items: Items) {
        let old = self.state.with(py, |state| std::mem::replace(&mut state.items, items));
        drop(old);
    }

    /// Whether a subclass may have a say in how items are kept.
    pub fn is_hooked(&self) -> bool {
        self.hooked
    }

    /// `_qsize` as this class has it.
    pub fn own_size(&self, py: Python<'_>) -> PyResult<usize> {
        let native = self.state.with(py, |state| match &state.items {
            Items::Native(items) => Ok(items.len()),
            Items::Python(items) => Err(items.clone_ref(py)),
        });
        native.or_else(|items| items.bind(py).len())
    }

    /// `_put` as this class has it.
    pub fn own_put(&self, item: Bound<'_, PyAny>) -> PyResult<()> {
        let py = item.py();
        let mut item = Some(item.unbind());
        let native = self.kind == Kind::Fifo
            && self.state.with(py, |state| match (&mut state.items, item.take()) {
                (Items::Native(items), Some(given)) => {
                    items.push_back(given);
                    true
                }
                (_, given) => {
                    item = given;
                    false
                }
            });
        if let (false, Some(item)) = (native, item) {
            queue_items::push(self.kind, &self.container(py)?, item.into_bound(py))?;
        }
        self.state.with(py, |state| state.unfinished += 1);
        Ok(())
    }

    /// `_get` as this class has it.
    pub fn own_get(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let native = self.state.with(py, |state| match &mut state.items {
            Items::Native(items) if self.kind == Kind::Fifo => items.pop_front(),
            _ => None,
        });
        match native {
            Some(item) => Ok(item),
            None => queue_items::pop(self.kind, &self.container(py)?).map(Bound::unbind),
        }
    }

    /// `_peek` as this class has it.
    pub fn own_peek(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let native = self.state.with(py, |state| match &state.items {
            Items::Native(items) if self.kind == Kind::Fifo => items.front().map(|item| item.clone_ref(py)),
            _ => None,
        });
        match native {
            Some(item) => Ok(item),
            None => queue_items::peek(self.kind, &self.container(py)?).map(Bound::unbind),
        }
    }

    /// `qsize()`, as a subclass may have it.
    pub fn size(slf: &Bound<'_, Self>) -> PyResult<isize> {
        let py = slf.py();
        if slf.get().hooked {
            slf.call_method0(pyo3::intern!(py, "qsize"))?.extract()
        } else {
            slf.get().own_size(py).map(|size| size as isize)
        }
    }

    /// `_qsize()`, as a subclass may have it.
    pub fn inner_size(slf: &Bound<'_, Self>) -> PyResult<isize> {
        let py = slf.py();
        if slf.get().hooked {
            slf.call_method0(pyo3::intern!(py, "_qsize"))?.extract()
        } else {
            slf.get().own_size(py).map(|size| size as isize)
        }
    }

    fn put_now(slf: &Bound<'_, Self>, item: Bound<'_, PyAny>) -> PyResult<()> {
        if slf.get().hooked {
            slf.call_method1(pyo3::intern!(slf.py(), "_put"), (item,)).map(drop)
        } else {
            slf.get().own_put(item)
        }
    }

    fn get_now(slf: &Bound<'_, Self>, peek: bool) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        match (slf.get().hooked, peek) {
            (false, false) => slf.get().own_get(py),
            (false, true) => slf.get().own_peek(py),
            (true, false) => slf.call_method0(pyo3::intern!(py, "_get")).map(Bound::unbind),
            (true, true) => slf.call_method0(pyo3::intern!(py, "_peek")).map(Bound::unbind),
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

    /// Wakes getters for items that nobody woken claims, and putters for free places. A size that cannot be had counts
    /// as enough: whoever is woken looks again.
    pub fn settle(slf: &Bound<'_, Self>) {
        let py = slf.py();
        let state = &slf.get().state;
        while state.with(py, |state| state.getters.waiting() > 0) {
            let size = Self::size(slf).unwrap_or(isize::MAX);
            let Some(next) = state.with(py, |state| state.getter_for(size)) else { break };
            next.wake_none(py);
        }
        while state.with(py, |state| state.putters.waiting() > 0) {
            let size = Self::size(slf).unwrap_or(0);
            let Some(next) = state.with(py, |state| state.putter_for(size)) else { break };
            next.wake_none(py);
        }
    }

    /// Puts an item, waiting for a free place if it must and may.
    ///
    /// # Errors
    /// `Full`, `ShutDown`, `ValueError` for a negative timeout, a `Timeout` of the caller's; what a subclass raises.
    pub fn put(
        slf: &Bound<'_, Self>,
        item: Bound<'_, PyAny>,
        block: bool,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let mut item = item.unbind();
        if !this.hooked && timeout.is_none() && this.kind == Kind::Fifo {
            match this.state.with(py, |state| state.put_native(item)) {
                Ok(getter) => {
                    wake(py, getter);
                    return Ok(());
                }
                Err(given) => item = given,
            }
        }
        let item = item.into_bound(py);
        if this.state.with(py, |state| state.shut) {
            return Err(ShutDown::new_err(()));
        }
        if !Self::is_full(slf)? {
            if block {
                check_not_negative(timeout)?;
            }
        } else if in_hub(py)? {
            if Self::size(slf)? >= Self::room_for_hub(slf) {
                return Err(Full::new_err(()));
            }
        } else if !block {
            return Err(Full::new_err(()));
        } else {
            let put = Self::put_waiting(slf, item, Patience::new(Limit::of(timeout)?));
            Self::settle(slf);
            return put;
        }
        let put = Self::put_now(slf, item);
        Self::settle(slf);
        put
    }

    /// How many items the hub may put: those that woken getters are about to take do not count.
    fn room_for_hub(slf: &Bound<'_, Self>) -> isize {
        slf.get().state.with(slf.py(), |state| {
            let taking = state.getters.iter_woken().filter(|peeks| !**peeks).count();
            state.maxsize.unwrap_or(isize::MAX).saturating_add(taking as isize)
        })
    }

    fn put_waiting(slf: &Bound<'_, Self>, item: Bound<'_, PyAny>, mut patience: Patience) -> PyResult<()> {
        let py = slf.py();
        let state = &slf.get().state;
        let mut wait = hub::new_wait(py)?;
        let with = item.clone().unbind();
        let ticket = state.with(py, |state| state.putters.join(wait.clone(), with));
        loop {
            let woken = patience.park(py, &wait);
            let left = state.with(py, |state| state.putters.leave(ticket));
            let served = left.is_none();
            drop(left);
            if !woken? {
                return if served { Ok(()) } else { Err(patience.error(py, Full::new_err(()))) };
            }
            if served {
                return Ok(());
            }
            if state.with(py, |state| state.shut) {
                return Err(ShutDown::new_err(()));
            }
            if !Self::is_full(slf)? {
                return Self::put_now(slf, item);
            }
            wait = hub::new_wait(py)?;
            let with = item.clone().unbind();
            state.with(py, |state| state.putters.rejoin(ticket, wait.clone(), with));
        }
    }

    /// Gets (or only looks at) the next item, waiting for one if it must and may.
    ///
    /// # Errors
    /// `Empty`, `ShutDown`, `ValueError` for a negative timeout, a `Timeout` of the caller's; what a subclass raises.
    pub fn get(
        slf: &Bound<'_, Self>,
        block: bool,
        timeout: Option<&Bound<'_, PyAny>>,
        peek: bool,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let this = slf.get();
        if !this.hooked && !peek && this.kind == Kind::Fifo {
            if let Some((item, putter)) = this.state.with(py, State::get_native) {
                wake(py, putter);
                return Ok(item);
            }
        }
        let got = if Self::size(slf)? > 0 {
            Self::get_now(slf, peek)
        } else if this.state.with(py, |state| state.shut) {
            Err(ShutDown::new_err(()))
        } else if in_hub(py)? {
            Self::take_from_putters(slf)?;
            if Self::size(slf)? > 0 { Self::get_now(slf, peek) } else { Err(Empty::new_err(())) }
        } else if block {
            check_not_negative(timeout)?;
            Self::get_waiting(slf, Patience::new(Limit::of(timeout)?), peek)
        } else {
            return Err(Empty::new_err(()));
        };
        Self::settle(slf);
        got
    }

    /// In the hub, which cannot let the putters run: puts their items for them while there is room.
    fn take_from_putters(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        while !Self::is_full(slf)? {
            let Some(first) = slf.get().state.with(py, |state| state.putters.take()) else { return Ok(()) };
            let put = Self::put_now(slf, first.with.into_bound(py));
            match put {
                Ok(()) => first.wait.wake_none(py),
                Err(error) => first.wait.wake(py, Err(error)),
            };
        }
        Ok(())
    }

    fn get_waiting(slf: &Bound<'_, Self>, mut patience: Patience, peek: bool) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let state = &slf.get().state;
        let mut wait = hub::new_wait(py)?;
        let ticket = state.with(py, |state| state.getters.join(wait.clone(), peek));
        loop {
            let woken = patience.park(py, &wait);
            let left = state.with(py, |state| state.getters.leave(ticket));
            drop(left);
            if !woken? {
                return Err(patience.error(py, Empty::new_err(())));
            }
            if Self::size(slf)? > 0 {
                return Self::get_now(slf, peek);
            }
            if state.with(py, |state| state.shut) {
                return Err(ShutDown::new_err(()));
            }
            wait = hub::new_wait(py)?;
            state.with(py, |state| state.getters.rejoin(ticket, wait.clone(), peek));
        }
    }

    /// Shuts the queue: wakes all who wait, and forgets the items if `immediate`.
    ///
    /// # Errors
    /// What a subclass raises.
    pub fn shut(slf: &Bound<'_, Self>, immediate: bool) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        this.state.with(py, |state| state.shut = true);
        let drained = if immediate { Self::drain(slf) } else { Ok(()) };
        while let Some(next) = this.state.with(py, |state| state.getters.next()) {
            next.wake_none(py);
        }
        while let Some(next) = this.state.with(py, |state| state.putters.next()) {
            next.wake_none(py);
        }
        drained
    }

    fn drain(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        while Self::size(slf)? > 0 {
            drop(Self::get_now(slf, false)?);
            if slf.get().state.with(py, |state| state.unfinished > 0) {
                Self::task_done(slf)?;
            }
        }
        Ok(())
    }

    /// Counts one item as dealt with, and tells the joiners after the last.
    ///
    /// # Errors
    /// `ValueError` when there was none.
    pub fn task_done(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let joiners = slf.get().state.with(py, |state| {
            if state.unfinished <= 0 {
                return None;
            }
            state.unfinished -= 1;
            Some(if state.unfinished == 0 { state.joiners.take() } else { Links::new() })
        });
        let Some(mut joiners) = joiners else {
            return Err(PyValueError::new_err("task_done() called too many times"));
        };
        while let Some(Link::Wait(joiner)) = joiners.pop() {
            joiner.wake_none(py);
        }
        Ok(())
    }

    /// Waits until every item was dealt with; false when the limit passed.
    ///
    /// # Errors
    /// What is thrown into the greenlet meanwhile.
    pub fn join(slf: &Bound<'_, Self>, limit: &Limit) -> PyResult<bool> {
        let py = slf.py();
        let state = &slf.get().state;
        if state.with(py, |state| state.unfinished == 0) {
            return Ok(true);
        }
        let wait = hub::new_wait(py)?;
        state.with(py, |state| state.joiners.push(Link::Wait(wait.clone())));
        let woken = limit.park(py, &wait);
        let left = state.with(py, |state| state.joiners.remove_wait(&wait));
        drop(left);
        woken.map(|woken| woken.is_some())
    }

    /// Visits what it owns.
    ///
    /// # Errors
    /// What the visitor returns.
    pub fn visit(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let traverse = |state: &State| {
            state.items.traverse(visit.clone())?;
            state.getters.traverse(visit.clone(), |_| Ok(()))?;
            state.putters.traverse(visit.clone(), |item| visit.call(item))?;
            state.joiners.traverse(visit.clone())
        };
        self.state.peek(traverse).unwrap_or(Ok(()))
    }

    /// Empties it for the garbage collector.
    pub fn release(&self, py: Python<'_>) {
        let taken = self.state.with(py, |state| {
            let items = std::mem::replace(&mut state.items, Items::Native(VecDeque::new()));
            (items, state.getters.clear(), state.putters.clear(), state.joiners.take())
        });
        drop(taken);
    }
}
