//! Links that run their callback in a greenlet of its own, and how a call is described in `repr`.

use pyo3::PyTraverseError;
use pyo3::exceptions::PyTypeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::cell::Made;
use crate::ffi::greenlet;
use crate::greenlets::greenlet::Greenlet;
use crate::hub;

/// The outcomes after which the callback runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkKind {
    /// However the source ended.
    Always,
    /// Only without an error.
    Success,
    /// Only with an error.
    Failure,
}

impl LinkKind {
    /// Returns the name of the method of `Greenlet` that makes such links.
    pub fn method(self) -> &'static str {
        match self {
            Self::Always => "link",
            Self::Success => "link_value",
            Self::Failure => "link_exception",
        }
    }
}

/// The object that `link` puts among the links: called in the hub, it runs the callback in a new raw greenlet, where it
/// may block.
#[pyclass(frozen, subclass, name = "SpawnedLink", module = "gevent.greenlet")]
#[derive(Debug)]
pub struct SpawnedLink {
    callback: Made<Py<PyAny>>,
    kind: LinkKind,
}

/// A `SpawnedLink` for success only.
#[pyclass(frozen, extends = SpawnedLink, name = "SuccessSpawnedLink", module = "gevent.greenlet")]
#[derive(Debug)]
pub struct SuccessSpawnedLink;

/// A `SpawnedLink` for failure only.
#[pyclass(frozen, extends = SpawnedLink, name = "FailureSpawnedLink", module = "gevent.greenlet")]
#[derive(Debug)]
pub struct FailureSpawnedLink;

impl SpawnedLink {
    fn checked(py: Python<'_>, callback: Py<PyAny>, kind: LinkKind) -> PyResult<Self> {
        let bound = callback.bind(py);
        if !bound.is_callable() {
            return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                "Expected callable: {}",
                bound.repr()?
            )));
        }
        Ok(Self {
            callback: Made::new(callback),
            kind,
        })
    }

    /// Makes a link of the class that `kind` names.
    ///
    /// # Errors
    /// `TypeError` when `callback` cannot be called.
    pub fn make(py: Python<'_>, callback: Py<PyAny>, kind: LinkKind) -> PyResult<Py<PyAny>> {
        let base = PyClassInitializer::from(Self::checked(py, callback, kind)?);
        Ok(match kind {
            LinkKind::Always => Py::new(py, base)?.into_any(),
            LinkKind::Success => Py::new(py, base.add_subclass(SuccessSpawnedLink))?.into_any(),
            LinkKind::Failure => Py::new(py, base.add_subclass(FailureSpawnedLink))?.into_any(),
        })
    }
}

#[pymethods]
impl SpawnedLink {
    #[new]
    fn new(py: Python<'_>, callback: Py<PyAny>) -> PyResult<Self> {
        Self::checked(py, callback, LinkKind::Always)
    }

    /// The callback.
    #[getter]
    fn callback(&self, py: Python<'_>) -> Py<PyAny> {
        self.callback.clone_ref(py)
    }

    fn __call__(&self, py: Python<'_>, source: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.kind != LinkKind::Always {
            let successful = source
                .call_method0(pyo3::intern!(py, "successful"))?
                .is_truthy()?;
            if successful != (self.kind == LinkKind::Success) {
                return Ok(());
            }
        }
        let hub = hub::current(py)?;
        let raw = py
            .get_type::<crate::ffi::base::PyGreenlet>()
            .call1((self.callback.bind(py), hub))?;
        greenlet::switch_with(&raw, &PyTuple::new(py, [source])?).map(drop)
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.callback.bind(py).hash()
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        match other.cast::<SpawnedLink>() {
            Ok(other) => self.callback.bind(py).eq(&*other.get().callback),
            Err(_) => self.callback.bind(py).eq(other),
        }
    }

    fn __getattr__<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.callback
            .bind(py)
            .getattr(name.cast::<pyo3::types::PyString>()?)
    }

    fn __str__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.callback.bind(py).str()?.to_string())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.callback.bind(py).repr()?.to_string())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.callback.peek())
    }
}

#[pymethods]
impl SuccessSpawnedLink {
    #[new]
    fn new(py: Python<'_>, callback: Py<PyAny>) -> PyResult<PyClassInitializer<Self>> {
        let base = SpawnedLink::checked(py, callback, LinkKind::Success)?;
        Ok(PyClassInitializer::from(base).add_subclass(Self))
    }
}

#[pymethods]
impl FailureSpawnedLink {
    #[new]
    fn new(py: Python<'_>, callback: Py<PyAny>) -> PyResult<PyClassInitializer<Self>> {
        let base = SpawnedLink::checked(py, callback, LinkKind::Failure)?;
        Ok(PyClassInitializer::from(base).add_subclass(Self))
    }
}

/// Returns the call of a greenlet as its `repr` shows it: the function's name and the arguments.
///
/// # Errors
/// Returns the error that the arguments' `repr` raises.
pub fn describe_call(slf: &Bound<'_, Greenlet>) -> PyResult<String> {
    let run = match slf.getattr_opt(pyo3::intern!(slf.py(), "_run"))? {
        Some(run) => run,
        None => return Ok("_run".to_owned()),
    };
    let name = run.getattr_opt(pyo3::intern!(run.py(), "__name__"))?;
    let bound_to = run
        .getattr_opt(pyo3::intern!(run.py(), "__self__"))?
        .filter(|owner| !owner.is_none());
    let mut text = match name {
        Some(name) if bound_to.is_none() || run.is_instance_of::<pyo3::types::PyCFunction>() => {
            name.str()?.to_string()
        }
        Some(name) if bound_to.as_ref().is_some_and(|owner| owner.is(slf)) => {
            name.str()?.to_string()
        }
        _ => run.repr()?.to_string(),
    };
    let mut parts = Vec::new();
    for arg in slf.getattr(pyo3::intern!(slf.py(), "args"))?.try_iter()? {
        parts.push(short(&arg?)?);
    }
    let kwargs = slf.getattr(pyo3::intern!(slf.py(), "kwargs"))?;
    for (key, value) in kwargs.cast::<pyo3::types::PyDict>()?.iter() {
        parts.push(format!("{}={}", key.str()?, short(&value)?));
    }
    if !parts.is_empty() {
        text.push_str(&format!("({})", parts.join(", ")));
    }
    Ok(text)
}

fn short(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = value.repr()?.to_string();
    Ok(match text.char_indices().nth(50) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    })
}

/// Returns the argument of a link, which gevent 0.13 called `receiver`.
///
/// # Errors
/// `TypeError` when both names are given.
pub fn either_name<'py>(
    callback: Option<Bound<'py, PyAny>>,
    receiver: Option<Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if callback.is_some() && receiver.is_some() {
        return Err(PyTypeError::new_err(
            "give either 'callback' or 'receiver', its older name, but not both",
        ));
    }
    Ok(callback.or(receiver))
}
