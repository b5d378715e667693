//! The reasons for which a request is refused, each with the status to answer with.

use thiserror::Error;

/// The reason why a request is refused. The connection must be closed after the answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The request line is not `method SP target SP HTTP/1.x`.
    #[error("malformed request line")]
    RequestLine,
    /// The target has not the form that belongs to the method: a path, an absolute URI, `*`, or a host and port.
    #[error("invalid request target")]
    Target,
    /// The request line is longer than allowed.
    #[error("request line too long")]
    RequestLineTooLong,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    #[error("HTTP version not supported")]
    Version,
    /// A line that ends in a line feed alone.
    #[error("line feed without carriage return")]
    BareLineFeed,
    /// A field line that continues the one before it (obs-fold).
    #[error("folded header field")]
    FoldedField,
    /// A field line with no colon, an empty or illegal name, or a space before the colon.
    #[error("malformed header field")]
    Field,
    /// A NUL or another control character in a field's value, or a carriage return alone.
    #[error("control character in header field")]
    FieldValue,
    /// More bytes of fields than allowed.
    #[error("header fields too large")]
    HeadTooLarge,
    /// More field lines than allowed.
    #[error("too many header fields")]
    TooManyFields,
    /// HTTP/1.1 without `Host`.
    #[error("missing Host")]
    MissingHost,
    /// `Host` twice, or one that is no host.
    #[error("invalid Host")]
    Host,
    /// A `Content-Length` that is not digits alone, or given twice.
    #[error("invalid Content-Length")]
    ContentLength,
    /// A `Transfer-Encoding` that leaves the end of the body unknown: anything but `chunked`, given twice, or on HTTP/1.0.
    #[error("invalid Transfer-Encoding")]
    TransferEncoding,
    /// A `Transfer-Encoding` with further codings under `chunked`.
    #[error("transfer coding not supported")]
    TransferCoding,
    /// `Content-Length` beside `Transfer-Encoding`.
    #[error("Content-Length beside Transfer-Encoding")]
    AmbiguousLength,
    /// A body longer than allowed.
    #[error("body too large")]
    BodyTooLarge,
    /// A chunk's size that is not hexadecimal digits, or does not fit.
    #[error("malformed chunk size")]
    ChunkSize,
    /// A chunk's size line that is longer than allowed.
    #[error("chunk size line too long")]
    ChunkLineTooLong,
    /// A control character in a chunk's extensions, or a carriage return or line feed there that does not end the line.
    #[error("malformed chunk extension")]
    ChunkExtension,
    /// A chunk's data that is not followed by CRLF.
    #[error("malformed end of chunk")]
    ChunkEnd,
    /// A trailer line that is no field.
    #[error("malformed trailer")]
    Trailer,
    /// More bytes of trailers than allowed.
    #[error("trailers too large")]
    TrailersTooLarge,
}

impl Refusal {
    /// Returns the status code to answer with.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BodyTooLarge => 413,
            Self::RequestLineTooLong => 414,
            Self::HeadTooLarge | Self::TooManyFields | Self::TrailersTooLarge => 431,
            Self::TransferCoding => 501,
            Self::Version => 505,
            _ => 400,
        }
    }

    /// Returns the reason phrase of [`status`](Self::status).
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self.status() {
            413 => "Content Too Large",
            414 => "URI Too Long",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            505 => "HTTP Version Not Supported",
            _ => "Bad Request",
        }
    }
}
