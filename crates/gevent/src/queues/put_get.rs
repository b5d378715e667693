//! Puts items into a queue, gets them out of it, and lets putters and getters wait for each other.
//!
//! A greenlet that is woken takes its item, or its free slot, when it runs, not when it is woken; the crate `wait`
//! explains why. So a timeout or a kill that ends its wait before that neither takes an item nor leaves one behind.

use std::ffi::CStr;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use wait::Ticket;

use crate::args;
use crate::errors::{Empty, Full, ShutDown};
use crate::ffi::blocking::{Blocking, FastPath, First, Step};
use crate::ffi::greenlet;
use crate::hub;
use crate::queues::items;
use crate::queues::queue::{Got, Put, SimpleQueue, State};
use crate::waiting::deadline::Deadline;
use crate::waiting::reason::{Reason, WaitKind};
use crate::waiting::timeout::Timeout;
use crate::waiting::waiters::{Waiting, join, next, ticket, wake, wake_all};

/// Returns true if the current greenlet is the hub, which must not wait.
///
/// # Errors
/// Fails when the hub cannot be made.
pub fn in_hub(py: Python<'_>) -> PyResult<bool> {
    Ok(greenlet::current(py)?.is(hub::current(py)?))
}

fn check_not_negative(timeout: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    match timeout {
        Some(timeout)
            if !timeout.is_none() && !timeout.is_instance_of::<Timeout>() && timeout.lt(0)? =>
        {
            Err(PyValueError::new_err(
                "'timeout' must be a non-negative number",
            ))
        }
        _ => Ok(()),
    }
}

/// The implementation of `get` of a queue.
pub struct Get;

impl Blocking for Get {
    type Owner = SimpleQueue;
    const NAME: &'static CStr = c"get";
    const DOC: &'static CStr = c"get($self, block=True, timeout=None)\n--\n\n\
Take the next item out of the queue and return it.\n\n\
When there is none, wait for one, `timeout` seconds at most (None: for ever), then raise `Empty`; with `block`\n\
false, and in the hub, raise it at once. A `Timeout` given as `timeout` is raised itself. Raises `ShutDown` when\n\
there is none and the queue is shut, and `ValueError` for a negative `timeout` if there is none.";
    const PARAMETERS: &'static [&'static str] = &["block", "timeout"];

    fn fast_path(slf: &Bound<'_, SimpleQueue>, arguments: &[Borrowed<'_, '_, PyAny>]) -> FastPath {
        let this = slf.get();
        if !arguments.is_empty() || this.is_hooked() {
            return FastPath::Incomplete(0);
        }
        this.state
            .with(slf.py(), State::get_unawaited)
            .map_or(FastPath::Incomplete(0), FastPath::Done)
    }

    fn begin(
        slf: &Bound<'_, SimpleQueue>,
        arguments: &[Option<Bound<'_, PyAny>>],
    ) -> PyResult<First> {
        let block = args::flag(arguments[0].as_ref())?;
        SimpleQueue::get(slf, block, arguments[1].as_ref(), false).map(Into::into)
    }
}

impl SimpleQueue {
    /// Wakes getters for items that no notified getter claims, and putters for free slots that no notified putter claims.
    ///
    /// The size counts as enough if a subclass's `qsize` fails: a waiter that is woken checks again for itself.
    pub fn settle(slf: &Bound<'_, Self>) {
        let py = slf.py();
        let state = &slf.get().state;
        while state.with(py, |state| !state.getters.is_empty()) {
            let size = Self::size(slf).unwrap_or(isize::MAX);
            let next = state.with(py, |state| {
                let wanted = size.saturating_add(state.offers(py));
                state.getter_for(py, wanted)
            });
            let Some(next) = next else {
                break;
            };
            next.wake_none(py);
        }
        while state.with(py, |state| !state.putters.is_empty()) {
            let size = Self::size(slf).unwrap_or(0);
            let Some(next) = state.with(py, |state| state.putter_for(py, size)) else {
                break;
            };
            next.wake_none(py);
        }
        if slf.get().is_hooked() {
            Self::notify_conditions(slf);
        }
    }

    /// Puts an item; waits for a free slot if there is none and it may wait.
    ///
    /// # Errors
    /// Returns `Full`, `ShutDown`, `ValueError` for a negative timeout, the `Timeout` that was given as one, or the
    /// error that a subclass raises.
    pub fn put(
        slf: &Bound<'_, Self>,
        item: Bound<'_, PyAny>,
        block: bool,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let mut item = item.unbind();
        if !this.is_hooked() && timeout.is_none() {
            match Self::try_put(slf, item)? {
                None => return Ok(()),
                Some(given) => item = given,
            }
        }
        let item = item.into_bound(py);
        if this.state.with(py, |state| state.shut) {
            return Err(ShutDown::new_err(()));
        }
        if !Self::is_full(slf)? {
            if block {
                check_not_negative(timeout)?;
            }
        } else if in_hub(py)? || (!block && this.state.with(py, |state| state.is_channel())) {
            if Self::size(slf)? >= Self::room_without_waiting(slf) {
                return Err(Full::new_err(()));
            }
        } else if !block {
            return Err(Full::new_err(()));
        } else {
            let put = Self::put_waiting(slf, item, Deadline::of(timeout)?);
            Self::settle(slf);
            return put;
        }
        let put = Self::put_now(slf, item);
        Self::settle(slf);
        put
    }

    /// Puts an item without a wait and without a subclass's methods; gives the item back if there is no free slot.
    #[inline]
    fn try_put(slf: &Bound<'_, Self>, item: Py<PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let py = slf.py();
        let this = slf.get();
        let (items, max, item) = match this.state.with(py, |state| state.put_native(py, item)) {
            Put::Done(getter) => {
                wake(py, getter);
                return Ok(None);
            }
            Put::Into(items, max, item) => (items, max, item),
            Put::Refused(item) => return Ok(Some(item)),
        };
        let items = items.bind(py);
        if let Some(max) = max
            && items.len()? as isize >= max
        {
            return Ok(Some(item));
        }
        items::push(this.kind, items, item.into_bound(py), || this.changes(py))?;
        let awaited = this.state.with(py, |state| {
            state.changes += 1;
            state.unfinished += 1;
            !state.getters.is_empty()
        });
        if awaited {
            Self::settle(slf);
        }
        Ok(None)
    }

    /// Gets an item without a wait and without a subclass's methods; returns `None` if there is none.
    #[inline]
    fn try_get(slf: &Bound<'_, Self>) -> PyResult<Option<Py<PyAny>>> {
        let py = slf.py();
        let this = slf.get();
        let items = match this.state.with(py, |state| state.get_native(py)) {
            Got::Done(item, putter) => {
                wake(py, putter);
                return Ok(Some(item));
            }
            Got::From(items) => items,
            Got::Nothing => return Ok(None),
        };
        let items = items.bind(py);
        if items.len()? == 0 {
            return Ok(None);
        }
        let item = items::pop(this.kind, items, || this.changes(py))?;
        let awaited = this.state.with(py, |state| {
            state.changes += 1;
            !state.putters.is_empty()
        });
        if awaited {
            Self::settle(slf);
        }
        Ok(Some(item.unbind()))
    }

    /// Returns the number of items that may be in the queue before a `put` in the hub fails. Items that notified getters are
    /// about to take do not count. A channel has room for each getter that no putter waits for.
    fn room_without_waiting(slf: &Bound<'_, Self>) -> isize {
        let py = slf.py();
        slf.get().state.with(py, |state| {
            if state.is_channel() {
                let getters = state.getters.iter(py).filter(|getter| !getter.with);
                return getters.count() as isize - state.offers(py);
            }
            let taking = state
                .getters
                .iter_notified()
                .filter(|getter| !getter.with && !getter.wait.is_gone(py))
                .count();
            state
                .maxsize
                .unwrap_or(isize::MAX)
                .saturating_add(taking as isize)
        })
    }

    fn put_waiting(
        slf: &Bound<'_, Self>,
        item: Bound<'_, PyAny>,
        mut deadline: Deadline,
    ) -> PyResult<()> {
        let put = Self::put_in_turn(slf, item, &mut deadline);
        deadline.close(slf.py());
        put
    }

    fn put_in_turn(
        slf: &Bound<'_, Self>,
        item: Bound<'_, PyAny>,
        deadline: &mut Deadline,
    ) -> PyResult<()> {
        let py = slf.py();
        let state = &slf.get().state;
        let mut wait = hub::new_wait_for(py, Reason::on(WaitKind::Put, slf))?;
        let with = item.clone().unbind();
        let ticket = state.with(py, |state| {
            join(&mut state.putters, py, Waiting::new(&wait, with))
        });
        if state.with(py, |state| state.is_channel()) {
            Self::settle(slf);
        }
        loop {
            let woken = deadline.park_in_turn(py, &wait);
            let left = state.with(py, |state| state.putters.leave(ticket));
            let served = left.is_none();
            drop(left);
            let passed = woken?.is_none();
            if served {
                return Ok(());
            }
            if passed {
                return Err(deadline.error_or(py, Full::new_err(())));
            }
            if state.with(py, |state| state.shut) {
                return Err(ShutDown::new_err(()));
            }
            if !Self::is_full(slf)? {
                return Self::put_now(slf, item);
            }
            wait = hub::new_wait_for(py, Reason::on(WaitKind::Put, slf))?;
            let with = item.clone().unbind();
            state.with(py, |state| {
                state.putters.join(ticket, Waiting::new(&wait, with))
            });
        }
    }

    /// Gets the next item, or with `peek` leaves it in the queue; waits for one if there is none and it may wait.
    ///
    /// # Errors
    /// Returns `Empty`, `ShutDown`, `ValueError` for a negative timeout, the `Timeout` that was given as one, or the
    /// error that a subclass raises.
    pub fn get(
        slf: &Bound<'_, Self>,
        block: bool,
        timeout: Option<&Bound<'_, PyAny>>,
        peek: bool,
    ) -> PyResult<Step> {
        let py = slf.py();
        let this = slf.get();
        if !this.is_hooked()
            && !peek
            && let Some(item) = Self::try_get(slf)?
        {
            return Ok(Step::Done(item));
        }
        let got = if Self::size(slf)? > 0 {
            Self::get_now(slf, peek)
        } else if this.state.with(py, |state| state.shut) {
            Err(ShutDown::new_err(()))
        } else if let Some(item) = this.take_offer(py, peek) {
            Ok(item)
        } else if in_hub(py)? {
            Self::take_from_putters(slf)?;
            if Self::size(slf)? > 0 {
                Self::get_now(slf, peek)
            } else {
                Err(Empty::new_err(()))
            }
        } else if block {
            check_not_negative(timeout)?;
            let deadline = Deadline::of(timeout)?;
            return Self::wait_to_get(slf, deadline, peek, None);
        } else {
            return Err(Empty::new_err(()));
        };
        Self::settle(slf);
        got.map(Step::Done)
    }

    /// In a channel, takes the item of the first putter and wakes that; with `peek`, returns the item and does neither.
    fn take_offer(&self, py: Python<'_>, peek: bool) -> Option<Py<PyAny>> {
        let (item, putter) = self.state.with(py, |state| {
            if !state.is_channel() {
                return None;
            }
            if peek {
                let first = state.putters.iter(py).next()?;
                return Some((first.with.clone_ref(py), None));
            }
            let first = state.putters.take(py)?;
            state.unfinished += 1;
            Some((first.with, Some(first.wait)))
        })?;
        wake(py, putter);
        Some(item)
    }

    /// While there is room, puts the items of waiting putters and wakes those. The hub does this when it gets an item,
    /// as it cannot wait for them to run.
    fn take_from_putters(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        while !Self::is_full(slf)? {
            let Some(first) = slf.get().state.with(py, |state| state.putters.take(py)) else {
                return Ok(());
            };
            let put = Self::put_now(slf, first.with.into_bound(py));
            match put {
                Ok(()) => first.wait.wake_none(py),
                Err(error) => first.wait.wake(py, Err(error)),
            };
        }
        Ok(())
    }

    /// Waits for an item, at the position of `ticket` in the wait queue if it had one before.
    fn wait_to_get(
        slf: &Bound<'_, Self>,
        mut deadline: Deadline,
        peek: bool,
        place: Option<Ticket>,
    ) -> PyResult<Step> {
        let py = slf.py();
        let kind = if peek { WaitKind::Peek } else { WaitKind::Get };
        let wait = hub::new_wait_for(py, Reason::on(kind, slf))?;
        deadline.begin(py, &wait)?;
        let ticket = place.unwrap_or_else(|| ticket(py));
        let getter = Waiting::new(&wait, peek);
        slf.get()
            .state
            .with(py, |state| state.getters.join(ticket, getter));
        let queue = slf.clone().unbind();
        wait.set_then(
            py,
            Box::new(move |py, wait, woken| {
                let slf = queue.bind(py);
                let left = slf
                    .get()
                    .state
                    .with(py, |state| state.getters.leave(ticket));
                drop(left);
                let next = match deadline.end_turn(py, wait, woken) {
                    Ok(Some(_)) => return Self::get_or_wait_on(slf, deadline, peek, ticket),
                    Ok(None) => Err(deadline.error_or(py, Empty::new_err(()))),
                    Err(error) => Err(error),
                };
                deadline.close(py);
                Self::settle(slf);
                next
            }),
        );
        Ok(Step::Park(wait))
    }

    /// Gets an item for a getter that was woken, or waits again if there is none.
    fn get_or_wait_on(
        slf: &Bound<'_, Self>,
        deadline: Deadline,
        peek: bool,
        ticket: Ticket,
    ) -> PyResult<Step> {
        let got = match Self::get_woken(slf, peek) {
            Ok(None) => match Self::wait_to_get(slf, deadline, peek, Some(ticket)) {
                Ok(step) => return Ok(step),
                Err(error) => Err(error),
            },
            got => {
                deadline.close(slf.py());
                got
            }
        };
        Self::settle(slf);
        let item = got?;
        Ok(Step::Done(item.unwrap_or_else(|| slf.py().None())))
    }

    /// Returns the item that a getter was woken for, if it is still there.
    fn get_woken(slf: &Bound<'_, Self>, peek: bool) -> PyResult<Option<Py<PyAny>>> {
        if Self::size(slf)? > 0 {
            return Self::get_now(slf, peek).map(Some);
        }
        let py = slf.py();
        if let Some(item) = slf.get().take_offer(py, peek) {
            return Ok(Some(item));
        }
        if slf.get().state.with(py, |state| state.shut) {
            return Err(ShutDown::new_err(()));
        }
        Ok(None)
    }

    /// Shuts the queue: wakes all waiters, and drops the items if `immediate`.
    ///
    /// # Errors
    /// Returns the error that a subclass raises.
    pub fn shut(slf: &Bound<'_, Self>, immediate: bool) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        this.state.with(py, |state| state.shut = true);
        let drained = if immediate { Self::drain(slf) } else { Ok(()) };
        while let Some(next) = this.state.with(py, |state| next(&mut state.getters, py)) {
            next.wake_none(py);
        }
        while let Some(next) = this.state.with(py, |state| next(&mut state.putters, py)) {
            next.wake_none(py);
        }
        drained
    }

    fn drain(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        while Self::size(slf)? > 0 {
            drop(Self::get_now(slf, false)?);
            if slf.get().state.with(py, |state| state.unfinished > 0) {
                Self::task_done(slf)?;
            }
        }
        Ok(())
    }

    /// Counts one item as dealt with, and wakes the joiners after the last.
    ///
    /// # Errors
    /// Returns `ValueError` when no item was left to deal with.
    pub fn task_done(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let left = slf.get().state.with(py, |state| state.unfinished - 1);
        if left < 0 {
            return Err(PyValueError::new_err("task_done() called too many times"));
        }
        Self::set_unfinished(slf, left);
        Ok(())
    }

    /// Sets how many items are not dealt with; with none left, the joiners go on.
    pub fn set_unfinished(slf: &Bound<'_, Self>, count: isize) {
        let py = slf.py();
        let joiners = slf.get().state.with(py, |state| {
            state.unfinished = count;
            let due = count == 0 && !state.joiners.is_empty();
            due.then(|| state.joiners.take_all())
        });
        if let Some(joiners) = joiners {
            wake_all(py, joiners);
        }
        if slf.get().is_hooked() {
            Self::notify_conditions(slf);
        }
    }

    /// Waits until every item was dealt with; returns false when the deadline passed.
    ///
    /// # Errors
    /// Returns the error that is thrown into the greenlet meanwhile.
    pub fn join(slf: &Bound<'_, Self>, mut deadline: Deadline) -> PyResult<bool> {
        let py = slf.py();
        let state = &slf.get().state;
        if state.with(py, |state| state.unfinished == 0) {
            return Ok(true);
        }
        let wait = hub::new_wait_for(py, Reason::on(WaitKind::Join, slf))?;
        let ticket = state.with(py, |state| join(&mut state.joiners, py, wait.clone()));
        let woken = deadline.park(py, &wait);
        let left = state.with(py, |state| state.joiners.leave(ticket));
        drop(left);
        woken.map(|woken| woken.is_some())
    }
}
