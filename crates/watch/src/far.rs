//! Does the far tier do its work: what is told about it, and when.
//!
//! A failure is told at once and again every [`AGAIN_NS`] while it lasts, because nobody must forget
//! that old files pile up; its end is told once. Files that are late are told from [`LATE_S`] on,
//! until none is later than [`ON_TIME_S`].

use event::time::SECOND_NS;

/// A failure that lasts is told again after so long: alerts of a day stay few.
const AGAIN_NS: i64 = 6 * 3_600 * SECOND_NS;
/// A file that has been due for longer is late: a day's files of a busy store go in less.
pub const LATE_S: u64 = 6 * 3_600;
/// Until the latest file is due for less than this, they are late.
const ON_TIME_S: u64 = 3_600;

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FarNews {
    /// Files do not move, or cannot be read.
    Failed,
    /// They do again.
    Recovered,
    /// Files wait for long.
    Behind,
    /// None does any more.
    CaughtUp,
}

impl FarNews {
    /// Its name as an event's action.
    pub fn action(self) -> &'static str {
        match self {
            FarNews::Failed => "tier.failed",
            FarNews::Recovered => "tier.recovered",
            FarNews::Behind => "tier.behind",
            FarNews::CaughtUp => "tier.caught_up",
        }
    }
}

/// What was told last.
#[derive(Clone, Debug, Default)]
pub struct FarWatch {
    failed_told_ns: Option<i64>,
    is_behind: bool,
}

impl FarWatch {
    /// Takes what was seen of one round: whether something failed (none if nothing was asked of the far
    /// tier, which says neither), and for how long the oldest file that should have moved has been due.
    pub fn assess(&mut self, now_ns: i64, failed: Option<bool>, behind_s: u64) -> Vec<FarNews> {
        let mut news = Vec::new();
        match (failed, self.failed_told_ns) {
            (Some(true), Some(told)) if now_ns.saturating_sub(told) < AGAIN_NS => {}
            (Some(true), _) => {
                self.failed_told_ns = Some(now_ns);
                news.push(FarNews::Failed);
            }
            (Some(false), Some(_)) => {
                self.failed_told_ns = None;
                news.push(FarNews::Recovered);
            }
            (Some(false), None) | (None, _) => {}
        }
        if !self.is_behind && behind_s >= LATE_S {
            self.is_behind = true;
            news.push(FarNews::Behind);
        } else if self.is_behind && behind_s < ON_TIME_S {
            self.is_behind = false;
            news.push(FarNews::CaughtUp);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_at_once_seldom_again_and_when_they_end() {
        let mut watch = FarWatch::default();
        assert_eq!(watch.assess(0, Some(false), 0), []);
        assert_eq!(watch.assess(SECOND_NS, Some(true), 0), [FarNews::Failed]);
        assert_eq!(watch.assess(2 * SECOND_NS, Some(true), 0), []);
        assert_eq!(watch.assess(AGAIN_NS + SECOND_NS, Some(true), 0), [FarNews::Failed]);
        assert_eq!(watch.assess(AGAIN_NS + 2 * SECOND_NS, None, 0), [], "nobody asked");
        assert_eq!(watch.assess(AGAIN_NS + 2 * SECOND_NS, Some(false), 0), [FarNews::Recovered]);
        assert_eq!(watch.assess(AGAIN_NS + 3 * SECOND_NS, Some(false), 0), []);
    }

    #[test]
    fn late_files_are_told_once_until_none_is_late() {
        let mut watch = FarWatch::default();
        assert_eq!(watch.assess(0, Some(false), LATE_S - 1), []);
        assert_eq!(watch.assess(0, Some(false), LATE_S), [FarNews::Behind]);
        assert_eq!(watch.assess(0, Some(false), LATE_S * 9), []);
        assert_eq!(watch.assess(0, Some(false), ON_TIME_S), []);
        assert_eq!(watch.assess(0, Some(false), ON_TIME_S - 1), [FarNews::CaughtUp]);
    }
}
