//! How a wait proceeds from its beginning to its end, and in which order those who wait are woken: the logic of waiting,
//! without Python, greenlets and clocks.
//!
//! The engine keeps a [`Progress`] in each wait of a greenlet, and a [`WaitQueue`] in everything that several can wait for.
//! `tests/model/` drives both through every order in which wake-ups, deadlines, kills and ends of threads can come.

#![warn(missing_docs, missing_debug_implementations)]

mod ordered;
mod progress;
mod queue;

pub use progress::{Progress, State};
pub use queue::{Left, Ticket, Tickets, WaitQueue, Waiter};
