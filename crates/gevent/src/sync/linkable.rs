//! The listeners of an event, a result or a lock: greenlets, native threads and linked callables, in order of arrival.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::PyTraverseError;
use pyo3::exceptions::PyTypeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::{PyCFunction, PyDict, PyTuple};
use wait::{Ticket, WaitQueue, Waiter};

use crate::cell::GilCell;
use crate::event_loop::ready::Task;
use crate::event_loop::unusual::any_loop_is_gone;
use crate::ffi::blocking::Step;
use crate::hub::{self, BaseHub};
use crate::waiting::deadline::Deadline;
use crate::waiting::reason::Reason;
use crate::waiting::wait::{Wait, WaitRef};
use crate::waiting::waiters::ticket;

/// Work that is to be done in a hub.
pub type Work = Box<dyn FnOnce(Python<'_>) -> PyResult<()> + Send + Sync>;

/// The wait of a native thread that has no hub.
#[derive(Default)]
pub struct ThreadWait {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl ThreadWait {
    /// Blocks the thread, the GIL released, until woken (true) or until `delay` has passed.
    pub fn block(&self, py: Python<'_>, delay: Option<Duration>) -> bool {
        py.detach(|| {
            let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
            match delay {
                None => *self
                    .changed
                    .wait_while(woken, |woken| !*woken)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(delay) => {
                    let until = Instant::now() + delay;
                    let mut woken = woken;
                    while !*woken {
                        let left = until.saturating_duration_since(Instant::now());
                        if left.is_zero() {
                            break;
                        }
                        woken = self
                            .changed
                            .wait_timeout(woken, left)
                            .unwrap_or_else(PoisonError::into_inner)
                            .0;
                    }
                    *woken
                }
            }
        })
    }

    fn wake(&self) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}

/// One listener.
pub enum Who {
    /// A parked greenlet.
    Greenlet(WaitRef),
    /// A thread without a hub.
    Thread(Arc<ThreadWait>),
    /// A function to be called in the hub of the thread that linked it, if that had one.
    Callable(Py<PyAny>, Option<Py<BaseHub>>),
}

impl Who {
    /// Wakes a waiter; returns false when it no longer waits, or will never run again.
    pub fn wake(&self, py: Python<'_>) -> bool {
        match self {
            Self::Greenlet(wait) => !wait.is_gone(py) && wait.wake_none(py),
            Self::Thread(wait) => {
                wait.wake();
                true
            }
            Self::Callable(..) => false,
        }
    }
}

impl Waiter for Who {
    type Token<'a> = Python<'a>;

    /// Returns true for a greenlet that will never run again.
    fn is_gone(&self, py: Python<'_>) -> bool {
        matches!(self, Self::Greenlet(wait) if wait.is_gone(py))
    }

    #[inline]
    fn may_be_gone() -> bool {
        any_loop_is_gone()
    }
}

/// A listener that was taken out, with the ticket of its place.
pub struct Listener {
    ticket: Ticket,
    who: Who,
}

/// The result of [`Lists::advance`].
pub enum Next {
    /// A waiter, taken out.
    Waiter(Listener),
    /// A callable, left in its place: its ticket and its hub.
    Callable(Ticket, Option<Py<BaseHub>>),
}

/// The listeners of one object.
#[derive(Default)]
pub struct Lists {
    queue: WaitQueue<Who>,
    /// The hub of the first waiter, or the hub that the object was made for.
    hub: Option<Py<BaseHub>>,
}

impl Lists {
    /// Returns true if fewer than `permits` waiters were notified and are still to run.
    pub fn claims_fewer_than(&self, permits: i64, py: Python<'_>) -> bool {
        self.queue.claims_fewer_than(permits, py)
    }

    /// Goes from the listener at `cursor` to the next one up to `end`.
    fn advance(
        &mut self,
        py: Python<'_>,
        cursor: &mut Option<Ticket>,
        end: Option<Ticket>,
    ) -> Option<Next> {
        let (ticket, found) = self.queue.after(*cursor)?;
        if end.is_some_and(|end| ticket > end) {
            return None;
        }
        *cursor = Some(ticket);
        if let Who::Callable(_, hub) = found {
            let hub = hub.as_ref().map(|hub| hub.clone_ref(py));
            return Some(Next::Callable(ticket, hub));
        }
        let who = self.queue.remove(ticket)?;
        Some(Next::Waiter(Listener { ticket, who }))
    }

    /// Returns the first listener.
    pub fn first(&mut self, py: Python<'_>) -> Option<Next> {
        self.advance(py, &mut None, None)
    }

    fn has_notified_here(&self) -> bool {
        self.queue
            .iter_notified()
            .any(|who| matches!(who, Who::Greenlet(wait) if wait.loop_().get().is_mine()))
    }

    fn callables(&self, py: Python<'_>) -> Vec<(Ticket, Py<PyAny>)> {
        let callables = self
            .queue
            .iter_waiting()
            .filter_map(|(ticket, who)| match who {
                Who::Callable(callable, _) => Some((ticket, callable.clone_ref(py))),
                _ => None,
            });
        callables.collect()
    }

    /// Takes out the waiters that do not exist in a forked child: threads, and greenlets of other threads.
    fn take_foreign(&mut self) -> Vec<Who> {
        self.queue.drain(|who| match who {
            Who::Thread(_) => true,
            Who::Greenlet(wait) => !wait.loop_().get().is_mine(),
            Who::Callable(..) => false,
        })
    }
}

/// The listeners of an object, which most objects never have.
#[derive(Debug)]
pub struct Linkable {
    lists: GilCell<Option<Box<Lists>>>,
}

/// An object that has listeners.
pub trait Linked: pyo3::PyClass<Frozen = True> + Send + Sync {
    /// True if it is waited for repeatedly; notified waiters stay listed until they run.
    const RECURS: bool;

    /// Returns its listeners.
    fn links(&self) -> &Linkable;
}

impl Linkable {
    /// Makes an object without listeners.
    pub fn new() -> Self {
        Self {
            lists: GilCell::new(None),
        }
    }

    /// Opens the lists, if there ever was a listener.
    #[inline]
    pub fn with<R>(&self, py: Python<'_>, f: impl FnOnce(&mut Lists) -> R) -> Option<R> {
        self.lists.with(py, |lists| lists.as_deref_mut().map(f))
    }

    /// Puts a listener in `place`, or last if that is None; returns its ticket.
    pub fn wait(&self, py: Python<'_>, who: Who, place: Option<Ticket>) -> Ticket {
        let ticket = place.unwrap_or_else(|| ticket(py));
        self.lists.with(py, |lists| {
            lists.get_or_insert_default().queue.join(ticket, who);
        });
        ticket
    }

    /// Puts the running greenlet in `place`; returns the wait to park it on, and its ticket. The hub of the first
    /// waiter becomes that of the object.
    ///
    /// # Errors
    /// Returns the error that making a hub raises.
    pub fn wait_here(
        &self,
        py: Python<'_>,
        place: Option<Ticket>,
        reason: Reason,
    ) -> PyResult<(WaitRef, Ticket)> {
        let hub = hub::current(py)?;
        let wait = Wait::new_for(py, hub::loop_of(&hub)?.unbind(), reason)?;
        let ticket = place.unwrap_or_else(|| ticket(py));
        self.lists.with(py, |lists| {
            let lists = lists.get_or_insert_default();
            if lists.hub.is_none() {
                lists.hub = Some(hub.clone().unbind());
            }
            lists.queue.join(ticket, Who::Greenlet(wait.clone()));
        });
        Ok((wait, ticket))
    }

    /// Returns true if no listener waits to be notified.
    #[inline]
    pub fn is_empty(&self, py: Python<'_>) -> bool {
        self.with(py, |lists| lists.queue.is_empty())
            .unwrap_or(true)
    }

    /// Returns the hub of the first waiter, or the hub that the object was made for.
    pub fn hub(&self, py: Python<'_>) -> Option<Py<BaseHub>> {
        self.with(py, |lists| lists.hub.as_ref().map(|hub| hub.clone_ref(py)))
            .flatten()
    }

    /// Sets the object's hub.
    pub fn set_hub(&self, py: Python<'_>, hub: Py<BaseHub>) {
        let old = self
            .lists
            .with(py, |lists| lists.get_or_insert_default().hub.replace(hub));
        drop(old);
    }

    /// Returns the step of a call that waits until it is notified or the deadline passes, and then returns the result
    /// of `then`. A deadline that passed is given to `then`. Reports show the `reason`.
    ///
    /// # Errors
    /// Returns the error that making a hub or starting the caller's own `Timeout` raises.
    pub fn wait_for<T: Linked>(
        slf: &Bound<'_, T>,
        mut deadline: Deadline,
        reason: Reason,
        then: impl FnOnce(&Bound<'_, T>, Option<&Deadline>) -> PyResult<Py<PyAny>>
        + Send
        + Sync
        + 'static,
    ) -> PyResult<Step> {
        let py = slf.py();
        let (wait, ticket) = slf.get().links().wait_here(py, None, reason)?;
        if let Err(error) = deadline.begin(py, &wait) {
            slf.get().links().leave(py, ticket);
            return Err(error);
        }
        let owner = slf.clone().unbind();
        wait.set_then(
            py,
            Box::new(move |py, wait, outcome| {
                let slf = owner.bind(py);
                slf.get().links().leave(py, ticket);
                let notified = deadline.end(py, wait, outcome)?.is_some();
                then(slf, (!notified).then_some(&deadline)).map(Step::Done)
            }),
        );
        Ok(Step::Park(wait))
    }

    /// Removes a waiter; returns true if it was already notified.
    pub fn leave(&self, py: Python<'_>, ticket: Ticket) -> bool {
        let left = self.with(py, |lists| lists.queue.leave(ticket)).flatten();
        left.is_some_and(|left| left.was_notified())
    }

    /// Returns true if greenlets of this thread were notified and have not run since.
    #[inline]
    pub fn has_notified_here(&self, py: Python<'_>) -> bool {
        self.with(py, |lists| lists.has_notified_here())
            .unwrap_or(false)
    }

    /// Appends a callable and returns its ticket.
    ///
    /// # Errors
    /// `TypeError` for what cannot be called.
    pub fn rawlink(&self, callable: &Bound<'_, PyAny>) -> PyResult<Ticket> {
        let py = callable.py();
        if !callable.is_callable() {
            return Err(PyTypeError::new_err(format!(
                "Expected callable: {}",
                callable.repr()?
            )));
        }
        let hub = hub::get_hub_if_exists(py).map(Bound::unbind);
        let who = Who::Callable(callable.clone().unbind(), hub);
        Ok(self.wait(py, who, None))
    }

    /// Removes one link to an equal callable, if there is one.
    ///
    /// # Errors
    /// Returns the error that comparing raises.
    pub fn unlink(&self, callable: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = callable.py();
        for (ticket, candidate) in self
            .with(py, |lists| lists.callables(py))
            .unwrap_or_default()
        {
            if candidate.bind(py).eq(callable)? {
                let removed = self.with(py, |lists| lists.queue.remove(ticket));
                drop(removed);
                break;
            }
        }
        Ok(())
    }

    /// Returns how many listeners have not run yet, notified or not.
    pub fn count(&self, py: Python<'_>) -> usize {
        self.with(py, |lists| lists.queue.len(py)).unwrap_or(0)
    }

    /// Notifies all listeners.
    ///
    /// # Errors
    /// Returns the error that making a hub raises.
    pub fn notify_all<T: Linked>(slf: &Bound<'_, T>) -> PyResult<()> {
        let py = slf.py();
        let links = slf.get().links();
        if links.is_empty(py) {
            return Ok(());
        }
        // Listeners that are added meanwhile have greater tickets.
        let end = ticket(py);
        let mut cursor = None;
        let mut next = || {
            links
                .with(py, |lists| lists.advance(py, &mut cursor, Some(end)))
                .flatten()
        };
        while let Some(next) = next() {
            match next {
                Next::Waiter(listener) => links.wake(py, listener, T::RECURS),
                Next::Callable(ticket, hub) => Self::notify_callable(slf, ticket, hub)?,
            }
        }
        if !T::RECURS && links.is_empty(py) {
            drop(links.lists.take(py));
        }
        Ok(())
    }

    /// Wakes a waiter that was taken out, and remembers it until it runs if `keep` is set.
    pub fn wake(&self, py: Python<'_>, listener: Listener, keep: bool) {
        if listener.who.wake(py) && keep {
            self.with(py, |lists| {
                lists.queue.remember(listener.ticket, listener.who)
            });
        } else {
            drop(listener);
        }
    }

    /// Has the callable with this ticket called in its hub, unless it is unlinked before.
    ///
    /// # Errors
    /// Returns the error that making a hub raises.
    pub fn notify_callable<T: Linked>(
        slf: &Bound<'_, T>,
        ticket: Ticket,
        hub: Option<Py<BaseHub>>,
    ) -> PyResult<()> {
        let owner = slf.clone().unbind();
        let work = move |py: Python<'_>| {
            Self::call(owner.bind(py), ticket);
            Ok(())
        };
        Self::run_in(slf, hub, Box::new(work))
    }

    /// Calls the callable with this ticket if it is still linked.
    pub fn call<T: Linked>(slf: &Bound<'_, T>, ticket: Ticket) {
        let py = slf.py();
        let removed = slf
            .get()
            .links()
            .with(py, |lists| lists.queue.remove(ticket));
        let Some(Some(Who::Callable(callable, _))) = removed else {
            return;
        };
        if let Err(error) = callable.bind(py).call1((slf,)) {
            let context = PyTuple::new(py, [callable.bind(py).as_any(), slf.as_any()]);
            if let (Ok(loop_), Ok(context)) = (hub::current_loop(py), context) {
                hub::handle_error(py, loop_.get(), Some(context.into_any().unbind()), error);
            }
        }
    }

    /// Runs `work` in `hub`, in the hub of the first waiter, or in this thread's: in the first of them that lives.
    ///
    /// # Errors
    /// Returns the error that making a hub, or a wrapper of its loop, raises.
    pub fn run_in<T: Linked>(
        slf: &Bound<'_, T>,
        hub: Option<Py<BaseHub>>,
        work: Work,
    ) -> PyResult<()> {
        let py = slf.py();
        let living = |hub: Py<BaseHub>| {
            let loop_ = hub::loop_of(hub.bind(py)).ok()?.unbind();
            (!loop_.get().is_destroyed(py)).then(|| (loop_, hub.get().wrapper(py)))
        };
        match hub
            .and_then(living)
            .or_else(|| slf.get().links().hub(py).and_then(living))
        {
            Some((loop_, Some(wrapper))) if !loop_.get().is_mine() => {
                let work = GilCell::new(Some(work));
                let call = move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                    let py = args.py();
                    work.take(py).map_or(Ok(()), |work| work(py))
                };
                let call = PyCFunction::new_closure(py, None, None, call)?;
                wrapper
                    .bind(py)
                    .call_method1(pyo3::intern!(py, "run_callback_threadsafe"), (call,))?;
            }
            Some((loop_, _)) => loop_.get().push(py, Task::Native(work)),
            None => hub::current_loop(py)?.get().push(py, Task::Native(work)),
        }
        Ok(())
    }

    /// Forgets, in a forked child, the hub and the waiters that do not exist there.
    pub fn after_fork(&self, py: Python<'_>) {
        let foreign = self.with(py, Lists::take_foreign);
        let hub = self.with(py, |lists| lists.hub.take());
        drop((foreign, hub));
    }

    /// Visits callables and the hub. Waits are not visited: other objects hold their greenlets too.
    ///
    /// # Errors
    /// Returns the error of the visitor.
    pub fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.lists.peek(&visit, |lists| {
            let Some(lists) = lists else { return Ok(()) };
            visit.call(&lists.hub)?;
            lists
                .queue
                .iter_waiting()
                .try_for_each(|(_, who)| match who {
                    Who::Callable(callable, hub) => {
                        visit.call(callable)?;
                        visit.call(hub)
                    }
                    _ => Ok(()),
                })
        });
        visited.unwrap_or(Ok(()))
    }

    /// Drops the callables and the hub, for the garbage collector.
    pub fn clear(&self, py: Python<'_>) {
        drop(self.lists.take(py));
    }
}
