//! How much of a request is kept, and where older practice is followed.

/// What a server accepts: its [`Limits`] and its [`Leniency`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The largest sizes that are accepted.
    pub limits: Limits,
    /// Where older practice is followed; nowhere by default.
    pub leniency: Leniency,
}

/// The largest sizes that are accepted, each in bytes unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The request line, without its CRLF. Longer: 414.
    pub request_line: usize,
    /// All field lines together, with their CRLFs. More: 431.
    pub head: usize,
    /// How many field lines, counting continued ones. More: 431.
    pub fields: usize,
    /// The body, as announced or as received in chunks. Longer: 413.
    pub body: u64,
    /// A chunk's size with its extensions, without the CRLF. Longer: 400.
    pub chunk_line: usize,
    /// All trailer lines together. More: 431.
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
    /// HTTP/1.1 without `Host` (RFC 9112 section 3.2 asks for 400).
    pub missing_host: bool,
    /// `Content-Length` beside `Transfer-Encoding: chunked`: the length is ignored (RFC 9112 section 6.1
    /// allows it, though the connection should end then).
    pub length_with_chunked: bool,
    /// A connection goes on after `Content-Length` beside `Transfer-Encoding: chunked` (RFC 9112 section 6.1 says that it
    /// must end).
    pub stays_after_both: bool,
    /// A field continued on a line that begins with a space or tab (RFC 9112 section 5.2 allows reading the
    /// fold as spaces).
    pub folded_fields: bool,
}

impl Leniency {
    /// Lenient everywhere.
    pub const ALL: Self = Self {
        missing_host: true,
        length_with_chunked: true,
        stays_after_both: true,
        folded_fields: true,
    };
}
