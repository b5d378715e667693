//! Queues and channels.

pub mod channel;
pub mod classes;
pub mod heap;
pub mod items;
pub mod put_get;
pub mod queue;
pub mod wait_queue;
