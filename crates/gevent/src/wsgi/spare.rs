//! Memory that connections use while they are busy, kept for the next one: an idle connection holds none.

use pyo3::Python;

use crate::cell::GilCell;
use crate::wsgi::attributes::Exchange;

/// How much is received at once.
pub const BLOCK: usize = 16 * 1024;

/// The largest buffer that is worth keeping, and how many of each kind are kept.
const LARGEST: usize = 4 * BLOCK;
const MOST: usize = 64;

#[allow(
    clippy::vec_box,
    reason = "handlers hold exchanges boxed: they go in and out as they are"
)]
struct Spare {
    buffers: Vec<Vec<u8>>,
    exchanges: Vec<Box<Exchange>>,
}

static SPARE: GilCell<Spare> = GilCell::in_static(Spare {
    buffers: Vec::new(),
    exchanges: Vec::new(),
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

/// An exchange that is over and was reset, if one was kept.
pub fn exchange(py: Python<'_>) -> Option<Box<Exchange>> {
    SPARE.with(py, |spare| spare.exchanges.pop())
}

/// Gives an exchange back that was reset.
pub fn keep_exchange(py: Python<'_>, mut exchange: Box<Exchange>) {
    if exchange.out.capacity() > LARGEST {
        exchange.out = Vec::new();
    }
    let left = SPARE.with(py, |spare| {
        if spare.exchanges.len() < MOST {
            spare.exchanges.push(exchange);
            None
        } else {
            Some(exchange)
        }
    });
    drop(left);
}
