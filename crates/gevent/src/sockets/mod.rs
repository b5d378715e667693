//! Sockets: from the call to the system call and, where that would block, to the wait.

pub mod addr;
pub mod deadline;
pub mod io;
pub mod methods;
pub mod open_close;
pub mod pair;
pub mod readiness;
pub mod send;
pub mod socket;
