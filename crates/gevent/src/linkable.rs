//! Who waits for an event, a result or a lock: greenlets, native threads and linked callables, in order of arrival.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::PyTraverseError;
use pyo3::exceptions::PyTypeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::PyTuple;

use crate::cell::GilCell;
use crate::hub::{self, BaseHub};
use crate::loop_::Loop;
use crate::ready::Task;
use crate::timeout::Limit;
use crate::wait::{Wait, WaitRef};

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
                None => *self.changed.wait_while(woken, |woken| !*woken).unwrap_or_else(PoisonError::into_inner),
                Some(delay) => {
                    let until = Instant::now() + delay;
                    let mut woken = woken;
                    while !*woken {
                        let left = until.saturating_duration_since(Instant::now());
                        if left.is_zero() {
                            break;
                        }
                        woken = self.changed.wait_timeout(woken, left).unwrap_or_else(PoisonError::into_inner).0;
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
    /// Wakes a waiter; false when it no longer waits, or nobody will ever run it again.
    pub fn wake(&self, py: Python<'_>) -> bool {
        match self {
            Self::Greenlet(wait) => {
                let loop_ = wait.loop_().get();
                (loop_.is_mine() || !loop_.is_destroyed(py)) && wait.wake_none(py)
            }
            Self::Thread(wait) => {
                wait.wake();
                true
            }
            Self::Callable(..) => false,
        }
    }
}

/// A listener and its place in the order.
pub struct Listener {
    /// Its number; later ones are greater.
    pub id: u64,
    /// Whom to tell.
    pub who: Who,
}

/// What [`Listeners::advance`] comes to.
pub enum Next {
    /// A waiter, taken out.
    Waiter(Listener),
    /// A callable, left in its place: its number and its hub.
    Callable(u64, Option<Py<BaseHub>>),
}

/// Listeners in the order of their numbers.
#[derive(Default)]
pub struct Listeners {
    list: VecDeque<Listener>,
    last: u64,
}

impl Listeners {
    /// Appends a listener and gives it a number.
    pub fn push(&mut self, who: Who) -> u64 {
        self.last += 1;
        self.list.push_back(Listener { id: self.last, who });
        self.last
    }

    /// Puts a listener that has a number in its place.
    pub fn insert(&mut self, listener: Listener) {
        let at = match self.list.back() {
            Some(back) if back.id > listener.id => self.list.partition_point(|other| other.id < listener.id),
            _ => self.list.len(),
        };
        self.list.insert(at, listener);
    }

    /// Takes the listener with this number out, for the caller to drop outside the cell.
    pub fn remove(&mut self, id: u64) -> Option<Listener> {
        let at = match self.list.front() {
            Some(front) if front.id == id => 0,
            _ => self.list.binary_search_by_key(&id, |listener| listener.id).ok()?,
        };
        self.list.remove(at)
    }

    /// Goes from the listener numbered `cursor` to the next one up to `end`.
    pub fn advance(&mut self, py: Python<'_>, cursor: &mut u64, end: u64) -> Option<Next> {
        let at = self.list.partition_point(|listener| listener.id <= *cursor);
        let found = self.list.get(at).filter(|listener| listener.id <= end)?;
        *cursor = found.id;
        match &found.who {
            Who::Callable(_, hub) => {
                Some(Next::Callable(found.id, hub.as_ref().map(|hub| hub.clone_ref(py))))
            }
            _ => self.list.remove(at).map(Next::Waiter),
        }
    }

    /// The number given last.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Listeners.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether nobody listens.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a greenlet of this thread is among them.
    fn has_mine(&self) -> bool {
        self.list.iter().any(|listener| matches!(&listener.who, Who::Greenlet(wait) if wait.loop_().get().is_mine()))
    }

    fn callables(&self, py: Python<'_>) -> Vec<(u64, Py<PyAny>)> {
        self.list
            .iter()
            .filter_map(|listener| match &listener.who {
                Who::Callable(callable, _) => Some((listener.id, callable.clone_ref(py))),
                _ => None,
            })
            .collect()
    }

    /// Takes out what a forked child does not have: threads, and greenlets of other threads.
    fn take_foreign(&mut self) -> Vec<Listener> {
        let mut foreign = Vec::new();
        for listener in std::mem::take(&mut self.list) {
            match &listener.who {
                Who::Thread(_) => foreign.push(listener),
                Who::Greenlet(wait) if !wait.loop_().get().is_mine() => foreign.push(listener),
                _ => self.list.push_back(listener),
            }
        }
        foreign
    }
}

/// The listeners of one object: those that wait to be told, and those that were told and have not run since.
pub struct Linkable {
    pub(crate) waiting: GilCell<Listeners>,
    pub(crate) told: GilCell<Listeners>,
    pub(crate) hub: GilCell<Option<Py<BaseHub>>>,
}

/// An object that has listeners.
pub trait Linked: pyo3::PyClass<Frozen = True> + Send + Sync {
    /// Its listeners.
    fn links(&self) -> &Linkable;
}

impl Linkable {
    /// Nobody listens.
    pub fn new() -> Self {
        Self {
            waiting: GilCell::new(Listeners::default()),
            told: GilCell::new(Listeners::default()),
            hub: GilCell::new(None),
        }
    }

    /// A wait of the running greenlet. The first to wait makes its hub the object's.
    ///
    /// # Errors
    /// What making a hub raises.
    pub fn new_wait(&self, py: Python<'_>) -> PyResult<WaitRef> {
        let hub = hub::current(py)?;
        let loop_ = hub::loop_of(&hub)?.unbind();
        if self.hub.with(py, |own| own.is_none()) {
            let old = self.hub.replace(py, Some(hub.unbind()));
            drop(old);
        }
        Ok(Wait::new(py, loop_))
    }

    /// Parks the running greenlet until it is told (true) or the limit passes.
    ///
    /// # Errors
    /// What is thrown into it; `BlockingSwitchOutError` in the hub.
    pub fn park(&self, py: Python<'_>, limit: &Limit) -> PyResult<bool> {
        let wait = self.new_wait(py)?;
        let id = self.waiting.with(py, |waiting| waiting.push(Who::Greenlet(wait.clone())));
        let woken = limit.park(py, &wait);
        self.leave(py, id);
        Ok(woken?.is_some())
    }

    /// Strikes a waiter off; whether it had been told.
    pub fn leave(&self, py: Python<'_>, id: u64) -> bool {
        let told = self.told.with(py, |told| told.remove(id));
        let was_told = told.is_some();
        let waiting = if was_told { None } else { self.waiting.with(py, |waiting| waiting.remove(id)) };
        drop((told, waiting));
        was_told
    }

    /// Whether greenlets of this thread were told and have not run since.
    pub fn has_told_here(&self, py: Python<'_>) -> bool {
        self.told.with(py, |told| !told.is_empty() && told.has_mine())
    }

    /// Appends a callable and returns its number.
    ///
    /// # Errors
    /// `TypeError` for what cannot be called.
    pub fn rawlink(&self, callable: &Bound<'_, PyAny>) -> PyResult<u64> {
        let py = callable.py();
        if !callable.is_callable() {
            return Err(PyTypeError::new_err(format!("Expected callable: {}", callable.repr()?)));
        }
        let hub = hub::get_hub_if_exists(py).map(Bound::unbind);
        let who = Who::Callable(callable.clone().unbind(), hub);
        Ok(self.waiting.with(py, |waiting| waiting.push(who)))
    }

    /// Takes one link to an equal callable back, if there is one.
    ///
    /// # Errors
    /// What comparing raises.
    pub fn unlink(&self, callable: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = callable.py();
        for (id, candidate) in self.waiting.with(py, |waiting| waiting.callables(py)) {
            if candidate.bind(py).eq(callable)? {
                let removed = self.waiting.with(py, |waiting| waiting.remove(id));
                drop(removed);
                break;
            }
        }
        Ok(())
    }

    /// Who has not run yet, told or not.
    pub fn count(&self, py: Python<'_>) -> usize {
        self.waiting.with(py, |waiting| waiting.len()) + self.told.with(py, |told| told.len())
    }

    /// Tells everybody.
    ///
    /// # Errors
    /// What making a hub raises.
    pub fn tell_all<T: Linked>(slf: &Bound<'_, T>) -> PyResult<()> {
        let py = slf.py();
        let links = slf.get().links();
        let (empty, end) = links.waiting.with(py, |waiting| (waiting.is_empty(), waiting.last()));
        if empty {
            return Ok(());
        }
        let mut cursor = 0;
        while let Some(next) = links.waiting.with(py, |waiting| waiting.advance(py, &mut cursor, end)) {
            match next {
                Next::Waiter(listener) if listener.who.wake(py) => {
                    links.told.with(py, |told| told.insert(listener));
                }
                Next::Waiter(listener) => drop(listener),
                Next::Callable(id, hub) => Self::tell_callable(slf, id, hub)?,
            }
        }
        Ok(())
    }

    /// Has the callable with this number called in its hub, unless it is unlinked before.
    ///
    /// # Errors
    /// What making a hub raises.
    pub fn tell_callable<T: Linked>(slf: &Bound<'_, T>, id: u64, hub: Option<Py<BaseHub>>) -> PyResult<()> {
        let owner = slf.clone().unbind();
        let work = move |py: Python<'_>| {
            Self::call(owner.bind(py), id);
            Ok(())
        };
        Self::run_in(slf, hub, Box::new(work))
    }

    /// Calls the callable with this number if it is still linked.
    pub fn call<T: Linked>(slf: &Bound<'_, T>, id: u64) {
        let py = slf.py();
        let removed = slf.get().links().waiting.with(py, |waiting| waiting.remove(id));
        let Some(Listener { who: Who::Callable(callable, _), .. }) = removed else { return };
        if let Err(error) = callable.bind(py).call1((slf,)) {
            let context = PyTuple::new(py, [callable.bind(py).as_any(), slf.as_any()]);
            if let (Ok(loop_), Ok(context)) = (hub::current_loop(py), context) {
                hub::handle_error(py, loop_.get(), Some(context.into_any().unbind()), error);
            }
        }
    }

    /// Runs `work` in `hub`, or the hub that waited first, or this thread's: in the first of them that lives.
    ///
    /// # Errors
    /// What making a hub raises.
    pub fn run_in<T: Linked>(
        slf: &Bound<'_, T>,
        hub: Option<Py<BaseHub>>,
        work: Box<dyn FnOnce(Python<'_>) -> PyResult<()> + Send + Sync>,
    ) -> PyResult<()> {
        let py = slf.py();
        let living = |hub: Py<BaseHub>| -> Option<Py<Loop>> {
            let loop_ = hub::loop_of(hub.bind(py)).ok()?.unbind();
            (!loop_.get().is_destroyed(py)).then_some(loop_)
        };
        let loop_ = hub.and_then(living).or_else(|| slf.get().links().hub.get_ref(py).and_then(living));
        let loop_ = match loop_ {
            Some(loop_) => loop_,
            None => hub::current_loop(py)?,
        };
        loop_.get().push(py, Task::Native(work));
        Ok(())
    }

    /// Forgets, in a forked child, the hub and who did not come along.
    pub fn after_fork(&self, py: Python<'_>) {
        let waiting = self.waiting.with(py, Listeners::take_foreign);
        let told = self.told.with(py, Listeners::take_foreign);
        drop((waiting, told, self.hub.take(py)));
    }

    /// Visits callables and the hub. Waits are not visited: their greenlets are held by more than this list.
    ///
    /// # Errors
    /// What the visitor returns.
    pub fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.hub.peek(|hub| visit.call(hub)).unwrap_or(Ok(()))?;
        let visited = self.waiting.peek(|waiting| {
            waiting.list.iter().try_for_each(|listener| match &listener.who {
                Who::Callable(callable, hub) => {
                    visit.call(callable)?;
                    visit.call(hub)
                }
                _ => Ok(()),
            })
        });
        visited.unwrap_or(Ok(()))
    }

    /// Lets go of callables and the hub, for the garbage collector.
    pub fn clear(&self, py: Python<'_>) {
        drop((self.waiting.take(py), self.told.take(py), self.hub.take(py)));
    }
}
