//! The base classes of `gevent.pool.Group` and `Pool`, with the steps that are taken for each greenlet. Methods that
//! are called less often are in the Python subclasses.
//!
//! Where a class overrides one of the methods here, every step goes through the Python method of its name. Otherwise one
//! native call does them all, and the group is notified of a greenlet's end without a Python call.

use pyo3::PyTraverseError;
use pyo3::exceptions::PyAttributeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyString, PyTuple, PyType};

use crate::args::Flag;
use crate::cell::{GilCell, Made};
use crate::greenlets::greenlet::Greenlet;
use crate::registered::registered_exception;
use crate::sync::lock::Semaphore;
use crate::waiting::deadline::Deadline;
use crate::waiting::links::{Link, Listener};

registered_exception!(PoolFull);

/// Keeps greenlets until they are over.
#[pyclass(
    frozen,
    subclass,
    dict,
    weakref,
    name = "BaseGroup",
    module = "gevent._core"
)]
#[derive(Debug)]
pub struct BaseGroup {
    greenlets: Made<Py<PySet>>,
    dying: Made<Py<PySet>>,
    /// A `gevent.event.Event` that is set while there is no greenlet.
    empty: GilCell<Option<Py<PyAny>>>,
    /// True if its class overrides none of the methods that spawning consists of.
    plain: bool,
}

/// A group that takes a permit of its semaphore for each greenlet.
#[pyclass(frozen, subclass, extends = BaseGroup, name = "BasePool", module = "gevent._core")]
#[derive(Debug)]
pub struct BasePool {
    semaphore: GilCell<Option<Py<PyAny>>>,
}

/// The methods that spawning consists of.
const STEPS: [&str; 4] = ["spawn", "start", "add", "_discard"];

fn is_plain(class: &Bound<'_, PyType>, base: &Bound<'_, PyType>) -> PyResult<bool> {
    for step in STEPS {
        if !class.getattr(step)?.is(base.getattr(step)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the greenlet if its class is `Greenlet` itself, in which nothing is overridden.
fn exact<'a, 'py>(greenlet: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, Greenlet>> {
    greenlet.cast_exact::<Greenlet>().ok()
}

impl BaseGroup {
    fn blank(class: &Bound<'_, PyType>, base: &Bound<'_, PyType>) -> PyResult<Self> {
        let py = class.py();
        Ok(Self {
            greenlets: Made::new(PySet::empty(py)?.unbind()),
            dying: Made::new(PySet::empty(py)?.unbind()),
            empty: GilCell::new(None),
            plain: is_plain(class, base)?,
        })
    }

    fn signal(&self, py: Python<'_>, method: &Bound<'_, PyString>) -> PyResult<()> {
        match self.empty.get_ref(py) {
            Some(event) => event.call_method0(py, method).map(drop),
            None => Ok(()),
        }
    }

    /// Adds a greenlet, and links to its end; returns false if it is in the group already.
    fn enter(slf: &Bound<'_, Self>, greenlet: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = slf.py();
        let this = slf.get();
        let greenlets = this.greenlets.bind(py);
        let before = greenlets.len();
        greenlets.add(greenlet)?;
        if greenlets.len() == before {
            return Ok(false);
        }
        if before == 0 {
            this.signal(py, pyo3::intern!(py, "clear"))?;
        }
        match exact(greenlet) {
            Some(ours) if this.plain => {
                let on_end = if slf.is_instance_of::<BasePool>() {
                    BasePool::on_end
                } else {
                    Self::on_end
                };
                let listener = Listener::new(slf.clone().into_any().unbind(), 0, on_end);
                Greenlet::add_link(ours, Link::Native(listener));
            }
            _ => {
                if let Some(rawlink) = greenlet.getattr_opt(pyo3::intern!(py, "rawlink"))? {
                    rawlink.call1((slf.getattr(pyo3::intern!(py, "_discard"))?,))?;
                }
            }
        }
        Ok(true)
    }

    /// Removes a greenlet that has ended.
    fn on_end(slf: &Bound<'_, PyAny>, _: usize, greenlet: &Bound<'_, Greenlet>) -> PyResult<()> {
        let group = slf.cast::<Self>()?.get();
        group.leave(slf.py(), greenlet.as_any()).map(drop)
    }

    /// Removes a greenlet; returns false if it is not in the group.
    ///
    /// # Errors
    /// Returns the error that an event that is not gevent's raises.
    pub fn leave(&self, py: Python<'_>, greenlet: &Bound<'_, PyAny>) -> PyResult<bool> {
        let dying = self.dying.bind(py);
        if !dying.is_empty() {
            dying.discard(greenlet)?;
        }
        let greenlets = self.greenlets.bind(py);
        let was_in = greenlets.discard(greenlet)?;
        if was_in && greenlets.is_empty() {
            self.signal(py, pyo3::intern!(py, "set"))?;
        }
        Ok(was_in)
    }

    fn begin(slf: &Bound<'_, Self>, greenlet: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let started = match exact(greenlet) {
            Some(ours) => Greenlet::start(ours),
            None => greenlet.call_method0(pyo3::intern!(py, "start")).map(drop),
        };
        if started.is_err() {
            slf.call_method1(pyo3::intern!(py, "discard"), (greenlet,))?;
        }
        started
    }

    fn start_new<'py>(
        slf: &Bound<'py, Self>,
        greenlet: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if !slf.get().plain {
            slf.call_method1(pyo3::intern!(slf.py(), "start"), (&greenlet,))?;
            return Ok(greenlet);
        }
        match slf.cast::<BasePool>() {
            Ok(pool) => BasePool::admit(pool, &greenlet, true, None)?,
            Err(_) => drop(Self::enter(slf, &greenlet)?),
        }
        Self::begin(slf, &greenlet)?;
        Ok(greenlet)
    }

    /// Does what `spawn(function, *args)` does.
    ///
    /// # Errors
    /// Returns the error that making the greenlet or starting it raises.
    pub fn spawn_call<'py>(
        slf: &Bound<'py, Self>,
        function: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::spawn_call_in(slf, &Self::greenlet_class(slf)?, function, args)
    }

    /// Returns the class of the greenlets that the group makes.
    ///
    /// # Errors
    /// Returns the error that reading the attribute raises.
    pub fn greenlet_class<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.getattr(pyo3::intern!(slf.py(), "greenlet_class"))
    }

    /// Does what [`spawn_call`](Self::spawn_call) does, with a greenlet of `class`.
    ///
    /// # Errors
    /// Returns the error that making the greenlet or starting it raises.
    pub fn spawn_call_in<'py>(
        slf: &Bound<'py, Self>,
        class: &Bound<'py, PyAny>,
        function: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let greenlet = if std::ptr::eq(class.as_ptr().cast(), Greenlet::type_ptr(py)) {
            let new = Bound::new(py, Greenlet::blank())?;
            Greenlet::init(&new, Some(function), args, None)?;
            new.into_any()
        } else {
            let all: Vec<_> = std::iter::once(function).chain(args.iter()).collect();
            class.call1(PyTuple::new(py, all)?)?
        };
        Self::start_new(slf, greenlet)
    }

    /// Returns the group whose method `spawn` this is, if the method is not overridden, so that it need not be called.
    ///
    /// # Errors
    /// Returns the error that reading the method's attributes raises.
    pub fn of_spawn<'py>(spawn: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, Self>>> {
        let py = spawn.py();
        let Some(owner) = spawn.getattr_opt(pyo3::intern!(py, "__self__"))? else {
            return Ok(None);
        };
        let Ok(group) = owner.cast_into::<Self>() else {
            return Ok(None);
        };
        let own = group.get().plain && group.getattr(pyo3::intern!(py, "spawn"))?.eq(spawn)?;
        Ok(own.then_some(group))
    }
}

#[pymethods]
impl BaseGroup {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        cls: &Bound<'_, PyType>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        Self::blank(cls, &cls.py().get_type::<Self>())
    }

    /// The set of greenlets.
    #[getter]
    fn greenlets(&self, py: Python<'_>) -> Py<PySet> {
        self.greenlets.clone_ref(py)
    }

    /// The set of greenlets that are being killed.
    #[getter]
    fn dying(&self, py: Python<'_>) -> Py<PySet> {
        self.dying.clone_ref(py)
    }

    #[getter(_empty_event)]
    fn empty_event(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.empty.get_ref(py)
    }

    #[setter(_empty_event)]
    fn set_empty_event(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        drop(self.empty.replace(py, value));
    }

    /// Add a greenlet, running or not; it is removed when it is over.
    fn add(slf: &Bound<'_, Self>, greenlet: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::enter(slf, greenlet).map(drop)
    }

    /// Remove a greenlet. Nothing happens when it is not in the group.
    fn discard(slf: &Bound<'_, Self>, greenlet: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let discard = slf.getattr(pyo3::intern!(py, "_discard"))?;
        discard.call1((greenlet,))?;
        if let Some(ours) = exact(greenlet) {
            let removed = Greenlet::with(ours, |state| state.remove_listener(slf.as_ptr()));
            drop(removed);
        }
        match greenlet.getattr_opt(pyo3::intern!(py, "unlink"))? {
            Some(unlink) => unlink.call1((discard,)).map(drop),
            None => Ok(()),
        }
    }

    fn _discard(&self, py: Python<'_>, greenlet: &Bound<'_, PyAny>) -> PyResult<()> {
        self.leave(py, greenlet).map(drop)
    }

    /// Add a greenlet that is not started, and start it.
    fn start(slf: &Bound<'_, Self>, greenlet: &Bound<'_, PyAny>) -> PyResult<()> {
        slf.call_method1(pyo3::intern!(slf.py(), "add"), (greenlet,))?;
        Self::begin(slf, greenlet)
    }

    /// Start a new greenlet of the class `greenlet_class`, made with these arguments, in the group; return it.
    #[pyo3(signature = (*args, **kwargs))]
    fn spawn<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if kwargs.is_none() && !args.is_empty() {
            return Self::spawn_call(slf, args.get_item(0)?, args.get_slice(1, args.len()));
        }
        let class = slf.getattr(pyo3::intern!(slf.py(), "greenlet_class"))?;
        Self::start_new(slf, class.call(args, kwargs)?)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.greenlets.peek())?;
        visit.call(self.dying.peek())?;
        self.empty
            .peek(&visit, |event| visit.call(event))
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.empty.take(py));
    }
}

impl BasePool {
    fn semaphore<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let semaphore = self.semaphore.get_ref(py);
        let missing = || {
            PyAttributeError::new_err(
                "the pool has no attribute '_semaphore': its __init__() was not called",
            )
        };
        semaphore
            .map(|semaphore| semaphore.into_bound(py))
            .ok_or_else(missing)
    }

    fn acquire(
        &self,
        py: Python<'_>,
        blocking: bool,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let semaphore = self.semaphore(py)?;
        match semaphore.cast_exact::<Semaphore>() {
            Ok(ours) if ours.get().try_take(ours.py()) => Ok(true),
            Ok(ours) if blocking => Semaphore::take(ours, Deadline::of(timeout)?),
            Ok(_) => Ok(false),
            Err(_) => semaphore
                .call_method1(pyo3::intern!(py, "acquire"), (blocking, timeout))?
                .is_truthy(),
        }
    }

    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let semaphore = self.semaphore(py)?;
        match semaphore.cast_exact::<Semaphore>() {
            Ok(ours) => Semaphore::give(ours).map(drop),
            Err(_) => semaphore
                .call_method0(pyo3::intern!(py, "release"))
                .map(drop),
        }
    }

    /// Adds a greenlet, once there is room.
    fn admit(
        slf: &Bound<'_, Self>,
        greenlet: &Bound<'_, PyAny>,
        blocking: bool,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        if !this.acquire(py, blocking, timeout)? {
            return Err(PoolFull::new_err(()));
        }
        match BaseGroup::enter(slf.as_super(), greenlet) {
            Ok(true) => Ok(()),
            Ok(false) => this.release(py),
            Err(error) => {
                this.release(py)?;
                Err(error)
            }
        }
    }

    /// Removes a greenlet that has ended.
    fn on_end(slf: &Bound<'_, PyAny>, _: usize, greenlet: &Bound<'_, Greenlet>) -> PyResult<()> {
        Self::let_go(slf.cast::<Self>()?, greenlet.as_any())
    }

    /// Removes a greenlet, which makes room for another one.
    ///
    /// # Errors
    /// Returns the error that a semaphore or event that is not gevent's raises.
    pub fn let_go(slf: &Bound<'_, Self>, greenlet: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        if slf.as_super().get().leave(py, greenlet)? {
            slf.get().release(py)
        } else {
            Ok(())
        }
    }
}

#[pymethods]
impl BasePool {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        cls: &Bound<'_, PyType>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let base = BaseGroup::blank(cls, &cls.py().get_type::<Self>())?;
        Ok(PyClassInitializer::from(base).add_subclass(Self {
            semaphore: GilCell::new(None),
        }))
    }

    #[getter(_semaphore)]
    fn get_semaphore<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.semaphore(py)
    }

    #[setter(_semaphore)]
    fn set_semaphore(&self, py: Python<'_>, value: Py<PyAny>) {
        drop(self.semaphore.replace(py, Some(value)));
    }

    /// Add a greenlet, waiting until there is room for it: at most `timeout` seconds, with ``blocking=False`` not at all.
    ///
    /// Raises `PoolFull` when there was no room in time.
    #[pyo3(signature = (greenlet, blocking = Flag(true), timeout = None), text_signature = "($self, greenlet, blocking=True, timeout=None)")]
    fn add(
        slf: &Bound<'_, Self>,
        greenlet: &Bound<'_, PyAny>,
        blocking: Flag,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Self::admit(slf, greenlet, blocking.0, timeout)
    }

    fn _discard(slf: &Bound<'_, Self>, greenlet: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::let_go(slf, greenlet)
    }

    /// Add a greenlet that is not started, waiting for room like `add`, and start it.
    #[pyo3(signature = (greenlet, *args, **kwargs))]
    fn start(
        slf: &Bound<'_, Self>,
        greenlet: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let all: Vec<_> = std::iter::once(greenlet.clone())
            .chain(args.iter())
            .collect();
        slf.call_method(pyo3::intern!(py, "add"), PyTuple::new(py, all)?, kwargs)?;
        BaseGroup::begin(slf.as_super(), greenlet)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.semaphore
            .peek(&visit, |semaphore| visit.call(semaphore))
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.semaphore.take(py));
    }
}
