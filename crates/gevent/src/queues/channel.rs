//! `gevent.queue.Channel`: a queue that holds no items. A putter waits until a getter takes its item.

use std::collections::VecDeque;

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyStopIteration, PyValueError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyGenericAlias, PyList, PyType};
use wait::WaitQueue;

use crate::args::Flag;
use crate::cell::GilCell;
use crate::errors::{Empty, Full};
use crate::hub::{self, BaseHub};
use crate::waiting::reason::{Reason, WaitKind};

use crate::queues::classes::describe;
use crate::queues::items::{self, Kind};
use crate::queues::put_get::in_hub;
use crate::waiting::deadline::Deadline;
use crate::waiting::wait::WaitRef;
use crate::waiting::waiters::{Waiting, join, next, wake};

#[derive(Default)]
struct State {
    getters: WaitQueue<Waiting<()>>,
    putters: WaitQueue<Waiting<Py<PyAny>>>,
    /// Items that were put without waiting, each for a getter that was waiting then.
    given: VecDeque<Py<PyAny>>,
}

impl State {
    fn offers(&self, py: Python<'_>) -> usize {
        self.given.len() + self.putters.len(py)
    }

    /// Returns the getter to wake: `None` as long as a notified getter claims each offer.
    fn getter(&mut self, py: Python<'_>) -> Option<WaitRef> {
        if self.offers(py) > self.getters.notified(py) {
            next(&mut self.getters, py)
        } else {
            None
        }
    }

    /// Takes the next item, and returns it with the putter to wake.
    fn take(&mut self, py: Python<'_>) -> Option<(Py<PyAny>, Option<WaitRef>)> {
        match self.given.pop_front() {
            Some(item) => Some((item, None)),
            None => self
                .putters
                .take(py)
                .map(|putter| (putter.with, Some(putter.wait))),
        }
    }

    /// Puts an item for a waiting getter that no other item is meant for; gives the item back if there is none.
    fn give(&mut self, py: Python<'_>, item: Py<PyAny>) -> Result<Option<WaitRef>, Py<PyAny>> {
        if self.offers(py) >= self.getters.len(py) {
            return Err(item);
        }
        self.given.push_back(item);
        Ok(self.getter(py))
    }
}

/// Hands items from greenlet to greenlet: `put` returns when another one got the item. It never holds one.
#[pyclass(frozen, subclass, weakref, name = "Channel", module = "gevent.queue")]
#[derive(Debug)]
pub struct Channel {
    hooked: bool,
    state: GilCell<State>,
}

impl Channel {
    fn take(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let (item, putter) = self.state.with(py, |state| state.take(py))?;
        wake(py, putter);
        Some(item)
    }

    /// Wakes getters for the offers that no notified getter claims.
    fn settle(&self, py: Python<'_>) {
        while let Some(getter) = self.state.with(py, |state| state.getter(py)) {
            getter.wake_none(py);
        }
    }

    fn put_waiting(
        slf: &Bound<'_, Self>,
        item: Bound<'_, PyAny>,
        mut deadline: Deadline,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let wait = hub::new_wait_for(py, Reason::on(WaitKind::Put, slf))?;
        let putter = Waiting::new(&wait, item.unbind());
        let ticket = this
            .state
            .with(py, |state| join(&mut state.putters, py, putter));
        this.settle(py);
        let woken = deadline.park(py, &wait);
        let left = this.state.with(py, |state| state.putters.leave(ticket));
        let taken = left.is_none();
        drop(left);
        if woken?.is_some() || taken {
            Ok(())
        } else {
            Err(deadline.error_or(py, Full::new_err(())))
        }
    }

    fn get_waiting(slf: &Bound<'_, Self>, mut deadline: Deadline) -> PyResult<Py<PyAny>> {
        let got = Self::get_in_turn(slf, &mut deadline);
        deadline.close(slf.py());
        got
    }

    fn get_in_turn(slf: &Bound<'_, Self>, deadline: &mut Deadline) -> PyResult<Py<PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let mut wait = hub::new_wait_for(py, Reason::on(WaitKind::Get, slf))?;
        let ticket = this.state.with(py, |state| {
            join(&mut state.getters, py, Waiting::new(&wait, ()))
        });
        loop {
            let woken = deadline.park_in_turn(py, &wait);
            let left = this.state.with(py, |state| state.getters.leave(ticket));
            drop(left);
            if woken?.is_none() {
                return Err(deadline.error_or(py, Empty::new_err(())));
            }
            if let Some(item) = this.take(py) {
                return Ok(item);
            }
            wait = hub::new_wait_for(py, Reason::on(WaitKind::Get, slf))?;
            let getter = Waiting::new(&wait, ());
            this.state
                .with(py, |state| state.getters.join(ticket, getter));
        }
    }
}

#[pymethods]
impl Channel {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(maxsize=None)")]
    fn new(
        class: &Bound<'_, PyType>,
        _args: &Bound<'_, PyAny>,
        _kwargs: Option<&Bound<'_, PyAny>>,
    ) -> Self {
        let hooked = !class.is(class.py().get_type::<Self>());
        Self {
            hooked,
            state: GilCell::new(State::default()),
        }
    }

    #[pyo3(signature = (maxsize = None))]
    fn __init__(&self, maxsize: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        match maxsize {
            Some(maxsize) if !maxsize.eq(1)? => {
                Err(PyValueError::new_err("Channels have a maxsize of 1"))
            }
            _ => Ok(()),
        }
    }

    /// The number of waiting putters less that of waiting getters.
    #[getter]
    fn balance(&self, py: Python<'_>) -> isize {
        self.state.with(py, |state| {
            state.offers(py) as isize - state.getters.len(py) as isize
        })
    }

    /// The greenlets that wait in `get`.
    #[getter]
    fn getters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let waiting: Vec<_> = self.state.with(py, |state| {
            state
                .getters
                .iter_waiting()
                .map(|(_, getter)| getter.wait.greenlet().clone_ref(py))
                .collect()
        });
        items::container(Kind::Fifo, PyList::new(py, waiting)?.as_any())
    }

    /// The items that are offered, each with the greenlet that waits in `put`, or None.
    #[getter]
    fn putters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let offered: Vec<_> = self.state.with(py, |state| {
            let given = state.given.iter().map(|item| (item.clone_ref(py), None));
            let waiting = state.putters.iter(py);
            let waiting = waiting.map(|putter| {
                (
                    putter.with.clone_ref(py),
                    Some(putter.wait.greenlet().clone_ref(py)),
                )
            });
            given.chain(waiting).collect()
        });
        items::container(Kind::Fifo, PyList::new(py, offered)?.as_any())
    }

    /// The hub of the calling thread.
    #[getter]
    fn hub<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, BaseHub>> {
        hub::current(py)
    }

    /// Return 0: a channel holds nothing.
    fn qsize(&self) -> usize {
        0
    }

    /// Return True: a channel holds nothing.
    fn empty(&self) -> bool {
        true
    }

    /// Return True: a channel has no slot.
    fn full(&self) -> bool {
        true
    }

    /// Pass an item to a greenlet that gets it.
    ///
    /// Wait for a getter, `timeout` seconds at most (None: for ever), then raise `Full`. With `block` false, and in the
    /// hub, only pass it to a greenlet that waits already. A `Timeout` given as `timeout` is raised itself.
    #[pyo3(signature = (item, block = Flag(true), timeout = None), text_signature = "($self, item, block=True, timeout=None)")]
    fn put(
        slf: &Bound<'_, Self>,
        item: Bound<'_, PyAny>,
        block: Flag,
        timeout: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = item.py();
        if block.0 && !in_hub(py)? {
            return Self::put_waiting(slf, item, Deadline::of(timeout.as_ref())?);
        }
        let given = slf
            .get()
            .state
            .with(py, |state| state.give(py, item.unbind()));
        match given {
            Ok(getter) => {
                wake(py, getter);
                Ok(())
            }
            Err(_) => Err(Full::new_err(())),
        }
    }

    /// Hand an item to a greenlet that waits for one, or raise `Full`.
    fn put_nowait(slf: &Bound<'_, Self>, item: Bound<'_, PyAny>) -> PyResult<()> {
        if slf.get().hooked {
            return slf
                .call_method1(pyo3::intern!(slf.py(), "put"), (item, false))
                .map(drop);
        }
        Self::put(slf, item, Flag(false), None)
    }

    /// Return the item of a greenlet that puts one.
    ///
    /// Wait for a putter, `timeout` seconds at most (None: for ever), then raise `Empty`; with `block` false, raise it
    /// without waiting. A `Timeout` given as `timeout` is raised itself.
    #[pyo3(signature = (block = Flag(true), timeout = None), text_signature = "($self, block=True, timeout=None)")]
    fn get(
        slf: &Bound<'_, Self>,
        block: Flag,
        timeout: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let item = this.state.with(py, |state| {
            // Items for which getters were notified are left to those.
            if state.offers(py) > state.getters.notified(py) {
                state.take(py)
            } else {
                None
            }
        });
        if let Some((item, putter)) = item {
            wake(py, putter);
            return Ok(item);
        }
        if !block.0 {
            return Err(Empty::new_err(()));
        }
        let got = Self::get_waiting(slf, Deadline::of(timeout.as_ref())?);
        this.settle(py);
        got
    }

    /// Return the item of a greenlet that waits in `put`, or raise `Empty`.
    fn get_nowait(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if slf.get().hooked {
            return slf
                .call_method1(pyo3::intern!(py, "get"), (false, py.None()))
                .map(Bound::unbind);
        }
        Self::get(slf, Flag(false), None)
    }

    fn __iter__<'py>(slf: Bound<'py, Self>) -> Bound<'py, Self> {
        slf
    }

    fn __next__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let item = if slf.get().hooked {
            slf.call_method1(pyo3::intern!(py, "get"), (true, py.None()))?
                .unbind()
        } else {
            Self::get(slf, Flag(true), None)?
        };
        if item.bind(py).is(py.get_type::<PyStopIteration>()) {
            return Err(PyStopIteration::new_err(()));
        }
        Ok(item)
    }

    /// The same as `next(channel)`.
    fn next(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::__next__(slf)
    }

    #[classmethod]
    fn __class_getitem__<'py>(
        class: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyGenericAlias>> {
        PyGenericAlias::new(class.py(), class, item)
    }

    fn _format(&self, py: Python<'_>) -> String {
        let (getters, putters) = self
            .state
            .with(py, |state| (state.getters.waiting(), state.offers(py)));
        let mut text = String::new();
        if getters > 0 {
            text.push_str(&format!(" getters[{getters}]"));
        }
        if putters > 0 {
            text.push_str(&format!(" putters[{putters}]"));
        }
        text
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        describe(slf.as_any(), true, " ")
    }

    fn __str__(slf: &Bound<'_, Self>) -> PyResult<String> {
        describe(slf.as_any(), false, " ")
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let traverse = |state: &State| {
            let mut putters = state.putters.iter_all();
            putters.try_for_each(|putter| visit.call(&putter.with))?;
            state.given.iter().try_for_each(|item| visit.call(item))
        };
        self.state.peek(&visit, traverse).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.state.take(py));
    }
}
