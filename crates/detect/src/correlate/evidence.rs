//! Episodes: which entries of a key are evidence of which alert.
//!
//! An episode is a maximal chain of qualifying windows that share evidence, so its content depends
//! on the events alone and not on the order in which they arrived.

use super::firing::Contribution;
use super::settings::{EVIDENCE_MAX, UPDATE_PAUSE_MIN_NS};
use super::spec::{Node, Target};
use super::window::{Entry, KeyState};
use event::EventId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A way to read the evidence behind chained entries: (slot, key of the child if it is another one,
/// (from, to)) to contributions.
pub(super) type Behind<'a> =
    &'a dyn Fn(u8, Option<u128>, (i64, i64), &mut Vec<(Contribution, u32)>);

/// Why an evaluation happens.
#[derive(Clone, Copy)]
pub(super) struct Cause {
    pub(super) id: EventId,
    pub(super) t: i64,
    pub(super) stream_ns: i64,
}

/// What changed in a key while one hit was worked in.
#[derive(Default)]
pub(super) struct Changes {
    /// Ends of windows that qualified: time, event and start of what is needed.
    pub(super) ends: Vec<(i64, EventId, i64)>,
    /// Episodes absorbed by older ones: (absorbed, into).
    pub(super) merged: Vec<(Episode, EventId)>,
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
    /// How much of `measured` a sketch says, at most.
    pub(super) estimated: u64,
    pub(super) events: u64,
    pub(super) weight: u64,
    /// How many of `events` have been told under this episode's name.
    told_events: u64,
    /// An event was put into the middle of it: `measured` is looked at again before it is told.
    pub(super) unmeasured: bool,
    /// Each with whether it has been told under this episode's name.
    pub(super) evidence: Vec<(Contribution, bool)>,
    /// Evidence that came through chained correlations.
    taken: BTreeSet<(i64, EventId, u32)>,
    pub(super) announced: bool,
    pub(super) dirty: bool,
    /// Stream time of the next update, and the pause after it.
    pub(super) next_update: i64,
    pub(super) pause: i64,
}

impl KeyState {
    /// The entries `from..=to` form a qualifying window.
    pub(super) fn contribute(
        &mut self,
        node: &Node,
        (from, to): (usize, usize),
        measured: f64,
        cause: Cause,
        behind: Behind<'_>,
        changes: &mut Changes,
    ) {
        let chosen: Vec<usize> = (from..=to).collect();
        let edge = self.entries.range(from..=to).map(|e| e.start).min().unwrap_or_default();
        self.absorb(node, &chosen, edge, measured, cause, behind, changes);
    }

    /// Makes `chosen` evidence of one episode: a new one, or the oldest of those it touches.
    #[allow(clippy::too_many_arguments, reason = "one call carries one decision")]
    pub(super) fn absorb(
        &mut self,
        node: &Node,
        chosen: &[usize],
        edge: i64,
        measured: f64,
        cause: Cause,
        behind: Behind<'_>,
        changes: &mut Changes,
    ) {
        let found = self.read_behind(node, chosen, edge, behind);
        self.absorb_found(node, chosen, found, measured, cause, changes);
    }

    /// The same with the evidence behind chained entries, which has been read.
    pub(super) fn absorb_found(
        &mut self,
        node: &Node,
        chosen: &[usize],
        found: Vec<(Contribution, u32)>,
        measured: f64,
        cause: Cause,
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
        touched.retain(|label| self.is_kept(*label));
        for episode in self.episodes.iter().filter(|_| !found.is_empty()) {
            let shares = |f: &(Contribution, u32)| episode.taken.contains(&place_of(&f.0));
            if !touched.contains(&episode.label) && found.iter().any(shares) {
                touched.push(episode.label);
            }
        }
        let label = self.settle(&touched, chosen, measured, cause, changes);
        self.take(node, label, &fresh, measured, cause);
        let Some(episode) = self.episodes.iter_mut().rev().find(|e| e.label == label) else {
            return;
        };
        let entries = &self.entries;
        for (c, rows) in found {
            let again = episode.has_taken(&c) || is_own(node, entries, label, &c);
            if episode.taken.insert(place_of(&c)) {
                episode.reach(c.event_ns, cause);
                episode.add(c, rows, node.speaks, again);
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
        let named = |l: &u32| self.episodes.iter().rev().find(|e| e.label == *l);
        let oldest = touched.iter().filter_map(named).min_by_key(|e| e.fired_by);
        let Some(keep) = oldest.map(|e| e.label) else {
            self.labels += 1;
            let t = self.entries[chosen[0]].t;
            self.episodes.push(Episode::begin(self.labels, t, measured, cause));
            return self.labels;
        };
        for label in touched.iter().filter(|l| **l != keep) {
            let Some(at) = self.episodes.iter().position(|e| e.label == *label) else { continue };
            let mut gone = self.episodes.swap_remove(at);
            for entry in self.entries.iter_mut().filter(|e| e.label == *label) {
                entry.label = keep;
            }
            if let Some(kept) = self.episodes.iter_mut().rev().find(|e| e.label == keep) {
                kept.join(&mut gone, cause);
                changes.merged.push((gone, kept.fired_by));
            }
        }
        keep
    }

    /// Labels entries as evidence of an episode.
    pub(super) fn take(
        &mut self,
        node: &Node,
        label: u32,
        fresh: &[usize],
        measured: f64,
        cause: Cause,
    ) {
        let Some(episode) = self.episodes.iter_mut().rev().find(|e| e.label == label) else {
            return;
        };
        episode.measured = episode.measured.max(measured);
        for index in fresh {
            self.entries[*index].label = label;
            let entry = self.entries[*index];
            episode.reach(entry.t, cause);
            // A chained entry stands for the events behind it, which are taken by themselves.
            let Target::Rule(rule) = node.spec.references[usize::from(entry.slot)].target else {
                continue;
            };
            let c = Contribution { event_ns: entry.t, id: entry.id, rule, weight: entry.weight };
            let again = episode.has_taken(&c) || has_twin(node, &self.entries, *index);
            episode.add(c, entry.rows, node.speaks, again);
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
            let mut until: BTreeMap<Option<u128>, i64> = BTreeMap::new();
            let of_slot = chosen.iter().map(|i| &self.entries[*i]);
            for entry in of_slot.filter(|e| usize::from(e.slot) == slot) {
                let latest = until.entry(self.child_of(entry)).or_insert(entry.t);
                *latest = entry.t.max(*latest);
            }
            for (key, until) in until {
                behind(slot as u8, key, (edge, until), &mut found);
            }
        }
        found
    }

    pub(super) fn is_kept(&self, label: u32) -> bool {
        self.episodes.iter().rev().any(|e| e.label == label)
    }

    pub(super) fn note_prior(&mut self, label: u32, prior: u64) {
        if let Some(episode) = self.episodes.iter_mut().rev().find(|e| e.label == label) {
            episode.estimated = episode.estimated.max(prior);
        }
    }
}

/// Whether the same event, matched by another rule, is evidence of the same episode as entry `at`.
fn has_twin(node: &Node, entries: &VecDeque<Entry>, at: usize) -> bool {
    let this = &entries[at];
    let twin = |e: &Entry| e.label == this.label && node.children[usize::from(e.slot)].is_none();
    let same = |e: &&Entry| (e.t, e.id) == (this.t, this.id);
    entries.range(..at).rev().take_while(same).any(twin)
        || entries.range(at + 1..).take_while(same).any(twin)
}

/// Whether the event of a chained contribution is evidence of the episode by itself, too.
fn is_own(node: &Node, entries: &VecDeque<Entry>, label: u32, c: &Contribution) -> bool {
    let first = entries.partition_point(|e| (e.t, e.id) < (c.event_ns, c.id));
    let same = entries.range(first..).take_while(|e| (e.t, e.id) == (c.event_ns, c.id));
    same.filter(|e| e.label == label).any(|e| node.children[usize::from(e.slot)].is_none())
}

fn place_of(c: &Contribution) -> (i64, EventId, u32) {
    (c.event_ns, c.id, c.rule)
}

impl Episode {
    fn begin(label: u32, t: i64, measured: f64, cause: Cause) -> Self {
        Self {
            label,
            fired_by: cause.id,
            stream_ns: cause.stream_ns,
            cause: cause.id,
            cause_ns: cause.t,
            first: t,
            last: t,
            measured,
            estimated: 0,
            events: 0,
            weight: 0,
            told_events: 0,
            unmeasured: false,
            evidence: Vec::new(),
            taken: BTreeSet::new(),
            announced: false,
            dirty: true,
            next_update: i64::MIN,
            pause: UPDATE_PAUSE_MIN_NS,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.evidence.len() * 48 + self.taken.len() * 48
    }

    /// Forgets chained evidence before `t`.
    pub(super) fn forget_taken(&mut self, t: i64) {
        while self.taken.first().is_some_and(|c| c.0 < t) {
            self.taken.pop_first();
        }
    }

    /// Whether the event was taken already, as a match of another rule.
    fn has_taken(&self, c: &Contribution) -> bool {
        let mut same = self.taken.range((c.event_ns, c.id, 0)..=(c.event_ns, c.id, u32::MAX));
        same.any(|taken| taken.2 != c.rule)
    }

    /// `again`: the event is evidence already, as a match of another rule; it counts once.
    fn add(&mut self, c: Contribution, rows: u32, listed: bool, again: bool) {
        if !again {
            self.events += u64::from(rows);
            self.weight += u64::from(c.weight);
        }
        // A new episode collects everything and is cut to the newest when it is announced.
        if listed && (!self.announced || self.evidence.len() < EVIDENCE_MAX) {
            self.evidence.push((c, false));
        }
    }

    fn reach(&mut self, t: i64, cause: Cause) {
        (self.first, self.last) = (self.first.min(t), self.last.max(t));
        (self.cause, self.cause_ns) = (cause.id, cause.t);
        self.dirty = true;
    }

    /// Takes over what another episode has. Evidence that `other` has told is handed over with the
    /// message that it ends (it is all that `other` has left to tell), and not told once more.
    fn join(&mut self, other: &mut Episode, cause: Cause) {
        self.reach(other.first, cause);
        self.reach(other.last, cause);
        self.events += other.events;
        self.weight += other.weight;
        self.measured = self.measured.max(other.measured);
        self.estimated = self.estimated.max(other.estimated);
        self.unmeasured |= other.unmeasured;
        let hands_over = self.announced && other.announced;
        let mut moved = if hands_over { other.told_events } else { 0 };
        let known: BTreeSet<Contribution> = self.evidence.iter().map(|e| e.0).collect();
        let events: BTreeSet<EventId> = known.iter().map(|c| c.id).collect();
        let theirs = std::mem::take(&mut other.evidence);
        for (c, told) in theirs {
            let told = told && hands_over;
            if events.contains(&c.id) {
                self.events = self.events.saturating_sub(1);
                self.weight = self.weight.saturating_sub(u64::from(c.weight));
                moved = moved.saturating_sub(u64::from(told));
            }
            let room = !self.announced || self.evidence.len() < EVIDENCE_MAX;
            if room && !known.contains(&c) {
                self.evidence.push((c, told));
                other.evidence.extend(told.then_some((c, false)));
            }
        }
        self.told_events += moved;
        (other.events, other.told_events) = (moved, 0);
        self.taken.extend(other.taken.iter().copied());
    }

    /// Puts the evidence in order, cuts it to what may be listed, and tells what was not told yet,
    /// with how many events that is, unlisted ones included.
    pub(super) fn tell(&mut self) -> (Vec<Contribution>, u64) {
        self.evidence.sort_unstable();
        let surplus = self.evidence.len().saturating_sub(EVIDENCE_MAX);
        self.evidence.drain(..surplus);
        let mut fresh = Vec::new();
        for (c, told) in self.evidence.iter_mut().filter(|e| !e.1) {
            fresh.push(*c);
            *told = true;
        }
        let new = self.events.saturating_sub(self.told_events);
        self.told_events = self.told_events.max(self.events);
        (fresh, new)
    }
}
