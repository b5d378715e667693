//! The head of a response, and the lines around its chunks, written into a buffer.

use memchr::memchr3;
use thiserror::Error;

use crate::fields::is_token;
use crate::head::Version;

/// The reason why a part of a response may not be sent: a client would read it as something else.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum ResponseError {
    /// The status holds CR, LF or NUL, which would end its line.
    #[error("carriage return or newline in status")]
    Status,
    /// The status does not begin with three digits and a space, or its reason holds a control character.
    #[error("malformed status")]
    StatusForm,
    /// The code is not one that a final response has, 200 to 599 (RFC 9110 section 15), nor 101.
    #[error("status outside 200-599")]
    StatusCode,
    /// A field's name holds CR, LF or NUL, which would end its line.
    #[error("carriage return or newline in header name")]
    Name,
    /// A field's name is no token (RFC 9110 section 5.1).
    #[error("invalid header name")]
    NameForm,
    /// A field's value holds CR, LF or NUL, which would end its line.
    #[error("carriage return or newline in header value")]
    Value,
    /// A field's value holds a control character other than a tab (RFC 9110 section 5.5).
    #[error("control character in header value")]
    ValueForm,
}

/// The end of a body in chunks without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The answer to `Expect: 100-continue` from an application that wants the body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Returns the code of a status such as `200 OK`, if a final response may have it. 101 counts as one, as no other HTTP
/// response follows it on its connection.
///
/// # Errors
/// Returns the [`ResponseError`] that says what is wrong with it.
pub fn final_code(status: &[u8]) -> Result<u16, ResponseError> {
    let (a, b, c, reason) = match status {
        [a, b, c] => (a, b, c, &[][..]),
        [a, b, c, b' ', reason @ ..] => (a, b, c, reason),
        _ => return Err(malformed(status)),
    };
    let digits = [*a, *b, *c];
    if !digits.iter().all(u8::is_ascii_digit) || !is_text(reason) {
        return Err(malformed(status));
    }
    let code = digits
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match code {
        101 | 200..=599 => Ok(code),
        _ => Err(ResponseError::StatusCode),
    }
}

#[cold]
fn malformed(status: &[u8]) -> ResponseError {
    if breaks_line(status) {
        ResponseError::Status
    } else {
        ResponseError::StatusForm
    }
}

/// Appends a status line and returns its code. `status` consists of code and reason, such as `200 OK`.
///
/// # Errors
/// Returns the errors of [`final_code`]; nothing is appended then.
pub fn status_line(
    out: &mut Vec<u8>,
    version: Version,
    status: &[u8],
) -> Result<u16, ResponseError> {
    let code = final_code(status)?;
    out.reserve(version.as_str().len() + status.len() + 4);
    out.extend_from_slice(version.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status);
    if status.len() == 3 {
        // The space is sent even when no reason follows it (RFC 9112 section 4).
        out.push(b' ');
    }
    out.extend_from_slice(b"\r\n");
    Ok(code)
}

/// Appends a field line.
///
/// # Errors
/// Returns the [`ResponseError`] of its name or value; nothing is appended then.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), ResponseError> {
    if !is_token(name) {
        return Err(if breaks_line(name) {
            ResponseError::Name
        } else {
            ResponseError::NameForm
        });
    }
    if !is_text(value) {
        return Err(if breaks_line(value) {
            ResponseError::Value
        } else {
            ResponseError::ValueForm
        });
    }
    plain_field(out, name, value);
    Ok(())
}

/// Appends a field line of the server's own, whose name and value are known to be good.
pub fn plain_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a field line whose value is a number, as `Content-Length`. `name` must be a plain field name.
pub fn number_field(out: &mut Vec<u8>, name: &str, value: u64) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut left = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Appends the empty line that ends a head.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Returns true if a status, name or value holds CR, LF or NUL, and so may not be sent.
#[must_use]
pub fn breaks_line(text: &[u8]) -> bool {
    memchr3(b'\r', b'\n', b'\0', text).is_some()
}

/// Returns true if a text has no control character but tabs.
fn is_text(text: &[u8]) -> bool {
    // There is no branch for each byte, so that the compiler can judge many at a time.
    let bad = |byte: u8| u8::from(byte < b' ') & u8::from(byte != b'\t') | u8::from(byte == 0x7f);
    text.iter().fold(0, |found, &byte| found | bad(byte)) == 0
}

/// The line before a chunk's data, which holds its size. It is kept on the stack. The data is followed by CRLF.
#[derive(Clone, Copy, Debug)]
pub struct ChunkHead {
    bytes: [u8; 18],
    begin: usize,
}

impl ChunkHead {
    /// Returns the line before `size` bytes. A size of 0 would end the body: use [`LAST_CHUNK`] for that.
    #[must_use]
    pub fn new(size: usize) -> Self {
        let mut bytes = *b"0000000000000000\r\n";
        let mut begin = 16;
        let mut left = size;
        loop {
            begin -= 1;
            bytes[begin] = b"0123456789abcdef"[left % 16];
            left /= 16;
            if left == 0 {
                break;
            }
        }
        Self { bytes, begin }
    }

    /// Returns the line, with its CRLF.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.begin..]
    }
}
