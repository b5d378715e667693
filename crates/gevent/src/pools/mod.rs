//! Groups and pools of greenlets, their iterators over results, and pools of native threads.

pub mod group;
pub mod imap;
pub mod imap_results;
pub mod job;
pub mod threadpool;
