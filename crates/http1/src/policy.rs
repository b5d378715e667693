//! The rules for requests: the largest sizes of their parts, and the cases in which older practice is followed.

/// The rules that a server judges requests by: its [`Limits`] and its [`Leniency`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The largest sizes that are accepted.
    pub limits: Limits,
    /// The cases in which older practice is followed; none by default.
    pub leniency: Leniency,
}

/// The largest sizes that are accepted, each in bytes unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The length of the request line without its CRLF. A longer one is answered with 414.
    pub request_line: usize,
    /// The length of all field lines together, with their CRLFs. More is answered with 431.
    pub head: usize,
    /// The number of field lines, continued ones included. More are answered with 431.
    pub fields: usize,
    /// The length of the body, as announced or as received in chunks. A longer one is answered with 413.
    pub body: u64,
    /// The length of a chunk's size with its extensions, without the CRLF. A longer one is answered with 400.
    pub chunk_line: usize,
    /// The length of all trailer lines together. More is answered with 431.
    pub trailers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line: 8192,
            head: 65_536,
            fields: 100,
            body: u64::MAX,
            chunk_line: 4096,
            trailers: 8192,
        }
    }
}

/// Places where a request that current rules refuse is accepted as older servers did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leniency {
    /// Accepts HTTP/1.1 without `Host` (RFC 9112 section 3.2 asks for 400).
    pub missing_host: bool,
    /// Accepts `Content-Length` beside `Transfer-Encoding: chunked` and ignores the length (RFC 9112 section 6.1
    /// allows it, though the connection should end then).
    pub length_with_chunked: bool,
    /// Keeps a connection after `Content-Length` beside `Transfer-Encoding: chunked` (RFC 9112 section 6.1 says that it
    /// must end).
    pub stays_after_both: bool,
    /// Accepts a field continued on a line that begins with a space or tab (RFC 9112 section 5.2 allows reading the
    /// fold as spaces).
    pub folded_fields: bool,
    /// Accepts control characters in chunk extensions, which are dropped anyway (RFC 9112 section 7.1.1 has no room for
    /// them). A carriage return or line feed that does not end the line is refused all the same.
    pub chunk_extensions: bool,
}

impl Leniency {
    /// Follows older practice everywhere.
    pub const ALL: Self = Self {
        missing_host: true,
        length_with_chunked: true,
        stays_after_both: true,
        folded_fields: true,
        chunk_extensions: true,
    };
}
