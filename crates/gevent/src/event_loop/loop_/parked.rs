//! The waiters of an edge-triggered source: greenlets, and objects that are notified in place of one.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use pyo3::prelude::*;
use reactor::{Direction, Readiness, SourceKey};

use crate::event_loop::loop_::Loop;
use crate::waiting::wait::WaitRef;

/// An object that is notified when a source is worth trying, and does the work later: a loop of asyncio has one for
/// each transport.
pub trait Listener: Send + Sync {
    /// Notes that an operation in this direction is worth trying. Must not call Python: it runs in the middle of a poll.
    fn ready(&self, py: Python<'_>, direction: Direction);

    /// Returns true if the watch of a descriptor is to go on after the notification that is due.
    fn goes_on(&self) -> bool {
        false
    }
}

/// The waiter of one direction of a source.
pub enum Parked {
    /// A greenlet. It keeps the hub running.
    Greenlet(WaitRef),
    /// A listener. It does not keep the hub running by itself.
    Listener(Arc<dyn Listener>),
}

impl Parked {
    /// Returns the greenlet's wait, if the waiter is a greenlet.
    pub fn into_wait(self) -> Option<WaitRef> {
        match self {
            Self::Greenlet(wait) => Some(wait),
            Self::Listener(_) => None,
        }
    }
}

/// The verbs of operations on sockets. Each of them has opened its socket's cell, and so noted that the thread is inside this
/// crate.
impl Loop {
    /// Returns true if an operation on the source may succeed: no attempt has met `EAGAIN` since it became ready.
    #[inline]
    pub fn is_worth_trying(&self, py: Python<'_>, key: SourceKey, direction: Direction) -> bool {
        self.sources
            .with_entered(py, |sources| sources.is_ready(key, direction))
    }

    /// Notes that an operation on the source met `EAGAIN`.
    #[inline]
    pub fn blocked(&self, py: Python<'_>, key: SourceKey, direction: Direction) {
        self.sources
            .with_entered(py, |sources| sources.clear(key, direction));
    }

    /// Notes that a read of a stream took all the bytes that were there.
    #[inline]
    pub fn drained(&self, py: Python<'_>, key: SourceKey) {
        self.sources.with_entered(py, |sources| {
            // A read of a TCP socket ends before urgent data, though more is there.
            if !sources.readiness(key).intersects(Readiness::URGENT) {
                sources.clear(key, Direction::Read);
            }
        });
    }

    /// Notes that the source can be read, before the kernel reports it, and has its reader woken with the descriptors of the
    /// next turn, as the timers of that turn come first.
    #[inline]
    pub fn filled(&self, py: Python<'_>, key: SourceKey) {
        let reader = self
            .sources
            .with_entered(py, |sources| sources.note_readable(key));
        match reader {
            Some(Parked::Greenlet(reader)) => self.note_readable(py, reader),
            Some(listener) => self.wake_parked(py, [Some(listener), None]),
            None => {}
        }
    }

    /// Has `wait` woken when an operation on the source, which met `EAGAIN`, is worth trying again.
    ///
    /// # Errors
    /// The greenlet that waits in this direction already; none where that is a listener.
    pub fn park_at(
        &self,
        py: Python<'_>,
        key: SourceKey,
        direction: Direction,
        wait: &WaitRef,
    ) -> Result<(), Option<Py<PyAny>>> {
        let refused = self.sources.with_entered(py, |sources| {
            let parked = Parked::Greenlet(wait.clone());
            let refused = sources.park(key, direction, parked).err()?;
            let other = sources.take_waiter(key, direction);
            let greenlet = match &other {
                Some(Parked::Greenlet(other)) => Some(other.greenlet().clone_ref(py)),
                _ => None,
            };
            let _ = other.map(|other| sources.set_waiter(key, direction, other));
            Some((refused, greenlet))
        });
        match refused {
            None => Ok(()),
            Some((_, greenlet)) => Err(greenlet),
        }
    }

    /// Takes back what [`park_at`](Self::park_at) registered, if it is still there.
    pub fn leave_source(
        &self,
        py: Python<'_>,
        key: SourceKey,
        direction: Direction,
        wait: &WaitRef,
    ) {
        let mine = self.sources.with_entered(py, |sources| {
            let waiting = sources.take_waiter(key, direction)?;
            if matches!(&waiting, Parked::Greenlet(waiting) if Arc::ptr_eq(waiting, wait)) {
                return Some(waiting);
            }
            // Another greenlet has registered meanwhile.
            sources.set_waiter(key, direction, waiting).err()
        });
        drop(mine);
    }

    /// Takes out the greenlet that waits in this direction, for the caller to wake.
    pub fn take_parked(
        &self,
        py: Python<'_>,
        key: SourceKey,
        direction: Direction,
    ) -> Option<WaitRef> {
        self.sources
            .with(py, |sources| sources.take_waiter(key, direction))?
            .into_wait()
    }

    /// Has the kernel report the readiness of the source anew.
    pub fn ask_again(&self, py: Python<'_>, key: SourceKey) {
        if let Ok(kernel) = self.kernel(py) {
            // A failure needs no report: a descriptor that was closed elsewhere gives the proper error at the next
            // system call.
            let _ = self
                .sources
                .with(py, |sources| sources.rearm(&kernel.main, key));
        }
    }

    /// Has `listener` notified once when an operation in this direction, which met `EAGAIN`, is worth trying again.
    /// Does nothing when a waiter is registered for the direction already.
    pub fn listen(
        &self,
        py: Python<'_>,
        key: SourceKey,
        direction: Direction,
        listener: Arc<dyn Listener>,
    ) {
        let parked = Parked::Listener(listener);
        let refused = self.sources.with(py, |sources| {
            sources.set_waiter(key, direction, parked).err()
        });
        if refused.is_none() {
            self.listeners
                .store(self.listeners.load(Relaxed) + 1, Relaxed);
        }
        drop(refused);
    }

    /// Takes a listener back, if it has not been notified.
    pub fn unlisten(&self, py: Python<'_>, key: SourceKey, direction: Direction) {
        let taken = self
            .sources
            .with(py, |sources| sources.take_waiter(key, direction));
        self.forget_parked(taken);
    }

    /// Counts one listener less if `parked` is one; returns the wait if it is a greenlet's.
    pub(crate) fn forget_parked(&self, parked: Option<Parked>) -> Option<WaitRef> {
        let parked = parked?;
        if matches!(parked, Parked::Listener(_)) {
            self.listeners
                .store(self.listeners.load(Relaxed) - 1, Relaxed);
        }
        parked.into_wait()
    }

    /// Wakes or notifies the waiters that were taken out of a source, in the order of [`Direction::BOTH`].
    pub(crate) fn wake_parked(&self, py: Python<'_>, parked: [Option<Parked>; 2]) {
        for (direction, parked) in Direction::BOTH.into_iter().zip(parked) {
            match parked {
                Some(Parked::Greenlet(wait)) => {
                    wait.wake_none(py);
                }
                Some(Parked::Listener(listener)) => {
                    self.listeners
                        .store(self.listeners.load(Relaxed) - 1, Relaxed);
                    listener.ready(py, direction);
                }
                None => {}
            }
        }
    }
}
