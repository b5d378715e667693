//! Frames and messages, encoded (RFC 6455 sections 5 and 6).

use sha1::{Digest, Sha1};
use thiserror::Error;

use crate::Role;
use crate::deflate::Deflater;
use crate::extension::Deflate;
use crate::frame::{CONTROL_LIMIT, Header, Opcode, is_close_code};
use crate::mask;

/// The reason why a control frame may not be sent.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum CloseError {
    /// The code may not be sent.
    #[error("invalid close code")]
    Code,
    /// The payload has more than 125 bytes.
    #[error("control frame too long")]
    TooLong,
}

/// The system has the system provides no random bytes for the masks of a client's frames, which must be unforeseeable.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[error("the system provides no random bytes")]
pub struct NoRandomness;

/// An encoder of what one side sends.
#[derive(Debug)]
pub struct Encoder {
    deflater: Option<Deflater>,
    /// The masking keys of a client.
    keys: Option<Keys>,
}

impl Encoder {
    /// Returns an encoder of what `sender` sends.
    ///
    /// # Errors
    /// Returns [`NoRandomness`] for a client when the system has none. Randomness is needed only here, not later.
    pub fn new(sender: Role, deflate: Option<&Deflate>) -> Result<Self, NoRandomness> {
        let keys = match sender {
            Role::Client => Some(Keys::new()?),
            Role::Server => None,
        };
        Ok(Self {
            deflater: deflate.map(|agreed| Deflater::new(agreed, sender)),
            keys,
        })
    }

    /// Appends a message of text.
    pub fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        self.message(Opcode::Text, text.as_bytes(), out);
    }

    /// Appends a message of bytes.
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

    /// Appends a frame as it is: without compression, and without a check that it fits what was sent before. For a
    /// message in parts, the first has its opcode, the others [`Opcode::Continuation`], and the last is `fin`.
    ///
    /// # Errors
    /// Returns [`CloseError::TooLong`] for a control frame of more than 125 bytes; nothing is appended then.
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

    /// Appends a close frame: with no payload when there is no code.
    ///
    /// # Errors
    /// Returns a [`CloseError`] when the code may not be sent, or the reason has more than 123 bytes; nothing is
    /// appended then.
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
        let key = self.keys.as_mut().map(Keys::next);
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

/// Makes unpredictable masking keys (RFC 6455 section 10.3): digests of a counter and of a random number that the
/// system gave at the beginning. So a lack of randomness later on does no harm.
struct Keys {
    seed: [u8; 32],
    digests: u64,
    pool: [u8; 20],
    left: usize,
}

impl Keys {
    fn new() -> Result<Self, NoRandomness> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| NoRandomness)?;
        Ok(Self {
            seed,
            digests: 0,
            pool: [0; 20],
            left: 0,
        })
    }

    fn next(&mut self) -> [u8; 4] {
        if self.left == 0 {
            let digest = Sha1::new()
                .chain_update(self.seed)
                .chain_update(self.digests.to_be_bytes())
                .finalize();
            self.pool.copy_from_slice(&digest);
            self.digests += 1;
            self.left = self.pool.len();
        }
        self.left -= 4;
        let mut key = [0; 4];
        key.copy_from_slice(&self.pool[self.left..self.left + 4]);
        key
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The seed is a secret.
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}
