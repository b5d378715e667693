//! Running a loop: the turns that the hub greenlet, or the caller of `loop.run()`, makes one after the other.

use std::sync::atomic::Ordering::Relaxed;

use pyo3::prelude::*;

use crate::errors::InvalidThreadUseError;
use crate::event_loop::loop_::Loop;
use crate::event_loop::ready::Task;
use crate::event_loop::signal_handlers;
use crate::event_loop::unusual::Unusual;
use crate::ffi::greenlet;
use crate::greenlets::greenlet::{Greenlet, raise_in};
use crate::hub::{self, BaseHub};
use crate::structured::nest;
use crate::structured::scope::CancelScope;
use crate::waiting::asyncio_state;
use crate::waiting::timeout::Timeout;
use crate::watcher::{Phase, Watcher, run_phase};

/// The argument of `break_` that takes back the end of a run.
const BREAK_NONE: u8 = 0;
/// The argument of `break_` that ends the innermost run of the loop.
const BREAK_INNERMOST: u8 = 1;

impl Loop {
    /// Has the innermost run end with `error` as soon as control is back in it.
    pub fn end_run(&self, py: Python<'_>, error: PyErr) {
        let old = self.ending.replace(py, Some(error));
        drop(old);
        self.end_innermost_run();
    }

    /// Has the innermost run, if there is one, end after the tasks that are ready now.
    pub fn end_innermost_run(&self) {
        self.break_runs(BREAK_INNERMOST);
    }

    /// Has the innermost run, or all, end; with `BREAK_NONE`, go on after all.
    pub(crate) fn break_runs(&self, how: u8) {
        self.stopping.store(how, Relaxed);
        self.unusual.put(Unusual::STOPPING, how != BREAK_NONE);
    }
}

/// Runs the loop until `break_` is called or nothing is left that could make a task ready; one turn only with `nowait`,
/// which does not wait for events, or `once`, which waits for the first ones.
///
/// # Errors
/// `ValueError` on a destroyed loop, `InvalidThreadUseError` when another thread runs it, `OSError` when polling fails, and
/// the `GreenletExit` that ends the hub.
pub fn run(py: Python<'_>, loop_: &Bound<'_, Loop>, nowait: bool, once: bool) -> PyResult<()> {
    let this = loop_.get();
    this.kernel(py)?;
    if !this.is_mine() {
        if this.running.load(Relaxed) > 0 || this.polling.load(Relaxed) {
            return Err(InvalidThreadUseError::new_err(
                "The loop is run by another thread",
            ));
        }
        this.adopt();
    }
    this.break_runs(BREAK_NONE);
    if this.running.fetch_add(1, Relaxed) == 0 {
        this.forget_task();
    }
    let ran = turns(py, this, nowait, once);
    asyncio_state::settle(py, this);
    let result = match this.ending.take(py) {
        Some(error) => Err(error),
        None => ran,
    };
    this.running.fetch_sub(1, Relaxed);
    // Any other value is for the outer runs as well.
    if this.stopping.load(Relaxed) == BREAK_INNERMOST {
        this.break_runs(BREAK_NONE);
    }
    result
}

fn turns(py: Python<'_>, this: &Loop, nowait: bool, once: bool) -> PyResult<()> {
    // The first turn is a whole one, also when nothing that counts is left.
    let mut first = true;
    // A single turn ends even when tasks keep scheduling tasks: it does those that are ready as it begins, and those
    // that its poll finds.
    let single = nowait || once;
    loop {
        work(py, this, single)?;
        let alive = this.is_alive(py);
        if is_ended(py, this) || !(alive || first) {
            return Ok(());
        }
        first = false;
        run_phase(py, this, Phase::Prepare);
        if is_ended(py, this) {
            return Ok(());
        }
        let wait = alive && !nowait && !this.has_watchers_of(py, Phase::Idle);
        this.poll(py, wait)?;
        let found = this.has_ready(py);
        run_phase(py, this, Phase::Check);
        work(py, this, single)?;
        if !found {
            run_phase(py, this, Phase::Idle);
        }
        if single || is_ended(py, this) || !this.is_alive(py) {
            return Ok(());
        }
    }
}

fn is_ended(py: Python<'_>, this: &Loop) -> bool {
    this.unusual.any(Unusual::STOPPING) || this.is_destroyed(py)
}

/// Carries out the ready tasks; with `bounded`, or after `break_`, only those that were ready as it began.
fn work(py: Python<'_>, this: &Loop, bounded: bool) -> PyResult<()> {
    let ready = || this.queue.with(py, |queue| queue.len());
    let mut left = if bounded { ready() } else { usize::MAX };
    while left > 0 {
        if this.holds_state() && !this.may_hold_on(py) {
            asyncio_state::settle(py, this);
        }
        // The loop of asyncio that the state belongs to has run the handlers of signals just before it parked.
        if !this.holds_state() {
            signal_handlers::run(py, this);
        }
        let Some(task) = this.next_task(py) else {
            return Ok(());
        };
        run_task(py, this, task)?;
        if !this.holds_state() {
            asyncio_state::clear(py);
        }
        if bounded {
            left -= 1;
        }
        if this.unusual.any(Unusual::STOPPING | Unusual::MEASURED) {
            if !this.unusual.any(Unusual::STOPPING) {
                // The runs of greenlets were noted as they parked or ended, so this run was a callback.
                this.runs.end_run(py, || None);
                continue;
            }
            if this.ending.with(py, |error| error.is_some()) {
                return Ok(());
            }
            left = left.saturating_sub(1).min(ready());
        }
    }
    Ok(())
}

fn run_task(py: Python<'_>, this: &Loop, task: Task) -> PyResult<()> {
    let target = match task {
        Task::Wake(wait) if wait.deliver() => wait.greenlet().clone_ref(py),
        Task::Yield(turn) if turn.is_due(py) => turn.into_greenlet().into_any(),
        Task::Start(target) => match Greenlet::begin(target, py) {
            Some(target) => target.into_any(),
            None => return Ok(()),
        },
        Task::Wake(_) | Task::Yield(_) => return Ok(()),
        task => return run_in_hub(py, this, task),
    };
    resume(py, this, target)
}

/// Runs a task that is more than a switch. It is a function of its own so that none of it is in the frame that is
/// copied when the hub, in the middle of a mere switch, gives way to a greenlet further down on the stack.
#[inline(never)]
fn run_in_hub(py: Python<'_>, this: &Loop, task: Task) -> PyResult<()> {
    let active = match &task {
        Task::Switch(target, _) => target.as_ptr() as usize,
        Task::Throw(pair) => pair.0.as_ptr() as usize,
        _ => 0,
    };
    this.lets_run(active);
    match task {
        Task::Switch(target, args) => this.in_task(|| {
            let switched = greenlet::switch_with(target.bind(py), args.bind(py));
            came_back(py, this, &target, switched)
        }),
        Task::Throw(pair) => this.in_task(|| {
            let (target, error) = *pair;
            match nest::hold_back(target.bind(py), error) {
                Ok(()) => Ok(()),
                Err(error) => came_back(py, this, &target, raise_in(target.bind(py), error)),
            }
        }),
        Task::Timeout(timeout) => this.in_task(|| {
            let fired = Timeout::fire(timeout.bind(py));
            came_back(py, this, timeout.as_any(), fired)
        }),
        Task::Scope(scope) => this.in_task(|| {
            let raised = CancelScope::carry_out(scope.bind(py));
            came_back(py, this, scope.as_any(), raised)
        }),
        Task::Callback(callback) => this.in_task(|| {
            if let Err(error) = callback.get().run(py) {
                hub::handle_error(py, this, Some(callback.into_any()), error);
            }
            Ok(())
        }),
        Task::Watcher(watcher) => {
            Watcher::run(&watcher, py, this);
            Ok(())
        }
        Task::Native(work) => this.in_task(|| {
            if let Err(error) = work(py) {
                hub::handle_error(py, this, this.error_handler.get_ref(py), error);
            }
            Ok(())
        }),
        Task::Wake(_) | Task::Yield(_) | Task::Start(_) => Ok(()),
    }
}

/// Switches to a greenlet, with nothing else to do or to hold: while the hub is suspended here, greenlets may park onto
/// each other for any length of time.
#[inline]
fn resume(py: Python<'_>, this: &Loop, target: Py<PyAny>) -> PyResult<()> {
    let target = target.into_bound(py);
    this.lets_run(target.as_ptr() as usize);
    match greenlet::suspend(&target) {
        Some(_) => Ok(()),
        None => thrown_in(this, target),
    }
}

#[cold]
#[inline(never)]
fn thrown_in(this: &Loop, target: Bound<'_, PyAny>) -> PyResult<()> {
    let py = target.py();
    let error = greenlet::thrown(py);
    this.in_task(|| came_back(py, this, &target.unbind(), Err::<(), _>(error)))
}

/// Handles an error with which a switch away from here, made for `context`, ended: it was thrown into the hub, or came
/// from a raw greenlet that ended.
fn came_back<T>(
    py: Python<'_>,
    this: &Loop,
    context: &Py<PyAny>,
    switched: PyResult<T>,
) -> PyResult<()> {
    match switched {
        // An error that was meant for the hub itself, as by `kill`, is treated as one of a callback.
        Err(error)
            if hub::ends_hub(py, &error) && !context.bind(py).is_instance_of::<BaseHub>() =>
        {
            Err(error)
        }
        Err(error) => {
            hub::handle_error(py, this, Some(context.clone_ref(py)), error);
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}
