//! Servers: they accept connections, and run a handler for each.

pub mod accept;
pub mod steps;
