//! Events and alerts per second over the last two minutes, for the overview.

use parking_lot::Mutex;
use std::collections::VecDeque;

/// Seconds kept.
const SECONDS: usize = 120;

/// One second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Second {
    /// Which, seconds since 1970.
    pub at_s: i64,
    /// Events.
    pub events: u64,
    /// Bytes.
    pub bytes: u64,
    /// Alerts.
    pub alerts: u64,
}

/// A short history.
#[derive(Default)]
pub struct Rates {
    seconds: Mutex<VecDeque<Second>>,
}

impl Rates {
    /// Adds to the second of `wall_ns`.
    pub fn add(&self, wall_ns: i64, events: u64, bytes: u64, alerts: u64) {
        let at_s = wall_ns.div_euclid(1_000_000_000);
        let mut seconds = self.seconds.lock();
        if seconds.back().is_none_or(|s| s.at_s < at_s) {
            seconds.push_back(Second { at_s, ..Second::default() });
            if seconds.len() > SECONDS {
                seconds.pop_front();
            }
        }
        if let Some(last) = seconds.back_mut() {
            last.events += events;
            last.bytes += bytes;
            last.alerts += alerts;
        }
    }

    /// The history up to now, seconds without events included.
    pub fn history(&self, now_ns: i64) -> Vec<Second> {
        let now_s = now_ns.div_euclid(1_000_000_000);
        let seconds = self.seconds.lock();
        let of = |at_s| seconds.iter().find(|s| s.at_s == at_s).copied();
        (now_s - SECONDS as i64 + 1..=now_s)
            .map(|at_s| of(at_s).unwrap_or(Second { at_s, ..Second::default() }))
            .collect()
    }

    /// Mean over the last ten full seconds: events and bytes.
    pub fn mean(&self, now_ns: i64) -> (f64, f64) {
        let history = self.history(now_ns);
        let last = &history[history.len() - 11..history.len() - 1];
        let sum = |of: fn(&Second) -> u64| last.iter().map(of).sum::<u64>() as f64 / 10.0;
        (sum(|s| s.events), sum(|s| s.bytes))
    }
}
