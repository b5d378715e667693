//! The head of a request: request line and fields, decoded as the bytes arrive.

use std::ops::Range;

use memchr::memchr;

use crate::body::Framing;
use crate::fields::{self, Meaning};
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::target::{self, Target};

/// The version of a request or response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

impl Version {
    /// `HTTP/1.0` or `HTTP/1.1`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// One field of a head, in the order and spelling received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name: token characters of RFC 9110, as spelled by the client.
    pub name: &'a str,
    /// The value without surrounding spaces and tabs: no control character but tab, any octet above ASCII.
    pub value: &'a [u8],
}

impl Field<'_> {
    /// Returns true if the name may become a CGI variable: one with an underscore could pass for one with a hyphen.
    #[must_use]
    pub fn reaches_environ(&self) -> bool {
        !self.name.as_bytes().contains(&b'_')
    }
}

/// A decoder of request heads, and the head it decoded last. It owns its bytes, and reuses their memory.
#[derive(Clone, Debug, Default)]
pub struct Head {
    progress: Progress,
    bytes: Vec<u8>,
    method: usize,
    target: Range<usize>,
    line_end: usize,
    version: Version,
    fields: Vec<FieldAt>,
    meaning: Meaning,
    /// The `Host` that was found to be good last. It outlives its request, as the next one mostly has the same.
    known_host: Vec<u8>,
}

/// The place of a field in [`Head::bytes`]. 32 bits are enough, as a head is far shorter than 4 GiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldAt {
    pub(crate) name: (u32, u32),
    pub(crate) value: (u32, u32),
}

/// The part of the input that was searched already, so that no byte is searched twice.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// The index at which the request line begins, after an empty line, if one came before it.
    begin: usize,
    /// The index at which the line that is not complete yet begins, and the index from which its end has to be searched
    /// for.
    line: usize,
    searched: usize,
    /// The index at which the fields begin, once the request line is complete.
    fields_begin: Option<usize>,
    lines: usize,
    folded: bool,
}

impl Head {
    /// Returns a decoder without memory of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes a head. `input` begins with the request's first byte and holds all that was received so far; call
    /// again with the same bytes and more while this returns `None`. One empty line before the request is
    /// skipped (RFC 9112 section 2.2). Returns how many bytes the head took; the next call begins a new request.
    ///
    /// The request line is checked once it is complete, the fields once all of them are.
    ///
    /// # Errors
    /// Returns a [`Refusal`] when this is no request that can be served. Which refusal it is does not depend on how the
    /// bytes were cut.
    pub fn decode(&mut self, input: &[u8], policy: &Policy) -> Result<Option<usize>, Refusal> {
        let outcome = self.advance(input, policy);
        if !matches!(outcome, Ok(None)) {
            self.progress = Progress::default();
        }
        outcome
    }

    /// Forgets a head that is not complete.
    pub fn reset(&mut self) {
        self.progress = Progress::default();
    }

    fn advance(&mut self, input: &[u8], policy: &Policy) -> Result<Option<usize>, Refusal> {
        if self.progress.searched == 0 {
            self.bytes.clear();
            self.line_end = 0;
            self.fields.clear();
        }
        while let Some(found) = memchr(b'\n', &input[self.progress.searched..]) {
            let end = self.progress.searched + found;
            let line = &input[self.progress.line..end];
            let text = line.strip_suffix(b"\r").unwrap_or(line);
            self.check_size(text.len(), policy)?;
            if text.len() == line.len() {
                return Err(Refusal::BareLineFeed);
            }
            self.progress.searched = end + 1;
            if let Some(begin) = self.progress.fields_begin {
                if text.is_empty() {
                    self.read_fields(&input[begin..=end], policy)?;
                    return Ok(Some(end + 1));
                }
                self.count_line(text[0], policy)?;
            } else if text.is_empty() && self.progress.begin == 0 {
                self.progress.begin = end + 1;
            } else {
                self.read_request_line(&input[self.progress.begin..=end])?;
                self.progress.fields_begin = Some(end + 1);
            }
            self.progress.line = end + 1;
        }
        self.progress.searched = input.len();
        let line = &input[self.progress.line..];
        self.check_size(line.strip_suffix(b"\r").unwrap_or(line).len(), policy)?;
        Ok(None)
    }

    /// Checks the size of the lines so far, with `text` bytes of the last line, which may not be complete.
    fn check_size(&self, text: usize, policy: &Policy) -> Result<(), Refusal> {
        match self.progress.fields_begin {
            None if text > policy.limits.request_line => Err(Refusal::RequestLineTooLong),
            Some(begin) if self.progress.line - begin + text > policy.limits.head => {
                Err(Refusal::HeadTooLarge)
            }
            _ => Ok(()),
        }
    }

    fn count_line(&mut self, first: u8, policy: &Policy) -> Result<(), Refusal> {
        if matches!(first, b' ' | b'\t') {
            if self.progress.lines == 0 {
                return Err(Refusal::Field);
            }
            if !policy.leniency.folded_fields {
                return Err(Refusal::FoldedField);
            }
            self.progress.folded = true;
        }
        self.progress.lines += 1;
        if self.progress.lines > policy.limits.fields {
            return Err(Refusal::TooManyFields);
        }
        Ok(())
    }

    /// Decodes a request line that is there with its CRLF, and keeps it.
    fn read_request_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.bytes.extend_from_slice(line);
        self.line_end = line.len() - 2;
        let mut request = httparse::Request::new(&mut []);
        // Without the empty line after it, a good request line is a head in parts.
        match request.parse(&self.bytes) {
            Ok(httparse::Status::Partial) => {}
            Err(httparse::Error::Version) => return Err(unknown_version(line)),
            _ => return Err(Refusal::RequestLine),
        }
        let (Some(method), Some(target), Some(minor)) =
            (request.method, request.path, request.version)
        else {
            return Err(Refusal::RequestLine);
        };
        if !target::is_valid(method, target.as_bytes()) {
            return Err(Refusal::Target);
        }
        self.method = method.len();
        self.target = method.len() + 1..method.len() + 1 + target.len();
        self.version = if minor == 0 {
            Version::Http10
        } else {
            Version::Http11
        };
        Ok(())
    }

    /// Decodes the fields, which are there with the empty line that ends them, and keeps them.
    fn read_fields(&mut self, lines: &[u8], policy: &Policy) -> Result<(), Refusal> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(lines);
        if self.progress.folded {
            fields::unfold(&mut self.bytes[start..])?;
        }
        fields::parse(&self.bytes, start, self.progress.lines, &mut self.fields)?;
        let mut meaning = fields::Reading::new(self.version, policy, &mut self.known_host);
        let slice = |(from, to): (u32, u32)| &self.bytes[from as usize..to as usize];
        for at in &self.fields {
            meaning.add(slice(at.name), slice(at.value))?;
        }
        self.meaning = meaning.finish()?;
        Ok(())
    }

    fn field(&self, at: FieldAt) -> Field<'_> {
        let slice = |(from, to): (u32, u32)| &self.bytes[from as usize..to as usize];
        Field {
            name: std::str::from_utf8(slice(at.name)).unwrap_or_default(),
            value: slice(at.value),
        }
    }

    /// Returns the request line as received, without its CRLF; empty when it was not complete. It is there after a
    /// refusal, too.
    #[must_use]
    pub fn request_line(&self) -> &[u8] {
        &self.bytes[..self.line_end]
    }

    /// Returns the method, as spelled by the client: token characters.
    #[must_use]
    pub fn method(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.method]).unwrap_or_default()
    }

    /// Returns the request target: no control character and no space, but any octet above ASCII.
    #[must_use]
    pub fn target(&self) -> &[u8] {
        &self.bytes[self.target.clone()]
    }

    /// Returns the parts of the target.
    #[must_use]
    pub fn parts(&self) -> Target<'_> {
        Target::of(self.method(), self.target())
    }

    /// Returns true for `HEAD`, which is answered without a body.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.bytes[..self.method] == *b"HEAD"
    }

    /// Returns true for `CONNECT`: what follows it may be another protocol's, and is never read as a request.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        self.bytes[..self.method] == *b"CONNECT"
    }

    /// Returns the version that the client speaks.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Yields the fields in the order received.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = Field<'_>> {
        self.fields.iter().map(|at| self.field(*at))
    }

    /// Yields the fields in the same order, each as the bytes of its name and of its value.
    pub fn pairs(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        let slice = |(from, to): (u32, u32)| &self.bytes[from as usize..to as usize];
        self.fields
            .iter()
            .map(move |at| (slice(at.name), slice(at.value)))
    }

    /// Returns the value of the first field of a name, in any case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.pairs()
            .find(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// Returns how the end of the body is found.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.meaning.framing
    }

    /// Returns true if the client lets the connection be used again: on HTTP/1.1 unless `Connection: close`, on
    /// HTTP/1.0 only with `Connection: keep-alive`; never after `CONNECT`, and never where a length was ignored beside
    /// chunks.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.meaning.keep_alive && !self.is_connect()
    }

    /// Returns true if the client waits for `100 Continue` before it sends the body: `Expect: 100-continue` on HTTP/1.1
    /// with a body announced.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.meaning.expects_continue
    }

    /// Returns true if the client offers to change the protocol: `Upgrade`, and `Connection: upgrade`, on HTTP/1.1.
    #[must_use]
    pub fn upgrade(&self) -> bool {
        self.meaning.upgrade
    }

    /// Returns true if the client may want to change the protocol, in the view of older servers, which go by one field:
    /// `Connection: upgrade`, or `Upgrade: websocket`.
    #[must_use]
    pub fn hints_at_upgrade(&self) -> bool {
        self.meaning.hints_at_upgrade
    }
}

/// Returns the refusal of a line whose version the parser does not know: a well-formed version is not supported, not
/// malformed.
fn unknown_version(line: &[u8]) -> Refusal {
    let mut words = line.split(|&byte| byte == b' ').skip(2);
    match (words.next(), words.next()) {
        (
            Some(
                [
                    b'H',
                    b'T',
                    b'T',
                    b'P',
                    b'/',
                    b'1'..=b'9',
                    b'.',
                    b'0'..=b'9',
                    b'\r',
                    b'\n',
                ],
            ),
            None,
        ) => Refusal::Version,
        _ => Refusal::RequestLine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_is_searched_twice() {
        let input = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
        let mut head = Head::new();
        for end in 1..input.len() {
            assert_eq!(head.decode(&input[..end], &Policy::default()), Ok(None));
            assert_eq!(head.progress.searched, end);
        }
        assert_eq!(
            head.decode(input, &Policy::default()),
            Ok(Some(input.len()))
        );
    }

    #[test]
    fn a_warm_decoder_keeps_its_memory() {
        let input = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
        let mut head = Head::new();
        assert!(head.decode(input, &Policy::default()).is_ok());
        let memory = (head.bytes.as_ptr(), head.fields.as_ptr());
        assert_eq!(
            head.decode(input, &Policy::default()),
            Ok(Some(input.len()))
        );
        assert_eq!((head.bytes.as_ptr(), head.fields.as_ptr()), memory);
    }
}
