//! Looks up host names at name servers, for `gevent.resolver.ares`, in the hub's own loop.
//!
//! `crates/dns` decides which server is asked for what, and reads the replies; it does no I/O. The I/O is done here:
//! `files` reads the configuration again when it changes, `system` asks the system for interfaces, routes and
//! randomness, `datagrams` and `streams` have the sockets, and `state` the look-ups under way, with their deadlines
//! (`driver`) and queries (`queries`). `channel` has the Python classes.

pub mod channel;
mod datagrams;
mod driver;
mod files;
mod queries;
mod state;
mod streams;
mod system;
