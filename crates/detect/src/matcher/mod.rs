//! Thousands of rules against a batch of events, with the verdicts of the single-event evaluator.
//!
//! ```text
//! row --route--> rules of its logsource
//!     --cells--> per field: value -memo/index-> leaves hit --postings--> candidate rules
//!     --keywords (only if a routed rule has some)-------------------------^
//!                              + routed rules without a witness ----------^
//!     --verify--> holds_with(leaf verdicts, each worked out once per row) --> Match
//! ```
//! **Invariant:** a rule that holds for a row is always a candidate. Every rule has a *witness*, a
//! set of leaves of which one must hold; witness leaves are indexed without false negatives under
//! every field that answers for them. Rules that have none are candidates of every routed row.

mod index;
mod leaves;
mod literal;
mod memo;
mod route;
mod scratch;
mod witness;

pub use route::LOGSOURCE_FIELD;
pub(crate) use route::fits;
pub use scratch::Scratch;

use crate::ruleset::RuleSet;
use crate::sigma::Rule;
use event::{Dictionary, EventBatch, EventView, Match, Outcome, Value};
use filter::{Binding, Target, Test, TextOp};
use hashbrown::HashMap;
use index::{IndexBuilder, ValueIndex};
use leaves::Leaves;
use route::{KeywordLeaf, Router};
use std::sync::atomic::{AtomicU64, Ordering};

/// Plans with more leaves have all of them indexed, so that verifying a long value list costs one
/// look-up per row instead of one comparison per value.
const LONG_PLAN_LEAVES: usize = 48;
const NO_INDEX: u32 = u32::MAX;

/// The compiled indexes of a [`RuleSet`].
pub struct Matcher {
    /// Tells scratch space of another rule set apart.
    serial: u64,
    leaves: Leaves,
    /// Per leaf: rules it is a witness of.
    postings: Vec<Box<[u32]>>,
    /// Per leaf: whether not being hit proves that it does not hold.
    indexed: Vec<bool>,
    /// Field id -> index into `indexes`, or `NO_INDEX`.
    index_of_field: Vec<u32>,
    indexes: Vec<ValueIndex>,
    router: Router,
    stats: MatcherStats,
}

/// What a matcher was built of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatcherStats {
    /// Detection rules.
    pub detections: usize,
    /// Distinct leaves.
    pub leaves: usize,
    /// Leaves that are looked up by value.
    pub indexed: usize,
    /// Rules that are candidates for every event of their logsource.
    pub without_witness: usize,
}

static SERIAL: AtomicU64 = AtomicU64::new(1);

impl Matcher {
    pub(crate) fn build(rules: &[Rule], bindings: &[Option<Binding>], dict: &Dictionary) -> Self {
        let leaves = Leaves::collect(rules, bindings);
        let mut postings: Vec<Vec<u32>> = vec![Vec::new(); leaves.len()];
        let mut indexed = vec![false; leaves.len()];
        let mut always = Vec::new();
        let mut stats = MatcherStats { leaves: leaves.len(), ..MatcherStats::default() };
        for (number, (rule, binding)) in rules.iter().zip(bindings).enumerate() {
            let (Some(plan), Some(binding)) = (rule.plan(), binding) else { continue };
            stats.detections += 1;
            let ids = &leaves.of_rule[number];
            let cost = |local: u32| {
                let leaf = &plan.leaves[local as usize];
                if !can_be_indexed(&leaf.target, &leaf.test, binding, local) {
                    return None;
                }
                let uses = leaves.uses[ids[local as usize] as usize];
                witness::expected_cost(leaf, uses)
            };
            let mut add = |local: u32| indexed[ids[local as usize] as usize] = true;
            match witness::of(plan, &cost) {
                Some(witness) => {
                    for local in witness.leaves {
                        add(local);
                        let list = &mut postings[ids[local as usize] as usize];
                        if list.last() != Some(&(number as u32)) {
                            list.push(number as u32);
                        }
                    }
                }
                None => always.push(number as u32),
            }
            if plan.leaves.len() > LONG_PLAN_LEAVES {
                (0..ids.len() as u32).filter(|l| cost(*l).is_some()).for_each(add);
            }
        }
        stats.indexed = indexed.iter().filter(|i| **i).count();
        stats.without_witness = always.len();
        let keywords = keyword_leaves(rules, &leaves, &indexed);
        let router = Router::new(rules, dict.id(LOGSOURCE_FIELD), always, keywords);
        let mut matcher = Self {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            leaves,
            postings: postings.into_iter().map(Vec::into_boxed_slice).collect(),
            indexed,
            index_of_field: vec![NO_INDEX; dict.len()],
            indexes: Vec::new(),
            router,
            stats,
        };
        matcher.fill_indexes(rules, bindings);
        matcher
    }

    fn fill_indexes(&mut self, rules: &[Rule], bindings: &[Option<Binding>]) {
        let mut builders: Vec<IndexBuilder> = Vec::new();
        let mut known: HashMap<u32, u32> = HashMap::new();
        for (leaf, (rule, local)) in self.leaves.home.iter().enumerate() {
            if !self.indexed[leaf] {
                continue;
            }
            let Some(plan) = rules[*rule as usize].plan() else { continue };
            let Some(binding) = &bindings[*rule as usize] else { continue };
            let definition = &plan.leaves[*local as usize];
            for field in binding.fields(*local) {
                let next = builders.len() as u32;
                let slot = *known.entry(field.0).or_insert(next);
                if slot == next {
                    builders.push(IndexBuilder::default());
                    self.index_of_field[field.0 as usize] = slot;
                }
                builders[slot as usize].add(leaf as u32, &definition.test);
            }
        }
        self.indexes = builders.into_iter().map(IndexBuilder::build).collect();
    }

    /// What it was built of.
    pub fn stats(&self) -> MatcherStats {
        self.stats
    }
}

/// The keyword leaves that are looked up, each with all rules that have it.
fn keyword_leaves(rules: &[Rule], leaves: &Leaves, indexed: &[bool]) -> Vec<KeywordLeaf> {
    let mut out: Vec<KeywordLeaf> = Vec::new();
    let mut places: HashMap<u32, usize> = HashMap::new();
    for (number, rule) in rules.iter().enumerate() {
        let Some(plan) = rule.plan() else { continue };
        for (definition, leaf) in plan.leaves.iter().zip(&leaves.of_rule[number]) {
            if definition.target != Target::Keyword || !indexed[*leaf as usize] {
                continue;
            }
            let place = *places.entry(*leaf).or_insert_with(|| {
                let test = definition.test.clone();
                out.push(KeywordLeaf { leaf: *leaf, test, rules: Vec::new() });
                out.len() - 1
            });
            out[place].rules.push(number as u32);
        }
    }
    out
}

/// Whether every way for the leaf to hold shows in the cells that are looked up.
fn can_be_indexed(target: &Target, test: &Test, binding: &Binding, local: u32) -> bool {
    match target {
        Target::Field(_) => {
            let fields = binding.fields(local);
            !fields.is_empty() && fields.iter().all(|f| !f.is_intrinsic() && !f.is_local())
        }
        // Raw bytes and cells are searched as one text: only where a piece may stand anywhere.
        Target::Keyword => match test {
            Test::Text { op: TextOp::Contains, folded, .. } => !folded.is_empty(),
            Test::Regex { regex, .. } => literal::required(regex.as_str()).is_some(),
            _ => false,
        },
    }
}

impl RuleSet {
    /// Appends a [`Match`] for every (row, rule) that holds, ordered by row, then by rule.
    ///
    /// The batch must have been made with this set's dictionary. `scratch` may be reused for any
    /// batch and any set. Verdicts equal those of [`filter::Plan::matches`].
    pub fn match_batch(&self, batch: &EventBatch, scratch: &mut Scratch, out: &mut Vec<Match>) {
        debug_assert!(
            std::sync::Arc::ptr_eq(batch.dict(), self.dict()),
            "the batch has the dictionary of another generation"
        );
        let matcher = &self.matcher;
        scratch.prepare(matcher.serial, matcher.leaves.len(), self.rules.len());
        for row in batch.rows() {
            self.match_row(&row, scratch, out);
        }
    }

    fn match_row(&self, row: &EventView<'_>, scratch: &mut Scratch, out: &mut Vec<Match>) {
        let matcher = &self.matcher;
        let Scratch { routes, memo, spare, folded, marks, candidates, .. } = scratch;
        marks.next_row();
        candidates.clear();
        let route = routes.of(&matcher.router, row);
        let mut hit = |leaf: u32, marks: &mut scratch::Marks| {
            if marks.hit(leaf) {
                for rule in &matcher.postings[leaf as usize] {
                    if route.allows(*rule) && marks.candidate(*rule) {
                        candidates.push(*rule);
                    }
                }
            }
        };
        for (field, value) in row.cells() {
            let Some(slot) = matcher.index_of_field.get(field.0 as usize) else { continue };
            if *slot == NO_INDEX {
                continue;
            }
            let index = &matcher.indexes[*slot as usize];
            let hits = memo.hits(*slot, value, spare, |hits| index.scan(value, folded, hits));
            for leaf in hits {
                hit(*leaf, marks);
            }
        }
        if let Some(keywords) = &route.keywords {
            spare.clear();
            scan_keywords(keywords, row, folded, spare);
            for leaf in spare.iter() {
                hit(*leaf, marks);
            }
        }
        candidates.extend_from_slice(&route.always);
        candidates.sort_unstable();
        for rule in candidates.iter() {
            if self.verify(*rule, row, marks) {
                out.push(Match { rule: *rule, row: row.index() as u32 });
            }
        }
    }

    /// The rule's condition over leaf verdicts, each worked out at most once per row.
    fn verify(&self, rule: u32, row: &EventView<'_>, marks: &scratch::Marks) -> bool {
        let matcher = &self.matcher;
        let index = rule as usize;
        let (Some(plan), Some(binding)) = (self.rules[index].plan(), &self.bindings[index]) else {
            return false;
        };
        let ids = &matcher.leaves.of_rule[index];
        plan.holds_with(&|local| {
            let leaf = ids[local as usize];
            if matcher.indexed[leaf as usize] && !marks.is_hit(leaf) {
                return false;
            }
            marks.verdict(leaf, || plan.leaf_matches(local, binding, row))
        })
    }

    /// The condition of a rule with what was found in the row: which leaf held on which value, and
    /// why the others did not. A correlation has no condition over one event: its outcome is a
    /// `correlation` node that did not match.
    ///
    /// Panics when the rule or the row does not exist.
    pub fn explain(&self, rule: u32, batch: &EventBatch, row: usize) -> Outcome {
        let index = rule as usize;
        let view = batch.row(row);
        let (Some(plan), Some(binding)) = (self.rules[index].plan(), &self.bindings[index]) else {
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
        let outcome = plan.explain(binding, &view);
        debug_assert_eq!(outcome.matched, plan.matches(binding, &view));
        outcome
    }
}

/// Looks keywords up in the raw bytes and in every cell that is not a piece of them.
fn scan_keywords(
    index: &ValueIndex,
    row: &EventView<'_>,
    folded: &mut Vec<u8>,
    hits: &mut Vec<u32>,
) {
    let raw = row.raw();
    index.scan(Value { kind: event::Kind::Str, bytes: raw }, folded, hits);
    let range = raw.as_ptr_range();
    for (_, value) in row.cells() {
        let own = value.bytes.as_ptr_range();
        if own.start < range.start || own.end > range.end {
            index.scan(value, folded, hits);
        }
    }
}
