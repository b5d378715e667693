//! Memory that connections use while they are busy, kept for the next one: an idle connection holds none.

use http1::Head;
use pyo3::Python;

use crate::cell::GilCell;

/// How much is received at once.
pub const BLOCK: usize = 16 * 1024;

/// The largest buffer that is worth keeping, and how many of each kind are kept.
const LARGEST: usize = 4 * BLOCK;
const MOST: usize = 64;

struct Spare {
    buffers: Vec<Vec<u8>>,
    heads: Vec<Head>,
}

static SPARE: GilCell<Spare> = GilCell::new(Spare {
    buffers: Vec::new(),
    heads: Vec::new(),
});

/// An empty buffer with room for a block.
pub fn buffer(py: Python<'_>) -> Vec<u8> {
    let kept = SPARE.with(py, |spare| spare.buffers.pop());
    kept.unwrap_or_else(|| Vec::with_capacity(BLOCK))
}

/// Gives a buffer back.
pub fn keep_buffer(py: Python<'_>, mut buffer: Vec<u8>) {
    if (BLOCK..=LARGEST).contains(&buffer.capacity()) {
        buffer.clear();
        SPARE.with(py, |spare| {
            if spare.buffers.len() < MOST {
                spare.buffers.push(buffer);
            }
        });
    }
}

/// A decoder of heads.
pub fn head(py: Python<'_>) -> Head {
    SPARE
        .with(py, |spare| spare.heads.pop())
        .unwrap_or_default()
}

/// Gives a decoder back.
pub fn keep_head(py: Python<'_>, mut head: Head) {
    head.reset();
    SPARE.with(py, |spare| {
        if spare.heads.len() < MOST {
            spare.heads.push(head);
        }
    });
}
