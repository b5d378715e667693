//! The reason why a greenlet is parked, for reports and views.
//!
//! A [`Wait`] carries the kind of its call, the object that the call is on and the loop's time when it was made. All of
//! that is stored in any case, in memory that the wait takes anyway, so it costs nothing unless it is asked for. A
//! `Greenlet` refers to its wait, so that an error can end it. A raw greenlet (the main one, and those that `spawn_raw`
//! makes) has no room for that, so its wait is listed here while it is parked.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::Weak;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use reactor::{Direction, Time};
use slab::Slab;

use crate::cell::GilCell;
use crate::greenlets::greenlet::Greenlet;
use crate::waiting::wait::{Wait, WaitRef};

/// The kinds of call that wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum WaitKind {
    /// A call that did not state its kind.
    Other,
    /// `sleep`.
    Sleep,
    /// `Hub.switch`: until a direct switch to the greenlet.
    Switch,
    /// `get` of a result, an item or a value.
    Get,
    /// `peek` at the next item.
    Peek,
    /// `put` of an item into a full queue.
    Put,
    /// `join`.
    Join,
    /// `wait` of an event or for a permit.
    Wait,
    /// `acquire` of a lock or semaphore.
    Acquire,
    /// A socket's data or connections that are to come.
    Read,
    /// Room in a socket's buffer, or its connection.
    Write,
    /// A watcher that is to fire.
    Watcher,
    /// Descriptors that are to be ready.
    Poll,
    /// The next result of an iterator.
    Next,
    /// Room for one more call.
    Room,
    /// An HTTP client's next request.
    Request,
}

impl WaitKind {
    /// Returns the name of the kind, which follows the class of the object in a `repr`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Other => "wait",
            Self::Sleep => "sleep",
            Self::Switch => "switch",
            Self::Get => "get",
            Self::Peek => "peek",
            Self::Put => "put",
            Self::Join => "join",
            Self::Wait => "wait",
            Self::Acquire => "acquire",
            Self::Read => "read",
            Self::Write => "write",
            Self::Watcher => "wait",
            Self::Poll => "poll",
            Self::Next => "next",
            Self::Room => "spawn",
            Self::Request => "request",
        }
    }
}

/// The object that a waiting call is on.
#[derive(Default, Debug)]
pub enum Subject {
    /// Nothing, as far as is known.
    #[default]
    Nothing,
    /// This object. The waiting call holds it too, so this reference is never the last.
    Object(Py<PyAny>),
    /// This descriptor.
    Descriptor(RawFd),
    /// These descriptors. The box keeps every wait small.
    #[allow(clippy::box_collection)]
    Descriptors(Box<Vec<RawFd>>),
}

impl Subject {
    /// Returns another reference to the same subject.
    pub fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Object(object) => Self::Object(object.clone_ref(py)),
            Self::Descriptor(number) => Self::Descriptor(*number),
            Self::Descriptors(numbers) => Self::Descriptors(numbers.clone()),
        }
    }
}

/// The reason of a wait.
#[derive(Debug)]
pub struct Reason {
    /// The kind of call.
    pub kind: WaitKind,
    /// The object that the call is on.
    pub subject: Subject,
}

impl Reason {
    /// Makes the reason of a call of this kind on `object`.
    #[inline]
    pub fn on<T>(kind: WaitKind, object: &Bound<'_, T>) -> Self {
        Self {
            kind,
            subject: Subject::Object(object.as_any().clone().unbind()),
        }
    }

    /// Makes the reason of a call of this kind that is on no object.
    #[inline]
    pub const fn only(kind: WaitKind) -> Self {
        Self {
            kind,
            subject: Subject::Nothing,
        }
    }

    /// Makes the reason of a call that waits for a socket.
    #[inline]
    pub const fn socket(direction: Direction, descriptor: RawFd) -> Self {
        Self {
            kind: match direction {
                Direction::Read => WaitKind::Read,
                Direction::Write => WaitKind::Write,
            },
            subject: Subject::Descriptor(descriptor),
        }
    }

    /// Makes the reason of a call that waits for some of these descriptors.
    pub fn descriptors(descriptors: impl Iterator<Item = RawFd>) -> Self {
        Self {
            kind: WaitKind::Poll,
            subject: Subject::Descriptors(Box::new(descriptors.collect())),
        }
    }
}

/// The waits of the parked raw greenlets of all threads.
static RAW: GilCell<Option<Slab<Weak<Wait>>>> = GilCell::in_static(None);

/// Lists the wait of a raw greenlet; returns its place.
pub fn list(py: Python<'_>, wait: &WaitRef) -> u32 {
    let weak = std::sync::Arc::downgrade(wait);
    let place = RAW.with(py, |raw| raw.get_or_insert_with(Slab::new).insert(weak));
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// Takes a wait off the list.
pub fn unlist(py: Python<'_>, place: u32) {
    let taken = RAW.with(py, |raw| {
        raw.as_mut().and_then(|raw| raw.try_remove(place as usize))
    });
    drop(taken);
}

/// Returns the listed waits that still exist.
fn listed(py: Python<'_>) -> Vec<WaitRef> {
    RAW.with(py, |raw| {
        raw.iter()
            .flatten()
            .filter_map(|(_, wait)| wait.upgrade())
            .collect()
    })
}

/// Returns the wait that a greenlet is parked on.
fn wait_of_greenlet(target: &Bound<'_, PyAny>) -> Option<WaitRef> {
    let py = target.py();
    let wait = match target.cast::<Greenlet>() {
        Ok(ours) => ours.get().parked_on(py),
        Err(_) => listed(py)
            .into_iter()
            .find(|wait| wait.greenlet().is(target)),
    };
    wait.filter(|wait| wait.is_waiting())
}

/// Returns the record of a wait for Python: kind, object, descriptors, seconds since it began.
fn record<'py>(py: Python<'py>, wait: &WaitRef) -> PyResult<Bound<'py, PyTuple>> {
    let (object, descriptors) = match wait.subject(py) {
        Subject::Nothing => (None, Vec::new()),
        Subject::Object(object) => (Some(object), Vec::new()),
        Subject::Descriptor(number) => (None, vec![number]),
        Subject::Descriptors(numbers) => (None, *numbers),
    };
    let descriptors = PyTuple::new(py, descriptors)?;
    let seconds = seconds_since(wait.since());
    (wait.kind().name(), object, descriptors, seconds).into_pyobject(py)
}

fn seconds_since(then: Time) -> f64 {
    Time::now().since(then).as_secs_f64()
}

/// Return what `greenlet` waits for: the kind of call, the object that it is on or None, a tuple of the descriptors
/// that it is on, and for how many seconds; None when it does not wait.
#[pyfunction]
pub fn wait_of<'py>(greenlet: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyTuple>>> {
    wait_of_greenlet(greenlet)
        .map(|wait| record(greenlet.py(), &wait))
        .transpose()
}

/// Return a dict of what each of `greenlets` waits for, as `wait_of` gives it, without those that do not wait.
#[pyfunction]
pub fn waits_of<'py>(greenlets: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyDict>> {
    let py = greenlets.py();
    let found = PyDict::new(py);
    let raw = listed(py);
    let raw: HashMap<_, _> = raw
        .iter()
        .map(|wait| (wait.greenlet().as_ptr() as usize, wait))
        .collect();
    for target in greenlets.iter() {
        let wait = match target.cast::<Greenlet>() {
            Ok(ours) => ours.get().parked_on(py),
            Err(_) => raw
                .get(&(target.as_ptr() as usize))
                .map(|wait| WaitRef::clone(wait)),
        };
        if let Some(wait) = wait.filter(|wait| wait.is_waiting()) {
            found.set_item(&target, record(py, &wait)?)?;
        }
    }
    Ok(found)
}

/// Describes the wait of a greenlet for its `repr`. It calls no `repr` of another object, as that one may show the
/// greenlet again.
///
/// # Errors
/// `MemoryError`.
pub fn describe(greenlet: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    let py = greenlet.py();
    let Some(wait) = wait_of_greenlet(greenlet) else {
        return Ok(None);
    };
    let kind = wait.kind().name();
    let text = match wait.subject(py) {
        Subject::Nothing => kind.to_owned(),
        Subject::Object(object) => {
            let object = object.bind(py);
            let class = object.get_type().name()?;
            let place = object.as_ptr() as usize;
            format!("{class}.{kind} on <{class} at {place:#x}>")
        }
        Subject::Descriptor(number) => format!("socket.{kind} on descriptor {number}"),
        Subject::Descriptors(numbers) => format!("{kind} of descriptors {numbers:?}"),
    };
    let seconds = seconds_since(wait.since());
    Ok(Some(format!("waiting {seconds:.1} s in {text}")))
}

/// Adds the functions to the module.
///
/// # Errors
/// `MemoryError`.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(wait_of, module)?)?;
    module.add_function(wrap_pyfunction!(waits_of, module)?)
}
