//! The progress of a wait from its beginning to its end, and the order in which waiters are woken: the logic of
//! waiting, without Python, greenlets and clocks.
//!
//! The engine keeps a [`Progress`] in each wait of a greenlet, and a [`WaitQueue`] in every object that can have
//! several waiters. `tests/model/` drives both through every order in which wake-ups, deadlines, kills and ends of
//! threads can come.

#![warn(missing_docs, missing_debug_implementations)]

mod ordered;
mod progress;
mod queue;

pub use progress::{Progress, State};
pub use queue::{Left, Ticket, Tickets, WaitQueue, Waiter};
