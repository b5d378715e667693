//! Waiting: a wait, the one way to park on it, deadlines, and the simplest calls that wait.

pub mod arrivals;
pub mod asyncio_state;
pub mod deadline;
pub mod links;
pub mod park;
pub mod reason;
pub mod restarting;
pub mod running;
pub mod sleep;
pub mod threads;
pub mod timeout;
pub mod turn;
pub mod wait;
pub mod waiter;
pub mod waiters;
