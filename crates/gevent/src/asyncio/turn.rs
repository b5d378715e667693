//! A turn of the loop: it removes cancelled timers, waits or lets other greenlets run, and does the ready work.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use reactor::Direction;

use crate::asyncio::base::{AsyncioLoop, Io};
use crate::asyncio::datagram::DatagramTransport;
use crate::asyncio::descriptor;
use crate::asyncio::handle::Handles;
use crate::asyncio::mailbox::Ready;
use crate::asyncio::scheduled;
use crate::asyncio::selector;
use crate::asyncio::stream::StreamTransport;
use crate::event_loop::loop_::Loop;
use crate::ffi::greenlet;
use crate::hub;
use crate::waiting::park;
use crate::waiting::reason::{Reason, WaitKind};
use crate::waiting::wait::Wait;

/// The longest wait, in seconds, as in asyncio.
const LONGEST: f64 = 24.0 * 3600.0;
/// Callbacks between two polls of a busy loop without descriptors, at most.
const BATCH: u32 = 64;

/// Runs turns until the loop is to stop.
///
/// # Errors
/// Returns the error with which a turn ends.
pub fn run_turns(slf: &Bound<'_, AsyncioLoop>) -> PyResult<()> {
    let this = slf.get();
    poll_next(this);
    loop {
        run_once(slf)?;
        if this.stopping.load(Relaxed) {
            return Ok(());
        }
    }
}

/// Has the next turn poll in any case, so that a run of a single turn finds everything that is ready.
pub fn poll_next(this: &AsyncioLoop) {
    this.ran.store(BATCH, Relaxed);
}

/// Runs one turn.
///
/// # Errors
/// `KeyboardInterrupt` and `SystemExit` of a callback, and an error that is thrown into the greenlet while it waits.
pub fn run_once(slf: &Bound<'_, AsyncioLoop>) -> PyResult<()> {
    let py = slf.py();
    let this = slf.get();
    py.check_signals()?;
    let timeout = timeout(slf)?;
    poll(slf, timeout)?;
    if this.mailbox().has_selector() {
        this.mailbox().set_selector(false);
        selector::report(slf)?;
    }
    expire(slf)?;
    // Callbacks that these add to the mailbox are for the next turn.
    for _ in 0..this.mailbox().len(py) {
        match this.mailbox().pop(py) {
            Some(Ready::Handle(handle)) => run_handle(slf, handle.into_bound(py))?,
            Some(Ready::Io(place, direction)) => run_io(slf, place, direction)?,
            None => break,
        }
        this.ran
            .store(this.ran.load(Relaxed).wrapping_add(1), Relaxed);
    }
    Ok(())
}

/// Has the object at `place` try its operation in a direction; does nothing when the object is closed.
///
/// An error is reported as that of any callback is, and the loop goes on: it may be one of the protocol's `connection_lost`.
///
/// # Errors
/// `KeyboardInterrupt` and `SystemExit` of the protocol.
pub fn run_io(slf: &Bound<'_, AsyncioLoop>, place: u32, direction: Direction) -> PyResult<()> {
    let py = slf.py();
    let io = slf.get().io.with(py, |places| {
        places.get(place as usize).map(|io| io.clone_ref(py))
    });
    let Some(io) = io else {
        return Ok(());
    };
    let done = match &io {
        Io::Stream(stream) => StreamTransport::ready(stream.bind(py), direction),
        Io::Datagram(datagram) => DatagramTransport::ready(datagram.bind(py), direction),
        Io::Future(waiting) => descriptor::ready(slf, place, waiting),
    };
    match done {
        Err(error) if !ends_loop(py, &error) => {
            let what = match direction {
                Direction::Read => "reading",
                Direction::Write => "writing",
            };
            let error = error.into_value(py);
            let args = (io.as_any(), what, error);
            slf.call_method1(intern!(py, "_io_failed"), args).map(drop)
        }
        done => done,
    }
}

fn run_handle(slf: &Bound<'_, AsyncioLoop>, handle: Bound<'_, PyAny>) -> PyResult<()> {
    let py = slf.py();
    if slf.get().is_debug() {
        slf.call_method1(intern!(py, "_run_in_debug_mode"), (handle,))?;
        return Ok(());
    }
    let call = match Handles::get(py)?.call_of(handle.clone()) {
        Ok(Some(call)) => call,
        Ok(None) => return Ok(()),
        Err(other) => {
            if !other.getattr(intern!(py, "_cancelled"))?.is_truthy()? {
                other.call_method0(intern!(py, "_run"))?;
            }
            return Ok(());
        }
    };
    match call.run() {
        Ok(()) => {
            drop(call);
            slf.get().keep_spare(handle);
            Ok(())
        }
        Err(error) if ends_loop(py, &error) => Err(error),
        Err(error) => {
            let error = error.into_value(py);
            slf.call_method1(intern!(py, "_callback_failed"), (handle, error))?;
            Ok(())
        }
    }
}

/// Returns true for the exceptions that every loop of asyncio lets through.
pub fn ends_loop(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py)
}

/// Returns how long the turn may wait, in seconds; none for any time.
fn timeout(slf: &Bound<'_, AsyncioLoop>) -> PyResult<Option<f64>> {
    let py = slf.py();
    let this = slf.get();
    let Some(timers) = this.timers(py) else {
        return Ok(Some(0.0));
    };
    let timers = timers.bind(py);
    if !timers.is_empty() {
        let cancelled = this.timer_cancelled.load(Relaxed);
        let left = scheduled::remove_cancelled(timers, cancelled)?;
        this.timer_cancelled.store(left, Relaxed);
    }
    if this.mailbox().len(py) > 0 || this.stopping.load(Relaxed) {
        return Ok(Some(0.0));
    }
    let Some((_, when)) = scheduled::first(timers)? else {
        return Ok(None);
    };
    let now: f64 = slf.call_method0(intern!(py, "time"))?.extract()?;
    Ok(Some((when - now).clamp(0.0, LONGEST)))
}

/// Puts the handles of timers that are due into the mailbox.
fn expire(slf: &Bound<'_, AsyncioLoop>) -> PyResult<()> {
    let py = slf.py();
    let Some(timers) = slf.get().timers(py) else {
        return Ok(());
    };
    let timers = timers.bind(py);
    if timers.is_empty() {
        return Ok(());
    }
    let now: f64 = slf.call_method0(intern!(py, "time"))?.extract()?;
    let resolution: f64 = slf.getattr(intern!(py, "_clock_resolution"))?.extract()?;
    while let Some((_, when)) = scheduled::first(timers)? {
        if when >= now + resolution {
            break;
        }
        let handle = scheduled::pop(timers)?;
        slf.get().mailbox().push(py, Ready::Handle(handle.unbind()));
    }
    Ok(())
}

/// Waits for something to do, for `timeout` seconds at most (none: any time). With a timeout of zero it lets other
/// greenlets run, and polls the hub's descriptors: in each turn if some are the loop's, and now and then otherwise.
///
/// # Errors
/// Returns an exception that is thrown into the greenlet meanwhile; `BlockingSwitchOutError` in the hub.
pub fn poll(slf: &Bound<'_, AsyncioLoop>, timeout: Option<f64>) -> PyResult<()> {
    let py = slf.py();
    let this = slf.get();
    let hub_loop = hub::current_loop(py)?;
    selector::watch(py, this, &hub_loop)?;
    if timeout.is_none_or(|seconds| seconds > 0.0) {
        // A poll without waiting spares a busy loop the parking.
        let polls = can_poll(py, hub_loop.get());
        if polls {
            this.ran.store(0, Relaxed);
            hub_loop.get().glance(py);
        }
        if !(polls && this.mailbox().has_mail(py)) {
            return wait(slf, hub_loop, timeout, polls);
        }
    } else if polls_now(py, this) && !hub_loop.get().owes_phases() {
        hub_loop.get().glance(py);
    }
    if hub_loop.get().yields_before_poll(py) {
        return Ok(());
    }
    park::yield_now(py)
}

/// Returns true if the loop's greenlet may poll by itself before it waits: nothing else is ready, and the hub neither has to
/// go on with a task nor to make the poll.
fn can_poll(py: Python<'_>, hub_loop: &Loop) -> bool {
    !(hub_loop.owes_turn() || hub_loop.must_poll_in_hub() || hub_loop.has_ready(py))
}

/// Returns true if a turn that does not wait is to poll, and counts anew then.
fn polls_now(py: Python<'_>, this: &AsyncioLoop) -> bool {
    // Programs count on it that each turn finds what has come by then, such as a message that the turn before sent.
    let is_due = this.has_descriptors(py) || {
        let (before, tick) = (this.polled.load(Relaxed), coarse_time());
        this.polled.store(tick, Relaxed);
        before != tick || this.ran.load(Relaxed) >= BATCH
    };
    if is_due {
        this.ran.store(0, Relaxed);
    }
    is_due
}

/// Returns the time in ticks of a clock that is cheap to read and coarse: a busy loop polls at least once per tick.
fn coarse_time() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000) + now.tv_nsec as u64
}

/// Parks the loop's greenlet; `polled` is true if a poll has just found nothing.
fn wait(
    slf: &Bound<'_, AsyncioLoop>,
    hub_loop: Py<Loop>,
    timeout: Option<f64>,
    polled: bool,
) -> PyResult<()> {
    let py = slf.py();
    let this = slf.get();
    py.check_signals()?;
    this.ran.store(0, Relaxed);
    // The wait must not keep the hub's loop running by itself, as one that any thread may end does outside of the main
    // thread: `uncounted` decides that below.
    let running = greenlet::current(py)?.unbind();
    let reason = Reason::on(WaitKind::Other, slf);
    let wait = Wait::of_for(running, hub_loop.clone_ref(py), reason);
    if let Some(seconds) = timeout {
        wait.expire_after(py, Duration::from_secs_f64(seconds.min(LONGEST)), false);
    }
    this.mailbox().park(py, Some(Arc::clone(&wait)));
    if this.mailbox().has_mail(py) {
        this.mailbox().wake(py);
    }
    drop(this.parked_in.replace(py, Some(hub_loop.clone_ref(py))));
    if !this.uncounted.load(Relaxed) {
        hub_loop.get().count_ref(1);
    }
    let woken = match polled {
        true => park::park_after_poll(py, &wait),
        false => park::park(py, &wait),
    };
    if !this.uncounted.load(Relaxed) {
        hub_loop.get().count_ref(-1);
    }
    drop(this.parked_in.take(py));
    this.mailbox().park(py, None);
    woken.map(drop)
}
