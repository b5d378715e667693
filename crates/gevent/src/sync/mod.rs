//! Events, results and locks.

pub mod async_result;
pub mod bounded_semaphore;
pub mod busy_wait;
pub mod dummy_semaphore;
pub mod event;
pub mod linkable;
pub mod lock;
pub mod rlock;
pub mod thread_acquire;
pub mod thread_lock;
pub mod thread_rlock;
