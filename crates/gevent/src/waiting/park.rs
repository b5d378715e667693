//! `park`: the one way to block, and the decision to switch from greenlet to greenlet without the hub in between.
//!
//! # Direct switching
//!
//! In gevent a greenlet that blocks switches to the hub, whose loop finds the next event and switches to the greenlet that
//! waits for it: two switches, a watcher and a callback for each wait. A switch copies the stacks of both sides, and is the
//! dearest part of a wait. So here a greenlet that parks takes the next task from the ready queue *itself*, on its own stack:
//!
//! ```text
//!      A parks                              the next task in the ready queue is
//!         │
//!         ├── to wake B, which has run before ──────► switch A → B                  one switch
//!         ├── to wake A itself ─────────────────────► return                        no switch
//!         ├── to start C, or to call a callback ────► put it back, switch A → hub   the hub does it
//!         └── none ── poll without waiting ── events ► as above
//!                           └── none ────────────────► switch A → hub, which waits  idle time is the hub's
//! ```
//!
//! Two kinds of tasks stay with the hub. A greenlet copies the recursion depth and the stack position of the one that *starts*
//! it: a chain of greenlets that start each other would end in `RecursionError`. And *callbacks* may count on
//! `getcurrent() is hub`, where blocking is an error.
//!
//! The wait itself is the hub's, in a Python frame with a name, so that debuggers, stack samplers and watchdogs see idle time
//! there, and not in whichever greenlet happened to park last.
//!
//! # What this asks of everything else
//!
//! Any greenlet may run while another one's `park` is on the stack, and its memory is then somewhere on the heap. So no cell is
//! open, no lock is held and no pointer into a stack is kept over a park: a [`Wait`] on the heap is all that the waker sees.
//! The functions that choose return before the switch, as every frame between the two ends of a switch is copied.
//!
//! While the hub is suspended in the middle of a task, as a callback switched away from it, a greenlet that parks gives
//! the turn back to the hub; see [`Loop::in_task`].

use pyo3::prelude::*;

use crate::errors::{InvalidSwitchError, InvalidThreadUseError};
use crate::event_loop::loop_::Loop;
use crate::event_loop::ready::Task;
use crate::ffi::{greenlet, hub_slot, tracing};
use crate::greenlets::greenlet::Greenlet;
use crate::hub::{self, BaseHub};
use crate::structured::interruption;
use crate::waiting::turn::Turn;
use crate::waiting::wait::{Outcome, Wait, WaitRef};
use crate::waiting::{asyncio_state, restarting};

/// The reason why a parked greenlet runs again, other than an error thrown into it.
pub enum Resumed {
    /// Its wait was woken.
    Woken(Outcome),
    /// A direct switch to the greenlet brought this.
    Switched(Py<PyAny>),
}

/// Parks the running greenlet until `wait` is woken.
///
/// # Errors
/// Returns the error that it was woken with or that was thrown into it; `InvalidSwitchError` after a direct switch to
/// it; `BlockingSwitchOutError` in the hub.
pub fn park(py: Python<'_>, wait: &WaitRef) -> Outcome {
    let came = leave(py, wait)?;
    arrive(py, wait, came)
}

/// Parks as [`park`] does, for a loop of asyncio that has polled and found nothing. Where nothing else is ready either, it
/// switches to the hub without another poll, and leaves asyncio's state in the thread.
///
/// # Errors
/// Fails as [`park`] does.
pub fn park_after_poll(py: Python<'_>, wait: &WaitRef) -> Outcome {
    let came = match choose_after_poll(py, wait)? {
        None => Came::Stayed,
        Some(target) => go(&target),
    };
    arrive(py, wait, came)
}

/// Parks as [`park`] does, for callers for which a direct switch is a legitimate end of the wait.
///
/// # Errors
/// Returns the error that was thrown into the greenlet; `BlockingSwitchOutError` in the hub.
pub fn park_until_switched(py: Python<'_>, wait: &WaitRef) -> PyResult<Resumed> {
    let came = leave(py, wait)?;
    resumed(py, wait, came)
}

/// Tells a greenlet that has just been switched to why it runs again.
pub enum Came {
    /// It was itself the next to run, so there was no switch.
    Stayed,
    /// Another greenlet switched to it directly.
    Switched(Py<PyAny>),
    /// An error was thrown into it, and is set in the interpreter.
    Thrown,
}

/// Switches to the greenlet that [`choose`] names. The frames that stay on the suspended stack are this one and its
/// callers, so everything else is done in functions that return first: the cost of a switch is the copying of the
/// stack.
#[inline]
fn leave(py: Python<'_>, wait: &WaitRef) -> PyResult<Came> {
    match choose(py, wait)? {
        None => Ok(Came::Stayed),
        Some(target) => Ok(go(&target)),
    }
}

/// Switches to `target`.
#[inline]
fn go(target: &Bound<'_, PyAny>) -> Came {
    match greenlet::suspend(target) {
        Some(value) => Came::Switched(value.unbind()),
        None => Came::Thrown,
    }
}

/// Ends the wait of a greenlet that runs again, and returns its outcome.
///
/// # Errors
/// Fails as [`park`] does.
#[inline(never)]
pub fn arrive(py: Python<'_>, wait: &WaitRef, came: Came) -> Outcome {
    match resumed(py, wait, came)? {
        Resumed::Woken(outcome) => outcome,
        Resumed::Switched(value) => Err(InvalidSwitchError::new_err(format!(
            "Invalid switch into {}: got {} (expected its own wake-up)",
            wait.greenlet().bind(py).repr()?,
            value.bind(py).repr()?,
        ))),
    }
}

#[inline(never)]
fn resumed(py: Python<'_>, wait: &WaitRef, came: Came) -> PyResult<Resumed> {
    wait.forget_in_greenlet(py);
    let finished = wait.finish(py);
    let resumed = match came {
        Came::Thrown => Err(interruption::in_context(py, greenlet::thrown(py))),
        Came::Stayed => {
            asyncio_state::arrive(py, wait);
            return Ok(Resumed::Woken(finished.unwrap_or_else(|| Ok(py.None()))));
        }
        Came::Switched(value) => Ok(match finished {
            Some(outcome) => {
                // Dropping a bound reference does not read pyo3's count of attachments, which is thread-local.
                drop(value.into_bound(py));
                Resumed::Woken(match outcome {
                    Err(error) => Err(interruption::in_context(py, error)),
                    value => value,
                })
            }
            None => Resumed::Switched(value),
        }),
    };
    asyncio_state::arrive(py, wait);
    tracing::resumed(py);
    resumed
}

/// Returns the greenlet to switch to; none when the caller itself is next.
///
/// # Errors
/// `BlockingSwitchOutError` in the hub; the wait is over then.
#[inline(never)]
pub fn choose<'py>(py: Python<'py>, wait: &WaitRef) -> PyResult<Option<Bound<'py, PyAny>>> {
    let allowed = may_block(py, wait);
    choose_if(py, wait, allowed)
}

/// Chooses the hub, where nothing is ready, and as [`choose`] does otherwise.
///
/// # Errors
/// Fails as [`choose`] does.
#[inline(never)]
fn choose_after_poll<'py>(py: Python<'py>, wait: &WaitRef) -> PyResult<Option<Bound<'py, PyAny>>> {
    let allowed = may_block(py, wait);
    if allowed.is_ok()
        && wait.is_waiting()
        && wait.loop_().get().is_idle(py)
        && let Ok(hub) = hub::current(py)
    {
        asyncio_state::hold(py, wait);
        return Ok(Some(hub.into_any()));
    }
    choose_if(py, wait, allowed)
}

#[inline]
fn choose_if<'py>(
    py: Python<'py>,
    wait: &WaitRef,
    allowed: PyResult<()>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let chosen = allowed.and_then(|()| {
        // This may call Python, which may wait, so it comes before a greenlet is chosen that only this one can resume.
        asyncio_state::leave(py, wait);
        next_greenlet(py, wait.loop_().get(), &Who::Waiter(wait))
    });
    if chosen.is_err() {
        wait.finish(py);
        asyncio_state::arrive(py, wait);
    }
    chosen
}

/// The greenlet that chooses the next one.
pub enum Who<'a> {
    /// One that waits.
    Waiter(&'a WaitRef),
    /// One that yields.
    Yielder(&'a Turn),
}

impl Who<'_> {
    /// Returns true if the greenlet's turn came while it was choosing: objects that are dropped there may run code that
    /// waits, and that code takes the wake-up of the outer wait off the queue.
    fn is_delivered(&self, py: Python<'_>) -> bool {
        match self {
            Self::Waiter(wait) => wait.is_delivered(),
            Self::Yielder(turn) => !turn.is_due(py),
        }
    }

    fn wakes_on(&self, task: &Task) -> bool {
        match (self, task) {
            (Self::Waiter(wait), Task::Wake(next)) => {
                std::ptr::eq(&raw const ***wait, &raw const **next)
            }
            (Self::Yielder(turn), Task::Yield(next)) => turn.is(next),
            _ => false,
        }
    }

    fn is_greenlet(&self, other: &Py<PyAny>) -> bool {
        match self {
            Self::Waiter(wait) => wait.greenlet().is(other),
            Self::Yielder(turn) => turn.greenlet().is(other),
        }
    }
}

/// Chooses as [`choose`] does, for a greenlet that was found to be allowed to block.
///
/// # Errors
/// Returns the error that making a hub raises.
pub fn next_greenlet<'py>(
    py: Python<'py>,
    loop_: &Loop,
    who: &Who<'_>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let the_hub = || hub::current(py).map(|hub| Some(hub.into_any()));
    loop {
        if who.is_delivered(py) {
            return Ok(None);
        }
        if loop_.ends_run_for_hub(py) {
            loop_.progressed();
            return the_hub();
        }
        let Some(task) = loop_.next_task(py) else {
            if loop_.must_poll_in_hub() {
                loop_.progressed();
                return the_hub();
            }
            if !loop_.find_ready(py) {
                return the_hub();
            }
            continue;
        };
        let is_own = who.wakes_on(&task);
        // Prepare, check and idle watchers are owed a turn of the loop.
        let for_hub = is_own && loop_.owes_phases();
        let target = match task {
            Task::Wake(next) if !for_hub => {
                if !next.deliver() {
                    continue;
                }
                next.greenlet().clone_ref(py)
            }
            Task::Yield(turn) if !for_hub => {
                if !turn.is_due(py) {
                    continue;
                }
                if !is_own && who.is_greenlet(turn.greenlet().as_any()) {
                    turn.end(py);
                    continue;
                }
                turn.into_greenlet().into_any()
            }
            task => {
                loop_.put_back(py, task);
                return the_hub();
            }
        };
        loop_.lets_run(target.as_ptr() as usize);
        return Ok((!is_own).then(|| target.into_bound(py)));
    }
}

fn may_block(py: Python<'_>, wait: &WaitRef) -> PyResult<()> {
    let hub = hub::current(py)?;
    let running = wait.greenlet().bind(py);
    if running.is(&hub) {
        return Err(hub::blocking_in_hub());
    }
    if !wait.loop_().get().is_mine() {
        return Err(InvalidThreadUseError::new_err(
            "Cannot wait in the hub of another thread",
        ));
    }
    blocks(&hub, running)?;
    wait.enter_in_greenlet(py);
    wait.expect_other_threads(py);
    Ok(())
}

/// Does the work that is due when a greenlet is about to wait.
fn blocks(hub: &Bound<'_, BaseHub>, running: &Bound<'_, PyAny>) -> PyResult<()> {
    if hub.get().waits_first() {
        let name = pyo3::intern!(hub.py(), "start_periodic_monitoring_thread");
        restarting::to_its_end(hub.py(), || hub.call_method0(name).map(drop))?;
    }
    hub::call_switch_out(running)
}

/// The result of a yield.
pub enum Yielded {
    /// No other greenlet is ready.
    Alone,
    /// The greenlet is a `Greenlet` and its turn is queued; the other one, if any, is to go on now.
    Turn(Turn, Option<Py<PyAny>>),
    /// The greenlet is a raw one, or runs a loop of asyncio; it is queued by a wait that is woken already.
    Wait(WaitRef),
}

/// Puts the running greenlet at the end of the queue, unless no other greenlet is ready.
///
/// # Errors
/// `BlockingSwitchOutError` in the hub; the error that a signal handler raises.
pub fn queue_up(py: Python<'_>) -> PyResult<Yielded> {
    let Some((running, loop_)) = company(py)? else {
        return Ok(Yielded::Alone);
    };
    // A turn has no room for the state that asyncio keeps for a greenlet that runs a loop.
    if let Ok(ours) = running.cast::<Greenlet>()
        && !asyncio_state::runs_a_loop(py)
    {
        let turn = Turn::of(ours);
        let next = relay(py, loop_.get(), &turn);
        return Ok(Yielded::Turn(turn, next));
    }
    let wait = Wait::of(running.unbind(), loop_.unbind());
    wait.wake_none(py);
    Ok(Yielded::Wait(wait))
}

/// Queues a turn. Where the first task in the queue resumes a greenlet that can go on right now, takes that task and
/// returns the greenlet.
#[inline]
fn relay(py: Python<'_>, loop_: &Loop, turn: &Turn) -> Option<Py<PyAny>> {
    let last = Task::Yield(turn.clone_ref(py));
    let next = match loop_.relay(py, last)? {
        Task::Yield(next) if next.is_due(py) && !next.is(turn) => next.into_greenlet().into_any(),
        Task::Wake(next) if next.deliver() => next.greenlet().clone_ref(py),
        _ => return None,
    };
    loop_.progressed();
    loop_.lets_run(next.as_ptr() as usize);
    Some(next)
}

/// Lets all other greenlets that are ready run first, from a frame of any size.
///
/// # Errors
/// Returns an error that is thrown into the greenlet meanwhile, and fails as [`queue_up`] does.
pub fn yield_now(py: Python<'_>) -> PyResult<()> {
    let Some((running, loop_)) = company(py)? else {
        return Ok(());
    };
    let wait = Wait::of(running.unbind(), loop_.unbind());
    wait.wake_none(py);
    park(py, &wait).map(drop)
}

/// Returns the running greenlet and its loop if another greenlet is ready.
fn company(py: Python<'_>) -> PyResult<Option<(Bound<'_, PyAny>, Bound<'_, Loop>)>> {
    let hub = hub::current(py)?;
    let running = greenlet::current(py)?;
    if running.is(&hub) {
        return Err(hub::blocking_in_hub());
    }
    let loop_ = hub::loop_of(&hub)?;
    if loop_.get().yields_alone(py)? {
        return Ok(None);
    }
    blocks(&hub, &running)?;
    Ok(Some((running, loop_)))
}

/// Makes the running greenlet's yield if that takes no more than to find that nothing else is ready and no poll is due;
/// returns false for [`queue_up`] to make it in every other case. This calls no Python, as a call's fast path has to.
pub fn yields_to_nobody(py: Python<'_>) -> bool {
    let Some(hub) = hub_slot::get(py) else {
        return false;
    };
    hub::loop_if_any(&hub).is_some_and(|loop_| loop_.get().yields_before_poll(py))
        && greenlet::current(py).is_ok_and(|running| !running.is(&hub))
}
