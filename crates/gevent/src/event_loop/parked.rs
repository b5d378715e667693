//! The waiters of an edge-triggered source: greenlets, and objects that are notified in place of one.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use pyo3::prelude::*;
use reactor::{Direction, SourceKey};

use crate::event_loop::loop_::Loop;
use crate::waiting::wait::WaitRef;

/// An object that is notified when a source is worth trying, and does the work later: a loop of asyncio has one for
/// each transport.
pub trait Listener: Send + Sync {
    /// Notes that an operation in this direction is worth trying. Must not call Python: it runs in the middle of a poll.
    fn ready(&self, py: Python<'_>, direction: Direction);
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

impl Loop {
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
