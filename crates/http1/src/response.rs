//! The head of a response, and the lines around its chunks, written into a buffer.

use memchr::memchr3;
use thiserror::Error;

use crate::head::Version;

/// A part of a response that would end its line, and so could be read as more than itself.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum ResponseError {
    /// In the status: code and reason.
    #[error("carriage return or newline in status")]
    Status,
    /// In a field's name.
    #[error("carriage return or newline in header name")]
    Name,
    /// In a field's value.
    #[error("carriage return or newline in header value")]
    Value,
}

/// What ends a body in chunks without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What an application that expects a body is asked with, on the client's `Expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Append a status line. `status` is code and reason, as `200 OK`.
///
/// # Errors
/// [`ResponseError::Status`] when it holds CR, LF or NUL; nothing is appended then.
pub fn status_line(
    out: &mut Vec<u8>,
    version: Version,
    status: &[u8],
) -> Result<(), ResponseError> {
    if breaks_line(status) {
        return Err(ResponseError::Status);
    }
    out.reserve(version.as_str().len() + status.len() + 3);
    out.extend_from_slice(version.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Append a field line.
///
/// # Errors
/// [`ResponseError::Name`] or [`ResponseError::Value`] when it holds CR, LF or NUL; nothing is appended then.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), ResponseError> {
    let begin = out.len();
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    // One look at the line where most are good.
    if breaks_line(&out[begin..]) {
        out.truncate(begin);
        return Err(if breaks_line(name) {
            ResponseError::Name
        } else {
            ResponseError::Value
        });
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Append a field line whose value is a number, as `Content-Length`. `name` must be a plain field name.
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

/// Append the empty line that ends a head.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Whether a status, name or value holds CR, LF or NUL, and so may not be sent.
#[must_use]
pub fn breaks_line(text: &[u8]) -> bool {
    memchr3(b'\r', b'\n', b'\0', text).is_some()
}

/// The line before a chunk's data: its size, on the stack. The data is followed by CRLF.
#[derive(Clone, Copy, Debug)]
pub struct ChunkHead {
    bytes: [u8; 18],
    begin: usize,
}

impl ChunkHead {
    /// The line before `size` bytes. 0 would end the body: use [`LAST_CHUNK`] for that.
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

    /// The line, with its CRLF.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.begin..]
    }
}
