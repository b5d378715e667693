//! Polling: turns what happened to descriptors, to deadlines and in other threads into tasks.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use pyo3::prelude::*;
use reactor::{Direction, EventBuffer, Time};

use crate::errors::os_error;
use crate::event_loop::descriptors::Reports;
use crate::event_loop::kernel::{Inbox, Kernel, LEVEL_TOKEN, WAKER_TOKEN};
use crate::event_loop::loop_::parked::Listener;
use crate::event_loop::loop_::{Due, Loop, Watched};
use crate::event_loop::ready::{Task, clock};
use crate::event_loop::unusual::Unusual;
use crate::waiting::timeout::Timeout;
use crate::waiting::wait::WaitRef;
use crate::watcher::Watcher;

/// The time within which the main thread notices a signal that did not interrupt its wait.
const SIGNALS_WITHIN: Duration = Duration::from_millis(300);

impl Loop {
    /// Polls without waiting.
    #[inline(never)]
    pub fn glance(&self, py: Python<'_>) {
        if self.poll(py, false).is_err() {
            // The next poll that waits reports the error. Until then the ready tasks run: were the poll still due, it
            // would be repeated for ever.
            self.queue.with(py, |queue| queue.polled(clock()));
        }
    }

    /// Polls without waiting; returns true if something is ready then.
    pub fn find_ready(&self, py: Python<'_>) -> bool {
        if self.mail_is_near.load(Relaxed) {
            return self.await_near_mail(py);
        }
        self.glance(py);
        self.has_ready(py)
    }

    /// Spins for the answer of another thread, which will probably come within microseconds; returns true if it came.
    /// It spins on the stack of the greenlet that parks, because an answer that comes so soon would take twice as long
    /// by way of the hub. The poll that is left out here is made up for by the next one, which a busy queue demands
    /// after a number of tasks anyway.
    #[cold]
    #[inline(never)]
    fn await_near_mail(&self, py: Python<'_>) -> bool {
        self.mail_is_near.store(false, Relaxed);
        // A worker that has a job waits for this before it asks for the GIL.
        self.polling.store(true, Relaxed);
        let came = self
            .inbox(py)
            .is_some_and(|inbox| py.detach(|| inbox.look_out()));
        self.polling.store(false, Relaxed);
        if came {
            self.take_mail(py);
        }
        came && self.has_ready(py)
    }

    /// Polls descriptors, deadlines and the inbox, and turns what happened into tasks. With `wait`, it releases the GIL
    /// until something happens; an interrupting signal is noted in [`Unusual::SIGNALS`].
    ///
    /// # Errors
    /// `OSError` when the poll itself fails, `ValueError` on a destroyed loop.
    #[inline(never)]
    pub fn poll(&self, py: Python<'_>, wait: bool) -> PyResult<()> {
        self.end_lingering(py);
        let kernel = self.kernel(py)?;
        let mut buffers = match self.events.take(py) {
            Some(buffers) => buffers,
            None => Box::new([EventBuffer::new(), EventBuffer::new()]),
        };
        let timeout = if wait {
            self.longest_wait(py)
        } else {
            Some(Duration::ZERO)
        };
        let until_signals = wait && self.may_miss_signals(timeout);
        let timeout = if until_signals {
            Some(SIGNALS_WITHIN)
        } else {
            timeout
        };
        let polled = if timeout.is_some_and(|timeout| timeout.is_zero()) {
            kernel.main.wait(&mut buffers[0], timeout)
        } else {
            if self.unusual.any(Unusual::MEASURED) {
                self.runs.begin_wait(self.activity.load(Relaxed));
            }
            self.polling.store(true, Relaxed);
            let inbox = if self.mail_is_near.swap(false, Relaxed) {
                self.inbox(py)
            } else {
                None
            };
            let polled = py.detach(|| {
                let came = inbox.is_some_and(|inbox| inbox.look_out());
                kernel.main.wait(
                    &mut buffers[0],
                    if came { Some(Duration::ZERO) } else { timeout },
                )
            });
            self.polling.store(false, Relaxed);
            polled
        };
        self.iterations
            .store(self.iterations.load(Relaxed) + 1, Relaxed);
        let now = Time::now();
        self.now.store(now.as_nanos(), Relaxed);
        if self.unusual.any(Unusual::MEASURED) {
            self.runs.end_poll(now, self.activity.load(Relaxed));
        }
        self.queue.with(py, |queue| queue.polled(now.as_nanos()));
        // The order within a turn is a contract that programs rely on: timers that are due come first, then
        // descriptors, then timeouts. So a greenlet whose sleep ended closes a listener before a connection of the same
        // turn is accepted; and after a busy moment, data that came in time is received, though the timeout of the
        // waiting call is due by now as well.
        let timeouts = self.expire(py, now);
        self.wake_noted(py);
        let result = match polled {
            Ok(()) => {
                if until_signals && buffers[0].is_empty() {
                    self.unusual.put(Unusual::SIGNALS, true);
                }
                self.dispatch(py, &kernel, &mut buffers)
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
                crate::watcher::signal::deliver(py);
                self.unusual.put(Unusual::SIGNALS, true);
                Ok(())
            }
            // Code outside the loop closed these descriptors, and may have opened others under the same numbers.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EBADF | libc::EINVAL)) => {
                self.take_mail(py);
                self.replace_kernel(py).map(drop)
            }
            Err(error) => Err(os_error(&error)),
        };
        for timeout in timeouts {
            self.carry_out(py, timeout, now);
        }
        drop(self.events.replace(py, Some(buffers)));
        self.take_mail(py);
        self.repeat_always_ready(py);
        result
    }

    /// Returns true if a wait of this length could leave a signal unnoticed that arrived just before it or in another
    /// thread: only the main thread runs Python's handlers, and such a signal does not interrupt its wait.
    fn may_miss_signals(&self, timeout: Option<Duration>) -> bool {
        self.default.load(Relaxed) && timeout.is_none_or(|timeout| timeout > SIGNALS_WITHIN)
    }

    fn longest_wait(&self, py: Python<'_>) -> Option<Duration> {
        let always = self.watches.with(py, |watches| watches.has_always_ready());
        if always || self.has_mail(py) || self.unusual.any(Unusual::SIGNALS) || self.has_ready(py) {
            return Some(Duration::ZERO);
        }
        self.timers
            .with(py, |timers| timers.next_deadline())
            .map(|at| at.until(Time::now()))
    }

    fn dispatch(
        &self,
        py: Python<'_>,
        kernel: &Kernel,
        buffers: &mut [EventBuffer; 2],
    ) -> PyResult<()> {
        let [main, level] = buffers;
        // libev calls the watchers of the descriptors that became ready last first, and programs observe that order.
        for (token, flags) in main.iter().rev() {
            match token {
                WAKER_TOKEN => {
                    kernel.waker.drain();
                    if crate::watcher::signal::deliver(py) {
                        self.unusual.put(Unusual::SIGNALS, true);
                    }
                }
                LEVEL_TOKEN => {
                    kernel
                        .level
                        .wait(level, Some(Duration::ZERO))
                        .map_err(|error| os_error(&error))?;
                    let mut stale = false;
                    for (fd, flags) in level.iter().rev() {
                        let ready: Vec<_> = self
                            .watches
                            .with(py, |watches| watches.ready(fd as i32, flags).collect());
                        stale |= ready.is_empty();
                        for (key, interest) in ready {
                            self.watched_ready(py, key, u32::from(interest.bits()));
                        }
                    }
                    if stale {
                        // The descriptor was closed while a duplicate lives on: the kernel reports it for ever, and it
                        // cannot be removed from the set by its number. Only a new set gets rid of it.
                        let make = || {
                            Kernel::around(kernel.waker.clone()).map_err(|error| os_error(&error))
                        };
                        let is_watched = |fd| self.watches_descriptor(py, fd);
                        let renewed = Kernel::apart_from(is_watched, make)?;
                        self.rearm(py, &renewed);
                        drop(self.kernel.replace(py, Some(Arc::new(renewed))));
                    }
                }
                _ => {
                    let parked = self
                        .sources
                        .with(py, |sources| sources.on_event(token, flags));
                    self.wake_parked(py, parked);
                }
            }
        }
        Ok(())
    }

    /// Notifies the holder of the watch `key` that `events` are ready.
    pub(crate) fn watched_ready(&self, py: Python<'_>, key: usize, events: u32) {
        enum Found {
            Watcher(Py<Watcher>),
            Wait(WaitRef),
            Report(Arc<Reports>, i32),
            Call(Arc<dyn Fn(Python<'_>) + Send + Sync>),
            Listener(i32, Arc<dyn Listener>),
            Lasting(Arc<dyn Listener>),
        }
        let found = self.watched.with(py, |watched| {
            watched.get_mut(key).and_then(|entry| match entry {
                Watched::Watcher(watcher) => Some(Found::Watcher(watcher.clone_ref(py))),
                Watched::Wake(wait) => Some(Found::Wait(wait.clone())),
                Watched::Report(reports, fd) => Some(Found::Report(reports.clone(), *fd)),
                Watched::Call(call) => Some(Found::Call(call.clone())),
                Watched::Listener(_, listener) if listener.goes_on() => {
                    Some(Found::Lasting(Arc::clone(listener)))
                }
                Watched::Listener(..) => match std::mem::replace(entry, Watched::Nobody) {
                    Watched::Listener(fd, listener) => Some(Found::Listener(fd, listener)),
                    _ => None,
                },
                Watched::Nobody => None,
            })
        });
        match found {
            Some(Found::Watcher(watcher)) => Watcher::fire(&watcher, py, self, events),
            Some(Found::Wait(wait)) => {
                wait.wake_none(py);
            }
            Some(Found::Report(reports, fd)) => reports.add(py, fd, events),
            Some(Found::Call(call)) => {
                let task = move |py: Python<'_>| {
                    call(py);
                    Ok(())
                };
                self.push(py, Task::Native(Box::new(task)));
            }
            Some(Found::Listener(fd, listener)) => {
                self.unwatch_soon(py, fd, key);
                listener.ready(py, Direction::Read);
            }
            Some(Found::Lasting(listener)) => listener.ready(py, Direction::Read),
            None => {}
        }
    }

    fn repeat_always_ready(&self, py: Python<'_>) {
        if self.watches.with(py, |watches| watches.has_always_ready()) {
            let ready: Vec<_> = self
                .watches
                .with(py, |watches| watches.always_ready().collect());
            for (key, interest) in ready {
                self.watched_ready(py, key, u32::from(interest.bits()));
            }
        }
    }

    /// Returns true if other threads sent something that was not taken.
    #[inline]
    pub(super) fn has_mail(&self, py: Python<'_>) -> bool {
        let is_full = |inbox: &mut Option<Arc<Inbox>>| {
            let inbox = inbox.as_ref();
            inbox.is_some_and(|inbox| inbox.is_full())
        };
        self.inbox.with(py, is_full)
    }

    /// Moves what other threads sent into the queue.
    pub fn take_mail(&self, py: Python<'_>) {
        if !self.has_mail(py) {
            return;
        }
        let Some(inbox) = self.inbox(py) else { return };
        let mail = inbox.take();
        if !mail.is_empty() {
            self.queue.with(py, |queue| {
                mail.into_iter().for_each(|task| queue.push(task))
            });
        }
    }

    /// Carries out the deadlines that passed, except for timeouts, which it returns.
    #[must_use]
    pub(crate) fn expire(&self, py: Python<'_>, now: Time) -> Vec<Due> {
        let mut timeouts = Vec::new();
        while let Some((_, what)) = self.timers.with(py, |timers| timers.pop_expired(now)) {
            if what.is_timeout() {
                timeouts.push(what);
            } else {
                self.carry_out(py, what, now);
            }
        }
        timeouts
    }

    pub(crate) fn carry_out(&self, py: Python<'_>, what: Due, now: Time) {
        match what {
            Due::Wake(wait) => {
                self.count_ref(-1);
                wait.expire(py);
            }
            Due::Timeout(timeout) => Timeout::expire(timeout, py, self),
            Due::Task(task) => {
                self.count_ref(-1);
                self.queue.with(py, |queue| queue.push(*task));
            }
            Due::Watcher(watcher) => crate::watcher::timer::expired(watcher, py, self, now),
        }
    }
}
