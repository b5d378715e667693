//! Queues and channels between greenlets.
//!
//! `queue` has the state of a queue, `put_get` how items go in and out, `items` and `heap` where they are kept, `classes` what
//! Python sees, `channel` the class `Channel`, and `wait_queue` the greenlets that wait.

pub mod channel;
pub mod classes;
pub mod heap;
pub mod items;
pub mod put_get;
pub mod queue;
pub mod wait_queue;
