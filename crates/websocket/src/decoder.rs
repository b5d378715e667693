//! Frames and messages, decoded as the bytes arrive (RFC 6455 sections 5 and 6).

use std::str::from_utf8;

use crate::Role;
use crate::deflate::Inflater;
use crate::error::ProtocolError;
use crate::extension::Deflate;
use crate::frame::{Header, Opcode, is_close_code};
use crate::mask;
use crate::utf8::Utf8;

/// A message or a control frame, borrowed from the input or the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message of text.
    Text(&'a str),
    /// A whole message of bytes.
    Binary(&'a [u8]),
    /// A ping, to be answered by a pong with the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The other side has closed the connection, with this code and reason, if it gave them.
    Close(Option<(u16, &'a str)>),
}

/// The result of one call of [`Decoder::decode`].
#[derive(Debug)]
pub struct Decoded<'a> {
    /// The number of bytes of the input that were decoded.
    pub consumed: usize,
    /// The event that is complete now; `None` when more bytes are needed.
    pub event: Option<Event<'a>>,
}

/// The most memory that is kept for the next message, in bytes.
const KEPT: usize = 64 * 1024;

/// A decoder of what one side sends.
#[derive(Debug)]
pub struct Decoder {
    sender: Role,
    limit: u64,
    inflater: Option<Inflater>,
    frame: Option<Frame>,
    message: Option<Message>,
    /// The message's content so far, or that of the message which was returned last.
    content: Vec<u8>,
    /// The control frame's payload so far.
    control: Vec<u8>,
    utf8: Utf8,
    closed: bool,
}

/// A frame whose payload is not complete.
#[derive(Clone, Copy, Debug)]
struct Frame {
    header: Header,
    received: u64,
}

/// A message whose end has not been received.
#[derive(Clone, Copy, Debug)]
struct Message {
    text: bool,
    compressed: bool,
    /// The number of bytes of payload that its frames announced.
    announced: u64,
}

impl Decoder {
    /// Returns a decoder of what `sender` sends. A message of more than `limit` bytes is refused as soon as its length
    /// is announced, or as it is decompressed.
    #[must_use]
    pub fn new(sender: Role, limit: usize, deflate: Option<&Deflate>) -> Self {
        Self {
            sender,
            limit: limit as u64,
            inflater: deflate.map(|agreed| Inflater::new(agreed, sender, limit)),
            frame: None,
            message: None,
            content: Vec::new(),
            control: Vec::new(),
            utf8: Utf8::default(),
            closed: false,
        }
    }

    /// Returns true if a close frame came. What follows it is dropped.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Returns true if messages may come compressed.
    #[must_use]
    pub fn decompresses(&self) -> bool {
        self.inflater.is_some()
    }

    /// Returns true if a frame or a message has begun whose end has not come.
    #[must_use]
    pub fn is_partway(&self) -> bool {
        self.frame.is_some() || self.message.is_some()
    }

    /// Returns how many bytes of payload are still to come of the frame that has begun.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.frame
            .map_or(0, |frame| frame.header.length - frame.received)
    }

    /// Decodes up to the next event. `input` holds what was not consumed yet; it is unmasked in place.
    ///
    /// # Errors
    /// Returns a [`ProtocolError`], as soon as the bytes that break the protocol have come. The decoder must not be
    /// used after that.
    pub fn decode<'a>(&'a mut self, input: &'a mut [u8]) -> Result<Decoded<'a>, ProtocolError> {
        if self.message.is_none() && !self.content.is_empty() {
            self.content.clear();
            self.content.shrink_to(KEPT);
        }
        let mut at = 0;
        loop {
            if self.closed {
                return Ok(Decoded {
                    consumed: input.len(),
                    event: None,
                });
            }
            let mut frame = match self.frame {
                Some(frame) => frame,
                None => {
                    let Some((header, length)) = Header::decode(&input[at..])? else {
                        return Ok(Decoded {
                            consumed: at,
                            event: None,
                        });
                    };
                    at += length;
                    self.begin(&header)?;
                    Frame {
                        header,
                        received: 0,
                    }
                }
            };
            let Header {
                fin,
                opcode,
                length,
                key,
                ..
            } = frame.header;
            let left = length - frame.received;
            let run = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(input.len() - at);
            let payload = at..at + run;
            at += run;
            if let Some(key) = key {
                mask::apply(
                    &mut input[payload.clone()],
                    key,
                    (frame.received % 4) as usize,
                );
            }
            frame.received += run as u64;
            let done = frame.received == length;
            self.frame = (!done).then_some(frame);

            if opcode.is_control() {
                self.control.extend_from_slice(&input[payload]);
                if done {
                    self.closed = opcode == Opcode::Close;
                    let event = control_event(opcode, &self.control)?;
                    return Ok(Decoded {
                        consumed: at,
                        event: Some(event),
                    });
                }
            } else if run as u64 == length && self.is_whole(fin, opcode) {
                let text = self.message.take().is_some_and(|message| message.text);
                let event = message_event(text, &input[payload])?;
                return Ok(Decoded {
                    consumed: at,
                    event: Some(event),
                });
            } else {
                self.append(&input[payload])?;
                if done && fin {
                    let text = self.finish()?;
                    let event = message_event(text, &self.content)?;
                    return Ok(Decoded {
                        consumed: at,
                        event: Some(event),
                    });
                }
            }
            if !done {
                return Ok(Decoded {
                    consumed: at,
                    event: None,
                });
            }
        }
    }

    /// Checks a header against what came before it.
    fn begin(&mut self, header: &Header) -> Result<(), ProtocolError> {
        match (self.sender, header.key) {
            (Role::Client, None) => return Err(ProtocolError::Unmasked),
            (Role::Server, Some(_)) => return Err(ProtocolError::Masked),
            _ => {}
        }
        let begins = matches!(header.opcode, Opcode::Text | Opcode::Binary);
        // The bit is that of a message, so only its first frame has it (RFC 7692 section 6).
        if header.compressed && (self.inflater.is_none() || !begins) {
            return Err(ProtocolError::ReservedBits);
        }
        let mut message = match (self.message, begins) {
            _ if header.opcode.is_control() => {
                self.control.clear();
                return Ok(());
            }
            (None, false) => return Err(ProtocolError::UnexpectedContinuation),
            (Some(_), true) => return Err(ProtocolError::ExpectedContinuation),
            (Some(message), false) => message,
            (None, true) => Message {
                text: header.opcode == Opcode::Text,
                compressed: header.compressed,
                announced: 0,
            },
        };
        message.announced = message.announced.saturating_add(header.length);
        if message.announced > self.limit {
            return Err(ProtocolError::TooLarge);
        }
        self.message = Some(message);
        Ok(())
    }

    /// Returns true if a frame is a message of its own that needs no decompression.
    fn is_whole(&self, fin: bool, opcode: Opcode) -> bool {
        fin && opcode != Opcode::Continuation && !self.is_compressed()
    }

    fn is_compressed(&self) -> bool {
        self.message.is_some_and(|message| message.compressed)
    }

    /// Adds a run of payload to the message.
    fn append(&mut self, payload: &[u8]) -> Result<(), ProtocolError> {
        let before = self.content.len();
        let compressed = self.is_compressed();
        let added = match &mut self.inflater {
            Some(inflater) if compressed => inflater.push(payload, &mut self.content),
            _ => {
                self.content.extend_from_slice(payload);
                Ok(())
            }
        };
        // The text ahead of an error is checked first, so that the same error is found however the bytes were cut.
        self.check_text(before)?;
        added
    }

    /// Ends the message. Returns true if it is text.
    fn finish(&mut self) -> Result<bool, ProtocolError> {
        let before = self.content.len();
        let compressed = self.is_compressed();
        let ended = match &mut self.inflater {
            Some(inflater) if compressed => inflater.finish(&mut self.content),
            _ => Ok(()),
        };
        self.check_text(before)?;
        ended?;
        let text = self.message.take().is_some_and(|message| message.text);
        if text {
            self.utf8.finish().map_err(|_| ProtocolError::Utf8)?;
        }
        Ok(text)
    }

    /// Checks the text that was added to a message.
    fn check_text(&mut self, before: usize) -> Result<(), ProtocolError> {
        if self.message.is_some_and(|message| message.text) {
            self.utf8
                .push(&self.content[before..])
                .map_err(|_| ProtocolError::Utf8)?;
        }
        Ok(())
    }
}

fn message_event(text: bool, content: &[u8]) -> Result<Event<'_>, ProtocolError> {
    if text {
        from_utf8(content)
            .map(Event::Text)
            .map_err(|_| ProtocolError::Utf8)
    } else {
        Ok(Event::Binary(content))
    }
}

fn control_event(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, ProtocolError> {
    match (opcode, payload) {
        (Opcode::Ping, _) => Ok(Event::Ping(payload)),
        (Opcode::Pong, _) => Ok(Event::Pong(payload)),
        (_, []) => Ok(Event::Close(None)),
        (_, &[high, low, ref reason @ ..]) => {
            let code = u16::from_be_bytes([high, low]);
            if !is_close_code(code) {
                return Err(ProtocolError::Close);
            }
            let reason = from_utf8(reason).map_err(|_| ProtocolError::Utf8)?;
            Ok(Event::Close(Some((code, reason))))
        }
        (_, [_]) => Err(ProtocolError::Close),
    }
}
