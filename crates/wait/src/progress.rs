//! The states of one wait.
//!
//! ```text
//!              wake, expire              deliver
//!    Waiting ───────────────▶ Queued ───────────────▶ Delivered
//!       │ │                     │                        ▲  │
//!       │ └─────────────────────┼────────────────────────┘  │
//!       │        interrupt      │                           │ finish
//!       └───────────────────────┴──────────▶ Over ◀─────────┘
//!                  finish
//! ```
//!
//! | from      | to        | by          | made by                            | what it means                                |
//! |-----------|-----------|-------------|------------------------------------|----------------------------------------------|
//! | Waiting   | Queued    | `wake`      | whatever it waits for, any thread  | the outcome is stored and a task queued      |
//! | Waiting   | Queued    | `expire`    | its loop's deadlines               | the same, and [`Progress::expired`] is true  |
//! | Waiting   | Delivered | `interrupt` | its loop's hub                     | an error is the outcome; the hub switches now |
//! | Queued    | Delivered | `deliver`   | the hub or greenlet with the task  | it switches to the waiting greenlet now      |
//! | any       | Over      | `finish`    | the greenlet itself                | it runs again, for whatever reason           |
//!
//! Every other call changes nothing and returns false. So the first of the wake-ups, deadlines and kills decides how a
//! wait ends. A task that is still queued when the greenlet went on for another reason (a direct switch to it, an error
//! thrown into it) is not delivered to whatever the greenlet waits for next.
//!
//! Each move is a load and a store, not one atomic operation: all of them are made by threads that hold the GIL, and none
//! runs Python code between the two. The atomics only make the type `Sync`. A build without the GIL needs an exchange here.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

/// The state of a wait.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum State {
    /// Nothing has ended it.
    Waiting,
    /// It was woken, and the task that resumes its greenlet is in the ready queue.
    Queued,
    /// Its greenlet is being switched to.
    Delivered,
    /// Its greenlet runs, or is about to wait for something else.
    Over,
}

/// The state of one wait, and whether a deadline ended it.
#[derive(Debug)]
pub struct Progress {
    state: AtomicU8,
    expired: AtomicBool,
}

impl Progress {
    /// Makes a wait that nothing has ended.
    #[inline]
    pub const fn new() -> Self {
        Self {
            state: AtomicU8::new(State::Waiting as u8),
            expired: AtomicBool::new(false),
        }
    }

    #[inline]
    fn advance(&self, from: State, to: State) -> bool {
        let is_there = self.state.load(Relaxed) == from as u8;
        if is_there {
            self.state.store(to as u8, Relaxed);
        }
        is_there
    }

    /// Notes a wake-up. If it returns true, the caller queues the task that resumes the greenlet.
    #[inline]
    pub fn wake(&self) -> bool {
        self.advance(State::Waiting, State::Queued)
    }

    /// Notes a wake-up by a deadline, as [`wake`](Self::wake) does one by anything else.
    #[inline]
    pub fn expire(&self) -> bool {
        let first = self.wake();
        if first {
            self.expired.store(true, Relaxed);
        }
        first
    }

    /// Ends the wait by an error. If it returns true, the caller stores the error as the outcome and switches to the greenlet.
    #[inline]
    pub fn interrupt(&self) -> bool {
        self.advance(State::Waiting, State::Delivered)
    }

    /// Notes that the queued task was taken off the ready queue. If it returns true, the caller switches to the
    /// greenlet; otherwise the greenlet went on before, and the task is to be dropped.
    #[inline]
    pub fn deliver(&self) -> bool {
        self.advance(State::Queued, State::Delivered)
    }

    /// Ends the wait as its greenlet runs again. Returns true if a wake-up or an interruption resumed the greenlet, so
    /// that the stored outcome counts.
    #[inline]
    pub fn finish(&self) -> bool {
        let delivered = self.is_delivered();
        self.state.store(State::Over as u8, Relaxed);
        delivered
    }

    /// Returns true as long as nothing has ended the wait.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.state.load(Relaxed) == State::Waiting as u8
    }

    /// Returns true while the greenlet is being switched to.
    #[inline]
    pub fn is_delivered(&self) -> bool {
        self.state.load(Relaxed) == State::Delivered as u8
    }

    /// Returns true if a deadline ended the wait.
    #[inline]
    pub fn expired(&self) -> bool {
        self.expired.load(Relaxed)
    }

    /// Returns the state.
    pub fn state(&self) -> State {
        match self.state.load(Relaxed) {
            0 => State::Waiting,
            1 => State::Queued,
            2 => State::Delivered,
            _ => State::Over,
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for Progress {
    fn clone(&self) -> Self {
        Self {
            state: AtomicU8::new(self.state.load(Relaxed)),
            expired: AtomicBool::new(self.expired.load(Relaxed)),
        }
    }
}
