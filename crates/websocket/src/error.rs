//! Breaches of the protocol by the other side, as errors.

use thiserror::Error;

/// A breach of the protocol by the other side. The connection is to be closed with [`close_code`](Self::close_code).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit without an extension that gives it a meaning.
    #[error("reserved bits set")]
    ReservedBits,
    /// An opcode that has no meaning.
    #[error("reserved opcode")]
    ReservedOpcode,
    /// A control frame in parts.
    #[error("fragmented control frame")]
    FragmentedControl,
    /// A control frame of more than 125 bytes.
    #[error("control frame too long")]
    LongControl,
    /// A length in more bytes than it needs, or of 2^63 and above.
    #[error("malformed length")]
    Length,
    /// A frame of a client that is not masked.
    #[error("frame from a client not masked")]
    Unmasked,
    /// A frame of a server that is masked.
    #[error("frame from a server masked")]
    Masked,
    /// A continuation without a message that was begun.
    #[error("continuation without a beginning")]
    UnexpectedContinuation,
    /// A new message within the fragments of another.
    #[error("message within a message")]
    ExpectedContinuation,
    /// A close frame of one byte, or with a code that may not be sent.
    #[error("malformed close frame")]
    Close,
    /// Text, or the reason of a close, that is not UTF-8.
    #[error("invalid UTF-8")]
    Utf8,
    /// A message larger than allowed, before or after decompression.
    #[error("message too large")]
    TooLarge,
    /// Compressed data that cannot be decompressed.
    #[error("malformed compressed data")]
    Compression,
}

impl ProtocolError {
    /// Returns the code to close with (RFC 6455 section 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Utf8 => 1007,
            Self::TooLarge => 1009,
            _ => 1002,
        }
    }
}
