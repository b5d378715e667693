//! The event loop: its ready queue, kernel objects, polls and turns.

pub mod callback;
pub mod descriptors;
pub mod flags;
pub mod former;
pub mod kernel;
pub mod loop_;
pub mod ready;
pub mod runs;
pub mod signal_handlers;
pub mod thread_end;
pub mod unusual;
