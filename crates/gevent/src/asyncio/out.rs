//! The bytes that a transport has still to send, in the pieces in which they were written.

use std::collections::VecDeque;
use std::io::IoSlice;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The most pieces that one system call is given.
const PIECES: usize = 64;
/// Up to this size a piece is joined to the one before, so that many small writes become one system call's few pieces.
const SMALL: usize = 16 * 1024;

/// One piece.
pub enum Piece {
    /// An immutable object, which is shared.
    Bytes(Py<PyBytes>),
    /// A copy of bytes that may change.
    Copy(Vec<u8>),
}

impl Piece {
    fn as_slice<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(py),
            Self::Copy(copy) => copy,
        }
    }
}

/// The pieces, in order.
#[derive(Default)]
pub struct OutBuffer {
    pieces: VecDeque<Piece>,
    /// The number of bytes of the first piece that are sent.
    sent: usize,
    size: usize,
}

impl OutBuffer {
    /// Returns how many bytes there are.
    pub fn len(&self) -> usize {
        self.size
    }

    /// Returns true if there is nothing to send.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Appends bytes, of which the first `sent` have been sent already.
    pub fn push_bytes(&mut self, py: Python<'_>, bytes: &Py<PyBytes>, sent: usize) {
        let rest = &bytes.as_bytes(py)[sent..];
        if rest.len() > SMALL && sent == 0 {
            self.size += rest.len();
            self.pieces.push_back(Piece::Bytes(bytes.clone_ref(py)));
        } else if self.is_empty() && rest.len() > SMALL {
            self.size = rest.len();
            self.sent = sent;
            self.pieces.push_back(Piece::Bytes(bytes.clone_ref(py)));
        } else {
            self.push_copy(rest);
        }
    }

    /// Appends a copy of bytes that may change.
    pub fn push_copy(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.size += bytes.len();
        if let Some(Piece::Copy(last)) = self.pieces.back_mut()
            && last.len() + bytes.len() <= SMALL
        {
            last.extend_from_slice(bytes);
            return;
        }
        self.pieces.push_back(Piece::Copy(bytes.to_vec()));
    }

    /// Calls `send` with the first pieces.
    pub fn with_slices<R>(&self, py: Python<'_>, send: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        let mut slices = Vec::with_capacity(self.pieces.len().min(PIECES));
        for (place, piece) in self.pieces.iter().take(PIECES).enumerate() {
            let bytes = piece.as_slice(py);
            let from = if place == 0 { self.sent } else { 0 };
            slices.push(IoSlice::new(&bytes[from..]));
        }
        send(&slices)
    }

    /// Removes the first `sent` bytes; returns the pieces that are done with, for the caller to drop.
    pub fn advance(&mut self, py: Python<'_>, sent: usize) -> Vec<Piece> {
        let mut done = Vec::new();
        let mut left = self.sent + sent;
        self.size -= sent.min(self.size);
        while let Some(first) = self.pieces.front() {
            let length = first.as_slice(py).len();
            if left < length {
                break;
            }
            left -= length;
            done.extend(self.pieces.pop_front());
        }
        self.sent = left;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::{OutBuffer, PIECES, SMALL};
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;

    #[test]
    fn small_pieces_are_joined_and_counted() {
        let mut out = OutBuffer::default();
        out.push_copy(b"abc");
        out.push_copy(b"");
        out.push_copy(b"de");
        assert_eq!(out.len(), 5);
        assert_eq!(out.pieces.len(), 1);
        out.push_copy(&[0; super::SMALL]);
        assert_eq!(out.pieces.len(), 2);
    }
    /// Numbers that look random, the same ones in each run.
    fn numbers() -> impl FnMut(usize) -> usize {
        let mut state = 1_u64;
        move |below| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % below
        }
    }

    #[test]
    fn what_is_sent_is_what_was_written_however_it_is_cut() {
        Python::initialize();
        let mut number = numbers();
        Python::attach(|py| {
            for _ in 0..20 {
                let (mut out, mut written, mut sent) =
                    (OutBuffer::default(), Vec::<u8>::new(), Vec::<u8>::new());
                for step in 0..60_u8 {
                    let size = number(3 * SMALL);
                    let bytes: Vec<u8> = (0..size).map(|at| step.wrapping_add(at as u8)).collect();
                    if number(2) == 0 {
                        out.push_copy(&bytes);
                        written.extend(&bytes);
                    } else {
                        // The caller has sent a part of them already if nothing waited before.
                        let gone = if out.is_empty() { number(size + 1) } else { 0 };
                        sent.extend(&bytes[..gone]);
                        written.extend(&bytes);
                        out.push_bytes(py, &PyBytes::new(py, &bytes).unbind(), gone);
                    }
                    let taken = out.with_slices(py, |slices| {
                        assert!(slices.len() <= PIECES);
                        let all = slices.iter().flat_map(|slice| slice.iter().copied());
                        let there: usize = slices.iter().map(|slice| slice.len()).sum();
                        all.take(number(there + 1)).collect::<Vec<_>>()
                    });
                    sent.extend(&taken);
                    drop(out.advance(py, taken.len()));
                    assert_eq!(out.len(), written.len() - sent.len());
                    assert_eq!(out.is_empty(), written.len() == sent.len());
                }
                assert_eq!(sent, written[..sent.len()]);
            }
        });
    }
}
