//! The event loop: its ready queue, kernel objects, polls and turns.

pub mod callback;
pub mod counters;
pub mod descriptors;
pub mod flags;
pub mod former;
pub mod kernel;
pub mod loop_;
pub mod methods;
pub mod parked;
pub mod poll;
pub mod ready;
pub mod registrations;
pub mod run;
pub mod runs;
pub mod signal_handlers;
pub mod thread_end;
pub mod unusual;
