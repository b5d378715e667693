//! Compression of messages (RFC 7692 section 7.2).

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::Role;
use crate::error::ProtocolError;
use crate::extension::Deflate;

/// The empty block that every compressed message ends with, and that is not sent.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The least number of bytes that memory grows by.
const STEP: usize = 1024;

/// The decompression of what one side sends.
#[derive(Debug)]
pub(crate) struct Inflater {
    stream: Decompress,
    keeps_context: bool,
    limit: usize,
}

impl Inflater {
    pub(crate) fn new(agreed: &Deflate, sender: Role, limit: usize) -> Self {
        let side = agreed.side(sender);
        Self {
            stream: Decompress::new_with_window_bits(false, side.window_bits),
            keeps_context: side.context_takeover,
            limit,
        }
    }

    /// Decompresses more of a message to the end of `out`, which holds it from its beginning.
    pub(crate) fn push(
        &mut self,
        mut input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        loop {
            if out.len() == out.capacity() {
                // One byte above the limit shows that it is exceeded.
                let room = self.limit.saturating_add(1).saturating_sub(out.len());
                out.reserve_exact(out.len().max(STEP).min(room));
            }
            let taken = self.stream.total_in();
            let status = self
                .stream
                .decompress_vec(input, out, FlushDecompress::Sync);
            input = &input[(self.stream.total_in() - taken) as usize..];
            // The limit is checked before the error, as the bytes that exceed it come before the place of the error.
            if out.len() > self.limit {
                return Err(ProtocolError::TooLarge);
            }
            match status.map_err(|_| ProtocolError::Compression)? {
                // A last block ends the stream but not the message (section 7.2.3.4).
                Status::StreamEnd => self.stream.reset(false),
                // No progress though there is room: the input is used up.
                Status::BufError | Status::Ok if input.is_empty() && out.len() < out.capacity() => {
                    return Ok(());
                }
                Status::BufError if out.len() < out.capacity() => {
                    return Err(ProtocolError::Compression);
                }
                Status::Ok | Status::BufError => {}
            }
        }
    }

    /// Decompresses the end of a message.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        self.push(&TAIL, out)?;
        if !self.keeps_context {
            self.stream.reset(false);
        }
        Ok(())
    }
}

/// The compression of what one side sends.
#[derive(Debug)]
pub(crate) struct Deflater {
    stream: Compress,
    keeps_context: bool,
}

impl Deflater {
    pub(crate) fn new(agreed: &Deflate, sender: Role) -> Self {
        let side = agreed.side(sender);
        Self {
            stream: Compress::new_with_window_bits(Compression::default(), false, side.window_bits),
            keeps_context: side.context_takeover,
        }
    }

    /// Appends a message, compressed.
    pub(crate) fn compress(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        let begin = out.len();
        loop {
            if out.capacity() - out.len() < TAIL.len() {
                out.reserve((input.len() / 2).max(STEP));
            }
            let taken = self.stream.total_in();
            let status = self.stream.compress_vec(input, out, FlushCompress::Sync);
            input = &input[(self.stream.total_in() - taken) as usize..];
            let more = matches!(status, Ok(Status::Ok)) && out.len() == out.capacity();
            if input.is_empty() && !more {
                break;
            }
        }
        if out[begin..].ends_with(&TAIL) {
            out.truncate(out.len() - TAIL.len());
        }
        // For the second of two empty messages in a row zlib writes nothing; this is an empty block instead (section
        // 7.2.3.6).
        if out.len() == begin {
            out.push(0);
        }
        if !self.keeps_context {
            self.stream.reset();
        }
    }
}
