//! The unsafe floor: greenlet's C API, the base type built on it, the arena allocator, memory and descriptors of Python's.

pub mod arena;
pub mod attached;
pub mod attribute;
pub mod base;
pub mod blocking;
pub mod buffer;
pub mod chunks;
pub mod clock;
pub mod collector;
pub mod context;
pub mod descriptor;
pub mod entry;
pub mod fork;
pub mod frame_stack;
pub mod frames;
pub mod greenlet;
pub mod hub_slot;
pub mod interpreter;
pub mod segments;
pub mod slots;
pub mod text;
pub mod thread;
pub mod tracing;
