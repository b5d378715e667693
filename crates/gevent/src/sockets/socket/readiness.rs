//! The waiting of a socket's operations: they try first, and park when the kernel says that they would block.
//!
//! Each attempt leaves behind whether the next one would block (`reactor::sources`). A socket that waits for
//! the first time is registered as a *source* of its loop, and stays registered. If the socket is a source of another
//! thread's loop already, or must not keep its loop running, a *watch* is made for the one wait instead.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use pyo3::exceptions::{PyBlockingIOError, PyTimeoutError};
use pyo3::prelude::*;
use reactor::{Direction, Interest, SourceKey};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::errors::{BlockingSwitchOutError, ConcurrentObjectUseError, errno_error};
use crate::event_loop::loop_::{Loop, Watched};
use crate::ffi::blocking::FastPath;
use crate::ffi::buffer::Room;
use crate::hub;
use crate::sockets::socket::{SocketBase, State};
use crate::waiting::deadline::Deadline;
use crate::waiting::park::park;
use crate::waiting::reason::Reason;
use crate::waiting::wait::{Outcome, Wait, WaitRef};

/// Reads of a Unix socket up to this size are seldom short, so that it does not pay to ask the kernel for the reason.
const SMALL: usize = 64;

/// A wait that is registered where it will be woken.
#[derive(Debug)]
pub struct Begun {
    /// The wait to park on.
    pub wait: WaitRef,
    /// The place where it is registered.
    pub slot: WaitSlot,
}

/// The place where a wait is registered.
#[derive(Debug)]
pub enum WaitSlot {
    /// The wait is the waiter of the socket's own source.
    Source(SourceKey),
    /// The wait has a watch of the descriptor: its number, the key of the watch, and true if it keeps the loop running.
    Watch(RawFd, Option<usize>, bool),
}

/// The conditions on which an attempt makes its system call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// The fast path makes the call unless the operation must not wait, or is known to have to.
    First,
    /// The call is made unless the operation is known to have to wait.
    Likely,
    /// The call is made in any case.
    Forced,
}

/// The reason why an attempt came to nothing.
#[derive(Debug)]
pub enum AttemptError {
    /// None was made: the operation must not wait, which the slow path sees to.
    NotTried,
    /// It would block, as was known before, or as the kernel said.
    WouldBlock,
    /// The system call failed.
    Failed(Errno),
}

impl AttemptError {
    /// Returns the result of a fast path that has done this much of its call.
    pub fn into_fast_path(self, done: usize) -> FastPath {
        match self {
            Self::NotTried | Self::WouldBlock | Self::Failed(Errno::INTR) => {
                FastPath::Incomplete(done)
            }
            Self::Failed(error) => FastPath::Failed(errno_error(error.raw_os_error())),
        }
    }
}

impl State {
    /// Returns true if an operation is known to block: the kernel said so, and has reported no change since.
    fn would_block(&self, py: Python<'_>, direction: Direction) -> bool {
        self.source.as_ref().is_some_and(|(loop_, key)| {
            let loop_ = loop_.get();
            loop_.is_mine() && !loop_.is_worth_trying(py, *key, direction)
        })
    }

    /// Notes that an operation met `EAGAIN`.
    fn blocked(&self, py: Python<'_>, direction: Direction) {
        if let Some((loop_, key)) = &self.source {
            let loop_ = loop_.get();
            if loop_.is_mine() {
                loop_.blocked(py, *key, direction);
            }
        }
    }

    /// Receives into `room`. If that took all that was there, notes so: the next read then waits without a system call
    /// that would fail.
    ///
    /// # Errors
    /// Returns the error that the system call reports.
    pub fn take_in(
        &self,
        py: Python<'_>,
        fd: BorrowedFd<'_>,
        room: &mut Room<'_>,
        flags: RecvFlags,
    ) -> rustix::io::Result<usize> {
        let size = room.left();
        let stream = self.kind == libc::SOCK_STREAM && flags.is_empty();
        let waits = self.source.is_some();
        // A read of a Unix socket ends where descriptors were sent along, though more is there.
        let (got, all) = if stream && waits && self.family == libc::AF_UNIX && size > SMALL {
            let (got, dropped) = room.recv_noticing(fd)?;
            (got, !dropped)
        } else {
            let got = room.recv(fd, flags)?;
            let tcp = matches!(self.family, libc::AF_INET | libc::AF_INET6);
            (got, stream && waits && tcp)
        };
        let mut last = all && got < size;
        if let Some((pair, end)) = &self.pair {
            if !flags.is_empty() {
                pair.expose();
            }
            last |= pair.received(*end, got) && stream && waits;
        }
        if last && got > 0 {
            self.drained(py);
        }
        Ok(got)
    }

    /// Receives into the unused capacity of `buffer`, and notes when that was all there is, as
    /// [`take_in`](Self::take_in) does.
    ///
    /// # Errors
    /// Returns the error that the system call reports.
    pub fn append(
        &self,
        py: Python<'_>,
        fd: BorrowedFd<'_>,
        buffer: &mut Vec<u8>,
    ) -> rustix::io::Result<usize> {
        let room = buffer.capacity() - buffer.len();
        let (got, _) = rustix::net::recv(
            fd,
            rustix::buffer::spare_capacity(buffer),
            RecvFlags::empty(),
        )?;
        let tcp = matches!(self.family, libc::AF_INET | libc::AF_INET6);
        if tcp && got > 0 && got < room && self.source.is_some() {
            self.drained(py);
        }
        Ok(got)
    }

    fn drained(&self, py: Python<'_>) {
        if let Some((loop_, key)) = &self.source {
            loop_.get().drained(py, *key);
        }
    }

    /// Notes that other code may use this end of a pair, or that an operation is not counted ([`Pair::expose`]).
    ///
    /// [`Pair::expose`]: crate::sockets::pair::Pair::expose
    pub fn expose(&self) {
        if let Some((pair, _)) = &self.pair {
            pair.expose();
        }
    }

    /// Counts bytes that were sent to the other end of a pair, and has the reader there woken.
    #[inline]
    pub fn notify_peer(&self, py: Python<'_>, sent: usize) {
        let Some((pair, end)) = &self.pair else {
            return;
        };
        pair.sent(1 - end, sent);
        pair.at(py, 1 - end, |(loop_, key)| {
            let loop_ = loop_.get();
            if loop_.is_mine() {
                loop_.filled(py, *key);
            }
        });
    }
}

impl SocketBase {
    /// Makes a system call unless it is known that it would block; with `force`, makes it in any case.
    ///
    /// # Errors
    /// Returns `AGAIN` when the call would block, `BADF` once the socket is closed, or the error that the call reports.
    #[inline]
    pub fn call<T>(
        &self,
        py: Python<'_>,
        direction: Direction,
        force: bool,
        call: impl FnOnce(&State, BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> rustix::io::Result<T> {
        self.state.with(py, |state| {
            let fd = state.fd.as_ref().ok_or(Errno::BADF)?;
            if !force && state.would_block(py, direction) {
                return Err(Errno::AGAIN);
            }
            call(state, fd.as_fd())
        })
    }

    /// Makes a system call as [`call`](Self::call) does, for an operation whose fast path and slow path share this. A
    /// refusal of the kernel on the fast path is noted, so that the slow path waits without another attempt.
    ///
    /// # Errors
    /// Returns the reason why the attempt came to nothing.
    #[inline]
    pub fn attempt<T>(
        &self,
        py: Python<'_>,
        direction: Direction,
        attempt: Attempt,
        call: impl FnOnce(&State, BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> Result<T, AttemptError> {
        self.state.with(py, |state| {
            if attempt == Attempt::First && state.timeout == Some(0.0) {
                return Err(AttemptError::NotTried);
            }
            let fd = state.fd.as_ref().ok_or(AttemptError::Failed(Errno::BADF))?;
            if attempt != Attempt::Forced && state.would_block(py, direction) {
                return Err(AttemptError::WouldBlock);
            }
            match call(state, fd.as_fd()) {
                Ok(value) => Ok(value),
                Err(Errno::AGAIN) => {
                    if attempt == Attempt::First {
                        state.blocked(py, direction);
                    }
                    Err(AttemptError::WouldBlock)
                }
                Err(error) => Err(AttemptError::Failed(error)),
            }
        })
    }

    /// Calls `attempt` until it no longer would block, and waits in between. Its argument is true if the attempt must
    /// make its system call even when the socket is known not to be ready.
    ///
    /// # Errors
    /// Returns the `OSError` for the error of an attempt, `TimeoutError`, or the error that is thrown into the waiting
    /// greenlet.
    #[inline]
    pub fn persist<T>(
        &self,
        py: Python<'_>,
        direction: Direction,
        deadline: &mut Deadline,
        mut attempt: impl FnMut(bool) -> rustix::io::Result<T>,
    ) -> PyResult<T> {
        let mut force = deadline.is_immediate();
        loop {
            match attempt(force) {
                Ok(value) => return Ok(value),
                Err(Errno::AGAIN) => {}
                Err(Errno::INTR) => {
                    py.check_signals()?;
                    continue;
                }
                Err(error) => return Err(errno_error(error.raw_os_error())),
            }
            match self.wait_ready(py, direction, deadline) {
                Ok(()) => {}
                // The hub must not wait, so it makes the system call even if that is expected to block.
                Err(error) if !force && error.is_instance_of::<BlockingSwitchOutError>(py) => {
                    force = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Parks the current greenlet, after a call met `EAGAIN`, until another attempt is worth making.
    ///
    /// # Errors
    /// Returns `BlockingIOError` if the operation must not wait, `TimeoutError` when the deadline passes,
    /// `ConcurrentObjectUseError` when another greenlet waits in this direction, the error that closing gives, and what
    /// is thrown into the greenlet.
    pub fn wait_ready(
        &self,
        py: Python<'_>,
        direction: Direction,
        deadline: &mut Deadline,
    ) -> PyResult<()> {
        let begun = self.begin_wait(py, direction, deadline)?;
        let woken = park(py, &begun.wait);
        self.end_wait(py, direction, begun.slot, &begun.wait, woken)
    }

    /// Registers a wait, for the caller to park on: the first half of [`wait_ready`](Self::wait_ready).
    ///
    /// # Errors
    /// Returns `BlockingIOError` if the operation must not wait, `ConcurrentObjectUseError` when another greenlet waits
    /// in this direction.
    pub fn begin_wait(
        &self,
        py: Python<'_>,
        direction: Direction,
        deadline: &mut Deadline,
    ) -> PyResult<Begun> {
        if deadline.is_immediate() {
            let text = "Resource temporarily unavailable";
            return Err(PyBlockingIOError::new_err((libc::EAGAIN, text)));
        }
        let loop_ = hub::current_loop(py)?;
        let (keeps_loop_alive, number, source) = self.state.with(py, |state| {
            let number = state.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd);
            let source = match &state.source {
                Some((other, key)) if other.is(&loop_) => Some(*key),
                _ => None,
            };
            (state.keeps_loop_alive, number, source)
        });
        let wait = Wait::new_for(py, loop_, Reason::socket(direction, number))?;
        let slot = match source {
            Some(key) if keeps_loop_alive => {
                let parked = wait.loop_().get().park_at(py, key, direction, &wait);
                parked.map_err(|other| in_use(py, other))?;
                WaitSlot::Source(key)
            }
            _ => self.enlist(py, direction, &wait, keeps_loop_alive)?,
        };
        if let Some(at) = deadline.time() {
            wait.expire_at(py, at, keeps_loop_alive);
        }
        Ok(Begun { wait, slot })
    }

    /// Removes a wait that has ended with `woken`: the second half of [`wait_ready`](Self::wait_ready).
    ///
    /// # Errors
    /// Returns `TimeoutError` when the deadline has passed, and the error that the wait ended with.
    pub fn end_wait(
        &self,
        py: Python<'_>,
        direction: Direction,
        slot: WaitSlot,
        wait: &WaitRef,
        woken: Outcome,
    ) -> PyResult<()> {
        self.delist(py, direction, wait, slot);
        // Dropping a bound reference does not read pyo3's count of attachments, which is thread-local.
        drop(woken?.into_bound(py));
        if wait.expired() {
            return Err(PyTimeoutError::new_err("timed out"));
        }
        Ok(())
    }

    /// Registers the wait with the loop, where the socket is not a source of the loop yet, or is not to be.
    #[cold]
    #[inline(never)]
    fn enlist(
        &self,
        py: Python<'_>,
        direction: Direction,
        wait: &WaitRef,
        keeps_loop_alive: bool,
    ) -> PyResult<WaitSlot> {
        let loop_ = wait.loop_().get();
        if keeps_loop_alive && let Some(key) = self.source_in(py, wait.loop_())? {
            let parked = loop_.park_at(py, key, direction, wait);
            parked.map_err(|other| in_use(py, other))?;
            return Ok(WaitSlot::Source(key));
        }
        let taken = self.state.with(py, |state| {
            let slot = &mut state.watching[direction as usize];
            let other = slot.as_ref().map(|other| other.greenlet().clone_ref(py));
            if other.is_none() {
                *slot = Some(wait.clone());
            }
            (other, state.fd.as_ref().map(|fd| fd.as_raw_fd()))
        });
        let (None, Some(fd)) = taken else {
            return Err(match taken.0 {
                Some(greenlet) => in_use(py, Some(greenlet)),
                None => errno_error(libc::EBADF),
            });
        };
        let interest = match direction {
            Direction::Read => Interest::READ,
            Direction::Write => Interest::WRITE,
        };
        if keeps_loop_alive {
            loop_.count_ref(1);
        }
        match loop_.watch(py, fd, interest, Watched::Wake(wait.clone())) {
            Ok(key) => Ok(WaitSlot::Watch(fd, Some(key), keeps_loop_alive)),
            Err(error) => {
                self.delist(
                    py,
                    direction,
                    wait,
                    WaitSlot::Watch(fd, None, keeps_loop_alive),
                );
                Err(error)
            }
        }
    }

    /// Removes the wait from the place where it is registered, if it is still there.
    fn delist(&self, py: Python<'_>, direction: Direction, wait: &WaitRef, slot: WaitSlot) {
        let loop_ = wait.loop_().get();
        match slot {
            WaitSlot::Source(key) => loop_.leave_source(py, key, direction, wait),
            WaitSlot::Watch(fd, key, keeps_loop_alive) => {
                if let Some(key) = key {
                    loop_.unwatch(py, fd, key);
                }
                let mine = self.state.with(py, |state| {
                    state.watching[direction as usize].take_if(|waiting| same(waiting, wait))
                });
                drop(mine);
                if keeps_loop_alive {
                    loop_.count_ref(-1);
                }
            }
        }
    }

    /// Returns the socket's source in `loop_`, and registers it there first if need be; `None` while it is the source
    /// of another loop, unless that was destroyed.
    fn source_in(&self, py: Python<'_>, loop_: &Py<Loop>) -> PyResult<Option<SourceKey>> {
        let (own, elsewhere) = self.state.with(py, |state| match &state.source {
            Some((other, key)) if other.is(loop_) => (Some(*key), None),
            Some((other, _)) => (None, Some(other.clone_ref(py))),
            None => (None, None),
        });
        if own.is_some() {
            return Ok(own);
        }
        if elsewhere.is_some_and(|other| !other.get().is_destroyed(py)) {
            return Ok(None);
        }
        let fd = self
            .state
            .with(py, |state| state.fd.as_ref().map(|fd| fd.as_raw_fd()))
            .ok_or_else(|| errno_error(libc::EBADF))?;
        let key = loop_.get().register_source(py, fd)?;
        let old = self.state.with(py, |state| {
            let source = (loop_.clone_ref(py), key);
            let old_end = state
                .pair
                .as_ref()
                .and_then(|(pair, end)| pair.register(py, *end, Some((loop_.clone_ref(py), key))));
            (state.source.replace(source), old_end)
        });
        drop(old);
        Ok(Some(key))
    }

    /// Has the kernel report the readiness anew, as after `connect`, which makes the known readiness stale.
    pub fn rearm(&self, py: Python<'_>) {
        let known = self.state.with(py, |state| {
            state
                .source
                .as_ref()
                .map(|(loop_, key)| (loop_.clone_ref(py), *key))
        });
        if let Some((loop_, key)) = known {
            loop_.get().ask_again(py, key);
        }
    }
}

fn same(one: &WaitRef, other: &WaitRef) -> bool {
    std::ptr::eq::<Wait>(&**one, &**other)
}

/// Makes the error for a second wait in one direction, or returns the error that the `repr` of the waiter raises.
#[cold]
fn in_use(py: Python<'_>, by: Option<Py<PyAny>>) -> PyErr {
    let by = match by.map(|greenlet| greenlet.bind(py).repr()) {
        Some(Ok(text)) => text.to_string(),
        Some(Err(error)) => return error,
        None => "one that has ended".to_owned(),
    };
    ConcurrentObjectUseError::new_err(format!(
        "This socket is already used by another greenlet: {by}"
    ))
}
