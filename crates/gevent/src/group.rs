//! What `gevent.pool.Group` and `Pool` do per greenlet. Their rarer methods are their Python subclasses'.
//!
//! Every step goes through the Python method of its name, so that subclasses may override any of them.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyTuple};

use crate::cell::GilCell;
use crate::greenlet::Greenlet;

pyo3::import_exception!(gevent.pool, PoolFull);

/// Keeps greenlets until they are over.
#[pyclass(frozen, subclass, dict, weakref, name = "BaseGroup", module = "gevent._core")]
pub struct BaseGroup {
    greenlets: Py<PySet>,
    dying: Py<PySet>,
    /// A `gevent.event.Event` that is set while there is no greenlet.
    empty: GilCell<Option<Py<PyAny>>>,
}

/// A group that takes a permit of its semaphore for each greenlet.
#[pyclass(frozen, subclass, extends = BaseGroup, name = "BasePool", module = "gevent._core")]
pub struct BasePool {
    semaphore: GilCell<Option<Py<PyAny>>>,
}

impl BaseGroup {
    fn empty_new(py: Python<'_>) -> PyResult<Self> {
        Ok(Self {
            greenlets: PySet::empty(py)?.unbind(),
            dying: PySet::empty(py)?.unbind(),
            empty: GilCell::new(None),
        })
    }

    fn signal(&self, py: Python<'_>, method: &Bound<'_, pyo3::types::PyString>) -> PyResult<()> {
        match self.empty.get_ref(py) {
            Some(event) => event.call_method0(py, method).map(drop),
            None => Ok(()),
        }
    }

    /// Takes a greenlet in, and links to its end; false when it was in before.
    fn enter(slf: &Bound<'_, Self>, greenlet: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = slf.py();
        let greenlets = slf.get().greenlets.bind(py);
        let before = greenlets.len();
        greenlets.add(greenlet)?;
        if greenlets.len() == before {
            return Ok(false);
        }
        if before == 0 {
            slf.get().signal(py, pyo3::intern!(py, "clear"))?;
        }
        let discard = slf.getattr(pyo3::intern!(py, "_discard"))?;
        match exact(greenlet) {
            Some(ours) => Greenlet::add_link(ours, discard.unbind()),
            None => {
                if let Some(rawlink) = greenlet.getattr_opt(pyo3::intern!(py, "rawlink"))? {
                    rawlink.call1((discard,))?;
                }
            }
        }
        Ok(true)
    }

    /// Lets a greenlet go; false when it was not in.
    fn leave(&self, py: Python<'_>, greenlet: &Bound<'_, PyAny>) -> PyResult<bool> {
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
}

/// The greenlet, if nothing can be overridden in its class.
fn exact<'a, 'py>(greenlet: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, Greenlet>> {
    greenlet.cast_exact::<Greenlet>().ok()
}

#[pymethods]
impl BaseGroup {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(py: Python<'_>, _args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        Self::empty_new(py)
    }

    /// The greenlets, a set.
    #[getter]
    fn greenlets(&self, py: Python<'_>) -> Py<PySet> {
        self.greenlets.clone_ref(py)
    }

    /// Those of them that were told to end, a set.
    #[getter]
    fn dying(&self, py: Python<'_>) -> Py<PySet> {
        self.dying.clone_ref(py)
    }

    #[getter]
    fn _empty_event(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.empty.get_ref(py)
    }

    #[setter(_empty_event)]
    fn set_empty_event(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        drop(self.empty.replace(py, value));
    }

    /// Add a greenlet, running or not; it is let go when it is over.
    fn add(slf: &Bound<'_, Self>, greenlet: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::enter(slf, greenlet).map(drop)
    }

    /// Let a greenlet go. Nothing happens when it is not in.
    fn discard(slf: &Bound<'_, Self>, greenlet: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let discard = slf.getattr(pyo3::intern!(py, "_discard"))?;
        discard.call1((greenlet,))?;
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
        let py = slf.py();
        let class = slf.getattr(pyo3::intern!(py, "greenlet_class"))?;
        let ours = std::ptr::eq(class.as_ptr().cast(), Greenlet::type_ptr(py));
        let greenlet = if ours && kwargs.is_none() && !args.is_empty() {
            let new = Bound::new(py, Greenlet::blank())?;
            Greenlet::init(&new, Some(args.get_item(0)?), args.get_slice(1, args.len()), None)?;
            new.into_any()
        } else {
            class.call(args, kwargs)?
        };
        slf.call_method1(pyo3::intern!(py, "start"), (&greenlet,))?;
        Ok(greenlet)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.greenlets)?;
        visit.call(&self.dying)?;
        self.empty.peek(|event| visit.call(event)).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.empty.take(py));
    }
}

impl BasePool {
    fn semaphore<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let semaphore = self.semaphore.get_ref(py);
        let missing = || pyo3::exceptions::PyAttributeError::new_err("_semaphore");
        semaphore.map(|semaphore| semaphore.into_bound(py)).ok_or_else(missing)
    }

    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.semaphore(py)?.call_method0(pyo3::intern!(py, "release")).map(drop)
    }
}

#[pymethods]
impl BasePool {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let base = PyClassInitializer::from(BaseGroup::empty_new(py)?);
        Ok(base.add_subclass(Self { semaphore: GilCell::new(None) }))
    }

    #[getter]
    fn _semaphore<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.semaphore(py)
    }

    #[setter(_semaphore)]
    fn set_semaphore(&self, py: Python<'_>, value: Py<PyAny>) {
        drop(self.semaphore.replace(py, Some(value)));
    }

    /// Add a greenlet, waiting until there is room for it: at most `timeout` seconds, with ``blocking=False`` not at all.
    ///
    /// Raises `PoolFull` when there was no room in time.
    #[pyo3(signature = (greenlet, blocking = true, timeout = None))]
    fn add(
        slf: &Bound<'_, Self>,
        greenlet: &Bound<'_, PyAny>,
        blocking: bool,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let acquire = pyo3::intern!(py, "acquire");
        let semaphore = this.semaphore(py)?;
        let acquired = match (blocking, timeout) {
            (true, None) => semaphore.call_method0(acquire)?,
            _ => semaphore.call_method1(acquire, (blocking, timeout))?,
        };
        if !acquired.is_truthy()? {
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

    fn _discard(slf: &Bound<'_, Self>, greenlet: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        if slf.as_super().get().leave(py, greenlet)? { slf.get().release(py) } else { Ok(()) }
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
        let add = pyo3::intern!(py, "add");
        if args.is_empty() && kwargs.is_none() {
            slf.call_method1(add, (greenlet,))?;
        } else {
            let rest = args.iter();
            let all: Vec<_> = std::iter::once(greenlet.clone()).chain(rest).collect();
            slf.call_method(add, PyTuple::new(py, all)?, kwargs)?;
        }
        BaseGroup::begin(slf.as_super(), greenlet)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.semaphore.peek(|semaphore| visit.call(semaphore)).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.semaphore.take(py));
    }
}
