//! Descriptors that a loop has registered with the kernel: sockets of this package, and those that watchers watch.

use pyo3::prelude::*;
use reactor::{EventFlags, SourceKey};

use crate::errors::os_error;
use crate::event_loop::kernel::Kernel;
use crate::event_loop::loop_::{Loop, Watched};
use crate::waiting::wait::WaitRef;

/// Ended watches that may linger until the next poll.
const LINGERING: usize = 16;

impl Loop {
    /// Registers an edge-triggered socket.
    ///
    /// # Errors
    /// `OSError` from `epoll_ctl(2)`, `ValueError` on a destroyed loop.
    pub fn register_source(&self, py: Python<'_>, fd: std::os::fd::RawFd) -> PyResult<SourceKey> {
        let kernel = self.kernel(py)?;
        self.sources
            .with(py, |sources| sources.register(&kernel.main, fd))
            .map_err(|error| os_error(&error))
    }

    /// Forgets a socket, and returns its waiters.
    pub fn deregister_source(&self, py: Python<'_>, key: SourceKey) -> [Option<WaitRef>; 2] {
        let Ok(kernel) = self.kernel(py) else {
            return [None, None];
        };
        self.sources
            .with(py, |sources| sources.deregister(&kernel.main, key))
            .map(|parked| self.forget_parked(parked))
    }

    /// Watches a descriptor, level-triggered, until [`unwatch`](Self::unwatch).
    ///
    /// # Errors
    /// `OSError` from `epoll_ctl(2)`, `ValueError` on a destroyed loop.
    pub fn watch(
        &self,
        py: Python<'_>,
        fd: i32,
        interest: reactor::Interest,
        what: Watched,
    ) -> PyResult<usize> {
        let kernel = self.kernel(py)?;
        let key = self.watched.with(py, |watched| watched.insert(what));
        let added = self
            .watches
            .with(py, |watches| watches.add(&kernel.level, fd, interest, key));
        if let Err(error) = added {
            drop(self.watched.with(py, |watched| watched.try_remove(key)));
            return Err(os_error(&error));
        }
        Ok(key)
    }

    /// Ends a watch; the kernel is notified only at the next poll, as most watches are begun anew before that.
    pub fn unwatch_soon(&self, py: Python<'_>, fd: i32, key: usize) {
        let taken = self.watched.with(py, |watched| {
            watched
                .get_mut(key)
                .map(|entry| std::mem::replace(entry, Watched::Nobody))
        });
        let lingering = self.lingering.with(py, |lingering| {
            lingering.push((fd, key));
            lingering.len()
        });
        if lingering >= LINGERING {
            self.end_lingering(py);
        }
        drop(taken);
    }

    /// Ends the watches that linger.
    pub(crate) fn end_lingering(&self, py: Python<'_>) {
        while let Some((fd, key)) = self.lingering.with(py, Vec::pop) {
            self.unwatch(py, fd, key);
        }
    }

    /// Ends a watch.
    pub fn unwatch(&self, py: Python<'_>, fd: i32, key: usize) {
        if let Ok(kernel) = self.kernel(py) {
            // A descriptor that was closed by other means than gevent's functions is gone from the set already.
            let _ = self
                .watches
                .with(py, |watches| watches.remove(&kernel.level, fd, key));
        }
        let taken = self.watched.with(py, |watched| watched.try_remove(key));
        drop(taken);
    }

    /// Wakes the waiters of a descriptor that is about to be closed, as if it were ready. Returns true if there are
    /// any.
    pub fn closing(&self, py: Python<'_>, fd: i32) -> bool {
        self.end_lingering(py);
        let watches: Vec<_> = self
            .watches
            .with(py, |watches| watches.ready(fd, EventFlags::HUP).collect());
        let before = self.queue.with(py, |queue| queue.len());
        let waiting = self.sources.with(py, |sources| sources.closing(fd));
        self.wake_parked(py, waiting);
        for (key, interest) in watches {
            self.watched_ready(py, key, u32::from(interest.bits()));
        }
        self.queue.with(py, |queue| queue.len()) > before
    }

    /// Registers everything in new sets. A descriptor that cannot be registered was closed by other means than gevent's
    /// functions. Its waiters would wait for ever, so they are woken, and get the error of their system call.
    pub(crate) fn rearm(&self, py: Python<'_>, kernel: &Kernel) {
        let parked: Vec<_> = self.sources.with(py, |sources| {
            let lost = sources.rearm_all(&kernel.main);
            lost.iter()
                .map(|(key, _)| sources.take_waiters(*key))
                .collect()
        });
        for parked in parked {
            self.wake_parked(py, parked);
        }
        let watches: Vec<_> = self.watches.with(py, |watches| {
            let lost = watches.rearm_all(&kernel.level);
            lost.iter()
                .flat_map(|(fd, _)| watches.ready(*fd, EventFlags::HUP).collect::<Vec<_>>())
                .collect()
        });
        for (key, interest) in watches {
            self.watched_ready(py, key, u32::from(interest.bits()));
        }
    }

    /// Returns true if a socket or a watch has this number.
    pub(crate) fn watches_descriptor(&self, py: Python<'_>, fd: std::os::fd::RawFd) -> bool {
        self.sources.with(py, |sources| sources.has_descriptor(fd))
            || self.watches.with(py, |watches| watches.has_descriptor(fd))
    }
}
