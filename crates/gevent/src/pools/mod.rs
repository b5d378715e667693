//! Groups, pools, their iterators, and pools of native threads.

pub mod group;
pub mod imap;
pub mod imap_results;
pub mod job;
pub mod threadpool;
pub mod work_semaphore;
