//! How far every consumer is behind, in seconds and bytes: a dead webhook or a slow store shows here,
//! and nowhere else.

use super::{App, CURSOR_STORE};
use journal::{Behind, Journal};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};

/// One consumer of a stream.
#[derive(Clone, Debug)]
pub struct Lag {
    /// `detect`, `store`, `notify:NAME`.
    pub name: String,
    /// Age of the oldest record that it has not passed; 0 when it has passed all.
    pub seconds: f64,
    /// What it has not passed.
    pub behind: Behind,
}

/// A record's time is read from the stream again after this: a cursor moves with every record, and a
/// reading costs a read of the disk. The age is too high by as much at most.
const READ_AGAIN_NS: i64 = 1_000_000_000;

/// When the first record behind each cursor was received, as last read.
#[derive(Default)]
pub struct Ages(Mutex<HashMap<String, Reading>>);

#[derive(Clone, Copy)]
struct Reading {
    next_offset: u64,
    received_ns: i64,
    read_ns: i64,
}

impl Ages {
    /// Age of what begins at a consumer's cursor, s.
    fn seconds(&self, stream: &Journal, name: &str, next_offset: u64, now_ns: i64) -> f64 {
        let known = self.0.lock().get(name).copied().filter(|known| {
            known.next_offset == next_offset || now_ns - known.read_ns < READ_AGAIN_NS
        });
        let reading = known.or_else(|| {
            let received_ns = stream.received_ns(next_offset)?;
            let reading = Reading { next_offset, received_ns, read_ns: now_ns };
            self.0.lock().insert(name.to_owned(), reading);
            Some(reading)
        });
        reading.map_or(0.0, |known| (now_ns - known.received_ns).max(0) as f64 / 1e9)
    }
}

/// How far detection is behind receipt. What was read last may be a second old where little comes, so
/// its age says nothing until detection has stood behind the journal for a while.
#[derive(Default)]
pub struct Behindhand(Mutex<VecDeque<(u64, i64)>>);

/// Times that are remembered: beyond it, lag is known a little later, never wrongly.
const SIGHTINGS_MAX: usize = 1_024;
/// From here on the age of what was passed last is the better figure: it knows what an earlier run
/// left behind.
const SIGHTED_NS: i64 = 1_000_000_000;

impl Behindhand {
    /// The lag, ns: everything below `passed` is detected, the last of it received at `passed_ns`;
    /// everything below `durable` is there.
    pub fn lag_ns(&self, passed: u64, passed_ns: i64, durable: u64, now_ns: i64) -> i64 {
        let mut seen = self.0.lock();
        while seen.front().is_some_and(|(durable, _)| *durable <= passed) {
            seen.pop_front();
        }
        let newer = seen.back().is_none_or(|(known, _)| *known < durable);
        if durable > passed && newer && seen.len() < SIGHTINGS_MAX {
            seen.push_back((durable, now_ns));
        }
        let sighted = seen.front().map_or(0, |(_, at_ns)| (now_ns - at_ns).max(0));
        match sighted >= SIGHTED_NS && passed_ns > 0 {
            true => sighted.max(now_ns - passed_ns),
            false => sighted,
        }
    }
}

/// All consumers of both streams. The streams' own ticks and audit records are among what they have
/// to pass, so a second or two is nothing.
pub fn all(app: &App) -> Vec<Lag> {
    let now_ns = io::intake::wall_ns();
    let detect = Lag {
        name: "detect".into(),
        seconds: app.detect_lag_ms(now_ns) as f64 / 1e3,
        behind: app.journal.behind(app.passed()),
    };
    let stored = app.journal.cursor(CURSOR_STORE).unwrap_or(0);
    let store = Lag {
        name: "store".into(),
        seconds: app.store_lag_ms(now_ns) as f64 / 1e3,
        behind: app.journal.behind(stored),
    };
    let of_ledger = app.ledger_stream.cursors().into_iter().map(|(name, next_offset)| {
        let behind = app.ledger_stream.behind(next_offset);
        let seconds = match behind.records {
            0 => 0.0,
            _ => app.ages.seconds(&app.ledger_stream, &name, next_offset, now_ns),
        };
        Lag { name, seconds, behind }
    });
    [detect, store].into_iter().chain(of_ledger).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a record a second, each looked at before it is passed; then detection stands still;
    /// then a restart finds an hour that was never detected.
    /// Guarantees: the first is no lag; the others are, by their whole age.
    #[test]
    fn a_quiet_stream_is_not_behind() {
        let (behind, second) = (Behindhand::default(), 1_000_000_000);
        for n in 1..20u64 {
            let now = n as i64 * second;
            assert_eq!(behind.lag_ns(n - 1, now - second, n, now), 0);
            assert_eq!(behind.lag_ns(n, now, n, now + 1), 0);
        }
        assert_eq!(behind.lag_ns(19, 19 * second, 20, 20 * second), 0);
        assert_eq!(behind.lag_ns(19, 19 * second, 21, 20 * second + 500), 500);
        assert_eq!(behind.lag_ns(19, 19 * second, 30, 22 * second), 3 * second);
        assert_eq!(behind.lag_ns(30, 22 * second, 30, 22 * second), 0);
        let behind = Behindhand::default();
        assert_eq!(behind.lag_ns(0, 0, 900, 3_600 * second), 0);
        assert_eq!(behind.lag_ns(5, 7 * second, 900, 3_602 * second), 3_595 * second);
    }
}
