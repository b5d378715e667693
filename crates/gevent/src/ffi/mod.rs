//! The unsafe code of the extension: everything that needs C APIs, raw memory or descriptors, behind safe functions.
//!
//! | of | files |
//! |---|---|
//! | greenlet | `greenlet` (its C API), `base` (its class as a base), `collector`, `entry` (the bottom frame), `blocking` (calls that park) |
//! | memory of frames | `arena`, `chunks`, `segments`, `frame_stack` |
//! | memory of the engine | `large_blocks` |
//! | the thread | `thread`, `hub_slot`, `tracing`, `interpreter`, `frames`, `fork`, `coroutine_state`, `current_context` |
//! | Python objects | `attached`, `attribute`, `buffer`, `call_signatures`, `context`, `signatures`, `slots`, `text`, `vectorcall` |
//! | the system | `clock`, `descriptor` |

pub mod arena;
pub mod attached;
pub mod attribute;
pub mod base;
pub mod blocking;
pub mod buffer;
pub mod call_signatures;
pub mod chunks;
pub mod clock;
pub mod collector;
pub mod context;
pub mod coroutine_state;
pub mod current_context;
pub mod descriptor;
pub mod entry;
pub mod fork;
pub mod frame_stack;
pub mod frames;
pub mod greenlet;
pub mod hub_slot;
pub mod interpreter;
mod large_blocks;
pub mod segments;
pub mod signatures;
pub mod slots;
pub mod text;
pub mod thread;
pub mod tracing;
pub mod vectorcall;
