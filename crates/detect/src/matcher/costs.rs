//! What each rule costs: counted in work, never in time, so that the figures do not depend on the
//! machine or on what else it does.

use super::cells::IndexedRow;
use crate::ruleset::RuleSet;
use event::{EventView, FieldId, Value};
use filter::Values;
use std::cell::Cell;
use std::sync::PoisonError;

/// Bytes of a value that count as one unit of work beside the unit of every comparison.
const BYTES_PER_UNIT: u64 = 16;
/// Nanoseconds one unit takes, roughly, on a server core of 2025: for people only.
const NS_PER_UNIT: f64 = 6.0;
/// Rows after which a rule's mean says something.
const JUDGED_ROWS_MIN: u64 = 10_000;
/// Work of one rule per event above which it is over budget. All rules together need about 100 for
/// an event; 2,000 are about 12 us, more than the whole event is allowed.
pub const WORK_PER_EVENT_MAX: f64 = 2_000.0;

/// Counts of one rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleTally {
    pub(crate) candidates: u64,
    pub(crate) matched: u64,
    pub(crate) work: u64,
}

/// Counts of all rules since they were compiled, or since they were last handed over.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    rules: Vec<RuleTally>,
    /// Rules with counts.
    touched: Vec<u32>,
}

impl Tally {
    pub(crate) fn new(rules: usize) -> Self {
        Self { rows: 0, rules: vec![RuleTally::default(); rules], touched: Vec::new() }
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
        for rule in self.touched.drain(..) {
            let own = std::mem::take(&mut self.rules[rule as usize]);
            let sum = &mut to.rules[rule as usize];
            if sum.candidates == 0 {
                to.touched.push(rule);
            }
            sum.candidates += own.candidates;
            sum.matched += own.matched;
            sum.work += own.work;
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
    /// What that work takes, roughly.
    pub estimated_ns: f64,
    /// The texts that make an event a candidate, as an explanation shows them, by field: those of
    /// the route with the most events. Empty for a rule that is tried on every event.
    pub witness: Vec<String>,
}

/// A rule that costs more than it may.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OverBudget {
    /// Number of the rule in its set.
    pub rule: u32,
    /// Its work per event.
    pub work_per_event: f64,
    /// What was allowed.
    pub allowed: f64,
}

impl RuleCost {
    /// Its work per event.
    pub fn work_per_event(&self) -> f64 {
        self.work as f64 / self.rows.max(1) as f64
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
                    estimated_ns: counts.work as f64 * NS_PER_UNIT,
                    witness: witnesses.get(&(at as u32)).cloned().unwrap_or_default(),
                });
            }
        }
        out.sort_by(|a, b| b.work.cmp(&a.work).then(a.rule.cmp(&b.rule)));
        out
    }

    /// The rules whose work per event is above `allowed` ([`WORK_PER_EVENT_MAX`]). This is the
    /// breaker's verdict and nothing more: it takes effect when whoever asked writes a generation
    /// without them.
    pub fn over_budget(&self, allowed: f64) -> Vec<OverBudget> {
        let mut out = Vec::new();
        for part in &self.parts {
            let tally = part.compiled.tally.lock().unwrap_or_else(PoisonError::into_inner);
            if tally.rows < JUDGED_ROWS_MIN {
                continue;
            }
            for (at, counts) in tally.rules.iter().enumerate() {
                let work_per_event = counts.work as f64 / tally.rows as f64;
                if work_per_event > allowed
                    && let Some(rule) = part.number(at as u32)
                {
                    out.push(OverBudget { rule, work_per_event, allowed });
                }
            }
        }
        out.sort_by(|a, b| b.work_per_event.total_cmp(&a.work_per_event));
        out
    }
}
