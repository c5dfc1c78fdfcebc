//! An open-loop clock: says how much is due by now, whatever became of the earlier work.

use std::time::{Duration, Instant};

/// A rate since a start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    start: Instant,
    per_s: f64,
}

impl Pace {
    /// `per_s` events per second from `start` on.
    pub(crate) fn new(start: Instant, per_s: f64) -> Self {
        Self { start, per_s }
    }

    /// When event number `count` is due.
    pub(crate) fn due(&self, count: u64) -> Instant {
        self.start + Duration::from_secs_f64(count as f64 / self.per_s)
    }

    /// Sleeps until event number `count` is due; says how late it is already, zero when in time.
    pub(crate) fn wait(&self, count: u64) -> Duration {
        let now = Instant::now();
        let due = self.due(count);
        std::thread::sleep(due.saturating_duration_since(now));
        now.saturating_duration_since(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_told_and_never_waited_for() {
        let past = Instant::now() - Duration::from_secs(5);
        let pace = Pace::new(past, 100.0);
        assert_eq!(pace.due(100), past + Duration::from_secs(1));
        assert!(pace.wait(100) >= Duration::from_secs(4));
    }
}
