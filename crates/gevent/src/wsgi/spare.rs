//! A pool of the buffers that connections use while they are busy: an idle connection holds none.

use pyo3::Python;

use crate::cell::GilCell;

/// The number of bytes that one system call receives.
pub const BLOCK: usize = 16 * 1024;

/// The largest buffer that is worth keeping, and how many are kept.
const LARGEST: usize = 4 * BLOCK;
const MOST: usize = 64;

static SPARE: GilCell<Vec<Vec<u8>>> = GilCell::in_static(Vec::new());

/// Returns an empty buffer with room for a block.
pub fn buffer(py: Python<'_>) -> Vec<u8> {
    let kept = SPARE.with(py, |spare| spare.pop());
    kept.unwrap_or_else(|| Vec::with_capacity(BLOCK))
}

/// Gives a buffer back.
pub fn keep_buffer(py: Python<'_>, mut buffer: Vec<u8>) {
    if (BLOCK..=LARGEST).contains(&buffer.capacity()) {
        buffer.clear();
        SPARE.with(py, |spare| {
            if spare.len() < MOST {
                spare.push(buffer);
            }
        });
    }
}
