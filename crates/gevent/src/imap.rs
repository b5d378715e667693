//! `imap` and `imap_unordered` of groups and pools: a greenlet that spawns the calls, and a queue of their results.

use std::collections::VecDeque;

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::cell::GilCell;
use crate::errors::GreenletExit;
use crate::greenlet::{Greenlet, Stage};
use crate::group::BaseGroup;
use crate::hub;
use crate::links::{Link, Links, Listener};
use crate::park;
use crate::wait::WaitRef;

/// What became of one call.
enum Slot {
    Pending,
    Value(Py<PyAny>),
    Error(Py<PyAny>),
}

/// What a reader finds.
enum Taken {
    Slot(Slot),
    Later,
    Over,
}

struct Queued {
    /// In order: one slot per call that was begun and not read. Else the finished calls alone.
    slots: VecDeque<Slot>,
    ordered: bool,
    begun: usize,
    read: usize,
    finished: usize,
    /// Whether all calls are begun.
    over: bool,
    readers: Links,
    spawner: Links,
}

impl Queued {
    fn is_ready(&self) -> bool {
        self.slots.front().is_some_and(|slot| !matches!(slot, Slot::Pending))
    }

    fn is_exhausted(&self) -> bool {
        self.over && self.read == self.begun
    }
}

/// The results that nobody has read yet.
#[pyclass(frozen, name = "Results", module = "gevent._imap")]
pub struct Results {
    queued: GilCell<Queued>,
}

impl Results {
    fn new(ordered: bool) -> Self {
        let queued = Queued {
            slots: VecDeque::new(),
            ordered,
            begun: 0,
            read: 0,
            finished: 0,
            over: false,
            readers: Links::new(),
            spawner: Links::new(),
        };
        Self { queued: GilCell::new(queued) }
    }

    fn begin(&self, py: Python<'_>) -> usize {
        self.queued.with(py, |queued| {
            if queued.ordered {
                queued.slots.push_back(Slot::Pending);
            }
            queued.begun += 1;
            queued.begun - 1
        })
    }

    /// Puts in what a greenlet that is over returned or raised.
    pub fn put_end_of(&self, greenlet: &Bound<'_, Greenlet>, index: usize) {
        let py = greenlet.py();
        let result = match Greenlet::result(greenlet) {
            Some(Ok(value)) => Slot::Value(value),
            Some(Err(error)) => Slot::Error(error.into_value(py).into_any()),
            None => Slot::Value(py.None()),
        };
        self.put(py, index, result);
    }

    fn put(&self, py: Python<'_>, index: usize, result: Slot) {
        let old = self.queued.with(py, |queued| {
            queued.finished += 1;
            if !queued.ordered {
                queued.slots.push_back(result);
                return None;
            }
            let at = index - queued.read;
            queued.slots.get_mut(at).map(|slot| std::mem::replace(slot, result))
        });
        drop(old);
        self.wake_readers(py);
    }

    /// Wakes a reader if there is something to read, and all if there never will be.
    fn wake_readers(&self, py: Python<'_>) {
        loop {
            let (link, all) = self.queued.with(py, |queued| {
                let all = queued.is_exhausted();
                (if all || queued.is_ready() { queued.readers.pop() } else { None }, all)
            });
            match link {
                Some(Link::Wait(wait)) if wait.wake_none(py) && !all => return,
                Some(_) => {}
                None => return,
            }
        }
    }

    fn end(&self, py: Python<'_>) {
        self.queued.with(py, |queued| queued.over = true);
        self.wake_readers(py);
    }

    fn take(&self, py: Python<'_>) -> Taken {
        let (taken, spawner, others) = self.queued.with(py, |queued| {
            if !queued.is_ready() {
                return (if queued.is_exhausted() { Taken::Over } else { Taken::Later }, None, false);
            }
            queued.read += 1;
            queued.finished -= 1;
            let taken = queued.slots.pop_front().map_or(Taken::Over, Taken::Slot);
            (taken, queued.spawner.pop(), !queued.readers.is_empty())
        });
        if let Some(Link::Wait(wait)) = spawner {
            wait.wake_none(py);
        }
        if others {
            self.wake_readers(py);
        }
        taken
    }

    /// Waits until fewer than `most` calls are begun and not read.
    fn wait_for_room(&self, py: Python<'_>, most: usize) -> PyResult<()> {
        while self.queued.with(py, |queued| queued.begun - queued.read >= most) {
            let wait = hub::new_wait(py)?;
            self.queued.with(py, |queued| queued.spawner.push(Link::Wait(wait.clone())));
            let woken = park::park(py, &wait);
            let left = self.queued.with(py, |queued| queued.spawner.remove_wait(&wait));
            drop(left);
            woken?;
        }
        Ok(())
    }

    fn push_reader(&self, py: Python<'_>, wait: &WaitRef) {
        self.queued.with(py, |queued| queued.readers.push(Link::Wait(wait.clone())));
    }

    fn remove_reader(&self, py: Python<'_>, wait: &WaitRef) {
        let left = self.queued.with(py, |queued| queued.readers.remove_wait(wait));
        drop(left);
    }
}

#[pymethods]
impl Results {
    fn __len__(&self, py: Python<'_>) -> usize {
        self.queued.with(py, |queued| queued.finished)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.queued.peek(|queued| {
            queued.readers.traverse(visit)?;
            queued.spawner.traverse(visit)?;
            queued.slots.iter().try_for_each(|slot| match slot {
                Slot::Pending => Ok(()),
                Slot::Value(object) | Slot::Error(object) => visit.call(object),
            })
        });
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let slots = self.queued.with(py, |queued| std::mem::take(&mut queued.slots));
        drop(slots);
    }
}

/// Linked to one call: stores its result.
#[pyclass(frozen, name = "ResultLink", module = "gevent._imap")]
pub struct ResultLink {
    results: Py<Results>,
    index: usize,
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
        let result = if source.call_method0(pyo3::intern!(py, "successful"))?.is_truthy()? {
            Slot::Value(source.getattr(pyo3::intern!(py, "value"))?.unbind())
        } else {
            Slot::Error(source.getattr(pyo3::intern!(py, "exception"))?.unbind())
        };
        results.put(py, self.index, result);
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.results)
    }
}

#[derive(Default)]
struct Plan {
    function: Option<Py<PyAny>>,
    items: Option<Py<PyAny>>,
    spawn: Option<Py<PyAny>>,
    results: Option<Py<Results>>,
    zipped: bool,
    most: usize,
}

/// Iterates over the results of calling a function with each of many items, in the order in which the calls end.
///
/// It is a greenlet that makes the calls with `spawn`; killing it makes no more of them.
#[pyclass(frozen, subclass, extends = Greenlet, name = "IMapUnordered", module = "gevent._imap")]
pub struct IMapUnordered {
    plan: GilCell<Plan>,
}

/// `IMapUnordered` in the order of the items.
#[pyclass(frozen, subclass, extends = IMapUnordered, name = "IMap", module = "gevent._imap")]
pub struct IMap;

impl IMapUnordered {
    fn blank() -> PyClassInitializer<Self> {
        Greenlet::blank().add_subclass(Self { plan: GilCell::new(Plan::default()) })
    }

    fn results(&self, py: Python<'_>) -> Option<Py<Results>> {
        self.plan.with(py, |plan| plan.results.as_ref().map(|results| results.clone_ref(py)))
    }

    /// Begins the next call; false after the last.
    fn step(&self, py: Python<'_>, results: &Py<Results>, planned: &Planned<'_>) -> PyResult<bool> {
        if planned.most > 0 {
            results.get().wait_for_room(py, planned.most)?;
        }
        let Some(item) = next(&planned.items)? else { return Ok(false) };
        let args = if planned.zipped { item.cast_into::<PyTuple>()? } else { PyTuple::new(py, [item])? };
        let task = match &planned.group {
            Some(group) => BaseGroup::spawn_call(group, planned.function.clone(), args)?,
            None => {
                let all: Vec<_> = std::iter::once(planned.function.clone()).chain(args.iter()).collect();
                planned.spawn.call1(PyTuple::new(py, all)?)?
            }
        };
        let index = results.get().begin(py);
        let results = results.clone_ref(py);
        match task.cast_exact::<Greenlet>() {
            Ok(greenlet) => Greenlet::add_link(greenlet, Link::Native(Listener::Results(results, index))),
            Err(_) => {
                let link = Bound::new(py, ResultLink { results, index })?;
                task.call_method1(pyo3::intern!(py, "rawlink"), (link,))?;
            }
        }
        Ok(true)
    }
}

/// New references to a plan's objects, for the greenlet's own stack.
struct Planned<'py> {
    function: Bound<'py, PyAny>,
    items: Bound<'py, PyAny>,
    spawn: Bound<'py, PyAny>,
    /// The group whose own, not overridden method `spawn` is.
    group: Option<Bound<'py, BaseGroup>>,
    zipped: bool,
    most: usize,
}

fn next<'py>(iterator: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    iterator.cast::<pyo3::types::PyIterator>()?.clone().next().transpose()
}

fn most_of(maxsize: Option<&Bound<'_, PyAny>>) -> PyResult<usize> {
    let Some(maxsize) = maxsize else { return Ok(0) };
    let most: i64 = maxsize.extract().map_err(|_| PyTypeError::new_err("an integer is required"))?;
    usize::try_from(most).map_err(|_| PyValueError::new_err("maxsize must be >= 0"))
}

#[pymethods]
impl IMapUnordered {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        Self::blank()
    }

    #[pyo3(signature = (func, iterable, spawn, maxsize = None, _zipped = false))]
    fn __init__<'py>(
        slf: &Bound<'py, Self>,
        func: Py<PyAny>,
        iterable: &Bound<'py, PyAny>,
        spawn: Py<PyAny>,
        maxsize: Option<&Bound<'py, PyAny>>,
        _zipped: bool,
    ) -> PyResult<()> {
        let py = slf.py();
        let results = Py::new(py, Results::new(slf.is_instance_of::<IMap>()))?;
        let plan = Plan {
            function: Some(func),
            items: Some(iterable.try_iter()?.into_any().unbind()),
            spawn: Some(spawn),
            results: Some(results),
            zipped: _zipped,
            most: most_of(maxsize)?,
        };
        Greenlet::init(slf.as_super(), None, PyTuple::empty(py), None)?;
        drop(slf.get().plan.replace(py, plan));
        Ok(())
    }

    /// The results that are there and not read; it has a length.
    #[getter]
    fn queue(&self, py: Python<'_>) -> Option<Py<Results>> {
        self.results(py)
    }

    /// Whether all calls are begun.
    #[getter]
    fn finished(&self, py: Python<'_>) -> bool {
        self.results(py).is_some_and(|results| results.get().queued.with(py, |queued| queued.over))
    }

    fn _run(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let Some(results) = this.results(py) else { return Ok(()) };
        let (function, items, spawn, zipped, most) = this.plan.with(py, |plan| {
            (plan.function.take(), plan.items.take(), plan.spawn.take(), plan.zipped, plan.most)
        });
        let (Some(function), Some(items), Some(spawn)) = (function, items, spawn) else { return Ok(()) };
        let (function, items, spawn) = (function.into_bound(py), items.into_bound(py), spawn.into_bound(py));
        let group = BaseGroup::of_spawn(&spawn)?;
        let planned = Planned { function, items, spawn, group, zipped, most };
        let ended = loop {
            match this.step(py, &results, &planned) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) if error.is_instance_of::<GreenletExit>(py) => break Err(error),
                Err(error) => {
                    // The reader's: it is what went wrong with the item that would have come next.
                    let index = results.get().begin(py);
                    results.get().put(py, index, Slot::Error(error.into_value(py).into_any()));
                    break Ok(());
                }
            }
        };
        results.get().end(py);
        ended
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Return the next result, waiting for it, or raise what the call raised.
    fn __next__(slf: &Bound<'_, Self>) -> PyResult<Option<Py<PyAny>>> {
        let py = slf.py();
        let Some(results) = slf.get().results(py) else { return Ok(None) };
        let results = results.get();
        loop {
            match results.take(py) {
                Taken::Slot(Slot::Value(value)) => return Ok(Some(value)),
                Taken::Slot(Slot::Error(error)) => return Err(PyErr::from_value(error.into_bound(py))),
                Taken::Slot(Slot::Pending) | Taken::Over => return Ok(None),
                Taken::Later => {}
            }
            let greenlet = slf.as_super();
            if Greenlet::is_ready(greenlet) && !slf.get().finished(py) {
                // Killed before it began.
                results.end(py);
                continue;
            }
            let wait = hub::new_wait(py)?;
            results.push_reader(py, &wait);
            let state = &greenlet.get().state;
            // Until it has begun, its end does not go through the results.
            let unbegun = state.with(py, |state| matches!(state.stage, Stage::New | Stage::Scheduled));
            if unbegun {
                state.with(py, |state| state.links.push(Link::Wait(wait.clone())));
            }
            let woken = park::park(py, &wait);
            results.remove_reader(py, &wait);
            if unbegun {
                let left = state.with(py, |state| state.links.remove_wait(&wait));
                drop(left);
            }
            if let Err(error) = woken {
                // What it was woken for, if anything, is another reader's now.
                results.wake_readers(py);
                return Err(error);
            }
        }
    }

    /// The same as ``next(self)``.
    #[pyo3(name = "next")]
    fn next_(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::__next__(slf)?.ok_or_else(|| pyo3::exceptions::PyStopIteration::new_err(()))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.plan.peek(|plan| {
            visit.call(&plan.function)?;
            visit.call(&plan.items)?;
            visit.call(&plan.spawn)?;
            visit.call(&plan.results)
        });
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.plan.take(py));
    }
}

#[pymethods]
impl IMap {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        IMapUnordered::blank().add_subclass(Self)
    }
}
