//! Frames and messages, encoded (RFC 6455 sections 5 and 6).

use thiserror::Error;

use crate::Role;
use crate::deflate::Deflater;
use crate::extension::Deflate;
use crate::frame::{CONTROL_LIMIT, Header, Opcode, is_close_code};
use crate::mask;

/// What a control frame may not carry.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum CloseError {
    /// A code that may not be sent.
    #[error("invalid close code")]
    Code,
    /// A payload of more than 125 bytes.
    #[error("control frame too long")]
    TooLong,
}

/// An encoder of what one side sends.
#[derive(Debug)]
pub struct Encoder {
    sender: Role,
    deflater: Option<Deflater>,
    keys: Keys,
}

impl Encoder {
    /// An encoder of what `sender` sends.
    #[must_use]
    pub fn new(sender: Role, deflate: Option<&Deflate>) -> Self {
        Self {
            sender,
            deflater: deflate.map(|agreed| Deflater::new(agreed, sender)),
            keys: Keys::default(),
        }
    }

    /// Append a message of text.
    pub fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        self.message(Opcode::Text, text.as_bytes(), out);
    }

    /// Append a message of bytes.
    pub fn binary(&mut self, content: &[u8], out: &mut Vec<u8>) {
        self.message(Opcode::Binary, content, out);
    }

    fn message(&mut self, opcode: Opcode, content: &[u8], out: &mut Vec<u8>) {
        if let Some(deflater) = &mut self.deflater {
            let mut compressed = Vec::new();
            deflater.compress(content, &mut compressed);
            self.write(true, true, opcode, &compressed, out);
        } else {
            self.write(true, false, opcode, content, out);
        }
    }

    /// Append a frame as it is: without compression, and without a check that it fits what was sent before. For a
    /// message in parts, the first has its opcode, the others [`Opcode::Continuation`], and the last is `fin`.
    ///
    /// # Errors
    /// [`CloseError::TooLong`] for a control frame of more than 125 bytes; nothing is appended then.
    pub fn frame(
        &mut self,
        fin: bool,
        opcode: Opcode,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CloseError> {
        if opcode.is_control() && payload.len() > CONTROL_LIMIT {
            return Err(CloseError::TooLong);
        }
        self.write(fin, false, opcode, payload, out);
        Ok(())
    }

    /// Append a close frame: with no payload when there is no code.
    ///
    /// # Errors
    /// A [`CloseError`] when the code may not be sent, or the reason has more than 123 bytes; nothing is appended
    /// then.
    pub fn close(
        &mut self,
        reason: Option<(u16, &str)>,
        out: &mut Vec<u8>,
    ) -> Result<(), CloseError> {
        let mut payload = Vec::new();
        if let Some((code, reason)) = reason {
            if !is_close_code(code) {
                return Err(CloseError::Code);
            }
            payload.extend_from_slice(&code.to_be_bytes());
            payload.extend_from_slice(reason.as_bytes());
        }
        self.frame(true, Opcode::Close, &payload, out)
    }

    fn write(
        &mut self,
        fin: bool,
        compressed: bool,
        opcode: Opcode,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) {
        let key = match self.sender {
            Role::Client => Some(self.keys.next()),
            Role::Server => None,
        };
        out.reserve(payload.len() + 14);
        Header {
            fin,
            compressed,
            opcode,
            key,
            length: payload.len() as u64,
        }
        .encode(out);
        let begin = out.len();
        out.extend_from_slice(payload);
        if let Some(key) = key {
            mask::apply(&mut out[begin..], key, 0);
        }
    }
}

/// Masking keys that nobody can foresee (RFC 6455 section 10.3), taken from the system many at a time.
#[derive(Debug, Default)]
struct Keys {
    pool: [[u8; 4]; 16],
    left: usize,
}

impl Keys {
    fn next(&mut self) -> [u8; 4] {
        if self.left == 0 {
            let mut bytes = [0; 64];
            // A system without randomness could do no handshake either.
            if getrandom::fill(&mut bytes).is_ok() {
                for (key, four) in self.pool.iter_mut().zip(bytes.chunks_exact(4)) {
                    key.copy_from_slice(four);
                }
            }
            self.left = self.pool.len();
        }
        self.left -= 1;
        self.pool[self.left]
    }
}
