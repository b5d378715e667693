//! The time that a client may keep a transfer waiting: progress earns more of it, and a drip does not count as progress.

use reactor::Time;

/// Time that waiting for a client uses up, and that the bytes which it takes or sends earn back: a second for as many
/// bytes as are asked for in a second, and never more than at first.
///
/// So the connection of a silent client ends after the timeout. A slow client may go on for as long as it keeps to the
/// rate that is asked for. One that sends a byte a minute is treated as silent.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// The timeout, in seconds.
    whole: f64,
    left: f64,
    /// Bytes a second; without a rate any byte earns the whole time.
    rate: Option<f64>,
}

impl Allowance {
    /// Returns an allowance of which nothing is used up.
    pub fn new(timeout: f64, rate: Option<f64>) -> Self {
        Self {
            whole: timeout,
            left: timeout,
            rate: rate.filter(|rate| *rate > 0.0),
        }
    }

    /// Counts bytes that came through.
    pub fn earn(&mut self, bytes: u64) {
        self.left = match self.rate {
            Some(rate) => (self.left + bytes as f64 / rate).min(self.whole),
            None if bytes > 0 => self.whole,
            None => self.left,
        };
    }

    /// Counts the time since `begin`, spent waiting.
    pub fn spend(&mut self, begin: Time) {
        self.left -= Time::now().since(begin).as_secs_f64();
    }

    /// Returns how many seconds to wait at most now.
    pub fn left(&self) -> f64 {
        self.left.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Allowance;

    fn spend(allowance: &mut Allowance, seconds: f64) {
        allowance.left -= seconds;
    }

    #[test]
    fn a_drip_ends_and_a_stream_does_not() {
        let mut drip = Allowance::new(60.0, Some(100.0));
        spend(&mut drip, 59.0);
        drip.earn(1);
        spend(&mut drip, 59.0);
        assert!(drip.left() <= 0.0);
        let mut stream = Allowance::new(60.0, Some(100.0));
        for _ in 0..1000 {
            spend(&mut stream, 50.0);
            stream.earn(5000);
            assert!(stream.left() > 59.0);
        }
    }

    #[test]
    fn without_a_rate_any_byte_restarts() {
        let mut drip = Allowance::new(2.0, None);
        for _ in 0..10 {
            spend(&mut drip, 1.5);
            drip.earn(0);
            assert!(drip.left() < 1.0);
            drip.earn(1);
            assert_eq!(drip.left(), 2.0);
        }
    }
}
