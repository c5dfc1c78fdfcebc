//! The window of one key: entries in event time, a running total over the newest window, and the
//! episodes they belong to.
//!
//! ```text
//! entries  . . . [ . . x x x x ]      sorted by (event time, EventId), late ones put in place
//!                head          last   running total over [last - timespan, last]
//! labels   0 0 0   0 0 1 1 1 1        which episode an entry is evidence of
//! ```
//! An episode is a maximal chain of qualifying windows that share evidence, so its content depends
//! on the events alone and not on the order in which they arrived.

use super::firing::Contribution;
use super::settings::{EVIDENCE_MAX, UPDATE_PAUSE_MIN_NS};
use super::spec::{Node, SpecKind};
use event::EventId;
use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};

/// Sums are kept in millionths, so that adding and taking away leave nothing behind.
const MICROS: f64 = 1e6;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) t: i64,
    pub(super) id: EventId,
    /// Event time of the first thing it rests on: `t`, or earlier for a chained correlation.
    pub(super) start: i64,
    /// Fingerprint, or bits of the number.
    pub(super) value: u64,
    pub(super) weight: u32,
    /// Events folded into this entry.
    pub(super) rows: u32,
    pub(super) label: u32,
    pub(super) slot: u8,
}

impl Entry {
    fn place(&self) -> (i64, EventId, u8) {
        (self.t, self.id, self.slot)
    }
}

/// An open or recently open episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Episode {
    pub(super) label: u32,
    pub(super) fired_by: EventId,
    pub(super) stream_ns: i64,
    pub(super) cause: EventId,
    pub(super) cause_ns: i64,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) measured: f64,
    pub(super) events: u64,
    pub(super) weight: u64,
    pub(super) evidence: Vec<Contribution>,
    /// Evidence that came through chained correlations.
    taken: BTreeSet<(i64, EventId, u32)>,
    pub(super) announced: bool,
    pub(super) dirty: bool,
    /// Stream time of the next update, and the pause after it.
    pub(super) next_update: i64,
    pub(super) pause: i64,
}

/// What changed in a key while one hit was worked in.
#[derive(Default)]
pub(super) struct Changes {
    /// Ends of windows that qualified: index and start of what is needed.
    pub(super) ends: Vec<(i64, EventId, i64)>,
    /// Episodes absorbed by older ones: (absorbed, into).
    pub(super) merged: Vec<(Episode, EventId)>,
}

/// Running total of a window.
#[derive(Debug, Default)]
enum Total {
    #[default]
    None,
    Count(u64),
    Distinct(HashMap<u64, u32>),
    Sum(i128),
}

impl Total {
    fn of(kind: SpecKind) -> Self {
        match kind {
            SpecKind::EventCount => Self::Count(0),
            SpecKind::ValueCount | SpecKind::Temporal => Self::Distinct(HashMap::new()),
            SpecKind::ValueSum => Self::Sum(0),
            _ => Self::None,
        }
    }

    fn add(&mut self, e: &Entry) {
        match self {
            Self::None => {}
            Self::Count(n) => *n += u64::from(e.weight),
            Self::Distinct(map) => *map.entry(e.value).or_default() += 1,
            Self::Sum(n) => *n += micros(e),
        }
    }

    fn remove(&mut self, e: &Entry) {
        match self {
            Self::None => {}
            Self::Count(n) => *n -= u64::from(e.weight),
            Self::Distinct(map) => {
                if let Some(n) = map.get_mut(&e.value) {
                    *n -= 1;
                    if *n == 0 {
                        map.remove(&e.value);
                    }
                }
            }
            Self::Sum(n) => *n -= micros(e),
        }
    }

    fn measured(&self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Count(n) => *n as f64,
            Self::Distinct(map) => map.len() as f64,
            Self::Sum(n) => *n as f64 / MICROS,
        }
    }

    fn qualifies(&self, node: &Node) -> Option<f64> {
        let measured = self.measured();
        let occurred = |slot: u8| match self {
            Self::Distinct(map) => map.contains_key(&u64::from(slot)),
            _ => false,
        };
        node.holds(measured, &occurred).then_some(measured)
    }
}

fn micros(e: &Entry) -> i128 {
    (f64::from_bits(e.value) * MICROS) as i128 * i128::from(e.weight)
}

/// All that is kept of one key of one correlation.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct KeyState {
    pub(super) text: Box<[u8]>,
    pub(super) entries: VecDeque<Entry>,
    pub(super) max_t: i64,
    pub(super) last_stream: i64,
    /// Windows anchored at or before this time are decided (kinds decided late).
    closed_t: i64,
    pub(super) timer: i64,
    /// Whether it stands in the list of keys with something to say.
    pub(super) listed: bool,
    labels: u32,
    pub(super) episodes: Vec<Episode>,
    #[serde(skip)]
    head: usize,
    #[serde(skip)]
    total: Total,
}

/// A way to read the evidence behind chained entries: (slot, from, to) to contributions.
pub(super) type Behind<'a> = &'a dyn Fn(u8, i64, i64, &mut Vec<(Contribution, u32)>);

/// Why an evaluation happens.
#[derive(Clone, Copy)]
pub(super) struct Cause {
    pub(super) id: EventId,
    pub(super) t: i64,
    pub(super) stream_ns: i64,
}

impl KeyState {
    pub(super) fn new(node: &Node, text: &[u8]) -> Self {
        Self {
            text: text.into(),
            max_t: i64::MIN,
            last_stream: i64::MIN,
            closed_t: i64::MIN,
            total: Total::of(node.spec.kind),
            ..Self::default()
        }
    }

    /// Before this event time nothing new is accepted. Bounded by stream time, so that one event
    /// from the future does not shut out the present.
    pub(super) fn horizon(&self, now: i64, lateness_ns: i64) -> i64 {
        self.max_t.min(now).saturating_sub(lateness_ns)
    }

    /// Puts entries in and decides what can be decided at once.
    pub(super) fn apply(
        &mut self,
        node: &Node,
        new: &[Entry],
        cause: Cause,
        behind: Behind<'_>,
        changes: &mut Changes,
    ) {
        if !node.scans && new.len() == 1 {
            if let Some(at) = self.insert(node, new[0]) {
                self.decide_running(node, at, cause, changes);
            }
            return;
        }
        let (mut from, mut to) = (i64::MAX, i64::MIN);
        for entry in new {
            self.insert(node, *entry);
            (from, to) = (from.min(entry.t), to.max(entry.t));
        }
        if node.decide == super::spec::Decide::OnArrival {
            let first = self.entries.partition_point(|e| e.t < from);
            let until = to.saturating_add(node.spec.timespan_ns);
            let mut at = first;
            while at < self.entries.len() && self.entries[at].t <= until {
                self.decide_scanned(node, at, cause, behind, changes);
                at += 1;
            }
        }
    }

    /// Decides windows that can no longer change: all anchored before `horizon`, or all.
    pub(super) fn close(
        &mut self,
        node: &Node,
        horizon: i64,
        all: bool,
        stream_ns: i64,
        behind: Behind<'_>,
        changes: &mut Changes,
    ) {
        use super::spec::Decide;
        let reach = if node.decide == Decide::OnLeaving { node.spec.timespan_ns } else { 0 };
        let mut at = self.entries.partition_point(|e| e.t <= self.closed_t);
        while at < self.entries.len() {
            let anchor = self.entries[at];
            if !all && anchor.t.saturating_add(reach) >= horizon {
                break;
            }
            let cause = Cause { id: anchor.id, t: anchor.t, stream_ns };
            match node.decide {
                Decide::OnLeaving => self.decide_leaving(node, at, cause, changes),
                _ => self.decide_scanned(node, at, cause, behind, changes),
            }
            self.closed_t = anchor.t;
            at += 1;
        }
    }

    /// Whether a window is still undecided (kinds decided late).
    pub(super) fn is_open(&self) -> bool {
        self.entries.back().is_some_and(|e| e.t > self.closed_t)
    }

    /// Drops what no window can reach any more. Returns how many entries went.
    pub(super) fn prune(&mut self, node: &Node, horizon: i64) -> usize {
        let limit = horizon.saturating_sub(node.retain_ns);
        let mut gone = 0;
        while self.entries.front().is_some_and(|e| e.t < limit) {
            if !node.scans && self.head == 0 {
                break;
            }
            self.entries.pop_front();
            self.head = self.head.saturating_sub(1);
            gone += 1;
        }
        if gone > 0 {
            self.episodes.retain(|e| e.last >= limit || e.dirty);
            let behind = limit.saturating_sub(node.spec.timespan_ns);
            for episode in &mut self.episodes {
                while episode.taken.first().is_some_and(|t| t.0 < behind) {
                    episode.taken.pop_first();
                }
            }
        }
        gone
    }

    /// Puts one entry in its place. `None` when the event is there already.
    fn insert(&mut self, node: &Node, mut entry: Entry) -> Option<usize> {
        entry.label = 0;
        self.max_t = self.max_t.max(entry.t);
        let temporal = node.spec.kind.is_temporal();
        let in_order = self.entries.back().is_none_or(|last| last.place() < entry.place());
        let at = match in_order {
            true => self.entries.len(),
            false => self.entries.partition_point(|e| e.place() < entry.place()),
        };
        if let Some(same) = self.entries.get_mut(at).filter(|e| e.place() == entry.place()) {
            // A chained correlation found a tighter window ending at the same event.
            same.start = same.start.max(entry.start);
            return None;
        }
        let twin = |e: Option<&Entry>| e.is_some_and(|e| (e.t, e.id) == (entry.t, entry.id));
        if !temporal && (twin(self.entries.get(at)) || (at > 0 && twin(self.entries.get(at - 1)))) {
            return None;
        }
        match in_order {
            true => self.entries.push_back(entry),
            false => self.entries.insert(at, entry),
        }
        if node.scans {
            return Some(at);
        }
        if !in_order && at < self.head {
            self.head += 1;
            return Some(at);
        }
        let newest = self.entries[self.entries.len() - 1].t;
        let edge = newest.saturating_sub(node.spec.timespan_ns);
        if !in_order && entry.t < edge {
            // Just before the running window: it lies at `head`, which moves past it.
            self.head += 1;
            return Some(at);
        }
        self.total.add(&entry);
        while self.entries[self.head].t < edge {
            let old = self.entries[self.head];
            self.total.remove(&old);
            self.head += 1;
        }
        Some(at)
    }

    /// Rebuilds what is not stored.
    pub(super) fn rebuild(&mut self, node: &Node) {
        self.total = Total::of(node.spec.kind);
        self.head = 0;
        let Some(last) = self.entries.back().filter(|_| !node.scans) else { return };
        let edge = last.t.saturating_sub(node.spec.timespan_ns);
        self.head = self.entries.partition_point(|e| e.t < edge);
        for entry in self.entries.range(self.head..) {
            self.total.add(entry);
        }
    }

    /// Windows that entry `at` takes part in, by running totals.
    fn decide_running(&mut self, node: &Node, at: usize, cause: Cause, changes: &mut Changes) {
        if at + 1 == self.entries.len() {
            if let Some(measured) = self.total.qualifies(node) {
                self.note_end(node, self.head, at, changes);
                // The common case: the window slid on by one entry within an episode.
                let before = if at > self.head { self.entries[at - 1].label } else { 0 };
                if before != 0 && self.entries[self.head].label == before {
                    self.take(node, before, &[at], measured, cause);
                } else {
                    self.contribute(node, self.head, at, measured, cause, changes);
                }
            }
            return;
        }
        let t = self.entries[at].t;
        let span = node.spec.timespan_ns;
        if node.parents.is_empty() && self.lies_within(at, span) {
            let label = self.entries[at - 1].label;
            self.take(node, label, &[at], 0.0, cause);
            return;
        }
        let mut start = self.entries.partition_point(|e| e.t < t.saturating_sub(span));
        let mut total = Total::of(node.spec.kind);
        for entry in self.entries.range(start..at) {
            total.add(entry);
        }
        // Qualifying windows that overlap are one piece of evidence: taken together, once.
        let mut piece: Option<(usize, usize, f64)> = None;
        let mut end = at;
        while end < self.entries.len() && self.entries[end].t <= t.saturating_add(span) {
            total.add(&self.entries[end]);
            let edge = self.entries[end].t.saturating_sub(span);
            while self.entries[start].t < edge {
                total.remove(&self.entries[start]);
                start += 1;
            }
            if let Some(measured) = total.qualifies(node) {
                self.note_end(node, start, end, changes);
                piece = match piece {
                    Some((from, to, most)) if start <= to => Some((from, end, most.max(measured))),
                    other => {
                        if let Some((from, to, most)) = other {
                            self.contribute(node, from, to, most, cause, changes);
                        }
                        Some((start, end, measured))
                    }
                };
            }
            end += 1;
        }
        if let Some((from, to, most)) = piece {
            self.contribute(node, from, to, most, cause, changes);
        }
    }

    /// Whether everything within one window on both sides of entry `at` is evidence of one episode:
    /// then the entry belongs to it and nothing else can change. Evidence of an episode has no gaps
    /// here, so its ends tell.
    fn lies_within(&self, at: usize, span: i64) -> bool {
        let t = self.entries[at].t;
        let first = self.entries.partition_point(|e| e.t < t.saturating_sub(span));
        let after = self.entries.partition_point(|e| e.t <= t.saturating_add(span));
        if first >= at || after <= at + 1 {
            return false;
        }
        let label = self.entries[at - 1].label;
        let ends = [first, at + 1, after - 1];
        label != 0 && ends.iter().all(|i| self.entries[*i].label == label)
    }

    /// The window that ends at entry `at`, walked.
    fn decide_scanned(
        &mut self,
        node: &Node,
        at: usize,
        cause: Cause,
        behind: Behind<'_>,
        changes: &mut Changes,
    ) {
        let end = self.entries[at];
        let edge = end.t.saturating_sub(node.spec.timespan_ns);
        let from = self.entries.partition_point(|e| e.t < edge);
        if node.spec.kind == SpecKind::TemporalOrdered {
            if usize::from(end.slot) + 1 != node.children.len() {
                return;
            }
            let Some((chosen, start)) = self.ordered(node, from, at, edge) else { return };
            changes.ends.push((end.t, end.id, start));
            let measured = node.children.len() as f64;
            self.absorb(node, &chosen, edge, measured, cause, behind, changes);
            return;
        }
        let chosen: Vec<usize> = (from..=at).filter(|i| self.entries[*i].start >= edge).collect();
        let measured = self.measure(node, &chosen);
        let occurred = |slot: u8| chosen.iter().any(|i| self.entries[*i].slot == slot);
        if node.holds(measured, &occurred) {
            let start = self.tight_start(node, &chosen);
            changes.ends.push((end.t, end.id, start));
            self.absorb(node, &chosen, edge, measured, cause, behind, changes);
        }
    }

    /// The window just after entry `at` has slid out of it.
    fn decide_leaving(&mut self, node: &Node, at: usize, cause: Cause, changes: &mut Changes) {
        let t = self.entries[at].t;
        let from = self.entries.partition_point(|e| e.t <= t);
        let until = t.saturating_add(node.spec.timespan_ns);
        let to = self.entries.partition_point(|e| e.t <= until);
        let rest: Vec<usize> = (from..to).collect();
        let measured = self.measure(node, &rest);
        if node.holds(measured, &|_| false) {
            let chosen: Vec<usize> = std::iter::once(at).chain(rest).collect();
            changes.ends.push((t, self.entries[at].id, t));
            self.absorb(node, &chosen, t, measured, cause, &|_, _, _, _| {}, changes);
        }
    }

    /// What a set of entries measures, without running totals.
    fn measure(&self, node: &Node, chosen: &[usize]) -> f64 {
        let entries = || chosen.iter().map(|i| &self.entries[*i]);
        let numbers = || entries().map(|e| (f64::from_bits(e.value), e.weight));
        match node.spec.kind {
            SpecKind::EventCount => entries().map(|e| u64::from(e.weight)).sum::<u64>() as f64,
            SpecKind::ValueCount => entries().map(|e| e.value).collect::<HashSet<_>>().len() as f64,
            SpecKind::Temporal | SpecKind::TemporalOrdered => {
                entries().map(|e| e.slot).collect::<HashSet<_>>().len() as f64
            }
            SpecKind::ValueSum => entries().map(micros).sum::<i128>() as f64 / MICROS,
            SpecKind::ValueAvg => {
                let weight: f64 = numbers().map(|(_, w)| f64::from(w)).sum();
                numbers().map(|(v, w)| v * f64::from(w)).sum::<f64>() / weight
            }
            SpecKind::ValueMedian => percentile(numbers().collect(), 50.0),
            SpecKind::ValuePercentile(p) => percentile(numbers().collect(), p),
            SpecKind::FirstSeen { .. } => 0.0,
        }
    }

    /// Entries on some chain slot 0, 1, ... that ends with entry `at`, all of it after `edge`, and
    /// the start of the shortest such chain. Equal times count as in order: many logs know seconds
    /// only.
    fn ordered(&self, node: &Node, from: usize, at: usize, edge: i64) -> Option<(Vec<usize>, i64)> {
        let last = node.children.len() - 1;
        // Earliest time at which the chain up to a slot is complete.
        let mut on_chain: Vec<Vec<usize>> = vec![Vec::new(); last + 1];
        let mut complete = i64::MIN;
        for (slot, list) in on_chain.iter_mut().enumerate() {
            let fits = |i: &usize| {
                let e = &self.entries[*i];
                usize::from(e.slot) == slot && e.start >= edge && e.t >= complete
            };
            match slot == last {
                true => list.extend(Some(at).filter(fits)),
                false => list.extend(
                    (from..self.entries.len())
                        .take_while(|i| self.entries[*i].t <= self.entries[at].t)
                        .filter(fits),
                ),
            }
            complete = self.entries[*list.first()?].t;
        }
        // Of those, the ones from which the end is still reached; and the latest of each slot.
        let (mut reach, mut latest, mut start) = (i64::MAX, i64::MAX, i64::MAX);
        let mut chosen = Vec::new();
        for list in on_chain.iter_mut().rev() {
            list.retain(|i| self.entries[*i].t <= reach);
            reach = self.entries[*list.last()?].t;
            let tight = list.iter().rev().find(|i| self.entries[**i].t <= latest)?;
            latest = self.entries[*tight].t;
            start = start.min(self.entries[*tight].start);
            chosen.extend_from_slice(list);
        }
        chosen.sort_unstable();
        Some((chosen, start))
    }

    /// Start of the shortest run of entries up to the last of `chosen` that satisfies the rule.
    fn tight_start(&self, node: &Node, chosen: &[usize]) -> i64 {
        let mut total = Total::of(node.spec.kind);
        let mut start = i64::MAX;
        for index in chosen.iter().rev() {
            total.add(&self.entries[*index]);
            start = start.min(self.entries[*index].start);
            if total.qualifies(node).is_some() {
                break;
            }
        }
        start
    }

    fn note_end(&self, node: &Node, from: usize, to: usize, changes: &mut Changes) {
        if !node.parents.is_empty() {
            let (mut total, mut start) = (Total::of(node.spec.kind), i64::MAX);
            for index in (from..=to).rev() {
                total.add(&self.entries[index]);
                start = start.min(self.entries[index].start);
                if total.qualifies(node).is_some() {
                    break;
                }
            }
            changes.ends.push((self.entries[to].t, self.entries[to].id, start));
        }
    }

    /// The entries `from..=to` form a qualifying window.
    fn contribute(
        &mut self,
        node: &Node,
        from: usize,
        to: usize,
        measured: f64,
        cause: Cause,
        changes: &mut Changes,
    ) {
        let chosen: Vec<usize> = (from..=to).collect();
        self.absorb(node, &chosen, 0, measured, cause, &|_, _, _, _| {}, changes);
    }

    /// Makes `chosen` evidence of one episode: a new one, or the oldest of those it touches.
    #[allow(clippy::too_many_arguments, reason = "one call carries one decision")]
    fn absorb(
        &mut self,
        node: &Node,
        chosen: &[usize],
        edge: i64,
        measured: f64,
        cause: Cause,
        behind: Behind<'_>,
        changes: &mut Changes,
    ) {
        let mut touched: Vec<u32> = Vec::new();
        let mut fresh = Vec::new();
        for index in chosen {
            match self.entries[*index].label {
                0 => fresh.push(*index),
                label if touched.last() == Some(&label) || touched.contains(&label) => {}
                label => touched.push(label),
            }
        }
        touched.retain(|label| self.episodes.iter().any(|e| e.label == *label));
        let found = self.read_behind(node, chosen, edge, behind);
        for episode in &self.episodes {
            let shares = |f: &(Contribution, u32)| episode.taken.contains(&place_of(&f.0));
            if !touched.contains(&episode.label) && found.iter().any(shares) {
                touched.push(episode.label);
            }
        }
        let label = self.settle(&touched, chosen, measured, cause, changes);
        self.take(node, label, &fresh, measured, cause);
        let Some(episode) = self.episodes.iter_mut().find(|e| e.label == label) else { return };
        for (c, rows) in found {
            if episode.taken.insert(place_of(&c)) {
                episode.reach(c.event_ns, cause);
                episode.add(c, rows, node.speaks);
            }
        }
    }

    /// The label that carries on: new, or the oldest touched one after joining the others to it.
    fn settle(
        &mut self,
        touched: &[u32],
        chosen: &[usize],
        measured: f64,
        cause: Cause,
        changes: &mut Changes,
    ) -> u32 {
        let oldest = touched.iter().filter_map(|l| self.episode(*l)).min_by_key(|e| e.fired_by);
        let Some(keep) = oldest.map(|e| e.label) else {
            self.labels += 1;
            let t = self.entries[chosen[0]].t;
            self.episodes.push(Episode {
                label: self.labels,
                fired_by: cause.id,
                stream_ns: cause.stream_ns,
                cause: cause.id,
                cause_ns: cause.t,
                first: t,
                last: t,
                measured,
                events: 0,
                weight: 0,
                evidence: Vec::new(),
                taken: BTreeSet::new(),
                announced: false,
                dirty: true,
                next_update: i64::MIN,
                pause: UPDATE_PAUSE_MIN_NS,
            });
            return self.labels;
        };
        for label in touched.iter().filter(|l| **l != keep) {
            let Some(at) = self.episodes.iter().position(|e| e.label == *label) else { continue };
            let gone = self.episodes.swap_remove(at);
            for entry in self.entries.iter_mut().filter(|e| e.label == *label) {
                entry.label = keep;
            }
            if let Some(kept) = self.episodes.iter_mut().find(|e| e.label == keep) {
                kept.join(&gone, cause);
                changes.merged.push((gone, kept.fired_by));
            }
        }
        keep
    }

    /// Labels entries as evidence of an episode.
    fn take(&mut self, node: &Node, label: u32, fresh: &[usize], measured: f64, cause: Cause) {
        let Some(episode) = self.episodes.iter_mut().find(|e| e.label == label) else { return };
        episode.measured = episode.measured.max(measured);
        for index in fresh {
            let entry = &mut self.entries[*index];
            entry.label = label;
            episode.reach(entry.t, cause);
            // A chained entry stands for the events behind it, which are taken by themselves.
            let super::spec::Target::Rule(rule) =
                node.spec.references[usize::from(entry.slot)].target
            else {
                continue;
            };
            let c = Contribution { event_ns: entry.t, id: entry.id, rule, weight: entry.weight };
            episode.add(c, entry.rows, node.speaks);
        }
    }

    /// Evidence behind the chained entries among `chosen`.
    fn read_behind(
        &self,
        node: &Node,
        chosen: &[usize],
        edge: i64,
        behind: Behind<'_>,
    ) -> Vec<(Contribution, u32)> {
        let mut found = Vec::new();
        for (slot, _) in node.children.iter().enumerate().filter(|(_, c)| c.is_some()) {
            let of_slot = chosen.iter().map(|i| &self.entries[*i]);
            let until = of_slot.filter(|e| usize::from(e.slot) == slot).map(|e| e.t).max();
            if let Some(until) = until {
                behind(slot as u8, edge, until, &mut found);
            }
        }
        found
    }

    fn episode(&self, label: u32) -> Option<&Episode> {
        self.episodes.iter().find(|e| e.label == label)
    }

    /// Folds neighbours together, oldest half first; what cannot be folded is dropped from the
    /// front. Returns (folded, dropped).
    pub(super) fn shrink(&mut self, node: &Node, most: usize) -> (u64, u64) {
        let before = self.entries.len();
        let half = before / 2;
        let tail = self.entries.split_off(half);
        let mut kept: VecDeque<Entry> = VecDeque::with_capacity(before);
        match node.spec.kind {
            // Only the newest of equal values decides windows to come.
            SpecKind::ValueCount => {
                let mut newest: HashMap<(u64, u32), (u32, u32)> = HashMap::new();
                for entry in self.entries.iter().rev() {
                    match newest.entry((entry.value, entry.label)) {
                        hashbrown::hash_map::Entry::Vacant(v) => {
                            v.insert((0, 0));
                            kept.push_front(*entry);
                        }
                        hashbrown::hash_map::Entry::Occupied(mut o) => {
                            let folded = o.get_mut();
                            folded.0 = folded.0.saturating_add(entry.weight);
                            folded.1 = folded.1.saturating_add(entry.rows);
                        }
                    }
                }
                for entry in &mut kept {
                    if let Some((weight, rows)) = newest.get(&(entry.value, entry.label)) {
                        entry.weight = entry.weight.saturating_add(*weight);
                        entry.rows = entry.rows.saturating_add(*rows);
                    }
                }
            }
            // The later time is kept: nothing leaves a window too early.
            _ => {
                for entry in self.entries.drain(..) {
                    match kept.back_mut() {
                        Some(last) if folds(last, &entry) => {
                            let (weight, rows) = (last.weight, last.rows);
                            *last = entry;
                            last.weight = entry.weight.saturating_add(weight);
                            last.rows = entry.rows.saturating_add(rows);
                        }
                        _ => kept.push_back(entry),
                    }
                }
            }
        }
        let folded = (half - kept.len()) as u64;
        kept.extend(tail);
        let goal = most - most / 8;
        let dropped = kept.len().saturating_sub(goal);
        kept.drain(..dropped);
        self.entries = kept;
        self.rebuild(node);
        (folded, dropped as u64)
    }
}

fn place_of(c: &Contribution) -> (i64, EventId, u32) {
    (c.event_ns, c.id, c.rule)
}

/// Whether two neighbours may become one: pairs only, so that folding stays gradual.
fn folds(a: &Entry, b: &Entry) -> bool {
    (a.slot, a.label, a.value) == (b.slot, b.label, b.value) && a.rows <= b.rows
}

impl Episode {
    fn add(&mut self, c: Contribution, rows: u32, listed: bool) {
        self.events += u64::from(rows);
        self.weight += u64::from(c.weight);
        // A new episode collects everything and is cut to the newest when it is announced.
        if listed && (!self.announced || self.evidence.len() < EVIDENCE_MAX) {
            self.evidence.push(c);
        }
    }

    fn reach(&mut self, t: i64, cause: Cause) {
        (self.first, self.last) = (self.first.min(t), self.last.max(t));
        (self.cause, self.cause_ns) = (cause.id, cause.t);
        self.dirty = true;
    }

    fn join(&mut self, other: &Episode, cause: Cause) {
        self.reach(other.first, cause);
        self.reach(other.last, cause);
        self.events += other.events;
        self.weight += other.weight;
        self.measured = self.measured.max(other.measured);
        let known: BTreeSet<Contribution> = self.evidence.iter().copied().collect();
        for c in &other.evidence {
            if !known.contains(c) && (!self.announced || self.evidence.len() < EVIDENCE_MAX) {
                self.evidence.push(*c);
            } else if known.contains(c) {
                self.events = self.events.saturating_sub(1);
                self.weight = self.weight.saturating_sub(u64::from(c.weight));
            }
        }
        self.taken.extend(other.taken.iter().copied());
    }
}

/// Percentile of weighted numbers, linearly interpolated between the two nearest ranks.
fn percentile(mut numbers: Vec<(f64, u32)>, p: f64) -> f64 {
    numbers.sort_by(|a, b| a.0.total_cmp(&b.0));
    let count: u64 = numbers.iter().map(|n| u64::from(n.1)).sum();
    let at = |rank: u64| {
        let mut seen = 0u64;
        let found = numbers.iter().find(|n| {
            seen += u64::from(n.1);
            rank < seen
        });
        found.map_or(f64::NAN, |n| n.0)
    };
    let place = p / 100.0 * count.saturating_sub(1) as f64;
    let (low, high) = (at(place.floor() as u64), at(place.ceil() as u64));
    low + (high - low) * place.fract()
}
