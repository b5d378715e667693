//! The unsafe floor: greenlet's C API, the base type built on it, and the arena allocator.

pub mod arena;
pub mod base;
pub mod fork;
pub mod entry;
pub mod frames;
pub mod greenlet;
