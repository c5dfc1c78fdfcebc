//! Lets go of the ledger's oldest part: once everything in it is past its time, and nothing that the
//! store still has can have made it.

use super::App;
use crate::config::Retention;
use ledger::{Actor, LedgerError, Retirement};
use std::time::{Duration, Instant};

/// How often it is looked whether something is old enough: what goes is a year old and more.
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
}

impl Retiring {
    pub(super) fn new() -> Self {
        Self { due: Instant::now() + FIRST_AFTER }
    }

    /// Looks, if it is time to.
    pub(super) fn look(&mut self, app: &App) {
        if Instant::now() < self.due {
            return;
        }
        self.due = Instant::now() + LOOK_EVERY;
        let may_go = || app.store.holds().is_empty();
        let Some(age_ns) = age_ns(&app.config.retention).filter(|_| may_go()) else { return };
        let at_ns = io::intake::wall_ns();
        let actor = Actor { who: "alcedo".into(), at_ns, client: "upkeep".into() };
        // A clock that is wrong must not make a year of evidence old.
        let keep_from_ns = app.journal.proven_ns().saturating_sub(age_ns);
        let done = app.ledger.retire(keep_from_ns, &actor, &may_go);
        app.set_problem("ledger.retire", done.as_ref().err().map(LedgerError::to_string));
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
            Ok(Retirement::Postponed { carried_bytes, freed_bytes }) => {
                tracing::info!(
                    carried_bytes,
                    freed_bytes,
                    "too much of the ledger's oldest part lives on"
                );
                // To find that out is work, and another day changes little.
                self.due = Instant::now() + AGAIN_AFTER;
            }
            Ok(Retirement::Nothing) | Err(_) => {}
        }
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
