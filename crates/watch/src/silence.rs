//! How long may a sender say nothing? As configured, or learned from its own gaps.
//!
//! Young (less than a week of history): six times the 99 % gap, at least 15 minutes, low severity.
//! Grown: one bucket plus 1.5 times the longest gap of the last four weeks in the same class of
//! hours (weekday or weekend, day or night), between 90 seconds and 24 hours.

use crate::rate::Histogram;
use event::Level;
use event::time::SECOND_NS;
use serde::{Deserialize, Serialize};

const MINUTE_NS: i64 = 60 * SECOND_NS;
const HOUR_NS: i64 = 60 * MINUTE_NS;
const DAY_NS: i64 = 24 * HOUR_NS;
/// History a sender needs before its longest gaps mean something.
pub const GROWN_NS: i64 = 7 * DAY_NS;
/// Shortest threshold of a young sender.
pub const YOUNG_MIN_NS: i64 = 15 * MINUTE_NS;
/// A threshold is never shorter than this for a grown sender.
pub const GROWN_MIN_NS: i64 = 90 * SECOND_NS;
/// No threshold is longer: a source that is silent for a day is worth a word.
pub const MAX_NS: i64 = DAY_NS;
/// Slack added for a grown sender: one volume bucket.
const BUCKET_NS: i64 = 5 * MINUTE_NS;
/// Gaps a young sender must have shown; before, nothing is known of its rhythm.
pub const GAPS_MIN: u64 = 20;
const WEEKS: usize = 4;
const CLASSES: usize = 4;

/// The gaps of one sender and whether it is silent now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    first_ns: Option<i64>,
    last_ns: i64,
    last_wall_ns: i64,
    gaps: Histogram,
    /// Longest gap per week (ring) and class of hours, ns.
    longest: [[i64; CLASSES]; WEEKS],
    week: i64,
    /// Stream time of the last event before the silence that was told.
    told_ns: Option<i64>,
}

/// What a look at a sender gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// Since when nothing came, ns of stream time.
    pub silent_ns: i64,
    /// What was allowed, ns.
    pub threshold_ns: i64,
    /// How sure the threshold is.
    pub level: Level,
}

impl Silence {
    /// An event arrived. Events that are older than the newest one change nothing.
    pub fn seen(&mut self, stream_ns: i64, wall_ns: i64) {
        if self.first_ns.is_none() {
            (self.first_ns, self.last_ns, self.last_wall_ns) =
                (Some(stream_ns), stream_ns, wall_ns);
            self.week = week_of(wall_ns);
            return;
        }
        let gap_ns = stream_ns.saturating_sub(self.last_ns);
        if gap_ns <= 0 {
            return;
        }
        self.gaps.add(gap_ns as u64);
        self.turn_weeks(wall_ns);
        let row = &mut self.longest[self.week.rem_euclid(WEEKS as i64) as usize];
        // Each run of hours gets its own share of the gap: a quiet night says nothing of the day.
        let from_ns = wall_ns.saturating_sub(gap_ns.min(GROWN_NS));
        let mut end_ns = wall_ns;
        while end_ns > from_ns {
            let start_ns = run_start(end_ns - 1).max(from_ns);
            let longest = &mut row[class_of(end_ns - 1)];
            *longest = (*longest).max(end_ns - start_ns);
            end_ns = start_ns;
        }
        (self.last_ns, self.last_wall_ns) = (stream_ns, wall_ns);
    }

    /// Wall time of the last event.
    pub fn last_wall_ns(&self) -> i64 {
        self.last_wall_ns
    }

    /// Whether a silence was told and is not over.
    pub fn is_silent(&self) -> bool {
        self.told_ns.is_some()
    }

    /// The threshold now and how sure it is; `None` while nothing is known.
    pub fn threshold(&self, configured_ns: Option<i64>, wall_ns: i64) -> Option<(i64, Level)> {
        if let Some(ns) = configured_ns {
            return Some((ns, Level::High));
        }
        let age_ns = self.last_ns.saturating_sub(self.first_ns?);
        if age_ns < GROWN_NS {
            let p99 = i64::try_from(self.gaps.quantile(0.99)).unwrap_or(i64::MAX);
            let ns = p99.saturating_mul(6).clamp(YOUNG_MIN_NS, MAX_NS);
            return (self.gaps.total() >= GAPS_MIN).then_some((ns, Level::Low));
        }
        let class = class_of(wall_ns);
        let longest = self.longest.iter().map(|week| week[class]).max().unwrap_or(0);
        let ns = BUCKET_NS.saturating_add(longest.saturating_mul(3) / 2);
        Some((ns.clamp(GROWN_MIN_NS, MAX_NS), Level::Medium))
    }

    /// Looks: the silence if one begins now. Told once until [`Silence::recovered`].
    pub fn check(
        &mut self,
        configured_ns: Option<i64>,
        stream_ns: i64,
        wall_ns: i64,
    ) -> Option<Overdue> {
        if self.told_ns.is_some() {
            return None;
        }
        let (threshold_ns, level) = self.threshold(configured_ns, wall_ns)?;
        let silent_ns = stream_ns.saturating_sub(self.last_ns);
        // A learned daytime threshold counts from the start of the day, not from last evening.
        let counted_ns = match level {
            Level::Medium => silent_ns.min(wall_ns.saturating_sub(run_start(wall_ns))),
            _ => silent_ns,
        };
        if self.first_ns.is_none() || counted_ns <= threshold_ns {
            return None;
        }
        self.told_ns = Some(self.last_ns);
        Some(Overdue { silent_ns, threshold_ns, level })
    }

    /// Whether a told silence ended: how long it lasted, ns. Told once.
    pub fn recovered(&mut self) -> Option<i64> {
        let told_ns = self.told_ns.filter(|told_ns| self.last_ns > *told_ns)?;
        self.told_ns = None;
        Some(self.last_ns - told_ns)
    }

    fn turn_weeks(&mut self, wall_ns: i64) {
        let week = week_of(wall_ns);
        for passed in 1..=(week.saturating_sub(self.week)).clamp(0, WEEKS as i64) {
            let row = (week - passed + 1).rem_euclid(WEEKS as i64) as usize;
            self.longest[row] = [0; CLASSES];
        }
        self.week = self.week.max(week);
    }
}

fn week_of(wall_ns: i64) -> i64 {
    wall_ns.div_euclid(GROWN_NS)
}

/// Weekday day, weekday night, weekend day, weekend night; day is 08:00 to 20:00 UTC.
fn class_of(wall_ns: i64) -> usize {
    // 1970-01-01 was a Thursday, three days after a Monday.
    let weekend = (wall_ns.div_euclid(DAY_NS) + 3).rem_euclid(7) >= 5;
    let hour = wall_ns.rem_euclid(DAY_NS) / HOUR_NS;
    usize::from(weekend) * 2 + usize::from(!(8..20).contains(&hour))
}

/// Start of the unbroken run of one class that `wall_ns` lies in. Classes change at 0, 8 and 20
/// hours only; no run is longer than a night, so a few steps find it.
fn run_start(wall_ns: i64) -> i64 {
    let class = class_of(wall_ns);
    let mut at = part_start(wall_ns);
    while class_of(at - 1) == class {
        at = part_start(at - 1);
    }
    at
}

fn part_start(wall_ns: i64) -> i64 {
    let midnight = wall_ns.div_euclid(DAY_NS) * DAY_NS;
    match (wall_ns - midnight) / HOUR_NS {
        0..8 => midnight,
        8..20 => midnight + 8 * HOUR_NS,
        _ => midnight + 20 * HOUR_NS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Monday 2026-11-23 00:00 UTC.
    const MONDAY_NS: i64 = 1_795_392_000_000_000_000;

    #[test]
    fn a_configured_threshold_is_told_once_and_its_end_once() {
        let mut s = Silence::default();
        assert_eq!(s.check(Some(10), 1_000, 0), None, "never seen is not silent");
        s.seen(100, 0);
        assert_eq!(s.check(Some(10), 110, 0), None);
        let told = s.check(Some(10), 111, 0).unwrap();
        assert_eq!(told, Overdue { silent_ns: 11, threshold_ns: 10, level: Level::High });
        assert_eq!((s.check(Some(10), 200, 0), s.recovered()), (None, None));
        s.seen(300, 0);
        assert_eq!((s.recovered(), s.recovered()), (Some(200), None));
        assert!(s.check(Some(10), 400, 0).is_some());
    }

    #[test]
    fn a_young_sender_is_judged_by_its_gaps_and_never_before_a_quarter_hour() {
        let mut s = Silence::default();
        for second in 0..100 {
            s.seen(second * SECOND_NS, MONDAY_NS + second * SECOND_NS);
        }
        let (ns, level) = s.threshold(None, MONDAY_NS).unwrap();
        assert_eq!((ns, level), (YOUNG_MIN_NS, Level::Low));
        let mut slow = Silence::default();
        for hour in 0..30 {
            slow.seen(hour * HOUR_NS, MONDAY_NS + hour * HOUR_NS);
        }
        let (ns, _) = slow.threshold(None, MONDAY_NS).unwrap();
        assert_eq!(ns, 6 * HOUR_NS);
        let mut new = Silence::default();
        new.seen(0, MONDAY_NS);
        assert_eq!(new.check(None, 100 * DAY_NS, MONDAY_NS), None, "no rhythm known");
    }

    #[test]
    fn a_grown_sender_may_sleep_at_night_but_not_by_day() {
        let mut s = Silence::default();
        for minute in (0..21 * 24 * 60).step_by(5) {
            let ns = minute * MINUTE_NS;
            if (8..20).contains(&(ns % DAY_NS / HOUR_NS)) {
                s.seen(ns, MONDAY_NS + ns);
            }
        }
        // Three weeks later, on a Monday: the last event came on Sunday at 19:55.
        let monday_ns = 21 * DAY_NS;
        let mut at = |ns: i64| s.check(None, monday_ns + ns, MONDAY_NS + monday_ns + ns);
        assert_eq!(at(3 * HOUR_NS), None, "nights are quiet");
        assert_eq!(at(8 * HOUR_NS + 10 * MINUTE_NS), None);
        let told = at(8 * HOUR_NS + 13 * MINUTE_NS).unwrap();
        assert_eq!(told.threshold_ns, 5 * MINUTE_NS + 450 * SECOND_NS);
        assert_eq!(told.level, Level::Medium);
    }
}
