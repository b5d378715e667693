//! The header of a frame (RFC 6455 section 5.2), and the codes of a close (section 7.4).

use crate::error::ProtocolError;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// More of the message that was begun.
    Continuation,
    /// A message of text, or its beginning.
    Text,
    /// A message of bytes, or its beginning.
    Binary,
    /// The end of the connection.
    Close,
    /// A request for a [`Pong`](Self::Pong), which shows that the other side is there.
    Ping,
    /// The answer to a [`Ping`](Self::Ping), or an unasked sign of life.
    Pong,
}

impl Opcode {
    /// Returns the opcode of a number, or `None` where the number is reserved.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    /// Returns the number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    /// Returns true for a control frame: short, whole, and allowed between fragments.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The longest payload of a control frame.
pub const CONTROL_LIMIT: usize = 125;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    /// RSV1: the message is compressed (RFC 7692).
    pub(crate) compressed: bool,
    pub(crate) opcode: Opcode,
    pub(crate) key: Option<[u8; 4]>,
    pub(crate) length: u64,
}

impl Header {
    /// Returns the header at the beginning of `input` and its length; `None` when more bytes are needed.
    pub(crate) fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, ProtocolError> {
        let &[first, second, ref rest @ ..] = input else {
            return Ok(None);
        };
        if first & 0x30 != 0 {
            return Err(ProtocolError::ReservedBits);
        }
        let opcode = Opcode::from_number(first & 0x0f).ok_or(ProtocolError::ReservedOpcode)?;
        let fin = first & 0x80 != 0;
        let short = second & 0x7f;
        if opcode.is_control() {
            if !fin {
                return Err(ProtocolError::FragmentedControl);
            }
            if usize::from(short) > CONTROL_LIMIT {
                return Err(ProtocolError::LongControl);
            }
        }
        let (length, rest) = match short {
            126 => {
                let Some((bytes, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                let length = u64::from(u16::from_be_bytes(*bytes));
                if length < 126 {
                    return Err(ProtocolError::Length);
                }
                (length, rest)
            }
            127 => {
                let Some((bytes, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                let length = u64::from_be_bytes(*bytes);
                if length <= u64::from(u16::MAX) || length > i64::MAX as u64 {
                    return Err(ProtocolError::Length);
                }
                (length, rest)
            }
            short => (u64::from(short), rest),
        };
        let (key, rest) = if second & 0x80 != 0 {
            let Some((key, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (Some(*key), rest)
        } else {
            (None, rest)
        };
        let header = Self {
            fin,
            compressed: first & 0x40 != 0,
            opcode,
            key,
            length,
        };
        Ok(Some((header, input.len() - rest.len())))
    }

    /// Appends the header.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let first = u8::from(self.fin) << 7 | u8::from(self.compressed) << 6 | self.opcode.number();
        let masked = u8::from(self.key.is_some()) << 7;
        match self.length {
            0..=125 => out.extend_from_slice(&[first, masked | self.length as u8]),
            126..=0xffff => {
                out.extend_from_slice(&[first, masked | 126]);
                out.extend_from_slice(&(self.length as u16).to_be_bytes());
            }
            length => {
                out.extend_from_slice(&[first, masked | 127]);
                out.extend_from_slice(&length.to_be_bytes());
            }
        }
        out.extend_from_slice(self.key.as_ref().map_or(&[][..], |key| key));
    }
}

/// Returns true if a code may be sent in a close frame (RFC 6455 section 7.4, and the registry it founds).
#[must_use]
pub const fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
