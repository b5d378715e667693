//! The fields of a head: finds the place of each, and combines the meaning of those that govern framing and connection.

use memchr::memchr;

use crate::body::Framing;
use crate::head::{FieldAt, Version};
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::target::is_authority;

/// The number of fields that are parsed without an allocation.
const USUAL_FIELDS: usize = 64;

/// The longest host that is remembered, that of a long name and a port.
const LONGEST_KNOWN_HOST: usize = 256;

/// Fields that may not be continued on another line under any policy, as another reader might see another value.
const NEVER_FOLDED: [&str; 6] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "transfer-encoding",
    "upgrade",
];

/// Overwrites every fold with spaces, so that a continued field is one line.
pub(crate) fn unfold(lines: &mut [u8]) -> Result<(), Refusal> {
    let mut field = 0;
    let mut next = 0;
    while let Some(found) = memchr(b'\n', &lines[next..]) {
        let end = next + found;
        next = end + 1;
        if matches!(lines.get(next), Some(b' ' | b'\t')) {
            let name = lines[field..end]
                .split(|&byte| byte == b':')
                .next()
                .unwrap_or_default();
            if NEVER_FOLDED
                .iter()
                .any(|one| name.eq_ignore_ascii_case(one.as_bytes()))
            {
                return Err(Refusal::FoldedField);
            }
            lines[end - 1..=end].fill(b' ');
        } else {
            field = next;
        }
    }
    Ok(())
}

/// Finds the fields in `bytes[start..]`, which end with an empty line and take `lines` lines.
pub(crate) fn parse(
    bytes: &[u8],
    start: usize,
    lines: usize,
    fields: &mut Vec<FieldAt>,
) -> Result<(), Refusal> {
    if lines <= USUAL_FIELDS {
        parse_into(
            &mut [httparse::EMPTY_HEADER; USUAL_FIELDS],
            bytes,
            start,
            fields,
        )
    } else {
        parse_into(
            &mut vec![httparse::EMPTY_HEADER; lines],
            bytes,
            start,
            fields,
        )
    }
}

fn parse_into<'a>(
    headers: &mut [httparse::Header<'a>],
    bytes: &'a [u8],
    start: usize,
    fields: &mut Vec<FieldAt>,
) -> Result<(), Refusal> {
    let headers = match httparse::parse_headers(&bytes[start..], headers) {
        Ok(httparse::Status::Complete((_, headers))) => headers,
        Err(httparse::Error::HeaderValue) => return Err(Refusal::FieldValue),
        _ => return Err(Refusal::Field),
    };
    fields.extend(headers.iter().map(|header| FieldAt {
        name: range_in(bytes, header.name.as_bytes()),
        value: range_in(bytes, header.value),
    }));
    Ok(())
}

/// Returns where a part lies in its whole. An empty part may lie anywhere, and is said to begin the whole.
fn range_in(whole: &[u8], part: &[u8]) -> (u32, u32) {
    if part.is_empty() {
        return (0, 0);
    }
    let from = part.as_ptr().addr() - whole.as_ptr().addr();
    (from as u32, (from + part.len()) as u32)
}

/// The meaning of a head's fields for the connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meaning {
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
    pub(crate) upgrade: bool,
    pub(crate) hints_at_upgrade: bool,
}

/// The fields that govern framing and connection, read one after the other.
pub(crate) struct Reading<'p> {
    version: Version,
    policy: &'p Policy,
    /// A host that was found to be good, most likely by the request before on the same connection.
    known_host: &'p mut Vec<u8>,
    length: Option<u64>,
    chunked: bool,
    host: bool,
    close: bool,
    stay: bool,
    connection_upgrade: bool,
    upgrade: bool,
    upgrade_to_websocket: bool,
    expects_continue: bool,
}

impl<'p> Reading<'p> {
    pub(crate) fn new(version: Version, policy: &'p Policy, known_host: &'p mut Vec<u8>) -> Self {
        Self {
            version,
            policy,
            known_host,
            length: None,
            chunked: false,
            host: false,
            close: false,
            stay: false,
            connection_upgrade: false,
            upgrade: false,
            upgrade_to_websocket: false,
            expects_continue: false,
        }
    }

    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        // The length alone rules most fields out.
        match name.len() {
            4 if is("host") => self.host(value),
            6 if is("expect") => {
                self.expects_continue |=
                    tokens(value).any(|token| token.eq_ignore_ascii_case(b"100-continue"));
                Ok(())
            }
            7 if is("upgrade") => {
                self.upgrade |= !value.is_empty();
                self.upgrade_to_websocket |=
                    tokens(value).any(|token| token.eq_ignore_ascii_case(b"websocket"));
                Ok(())
            }
            10 if is("connection") => {
                for token in tokens(value) {
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.stay |= token.eq_ignore_ascii_case(b"keep-alive");
                    self.connection_upgrade |= token.eq_ignore_ascii_case(b"upgrade");
                }
                Ok(())
            }
            14 if is("content-length") => self.content_length(value),
            17 if is("transfer-encoding") => self.transfer_encoding(value),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.host {
            return Err(Refusal::Host);
        }
        if *self.known_host != value {
            if !is_authority(value, false) {
                return Err(Refusal::Host);
            }
            if value.len() <= LONGEST_KNOWN_HOST {
                self.known_host.clear();
                self.known_host.extend_from_slice(value);
            }
        }
        self.host = true;
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::ContentLength);
        }
        // A number that overflows is larger than any limit.
        let length = value.iter().try_fold(0_u64, |length, digit| {
            length.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        });
        self.length = Some(length.ok_or(Refusal::BodyTooLarge)?);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked || self.version == Version::Http10 {
            return Err(Refusal::TransferEncoding);
        }
        if value.eq_ignore_ascii_case(b"chunked") {
            self.chunked = true;
            return Ok(());
        }
        // The end of a body whose codings end in `chunked` can be found, but its content cannot be decoded here.
        let mut codings = tokens(value).rev();
        let last = codings.next().unwrap_or_default();
        let supported_end = last.eq_ignore_ascii_case(b"chunked")
            && codings.all(|coding| is_token(coding) && !coding.eq_ignore_ascii_case(b"chunked"));
        Err(if supported_end {
            Refusal::TransferCoding
        } else {
            Refusal::TransferEncoding
        })
    }

    pub(crate) fn finish(self) -> Result<Meaning, Refusal> {
        let current = self.version == Version::Http11;
        let leniency = self.policy.leniency;
        if current && !self.host && !leniency.missing_host {
            return Err(Refusal::MissingHost);
        }
        let framing = match self.length {
            Some(_) if self.chunked && !leniency.length_with_chunked => {
                return Err(Refusal::AmbiguousLength);
            }
            _ if self.chunked => Framing::Chunked,
            Some(length) if length > self.policy.limits.body => return Err(Refusal::BodyTooLarge),
            Some(length) => Framing::Length(length),
            None => Framing::None,
        };
        Ok(Meaning {
            framing,
            // A proxy may have used the length that was ignored here, and would then read the next request from another
            // place (RFC 9112 section 6.1).
            keep_alive: !self.close
                && (current || self.stay)
                && (!self.chunked || self.length.is_none() || leniency.stays_after_both),
            expects_continue: current
                && self.expects_continue
                && !matches!(framing, Framing::None | Framing::Length(0)),
            upgrade: current && self.upgrade && self.connection_upgrade,
            hints_at_upgrade: self.connection_upgrade || self.upgrade_to_websocket,
        })
    }
}

/// Yields the members of a comma-separated list.
fn tokens(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Returns true if a text is a token (RFC 9110 section 5.6.2): one or more token characters.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| TOKEN[usize::from(byte)])
}

/// Holds [`is_token_byte`] for each byte, as a table is faster than the comparisons.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_token_byte(byte as u8);
        byte += 1;
    }
    table
};

/// Returns true for a token character (RFC 9110 section 5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
