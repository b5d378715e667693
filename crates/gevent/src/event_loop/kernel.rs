//! The kernel objects of a loop, and the mailbox by which other threads reach it.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use primitives::spin;
use pyo3::prelude::*;
use reactor::{Epoll, EventFlags, Waker};

use crate::errors::os_error;
use crate::event_loop::ready::Task;

/// The kernel objects of a loop; replaced as a whole in a forked child.
#[derive(Debug)]
pub struct Kernel {
    /// Edge-triggered sockets, the waker, and `level`.
    pub main: Epoll,
    /// Level-triggered descriptors of `loop.io`.
    pub level: Epoll,
    /// Interrupts a poll.
    pub waker: Arc<Waker>,
}

/// Tasks from other threads.
#[derive(Debug)]
pub struct Inbox {
    tasks: Mutex<Vec<Task>>,
    full: AtomicBool,
    /// True while the loop's thread polls the inbox: then it need not be woken.
    watched: AtomicBool,
    waker: Arc<Waker>,
}

impl Inbox {
    /// Makes an empty inbox, whose senders wake `waker`.
    pub fn new(waker: Arc<Waker>) -> Self {
        Self {
            tasks: Mutex::new(Vec::new()),
            full: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            waker,
        }
    }

    /// Returns true if a task came that was not taken.
    pub fn is_full(&self) -> bool {
        self.full.load(Relaxed)
    }

    /// Hands over a task and interrupts the poll; from any thread, with or without the GIL.
    pub fn send(&self, task: Task) {
        self.tasks
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(task);
        self.full.store(true, SeqCst);
        if !self.watched.load(SeqCst) {
            self.waker.wake();
        }
    }

    /// Spins briefly until a task comes; returns true if one came.
    pub fn look_out(&self) -> bool {
        self.watched.store(true, SeqCst);
        spin::until(spin::BRIEFLY, || self.full.load(Relaxed));
        self.watched.store(false, SeqCst);
        self.full.load(SeqCst)
    }

    /// Takes the tasks that came.
    pub fn take(&self) -> Vec<Task> {
        if !self.full.swap(false, Relaxed) {
            return Vec::new();
        }
        std::mem::take(
            &mut *self
                .tasks
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

/// The token of the waker in `main`.
pub const WAKER_TOKEN: u64 = 0;
/// The token of `level` in `main`.
pub const LEVEL_TOKEN: u64 = 1;

impl Kernel {
    /// Makes new sets and a new waker.
    ///
    /// # Errors
    /// `OSError` when the process may open no more descriptors.
    pub fn new() -> PyResult<Self> {
        Waker::new()
            .and_then(|waker| Self::around(Arc::new(waker)))
            .map_err(|error| os_error(&error))
    }

    /// Calls `make` until it gives kernel objects whose descriptor numbers no waiter watches.
    ///
    /// A descriptor that was closed behind the loop's back is still watched, and the kernel gives its number to the
    /// next descriptor that is opened. If that were one of the loop's own, it would be registered in place of the
    /// closed one, whose waiters would then wait for ever instead of getting `EBADF`.
    ///
    /// # Errors
    /// Returns the errors of `make`.
    pub fn apart_from(
        is_watched: impl Fn(RawFd) -> bool,
        make: impl Fn() -> PyResult<Self>,
    ) -> PyResult<Self> {
        // Each of these keeps its numbers from being given to the next one.
        let mut taken = Vec::new();
        loop {
            let new = make()?;
            if !new.descriptors().into_iter().any(&is_watched) {
                return Ok(new);
            }
            taken.push(new);
        }
    }

    fn descriptors(&self) -> [RawFd; 3] {
        [
            self.main.as_raw_fd(),
            self.level.as_raw_fd(),
            self.waker.as_raw_fd(),
        ]
    }

    /// Makes new sets for a waker.
    ///
    /// # Errors
    /// Fails when the process may open no more descriptors.
    pub fn around(waker: Arc<Waker>) -> std::io::Result<Self> {
        let kernel = Self {
            main: Epoll::new()?,
            level: Epoll::new()?,
            waker,
        };
        kernel
            .main
            .add(kernel.waker.as_raw_fd(), EventFlags::IN, WAKER_TOKEN)?;
        kernel
            .main
            .add(kernel.level.as_raw_fd(), EventFlags::IN, LEVEL_TOKEN)?;
        Ok(kernel)
    }
}
