//! The listeners that are notified of a greenlet's end: parked greenlets, callables and objects of this crate, in order of
//! arrival.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use wait::{Ticket, WaitQueue};

use crate::greenlets::greenlet::Greenlet;
use crate::waiting::wait::WaitRef;
use crate::waiting::waiters::join;

/// One listener.
#[derive(Debug)]
pub enum Link {
    /// A parked greenlet.
    Wait(WaitRef),
    /// A function to be called in the hub.
    Callable(Py<PyAny>),
    /// An object of this crate that is notified without a detour over the hub; it runs no Python code and blocks nowhere.
    Native(Listener),
}

/// The function that a [`Listener`] calls when its greenlet has ended. It runs no Python code of programs and does not
/// block, unless a program has replaced the object's event or semaphore by one of its own.
pub type OnEnd = fn(&Bound<'_, PyAny>, usize, &Bound<'_, Greenlet>) -> PyResult<()>;

/// An object of this crate that is notified of a greenlet's end natively: a group that the greenlet is in, or an object
/// that takes its result. The classes are in layers above this file, so it knows them only by a function that each of
/// them supplies.
#[derive(Debug)]
pub struct Listener {
    object: Py<PyAny>,
    /// A number that the object gave the greenlet.
    index: usize,
    on_end: OnEnd,
}

impl Listener {
    /// Has `on_end` called with the object and the number when the greenlet has ended.
    pub fn new(object: Py<PyAny>, index: usize, on_end: OnEnd) -> Self {
        Self {
            object,
            index,
            on_end,
        }
    }

    /// Notifies the object.
    ///
    /// # Errors
    /// Returns the error that an overridden semaphore or event raises.
    pub fn notify(&self, greenlet: &Bound<'_, Greenlet>) -> PyResult<()> {
        (self.on_end)(self.object.bind(greenlet.py()), self.index, greenlet)
    }
}

/// Listeners in order. Valid when zeroed, as objects built on foreign types need.
#[derive(Default, Debug)]
pub struct Links(Option<Box<WaitQueue<Link>>>);

impl Links {
    /// Makes an empty list.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Appends a listener; returns its ticket.
    #[inline]
    pub fn push(&mut self, py: Python<'_>, link: Link) -> Ticket {
        join(self.0.get_or_insert_default(), py, link)
    }

    /// Takes the first listener out.
    #[inline]
    pub fn pop(&mut self) -> Option<Link> {
        let taken = self.0.as_mut()?.pop();
        self.shrink();
        taken
    }

    /// Takes a listener out; returns none when it was notified before. The returned link is to be dropped outside the
    /// cell.
    #[inline]
    pub fn leave(&mut self, ticket: Ticket) -> Option<Link> {
        let taken = self.0.as_mut()?.remove(ticket);
        self.shrink();
        taken
    }

    #[inline]
    fn shrink(&mut self) {
        if self.0.as_ref().is_some_and(|queue| queue.is_empty()) {
            self.0 = None;
        }
    }

    /// Takes all listeners out, for the caller to drop outside the cell.
    pub fn take(&mut self) -> Links {
        std::mem::take(self)
    }

    /// Returns true if there is no listener.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns true if there is a listener that is not a parked greenlet.
    pub fn has_listener(&self) -> bool {
        self.iter().any(|link| !matches!(link, Link::Wait(_)))
    }

    /// Returns the callables, as new references, for comparing them outside the cell.
    pub fn callables(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.iter()
            .filter_map(|link| match link {
                Link::Callable(callable) => Some(callable.clone_ref(py)),
                Link::Wait(_) | Link::Native(_) => None,
            })
            .collect()
    }

    /// Removes the first listener that is this very callable. The returned link is to be dropped outside the cell.
    pub fn remove_callable(&mut self, callable: &Py<PyAny>) -> Option<Link> {
        self.remove(|link| matches!(link, Link::Callable(other) if other.is(callable)))
    }

    /// Removes the native listener that belongs to this object. The returned link is to be dropped outside the cell.
    pub fn remove_native(&mut self, owner: *mut pyo3::ffi::PyObject) -> Option<Link> {
        self.remove(|link| matches!(link, Link::Native(other) if other.object.as_ptr() == owner))
    }

    fn remove(&mut self, is_it: impl Fn(&Link) -> bool) -> Option<Link> {
        let taken = self.0.as_mut()?.remove_first(is_it);
        self.shrink();
        taken
    }

    fn iter(&self) -> impl Iterator<Item = &Link> {
        self.0.iter().flat_map(|queue| queue.iter_all())
    }

    /// Visits the objects that only this list owns. A wait is shared with the sources that will wake it, and its one
    /// reference must not be visited more than once.
    ///
    /// # Errors
    /// Returns the error of the visitor.
    pub fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.iter().try_for_each(|link| match link {
            // The wait is shared: the greenlet holds it on its own stack, and it must not be counted once for each list
            // it is in.
            Link::Wait(_) => Ok(()),
            Link::Callable(callable) => visit.call(callable),
            Link::Native(listener) => visit.call(&listener.object),
        })
    }
}
