//! A pool of the buffers that connections use while they are busy: an idle connection holds none.

use pyo3::Python;

use crate::cell::GilCell;

/// The number of bytes that one system call receives.
pub const BLOCK: usize = 16 * 1024;

/// The largest buffer that is worth keeping, and how many are kept.
const LARGEST: usize = 4 * BLOCK;
const MOST: usize = 64;

/// The largest buffer that one is kept of, for those who receive large messages one after the other.
const WIDEST: usize = 20 * BLOCK;

static POOL: GilCell<Vec<Vec<u8>>> = GilCell::in_static(Vec::new());
static WIDE: GilCell<Vec<u8>> = GilCell::in_static(Vec::new());

/// Returns an empty buffer with room for a block.
pub fn buffer(py: Python<'_>) -> Vec<u8> {
    let kept = POOL.with(py, |pool| pool.pop());
    kept.unwrap_or_else(|| Vec::with_capacity(BLOCK))
}

/// Returns an empty buffer with room for a block and for `size` bytes.
pub fn buffer_for(py: Python<'_>, size: usize) -> Vec<u8> {
    let mut buffer = if size <= LARGEST {
        buffer(py)
    } else {
        WIDE.take(py)
    };
    buffer.reserve(size);
    buffer
}

/// Gives a buffer back.
pub fn keep_buffer(py: Python<'_>, mut buffer: Vec<u8>) {
    buffer.clear();
    let capacity = buffer.capacity();
    if (BLOCK..=LARGEST).contains(&capacity) {
        POOL.with(py, |pool| {
            if pool.len() < MOST {
                pool.push(buffer);
            }
        });
    } else if (LARGEST..=WIDEST).contains(&capacity) {
        drop(WIDE.replace(py, buffer));
    }
}
