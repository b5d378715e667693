//! The hub: the greenlet of each thread that runs callbacks, starts greenlets, and waits when no greenlet can run.

mod failures;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::PyTraverseError;
use pyo3::exceptions::PyAssertionError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyType};

use crate::cell::GilCell;
use crate::errors::{BlockingSwitchOutError, HubDestroyed, InvalidSwitchError, LoopExit};
use crate::event_loop::former;
use crate::event_loop::loop_::{Loop, run};
use crate::event_loop::ready::Task;
use crate::ffi::base::{PyGreenlet, as_greenlet};
use crate::ffi::collector::{Begun, Collected};
use crate::ffi::{attribute, greenlet, hub_slot};
use crate::greenlets::greenlet::Greenlet;
use crate::registered::{HUB, THREAD_END, THREAD_STATE};
use crate::waiting::park::{Resumed, park_until_switched};
use crate::waiting::reason::{Reason, WaitKind};
use crate::waiting::wait::Wait;
use crate::waiting::waiter::Waiter;

use failures::set_error_handler;
pub use failures::{ends_hub, handle_error, outlives};

/// The base class of `gevent.hub.Hub`: running the loop, switching, waiting for watchers. The Python subclass reports errors.
#[pyclass(frozen, subclass, extends = PyGreenlet, name = "BaseHub", module = "gevent._core")]
#[derive(Debug)]
pub struct BaseHub {
    loop_: GilCell<Option<Py<Loop>>>,
    /// Loops that the hub had before, on which something may still wait.
    former: GilCell<Vec<Py<Loop>>>,
    /// A non-Loop object that was assigned to `hub.loop`, such as a test's spy.
    wrapper: GilCell<Option<Py<PyAny>>>,
    /// True once something has waited in the hub: by then the hub has its monitor thread, if there is to be one.
    waited: AtomicBool,
    begun: Begun,
}

impl Collected for BaseHub {
    fn begun(&self) -> &Begun {
        &self.begun
    }
}

impl BaseHub {
    /// Notes that a greenlet is about to wait in the hub; returns true if none has before.
    #[inline]
    pub fn waits_first(&self) -> bool {
        let first = !self.waited.load(Relaxed);
        if first {
            self.waited.store(true, Relaxed);
        }
        first
    }
}

static HUB_CLASS: PyOnceLock<GilCell<Option<Py<PyAny>>>> = PyOnceLock::new();
static THREAD_LOCAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Returns the hub of this thread, and makes one if there is none.
///
/// # Errors
/// The error that the hub class raises, such as `OSError` when no descriptor is left for its loop.
#[inline]
pub fn current(py: Python<'_>) -> PyResult<Bound<'_, BaseHub>> {
    match hub_slot::get(py) {
        Some(hub) => Ok(hub),
        None => make(py),
    }
}

#[cold]
fn make(py: Python<'_>) -> PyResult<Bound<'_, BaseHub>> {
    let hub = hub_class(py)?.bind(py).call0()?.cast_into::<BaseHub>()?;
    install(py, Some(hub.clone().unbind()))?;
    crate::orphan::replaced_by(py, &hub)?;
    Ok(hub)
}

/// Takes the hub away from the thread without calling Python.
pub fn take_current() -> Option<Py<BaseHub>> {
    hub_slot::replace(None)
}

fn hub_class(py: Python<'_>) -> PyResult<Py<PyAny>> {
    let cell = HUB_CLASS.get_or_init(py, || GilCell::new(None));
    match cell.get_ref(py) {
        Some(class) => Ok(class),
        None => Ok(HUB.get(py)?.clone().unbind()),
    }
}

/// Makes `hub` this thread's, and puts a guard into the thread's own state that destroys it when the thread ends.
fn install(py: Python<'_>, hub: Option<Py<BaseHub>>) -> PyResult<()> {
    let local = THREAD_LOCAL.get_or_try_init(py, || {
        // This is the class of native threads' state even where `_thread` is patched: a greenlet's state would not end
        // with the thread.
        Ok::<_, PyErr>(THREAD_STATE.get(py)?.call0()?.unbind())
    })?;
    let local = local.bind(py);
    let guard = match local.getattr_opt(pyo3::intern!(py, "guard"))? {
        Some(guard) => guard,
        None => {
            let guard = THREAD_END.get(py)?.call0()?;
            local.setattr(pyo3::intern!(py, "guard"), &guard)?;
            guard
        }
    };
    guard.setattr(pyo3::intern!(py, "hub"), &hub)?;
    drop(hub_slot::replace(hub));
    Ok(())
}

/// Releases the thread's hub when it is dropped. An instance of its Python subclass, which destroys the hub before that, lives
/// in the thread's state.
#[pyclass(frozen, subclass, name = "ThreadEnd", module = "gevent._core")]
#[derive(Debug)]
pub struct ThreadEnd {
    thread: u64,
}

#[pymethods]
impl ThreadEnd {
    #[new]
    fn new() -> Self {
        Self {
            thread: crate::thread_id(),
        }
    }

    /// True if the calling thread made this. In a forked child the only thread also ends the states of the parent's others.
    #[getter]
    fn is_mine(&self) -> bool {
        self.thread == crate::thread_id()
    }
}

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        if self.is_mine() {
            drop(hub_slot::replace(None));
        }
    }
}

/// Returns the hub's loop.
///
/// # Errors
/// `HubDestroyed` once the hub gave its loop up.
#[inline]
pub fn loop_of<'py>(hub: &Bound<'py, BaseHub>) -> PyResult<Bound<'py, Loop>> {
    loop_if_any(hub).ok_or_else(|| HubDestroyed::new_err((hub.clone().unbind(),)))
}

/// Returns the loop of a hub, or `None` if the hub is destroyed. This calls no Python.
#[inline]
pub fn loop_if_any<'py>(hub: &Bound<'py, BaseHub>) -> Option<Bound<'py, Loop>> {
    let py = hub.py();
    hub.get().loop_.with_entered(py, |loop_| {
        loop_.as_ref().map(|loop_| loop_.bind(py).clone())
    })
}

/// Returns the loop of this thread's hub.
///
/// # Errors
/// The errors of [`current`] and [`loop_of`].
#[inline]
pub fn current_loop(py: Python<'_>) -> PyResult<Py<Loop>> {
    loop_of(&current(py)?).map(Bound::unbind)
}

/// Makes a wait of the current greenlet on this thread's loop.
///
/// # Errors
/// The errors of [`current_loop`].
#[inline]
pub fn new_wait(py: Python<'_>) -> PyResult<crate::waiting::wait::WaitRef> {
    Wait::new(py, current_loop(py)?)
}

/// Makes a wait as [`new_wait`] does, for a call that states what it waits for.
///
/// # Errors
/// The errors of [`current_loop`].
#[inline]
pub fn new_wait_for(py: Python<'_>, reason: Reason) -> PyResult<crate::waiting::wait::WaitRef> {
    Wait::new_for(py, current_loop(py)?, reason)
}

/// Calls the `switch_out` of a greenlet class that defines one.
///
/// # Errors
/// The error that the method raises.
#[inline]
pub fn call_switch_out(running: &Bound<'_, PyAny>) -> PyResult<()> {
    let kind = running.get_type_ptr();
    if std::ptr::eq(kind, greenlet::api().greenlet_type)
        || std::ptr::eq(kind, Greenlet::type_ptr(running.py()))
    {
        return Ok(());
    }
    match attribute::find(running, pyo3::intern!(running.py(), "switch_out"))? {
        Some(method) => method.call0().map(drop),
        None => Ok(()),
    }
}

impl BaseHub {
    /// Returns the former loops that something waits on, and forgets the others.
    fn former_waited_on(&self, py: Python<'_>) -> Vec<Py<Loop>> {
        let all = self.former.take(py);
        let waited: Vec<_> = all
            .iter()
            .filter(|old| former::is_waited_on(py, old.get()))
            .map(|old| old.clone_ref(py))
            .collect();
        let kept = waited.iter().map(|old| old.clone_ref(py)).collect();
        drop((self.former.replace(py, kept), all));
        waited
    }

    /// Returns the non-Loop object that was assigned to `hub.loop`, if there is one.
    pub fn wrapper(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.wrapper.get_ref(py)
    }
}

#[pymethods]
impl BaseHub {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        _args: &Bound<'_, PyAny>,
        _kwargs: Option<&Bound<'_, PyAny>>,
    ) -> PyClassInitializer<Self> {
        PyClassInitializer::new(
            Self {
                loop_: GilCell::new(None),
                former: GilCell::new(Vec::new()),
                wrapper: GilCell::new(None),
                waited: AtomicBool::new(false),
                begun: Begun::default(),
            },
            as_greenlet(),
        )
    }

    #[getter]
    fn r#loop(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.wrapper
            .get_ref(py)
            .or_else(|| self.loop_.get_ref(py).map(Py::into_any))
    }

    /// A loop replaces the old one, which the hub continues to run for the sake of its waiters. Any other object is
    /// taken for a wrapper of the loop that the hub has: the engine keeps using that loop, and passes the callbacks of
    /// other threads to the wrapper.
    #[setter]
    fn set_loop(&self, py: Python<'_>, value: Option<Bound<'_, PyAny>>) {
        let (loop_, wrapper) = match value {
            None => (Some(None), None),
            Some(value) => match value.cast_into::<Loop>() {
                Ok(loop_) => {
                    loop_.get().adopt();
                    (Some(Some(loop_.unbind())), None)
                }
                Err(other) => (None, Some(other.into_inner().unbind())),
            },
        };
        let old = (
            loop_.map(|loop_| self.loop_.replace(py, loop_)),
            self.wrapper.replace(py, wrapper),
        );
        if let (Some(Some(before)), _) = &old
            && !self
                .loop_
                .with(py, |now| now.as_ref().is_some_and(|now| now.is(before)))
        {
            // The hub may be in the middle of running the old loop.
            before.get().end_innermost_run();
        }
        drop(old);
    }

    /// Run the loop; this is the greenlet's body. It does not return while the thread lives: when nothing is left that could wake
    /// a greenlet, it raises `LoopExit` in the parent.
    fn run(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        if !greenlet::current(py)?.is(slf) {
            return Err(called_directly());
        }
        slf.get().begun.set();
        loop {
            let Some(loop_) = slf.get().loop_.get_ref(py) else {
                return Ok(());
            };
            let former = slf.get().former_waited_on(py);
            set_error_handler(py, &loop_, Some(slf));
            let ran = match former.as_slice() {
                [] => run::run(py, loop_.bind(py), false, false),
                former => {
                    former
                        .iter()
                        .for_each(|old| set_error_handler(py, old, Some(slf)));
                    let ran = former::turn(py, loop_.bind(py), former);
                    former
                        .iter()
                        .for_each(|old| set_error_handler(py, old, None));
                    ran
                }
            };
            set_error_handler(py, &loop_, None);
            ran?;
            match slf.get().loop_.get_ref(py) {
                None => return Ok(()),
                Some(now) if !now.is(&loop_) => {
                    slf.get().former.with(py, |former| former.push(loop_));
                    continue;
                }
                Some(_) => {}
            }
            if !former.is_empty() {
                continue;
            }
            match may_get_signal(slf, loop_.get()) {
                Ok(true) => {
                    loop_.get().poll(py, true)?;
                    continue;
                }
                Ok(false) => {}
                Err(error) => {
                    failures::report(slf, &loop_, error);
                    continue;
                }
            }
            let Some(parent) = greenlet::parent(slf.as_any()) else {
                return Ok(());
            };
            let exit = LoopExit::new_err((
                "This operation would block forever",
                slf.clone().unbind(),
                PyList::empty(py).unbind(),
            ));
            greenlet::throw(&parent, exit)?;
        }
    }

    /// Switch to the hub: suspend the current greenlet until it is switched to.
    ///
    /// Returns the object that is passed in the switch back. Raises `BlockingSwitchOutError` in the hub itself.
    fn switch(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let running = greenlet::current(py)?;
        if running.is(slf) {
            return Err(blocking_in_hub());
        }
        let reason = Reason::only(WaitKind::Switch);
        let wait = Wait::of_for(running.unbind(), loop_of(slf)?.unbind(), reason);
        match park_until_switched(py, &wait)? {
            Resumed::Switched(value) => Ok(value),
            Resumed::Woken(outcome) => outcome,
        }
    }

    /// Called when something blocks in the hub: always raises `BlockingSwitchOutError`.
    fn switch_out(&self) -> PyResult<()> {
        Err(blocking_in_hub())
    }

    /// Wait until `watcher` (not started yet) fires; it is stopped in any case.
    fn wait(slf: &Bound<'_, Self>, watcher: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let waiter = Bound::new(py, Waiter::of_hub(slf.clone().into_any().unbind()))?;
        watcher.call_method1(
            pyo3::intern!(py, "start"),
            (waiter.getattr(pyo3::intern!(py, "switch"))?, &waiter),
        )?;
        let got = Waiter::wait_for(&waiter, Reason::on(WaitKind::Watcher, watcher));
        let stopped = watcher.call_method0(pyo3::intern!(py, "stop"));
        let got = got?;
        stopped?;
        if got.bind(py).is(&waiter) {
            return Ok(());
        }
        Err(InvalidSwitchError::new_err(format!(
            "Invalid switch into {}: got {} (expected {}; waiting on {} with {})",
            greenlet::current(py)?.repr()?,
            got.bind(py).repr()?,
            waiter.repr()?,
            slf.as_any().repr()?,
            watcher.repr()?,
        )))
    }

    /// Raise `error` in the greenlet that waits on `watcher`, soon, and close the watcher if asked to.
    #[pyo3(signature = (watcher, error, close_watcher = false))]
    fn cancel_wait(
        slf: &Bound<'_, Self>,
        watcher: Py<PyAny>,
        error: Py<PyAny>,
        close_watcher: bool,
    ) -> PyResult<()> {
        if watcher.is_none(slf.py()) {
            return Ok(());
        }
        let work = move |py: Python<'_>| end_wait(watcher.bind(py), error, close_watcher);
        loop_of(slf)?
            .get()
            .push(slf.py(), Task::Native(Box::new(work)));
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.wrapper
            .peek(&visit, |wrapper| visit.call(wrapper))
            .unwrap_or(Ok(()))?;
        self.former
            .peek(&visit, |former| {
                former.iter().try_for_each(|old| visit.call(old))
            })
            .unwrap_or(Ok(()))?;
        self.loop_
            .peek(&visit, |loop_| visit.call(loop_))
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop((
            self.wrapper.take(py),
            self.loop_.take(py),
            self.former.take(py),
        ));
    }
}

/// Returns true if a signal that the program handles may wake a waiter, so that the wait is no deadlock.
fn may_get_signal(hub: &Bound<'_, BaseHub>, loop_: &Loop) -> PyResult<bool> {
    let py = hub.py();
    if loop_.is_destroyed(py) {
        return Ok(false);
    }
    let watched = crate::watcher::signal::has_watchers(py, loop_);
    hub.call_method1(pyo3::intern!(py, "_may_get_signal"), (watched,))?
        .is_truthy()
}

/// Run the handlers of signals that have arrived. Raises the error that a handler raises.
#[pyfunction]
pub fn check_signals(py: Python<'_>) -> PyResult<()> {
    py.check_signals()
}

/// Stops or closes a watcher and raises `error` in the greenlet that its callback would have woken.
fn end_wait(watcher: &Bound<'_, PyAny>, error: Py<PyAny>, close: bool) -> PyResult<()> {
    let callback = watcher.getattr(pyo3::intern!(watcher.py(), "callback"))?;
    watcher.call_method0(if close { "close" } else { "stop" })?;
    if callback.is_none() {
        return Ok(());
    }
    match callback.getattr_opt(pyo3::intern!(callback.py(), "__self__"))? {
        Some(waiter) => waiter
            .call_method1(pyo3::intern!(waiter.py(), "throw"), (error,))
            .map(drop),
        None => Ok(()),
    }
}

/// Returns the method `run` of the hub that is the running greenlet: that of its class, which an attribute of the hub hides.
///
/// # Errors
/// `AssertionError` outside of a hub.
pub fn method_run(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let running = greenlet::current(py)?;
    let Ok(hub) = running.cast::<BaseHub>() else {
        return Err(called_directly());
    };
    let class = hub.get_type();
    let function = class.getattr(pyo3::intern!(py, "run"))?;
    function.call_method1(pyo3::intern!(py, "__get__"), (hub, class))
}

fn called_directly() -> PyErr {
    PyAssertionError::new_err("Do not call Hub.run() directly")
}

/// Makes the error for blocking in the hub.
pub fn blocking_in_hub() -> PyErr {
    BlockingSwitchOutError::new_err(
        "Impossible to call blocking function in the event loop callback",
    )
}

/// Return this thread's hub; make one if there is none.
#[pyfunction]
pub fn get_hub(py: Python<'_>) -> PyResult<Bound<'_, BaseHub>> {
    current(py)
}

/// Return this thread's hub, or None.
#[pyfunction]
pub fn get_hub_if_exists(py: Python<'_>) -> Option<Bound<'_, BaseHub>> {
    hub_slot::get(py)
}

/// Make `hub` (or None) this thread's hub.
#[pyfunction]
#[pyo3(signature = (hub))]
pub fn set_hub(py: Python<'_>, hub: Option<Py<BaseHub>>) -> PyResult<()> {
    install(py, hub)
}

/// Set the class that `get_hub` makes hubs of.
#[pyfunction]
pub fn set_default_hub_class(py: Python<'_>, hubtype: &Bound<'_, PyType>) {
    let cell = HUB_CLASS.get_or_init(py, || GilCell::new(None));
    let old = cell.replace(py, Some(hubtype.clone().into_any().unbind()));
    drop(old);
}

/// Return the class that `get_hub` makes hubs of.
#[pyfunction]
pub fn get_hub_class(py: Python<'_>) -> PyResult<Py<PyAny>> {
    hub_class(py)
}

/// Return the running greenlet.
#[pyfunction]
pub fn getcurrent(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    greenlet::current(py)
}
