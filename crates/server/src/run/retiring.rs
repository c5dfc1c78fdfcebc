//! Lets go of the ledger's oldest part: once everything in it is past its time, and nothing that the
//! store still has can have made it.

use super::App;
use crate::config::Retention;
use ledger::{Actor, LedgerError, Retirement};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often it is looked whether something is old enough: ages are days and more.
const LOOK_EVERY: Duration = Duration::from_hours(1);
/// The next look when a part went.
const NEXT_PART_AFTER: Duration = Duration::from_mins(1);
/// The next look when too much would have to be copied.
const AGAIN_AFTER: Duration = Duration::from_hours(24);
/// The first look after a start: by then it is known how much space there is.
const FIRST_AFTER: Duration = Duration::from_secs(5);
/// Part of the age that is waited longer, so that the store, which lets whole files go by the newest
/// event in them, is done with what the alerts were about.
const LEEWAY_PART: i64 = 100;

/// What is remembered from look to look.
pub(super) struct Retiring {
    due: Instant,
    begun: Instant,
    proven: Option<Proven>,
}

/// The latest time that it can be: by it a clock that is set wrong, or was when the machine started,
/// makes nothing old. It is written down, gains at most a day by a start and runs at most twice as
/// fast as time passes, so it follows a machine that was off and never a clock that jumped.
struct Proven {
    path: PathBuf,
    /// What was written down when this run began, ns.
    saved_ns: i64,
}

/// A proven time that is so far behind the clock is told: it gains a day with each start.
const BEHIND_NS: i64 = 30 * 86_400 * 1_000_000_000;

impl Proven {
    const START_GAIN_NS: i64 = 86_400 * 1_000_000_000;

    /// What is written down in the folder; at first use the wall clock, which has to be right then.
    fn read(folder: &Path, wall_ns: i64) -> std::io::Result<Self> {
        let path = folder.join("proven-time");
        let saved = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().ok(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(wall_ns),
            Err(error) => return Err(error),
        };
        let wrong = || std::io::Error::other(format!("`{}` is no time", path.display()));
        let this = Self { saved_ns: saved.ok_or_else(wrong)?, path };
        this.write(this.saved_ns)?;
        Ok(this)
    }

    /// The time after `passed` in this run, ns.
    fn now_ns(&self, wall_ns: i64, passed: Duration) -> i64 {
        let passed_ns = i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX);
        let gained_ns = Self::START_GAIN_NS.saturating_add(passed_ns.saturating_mul(2));
        wall_ns.min(self.saved_ns.saturating_add(gained_ns))
    }

    fn write(&self, ns: i64) -> std::io::Result<()> {
        let next = self.path.with_extension("next");
        std::fs::write(&next, format!("{ns}\n"))?;
        std::fs::File::open(&next)?.sync_all()?;
        std::fs::rename(next, &self.path)
    }
}

impl Retiring {
    pub(super) fn new() -> Self {
        let begun = Instant::now();
        Self { due: begun + FIRST_AFTER, begun, proven: None }
    }

    /// Looks, if it is time to.
    pub(super) fn look(&mut self, app: &App) {
        if Instant::now() < self.due {
            return;
        }
        self.due = Instant::now() + LOOK_EVERY;
        let may_go = || app.store.holds().is_empty();
        let asked = app.config.retention.ledger_ns.is_some();
        let age_ns = age_ns(&app.config.retention);
        let unheard = "`retention: {ledger: ...}` has no effect while events are kept for ever: set \
                       `age` and the rules' ages, too";
        app.set_notice("ledger.age", (asked && age_ns.is_none()).then(|| unheard.to_owned()));
        let Some(age_ns) = age_ns.filter(|_| may_go()) else { return };
        let at_ns = io::intake::wall_ns();
        let now_ns = match self.proven_ns(&app.config.data_dir.join("ledger-index"), at_ns) {
            Ok(now_ns) => now_ns,
            Err(error) => {
                let text = format!("the ledger keeps its oldest part: no time is proven: {error}");
                return app.set_problem("ledger.retire", Some(text));
            }
        };
        let behind = "the ledger's old parts are kept longer, for the clock was once far behind: if it is \
                      right now, stop the server, delete `ledger-index/proven-time` and start it";
        let is_behind = at_ns.saturating_sub(now_ns) > BEHIND_NS;
        app.set_notice("ledger.time", is_behind.then(|| behind.to_owned()));
        let actor = Actor { who: "alcedo".into(), at_ns, client: "upkeep".into() };
        let done = app.ledger.retire(now_ns.saturating_sub(age_ns), &actor, &may_go);
        app.set_problem("ledger.retire", done.as_ref().err().map(LedgerError::to_string));
        let waits = match &done {
            Ok(Retirement::Postponed { carried_bytes, freed_bytes }) => Some(format!(
                "the ledger's oldest {} MiB do not go: {} KiB of it and more are alerts that are open or \
                 were touched since; close what is done with",
                freed_bytes >> 20,
                carried_bytes >> 10
            )),
            _ => None,
        };
        app.set_notice("ledger.retire", waits);
        match done {
            Ok(Retirement::Done { range, alerts }) => {
                let records: u64 = range.records.values().sum();
                let detail = format!("{records} records; {alerts} alerts live on");
                let target = format!("ledger offsets {} to {}", range.first, range.next - 1);
                tracing::info!(target, detail, "the ledger's oldest part went");
                app.note(&actor, "ledger.retire", &target, &detail);
                // There may be more: it goes in parts.
                self.due = Instant::now() + NEXT_PART_AFTER;
            }
            // To find that out is work, and another day changes little.
            Ok(Retirement::Postponed { .. }) => self.due = Instant::now() + AGAIN_AFTER,
            Ok(Retirement::Nothing) | Err(_) => {}
        }
    }
}

impl Retiring {
    /// What time it can be at most; written down once it is an hour later than at the start, so that
    /// starts one after the other gain nothing.
    fn proven_ns(&mut self, folder: &Path, wall_ns: i64) -> std::io::Result<i64> {
        let proven = match &self.proven {
            Some(proven) => proven,
            None => self.proven.insert(Proven::read(folder, wall_ns)?),
        };
        let passed = self.begun.elapsed();
        let now_ns = proven.now_ns(wall_ns, passed);
        if passed >= LOOK_EVERY {
            // A clock that was set back meanwhile takes nothing away.
            proven.write(now_ns.max(proven.saved_ns))?;
        }
        Ok(now_ns)
    }
}

/// The age from which on records of the ledger may go, ns; `None`: never. No shorter than events are
/// kept.
fn age_ns(retention: &Retention) -> Option<i64> {
    let of_rules = retention.rules.iter().map(|rule| rule.age_ns);
    let ages = [retention.ledger_ns, retention.age_ns].into_iter().chain(of_rules);
    let longest = ages.collect::<Option<Vec<i64>>>()?.into_iter().max()?;
    Some(longest.saturating_add(longest / LEEWAY_PART))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a clock two years ahead from a start on, three starts one after the other, then a month of
    /// running; a machine that was off for a month, with the right clock; the clock set back.
    /// Guarantees: starts gain nothing, time that passed counts twice at most, and no time is later than
    /// the wall clock.
    #[test]
    fn a_wrong_clock_makes_nothing_old() {
        const DAY_NS: i64 = Proven::START_GAIN_NS;
        let days = |n: u64| Duration::from_hours(24 * n);
        let folder = tempfile::tempdir().unwrap();
        let right_ns = 1_000 * DAY_NS;
        Proven::read(folder.path(), right_ns).unwrap();
        let wrong_ns = right_ns + 730 * DAY_NS;
        for _ in 0..3 {
            let proven = Proven::read(folder.path(), wrong_ns).unwrap();
            assert_eq!(proven.now_ns(wrong_ns, days(0)), right_ns + DAY_NS);
            let mut retiring = Retiring { proven: Some(proven), ..Retiring::new() };
            retiring.proven_ns(folder.path(), wrong_ns).unwrap();
        }
        let proven = Proven::read(folder.path(), 0).unwrap();
        let long_ago = Instant::now().checked_sub(LOOK_EVERY * 2).unwrap_or_else(Instant::now);
        let mut back = Retiring { proven: Some(proven), begun: long_ago, ..Retiring::new() };
        assert_eq!(back.proven_ns(folder.path(), 0).unwrap(), 0);
        assert!(Proven::read(folder.path(), wrong_ns).unwrap().saved_ns >= right_ns, "set back");
        let proven = Proven::read(folder.path(), wrong_ns).unwrap();
        assert_eq!(proven.now_ns(wrong_ns, days(30)), right_ns + 61 * DAY_NS);
        assert_eq!(proven.now_ns(right_ns + 30 * DAY_NS, days(15)), right_ns + 30 * DAY_NS);
        assert_eq!(proven.now_ns(right_ns - DAY_NS, days(1)), right_ns - DAY_NS);
        std::fs::write(folder.path().join("proven-time"), "soon").unwrap();
        assert!(Proven::read(folder.path(), right_ns).is_err());
    }

    #[test]
    fn the_ledger_is_kept_as_long_as_any_event() {
        let age = |ledger_ns, age_ns| {
            super::age_ns(&Retention { ledger_ns, age_ns, size_bytes: Some(1), rules: Vec::new() })
        };
        assert_eq!(age(Some(400), Some(400)), Some(404));
        assert_eq!(age(Some(400), Some(900)), Some(909));
        assert_eq!(age(Some(800), Some(400)), Some(808));
        assert_eq!(age(Some(400), None), None, "the store keeps everything");
        assert_eq!(age(None, Some(400)), None);
    }
}
