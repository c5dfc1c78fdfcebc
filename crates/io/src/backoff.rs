//! Exponential back-off with full jitter: a uniformly random pause between 0 and a ceiling that
//! doubles, so that many clients do not return at the same instant.

use std::time::Duration;

/// Pauses between attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    attempts: u32,
}

impl Backoff {
    /// Ceilings `first`, `2 * first`, ... up to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, attempts: 0 }
    }

    /// Attempts since the last [`Backoff::reset`].
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The ceiling of the next pause.
    pub fn ceiling(&self) -> Duration {
        let factor = 1u32.checked_shl(self.attempts.min(31)).unwrap_or(u32::MAX);
        self.first.checked_mul(factor).unwrap_or(self.longest).min(self.longest)
    }

    /// The next pause: uniform in 0..=ceiling.
    pub fn next_pause(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.attempts = self.attempts.saturating_add(1);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(random_u64() % nanos.saturating_add(1).max(1))
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// 64 bits from the operating system.
pub(crate) fn random_u64() -> u64 {
    getrandom::u64().expect("the operating system gives random numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_double_and_stop() {
        let mut b = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for want in [100, 200, 400, 800, 1000, 1000] {
            assert_eq!(b.ceiling(), Duration::from_millis(want));
            assert!(b.next_pause() <= Duration::from_millis(want));
        }
        b.reset();
        assert_eq!(b.ceiling(), Duration::from_millis(100));
        b.attempts = 1000;
        assert_eq!(b.ceiling(), Duration::from_secs(1));
    }
}
