//! Looking out for another thread for a moment, before sleeping: to be woken takes longer than many an answer.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long to look out for what will probably come soon.
pub const LOOK_OUT: Duration = Duration::from_micros(8);

/// Looking out pays where the last answer came this soon.
pub const SOON: Duration = Duration::from_micros(40);

/// How often to give way on a single core, where to look out is to keep the other thread from running.
const GIVE_WAY: usize = 3;

/// Whether `done` becomes true within `limit`, or on a single core after the others had their turn.
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
        // The thread that is looked out for may be queued behind this one.
        std::thread::yield_now();
    }
    false
}
