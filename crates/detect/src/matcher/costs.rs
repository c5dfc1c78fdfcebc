//! What each rule costs: counted in work, never in time, so that the figures do not depend on the
//! machine or on what else it does.

use super::cells::IndexedRow;
use crate::ruleset::RuleSet;
use event::{EventView, FieldId, Value};
use filter::{Below, Values};
use std::cell::Cell;
use std::sync::PoisonError;

/// Bytes of a value that count as one unit of work beside the unit of every comparison.
const BYTES_PER_UNIT: u64 = 16;
/// Nanoseconds one unit takes, roughly, on a server core of 2025: for people only.
const NS_PER_UNIT: f64 = 6.0;
/// Rows after which a rule's mean says something.
const JUDGED_ROWS_MIN: u64 = 10_000;
/// Work of one rule per event that is always allowed. All rules together need about 100 for an
/// event; 2,000 are about 12 us, more than a whole event should take.
pub const WORK_PER_EVENT_MAX: u64 = 2_000;
/// How often a rule may read all of an event, where that is more than [`WORK_PER_EVENT_MAX`]: what is
/// allowed grows with the event, so that no sender can bring a sane rule over its budget.
const READINGS_MAX: u64 = 16;
/// Work beyond what was allowed that a rule may owe before it is overdrawn, about a second of one
/// core: a burst is borne, a rule that takes a second for ten events is not.
const DEBT_MAX: u64 = 150_000_000;

/// Work that a rule is allowed for an event of so many bytes.
pub(crate) fn allowed(raw_bytes: usize) -> u64 {
    WORK_PER_EVENT_MAX.max(READINGS_MAX * (raw_bytes as u64 / BYTES_PER_UNIT))
}

/// Counts of one rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleTally {
    pub(crate) candidates: u64,
    pub(crate) matched: u64,
    pub(crate) work: u64,
    /// Work beyond what was allowed, as of `paid_to`.
    debt: u64,
    /// [`Tally::allowed`] up to which the debt was paid off.
    paid_to: u64,
}

impl RuleTally {
    /// Adds work, and pays off what was allowed since.
    fn charge(&mut self, work: u64, allowed: u64) {
        self.work += work;
        let since = allowed - std::mem::replace(&mut self.paid_to, allowed);
        self.debt = (self.debt + work).saturating_sub(since);
    }
}

/// Counts of all rules since they were compiled, or since they were last handed over.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    /// Work that each rule was allowed for them.
    pub(crate) allowed: u64,
    rules: Vec<RuleTally>,
    /// Rules with counts.
    touched: Vec<u32>,
}

impl Tally {
    pub(crate) fn new(rules: usize) -> Self {
        Self { rows: 0, allowed: 0, rules: vec![RuleTally::default(); rules], touched: Vec::new() }
    }

    /// A rule was a candidate for a row.
    pub(crate) fn count(&mut self, rule: u32, work: u64, holds: bool) {
        let tally = &mut self.rules[rule as usize];
        if tally.candidates == 0 {
            self.touched.push(rule);
        }
        tally.candidates += 1;
        tally.matched += u64::from(holds);
        tally.work += work;
    }

    /// Hands the counts over to `to`.
    pub(crate) fn flush_into(&mut self, to: &mut Tally) {
        to.rows += std::mem::take(&mut self.rows);
        to.allowed += std::mem::take(&mut self.allowed);
        for rule in self.touched.drain(..) {
            let own = std::mem::take(&mut self.rules[rule as usize]);
            let sum = &mut to.rules[rule as usize];
            if sum.candidates == 0 {
                to.touched.push(rule);
            }
            sum.candidates += own.candidates;
            sum.matched += own.matched;
            sum.charge(own.work, to.allowed);
        }
    }
}

/// A row that counts the bytes of the values it gives.
pub(crate) struct Counted<'r, 'i, 'a> {
    pub(crate) row: &'r IndexedRow<'i, 'a>,
    pub(crate) work: &'r Cell<u64>,
}

impl<'a> Values<'a> for Counted<'_, '_, 'a> {
    fn view(&self) -> EventView<'a> {
        // Asked for keywords and intrinsic fields: those read the raw bytes.
        self.work.set(self.work.get() + self.row.row.raw().len() as u64 / BYTES_PER_UNIT);
        self.row.row
    }

    fn has_below(&self, below: &Below) -> bool {
        // It walks the row's names.
        self.work.set(self.work.get() + self.row.row.cells().len() as u64);
        self.row.has_below(below)
    }

    fn values(&self, field: FieldId) -> impl Iterator<Item = Value<'a>> {
        self.row.values(field).inspect(|value| {
            self.work.set(self.work.get() + 1 + value.bytes.len() as u64 / BYTES_PER_UNIT);
        })
    }
}

/// What a rule has cost since it was compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleCost {
    /// Number of the rule in its set.
    pub rule: u32,
    /// Events looked at since the rule was compiled.
    pub rows: u64,
    /// Events whose values hit one of the rule's witnesses (all of its logsource if it has none).
    pub candidates: u64,
    /// Events for which it held.
    pub matched: u64,
    /// Comparisons made for it, plus one for every 16 bytes they looked at.
    pub work: u64,
    /// Work per event that was allowed.
    pub allowed: f64,
    /// What that work takes, roughly.
    pub estimated_ns: f64,
    /// The texts that make an event a candidate, as an explanation shows them, by field: those of
    /// the route with the most events. Empty for a rule that is tried on every event.
    pub witness: Vec<String>,
}

/// A rule that has cost more than it may for too long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overdrawn {
    /// Number of the rule in its set.
    pub rule: u32,
    /// Its work per event.
    pub work_per_event: f64,
    /// What was allowed per event.
    pub allowed: f64,
}

impl RuleCost {
    /// Its work per event.
    pub fn work_per_event(&self) -> f64 {
        self.work as f64 / self.rows.max(1) as f64
    }

    /// Whether its mean says that it costs more than it may.
    pub fn is_over_budget(&self) -> bool {
        self.rows >= JUDGED_ROWS_MIN && self.work_per_event() > self.allowed
    }
}

impl RuleSet {
    /// For how many events each rule has held since it was compiled, by its number. Zero for
    /// correlations.
    pub fn matched(&self) -> Vec<u64> {
        let mut out = vec![0; self.rules().len()];
        for part in &self.parts {
            let tally = part.compiled.tally.lock().unwrap_or_else(PoisonError::into_inner);
            for at in &tally.touched {
                if let Some(rule) = part.number(*at) {
                    out[rule as usize] = tally.rules[*at as usize].matched;
                }
            }
        }
        out
    }

    /// What every detection rule has cost so far, the most expensive first. Workers hand their
    /// counts over at the end of each batch.
    pub fn costs(&self) -> Vec<RuleCost> {
        let mut out = Vec::new();
        for part in &self.parts {
            let compiled = &part.compiled;
            let tally = compiled.tally.lock().unwrap_or_else(PoisonError::into_inner);
            let witnesses = compiled.witnesses();
            for (at, counts) in tally.rules.iter().enumerate() {
                let Some(rule) = part.number(at as u32) else { continue };
                if compiled.rules[at].plan().is_none() {
                    continue;
                }
                out.push(RuleCost {
                    rule,
                    rows: tally.rows,
                    candidates: counts.candidates,
                    matched: counts.matched,
                    work: counts.work,
                    allowed: tally.allowed as f64 / tally.rows.max(1) as f64,
                    estimated_ns: counts.work as f64 * NS_PER_UNIT,
                    witness: witnesses.get(&(at as u32)).cloned().unwrap_or_default(),
                });
            }
        }
        out.sort_by(|a, b| b.work.cmp(&a.work).then(a.rule.cmp(&b.rule)));
        out
    }

    /// The rules that owe more than they may. Their debts are forgotten with that: a rule that goes on
    /// is told again when it has made new ones. This is the breaker's verdict and nothing more: it
    /// takes effect when whoever asked puts a set [without them](RuleSet::with_paused) in force.
    pub fn overdrawn(&self) -> Vec<Overdrawn> {
        let mut out = Vec::new();
        for part in &self.parts {
            let mut tally = part.compiled.tally.lock().unwrap_or_else(PoisonError::into_inner);
            let Tally { rows, allowed, rules, touched } = &mut *tally;
            let mean = |sum: u64| sum as f64 / (*rows).max(1) as f64;
            for at in touched.iter() {
                let counts = &mut rules[*at as usize];
                if counts.debt <= DEBT_MAX {
                    continue;
                }
                counts.debt = 0;
                if let Some(rule) = part.number(*at) {
                    let (work_per_event, allowed) = (mean(counts.work), mean(*allowed));
                    out.push(Overdrawn { rule, work_per_event, allowed });
                }
            }
        }
        out
    }
}
