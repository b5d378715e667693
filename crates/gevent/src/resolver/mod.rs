//! Looking up host names at name servers, for `gevent.resolver.ares`, without the GIL and without a thread per name.
//!
//! One native thread of the process (`service`), started with the first look-up, runs all of them. A look-up (`lookup`)
//! reads `/etc/hosts` and `/etc/resolv.conf` where they changed (`files`, `hosts`, `resolv_conf`), asks name servers
//! through hickory (`server`, `transport`), and puts addresses in the order of RFC 6724 (`order`). The answer goes to the
//! hub that asked like anything from another thread, through the inbox of its loop (`channel`).

pub mod channel;
mod files;
mod hosts;
mod lookup;
mod order;
mod resolv_conf;
mod server;
mod service;
mod status;
mod transport;
