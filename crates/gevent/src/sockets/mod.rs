//! Sockets. An operation makes its system call first, and waits only if that would block.
//!
//! `socket` has the class and its state, which is private to it and to the files in its folder: `methods` has its Python
//! methods, `io` and `send` the operations, `readiness` the waiting, `open_close` the opening and closing of descriptors.
//! `pair` has what the two ends of a socket pair share, and `addr` the conversion of addresses.

pub mod addr;
pub mod pair;
pub mod socket;
