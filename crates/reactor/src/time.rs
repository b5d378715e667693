//! Points in time on the monotonic clock.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

/// A point on `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Copy, Clone, Ord, PartialOrd, Eq, PartialEq, Debug, Hash)]
pub struct Time(u64);

impl Time {
    /// A point in time that is never reached.
    pub const FAR: Time = Time(u64::MAX);

    /// Returns the present time (`clock_gettime(2)`).
    #[must_use]
    pub fn now() -> Time {
        Time(nanos(clock_gettime(ClockId::Monotonic)))
    }

    /// Returns the time of the kernel's last tick, which is up to [`tick_length`](Self::tick_length) before
    /// [`now`](Self::now), or now itself. Reading it takes a quarter of the time, as it does not ask the processor.
    #[must_use]
    pub fn last_tick() -> Time {
        Time(nanos(clock_gettime(ClockId::MonotonicCoarse)))
    }

    /// Returns the time from one tick of the kernel to the next, some milliseconds.
    #[must_use]
    pub fn tick_length() -> Duration {
        Duration::from_nanos(nanos(clock_getres(ClockId::MonotonicCoarse)))
    }

    /// Returns the point `delay` later than this one, or [`Time::FAR`] if that cannot be expressed.
    #[must_use]
    pub fn after(self, delay: Duration) -> Time {
        Time(self.0.saturating_add(saturating_nanos(delay)))
    }

    /// Returns the time from `now` until this point, zero if it has passed.
    #[must_use]
    pub fn until(self, now: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(now.0))
    }

    /// Returns the time from `earlier` until this point, zero if this is the earlier one.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        self.until(earlier)
    }

    /// Returns the point `nanos` nanoseconds after the clock's start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// Returns the number of nanoseconds since the clock's start.
    #[must_use]
    pub fn as_nanos(self) -> u64 {
        self.0
    }
}

fn nanos(time: Timespec) -> u64 {
    // The monotonic clock starts at zero when the machine does.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn saturating_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let now = Time::now();
        assert_eq!(now.after(Duration::MAX), Time::FAR);
        assert_eq!(Time::FAR.after(Duration::from_nanos(1)), Time::FAR);
        let later = now.after(Duration::from_micros(3));
        assert_eq!(later.until(now), Duration::from_micros(3));
        assert_eq!(now.until(later), Duration::ZERO);
        assert_eq!(later.since(now), Duration::from_micros(3));
        assert_eq!(later.as_nanos() - now.as_nanos(), 3_000);
    }

    #[test]
    fn never_runs_backwards() {
        let first = Time::now();
        assert!(Time::now() >= first);
    }

    #[test]
    fn ticks_are_on_the_same_clock() {
        let tick = Time::last_tick();
        assert!(Time::now() >= tick);
        assert!(Time::tick_length() > Duration::ZERO);
        assert!(Time::tick_length() <= Duration::from_millis(10));
        let much_later = Time::now().after(Duration::from_secs(30));
        while Time::last_tick() == tick {
            assert!(Time::now() < much_later);
        }
    }
}
