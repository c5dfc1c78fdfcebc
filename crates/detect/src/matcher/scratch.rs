//! Working space of one matching thread: allocated once, reused for every batch.

use super::cells::CellIndex;
use super::compiled::Compiled;
use super::costs::Tally;
use super::route::{Buffers, Directory};
use std::cell::Cell;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Reusable working space; see [`crate::RuleSet::match_batch`].
#[derive(Default)]
pub struct Scratch {
    pub(super) cells: CellIndex,
    pub(super) parts: Vec<PartScratch>,
    pub(super) found: Vec<u32>,
}

impl Scratch {
    /// Empty space.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Space for parts of other sets that is kept: two generations may be in flight at once. What was
/// replaced for good must go, for each rule that is edited makes a part of its own.
const OTHER_PARTS_MAX: usize = 2;

/// Working space for one compiled part of a set.
pub(crate) struct PartScratch {
    serial: u64,
    epoch: u64,
    pub(super) directory: Directory,
    pub(super) buffers: Buffers,
    pub(super) marks: Marks,
    pub(super) candidates: Vec<u32>,
    pub(super) tally: Tally,
}

impl PartScratch {
    fn new(compiled: &Compiled) -> Self {
        Self {
            serial: compiled.serial,
            epoch: compiled.epoch.load(Ordering::Acquire),
            directory: Directory::default(),
            buffers: Buffers::for_leaves(compiled.leaves.len()),
            marks: Marks::new(compiled.leaves.len(), compiled.rules.len()),
            candidates: Vec::new(),
            tally: Tally::new(compiled.rules.len()),
        }
    }

    /// Makes `parts` fit the compiled parts of a set: space for parts that are still there is kept
    /// with all it has learned, routes that were replaced are looked up anew.
    pub(super) fn prepare<'c>(parts: &mut Vec<Self>, all: impl Iterator<Item = &'c Compiled>) {
        let mut count = 0;
        for (at, compiled) in all.enumerate() {
            count = at + 1;
            match parts[at..].iter().position(|p| p.serial == compiled.serial) {
                Some(found) => parts.swap(at, at + found),
                None => {
                    parts.insert(at, Self::new(compiled));
                }
            }
            let part = &mut parts[at];
            let epoch = compiled.epoch.load(Ordering::Acquire);
            if std::mem::replace(&mut part.epoch, epoch) != epoch {
                part.directory.refresh(|allowed| compiled.route_of(allowed));
            }
        }
        parts.truncate(count + OTHER_PARTS_MAX);
    }

    /// Hands over what was counted in a batch of `rows`, for which each rule was `allowed` so much
    /// work.
    pub(super) fn hand_over(&mut self, compiled: &Compiled, rows: usize, allowed: u64) {
        self.tally.rows += rows as u64;
        self.tally.allowed += allowed;
        let mut sum = compiled.tally.lock().unwrap_or_else(PoisonError::into_inner);
        self.tally.flush_into(&mut sum);
    }
}

/// What is known about the current row. Marks of earlier rows are told apart by the row's number
/// instead of being cleared.
#[derive(Default)]
pub(super) struct Marks {
    now: u32,
    hits: Vec<u32>,
    candidates: Vec<u32>,
    /// Twice the row's number, plus the verdict.
    verdicts: Vec<Cell<u32>>,
}

impl Marks {
    fn new(leaves: usize, rules: usize) -> Self {
        Self {
            now: 0,
            hits: vec![0; leaves],
            candidates: vec![0; rules],
            verdicts: vec![Cell::new(0); leaves],
        }
    }

    pub(super) fn next_row(&mut self) {
        self.now += 1;
        // Numbers are doubled in `verdicts`: start over before they would wrap.
        if self.now > u32::MAX / 2 {
            *self = Self::new(self.hits.len(), self.candidates.len());
            self.now = 1;
        }
    }

    /// Marks a leaf; true the first time within the row.
    pub(super) fn hit(&mut self, leaf: u32) -> bool {
        std::mem::replace(&mut self.hits[leaf as usize], self.now) != self.now
    }

    pub(super) fn is_hit(&self, leaf: u32) -> bool {
        self.hits[leaf as usize] == self.now
    }

    /// Marks a rule as candidate; true the first time within the row.
    pub(super) fn candidate(&mut self, rule: u32) -> bool {
        std::mem::replace(&mut self.candidates[rule as usize], self.now) != self.now
    }

    pub(super) fn verdict(&self, leaf: u32, work_out: impl FnOnce() -> bool) -> bool {
        let cell = &self.verdicts[leaf as usize];
        let known = cell.get();
        if known / 2 == self.now {
            return known % 2 == 1;
        }
        let verdict = work_out();
        cell.set(self.now * 2 + u32::from(verdict));
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RuleSet;
    use crate::ruletest::push_event;
    use event::EventBatch;
    use serde_json::json;
    use std::sync::Arc;

    fn rule(value: &str) -> Arc<crate::Rule> {
        let text = format!(
            "title: t\nid: edited\nlogsource: {{product: test}}\n\
             detection: {{s: {{F: '{value}'}}, condition: s}}\n"
        );
        Arc::new(crate::load_text(&text).0.remove(0))
    }

    /// Scenario: a rule is edited again and again while a worker goes on.
    /// Guarantees: each edit is in force, and the worker's space does not grow with their number.
    #[test]
    fn space_does_not_grow_with_edits() {
        let other = Arc::new(
            crate::load_text(
                "title: o\nid: other\nlogsource: {product: test}\n\
             detection: {s: {F: other}, condition: s}\n",
            )
            .0
            .remove(0),
        );
        let first = RuleSet::standalone(vec![(*other).clone(), (*rule("v0")).clone()]);
        let mut scratch = Scratch::new();
        for edit in 0..20 {
            let value = format!("v{edit}");
            let set = first.update(vec![other.clone(), rule(&value)], first.dict());
            let mut batch = EventBatch::new(set.dict().clone());
            push_event(&mut batch, &json!({"F": value}), b"");
            let mut found = Vec::new();
            set.match_batch(&batch, &mut scratch, &mut found);
            assert_eq!(found.len(), 1, "edit {edit}");
            assert!(scratch.parts.len() <= 2 + OTHER_PARTS_MAX, "{}", scratch.parts.len());
        }
    }
}
