//! What a correlation rule asks, and the checked set of all of them.
//!
//! ```text
//! Vec<Spec> --SpecSet::new--> names checked, references resolved, children before parents,
//!                             how long each must remember, which ones speak for themselves
//! ```

use super::gaps::Regular;
use super::hit::Hit;
use super::lift::Rise;
use super::settings::{
    HITS_PER_CHAINED_KEY_MAX, HITS_PER_KEY_MAX, HITS_PER_SCANNED_KEY_MAX, SHARDS,
};
use super::total::Total;
use super::window::Entry;
use crate::sigma::BoundOp;
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Most correlations in one set.
pub const SPECS_MAX: usize = 65_536;
/// Most rules one correlation may reference: a slot number is one byte.
pub const SLOTS_MAX: usize = 255;
/// Deepest chain of correlations over correlations; deeper ones are nobody's intent.
pub const CHAIN_DEPTH_MAX: u32 = 8;
/// Longest window. State for longer spans belongs to the store, not to memory.
pub const TIMESPAN_MAX_NS: i64 = 400 * 86_400 * 1_000_000_000;

/// How hits are combined. Names are those of the Sigma correlation specification 2.1, plus the
/// pySigma extension `value_median` and our own `first_seen`, `absence` and `regular_interval`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SpecKind {
    /// Number of events, each counted as often as its weight says.
    EventCount,
    /// Number of distinct values of a field (or tuple of fields).
    ValueCount,
    /// Different referenced rules within the window, in any order.
    Temporal,
    /// All referenced rules within the window, in the order of the list.
    TemporalOrdered,
    /// Sum of a numeric field.
    ValueSum,
    /// Mean of a numeric field.
    ValueAvg,
    /// Percentile (0..=100) of a numeric field, linearly interpolated between ranks.
    ValuePercentile(f64),
    /// Median of a numeric field.
    ValueMedian,
    /// The first referenced rule, with none of the others after it within the window: ours.
    Absence,
    /// Number of visits, of a window whose visits follow each other regularly: ours.
    RegularInterval(Regular),
    /// A value that this key has not shown before: ours.
    FirstSeen {
        /// From the rule's activation on, values are remembered silently for so long (stream time).
        learn_for_ns: i64,
        /// A value not seen for so many days is new again.
        expire_days: u16,
    },
}

impl SpecKind {
    /// The name in rule text.
    pub fn name(self) -> &'static str {
        match self {
            Self::EventCount => "event_count",
            Self::ValueCount => "value_count",
            Self::Temporal => "temporal",
            Self::TemporalOrdered => "temporal_ordered",
            Self::ValueSum => "value_sum",
            Self::ValueAvg => "value_avg",
            Self::ValuePercentile(_) => "value_percentile",
            Self::ValueMedian => "value_median",
            Self::Absence => "absence",
            Self::RegularInterval(_) => "regular_interval",
            Self::FirstSeen { .. } => "first_seen",
        }
    }

    /// Whether it reads a field of each event beside the key.
    pub fn reads_value(self) -> bool {
        !matches!(
            self,
            Self::EventCount
                | Self::Temporal
                | Self::TemporalOrdered
                | Self::Absence
                | Self::RegularInterval(_)
        )
    }

    pub(super) fn is_numeric(self) -> bool {
        matches!(
            self,
            Self::ValueSum | Self::ValueAvg | Self::ValuePercentile(_) | Self::ValueMedian
        )
    }

    /// Whether the slot of an event is what counts: one event may then serve several slots.
    pub(super) fn is_temporal(self) -> bool {
        matches!(self, Self::Temporal | Self::TemporalOrdered | Self::Absence)
    }
}

/// How windows lie on the time line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Frame {
    /// One window ends at every event and reaches back by the timespan (Sigma's own).
    #[default]
    Sliding,
    /// Windows of the length of the timespan, side by side, counted from 1970-01-01 UTC.
    Tumbling,
    /// As sliding, cut off where nothing came for longer than the gap.
    Session {
        /// Longest pause within a session, ns; a pause of exactly this length is within.
        gap_ns: i64,
    },
}

impl Frame {
    /// The name in rule text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sliding => "sliding",
            Self::Tumbling => "tumbling",
            Self::Session { .. } => "session",
        }
    }
}

/// All of these must hold; two make a range. Empty = the default of the kind.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Condition(pub Vec<(BoundOp, f64)>);

impl Condition {
    /// `value >= bound`.
    pub fn gte(bound: u32) -> Self {
        Self(vec![(BoundOp::Gte, f64::from(bound))])
    }

    /// Whether `value` satisfies every part.
    pub fn holds(&self, value: f64) -> bool {
        self.0.iter().all(|(op, bound)| value.partial_cmp(bound).is_some_and(|o| op.holds(o)))
    }

    /// For example `gte 5` or `gt 100 and lte 200`.
    pub fn text(&self) -> String {
        let parts: Vec<_> = self.0.iter().map(|(op, b)| format!("{} {b}", op.name())).collect();
        parts.join(" and ")
    }

    /// Once true for a set of events, true for every larger set.
    fn is_growing(&self) -> bool {
        self.0.iter().all(|(op, _)| matches!(op, BoundOp::Gt | BoundOp::Gte))
    }

    fn is_absence(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|(op, _)| matches!(op, BoundOp::Lt | BoundOp::Lte))
    }
}

/// A rule that a correlation builds on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A detection rule, by its index in the rule set.
    Rule(u32),
    /// Another correlation, by its id.
    Correlation(Arc<str>),
}

/// One referenced rule and where its events keep the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Which.
    pub target: Target,
    /// For each group-by name in order, the field that holds it in this rule's events (the name
    /// itself unless `aliases` says otherwise). For a correlation that groups otherwise, those of
    /// its events; empty: the names themselves.
    pub fields: Vec<Arc<str>>,
    /// The same for the counted or summed fields; empty where this rule's events name them as the
    /// correlation does.
    pub values: Vec<Arc<str>>,
}

impl Reference {
    /// A detection rule whose events name their key fields as the group-by does.
    pub fn rule(index: u32, group_by: &[Arc<str>]) -> Self {
        Self { target: Target::Rule(index), fields: group_by.to_vec(), values: Vec::new() }
    }

    /// Another correlation.
    pub fn correlation(id: &str) -> Self {
        Self { target: Target::Correlation(id.into()), fields: Vec::new(), values: Vec::new() }
    }
}

/// Which references must occur, for `temporal` with a written condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotExpr {
    /// The reference of that number occurred.
    Slot(u8),
    /// All hold.
    And(Vec<SlotExpr>),
    /// One holds.
    Or(Vec<SlotExpr>),
    /// It does not hold; such a condition is decided when the window closes.
    Not(Box<SlotExpr>),
}

impl SlotExpr {
    pub(super) fn holds(&self, occurred: &dyn Fn(u8) -> bool) -> bool {
        match self {
            Self::Slot(slot) => occurred(*slot),
            Self::And(parts) => parts.iter().all(|p| p.holds(occurred)),
            Self::Or(parts) => parts.iter().any(|p| p.holds(occurred)),
            Self::Not(part) => !part.holds(occurred),
        }
    }

    fn is_growing(&self) -> bool {
        match self {
            Self::Slot(_) => true,
            Self::And(parts) | Self::Or(parts) => parts.iter().all(Self::is_growing),
            Self::Not(_) => false,
        }
    }
}

/// One correlation rule, as the engine wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The rule's id; unique in the set.
    pub id: Arc<str>,
    /// Index in the rule set, copied into firings.
    pub rule: u32,
    /// Hash of everything that decides what the correlation does, referenced rules included: state
    /// survives a reload exactly when id and hash are unchanged.
    pub hash: u128,
    /// How hits are combined.
    pub kind: SpecKind,
    /// What it builds on, in order.
    pub references: Vec<Reference>,
    /// Names of the key, as the rule writes them; empty = one group for all.
    pub group_by: Vec<Arc<str>>,
    /// Length of the window, ns. Events exactly this far apart are within it. Ignored by
    /// `first_seen`.
    pub timespan_ns: i64,
    /// How windows lie on the time line.
    pub frame: Frame,
    /// When it fires.
    pub condition: Condition,
    /// `temporal` only: which references must occur, instead of a number of them.
    pub expression: Option<SlotExpr>,
    /// The expression as the rule writes it, for people.
    pub expression_text: Option<Arc<str>>,
    /// Counted or summed fields (several = a tuple); empty for kinds that read none.
    pub value_fields: Vec<Arc<str>>,
    /// Whether the rules it references also raise alerts of their own.
    pub generate: bool,
}

/// When a condition can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decide {
    /// At once: more events cannot make it false.
    OnArrival,
    /// When nothing within the lateness can change the window any more.
    AtClose,
    /// When an event slides out of the window, as `AtClose`.
    OnLeaving,
}

/// A spec with its place in the graph.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) spec: Spec,
    pub(super) decide: Decide,
    /// Parents: (node, slot).
    pub(super) parents: Vec<(u32, u8)>,
    /// For each parent, whether it wants every qualifying window (temporal kinds) or new episodes.
    pub(super) parents_walk: Vec<bool>,
    /// The condition in words.
    pub(super) condition: String,
    /// For each slot, the child node if it is a correlation.
    pub(super) children: Vec<Option<u32>>,
    /// How far back entries are kept, ns: own window and those of all parents.
    pub(super) retain_ns: i64,
    /// Whether its firings leave the engine.
    pub(super) speaks: bool,
    /// Evaluated by walking the window instead of by running totals.
    pub(super) scans: bool,
    /// For each parent, how it sees this one.
    pub(super) rises: Vec<Rise>,
    /// For each slot, whether its correlation is asked for what a key needs, instead of telling all
    /// keys: this one's number among its parents, and the number of the key among the outer ones there.
    pub(super) asks: Vec<Option<(usize, u32)>>,
    /// For each group-by of correlations above that is another one: where its events keep the key.
    pub(super) outer: Vec<Vec<Arc<str>>>,
    /// The shard of all its keys, if it is part of a chain of different group-bys.
    pub(super) home: Option<usize>,
}

impl Node {
    pub(super) fn has_children(&self) -> bool {
        self.children.iter().any(Option::is_some)
    }

    /// Most entries one key may hold.
    pub(super) fn entries_max(&self) -> usize {
        match (self.scans, self.parents.is_empty()) {
            (true, _) => HITS_PER_SCANNED_KEY_MAX,
            (false, false) => HITS_PER_CHAINED_KEY_MAX,
            (false, true) => HITS_PER_KEY_MAX,
        }
    }

    /// Stream time after the last arrival at which nothing open can change any more.
    pub(super) fn close_delay_ns(&self, lateness_ns: i64) -> i64 {
        let reach = match (self.decide, self.spec.frame) {
            (Decide::OnArrival, _) => 0,
            (Decide::OnLeaving, _) | (_, Frame::Tumbling) => self.spec.timespan_ns,
            (_, Frame::Session { gap_ns }) => gap_ns,
            (_, Frame::Sliding) => 0,
        };
        lateness_ns.saturating_add(reach)
    }

    /// How long after `t` an event can still change what an entry at `t` is decided by, ns.
    pub(super) fn reach_ns(&self, t: i64) -> i64 {
        match (self.decide, self.spec.frame) {
            (Decide::OnArrival, _) => 0,
            (Decide::OnLeaving, _) => self.spec.timespan_ns,
            (_, Frame::Tumbling) => {
                self.tumble(t).saturating_add(self.spec.timespan_ns - 1).saturating_sub(t)
            }
            (_, Frame::Session { gap_ns }) => gap_ns,
            (_, Frame::Sliding) => 0,
        }
    }

    /// Where the tumbling window of `t` begins.
    pub(super) fn tumble(&self, t: i64) -> i64 {
        t.saturating_sub(t.rem_euclid(self.spec.timespan_ns))
    }

    /// Earliest event time of the window that ends at `t`, gaps aside.
    pub(super) fn edge(&self, t: i64) -> i64 {
        match self.spec.frame {
            Frame::Tumbling => self.tumble(t),
            _ => t.saturating_sub(self.spec.timespan_ns),
        }
    }

    /// Latest event time whose window may still hold `t`.
    pub(super) fn until(&self, t: i64) -> i64 {
        match self.spec.frame {
            Frame::Tumbling => self.tumble(t).saturating_add(self.spec.timespan_ns - 1),
            _ => t.saturating_add(self.spec.timespan_ns),
        }
    }

    /// Longest pause within a window.
    pub(super) fn gap(&self) -> i64 {
        match self.spec.frame {
            Frame::Session { gap_ns } => gap_ns,
            _ => i64::MAX,
        }
    }

    /// Whether a window that is decided when nothing can change it goes on from `t` to an event at
    /// `next`: tumbling and session windows are decided at their end, and events of the same time are
    /// in each other's window, so that nothing depends on which of them came first.
    pub(super) fn goes_on(&self, t: i64, next: i64) -> bool {
        match (self.decide, self.spec.frame) {
            (Decide::AtClose, Frame::Tumbling) => self.tumble(next) == self.tumble(t),
            (Decide::AtClose, Frame::Session { gap_ns }) => next.saturating_sub(t) <= gap_ns,
            _ => next == t,
        }
    }

    /// Whether a key's only entry can be kept in the compact form.
    pub(super) fn packs(&self) -> bool {
        self.decide == Decide::OnArrival && !self.has_children() && self.outer.is_empty()
    }

    /// What one entry by itself measures, for kinds that are packed.
    pub(super) fn alone(&self, entry: &Entry) -> Option<f64> {
        if self.spec.kind == SpecKind::TemporalOrdered {
            return (self.children.len() == 1).then_some(1.0);
        }
        let mut total = Total::of(self.spec.kind);
        total.add(entry);
        total.qualifies(self)
    }

    /// Whether a count-min sketch says what is missing: counts that only grow.
    pub(super) fn sketches(&self) -> bool {
        self.packs() && matches!(self.spec.kind, SpecKind::EventCount | SpecKind::ValueCount)
    }

    /// Stream time after the last arrival at which a key is forgotten.
    pub(super) fn idle_ns(&self, lateness_ns: i64) -> i64 {
        self.close_delay_ns(lateness_ns).saturating_add(self.retain_ns)
    }

    /// Whether the condition holds for what a window measured.
    pub(super) fn holds(&self, measured: f64, occurred: &dyn Fn(u8) -> bool) -> bool {
        match &self.spec.expression {
            Some(expression) => expression.holds(occurred),
            None => self.spec.condition.holds(measured),
        }
    }
}

/// Why a set of correlations cannot run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// Too many correlations.
    #[error("{count} correlation rules; the limit is {SPECS_MAX}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// Two with the same id.
    #[error("correlation id `{id}` is used twice; give each rule its own id")]
    DuplicateId {
        /// The id.
        id: Arc<str>,
    },
    /// References nothing, or too much.
    #[error("the correlation references {count} rules; it needs 1 to {SLOTS_MAX}")]
    References {
        /// The correlation.
        id: Arc<str>,
        /// How many.
        count: usize,
    },
    /// References a correlation that is not in the set.
    #[error("the correlation references `{target}`, which is not a loaded rule")]
    Unknown {
        /// The correlation.
        id: Arc<str>,
        /// The missing one.
        target: Arc<str>,
    },
    /// References itself in a circle, or the chain is too long.
    #[error(
        "the correlation is part of a circle or of a chain longer than {CHAIN_DEPTH_MAX}; break it up"
    )]
    Depth {
        /// The correlation.
        id: Arc<str>,
    },
    /// The window is not positive or too long.
    #[error("the timespan is {} s; it must be above 0 and at most 400 days", ns / event::time::SECOND_NS)]
    Timespan {
        /// The correlation.
        id: Arc<str>,
        /// The value.
        ns: i64,
    },
    /// The condition cannot work for this kind.
    #[error("{problem}")]
    Condition {
        /// The correlation.
        id: Arc<str>,
        /// What is wrong and what to do.
        problem: &'static str,
    },
    /// A reference does not say where its key is.
    #[error("a reference names {got} key fields for {want} group-by names")]
    KeyFields {
        /// The correlation.
        id: Arc<str>,
        /// Number of fields.
        got: usize,
        /// Number of group-by names.
        want: usize,
    },
}

impl SpecError {
    /// The correlation it is about; `None` if it is about all of them.
    pub fn id(&self) -> Option<&Arc<str>> {
        match self {
            Self::TooMany { .. } => None,
            Self::DuplicateId { id }
            | Self::References { id, .. }
            | Self::Unknown { id, .. }
            | Self::Depth { id }
            | Self::Timespan { id, .. }
            | Self::Condition { id, .. }
            | Self::KeyFields { id, .. } => Some(id),
        }
    }
}

/// All correlations of one generation, checked. Cheap to share between workers and the engine.
#[derive(Debug, Default)]
pub struct SpecSet {
    nodes: Vec<Node>,
    order: Vec<u32>,
    by_rule: HashMap<u32, Vec<(u32, u8)>>,
    /// By rule number, where the rule set itself says who alerts.
    verdicts: Option<Vec<bool>>,
}

impl SpecSet {
    /// Checks and links.
    ///
    /// # Errors
    /// The first [`SpecError`] found; a caller that wants to keep the rest drops that rule (its id is
    /// in the error) and tries again.
    pub fn new(specs: Vec<Spec>) -> Result<Arc<Self>, SpecError> {
        Self::build(specs).map(Arc::new)
    }

    /// As [`SpecSet::new`], with the rule set's word on which of its rules alert by themselves.
    pub(super) fn with_verdicts(
        specs: Vec<Spec>,
        verdicts: Vec<bool>,
    ) -> Result<Arc<Self>, SpecError> {
        let mut set = Self::build(specs)?;
        for node in &mut set.nodes {
            node.speaks = verdicts.get(node.spec.rule as usize).copied().unwrap_or(true);
        }
        set.verdicts = Some(verdicts);
        Ok(Arc::new(set))
    }

    fn build(specs: Vec<Spec>) -> Result<Self, SpecError> {
        if specs.len() > SPECS_MAX {
            return Err(SpecError::TooMany { count: specs.len() });
        }
        let mut by_id: HashMap<Arc<str>, u32> = HashMap::new();
        let mut nodes = Vec::with_capacity(specs.len());
        for (index, spec) in specs.into_iter().enumerate() {
            if by_id.insert(spec.id.clone(), index as u32).is_some() {
                return Err(SpecError::DuplicateId { id: spec.id });
            }
            nodes.push(check(spec)?);
        }
        let mut set = Self { nodes, ..Self::default() };
        set.link(&by_id)?;
        set.sort()?;
        set.spread_retention();
        set.lift();
        Ok(set)
    }

    /// The correlations, in the order given.
    pub fn specs(&self) -> impl ExactSizeIterator<Item = &Spec> {
        self.nodes.iter().map(|n| &n.spec)
    }

    /// Number of correlations.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether a detection rule's matches feed a correlation.
    pub fn is_referenced(&self, rule: u32) -> bool {
        self.by_rule.contains_key(&rule)
    }

    /// Whether a detection rule's matches are alerts of their own: what the rule set says, else
    /// unless it only serves correlations that do not ask for `generate`.
    pub fn speaks(&self, rule: u32) -> bool {
        if let Some(verdicts) = &self.verdicts {
            return verdicts.get(rule as usize).copied().unwrap_or(true);
        }
        let Some(uses) = self.by_rule.get(&rule) else { return true };
        uses.iter().any(|(n, _)| self.nodes[*n as usize].spec.generate)
    }

    /// The shard that works a hit in.
    pub(super) fn shard_of(&self, hit: &Hit) -> usize {
        self.nodes.get(hit.spec as usize).and_then(|n| n.home).unwrap_or_else(|| hit.key.shard())
    }

    /// Children before parents.
    pub(super) fn order(&self) -> &[u32] {
        &self.order
    }

    pub(super) fn node(&self, index: u32) -> &Node {
        &self.nodes[index as usize]
    }

    /// The (correlation, slot) pairs that a detection rule feeds.
    pub(super) fn uses(&self, rule: u32) -> &[(u32, u8)] {
        self.by_rule.get(&rule).map_or(&[], Vec::as_slice)
    }

    fn link(&mut self, by_id: &HashMap<Arc<str>, u32>) -> Result<(), SpecError> {
        for index in 0..self.nodes.len() {
            let references = self.nodes[index].spec.references.clone();
            for (slot, reference) in references.iter().enumerate() {
                let place = (index as u32, slot as u8);
                let child = match &reference.target {
                    Target::Rule(rule) => {
                        self.by_rule.entry(*rule).or_default().push(place);
                        None
                    }
                    Target::Correlation(id) => Some(self.link_child(place, id, by_id)?),
                };
                self.nodes[index].children.push(child);
            }
            let node = &mut self.nodes[index];
            node.scans |= node.spec.kind == SpecKind::Temporal && node.has_children();
        }
        Ok(())
    }

    fn link_child(
        &mut self,
        place: (u32, u8),
        id: &Arc<str>,
        by_id: &HashMap<Arc<str>, u32>,
    ) -> Result<u32, SpecError> {
        let own = &self.nodes[place.0 as usize].spec;
        let Some(child) = by_id.get(id).copied() else {
            return Err(SpecError::Unknown { id: own.id.clone(), target: id.clone() });
        };
        if own.kind.reads_value() {
            return Err(SpecError::Condition {
                id: own.id.clone(),
                problem: "a correlation has no field to count; reference detection rules instead",
            });
        }
        if matches!(own.kind, SpecKind::RegularInterval(_)) {
            return Err(SpecError::Condition {
                id: own.id.clone(),
                problem: "regular_interval goes by the times of events, and an episode has none of \
                          its own; reference detection rules instead",
            });
        }
        let (generate, temporal) = (own.generate, own.kind.is_temporal());
        if temporal && own.frame != Frame::Sliding {
            return Err(SpecError::Condition {
                id: own.id.clone(),
                problem: "a correlation over correlations slides; remove `window`",
            });
        }
        let child_node = &mut self.nodes[child as usize];
        child_node.speaks = generate || (child_node.speaks && !child_node.parents.is_empty());
        child_node.parents.push(place);
        child_node.parents_walk.push(temporal);
        Ok(child)
    }

    /// Children before parents (Kahn), refusing circles and long chains.
    fn sort(&mut self) -> Result<(), SpecError> {
        let mut waits: Vec<usize> =
            self.nodes.iter().map(|n| n.children.iter().flatten().count()).collect();
        let mut depth = vec![0u32; self.nodes.len()];
        let mut order: Vec<u32> =
            (0..self.nodes.len() as u32).filter(|i| waits[*i as usize] == 0).collect();
        let mut at = 0;
        while at < order.len() {
            let index = order[at] as usize;
            at += 1;
            for (parent, _) in &self.nodes[index].parents {
                let parent = *parent as usize;
                depth[parent] = depth[parent].max(depth[index] + 1);
                waits[parent] -= 1;
                if waits[parent] == 0 {
                    order.push(parent as u32);
                }
            }
        }
        let wrong = |i: &usize| waits[*i] > 0 || depth[*i] > CHAIN_DEPTH_MAX;
        if let Some(index) = (0..self.nodes.len()).find(wrong) {
            return Err(SpecError::Depth { id: self.nodes[index].spec.id.clone() });
        }
        self.order = order;
        Ok(())
    }

    /// Finds the chains of different group-bys, what their events must be asked for, and a shard for
    /// each.
    fn lift(&mut self) {
        for at in (0..self.order.len()).rev() {
            let index = self.order[at] as usize;
            let (mut outer, mut rises) = (Vec::new(), Vec::new());
            for (parent, slot) in &self.nodes[index].parents {
                let above = &self.nodes[*parent as usize];
                let fields = &above.spec.references[usize::from(*slot)].fields;
                let fields = if fields.is_empty() { &above.spec.group_by } else { fields };
                let is_same = above.spec.group_by == self.nodes[index].spec.group_by;
                rises.push(Rise {
                    key: (!is_same).then(|| number_of(&mut outer, fields)),
                    outer: above.outer.iter().map(|names| number_of(&mut outer, names)).collect(),
                    timespan_ns: above.spec.timespan_ns,
                    is_asked: false,
                    is_last: above.spec.kind != SpecKind::TemporalOrdered
                        || usize::from(*slot) + 1 == above.children.len(),
                });
            }
            (self.nodes[index].outer, self.nodes[index].rises) = (outer, rises);
        }
        (0..self.nodes.len()).for_each(|index| self.let_ask(index));
        for index in 0..self.nodes.len() {
            if self.nodes[index].home.is_none() && !self.nodes[index].outer.is_empty() {
                self.give_home(index);
            }
        }
    }

    /// A correlation asks those that group otherwise if they alone cannot satisfy it: whatever it finds,
    /// something of its own key is part of it.
    fn let_ask(&mut self, index: usize) {
        let node = &self.nodes[index];
        let mut asks = vec![None; node.spec.references.len()];
        if node.spec.kind.is_temporal() && node.decide == Decide::OnArrival {
            for (slot, child) in node.children.iter().enumerate() {
                let Some(below) = child.map(|child| &self.nodes[child as usize]) else { continue };
                let this = (index as u32, slot as u8);
                let place = below.parents.iter().position(|parent| *parent == this);
                asks[slot] = place.and_then(|at| Some((at, below.rises[at].key? as u32)));
            }
            let satisfy = |asks: &[Option<(usize, u32)>]| {
                let all = asks.iter().flatten().count() as f64;
                all > 0.0 && node.holds(all, &|slot| asks[usize::from(slot)].is_some())
            };
            while satisfy(&asks) {
                let Some(first) = asks.iter_mut().find(|asks| asks.is_some()) else { break };
                *first = None;
            }
        }
        for (slot, (place, _)) in asks.iter().enumerate().filter_map(|(i, a)| Some((i, (*a)?))) {
            if let Some(below) = self.nodes[index].children[slot] {
                self.nodes[below as usize].rises[place].is_asked = true;
            }
        }
        self.nodes[index].asks = asks;
    }

    /// One shard for all correlations that are linked with this one. State is kept where it is worked
    /// in, so the shard is part of what the correlations do.
    fn give_home(&mut self, index: usize) {
        let (mut linked, mut seen) = (vec![index], HashSet::<usize>::from([index]));
        let mut at = 0;
        while let Some(node) = linked.get(at).map(|i| &self.nodes[*i]) {
            let parents = node.parents.iter().map(|parent| parent.0);
            let near = parents.chain(node.children.iter().flatten().copied());
            linked.extend(near.map(|i| i as usize).filter(|i| seen.insert(*i)));
            at += 1;
        }
        let name = linked.iter().map(|i| &*self.nodes[*i].spec.id).min().unwrap_or_default();
        let home = xxh3_64(name.as_bytes()) as usize % SHARDS;
        for index in linked {
            let node = &mut self.nodes[index];
            node.home = Some(home);
            let place = format!("{:x} {home} {:?} {:?}", node.spec.hash, node.outer, node.rises);
            node.spec.hash = xxh3_128(place.as_bytes());
        }
    }

    fn spread_retention(&mut self) {
        for at in (0..self.order.len()).rev() {
            let index = self.order[at] as usize;
            let longest = self.nodes[index]
                .parents
                .iter()
                .map(|(p, _)| self.nodes[*p as usize].retain_ns)
                .fold(self.nodes[index].retain_ns, i64::max);
            self.nodes[index].retain_ns = longest;
        }
    }
}

/// Number of a list of names among others, added if it is new.
fn number_of(lists: &mut Vec<Vec<Arc<str>>>, names: &[Arc<str>]) -> usize {
    lists.iter().position(|known| known == names).unwrap_or_else(|| {
        lists.push(names.to_vec());
        lists.len() - 1
    })
}

/// Checks one spec on its own and fills in the default condition.
fn check(mut spec: Spec) -> Result<Node, SpecError> {
    let id = spec.id.clone();
    let count = spec.references.len();
    if count == 0 || count > SLOTS_MAX {
        return Err(SpecError::References { id, count });
    }
    let first_seen = matches!(spec.kind, SpecKind::FirstSeen { .. });
    if first_seen {
        spec.timespan_ns = 1;
    }
    if spec.timespan_ns <= 0 || spec.timespan_ns > TIMESPAN_MAX_NS {
        return Err(SpecError::Timespan { id, ns: spec.timespan_ns });
    }
    for reference in &spec.references {
        let (got, want) = (reference.fields.len(), spec.group_by.len());
        if matches!(reference.target, Target::Rule(_)) && got != want {
            return Err(SpecError::KeyFields { id, got, want });
        }
    }
    let problem = check_condition(&mut spec, count).or_else(|| check_frame(&spec));
    if let Some(problem) = problem {
        return Err(SpecError::Condition { id, problem });
    }
    let decide = decide_of(&spec);
    Ok(Node {
        decide,
        parents: Vec::new(),
        parents_walk: Vec::new(),
        condition: match (&spec.expression, spec.kind) {
            (Some(_), _) => spec.expression_text.as_deref().unwrap_or("an expression").to_owned(),
            (None, SpecKind::FirstSeen { .. }) => "not seen before".to_owned(),
            (None, SpecKind::Absence) => "not followed".to_owned(),
            (None, SpecKind::RegularInterval(regular)) => format!(
                "{} visits, {} % of the gaps within {} % of their median",
                spec.condition.text(),
                regular.share,
                regular.jitter
            ),
            (None, _) => spec.condition.text(),
        },
        children: Vec::new(),
        retain_ns: spec.timespan_ns,
        speaks: true,
        scans: spec.kind == SpecKind::TemporalOrdered,
        rises: Vec::new(),
        asks: Vec::new(),
        outer: Vec::new(),
        home: None,
        spec,
    })
}

fn decide_of(spec: &Spec) -> Decide {
    let growing = match &spec.expression {
        Some(expression) => expression.is_growing(),
        None => spec.condition.is_growing(),
    };
    match spec.kind {
        SpecKind::Absence => Decide::OnLeaving,
        SpecKind::ValueAvg
        | SpecKind::ValuePercentile(_)
        | SpecKind::ValueMedian
        | SpecKind::RegularInterval(_) => Decide::AtClose,
        // A sum may shrink again when numbers are negative, but what was reached was reached.
        _ if growing => Decide::OnArrival,
        SpecKind::EventCount | SpecKind::ValueCount
            if spec.condition.is_absence() && spec.frame == Frame::Sliding =>
        {
            Decide::OnLeaving
        }
        _ => Decide::AtClose,
    }
}

fn check_frame(spec: &Spec) -> Option<&'static str> {
    match (spec.kind, spec.frame) {
        (
            SpecKind::Absence | SpecKind::FirstSeen { .. },
            Frame::Tumbling | Frame::Session { .. },
        ) => Some("this kind has no window to cut; remove `window`"),
        (_, Frame::Session { gap_ns }) if gap_ns <= 0 || gap_ns > spec.timespan_ns => {
            Some("`gap` must be positive and at most the timespan")
        }
        _ => None,
    }
}

fn check_condition(spec: &mut Spec, count: usize) -> Option<&'static str> {
    if spec.kind.reads_value() == spec.value_fields.is_empty() {
        return Some(match spec.value_fields.is_empty() {
            true => "this kind needs `field` in its condition",
            false => "this kind reads no field; remove `field` from its condition",
        });
    }
    if spec.kind.is_numeric() && spec.value_fields.len() != 1 {
        return Some("this kind reads exactly one numeric field");
    }
    if let SpecKind::ValuePercentile(p) = spec.kind
        && !(0.0..=100.0).contains(&p)
    {
        return Some("`percentile` must be between 0 and 100");
    }
    if let SpecKind::RegularInterval(Regular { jitter, share, burst_ns }) = spec.kind
        && !((0.0..=100.0).contains(&jitter) && (0.0..=100.0).contains(&share) && burst_ns >= 0)
    {
        return Some("`jitter` and `share` are percentages, `burst` a length of time");
    }
    if spec.expression.is_some() {
        return (spec.kind != SpecKind::Temporal || !spec.condition.0.is_empty())
            .then_some("only temporal takes an expression over its rules, and then no number");
    }
    let all = count as f64;
    match spec.kind {
        SpecKind::FirstSeen { .. } => spec.condition = Condition::default(),
        SpecKind::Absence if count < 2 => {
            return Some("absence needs two rules: what happens, and what should follow it");
        }
        SpecKind::Absence if !spec.condition.0.is_empty() => {
            return Some("absence has no threshold; remove the condition");
        }
        SpecKind::Absence => {}
        SpecKind::Temporal if spec.condition.0.is_empty() => {
            spec.condition = Condition(vec![(BoundOp::Gte, all)]);
        }
        SpecKind::TemporalOrdered => match spec.condition.0.as_slice() {
            [] | [(BoundOp::Gte | BoundOp::Eq, _)]
                if spec.condition.0.iter().all(|c| c.1 == all) =>
            {
                spec.condition = Condition(vec![(BoundOp::Gte, all)]);
            }
            _ => return Some("temporal_ordered needs all its rules; remove the condition"),
        },
        _ if spec.condition.0.is_empty() => {
            return Some("a threshold is missing; add gt, gte, lt, lte, eq or neq");
        }
        SpecKind::Temporal if !spec.condition.is_growing() => {
            return Some("temporal takes gt or gte: how many of its rules must occur");
        }
        _ => {}
    }
    if spec.condition.0.iter().any(|c| !c.1.is_finite()) {
        return Some("a threshold must be a finite number");
    }
    let most = HITS_PER_KEY_MAX as f64;
    if spec.kind == SpecKind::ValueCount && spec.condition.0.iter().any(|c| c.1 > most) {
        return Some("more distinct values than one key can hold; lower the threshold");
    }
    None
}
