//! Why a correlation fired for a group, or what the group lacks: over finished logs.
//!
//! ```text
//! hits --engine--> firings --------------------------+
//!   \--by key--> steps --every window--> closest one --+--> GroupReport
//! ```
//! Whether a group fired is the engine's verdict. How close the others came is worked out here,
//! window by window.

use super::firing::Firing;
use super::gaps::{Regular, Rhythm};
use super::hit::{Hit, values};
use super::lift::OuterKeys;
use super::replay::in_event_time;
use super::spec::{Node, SpecKind, SpecSet, Target};
use super::total::Total;
use super::window::Entry;
use crate::ruleset::RuleSet;
use crate::sigma::BoundOp;
use event::EventId;
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// What one group of a correlation has, and what it lacks.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupReport {
    /// Group-by names and values as one of the events sent them.
    pub group: Vec<(Arc<str>, String)>,
    /// How often each rule that the correlation builds on occurred, in their order: title, times.
    pub occurred: Vec<(Arc<str>, u64)>,
    /// The episodes; none if the condition never held.
    pub firings: Vec<Firing>,
    /// The window that came closest to the condition, for kinds that measure windows.
    pub closest: Option<Closest>,
    /// What is missing, in words; empty if it fired.
    pub lacks: String,
}

/// A window of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Closest {
    /// What it measures: events, values, rules, steps, a sum...
    pub measured: f64,
    /// Event time of its first event, ns.
    pub first_ns: i64,
    /// Event time of its last event, ns.
    pub last_ns: i64,
    /// Its events; of a chained correlation the ones that completed it.
    pub events: Vec<EventId>,
}

/// Reports on every group of correlation number `rule`: those that fired first, then by how close
/// they came. `specs` are those of [`SpecSet::telling`], `hits` what they have seen.
pub fn report(
    rules: &RuleSet,
    specs: &Arc<SpecSet>,
    rule: u32,
    hits: Vec<Hit>,
) -> Vec<GroupReport> {
    let Some(index) = specs.specs().position(|s| s.rule == rule) else { return Vec::new() };
    let node = specs.node(index as u32);
    let mut groups: HashMap<u128, Group> = HashMap::new();
    for hit in hits.iter().filter(|h| h.spec == index as u32) {
        let group = groups.entry(hit.key.hash).or_default();
        group.names = values(&hit.key.text);
        group.steps.push(Entry::of(hit));
    }
    let outer: HashMap<(u32, EventId), OuterKeys> =
        hits.iter().filter_map(|hit| Some(((hit.spec, hit.id), hit.outer.clone()?))).collect();
    for firing in in_event_time(specs, hits) {
        let children = node.children.iter().enumerate();
        let of_firing = |c: u32| specs.node(c).spec.rule == firing.rule;
        for (slot, child) in children.filter_map(|(slot, c)| Some((slot as u8, (*c)?))) {
            if !of_firing(child) {
                continue;
            }
            for (key, text) in keys_above(specs, (index as u32, slot), child, &firing, &outer) {
                let group = groups.entry(key).or_default();
                let end = (firing.event_ns, firing.fired_by);
                group.steps.push(Entry::chained(slot, end, firing.first_ns));
                if let (Some(text), true) = (text, group.names.is_empty()) {
                    group.names = values(&text);
                }
            }
        }
        if !groups.contains_key(&firing.key) && firing.rule != rule {
            continue;
        }
        let group = groups.entry(firing.key).or_default();
        if group.names.is_empty() {
            group.names = firing.group.iter().map(|(_, value)| value.clone()).collect();
        }
        if firing.rule == rule {
            group.firings.push(firing);
        }
    }
    let names: Vec<Arc<str>> =
        node.spec.references.iter().map(|r| title(rules, &r.target)).collect();
    // A group of a rule further down the chain is none of this one.
    groups.retain(|_, group| !group.steps.is_empty() || !group.firings.is_empty());
    let mut out: Vec<(f64, GroupReport)> =
        groups.into_values().map(|group| group.report(node, &names)).collect();
    out.sort_by(|(a, x), (b, y)| {
        let fired = |r: &GroupReport| !r.firings.is_empty();
        fired(y).cmp(&fired(x)).then(a.total_cmp(b)).then_with(|| x.group.cmp(&y.group))
    });
    out.into_iter().map(|(_, report)| report).collect()
}

/// The groups of a correlation in which an episode of one that it builds on occurs, with their names if
/// they are other ones: those of the episode's events.
fn keys_above(
    specs: &SpecSet,
    parent: (u32, u8),
    child: u32,
    firing: &Firing,
    outer: &HashMap<(u32, EventId), OuterKeys>,
) -> Vec<(u128, Option<Box<[u8]>>)> {
    let node = specs.node(child);
    let place = node.parents.iter().position(|p| *p == parent);
    let Some(number) = place.and_then(|place| node.rises[place].key) else {
        return vec![(firing.key, None)];
    };
    let mut out: Vec<(u128, Option<Box<[u8]>>)> = Vec::new();
    for id in firing.evidence_ids() {
        let Some(Some(key)) = outer.get(&(child, id)).map(|keys| &keys[number]) else { continue };
        if !out.iter().any(|known| known.0 == key.hash) {
            out.push((key.hash, Some(key.text.clone())));
        }
    }
    out
}

fn title(rules: &RuleSet, target: &Target) -> Arc<str> {
    match target {
        Target::Rule(number) => rules.rule(*number).title.clone(),
        Target::Correlation(id) => {
            rules.find(id).map_or_else(|| id.clone(), |number| rules.rule(number).title.clone())
        }
    }
}

#[derive(Default)]
struct Group {
    names: Vec<String>,
    steps: Vec<Entry>,
    firings: Vec<Firing>,
}

impl Group {
    /// The report, and how far the group is from the condition: less is closer.
    fn report(mut self, node: &Node, titles: &[Arc<str>]) -> (f64, GroupReport) {
        self.steps.sort_by_key(|s| (s.t, s.id, s.slot));
        let occurred = titles.iter().enumerate().map(|(slot, title)| {
            let own = self.steps.iter().filter(|s| usize::from(s.slot) == slot);
            (title.clone(), own.map(|s| u64::from(s.weight)).sum())
        });
        let occurred = occurred.collect();
        let (distance, closest, lacks) = match node.spec.kind {
            SpecKind::TemporalOrdered => ordered(node, &self.steps, titles),
            SpecKind::Absence => absence(node, &self.steps, titles),
            SpecKind::FirstSeen { learn_for_ns, .. } => {
                let days = learn_for_ns / (86_400 * event::time::SECOND_NS);
                let why = format!("every value was seen before, or within {days} days of learning");
                (0.0, None, why)
            }
            SpecKind::RegularInterval(regular) => regular_visits(node, &self.steps, regular),
            _ => measured(node, &self.steps, titles),
        };
        let fired = !self.firings.is_empty();
        let group = node.spec.group_by.iter().cloned().zip(self.names).collect();
        let lacks = if fired { String::new() } else { lacks };
        (distance, GroupReport { group, occurred, firings: self.firings, closest, lacks })
    }
}

fn seconds(ns: i64) -> i64 {
    ns / event::time::SECOND_NS
}

fn window<'a>(measured: f64, steps: impl Iterator<Item = &'a Entry> + Clone) -> Option<Closest> {
    let events: BTreeSet<EventId> = steps.clone().map(|s| s.id).collect();
    let first_ns = steps.clone().map(|s| s.start).min()?;
    let last_ns = steps.map(|s| s.t).max()?;
    Some(Closest { measured, first_ns, last_ns, events: events.into_iter().collect() })
}

/// Calls `each` with every window of a kind with a running total: what it measures, and its steps.
fn each_window(node: &Node, steps: &[Entry], mut each: impl FnMut(&Total, Range<usize>)) {
    let mut total = Total::of(node.spec.kind);
    let mut head = 0;
    for (at, step) in steps.iter().enumerate() {
        let edge = node.edge(step.t);
        let cut = at > head && step.t.saturating_sub(steps[at - 1].t) > node.gap();
        while head < at && (cut || steps[head].start < edge) {
            total.remove(&steps[head]);
            head += 1;
        }
        total.add(step);
        if steps.get(at + 1).is_none_or(|next| !node.goes_on(step.t, next.t)) {
            each(&total, head..at + 1);
        }
    }
}

/// The window that comes closest to the condition.
fn measured(node: &Node, steps: &[Entry], titles: &[Arc<str>]) -> (f64, Option<Closest>, String) {
    let spec = &node.spec;
    let mut best: Option<(f64, f64, Range<usize>)> = None;
    each_window(node, steps, |total, window| {
        let Some(measured) = total.measured(spec.kind) else { return };
        let distance = match spec.expression {
            Some(_) => titles.len() as f64 - measured,
            None => shortfall(&spec.condition.0, measured),
        };
        if best.as_ref().is_none_or(|(least, most, _)| (distance, -measured) < (*least, -most)) {
            best = Some((distance, measured, window));
        }
    });
    let Some((distance, measured, inside)) = best else {
        return (f64::INFINITY, None, "there is no event to measure".into());
    };
    let inside = &steps[inside];
    let lacks = match spec.kind {
        SpecKind::Temporal => missing_rules(node, inside, titles),
        _ => format!(
            "`{}` is asked for; the window of {} s that comes closest has {measured}",
            node.condition,
            seconds(spec.timespan_ns)
        ),
    };
    (distance, window(measured, inside.iter()), lacks)
}

/// Of the windows with enough visits the most regular one; else the one with the most.
fn regular_visits(
    node: &Node,
    steps: &[Entry],
    regular: Regular,
) -> (f64, Option<Closest>, String) {
    let mut best: Option<(f64, Rhythm, Range<usize>)> = None;
    each_window(node, steps, |total, window| {
        let Total::Gaps(gaps) = total else { return };
        let Some(rhythm) = gaps.rhythm() else { return };
        let irregular = (regular.share - rhythm.share).max(0.0) / 100.0;
        let distance = shortfall(&node.spec.condition.0, rhythm.visits as f64) + irregular;
        if best.as_ref().is_none_or(|(least, ..)| distance < *least) {
            best = Some((distance, rhythm, window));
        }
    });
    let Some((distance, rhythm, inside)) = best else {
        return (f64::INFINITY, None, "no two events are apart".into());
    };
    let lacks = format!(
        "`{}` is asked for; the window of {} s that comes closest has {} visits, {:.0} % of the gaps \
         near their median of {} s",
        node.condition,
        seconds(node.spec.timespan_ns),
        rhythm.visits,
        rhythm.share,
        seconds(rhythm.median_ns as i64)
    );
    (distance, window(rhythm.visits as f64, steps[inside].iter()), lacks)
}

/// How much a number fails the bounds by; zero when it does not.
fn shortfall(bounds: &[(BoundOp, f64)], measured: f64) -> f64 {
    let of = |(op, bound): &(BoundOp, f64)| match op {
        BoundOp::Gt | BoundOp::Gte => (bound - measured).max(0.0),
        BoundOp::Lt | BoundOp::Lte => (measured - bound).max(0.0),
        BoundOp::Eq => (measured - bound).abs(),
        BoundOp::Neq => f64::from(u8::from(measured == *bound)),
    };
    bounds.iter().map(of).sum()
}

fn missing_rules(node: &Node, inside: &[Entry], titles: &[Arc<str>]) -> String {
    let there: HashSet<u8> = inside.iter().map(|s| s.slot).collect();
    let named = |wanted: bool| -> Vec<String> {
        let slots = titles.iter().enumerate();
        let of = slots.filter(|(slot, _)| there.contains(&(*slot as u8)) == wanted);
        of.map(|(_, title)| format!("`{title}`")).collect()
    };
    let span = seconds(node.spec.timespan_ns);
    let missing = named(false);
    match (&node.spec.expression, missing.is_empty()) {
        (None, false) => format!(
            "within {span} s of {} there is no {}",
            named(true).join(", "),
            missing.join(", no ")
        ),
        _ => format!(
            "`{}` is asked for; within {span} s there is {}",
            node.condition,
            named(true).join(", ")
        ),
    }
}

/// The longest beginning of the list that occurs in order within one window.
fn ordered(node: &Node, steps: &[Entry], titles: &[Arc<str>]) -> (f64, Option<Closest>, String) {
    let mut best: Vec<&Entry> = Vec::new();
    for (at, first) in steps.iter().enumerate().filter(|(_, s)| s.slot == 0) {
        let mut chain = vec![first];
        for step in &steps[at + 1..] {
            if node.edge(step.t) > first.start {
                break;
            }
            if usize::from(step.slot) == chain.len() {
                chain.push(step);
            }
        }
        if chain.len() > best.len() {
            best = chain;
        }
    }
    let span = seconds(node.spec.timespan_ns);
    let lacks = match (best.last(), titles.get(best.len())) {
        (None, _) => format!("`{}`, the first step, does not occur", titles[0]),
        (Some(last), Some(next)) => format!(
            "`{next}` does not follow `{}` within {span} s of the first step",
            titles[usize::from(last.slot)]
        ),
        (Some(_), None) => format!("`{}` is asked for", node.condition),
    };
    let closest = window(best.len() as f64, best.iter().copied());
    ((titles.len() - best.len()) as f64, closest, lacks)
}

/// What followed, so that nothing is absent.
fn absence(node: &Node, steps: &[Entry], titles: &[Arc<str>]) -> (f64, Option<Closest>, String) {
    let mut followed = steps.iter().filter(|s| s.slot == 0).filter_map(|first| {
        let until = first.t.saturating_add(node.spec.timespan_ns);
        let after = |s: &&Entry| s.slot > 0 && (s.t, s.id) > (first.t, first.id) && s.t <= until;
        Some((first, steps.iter().find(after)?))
    });
    let last = followed.next_back();
    let lacks = match last {
        None => format!("`{}` does not occur", titles[0]),
        Some((first, next)) => format!(
            "`{}` is followed by `{}` after {} s",
            titles[0],
            titles[usize::from(next.slot)],
            seconds(next.t - first.t)
        ),
    };
    let closest = last.and_then(|(first, next)| window(0.0, [first, next].into_iter()));
    (1.0, closest, lacks)
}
