//! Look-ups of host names, without I/O.
//!
//! A [`Lookup`] is a state machine. The caller [polls](Lookup::poll) it for the next action (send a message to a
//! server, wait until some time, or take the result), and feeds it with datagrams, errors of sockets, and the time. So
//! the same code serves every event loop, and tests need neither servers nor clocks.
//!
//! A look-up reads `/etc/hosts` ([`Hosts`]) and follows `/etc/resolv.conf` ([`ResolvConf`]): which names a name may
//! stand for, which servers to ask, how often and for how long. It asks for IPv4 and IPv6 at the same time, follows
//! aliases also where each answer has only one link of the chain, and asks over TCP when an answer does not fit into a
//! datagram. [`order::sort`] puts addresses in the order of RFC 6724, and [`Sources`] reads from `/etc/nsswitch.conf`
//! whether libc would use other services as well.

mod answer;
mod candidates;
mod exchange;
mod failure;
mod hosts;
mod lookup;
mod message;
mod nsswitch;
pub mod order;
mod plan;
mod resolv_conf;

pub use answer::Answer;
pub use failure::Failure;
pub use hosts::Hosts;
pub use lookup::{Action, Lookup, Query, QueryId, Question, Transport};
pub use nsswitch::Sources;
pub use plan::{Plan, Settings, flags};
pub use resolv_conf::{Interfaces, ResolvConf, ServerAddress};
