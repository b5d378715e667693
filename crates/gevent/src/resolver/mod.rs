//! Looking up host names at name servers, for `gevent.resolver.ares`, in the hub's own loop.
//!
//! `crates/dns` decides what to ask whom, and reads the replies. Here are its eyes and hands: the two files it follows, read
//! again when they change (`files`), what only the system knows (`system`), its sockets (`datagrams`, `streams`), and the
//! look-ups under way with their deadlines (`driver`). `channel` has the classes that Python sees.

pub mod channel;
mod datagrams;
mod driver;
mod files;
mod streams;
mod system;
