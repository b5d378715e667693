//! Looking up host names at name servers, for `gevent.resolver.ares`, in the hub's own loop.
//!
//! `crates/dns` decides what to ask whom, and reads the replies. Here are its eyes and hands: the two files it follows, read
//! again when they change (`files`), what only the system knows (`system`), its sockets (`datagrams`, `streams`), and the
//! look-ups under way (`state`) with their deadlines (`driver`) and their queries (`queries`). `channel` has the classes
//! that Python sees.

pub mod channel;
mod datagrams;
mod driver;
mod files;
mod queries;
mod state;
mod streams;
mod system;
