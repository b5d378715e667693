//! The body of a request, of a given length or in chunks (RFC 9112 sections 6 and 7), decoded as the bytes arrive.
//!
//! ```text
//! SizeBegin ─> Size ─> SizeSpace? ─> Extension? ─> SizeEnd ─┬─ size > 0 ─> Data ─> DataReturn ─> DataFeed ─> SizeBegin
//!                                                           └─ size = 0 ─> TrailerBegin
//! TrailerBegin ─┬─> TrailerName ─> TrailerValue ─> TrailerFeed ─> TrailerBegin
//!               └─> LastFeed ─> Done
//! ```

use std::ops::Range;

use crate::fields::is_token_byte;
use crate::policy::{Leniency, Limits};
use crate::refusal::Refusal;

/// Tells a body's end: there is no body, its length is stated, or its last chunk is marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// The body has as many bytes as `Content-Length` says.
    Length(u64),
    /// The body comes in chunks, as `Transfer-Encoding: chunked` says.
    Chunked,
}

/// The result of one call of [`Body::decode`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The number of bytes of the input that were decoded. The data, if any, lies within them.
    pub consumed: usize,
    /// The range of the input that is content; empty when none came.
    pub data: Range<usize>,
    /// True once the body is complete. The bytes after `consumed` belong to the next request.
    pub done: bool,
}

/// A decoder of one body.
#[derive(Clone, Debug)]
pub struct Body {
    state: State,
    received: u64,
    limit: u64,
    chunk_line: usize,
    trailers: usize,
    /// True if control characters are accepted in chunk extensions.
    lenient: bool,
    /// The bytes of the line, or of the trailers, that were read so far.
    taken: usize,
}

/// The part of a body that the next byte belongs to. A number is the size of the chunk, or the length of its remaining
/// data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The content of a body with a length.
    Length(u64),
    /// The first digit of a chunk's size.
    SizeBegin,
    /// Another digit of the size, or what ends it.
    Size(u64),
    /// Spaces between a size and an extension.
    SizeSpace(u64),
    /// The rest of a chunk extension.
    Extension(u64),
    /// The line feed of a size line.
    SizeEnd(u64),
    /// A chunk's data.
    Data(u64),
    /// The CRLF after a chunk's data.
    DataReturn,
    DataFeed,
    /// A trailer line, or the empty line that ends the body.
    TrailerBegin,
    TrailerName,
    TrailerValue,
    TrailerFeed,
    LastFeed,
    Done,
}

impl Body {
    /// Returns a decoder of a body with this framing. It applies the limits of body, chunk line and trailers.
    #[must_use]
    pub fn new(framing: Framing, limits: &Limits) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::SizeBegin,
        };
        Self {
            state,
            received: 0,
            limit: limits.body,
            chunk_line: limits.chunk_line,
            trailers: limits.trailers,
            lenient: false,
            taken: 0,
        }
    }

    /// Returns the decoder with this leniency, of which only the part about chunk extensions applies.
    #[must_use]
    pub fn with_leniency(mut self, leniency: Leniency) -> Self {
        self.lenient = leniency.chunk_extensions;
        self
    }

    /// Returns true if the body was received whole.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Returns the number of bytes of content that came so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Returns how many bytes of content come next with nothing between: the rest of a body with a length, or of a chunk.
    /// It is 0 where framing comes next.
    #[must_use]
    pub fn contiguous(&self) -> u64 {
        match self.state {
            State::Length(left) | State::Data(left) => left,
            _ => 0,
        }
    }

    /// Counts `bytes` of content that were received without [`decode`](Self::decode), at most
    /// [`contiguous`](Self::contiguous) of them. Returns how many were counted.
    pub fn advance(&mut self, bytes: u64) -> u64 {
        let taken = bytes.min(self.contiguous());
        self.received += taken;
        self.state = match self.state {
            State::Length(left) if left == taken => State::Done,
            State::Length(left) => State::Length(left - taken),
            State::Data(left) if left == taken => State::DataReturn,
            State::Data(left) => State::Data(left - taken),
            other => other,
        };
        taken
    }

    /// Decodes the next bytes of the body. A step ends with the first run of content, so call again while it consumes
    /// something and is not done. When nothing is consumed, more bytes are needed.
    ///
    /// # Errors
    /// Returns a [`Refusal`] when chunks or trailers are malformed or larger than allowed. Which refusal it is, and
    /// which content comes before it, does not depend on how the bytes were cut.
    pub fn decode(&mut self, input: &[u8]) -> Result<Step, Refusal> {
        let mut at = 0;
        loop {
            let left = self.contiguous();
            if left > 0 {
                let run = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(input.len() - at);
                self.advance(run as u64);
                let end = at + run;
                return Ok(Step {
                    consumed: end,
                    data: at..end,
                    done: self.is_done(),
                });
            }
            if self.is_done() || at == input.len() {
                return Ok(Step {
                    consumed: at,
                    data: at..at,
                    done: self.is_done(),
                });
            }
            self.state = self.next(input[at])?;
            at += 1;
        }
    }

    /// Returns the state after a byte of framing.
    fn next(&mut self, byte: u8) -> Result<State, Refusal> {
        Ok(match (self.state, byte) {
            (State::SizeBegin, _) => {
                self.taken = 1;
                State::Size(hex(byte).ok_or(Refusal::ChunkSize)?)
            }
            (State::Size(size) | State::SizeSpace(size) | State::Extension(size), b'\r') => {
                if matches!(self.state, State::SizeSpace(_)) {
                    return Err(Refusal::ChunkSize);
                }
                State::SizeEnd(size)
            }
            (State::Extension(_), b'\n') => return Err(Refusal::ChunkExtension),
            (State::Extension(_), _) if is_control(byte) && !self.lenient => {
                return Err(Refusal::ChunkExtension);
            }
            (State::Extension(size), _) => {
                self.take_of_chunk_line()?;
                State::Extension(size)
            }
            (State::Size(size) | State::SizeSpace(size), b';') => {
                self.take_of_chunk_line()?;
                State::Extension(size)
            }
            (State::Size(size) | State::SizeSpace(size), b' ' | b'\t') => {
                self.take_of_chunk_line()?;
                State::SizeSpace(size)
            }
            (State::Size(size), _) => {
                self.take_of_chunk_line()?;
                let digit = hex(byte).ok_or(Refusal::ChunkSize)?;
                let size = size.checked_mul(16).ok_or(Refusal::BodyTooLarge)? | digit;
                State::Size(size)
            }
            (State::SizeSpace(_), _) => return Err(Refusal::ChunkSize),
            (State::SizeEnd(size), b'\n') => {
                self.taken = 0;
                if size > self.limit - self.received {
                    return Err(Refusal::BodyTooLarge);
                }
                if size == 0 {
                    State::TrailerBegin
                } else {
                    State::Data(size)
                }
            }
            (State::SizeEnd(_), _) => return Err(Refusal::ChunkExtension),
            (State::DataReturn, b'\r') => State::DataFeed,
            (State::DataFeed, b'\n') => State::SizeBegin,
            (State::DataReturn | State::DataFeed, _) => return Err(Refusal::ChunkEnd),
            (State::TrailerBegin, b'\r') => State::LastFeed,
            (State::LastFeed, b'\n') => State::Done,
            (State::TrailerBegin | State::TrailerName, _) => {
                self.take_of_trailers()?;
                match byte {
                    b':' if self.state == State::TrailerName => State::TrailerValue,
                    _ if is_token_byte(byte) => State::TrailerName,
                    _ => return Err(Refusal::Trailer),
                }
            }
            (State::TrailerValue, b'\r') => State::TrailerFeed,
            (State::TrailerFeed, b'\n') => State::TrailerBegin,
            (State::TrailerValue, _) => {
                self.take_of_trailers()?;
                if is_control(byte) {
                    return Err(Refusal::Trailer);
                }
                State::TrailerValue
            }
            (State::TrailerFeed | State::LastFeed, _) => return Err(Refusal::Trailer),
            // This is reached only while framing comes next.
            (State::Length(_) | State::Data(_) | State::Done, _) => self.state,
        })
    }

    fn take_of_chunk_line(&mut self) -> Result<(), Refusal> {
        self.taken += 1;
        if self.taken > self.chunk_line {
            Err(Refusal::ChunkLineTooLong)
        } else {
            Ok(())
        }
    }

    fn take_of_trailers(&mut self) -> Result<(), Refusal> {
        self.taken += 1;
        if self.taken > self.trailers {
            Err(Refusal::TrailersTooLarge)
        } else {
            Ok(())
        }
    }
}

/// Returns true for a control character other than a tab, which no field and no chunk extension may hold.
fn is_control(byte: u8) -> bool {
    byte != b'\t' && byte.is_ascii_control()
}

/// Returns the value of a hexadecimal digit.
fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}
