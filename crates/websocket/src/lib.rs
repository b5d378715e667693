//! WebSocket without I/O: RFC 6455, and permessage-deflate (RFC 7692), in both roles.
//!
//! Nothing here reads or writes. The caller
//!
//! 1. shakes hands: [`handshake::respond`] judges a server's request, [`client::Handshake`] writes a
//!    client's and judges the response;
//! 2. hands what it receives to [`Decoder::decode`], which yields one [`Event`] at a time, borrowed from the input
//!    where a message came in one frame, so that a short message is never copied;
//! 3. sends what [`Encoder`] appends to a buffer.
//!
//! A breach of the protocol by the other side is a [`ProtocolError`], which has the code to close with. The caller
//! answers pings, answers a close, and ends the connection, as it alone knows what it has sent.

#![forbid(unsafe_code)]

pub mod client;
mod decoder;
mod deflate;
mod encoder;
mod error;
pub mod extension;
mod frame;
pub mod handshake;
pub mod mask;
mod utf8;

pub use decoder::{Decoded, Decoder, Event};
pub use encoder::{CloseError, Encoder, NoRandomness};
pub use error::ProtocolError;
pub use extension::Deflate;
pub use frame::{CONTROL_LIMIT, Opcode, is_close_code};

/// One of the two sides of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The client, whose frames are masked.
    Client,
    /// The server, whose frames are not masked.
    Server,
}
