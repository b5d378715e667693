//! `gevent.local.local`: an object with other attributes in every greenlet.
//!
//! The dictionaries belong to the object, each under its greenlet's address, and they are dropped with the object. Each
//! is also dropped when its greenlet ends: a `Greenlet` notifies the locals that it used ([`Visited`]), and the end of
//! any other greenlet is noticed by a weak reference.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyString, PyTuple, PyType, PyWeakrefReference};

use crate::cell::{GilCell, Made};
use crate::ffi::base::PyGreenlet;
use crate::ffi::{attribute, greenlet};
use crate::greenlets::greenlet::Greenlet;
use crate::greenlets::state::State;

/// An object whose attributes are the running greenlet's own, as those of ``threading.local`` are the thread's.
///
/// A subclass's `__init__` runs again, with the arguments the object was made with, in every greenlet that uses it.
/// Attributes that a class declares in `__slots__` are shared. The attributes of a greenlet are dropped at its end.
///
/// Example::
///
///     request = local()
///
///     def handle(number):
///         request.number = number
///         gevent.sleep(0.01)
///         assert request.number == number
#[pyclass(frozen, subclass, weakref, name = "local", module = "gevent.local")]
#[derive(Debug)]
pub struct Local {
    shared: Made<Arc<Shared>>,
    args: GilCell<Option<Call>>,
}

/// The arguments for a subclass's `__init__`.
struct Call {
    args: Py<PyTuple>,
    kwargs: Option<Py<PyDict>>,
}

struct Shared {
    class: Py<PyType>,
    /// The address of the `Local`, 0 until it is first used.
    address: AtomicUsize,
    dicts: GilCell<Dicts>,
}

type Dicts = HashMap<usize, Own, BuildHasherDefault<AddressHasher>>;

/// One greenlet's attributes.
struct Own {
    dict: Py<PyDict>,
    /// The weak reference whose callback notices the greenlet's end, unless the greenlet notifies the local of it.
    _watch: Option<Py<PyWeakrefReference>>,
}

/// Hashes addresses so that they spread, as they differ little in their low bits.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    #[inline]
    fn write_usize(&mut self, address: usize) {
        let product = (self.0 ^ address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = product ^ (product >> 32);
    }
}

/// A list of locals, some of which may be gone.
#[derive(Default, Debug)]
struct List(Vec<Weak<Shared>>);

impl List {
    /// Adds a local; before the list grows, removes those that are gone.
    fn add(&mut self, local: &Arc<Shared>) {
        if self.0.len() == self.0.capacity() {
            self.0.retain(|local| local.strong_count() > 0);
            self.0.reserve(self.0.len() + 1);
        }
        self.0.push(Arc::downgrade(local));
    }
}

/// The locals that a `Greenlet` has attributes in.
#[derive(Default, Debug)]
pub struct Visited(List);

/// Notes a local that the greenlet has attributes in; returns false when the greenlet is over, so that its end will not
/// notify the local.
fn note(state: &mut State, local: &Arc<Shared>) -> bool {
    let visited = state.visited();
    visited.map(|visited| visited.0.add(local)).is_some()
}

/// Drops the attributes of a `Greenlet` that ends.
pub fn leave_all(slf: &Bound<'_, Greenlet>) {
    let py = slf.py();
    let list = Greenlet::with(slf, State::take_visited);
    for local in list.iter().flat_map(|list| &list.0.0) {
        if let Some(local) = local.upgrade() {
            local.forget(py, slf.as_ptr() as usize);
        }
    }
}

/// All locals that exist, for [`all_local_dicts_for_greenlet`].
static ALL: GilCell<List> = GilCell::in_static(List(Vec::new()));

impl Shared {
    fn new(py: Python<'_>, class: Py<PyType>) -> Arc<Self> {
        let dicts = GilCell::new(Dicts::default());
        let new = Arc::new(Self {
            class,
            address: AtomicUsize::new(0),
            dicts,
        });
        ALL.with(py, |all| all.add(&new));
        new
    }

    #[inline]
    fn dict_of<'py>(&self, current: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
        let py = current.py();
        let key = current.as_ptr() as usize;
        self.dicts.with(py, |dicts| {
            dicts.get(&key).map(|own| own.dict.bind(py).clone())
        })
    }

    /// Gives a greenlet attributes, of which there are none as yet.
    fn enter(
        self: &Arc<Self>,
        current: &Bound<'_, PyAny>,
        dict: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let py = current.py();
        let noted = match current.cast::<Greenlet>() {
            Ok(ours) => Greenlet::with(ours, |state| note(state, self)),
            Err(_) => false,
        };
        let watch = if noted {
            None
        } else {
            Some(self.watch(current)?.unbind())
        };
        let own = Own {
            dict: dict.clone().unbind(),
            _watch: watch,
        };
        let old = self
            .dicts
            .with(py, |dicts| dicts.insert(current.as_ptr() as usize, own));
        drop(old);
        Ok(())
    }

    fn watch<'py>(
        self: &Arc<Self>,
        current: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyWeakrefReference>> {
        let key = current.as_ptr() as usize;
        let local = Arc::downgrade(self);
        let gone = move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            if let Some(local) = local.upgrade() {
                local.forget(args.py(), key);
            }
        };
        let callback = PyCFunction::new_closure(current.py(), None, None, gone)?;
        PyWeakrefReference::new_with(current, callback)
    }

    fn forget(&self, py: Python<'_>, key: usize) {
        let own = self.dicts.with(py, |dicts| dicts.remove(&key));
        drop(own);
    }
}

impl Local {
    /// Returns the running greenlet's attributes.
    #[inline]
    fn dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let shared = &slf.get().shared;
        shared.address.store(slf.as_ptr() as usize, Relaxed);
        let current = greenlet::current(slf.py())?;
        match shared.dict_of(&current) {
            Some(dict) => Ok(dict),
            None => Self::begin(slf, &current),
        }
    }

    #[cold]
    fn begin<'py>(
        slf: &Bound<'py, Self>,
        current: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let py = slf.py();
        let this = slf.get();
        let dict = PyDict::new(py);
        this.shared.enter(current, &dict)?;
        let call = this.args.with(py, |call| {
            call.as_ref().map(|call| {
                (
                    call.args.clone_ref(py),
                    call.kwargs.as_ref().map(|kwargs| kwargs.clone_ref(py)),
                )
            })
        });
        let Some((args, kwargs)) = call else {
            return Ok(dict);
        };
        let init = slf.get_type().getattr(pyo3::intern!(py, "__init__"))?;
        let args = std::iter::once(slf.as_any().clone()).chain(args.bind(py).iter());
        let args = PyTuple::new(py, args.collect::<Vec<_>>())?;
        if let Err(error) = init.call(args, kwargs.as_ref().map(|kwargs| kwargs.bind(py))) {
            // The next access tries again.
            this.shared.forget(py, current.as_ptr() as usize);
            return Err(error);
        }
        Ok(dict)
    }

    /// Returns the name of an attribute that may be set or deleted.
    fn changeable<'a, 'py>(
        slf: &Bound<'py, Self>,
        name: &'a Bound<'py, PyAny>,
    ) -> PyResult<&'a Bound<'py, PyString>> {
        let is_refused = match name.cast::<PyString>() {
            Ok(name) if !is_dict(name)? => return Ok(name),
            Ok(_) => true,
            // The standard library's class compares before it looks at the type.
            Err(_) => name.eq("__dict__")?,
        };
        if is_refused {
            return Err(PyAttributeError::new_err(format!(
                "'{}' object attribute '__dict__' is read-only",
                slf.get_type().name()?
            )));
        }
        Err(PyTypeError::new_err(format!(
            "attribute name must be string, not '{}'",
            name.get_type().name()?
        )))
    }
}

#[inline]
fn is_dict(name: &Bound<'_, PyString>) -> PyResult<bool> {
    let dict = pyo3::intern!(name.py(), "__dict__");
    Ok(name.is(dict) || (name.len()? == 8 && *name == "__dict__"))
}

/// The `AttributeError` of the `__getattribute__` that just failed. The slot that PyO3 makes drops it and then calls
/// `__getattr__`, which raises this one.
static MISSED: GilCell<Option<PyErr>> = GilCell::in_static(None);

#[pymethods]
impl Local {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*args, **kwargs))]
    fn new(
        class: &Bound<'_, PyType>,
        args: Bound<'_, PyTuple>,
        kwargs: Option<Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let py = class.py();
        let name = pyo3::intern!(py, "__init__");
        let initialized = !class
            .getattr(name)?
            .is(&py.get_type::<PyAny>().getattr(name)?);
        if !initialized
            && (!args.is_empty() || kwargs.as_ref().is_some_and(|kwargs| !kwargs.is_empty()))
        {
            return Err(PyTypeError::new_err(
                "Initialization arguments are not supported",
            ));
        }
        let call = initialized.then(|| Call {
            args: args.unbind(),
            kwargs: kwargs.map(Bound::unbind),
        });
        let shared = Shared::new(py, class.clone().unbind());
        shared.enter(&greenlet::current(py)?, &PyDict::new(py))?;
        Ok(Self {
            shared: Made::new(shared),
            args: GilCell::new(call),
        })
    }

    fn __getattribute__<'py>(
        slf: &Bound<'py, Self>,
        name: &Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let found = Self::dict(slf).and_then(|dict| {
            if is_dict(name)? {
                Ok(dict.into_any())
            } else {
                attribute::get(slf, name, &dict)
            }
        });
        match found {
            Err(error) if error.is_instance_of::<PyAttributeError>(slf.py()) => {
                let old = MISSED.replace(slf.py(), Some(error));
                drop(old);
                Err(PyAttributeError::new_err(()))
            }
            found => found,
        }
    }

    fn __getattr__<'py>(
        slf: &Bound<'py, Self>,
        name: &Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Err(MISSED
            .take(slf.py())
            .unwrap_or_else(|| PyAttributeError::new_err(name.clone().unbind())))
    }

    fn __setattr__(
        slf: &Bound<'_, Self>,
        name: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let name = Self::changeable(slf, name)?;
        attribute::set(slf, name, Some(value), &Self::dict(slf)?)
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = Self::changeable(slf, name)?;
        attribute::set(slf, name, None, &Self::dict(slf)?)
    }

    /// Return a new object of the same class, made with the same arguments, with the running greenlet's attributes.
    fn __copy__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let dict = Self::dict(slf)?.copy()?;
        let (args, kwargs) = slf.get().args.with(py, |call| match call {
            Some(call) => (
                Some(call.args.clone_ref(py)),
                call.kwargs.as_ref().map(|kwargs| kwargs.clone_ref(py)),
            ),
            None => (None, None),
        });
        let args = args.map_or_else(|| PyTuple::empty(py), |args| args.into_bound(py));
        let new = slf
            .get_type()
            .call(args, kwargs.as_ref().map(|kwargs| kwargs.bind(py)))?;
        Self::dict(new.cast::<Self>()?)?.update(dict.as_mapping())?;
        Ok(new)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(shared) = self.shared.peek() else {
            return Ok(());
        };
        visit.call(&shared.class)?;
        let traverse = |call: &Option<Call>| match call {
            Some(call) => {
                visit.call(&call.args)?;
                visit.call(&call.kwargs)
            }
            None => Ok(()),
        };
        self.args.peek(&visit, traverse).unwrap_or(Ok(()))?;
        let traverse = |dicts: &Dicts| dicts.values().try_for_each(|own| visit.call(&own.dict));
        shared.dicts.peek(&visit, traverse).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.shared.dicts.take(py));
        drop(self.args.take(py));
    }
}

/// The class and the id of a local, and attributes in it.
type Entry<'py> = ((Py<PyType>, usize), Bound<'py, PyDict>);

/// Return the attributes of `greenlet` in every local it has used: a list of ``((type, id), dictionary)``. For debugging.
///
/// Raises `TypeError` when `greenlet` is not one.
#[pyfunction]
pub fn all_local_dicts_for_greenlet<'py>(greenlet: &Bound<'py, PyGreenlet>) -> Vec<Entry<'py>> {
    let py = greenlet.py();
    let all = ALL.with(py, |all| all.0.clone());
    let locals = all.iter().filter_map(Weak::upgrade);
    let entry = |local: Arc<Shared>| {
        let dict = local.dict_of(greenlet.as_any())?;
        let id = local.address.load(Relaxed);
        Some(((local.class.clone_ref(py), id), dict))
    };
    locals.filter_map(entry).collect()
}
