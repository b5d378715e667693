//! Queues and channels between greenlets.
//!
//! `queue` has the state of a queue, `put_get` how items go in and out, `items` and `heap` where they are kept, `classes` what
//! Python sees, and `channel` the class `Channel`. The greenlets that wait are in queues of the crate `wait`.

pub mod channel;
pub mod classes;
pub mod heap;
pub mod items;
pub mod put_get;
pub mod queue;
