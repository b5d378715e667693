//! Watchers: Python callbacks for events in a loop.
//!
//! Each kind has a file with its state, how it is armed and disarmed, and its Python class. The base class [`Watcher`] has what
//! all share: the callback, if it is *active* (armed, and kept alive by the loop), and if it is *pending* (its callback is
//! queued). `methods` has what Python sees.

pub mod async_;
pub mod child;
pub mod io;
mod methods;
pub mod phase;
pub mod signal;
pub mod stat;
pub mod timer;

use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::cell::{GilCell, Made};
use crate::event_loop::loop_::Loop;
use crate::hub;
use crate::structured::interruption::ends_program;
pub use methods::register;
use methods::{Events, events};
pub use phase::{Phase, fire_fork_watchers, fire_phase, run_phase};

/// The event: a read would not block.
pub const READ: u32 = 1;
/// The event: a write would not block.
pub const WRITE: u32 = 2;

/// The lowest and the highest priority.
pub const PRIORITIES: std::ops::RangeInclusive<i32> = -2..=2;

/// The kind of a watcher, with its state.
#[derive(Debug)]
pub enum Kind {
    /// A descriptor.
    Io(GilCell<io::Descriptor>),
    /// The clock.
    Timer(GilCell<timer::Schedule>),
    /// A signal.
    Signal(i32),
    /// Turns of the loop, or forks.
    Phase(Phase),
    /// A call from another thread.
    Async,
    /// A child process.
    Child(GilCell<child::Process>),
    /// A path.
    Stat(Box<GilCell<stat::Path>>),
}

struct State {
    callback: Option<Py<PyAny>>,
    args: Option<Py<PyTuple>>,
    active: bool,
    /// True if it keeps the loop running while active.
    counts: bool,
    /// The events to call the callback with, once queued.
    pending: Option<u32>,
}

/// The base class of all watchers: an object that calls a function when something happens in its loop.
#[pyclass(frozen, subclass, weakref, name = "watcher", module = "gevent.core")]
#[derive(Debug)]
pub struct Watcher {
    loop_: Made<Py<Loop>>,
    kind: Made<Kind>,
    state: GilCell<State>,
    priority: AtomicI32,
}

impl Watcher {
    /// Makes an inactive watcher, as the base of an instance of its kind's class.
    pub fn base(
        loop_: Py<Loop>,
        kind: Kind,
        counts: bool,
        priority: Option<i32>,
    ) -> PyClassInitializer<Self> {
        let state = State {
            callback: None,
            args: None,
            active: false,
            counts,
            pending: None,
        };
        PyClassInitializer::from(Self {
            loop_: Made::new(loop_),
            kind: Made::new(kind),
            state: GilCell::new(state),
            priority: AtomicI32::new(clamped(priority.unwrap_or(0))),
        })
    }

    /// Returns the loop it belongs to.
    pub fn loop_(&self) -> &Loop {
        self.loop_.get()
    }

    /// Returns the priority: of watchers that are ready at the same time, those with a higher one are called first.
    #[inline]
    pub fn priority(&self) -> i32 {
        self.priority.load(Relaxed)
    }

    /// Returns true if the watcher is armed.
    pub fn is_active(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.active)
    }

    /// Arms the watcher, unless it is armed, and sets its callback.
    ///
    /// # Errors
    /// `TypeError` when `callback` cannot be called, `ValueError` on a destroyed loop, `OSError` from the kernel.
    pub fn start_with(
        slf: &Bound<'_, Self>,
        callback: &Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        let py = slf.py();
        check_callable(callback)?;
        let this = slf.get();
        this.loop_().kernel(py)?;
        if !this.is_active(py) {
            this.arm(slf.as_unbound(), py)?;
            this.activate(py);
        }
        this.set_call(py, Some(callback.clone().unbind()), Some(args.unbind()));
        Ok(())
    }

    /// Disarms the watcher, and forgets its callback and the events that are pending.
    pub fn stop_now(watcher: &Py<Self>, py: Python<'_>) {
        let this = watcher.get();
        this.state.with(py, |state| state.pending = None);
        if this.deactivate(py) {
            this.disarm(watcher, py);
        }
        this.set_call(py, None, None);
    }

    /// Queues the callback with `events`; where it is queued already, adds them to those that it will get.
    pub fn fire(watcher: &Py<Self>, py: Python<'_>, loop_: &Loop, events: u32) {
        match *watcher.get().kind {
            Kind::Child(_) => child::ended(watcher, py),
            _ => Self::queue(watcher, py, loop_, events),
        }
    }

    fn queue(watcher: &Py<Self>, py: Python<'_>, loop_: &Loop, events: u32) {
        if watcher.get().mark_pending(py, events) {
            loop_.push_watcher(py, watcher.clone_ref(py));
        }
    }

    /// Notes events that the callback is to be called with; returns false if it is queued already.
    fn mark_pending(&self, py: Python<'_>, events: u32) -> bool {
        self.state.with(py, |state| match &mut state.pending {
            Some(pending) => {
                *pending |= events;
                false
            }
            none => {
                *none = Some(events);
                true
            }
        })
    }

    /// Calls the callback of a queued watcher, unless it was stopped meanwhile. An error goes to the loop's error handler.
    pub fn run(watcher: &Py<Self>, py: Python<'_>, loop_: &Loop) {
        loop_.in_task(|| Self::call_back(watcher, py, loop_));
    }

    fn call_back(watcher: &Py<Self>, py: Python<'_>, loop_: &Loop) {
        let this = watcher.get();
        let Some((events, callback, args)) = this.state.with(py, |state| {
            let events = state.pending.take()?;
            let callback = state
                .callback
                .as_ref()
                .map(|callback| callback.clone_ref(py));
            Some((
                events,
                callback,
                state.args.as_ref().map(|args| args.clone_ref(py)),
            ))
        }) else {
            return;
        };
        if let Err(error) = call(py, callback, args, events) {
            // An error that ends the program usually comes from the handler of a signal, so the callback is not at fault.
            let fails = !ends_program(error.value(py));
            hub::handle_error(py, loop_, Some(watcher.clone_ref(py).into_any()), error);
            // While the descriptor stays ready, the same callback would fail again and again.
            if fails && matches!(*this.kind, Kind::Io(_)) {
                Self::stop_now(watcher, py);
            }
        }
        let over = this
            .state
            .with(py, |state| !state.active && state.pending.is_none());
        if over {
            this.set_call(py, None, None);
        }
    }

    fn activate(&self, py: Python<'_>) {
        let counts = self.state.with(py, |state| {
            state.active = true;
            state.counts
        });
        if counts {
            self.loop_().count_ref(1);
        }
    }

    /// Marks the watcher inactive; returns false if it was inactive before.
    fn deactivate(&self, py: Python<'_>) -> bool {
        let (was, counts) = self.state.with(py, |state| {
            (std::mem::take(&mut state.active), state.counts)
        });
        if was && counts {
            self.loop_().count_ref(-1);
        }
        was
    }

    fn arm(&self, watcher: &Py<Self>, py: Python<'_>) -> PyResult<()> {
        match &*self.kind {
            Kind::Io(cell) => io::arm(watcher, py, cell),
            Kind::Timer(cell) => timer::arm(watcher, py, cell),
            Kind::Signal(signum) => signal::arm(watcher, py, *signum),
            Kind::Phase(phase) => {
                phase::list(watcher, py, *phase);
                Ok(())
            }
            Kind::Async => {
                phase::list(watcher, py, Phase::Async);
                Ok(())
            }
            Kind::Child(cell) => child::arm(watcher, py, cell),
            Kind::Stat(cell) => stat::arm(watcher, py, cell),
        }
    }

    fn disarm(&self, watcher: &Py<Self>, py: Python<'_>) {
        match &*self.kind {
            Kind::Io(cell) => io::disarm(self.loop_(), py, cell),
            Kind::Timer(cell) => timer::disarm(self.loop_(), py, cell),
            Kind::Signal(signum) => signal::disarm(watcher, py, *signum),
            Kind::Phase(phase) => phase::unlist(watcher, py, *phase),
            Kind::Async => phase::unlist(watcher, py, Phase::Async),
            Kind::Child(cell) => child::disarm(watcher, py, cell),
            Kind::Stat(cell) => stat::disarm(self.loop_(), py, cell),
        }
    }

    fn set_call(&self, py: Python<'_>, callback: Option<Py<PyAny>>, args: Option<Py<PyTuple>>) {
        let old = self.state.with(py, |state| {
            (
                std::mem::replace(&mut state.callback, callback),
                std::mem::replace(&mut state.args, args),
            )
        });
        drop(old);
    }

    /// Returns the part of `repr` that only this kind of watcher has.
    fn details(&self, py: Python<'_>) -> String {
        match &*self.kind {
            Kind::Io(cell) => {
                let (fd, events) = cell.with(py, |descriptor| (descriptor.fd, descriptor.events));
                format!(
                    " fd={fd} events={}",
                    crate::event_loop::flags::events_to_str(i64::from(events))
                )
            }
            Kind::Child(cell) => {
                let (pid, status) = cell.with(py, |process| (process.pid, process.rstatus));
                format!(" pid={pid} rstatus={status}")
            }
            _ => String::new(),
        }
    }
}

fn clamped(priority: i32) -> i32 {
    priority.clamp(*PRIORITIES.start(), *PRIORITIES.end())
}

fn check_callable(callback: &Bound<'_, PyAny>) -> PyResult<()> {
    if callback.is_callable() {
        Ok(())
    } else {
        Err(PyTypeError::new_err(format!(
            "Expected callable, not {}",
            callback.repr()?
        )))
    }
}

/// Calls `callback`, with the events in place of a leading [`Events`].
fn call(
    py: Python<'_>,
    callback: Option<Py<PyAny>>,
    args: Option<Py<PyTuple>>,
    events: u32,
) -> PyResult<()> {
    let callback = callback.unwrap_or_else(|| py.None());
    let Some(args) = args else {
        return callback.call0(py).map(drop);
    };
    let args = args.bind(py);
    let wants_events = !args.is_empty() && args.get_borrowed_item(0)?.is_instance_of::<Events>();
    if !wants_events {
        return callback.call1(py, args).map(drop);
    }
    let mut given: Vec<Bound<'_, PyAny>> = args.iter().collect();
    given[0] = events.into_pyobject(py)?.into_any();
    callback.call1(py, PyTuple::new(py, given)?).map(drop)
}
