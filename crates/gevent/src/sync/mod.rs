//! Events, results and locks.

pub mod async_result;
pub mod busy_wait;
pub mod event;
pub mod linkable;
pub mod lock;
pub mod rlock;
pub mod thread_lock;
pub mod thread_rlock;
