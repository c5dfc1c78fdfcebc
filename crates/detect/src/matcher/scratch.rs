//! Working space of one matching thread: allocated once, reused for every batch.

use super::memo::Memo;
use super::route::Routes;
use std::cell::Cell;

/// Reusable working space; see [`crate::RuleSet::match_batch`].
#[derive(Default)]
pub struct Scratch {
    serial: u64,
    pub(super) routes: Routes,
    pub(super) memo: Memo,
    pub(super) spare: Vec<u32>,
    pub(super) folded: Vec<u8>,
    pub(super) marks: Marks,
    pub(super) candidates: Vec<u32>,
}

impl Scratch {
    /// Empty space.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes it fit a rule set; forgets everything about another one.
    pub(super) fn prepare(&mut self, serial: u64, leaves: usize, rules: usize) {
        if self.serial == serial {
            return;
        }
        self.serial = serial;
        self.routes.clear();
        self.memo.clear();
        self.marks = Marks::new(leaves, rules);
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
