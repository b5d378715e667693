//! Queues and channels between greenlets.
//!
//! `queue` has the state of a queue, `put_get` the operations that put and get items, `items` and `heap` the
//! containers, `classes` the Python classes, and `channel` the class `Channel`. The greenlets that wait are in wait
//! queues of the crate `wait`.

pub mod channel;
pub mod classes;
pub mod heap;
pub mod items;
pub mod put_get;
pub mod queue;
