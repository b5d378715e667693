//! Servers: accepting what comes, and running a handler for it.

pub mod accept;
pub mod steps;
