//! Sockets. An operation makes its system call first, and waits only if that would block.
//!
//! `socket` has the class and its state, `methods` its Python methods, `io` and `send` the operations, `readiness` the
//! waiting for a socket, `open_close` the opening and closing of descriptors, `pair` the two ends of a socket pair, and
//! `addr` the conversion of addresses.

pub mod addr;
pub mod io;
pub mod methods;
pub mod open_close;
pub mod pair;
pub mod readiness;
pub mod send;
pub mod socket;
