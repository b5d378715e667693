//! The results of a run: the number of requests, and the time that each took.

use std::time::{Duration, Instant};

/// The first part of a run, which is not measured, as both sides are still warming up.
const WARM_UP: Duration = Duration::from_millis(300);

/// The requests that ended between the end of the warm-up and the end of the run.
pub struct Report {
    from: Instant,
    until: Instant,
    /// The latencies in nanoseconds. 32 bits are enough, as no request takes more than four seconds.
    latencies: Vec<u32>,
    /// The number of all requests, including those of the warm-up.
    all: u64,
}

impl Report {
    /// Returns the report of a run of this length, which begins now with the warm-up.
    pub fn new(length: Duration) -> Self {
        let from = Instant::now() + WARM_UP;
        Self {
            from,
            until: from + length,
            latencies: Vec::with_capacity(1 << 20),
            all: 0,
        }
    }

    /// Returns true if the run is over at `now`.
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// Notes a request that began at `begun` and ended at `now`.
    pub fn note(&mut self, begun: Instant, now: Instant) {
        self.all += 1;
        if now >= self.from && now < self.until {
            let nanos = now.duration_since(begun).as_nanos();
            self.latencies.push(nanos.try_into().unwrap_or(u32::MAX));
        }
    }

    /// Prints requests per second and latencies in microseconds.
    pub fn print(mut self) {
        let seconds = self.until.duration_since(self.from).as_secs_f64();
        let count = self.latencies.len();
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let place = (count as f64 * share) as usize;
            let nanos = self.latencies.get(place.min(count.saturating_sub(1)));
            f64::from(nanos.copied().unwrap_or(0)) / 1e3
        };
        println!(
            r#"{{"requests": {count}, "all": {}, "per_second": {:.1}, "p50_us": {:.1}, "p99_us": {:.1}, "max_us": {:.1}}}"#,
            self.all,
            count as f64 / seconds,
            at(0.5),
            at(0.99),
            at(1.0),
        );
    }
}
