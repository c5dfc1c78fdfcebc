//! Thousands of rules against a batch of events, with the verdicts of the single-event evaluator.
//!
//! ```text
//! row --route--> the rules of its logsource, and indexes of just those
//!     --cells--> per group of fields: value -memo/index-> leaves hit --postings--> candidate rules
//!     --keywords (only if a routed rule has some)---------------------------------^
//!                              + routed rules without a witness ------------------^
//!     --verify--> the rule's check over leaf verdicts, each worked out once per row --> Match
//!     --sample--> every n-th row: which leaves are rare here? --> better witnesses, swapped in
//! ```
//! **Invariant:** a rule that holds for a row is always a candidate. Every rule has a *witness*, a
//! set of leaves of which one must hold; witness leaves are indexed without false negatives under
//! the group of fields that answers for them (the first present field gives the values, as in the
//! evaluator). Rules that have none are candidates of every routed row. Which necessary set is the
//! witness only decides what is verified in vain.

mod cells;
mod checks;
mod compiled;
mod costs;
mod ends;
mod fragments;
mod index;
mod leaves;
mod literal;
mod memo;
mod route;
mod scratch;
mod training;
mod witness;

pub(crate) use compiled::Compiled;
pub use costs::{Overdrawn, RuleCost, WORK_PER_EVENT_MAX};
pub use route::LOGSOURCE_FIELD;
pub(crate) use route::fits;
pub use scratch::Scratch;

use crate::ruleset::RuleSet;
use event::{EventBatch, EventView, Match, Outcome};
use scratch::PartScratch;
use std::ops::Range;

/// What a matcher was built of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatcherStats {
    /// Detection rules.
    pub detections: usize,
    /// Distinct leaves.
    pub leaves: usize,
    /// Kinds of events met so far, each with indexes of its own.
    pub routes: usize,
    /// Those whose witnesses were chosen by observed traffic.
    pub trained: usize,
    /// Rules that are candidates for every event of their logsource, most of all routes.
    pub without_witness: usize,
    /// Rules compiled apart from the others, because they were added or edited later.
    pub added: usize,
}

impl RuleSet {
    /// Appends a [`Match`] for every (row, rule) that holds, ordered by row, then by rule.
    ///
    /// The batch must have been made with this set's dictionary. `scratch` may be reused for any
    /// batch and any set; what it holds never changes a verdict. Verdicts equal those of
    /// [`RuleSet::match_exactly`].
    pub fn match_batch(&self, batch: &EventBatch, scratch: &mut Scratch, out: &mut Vec<Match>) {
        self.match_rows(batch, 0..batch.len(), scratch, out);
    }

    /// As [`RuleSet::match_batch`], for some of the rows.
    pub fn match_rows(
        &self,
        batch: &EventBatch,
        rows: Range<usize>,
        scratch: &mut Scratch,
        out: &mut Vec<Match>,
    ) {
        debug_assert!(
            std::sync::Arc::ptr_eq(batch.dict(), self.dict()),
            "the batch has the dictionary of another generation"
        );
        let Scratch { cells, parts, found } = scratch;
        PartScratch::prepare(parts, self.parts.iter().map(|p| &*p.compiled));
        let count = rows.len();
        let mut allowed = 0;
        for row in rows.map(|index| batch.row(index)) {
            allowed += costs::allowed(row.raw().len());
            cells.read(&row, batch.dict().len());
            let before = out.len();
            for (part, space) in self.parts.iter().zip(parts.iter_mut()) {
                found.clear();
                let in_force = |rule: u32| part.number(rule).is_some();
                part.compiled.match_row(&row, cells, space, &in_force, found);
                let numbers = found.iter().filter_map(|rule| part.number(*rule));
                out.extend(numbers.map(|rule| Match { rule, row: row.index() as u32 }));
            }
            if self.parts.len() > 1 {
                out[before..].sort_unstable_by_key(|m| m.rule);
            }
        }
        for (part, space) in self.parts.iter().zip(parts.iter_mut()) {
            space.hand_over(&part.compiled, count, allowed);
        }
    }

    /// The rules that hold for a row, by the single-event evaluator: the definition that
    /// [`RuleSet::match_batch`] is tested against. Takes ms with thousands of rules.
    pub fn match_exactly(&self, row: &EventView<'_>) -> Vec<u32> {
        let mut out = Vec::new();
        let mut key = Vec::new();
        for part in &self.parts {
            let compiled = &part.compiled;
            compiled.router.key(row, &mut key);
            let allowed = compiled.router.allowed(&key);
            for (at, (rule, binding)) in compiled.rules.iter().zip(&compiled.bindings).enumerate() {
                let (Some(plan), Some(binding)) = (rule.plan(), binding) else { continue };
                if let Some(number) = part.number(at as u32)
                    && route::has_bit(&allowed, at as u32)
                    && plan.matches(binding, row)
                {
                    out.push(number);
                }
            }
        }
        out.sort_unstable();
        out
    }

    /// What the matcher was built of, for listings.
    pub fn matcher_stats(&self) -> MatcherStats {
        let mut stats = MatcherStats::default();
        for part in &self.parts {
            let compiled = &part.compiled;
            stats.detections += compiled.rules.iter().filter(|r| r.plan().is_some()).count();
            stats.leaves += compiled.leaves.len();
            for route in compiled.routes.all() {
                stats.routes += 1;
                stats.trained += usize::from(route.trained_rows > 0);
                stats.without_witness = stats.without_witness.max(route.always.len());
            }
        }
        stats.added = self.parts.get(1).map_or(0, |p| p.compiled.rules.len());
        stats
    }

    /// The condition of a rule with what was found in the row: which leaf held on which value, and
    /// why the others did not. A correlation has no condition over one event: its outcome is a
    /// `correlation` node that did not match.
    ///
    /// Panics when the rule or the row does not exist.
    pub fn explain(&self, rule: u32, batch: &EventBatch, row: usize) -> Outcome {
        let view = batch.row(row);
        let Some(plan) = self.rule(rule).plan() else {
            return Outcome {
                op: "correlation".into(),
                name: None,
                matched: false,
                field: None,
                answered_by: None,
                pattern: None,
                actual: None,
                span: None,
                reason: None,
                children: Vec::new(),
            };
        };
        let binding = plan.bind(&**self.dict());
        let outcome = plan.explain(&binding, &view);
        debug_assert_eq!(outcome.matched, plan.matches(&binding, &view));
        outcome
    }
}
