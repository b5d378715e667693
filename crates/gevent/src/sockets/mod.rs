//! Sockets: a call makes its system call first, and waits where that would block.
//!
//! `socket` has the class and its state, `methods` what Python sees, `io` and `send` the operations, `readiness` how one
//! waits, `open_close` how descriptors come and go, `pair` the two ends of a socket pair, and `addr` addresses.

pub mod addr;
pub mod io;
pub mod methods;
pub mod open_close;
pub mod pair;
pub mod readiness;
pub mod send;
pub mod socket;
