//! Rules compiled together: shared leaves, one check per rule, and the routes built from them.

use super::cells::{CellIndex, IndexedRow};
use super::checks::Checks;
use super::costs::Tally;
use super::index::{IndexBuilder, ValueIndex};
use super::leaves::{Leaves, Place};
use super::route::{
    CERTAIN, Chosen, INDEXED, Member, NONE, Route, Router, Routes, RuleBits, has_bit, set_bit,
};
use super::scratch::{Marks, PartScratch};
use super::training::{Observed, Sample};
use super::witness;
use crate::sigma::Rule;
use event::{Dictionary, EventView};
use filter::{Binding, Node, Plan, Target};
use hashbrown::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Plans with more leaves have all of them indexed, so that verifying a long value list costs one
/// look-up per row instead of one comparison per value.
const LONG_PLAN_LEAVES: usize = 48;
/// Expected share of rows, in thousandths, above which a rule is verified so often that all its leaves
/// are looked up: its values are then read once with those of all other rules, and often remembered.
const INDEXED_ABOVE: f64 = 50.0;
/// Expected share of rows, in thousandths, above which a witness gets a guard beside it: a second
/// necessary set that is looked up too, so that most false candidates cost one comparison.
const GUARDED_ABOVE: f64 = 2.0;

static SERIAL: AtomicU64 = AtomicU64::new(1);

/// Rules that share leaves and routes. Immutable but for its routes, which are built when first
/// needed and replaced by better ones; neither changes a verdict.
pub(crate) struct Compiled {
    /// Tells scratch space of other rules apart.
    pub(crate) serial: u64,
    pub(crate) rules: Vec<Arc<Rule>>,
    pub(crate) bindings: Vec<Option<Binding>>,
    pub(crate) leaves: Leaves,
    /// Per rule: its condition over leaves of the set, parts that seldom hold first.
    checks: Checks,
    pub(crate) router: Router,
    pub(crate) routes: Routes,
    /// Counts replaced routes, so that workers notice.
    pub(crate) epoch: AtomicU64,
    next_slot: AtomicU32,
    /// Number of names in the dictionary.
    pub(crate) fields: usize,
    /// Field id -> whether a leaf looks it up.
    reads: Vec<bool>,
    /// Rules with keywords.
    with_keywords: RuleBits,
    /// What workers have counted.
    pub(crate) tally: Mutex<Tally>,
    /// What workers have sampled.
    pub(crate) inbox: Mutex<Vec<Sample>>,
    pub(crate) has_samples: AtomicBool,
}

impl Compiled {
    pub(crate) fn new(
        rules: Vec<Arc<Rule>>,
        bindings: Vec<Option<Binding>>,
        dict: &Dictionary,
    ) -> Self {
        let leaves = Leaves::collect(&rules, &bindings);
        let mut checks = Checks::default();
        for (rule, ids) in rules.iter().zip(&leaves.of_rule) {
            let root = rule.plan().map(|plan| ordered(&plan.root, ids, &leaves).0);
            checks.push(&root.unwrap_or(Node::Const(false)));
        }
        let router = Router::new(&rules, dict);
        let mut reads = vec![false; dict.len()];
        leaves.groups.iter().flatten().for_each(|field| reads[field.0 as usize] = true);
        let tally = Mutex::new(Tally::new(rules.len()));
        let mut with_keywords = vec![0; rules.len().div_ceil(64)].into_boxed_slice();
        for (number, ids) in leaves.of_rule.iter().enumerate() {
            if ids.iter().any(|leaf| leaves.all[*leaf as usize].place == Place::Keyword) {
                set_bit(&mut with_keywords, number);
            }
        }
        Self {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            rules,
            bindings,
            leaves,
            checks,
            router,
            routes: Routes::default(),
            epoch: AtomicU64::new(0),
            next_slot: AtomicU32::new(0),
            fields: dict.len(),
            reads,
            with_keywords,
            tally,
            inbox: Mutex::default(),
            has_samples: AtomicBool::new(false),
        }
    }

    /// The rules of those `in_force` that hold for the row, in order, appended to `found`.
    pub(crate) fn match_row(
        &self,
        row: &EventView<'_>,
        cells: &CellIndex,
        scratch: &mut PartScratch,
        in_force: &impl Fn(u32) -> bool,
        found: &mut Vec<u32>,
    ) {
        let PartScratch { directory, buffers, marks, candidates, tally, .. } = scratch;
        let first = found.len();
        marks.next_row();
        candidates.clear();
        let row = IndexedRow { row: *row, cells };
        let number = directory.of(&self.router, &row, |key| self.choose(key));
        let Chosen { route, allowed, reads_keywords, sampler } =
            &mut directory.chosen[number as usize];
        route.scan(&row.row, cells, buffers, *reads_keywords, |entry| {
            if marks.hit(route.leaf_of[entry as usize]) {
                for rule in route.rules_of(entry) {
                    if marks.candidate(*rule) {
                        candidates.push(*rule);
                    }
                }
            }
        });
        candidates.extend_from_slice(&route.always);
        let is_whole = route.allowed == *allowed;
        if !is_whole {
            candidates.retain(|rule| has_bit(allowed, *rule));
        }
        for rule in candidates.iter().filter(|rule| in_force(**rule)) {
            let is_guarded = has_bit(&route.guarded, *rule);
            let guard = if is_guarded { route.guards.get(rule) } else { None };
            let mut work = 1;
            let holds = guard.is_none_or(|g| g.iter().any(|leaf| marks.is_hit(*leaf)))
                && self.verify(*rule, &row, route, marks, &mut work);
            tally.count(*rule, work, holds);
            if holds {
                found.push(*rule);
            }
        }
        // Many are candidates, few are found.
        found[first..].sort_unstable();
        if is_whole && let Some(sample) = sampler.see(&row.row, route, &self.reads) {
            self.post(sample);
        }
    }

    /// The rule's condition over leaf verdicts, each worked out at most once per row. `work` grows
    /// by what was looked at.
    fn verify(
        &self,
        rule: u32,
        row: &IndexedRow<'_, '_>,
        route: &Route,
        marks: &Marks,
        work: &mut u64,
    ) -> bool {
        let work = std::cell::Cell::from_mut(work);
        self.checks.holds(rule, &|leaf| {
            work.set(work.get() + 1);
            match route.flags[leaf as usize] {
                flags if flags & INDEXED != 0 && !marks.is_hit(leaf) => return false,
                flags if flags & CERTAIN != 0 => return true,
                _ => {}
            }
            marks.verdict(leaf, || {
                let info = &self.leaves.all[leaf as usize];
                let home = info.rule as usize;
                let (Some(plan), Some(binding)) = (self.rules[home].plan(), &self.bindings[home])
                else {
                    return false;
                };
                let counted = super::costs::Counted { row, work };
                plan.leaf_matches(info.local, binding, &counted)
            })
        })
    }

    /// Per rule: what makes an event a candidate, in words, by the route that offers it.
    pub(crate) fn witnesses(&self) -> HashMap<u32, Vec<String>> {
        let mut out: HashMap<u32, Vec<String>> = HashMap::new();
        let mut routes = self.routes.all();
        // Trained routes tell what is really looked for.
        routes.sort_by_key(|r| std::cmp::Reverse((r.trained_rows, r.first_slot)));
        for route in routes {
            let mut own: HashMap<u32, Vec<String>> = HashMap::new();
            for (entry, leaf) in route.leaf_of.iter().enumerate() {
                for rule in route.rules_of(entry as u32) {
                    own.entry(*rule).or_default().push(self.shown(*leaf));
                }
            }
            for (rule, texts) in own {
                out.entry(rule).or_insert(texts);
            }
        }
        out
    }

    fn shown(&self, leaf: u32) -> String {
        let info = &self.leaves.all[leaf as usize];
        let Some(plan) = self.rules[info.rule as usize].plan() else { return String::new() };
        let leaf = &plan.leaves[info.local as usize];
        match &leaf.target {
            Target::Field(name) => format!("{name} {}", leaf.test.shown()),
            Target::Keyword => format!("keyword {}", leaf.test.shown()),
        }
    }

    /// The route for a key, and which of its rules count.
    fn choose(&self, key: &[u8]) -> Chosen {
        let allowed = self.router.allowed(key);
        Chosen::new(self.route_of(&allowed), allowed, &self.with_keywords)
    }

    /// The route that serves events offered to these rules now.
    pub(crate) fn route_of(&self, allowed: &RuleBits) -> Arc<Route> {
        let build = |bits: RuleBits| self.build_route(bits, None);
        self.routes.get(allowed, build, || self.router.allowed(b""))
    }

    /// Compiles the allowed rules, with witnesses chosen by what was observed if anything was.
    pub(crate) fn build_route(&self, allowed: RuleBits, observed: Option<&Observed>) -> Route {
        let mut plan = RoutePlan::new(self);
        for number in (0..self.rules.len() as u32).filter(|n| has_bit(&allowed, *n)) {
            let Some(rule_plan) = self.rules[number as usize].plan() else { continue };
            plan.add_rule(number, rule_plan, observed);
        }
        plan.build(allowed, observed.map_or(0, |o| o.rows))
    }

    /// A route that looks up every leaf of the allowed rules that can be, with no rule behind them: for
    /// observing.
    pub(crate) fn build_observing_route(&self, allowed: &[u64]) -> Route {
        let mut plan = RoutePlan::new(self);
        for number in (0..self.rules.len() as u32).filter(|n| has_bit(allowed, *n)) {
            for leaf in &self.leaves.of_rule[number as usize] {
                if self.leaves.all[*leaf as usize].expected.is_some() {
                    plan.entry(*leaf);
                }
            }
        }
        plan.build(RuleBits::default(), 0)
    }
}

/// A copy of the tree over leaves of the set, without names, parts of an `and` ordered by how seldom
/// they hold; and how seldom it holds itself, as far as that is known.
fn ordered(node: &Node, ids: &[u32], leaves: &Leaves) -> (Node, f64) {
    let all = |parts: &[Node]| -> Vec<(Node, f64)> {
        parts.iter().map(|p| ordered(p, ids, leaves)).collect()
    };
    let nodes = |parts: Vec<(Node, f64)>| parts.into_iter().map(|p| p.0).collect();
    match node {
        Node::Const(value) => (Node::Const(*value), 0.0),
        Node::Leaf(local) => {
            let leaf = ids[*local as usize];
            (Node::Leaf(leaf), leaves.all[leaf as usize].expected.unwrap_or(f64::INFINITY))
        }
        Node::And(parts) => {
            let mut parts = all(parts);
            parts.sort_by(|a, b| a.1.total_cmp(&b.1));
            let expected = parts.first().map_or(f64::INFINITY, |p| p.1);
            (Node::And(nodes(parts)), expected)
        }
        Node::Or(parts) => {
            let parts = all(parts);
            let expected = parts.iter().map(|p| p.1).sum();
            (Node::Or(nodes(parts)), expected)
        }
        Node::Not(part) => (Node::Not(Box::new(ordered(part, ids, leaves).0)), f64::INFINITY),
        Node::AtLeast(n, parts) => {
            let parts = all(parts);
            let expected = parts.iter().map(|p| p.1).sum();
            (Node::AtLeast(*n, nodes(parts)), expected)
        }
        Node::Named(_, part) => ordered(part, ids, leaves),
    }
}

/// A [`Route`] in the making.
struct RoutePlan<'c> {
    of: &'c Compiled,
    /// Leaf -> entry, or [`NONE`].
    entry_of: Vec<u32>,
    leaf_of: Vec<u32>,
    /// Entry and rule.
    postings: Vec<(u32, u32)>,
    guards: HashMap<u32, Box<[u32]>>,
    always: Vec<u32>,
}

impl<'c> RoutePlan<'c> {
    fn new(of: &'c Compiled) -> Self {
        Self {
            of,
            entry_of: vec![NONE; of.leaves.len()],
            leaf_of: Vec::new(),
            postings: Vec::new(),
            guards: HashMap::new(),
            always: Vec::new(),
        }
    }

    fn entry(&mut self, leaf: u32) -> u32 {
        let entry = &mut self.entry_of[leaf as usize];
        if *entry == NONE {
            *entry = self.leaf_of.len() as u32;
            self.leaf_of.push(leaf);
        }
        *entry
    }

    fn add_rule(&mut self, number: u32, plan: &Plan, observed: Option<&Observed>) {
        let ids = &self.of.leaves.of_rule[number as usize];
        let expected = |local: u32| {
            let leaf = ids[local as usize];
            let usual = self.of.leaves.all[leaf as usize].expected?;
            Some(observed.map_or(usual, |o| o.cost(leaf, usual)))
        };
        let Some(witness) = witness::of(plan, &expected) else {
            self.always.push(number);
            return self.index_all(ids);
        };
        let second = (observed.is_some() && witness.cost > GUARDED_ABOVE)
            .then(|| witness::second(plan, &witness, &expected))
            .flatten();
        for local in &witness.leaves {
            let entry = self.entry(ids[*local as usize]);
            self.postings.push((entry, number));
        }
        if let Some(second) = second {
            let leaves: Box<[u32]> = second.leaves.iter().map(|l| ids[*l as usize]).collect();
            leaves.iter().for_each(|leaf| {
                self.entry(*leaf);
            });
            self.guards.insert(number, leaves);
        }
        let is_common = observed.is_some() && witness.cost > INDEXED_ABOVE;
        if is_common || plan.leaves.len() > LONG_PLAN_LEAVES {
            self.index_all(ids);
        }
    }

    fn index_all(&mut self, ids: &[u32]) {
        for leaf in ids {
            if self.of.leaves.all[*leaf as usize].expected.is_some() {
                self.entry(*leaf);
            }
        }
    }

    fn build(mut self, allowed: RuleBits, trained_rows: u32) -> Route {
        let mut flags = vec![0; self.of.leaves.len()].into_boxed_slice();
        let mut builders: Vec<IndexBuilder> = Vec::new();
        let mut index_of_group: HashMap<u32, u32> = HashMap::new();
        let mut keywords: Option<IndexBuilder> = None;
        for (entry, leaf) in self.leaf_of.iter().enumerate() {
            let info = &self.of.leaves.all[*leaf as usize];
            let Some(plan) = self.of.rules[info.rule as usize].plan() else { continue };
            let builder = match info.place {
                Place::Nowhere => continue,
                Place::Keyword => keywords.get_or_insert_default(),
                Place::Group(group) => {
                    let next = builders.len() as u32;
                    let at = *index_of_group.entry(group).or_insert(next);
                    if at == next {
                        builders.push(IndexBuilder::default());
                    }
                    &mut builders[at as usize]
                }
            };
            let test = &plan.leaves[info.local as usize].test;
            builder.add(entry as u32, test, info.literals.as_deref());
            flags[*leaf as usize] = INDEXED | if info.is_certain { CERTAIN } else { 0 };
        }
        let indexes: Box<[ValueIndex]> = builders.into_iter().map(IndexBuilder::build).collect();
        let (of_field, members) = self.members(&index_of_group);
        self.postings.sort_unstable();
        self.postings.dedup();
        let mut postings_from = vec![0u32; self.leaf_of.len() + 1];
        for (entry, _) in &self.postings {
            postings_from[*entry as usize + 1] += 1;
        }
        for at in 1..postings_from.len() {
            postings_from[at] += postings_from[at - 1];
        }
        let mut guarded = vec![0; self.of.rules.len().div_ceil(64)].into_boxed_slice();
        self.guards.keys().for_each(|rule| set_bit(&mut guarded, *rule as usize));
        Route {
            allowed,
            of_field,
            members,
            first_slot: self.of.next_slot.fetch_add(indexes.len() as u32, Ordering::Relaxed),
            indexes,
            leaf_of: self.leaf_of.into(),
            postings_from: postings_from.into(),
            postings: self.postings.into_iter().map(|(_, rule)| rule).collect(),
            flags,
            guarded,
            guards: self.guards,
            always: self.always.into(),
            keywords: keywords.map(IndexBuilder::build),
            trained_rows,
        }
    }

    /// For every field: the indexes it gives values to.
    fn members(&self, index_of_group: &HashMap<u32, u32>) -> (Box<[u32]>, Box<[Member]>) {
        let mut by_field: Vec<Vec<Member>> = Vec::new();
        by_field.resize_with(self.of.fields, Vec::new);
        for (group, index) in index_of_group {
            let fields = &self.of.leaves.groups[*group as usize];
            for (rank, field) in fields.iter().enumerate() {
                let earlier = fields[..rank].into();
                let member = Member { index: *index, earlier, is_last: false };
                by_field[field.0 as usize].push(member);
            }
        }
        let mut of_field = vec![NONE; self.of.fields];
        let mut members = Vec::new();
        for (field, mut list) in by_field.into_iter().enumerate() {
            list.sort_by_key(|m| m.index);
            if let Some(last) = list.last_mut() {
                last.is_last = true;
                of_field[field] = members.len() as u32;
                members.append(&mut list);
            }
        }
        (of_field.into(), members.into())
    }
}
