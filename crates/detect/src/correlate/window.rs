//! The window of one key: entries in event time, a running total over one window, and the
//! episodes they belong to.
//!
//! ```text
//! entries  . . . [ . . x x x x ]      sorted by (event time, EventId), late ones put in place
//!                head         tail    running total: the newest window, or, for kinds decided at
//!                                     close, the window that is decided next
//! labels   0 0 0   0 0 1 1 1 1        which episode an entry is evidence of
//! ```
//! How an entry becomes evidence: `evidence`. Many windows over correlations at once: `stretch`.

use super::evidence::{Behind, Cause, Changes, Episode};
use super::hit::{Hit, HitValue};
use super::lift::{Lifted, Place};
use super::spec::{Decide, Frame, Node, SpecKind};
use super::stretch::{self, looked};
use super::total::Total;
use event::EventId;
use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) t: i64,
    pub(super) id: EventId,
    /// Event time of the first thing it rests on: `t`, or earlier for a chained correlation.
    pub(super) start: i64,
    /// Fingerprint, or bits of the number, or the slot.
    pub(super) value: u64,
    pub(super) weight: u32,
    /// Events folded into this entry.
    pub(super) rows: u32,
    pub(super) label: u32,
    pub(super) slot: u8,
}

impl Entry {
    pub(super) fn of(hit: &Hit) -> Self {
        let value = match hit.value {
            HitValue::Print(print) => print as u64,
            HitValue::Number(number) => number.to_bits(),
            HitValue::None => u64::from(hit.slot),
        };
        let (t, id, slot, weight) = (hit.event_ns, hit.id, hit.slot, hit.weight);
        Self { t, id, start: t, value, weight, rows: 1, label: 0, slot }
    }

    /// The window of another correlation, as an entry of slot `slot`: where it ends and begins.
    pub(super) fn chained(slot: u8, (t, id): (i64, EventId), start: i64) -> Self {
        Self { t, id, start, value: u64::from(slot), weight: 1, rows: 1, label: 0, slot }
    }

    pub(super) fn place(&self) -> Place {
        (self.t, self.id, self.slot)
    }
}

/// All that is kept of one key of one correlation.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct KeyState {
    pub(super) text: Box<[u8]>,
    pub(super) entries: VecDeque<Entry>,
    pub(super) max_t: i64,
    pub(super) last_stream: i64,
    /// Entries up to this time are decided (kinds decided late).
    closed_t: i64,
    /// Events up to this time would change what is decided, so they come too late.
    pub(super) sealed_t: i64,
    pub(super) timer: i64,
    /// Whether it stands in the list of keys with something to say.
    pub(super) listed: bool,
    pub(super) labels: u32,
    pub(super) episodes: Vec<Episode>,
    /// Hash of the key.
    pub(super) hash: u128,
    /// What chains need whose correlations group by different things.
    pub(super) lifted: Option<Box<Lifted>>,
    /// Number of decided entries.
    #[serde(skip)]
    closed: usize,
    #[serde(skip)]
    head: usize,
    #[serde(skip)]
    tail: usize,
    #[serde(skip)]
    total: Total,
}

impl KeyState {
    pub(super) fn new(node: &Node, hash: u128, text: &[u8]) -> Self {
        Self {
            hash,
            text: text.into(),
            max_t: i64::MIN,
            last_stream: i64::MIN,
            closed_t: i64::MIN,
            sealed_t: i64::MIN,
            total: Total::of(node.spec.kind),
            ..Self::default()
        }
    }

    /// Before this event time nothing new is accepted. Bounded by stream time, so that one event
    /// from the future does not shut out the present.
    pub(super) fn horizon(&self, now: i64, reach_ns: i64) -> i64 {
        self.max_t.min(now).saturating_sub(reach_ns)
    }

    /// What it costs in memory, about: the state itself, its place in the indexes, its entries with
    /// their share of the running total, its evidence.
    pub(super) fn bytes(&self) -> usize {
        let evidence: usize = self.episodes.iter().map(Episode::bytes).sum();
        let lifted = self.lifted.as_ref().map_or(0, |lifted| lifted.bytes());
        size_of::<Self>() + 96 + self.text.len() + self.entries.len() * 80 + evidence + lifted
    }

    /// Takes in the entry that the packed form of the key held; it decides nothing.
    pub(super) fn unpack(&mut self, node: &Node, entry: Entry) {
        self.insert(node, entry);
    }

    /// Puts entries in and decides what can be decided at once. `prior`: how many occurrences may
    /// be missing in the newest window.
    pub(super) fn apply(
        &mut self,
        node: &Node,
        new: &[Entry],
        (cause, prior): (Cause, u64),
        behind: Behind<'_>,
        changes: &mut Changes,
    ) {
        let at_once = node.decide == Decide::OnArrival;
        let (mut from, mut to) = (i64::MAX, i64::MIN);
        for entry in new {
            let place = self.insert(node, *entry);
            (from, to) = (from.min(entry.t), to.max(entry.t));
            if let Some(at) = place.filter(|_| at_once && !node.scans) {
                self.decide_running(node, at, (cause, prior), behind, changes);
            }
        }
        if at_once && node.scans {
            let until = node.until(to);
            let mut at = self.entries.partition_point(|e| e.t < from);
            let is_alone = at + 1 == self.entries.len();
            if node.spec.kind == SpecKind::Temporal && !is_alone && stretch::is_in_use() {
                return self.decide_stretch(node, (at, until), cause, behind, changes);
            }
            while at < self.entries.len() && self.entries[at].t <= until {
                self.decide_scanned(node, at, cause, behind, changes);
                at += 1;
            }
        }
    }

    /// Decides windows that can no longer change: those that end before `horizon`, or all.
    pub(super) fn close(
        &mut self,
        node: &Node,
        (horizon, all): (i64, bool),
        stream_ns: i64,
        behind: Behind<'_>,
        changes: &mut Changes,
    ) {
        while self.closed < self.entries.len() {
            let anchor = self.entries[self.closed];
            let sealed = anchor.t.saturating_add(node.reach_ns(anchor.t));
            if !all && sealed >= horizon {
                break;
            }
            let cause = Cause { id: anchor.id, t: anchor.t, stream_ns };
            let goes_on = self.goes_on(node, self.closed);
            match node.decide {
                Decide::OnLeaving => self.decide_leaving(node, goes_on, cause, behind, changes),
                _ if node.scans && goes_on => {}
                _ if node.scans => self.decide_scanned(node, self.closed, cause, behind, changes),
                _ => self.decide_sliding(node, goes_on, cause, behind, changes),
            }
            self.closed_t = anchor.t;
            self.sealed_t = self.sealed_t.max(sealed);
            self.closed += 1;
        }
    }

    /// Whether a window is still undecided (kinds decided late).
    pub(super) fn is_open(&self, node: &Node) -> bool {
        node.decide != Decide::OnArrival && self.closed < self.entries.len()
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
            self.tail = self.tail.saturating_sub(1);
            self.closed = self.closed.saturating_sub(1);
            gone += 1;
        }
        if gone > 0 {
            self.episodes.retain(|e| e.last >= limit || e.dirty);
            let behind = limit.saturating_sub(node.spec.timespan_ns);
            self.episodes.iter_mut().for_each(|e| e.forget_taken(behind));
            self.trim_lifted();
            // A burst must not hold its memory for ever.
            if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 4 {
                self.entries.shrink_to(self.entries.len() * 2);
            }
        }
        gone
    }

    /// Puts one entry in its place. `None` when the event is there already.
    fn insert(&mut self, node: &Node, mut entry: Entry) -> Option<usize> {
        entry.label = 0;
        self.max_t = self.max_t.max(entry.t);
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
        let counted = !node.spec.kind.is_temporal();
        if counted && (twin(self.entries.get(at)) || (at > 0 && twin(self.entries.get(at - 1)))) {
            return None;
        }
        match in_order {
            true => self.entries.push_back(entry),
            false => self.entries.insert(at, entry),
        }
        if node.decide == Decide::OnArrival && !node.scans {
            self.count_in(node, at, in_order);
        }
        Some(at)
    }

    /// Takes entry `at` into the running total of the newest window.
    fn count_in(&mut self, node: &Node, at: usize, in_order: bool) {
        let newest = self.entries.len() - 1;
        if !in_order && node.gap() != i64::MAX {
            // It may have joined two windows.
            return self.rebuild(node);
        }
        self.tail = newest + 1;
        let entry = self.entries[at];
        if at < self.head || entry.t < node.edge(self.entries[newest].t) {
            self.head += 1;
            return;
        }
        self.total.add(&entry);
        self.advance(node, newest);
    }

    /// Takes out of the total what the window ending at `end` does not hold.
    fn advance(&mut self, node: &Node, end: usize) {
        let t = self.entries[end].t;
        let edge = node.edge(t);
        let cut = end > self.head && t.saturating_sub(self.entries[end - 1].t) > node.gap();
        while self.head < end && (cut || self.entries[self.head].t < edge) {
            let old = self.entries[self.head];
            self.total.remove(&old);
            self.head += 1;
        }
    }

    /// First entry of the window that ends at entry `end`.
    pub(super) fn lower(&self, node: &Node, end: usize) -> usize {
        let edge = node.edge(self.entries[end].t);
        let from = self.entries.partition_point(|e| e.t < edge);
        if node.gap() == i64::MAX {
            return from;
        }
        let near =
            |i: &usize| self.entries[*i].t.saturating_sub(self.entries[*i - 1].t) <= node.gap();
        let steps = (from + 1..=end).rev().take_while(near).count();
        end - steps
    }

    /// Rebuilds what is not stored.
    pub(super) fn rebuild(&mut self, node: &Node) {
        self.total = Total::of(node.spec.kind);
        self.closed = self.entries.partition_point(|e| e.t <= self.closed_t);
        (self.head, self.tail) = match node.decide {
            _ if node.scans => (0, 0),
            Decide::OnArrival => (0, self.entries.len()),
            Decide::AtClose => (0, self.closed),
            Decide::OnLeaving => (self.closed, self.closed),
        };
        if self.tail > self.head {
            self.head = self.lower(node, self.tail - 1);
        }
        for entry in self.entries.range(self.head..self.tail) {
            self.total.add(entry);
        }
    }

    /// Windows that entry `at` takes part in, by running totals.
    fn decide_running(
        &mut self,
        node: &Node,
        at: usize,
        (cause, prior): (Cause, u64),
        behind: Behind<'_>,
        changes: &mut Changes,
    ) {
        if at + 1 == self.entries.len() {
            let exact = self.total.qualifies(node);
            let estimated = || self.with_prior(node, prior);
            if let Some(measured) = exact.or_else(estimated) {
                self.end_window(node, at, measured, cause, behind, changes);
                if exact.is_none() {
                    self.note_prior(self.entries[at].label, prior);
                }
            }
            return;
        }
        let t = self.entries[at].t;
        let sliding = node.spec.frame == Frame::Sliding;
        if sliding && node.parents.is_empty() && self.lies_within(at, node.spec.timespan_ns) {
            let label = self.entries[at - 1].label;
            self.take(node, label, &[at], 0.0, cause);
            // What its windows measure now is told with the next update: looking at once would
            // make a flood of late events cost a window each.
            if let Some(episode) = self.episodes.iter_mut().rev().find(|e| e.label == label) {
                episode.unmeasured = true;
            }
            return;
        }
        let mut start = self.lower(node, at);
        let mut total = Total::of(node.spec.kind);
        self.entries.range(start..at).for_each(|e| total.add(e));
        // Qualifying windows that overlap are one piece of evidence: taken together, once.
        let mut piece: Option<(usize, usize, f64)> = None;
        let (mut end, until) = (at, node.until(t));
        while end < self.entries.len() && self.entries[end].t <= until {
            let pause = if end == at { 0 } else { self.entries[end].t - self.entries[end - 1].t };
            if pause > node.gap() {
                break;
            }
            total.add(&self.entries[end]);
            let edge = node.edge(self.entries[end].t);
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
                            self.contribute(node, (from, to), most, cause, behind, changes);
                        }
                        Some((start, end, measured))
                    }
                };
            }
            end += 1;
        }
        if let Some((from, to, most)) = piece {
            self.contribute(node, (from, to), most, cause, behind, changes);
        }
    }

    /// The counted window, which ends at entry `at`, qualifies.
    fn end_window(
        &mut self,
        node: &Node,
        at: usize,
        measured: f64,
        cause: Cause,
        behind: Behind<'_>,
        changes: &mut Changes,
    ) {
        self.note_end(node, self.head, at, changes);
        // The common case: the window slid on by one entry within an episode.
        let before = if at > self.head { self.entries[at - 1].label } else { 0 };
        if before != 0 && self.entries[self.head].label == before && !node.has_children() {
            self.take(node, before, &[at], measured, cause);
        } else {
            self.contribute(node, (self.head, at), measured, cause, behind, changes);
        }
    }

    /// What the windows of episodes that got events in their middle measure, the most of each.
    pub(super) fn measure_again(&mut self, node: &Node) {
        let mut total = Total::of(node.spec.kind);
        let mut start = 0;
        for (end, entry) in self.entries.iter().enumerate() {
            total.add(entry);
            let edge = node.edge(entry.t);
            while self.entries[start].t < edge {
                total.remove(&self.entries[start]);
                start += 1;
            }
            if self.entries[end].label == 0 {
                continue;
            }
            let mut open = self.episodes.iter_mut().rev();
            let episode = open.find(|e| e.unmeasured && e.label == entry.label);
            if let (Some(episode), Some(measured)) = (episode, total.qualifies(node)) {
                episode.measured = episode.measured.max(measured);
            }
        }
        self.episodes.iter_mut().for_each(|e| e.unmeasured = false);
    }

    fn with_prior(&self, node: &Node, prior: u64) -> Option<f64> {
        let measured = self.total.measured(node.spec.kind)? + prior as f64;
        (prior > 0 && node.holds(measured, &|_| false)).then_some(measured)
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

    /// The next undecided entry is counted in and, unless the window goes on, ends one.
    fn decide_sliding(
        &mut self,
        node: &Node,
        goes_on: bool,
        cause: Cause,
        behind: Behind<'_>,
        changes: &mut Changes,
    ) {
        let at = self.closed;
        self.total.add(&self.entries[at]);
        self.tail = at + 1;
        self.advance(node, at);
        if goes_on {
            return;
        }
        if let Some(measured) = self.total.qualifies(node) {
            self.end_window(node, at, measured, cause, behind, changes);
        }
    }

    /// Whether the window of the entry at `at`, which is decided when nothing can change it, does not
    /// end there.
    fn goes_on(&self, node: &Node, at: usize) -> bool {
        let next = self.entries.get(at + 1).map(|e| e.t);
        next.is_some_and(|next| node.goes_on(self.entries[at].t, next))
    }

    /// The window just after the next undecided entry has slid out of it; for absence, the one
    /// that begins with it.
    fn decide_leaving(
        &mut self,
        node: &Node,
        goes_on: bool,
        cause: Cause,
        behind: Behind<'_>,
        changes: &mut Changes,
    ) {
        let at = self.closed;
        let anchor = self.entries[at];
        let absence = node.spec.kind == SpecKind::Absence;
        let outside = |t: i64| if absence { t < anchor.t } else { t <= anchor.t };
        let counts = |e: &Entry| !absence || e.slot > 0;
        while self.head < self.tail && outside(self.entries[self.head].t) {
            if counts(&self.entries[self.head]) {
                self.total.remove(&self.entries[self.head]);
            }
            self.head += 1;
        }
        if self.head == self.tail {
            while self.entries.get(self.head).is_some_and(|e| outside(e.t)) {
                self.head += 1;
            }
            self.tail = self.head;
        }
        let until = anchor.t.saturating_add(node.spec.timespan_ns);
        while self.entries.get(self.tail).is_some_and(|e| e.t <= until) {
            if counts(&self.entries[self.tail]) {
                self.total.add(&self.entries[self.tail]);
            }
            self.tail += 1;
        }
        let Some(measured) = self.total.measured(node.spec.kind) else { return };
        if absence {
            if anchor.slot == 0 && measured == 0.0 {
                changes.ends.push((anchor.t, anchor.id, anchor.start));
                self.absorb(node, &[at], anchor.start, measured, cause, behind, changes);
            }
        } else if !goes_on && node.holds(measured, &|_| false) {
            // Events of one time leave together and are missed together, once.
            let same = self.entries.partition_point(|e| e.t < anchor.t);
            let chosen: Vec<usize> = (same..=at).chain(self.head..self.tail).collect();
            changes.ends.push((anchor.t, anchor.id, anchor.t));
            self.absorb(node, &chosen, anchor.t, measured, cause, behind, changes);
        }
    }

    /// The window that ends at entry `at`, walked: ordered kinds and those over correlations.
    fn decide_scanned(
        &mut self,
        node: &Node,
        at: usize,
        cause: Cause,
        behind: Behind<'_>,
        changes: &mut Changes,
    ) {
        let end = self.entries[at];
        let edge = node.edge(end.t);
        let from = self.lower(node, at);
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
        looked(at - from);
        let chosen: Vec<usize> = (from..=at).filter(|i| self.entries[*i].start >= edge).collect();
        let slots: HashSet<u8> = chosen.iter().map(|i| self.entries[*i].slot).collect();
        let measured = slots.len() as f64;
        if node.holds(measured, &|slot| slots.contains(&slot)) {
            let start = self.tight_start(node, chosen.iter().rev().copied());
            changes.ends.push((end.t, end.id, start));
            self.absorb(node, &chosen, edge, measured, cause, behind, changes);
        }
    }

    /// Entries on some chain slot 0, 1, ... that ends with entry `at`, all of it after `edge`, and
    /// the start of the shortest such chain. Equal times count as in order: many logs know seconds
    /// only.
    fn ordered(&self, node: &Node, from: usize, at: usize, edge: i64) -> Option<(Vec<usize>, i64)> {
        let last = node.children.len() - 1;
        let end = self.entries[at].t;
        // Earliest time at which the chain up to a slot is complete.
        let mut on_chain: Vec<Vec<usize>> = vec![Vec::new(); last + 1];
        let mut complete = i64::MIN;
        // Entries of the same instant that stand after `at` belong to its window too.
        let after = (at + 1..self.entries.len()).take_while(|i| self.entries[*i].t == end);
        let window = from..=at + after.count();
        for (slot, list) in on_chain.iter_mut().enumerate() {
            let fits = |i: &usize| {
                let e = &self.entries[*i];
                usize::from(e.slot) == slot && e.start >= edge && e.t >= complete
            };
            match slot == last {
                true => list.extend(Some(at).filter(fits)),
                false => list.extend(window.clone().filter(fits)),
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

    /// Start of the shortest run of entries that satisfies the rule; `chosen` from the last backwards.
    fn tight_start(&self, node: &Node, chosen: impl Iterator<Item = usize>) -> i64 {
        let mut total = Total::of(node.spec.kind);
        let mut start = i64::MAX;
        for index in chosen {
            total.add(&self.entries[index]);
            start = start.min(self.entries[index].start);
            if total.qualifies(node).is_some() {
                break;
            }
        }
        start
    }

    fn note_end(&self, node: &Node, from: usize, to: usize, changes: &mut Changes) {
        if !node.parents.is_empty() {
            let start = self.tight_start(node, (from..=to).rev());
            changes.ends.push((self.entries[to].t, self.entries[to].id, start));
        }
    }

    /// Folds neighbours together, oldest half first; what cannot be folded is dropped from the
    /// front. Returns (folded, dropped).
    pub(super) fn shrink(&mut self, node: &Node, most: usize) -> (u64, u64) {
        let before = self.entries.len();
        let half = before / 2;
        let tail = self.entries.split_off(half);
        let mut kept = match node.spec.kind {
            SpecKind::ValueCount => self.fold_values(before),
            // Folding would make gaps that are none: the old end goes.
            SpecKind::RegularInterval(_) => std::mem::take(&mut self.entries),
            _ => self.fold_neighbours(before),
        };
        let folded = (half - kept.len()) as u64;
        kept.extend(tail);
        let goal = most - most / 8;
        let dropped = kept.len().saturating_sub(goal);
        kept.drain(..dropped);
        self.entries = kept;
        self.trim_lifted();
        self.rebuild(node);
        (folded, dropped as u64)
    }

    /// Only the newest of equal values decides windows to come.
    fn fold_values(&mut self, capacity: usize) -> VecDeque<Entry> {
        let mut kept: VecDeque<Entry> = VecDeque::with_capacity(capacity);
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
        kept
    }

    /// Pairs become one; the later time is kept: nothing leaves a window too early.
    fn fold_neighbours(&mut self, capacity: usize) -> VecDeque<Entry> {
        let mut kept: VecDeque<Entry> = VecDeque::with_capacity(capacity);
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
        kept
    }
}

/// Whether two neighbours may become one: pairs only, so that folding stays gradual.
fn folds(a: &Entry, b: &Entry) -> bool {
    (a.slot, a.label, a.value) == (b.slot, b.label, b.value) && a.rows <= b.rows
}
