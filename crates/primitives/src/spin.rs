//! Spins for a moment before a thread sleeps, as going to sleep and being woken often take longer than the answer of
//! another thread.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The time for which spinning pays while an answer is likely to come soon.
pub const BRIEFLY: Duration = Duration::from_micros(8);

/// The longest time of the last answer with which spinning for the next one pays.
pub const SOON: Duration = Duration::from_micros(40);

/// The number of times that the thread yields on a single core, where spinning would keep the other thread from running.
const GIVE_WAY: usize = 3;

/// Spins until `done` returns true; returns false if that takes longer than `limit`, or on a single core if it has not
/// happened after the other threads had their turn.
pub fn until(limit: Duration, done: impl Fn() -> bool) -> bool {
    static CORES: OnceLock<usize> = OnceLock::new();
    if *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from)) == 1 {
        for _ in 0..GIVE_WAY {
            if done() {
                return true;
            }
            std::thread::yield_now();
        }
        return done();
    }
    let began = Instant::now();
    while began.elapsed() < limit {
        for _ in 0..16 {
            if done() {
                return true;
            }
            std::hint::spin_loop();
        }
        // The thread that is to answer may be queued behind this one.
        std::thread::yield_now();
    }
    false
}
