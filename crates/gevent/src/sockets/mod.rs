//! Sockets: from the call to the system call and, where that would block, to the wait.

pub mod addr;
pub mod io;
pub mod life;
pub mod methods;
pub mod pair;
pub mod send;
pub mod socket;
pub mod wait;
