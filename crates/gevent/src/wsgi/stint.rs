//! The turns of connections whose clients never keep them waiting.
//!
//! A system call that succeeds at once switches to nobody. A client that sends or reads as fast as the server would so keep
//! all others waiting, for as long as it likes: the length of a response or an upload is no bound, since a stream has none.
//! So the work for a client is counted while nothing waits for it, and after some of it the others get their turn.

use pyo3::prelude::*;

use crate::ffi::{greenlet, hub_slot};
use crate::hub;
use crate::waiting::park;

/// The number of bytes after which the others get their turn. The kernel copies as much in a few hundred microseconds.
const MOST: usize = 1024 * 1024;

/// Each system call counts as this many bytes more than it transfers.
const CALL: usize = 16 * 1024;

/// The number of bytes that all connections together copy in a turn, which takes milliseconds.
const TURN: usize = 32 * 1024 * 1024;

/// The least number of bytes that a connection copies in a turn, if it has them.
const LEAST: usize = 16 * 1024;

/// Work that is done in a row whoever else is ready, as most requests take no more.
const SHORT: usize = 4 * CALL;

/// The work for a client since the others had their turn.
#[derive(Clone, Copy, Default, Debug)]
pub struct Stint(usize);

impl Stint {
    /// Counts a system call that transferred `bytes`; returns true if the others are to get their turn now.
    #[inline]
    pub fn counts(&mut self, py: Python<'_>, bytes: usize) -> bool {
        self.0 = self.0.saturating_add(bytes).saturating_add(CALL);
        let due = self.0 > SHORT && self.0 >= share(py);
        if due {
            self.0 = 0;
        }
        due
    }

    /// Notes that the others have their turn, as the connection waits.
    pub fn waits(&mut self) {
        self.0 = 0;
    }
}

/// Lets the other greenlets run that are ready. The hub cannot wait for them, and goes on.
///
/// # Errors
/// Returns an error that is thrown into the greenlet meanwhile.
pub fn give_way(py: Python<'_>) -> PyResult<()> {
    if greenlet::current(py)?.is(&hub::current(py)?) {
        return Ok(());
    }
    park::yield_now(py)
}

/// Returns how many of `rest` bytes to transfer by one system call. They are the fewer the more greenlets are ready: a crowd
/// of clients with large responses would keep each other, and everybody else, waiting for the time that copying a large
/// part takes, times their number. No small last part is left over: a system call, and waking its reader, cost more.
pub fn part(py: Python<'_>, rest: usize) -> usize {
    if rest <= LEAST {
        return rest;
    }
    let share = share(py);
    if rest <= share + share / 2 {
        rest
    } else {
        share
    }
}

/// Returns how much of the work of a turn is one connection's. This calls no Python, as it is asked for with cells open.
fn share(py: Python<'_>) -> usize {
    let ready = hub_slot::get(py)
        .and_then(|hub| hub::loop_if_any(&hub))
        .map_or(0, |loop_| loop_.get().ready_count(py));
    (TURN / (ready + 1)).clamp(LEAST, MOST)
}
