//! Two clocks: the one on the wall, and stream time, which never runs backwards. Chance comes through
//! the same seam, so that a simulation decides it too.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// Stamps are whole microseconds: no clock here tells more, all programs can read as much, and the
/// store keeps digits beyond in columns of their own, which cost nothing while they are zero.
const MICRO_NS: i64 = 1_000;

/// The journal's only source of time.
pub trait Clock: Send + Sync {
    /// Wall clock, ns since 1970-01-01 UTC, in whole microseconds. May jump in either direction.
    fn wall_ns(&self) -> i64;
    /// ns since some fixed point; never decreases, and counts while the machine sleeps.
    fn mono_ns(&self) -> u64;
    /// Fills `bytes` with numbers that nobody can guess.
    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(|e| io::Error::other(e.to_string()))
    }
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsClock;

impl Clock for OsClock {
    fn wall_ns(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).map_or(i64::MAX, |us| us.saturating_mul(MICRO_NS))
    }

    fn mono_ns(&self) -> u64 {
        // Boot time, not monotonic: after a suspend stream time must not lag by the night.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
    }
}

/// Stream time runs at most 1/20 faster or slower than real time while it closes in on the wall
/// clock, so windows stay close to their length and a clock that was set wrong for a moment does
/// not close a day of windows.
const SLEW_DIVISOR: i64 = 20;
/// A difference that changes by more than this between two readings is a step of the wall clock.
pub(crate) const STEP_NS: i64 = 2_000_000_000;

/// Derives stream time from readings of the two clocks.
pub(crate) struct StreamClock {
    stream_ns: i64,
    mono_ns: u64,
    ahead_ns: i64,
    stepped_ns: i64,
}

impl StreamClock {
    /// Starts at the wall clock, or at `not_before_ns` (the journal's last stream time) if later.
    pub(crate) fn start(clock: &dyn Clock, not_before_ns: i64) -> Self {
        let (wall_ns, mono_ns) = (clock.wall_ns(), clock.mono_ns());
        // What is told is rounded down, and must not be before that.
        let not_before_ns = not_before_ns.saturating_add(MICRO_NS - 1);
        let stream_ns = wall_ns.max(not_before_ns - not_before_ns.rem_euclid(MICRO_NS));
        Self { stream_ns, mono_ns, ahead_ns: wall_ns.saturating_sub(stream_ns), stepped_ns: 0 }
    }

    /// Reads the clocks and returns (wall, stream), both in whole microseconds.
    pub(crate) fn read(&mut self, clock: &dyn Clock) -> (i64, i64) {
        let (wall_ns, mono_ns) = (clock.wall_ns(), clock.mono_ns());
        let passed = i64::try_from(mono_ns.saturating_sub(self.mono_ns)).unwrap_or(0);
        self.mono_ns = self.mono_ns.max(mono_ns);
        let plain = self.stream_ns.saturating_add(passed);
        let ahead = wall_ns.saturating_sub(plain);
        let change = ahead.saturating_sub(self.ahead_ns);
        if change.saturating_abs() > STEP_NS {
            self.stepped_ns = self.stepped_ns.saturating_add(change);
        }
        let slew = ahead.clamp(-(passed / SLEW_DIVISOR), passed / SLEW_DIVISOR);
        self.stream_ns = plain.saturating_add(slew);
        self.ahead_ns = ahead.saturating_sub(slew);
        let whole = |ns: i64| ns.saturating_sub(ns.rem_euclid(MICRO_NS));
        (whole(wall_ns), whole(self.stream_ns))
    }

    /// Sum of the wall clock's steps since the last call, ns.
    pub(crate) fn take_step_ns(&mut self) -> i64 {
        std::mem::take(&mut self.stepped_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    struct Hand(Mutex<(i64, u64)>);
    impl Clock for Hand {
        fn wall_ns(&self) -> i64 {
            self.0.lock().0
        }
        fn mono_ns(&self) -> u64 {
            self.0.lock().1
        }
    }

    /// Scenario: a journal of before whose last stream time has nanoseconds; clocks that move by less than
    /// a microsecond at a time.
    /// Guarantees: stream time is in whole microseconds, never earlier than that, and loses nothing.
    #[test]
    fn stream_time_is_in_whole_microseconds() {
        let hand = Hand(Mutex::new((1_000_001, 0)));
        let mut stream = StreamClock::start(&hand, 2_000_001);
        assert_eq!(stream.read(&hand), (1_000_000, 2_001_000));
        let mut last = 0;
        for _ in 0..30 {
            hand.0.lock().1 += 100;
            hand.0.lock().0 += 100;
            last = stream.read(&hand).1;
            assert_eq!(last % 1_000, 0);
        }
        assert!((2_003_000..=2_004_000).contains(&last), "{last}");
    }

    #[test]
    fn a_step_is_reported_once_and_slewed_never_followed_backwards() {
        const S: i64 = 1_000_000_000;
        let hand = Hand(Mutex::new((1000 * S, 5)));
        let mut stream = StreamClock::start(&hand, 0);
        let mut last = stream.read(&hand).1;
        assert_eq!(last, 1000 * S);
        *hand.0.lock() = (1000 * S - 3600 * S, 5 + S as u64);
        let now = stream.read(&hand).1;
        assert_eq!(now - last, S - S / 20);
        assert!((stream.take_step_ns() + 3601 * S).abs() < S);
        assert_eq!(stream.take_step_ns(), 0);
        for _ in 0..100 {
            last = stream.read(&hand).1;
            let mut h = hand.0.lock();
            h.0 += S;
            h.1 += S as u64;
            drop(h);
            assert_eq!(stream.read(&hand).1 - last, S - S / 20);
        }
        assert_eq!(stream.take_step_ns(), 0);
        assert_eq!(StreamClock::start(&hand, 9_999 * S).read(&hand).1, 9_999 * S);
    }
}
