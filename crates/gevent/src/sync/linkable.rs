//! Who waits for an event, a result or a lock: greenlets, native threads and linked callables, in order of arrival.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::PyTraverseError;
use pyo3::exceptions::PyTypeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::cell::GilCell;
use crate::event_loop::ready::Task;
use crate::event_loop::unusual::any_loop_is_gone;
use crate::ffi::blocking::Step;
use crate::hub::{self, BaseHub};
use crate::waiting::reason::{Reason, WaitKind};
use crate::waiting::timeout::Limit;
use crate::waiting::wait::{Wait, WaitRef};

/// What is to be done in a hub.
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
    /// Wakes a waiter; false when it no longer waits, or nobody will ever run it again.
    pub fn wake(&self, py: Python<'_>) -> bool {
        match self {
            Self::Greenlet(wait) => !wait.loop_().get().is_gone(py) && wait.wake_none(py),
            Self::Thread(wait) => {
                wait.wake();
                true
            }
            Self::Callable(..) => false,
        }
    }

    /// Returns true for a greenlet that nobody will ever run again.
    fn is_gone(&self, py: Python<'_>) -> bool {
        matches!(self, Self::Greenlet(wait) if wait.loop_().get().is_gone(py))
    }
}

/// A listener and its place in the order.
pub struct Listener {
    /// Its number; later ones are greater.
    pub id: u64,
    /// Whom to tell.
    pub who: Who,
}

/// What [`Lists::advance`] comes to.
pub enum Next {
    /// A waiter, taken out.
    Waiter(Listener),
    /// A callable, left in its place: its number and its hub.
    Callable(u64, Option<Py<BaseHub>>),
}

/// The listeners of one object, each list in the order of their numbers.
#[derive(Default)]
pub struct Lists {
    /// Those that are to be told.
    waiting: VecDeque<Listener>,
    /// Those that were told and have not run since.
    told: VecDeque<Listener>,
    last: u64,
    /// The hub of whoever waited first, or that the object was made for.
    hub: Option<Py<BaseHub>>,
}

impl Lists {
    /// Appends a listener and gives it a number, or puts it in the place that it had before.
    pub fn wait(&mut self, who: Who, place: Option<u64>) -> u64 {
        match place {
            Some(id) => {
                insert(&mut self.waiting, Listener { id, who });
                id
            }
            None => {
                self.last += 1;
                self.waiting.push_back(Listener { id: self.last, who });
                self.last
            }
        }
    }

    /// Remembers that a waiter was told.
    pub fn tell(&mut self, listener: Listener) {
        insert(&mut self.told, listener);
    }

    /// Returns true if fewer than `permits` were told and are still to run.
    pub fn has_told_fewer(&self, py: Python<'_>, permits: i64) -> bool {
        let fewer = |told: usize| permits > told.try_into().unwrap_or(i64::MAX);
        fewer(self.told.len())
            || (permits > 0 && any_loop_is_gone() && fewer(Self::living(&self.told, py)))
    }

    fn living(list: &VecDeque<Listener>, py: Python<'_>) -> usize {
        if !any_loop_is_gone() {
            return list.len();
        }
        list.iter()
            .filter(|listener| !listener.who.is_gone(py))
            .count()
    }

    /// Goes from the listener numbered `cursor` to the next one up to `end`.
    fn advance(&mut self, py: Python<'_>, cursor: &mut u64, end: u64) -> Option<Next> {
        let at = match self.waiting.front() {
            Some(front) if front.id > *cursor => 0,
            _ => self
                .waiting
                .partition_point(|listener| listener.id <= *cursor),
        };
        let found = self.waiting.get(at).filter(|listener| listener.id <= end)?;
        *cursor = found.id;
        match &found.who {
            Who::Callable(_, hub) => Some(Next::Callable(
                found.id,
                hub.as_ref().map(|hub| hub.clone_ref(py)),
            )),
            _ if at == 0 => self.waiting.pop_front().map(Next::Waiter),
            _ => self.waiting.remove(at).map(Next::Waiter),
        }
    }

    /// The first listener.
    pub fn first(&mut self, py: Python<'_>) -> Option<Next> {
        self.advance(py, &mut 0, u64::MAX)
    }

    /// The number given last.
    pub fn last(&self) -> u64 {
        self.last
    }

    fn has_told_here(&self) -> bool {
        self.told.iter().any(
            |listener| matches!(&listener.who, Who::Greenlet(wait) if wait.loop_().get().is_mine()),
        )
    }

    fn callables(&self, py: Python<'_>) -> Vec<(u64, Py<PyAny>)> {
        let callables = self
            .waiting
            .iter()
            .filter_map(|listener| match &listener.who {
                Who::Callable(callable, _) => Some((listener.id, callable.clone_ref(py))),
                _ => None,
            });
        callables.collect()
    }

    /// Takes out what a forked child does not have: threads, and greenlets of other threads.
    fn take_foreign(&mut self) -> Vec<Listener> {
        let mut foreign = Vec::new();
        for list in [&mut self.waiting, &mut self.told] {
            for listener in std::mem::take(list) {
                match &listener.who {
                    Who::Thread(_) => foreign.push(listener),
                    Who::Greenlet(wait) if !wait.loop_().get().is_mine() => foreign.push(listener),
                    _ => list.push_back(listener),
                }
            }
        }
        foreign
    }
}

fn insert(list: &mut VecDeque<Listener>, listener: Listener) {
    match list.back() {
        Some(back) if back.id > listener.id => {
            let at = list.partition_point(|other| other.id < listener.id);
            list.insert(at, listener);
        }
        _ => list.push_back(listener),
    }
}

fn remove(list: &mut VecDeque<Listener>, id: u64) -> Option<Listener> {
    match list.front()? {
        front if front.id == id => list.pop_front(),
        _ => {
            let at = list
                .binary_search_by_key(&id, |listener| listener.id)
                .ok()?;
            list.remove(at)
        }
    }
}

/// What an object keeps for its listeners.
pub struct Linkable {
    lists: GilCell<Option<Box<Lists>>>,
}

/// An object that has listeners.
pub trait Linked: pyo3::PyClass<Frozen = True> + Send + Sync {
    /// Whether listeners come again and again, and who was told matters until it runs.
    const RECURS: bool;
    /// The kind of call that [`Linkable::wait_for`] is a part of.
    const WAITS: WaitKind;

    /// What it keeps for them.
    fn links(&self) -> &Linkable;
}

impl Linkable {
    /// Nobody listens.
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

    /// Puts a listener in its place, by default the last; returns its number.
    pub fn wait(&self, py: Python<'_>, who: Who, place: Option<u64>) -> u64 {
        self.lists
            .with(py, |lists| lists.get_or_insert_default().wait(who, place))
    }

    /// Puts the running greenlet in its place; returns what to park it on, and its number. The first to wait makes its hub
    /// the object's.
    ///
    /// # Errors
    /// What making a hub raises.
    pub fn wait_here(
        &self,
        py: Python<'_>,
        place: Option<u64>,
        reason: Reason,
    ) -> PyResult<(WaitRef, u64)> {
        let hub = hub::current(py)?;
        let wait = Wait::new_for(py, hub::loop_of(&hub)?.unbind(), reason)?;
        let id = self.lists.with(py, |lists| {
            let lists = lists.get_or_insert_default();
            if lists.hub.is_none() {
                lists.hub = Some(hub.clone().unbind());
            }
            lists.wait(Who::Greenlet(wait.clone()), place)
        });
        Ok((wait, id))
    }

    /// Whether nobody waits to be told.
    #[inline]
    pub fn is_empty(&self, py: Python<'_>) -> bool {
        self.with(py, |lists| lists.waiting.is_empty())
            .unwrap_or(true)
    }

    /// The hub of whoever waited first, or that the object was made for.
    pub fn hub(&self, py: Python<'_>) -> Option<Py<BaseHub>> {
        self.with(py, |lists| lists.hub.as_ref().map(|hub| hub.clone_ref(py)))
            .flatten()
    }

    /// Makes `hub` the object's.
    pub fn set_hub(&self, py: Python<'_>, hub: Py<BaseHub>) {
        let old = self
            .lists
            .with(py, |lists| lists.get_or_insert_default().hub.replace(hub));
        drop(old);
    }

    /// The step of a call that waits until it is told or the limit passes, and then returns what `then` does, which is
    /// given the limit that passed.
    ///
    /// # Errors
    /// What making a hub or starting the caller's own `Timeout` raises.
    pub fn wait_for<T: Linked>(
        slf: &Bound<'_, T>,
        limit: Limit,
        then: impl FnOnce(&Bound<'_, T>, Option<&Limit>) -> PyResult<Py<PyAny>> + Send + Sync + 'static,
    ) -> PyResult<Step> {
        let py = slf.py();
        let (wait, id) = slf
            .get()
            .links()
            .wait_here(py, None, Reason::on(T::WAITS, slf))?;
        if let Err(error) = limit.begin(py, &wait) {
            slf.get().links().leave(py, id);
            return Err(error);
        }
        let owner = slf.clone().unbind();
        wait.set_then(
            py,
            Box::new(move |py, wait, outcome| {
                let slf = owner.bind(py);
                slf.get().links().leave(py, id);
                let told = limit.end(py, wait, outcome)?.is_some();
                then(slf, (!told).then_some(&limit)).map(Step::Done)
            }),
        );
        Ok(Step::Park(wait))
    }

    /// Strikes a waiter off; whether it had been told.
    pub fn leave(&self, py: Python<'_>, id: u64) -> bool {
        let found = self.with(py, |lists| match remove(&mut lists.told, id) {
            Some(told) => (true, Some(told)),
            None => (false, remove(&mut lists.waiting, id)),
        });
        matches!(&found, Some((true, _)))
    }

    /// Whether greenlets of this thread were told and have not run since.
    #[inline]
    pub fn has_told_here(&self, py: Python<'_>) -> bool {
        self.with(py, |lists| lists.has_told_here())
            .unwrap_or(false)
    }

    /// Appends a callable and returns its number.
    ///
    /// # Errors
    /// `TypeError` for what cannot be called.
    pub fn rawlink(&self, callable: &Bound<'_, PyAny>) -> PyResult<u64> {
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

    /// Takes one link to an equal callable back, if there is one.
    ///
    /// # Errors
    /// What comparing raises.
    pub fn unlink(&self, callable: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = callable.py();
        for (id, candidate) in self
            .with(py, |lists| lists.callables(py))
            .unwrap_or_default()
        {
            if candidate.bind(py).eq(callable)? {
                let removed = self.with(py, |lists| remove(&mut lists.waiting, id));
                drop(removed);
                break;
            }
        }
        Ok(())
    }

    /// Who has not run yet, told or not.
    pub fn count(&self, py: Python<'_>) -> usize {
        self.with(py, |lists| {
            Lists::living(&lists.waiting, py) + Lists::living(&lists.told, py)
        })
        .unwrap_or(0)
    }

    /// Tells everybody.
    ///
    /// # Errors
    /// What making a hub raises.
    pub fn tell_all<T: Linked>(slf: &Bound<'_, T>) -> PyResult<()> {
        let py = slf.py();
        let links = slf.get().links();
        let end = links.with(py, |lists| lists.last);
        let mut cursor = 0;
        let mut next = || {
            links
                .with(py, |lists| lists.advance(py, &mut cursor, end?))
                .flatten()
        };
        while let Some(next) = next() {
            match next {
                Next::Waiter(listener) => links.wake(py, listener, T::RECURS),
                Next::Callable(id, hub) => Self::tell_callable(slf, id, hub)?,
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
            self.with(py, |lists| lists.tell(listener));
        } else {
            drop(listener);
        }
    }

    /// Has the callable with this number called in its hub, unless it is unlinked before.
    ///
    /// # Errors
    /// What making a hub raises.
    pub fn tell_callable<T: Linked>(
        slf: &Bound<'_, T>,
        id: u64,
        hub: Option<Py<BaseHub>>,
    ) -> PyResult<()> {
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
        let removed = slf
            .get()
            .links()
            .with(py, |lists| remove(&mut lists.waiting, id));
        let Some(Some(Listener {
            who: Who::Callable(callable, _),
            ..
        })) = removed
        else {
            return;
        };
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
    /// What making a hub, or a wrapper of its loop, raises.
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

    /// Forgets, in a forked child, the hub and who did not come along.
    pub fn after_fork(&self, py: Python<'_>) {
        let foreign = self.with(py, Lists::take_foreign);
        let hub = self.with(py, |lists| lists.hub.take());
        drop((foreign, hub));
    }

    /// Visits callables and the hub. Waits are not visited: their greenlets are held by more than this list.
    ///
    /// # Errors
    /// What the visitor returns.
    pub fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.lists.peek(&visit, |lists| {
            let Some(lists) = lists else { return Ok(()) };
            visit.call(&lists.hub)?;
            lists
                .waiting
                .iter()
                .try_for_each(|listener| match &listener.who {
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
        drop(self.lists.take(py));
    }
}
