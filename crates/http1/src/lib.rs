//! HTTP/1.1 without I/O (RFC 9110, RFC 9112): a strict decoder of requests, an encoder of responses.
//!
//! Nothing here reads or writes. The caller keeps a buffer of what it received and hands it over:
//!
//! 1. [`Head::decode`] with the buffer from the request's first byte, again each time it has grown, until
//!    it says how many bytes the head took. It goes on where it stopped, and owns what it decoded, so
//!    the buffer may then be moved, drained or filled anew.
//! 2. [`Body::new`] with the head's [`framing`](Head::framing), and [`Body::decode`] with what follows:
//!    each [`Step`] says how many bytes to drop and which of them are data. Where the data comes next
//!    without framing between, [`Body::contiguous`] and [`Body::advance`] let it be received straight
//!    into its destination.
//! 3. [`response`] writes the answer's head, [`ChunkHead`] the line before a chunk, [`DateCache`] the `Date`.
//!
//! **Refused, never guessed**: a request that two parties on a connection could read differently is a [`Refusal`],
//! which has the status to answer with. After a refusal the connection must be closed: the bytes that follow must not
//! be read as a request. [`Limits`] bound what is kept, [`Leniency`] lists the few places where a server may choose to
//! follow older practice.

#![forbid(unsafe_code)]

mod body;
mod date;
mod fields;
mod head;
mod policy;
mod refusal;
pub mod response;
mod target;

pub use body::{Body, Framing, Step};
pub use date::DateCache;
pub use head::{Field, Head, Version};
pub use policy::{Leniency, Limits, Policy};
pub use refusal::Refusal;
pub use response::{ChunkHead, LAST_CHUNK, ResponseError};
pub use target::Target;
