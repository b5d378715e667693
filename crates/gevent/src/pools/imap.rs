//! `imap` and `imap_unordered` of groups and pools: a greenlet that makes the calls, and an iterator over their results.

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyStopIteration, PyTypeError, PyValueError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyTuple};

use crate::cell::GilCell;
use crate::errors::GreenletExit;
use crate::greenlets::greenlet::Greenlet;
use crate::hub;
use crate::pools::group::BaseGroup;
use crate::pools::imap_results::{ResultLink, Results, Slot, Taken};
use crate::waiting::links::{Link, Listener};
use crate::waiting::park;
use crate::waiting::reason::{Reason, WaitKind};

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
#[derive(Debug)]
pub struct IMapUnordered {
    plan: GilCell<Plan>,
}

/// `IMapUnordered` in the order of the items.
#[pyclass(frozen, subclass, extends = IMapUnordered, name = "IMap", module = "gevent._imap")]
#[derive(Debug)]
pub struct IMap;

impl IMapUnordered {
    fn blank() -> PyClassInitializer<Self> {
        Greenlet::blank().add_subclass(Self {
            plan: GilCell::new(Plan::default()),
        })
    }

    fn results(&self, py: Python<'_>) -> Option<Py<Results>> {
        self.plan.with(py, |plan| {
            plan.results.as_ref().map(|results| results.clone_ref(py))
        })
    }

    /// Begins the next call; returns false after the last.
    fn step(&self, py: Python<'_>, results: &Py<Results>, planned: &Planned<'_>) -> PyResult<bool> {
        if planned.most > 0 {
            results.get().wait_for_room(py, planned.most)?;
        }
        let Some(item) = next(&planned.items)? else {
            return Ok(false);
        };
        let args = if planned.zipped {
            item.cast_into::<PyTuple>()?
        } else {
            PyTuple::new(py, [item])?
        };
        let task = match &planned.group {
            Some((group, class)) => {
                BaseGroup::spawn_call_in(group, class, planned.function.clone(), args)?
            }
            None => {
                let all: Vec<_> = std::iter::once(planned.function.clone())
                    .chain(args.iter())
                    .collect();
                planned.spawn.call1(PyTuple::new(py, all)?)?
            }
        };
        let index = results.get().begin(py);
        let results = results.clone_ref(py);
        match task.cast_exact::<Greenlet>() {
            Ok(greenlet) => Greenlet::add_link(
                greenlet,
                Link::Native(Listener::new(results.into_any(), index, Results::on_end)),
            ),
            Err(_) => {
                let link = Bound::new(py, ResultLink::new(results, index))?;
                task.call_method1(pyo3::intern!(py, "rawlink"), (link,))?;
            }
        }
        Ok(true)
    }
}

/// References to the objects of a plan, which the greenlet keeps on its own stack while it makes the calls.
struct Planned<'py> {
    function: Bound<'py, PyAny>,
    items: Bound<'py, PyAny>,
    spawn: Bound<'py, PyAny>,
    /// The group that `spawn` is a method of, if it is not overridden, and the class of the greenlets that it makes.
    group: Option<(Bound<'py, BaseGroup>, Bound<'py, PyAny>)>,
    zipped: bool,
    most: usize,
}

fn next<'py>(iterator: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    iterator.cast::<PyIterator>()?.clone().next().transpose()
}

fn most_of(maxsize: Option<&Bound<'_, PyAny>>) -> PyResult<usize> {
    let Some(maxsize) = maxsize else { return Ok(0) };
    let most: i64 = maxsize
        .extract()
        .map_err(|_| PyTypeError::new_err("an integer is required"))?;
    usize::try_from(most).map_err(|_| PyValueError::new_err("maxsize must be >= 0"))
}

#[pymethods]
impl IMapUnordered {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(func, iterable, spawn, maxsize=None, _zipped=False)")]
    fn new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
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

    /// The results that have come and were not read yet; `len` returns their number.
    #[getter]
    fn queue(&self, py: Python<'_>) -> Option<Py<Results>> {
        self.results(py)
    }

    /// True if all calls are begun.
    #[getter]
    fn finished(&self, py: Python<'_>) -> bool {
        self.results(py)
            .is_some_and(|results| results.get().is_over(py))
    }

    fn _run(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let Some(results) = this.results(py) else {
            return Ok(());
        };
        let (function, items, spawn, zipped, most) = this.plan.with(py, |plan| {
            (
                plan.function.take(),
                plan.items.take(),
                plan.spawn.take(),
                plan.zipped,
                plan.most,
            )
        });
        let (Some(function), Some(items), Some(spawn)) = (function, items, spawn) else {
            return Ok(());
        };
        let (function, items, spawn) = (
            function.into_bound(py),
            items.into_bound(py),
            spawn.into_bound(py),
        );
        let group = match BaseGroup::of_spawn(&spawn)? {
            Some(group) => {
                let class = BaseGroup::greenlet_class(&group)?;
                Some((group, class))
            }
            None => None,
        };
        let planned = Planned {
            function,
            items,
            spawn,
            group,
            zipped,
            most,
        };
        let ended = loop {
            match this.step(py, &results, &planned) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) if error.is_instance_of::<GreenletExit>(py) => break Err(error),
                Err(error) => {
                    // The error goes to the reader, in place of the item that would have come next.
                    let index = results.get().begin(py);
                    results
                        .get()
                        .put(py, index, Slot::Error(error.into_value(py).into_any()));
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
        let Some(results) = slf.get().results(py) else {
            return Ok(None);
        };
        let results = results.get();
        loop {
            match results.take(py) {
                Taken::Slot(Slot::Value(value)) => return Ok(Some(value)),
                Taken::Slot(Slot::Error(error)) => {
                    return Err(PyErr::from_value(error.into_bound(py)));
                }
                Taken::Slot(Slot::Pending) | Taken::Over => return Ok(None),
                Taken::Later => {}
            }
            let greenlet = slf.as_super();
            if Greenlet::is_ready(greenlet) && !slf.get().finished(py) {
                // The greenlet was killed before it began, so it never ended the results itself.
                results.end(py);
                continue;
            }
            let wait = hub::new_wait_for(py, Reason::on(WaitKind::Next, slf))?;
            let place = results.push_reader(py, &wait);
            // The end of a greenlet that has not begun does not wake readers through the results, so it is linked to as
            // well.
            let ticket = Greenlet::with(greenlet, |state| {
                let link = Link::Wait(wait.clone());
                state.may_begin().then(|| state.add_link(py, link))
            });
            let woken = park::park(py, &wait);
            results.remove_reader(py, place);
            if let Some(ticket) = ticket {
                let left = Greenlet::with(greenlet, |state| state.remove_link(ticket));
                drop(left);
            }
            if let Err(error) = woken {
                // If it was woken for a result, another reader is woken for that instead.
                results.wake_readers(py);
                return Err(error);
            }
        }
    }

    /// The same as ``next(self)``.
    #[pyo3(name = "next")]
    fn next_(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::__next__(slf)?.ok_or_else(|| PyStopIteration::new_err(()))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.plan.peek(&visit, |plan| {
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
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(func, iterable, spawn, maxsize=None, _zipped=False)")]
    fn new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        IMapUnordered::blank().add_subclass(Self)
    }
}
