//! Queues and channels.

pub mod api;
pub mod channel;
pub mod heap;
pub mod items;
pub mod line;
pub mod queue;
pub mod wait;
