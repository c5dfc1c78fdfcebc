//! One virtual shard: the keys of every correlation that hash to it.
//!
//! ```text
//! Hit --> correlation's keys --> window of the key --qualifying windows--> parent correlations
//!                                      \--> episodes --> Firing (new at once, updates at ticks)
//! ```
//! A chained correlation has the same key, hence the same shard: nothing ever leaves it.

use super::firing::{Contribution, Firing, FiringKind};
use super::hit::{Hit, HitValue, values};
use super::seen::Seen;
use super::settings::{EVICTION_SAMPLE, EVIDENCE_MAX, Settings, UPDATE_PAUSE_MAX_NS};
use super::spec::{Decide, Node, SpecKind, SpecSet, Target};
use super::window::{Cause, Changes, Entry, Episode, KeyState};
use event::EventId;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What was given up or refused, per correlation. Zero everywhere means exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Hits taken in.
    pub hits: u64,
    /// Events that came later than the lateness allows and were left out.
    pub late: u64,
    /// Keys forgotten for want of room.
    pub evicted_keys: u64,
    /// Remembered values forgotten for want of room (`first_seen`).
    pub evicted_values: u64,
    /// Entries folded into neighbours of the same kind: counts stay, single events are lost.
    pub folded: u64,
    /// Entries dropped from the old end of an overfull window.
    pub dropped: u64,
}

impl Counters {
    /// Adds another shard's.
    pub fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.late += other.late;
        self.evicted_keys += other.evicted_keys;
        self.evicted_values += other.evicted_values;
        self.folded += other.folded;
        self.dropped += other.dropped;
    }
}

/// The keys of one correlation in one shard.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct SpecState {
    slots: Vec<Option<(u128, KeyState)>>,
    free: Vec<u32>,
    hand: usize,
    timers: BTreeSet<(i64, u32)>,
    dirty: Vec<u32>,
    entries: usize,
    pub(super) seen: Seen,
    pub(super) counters: Counters,
    #[serde(skip)]
    places: HashMap<u128, u32>,
}

impl SpecState {
    /// Rebuilds what is not stored.
    pub(super) fn rebuild(&mut self, node: &Node) {
        self.seen.rebuild();
        self.places.clear();
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if let Some((hash, state)) = slot {
                self.places.insert(*hash, at as u32);
                state.rebuild(node);
            }
        }
    }

    /// Gives rules their numbers in a new rule set.
    pub(super) fn renumber(&mut self, numbers: &HashMap<u32, u32>) {
        for (_, state) in self.slots.iter_mut().flatten() {
            for c in state.episodes.iter_mut().flat_map(|e| e.evidence.iter_mut()) {
                c.rule = numbers.get(&c.rule).copied().unwrap_or(c.rule);
            }
        }
    }

    pub(super) fn keys(&self) -> usize {
        self.places.len()
    }

    fn get(&self, hash: u128) -> Option<&KeyState> {
        let at = *self.places.get(&hash)?;
        self.slots[at as usize].as_ref().map(|(_, state)| state)
    }

    fn remove(&mut self, at: u32) -> Option<(u128, KeyState)> {
        let (hash, state) = self.slots[at as usize].take()?;
        self.places.remove(&hash);
        self.free.push(at);
        self.timers.remove(&(state.timer, at));
        self.entries -= state.entries.len();
        Some((hash, state))
    }

    /// The key to give up: of a few, one without an open episode, with the fewest entries, longest
    /// untouched. A flood of new keys therefore evicts its own kind before a slow attack.
    fn victim(&mut self, but: u32) -> Option<u32> {
        let len = self.slots.len();
        let sample = (0..EVICTION_SAMPLE.min(len)).map(|i| (self.hand + i) % len);
        let found = sample
            .filter(|at| *at as u32 != but)
            .filter_map(|at| {
                let (_, s) = self.slots[at].as_ref()?;
                Some(((!s.episodes.is_empty(), s.entries.len(), s.last_stream), at as u32))
            })
            .min()
            .map(|(_, at)| at);
        self.hand = (self.hand + EVICTION_SAMPLE) % len.max(1);
        found
    }
}

/// State of one virtual shard.
#[derive(Debug, Default)]
pub struct ShardState {
    pub(super) specs: Vec<SpecState>,
}

/// Everything a step needs beside the state.
pub(super) struct Context<'a> {
    pub(super) set: &'a SpecSet,
    pub(super) settings: &'a Settings,
    /// Stream time at which each correlation became active.
    pub(super) since: &'a [i64],
}

impl ShardState {
    pub(super) fn new(set: &SpecSet) -> Self {
        Self { specs: (0..set.len()).map(|_| SpecState::default()).collect() }
    }

    /// Works in one hit.
    pub(super) fn hit(&mut self, cx: &Context<'_>, hit: &Hit, out: &mut Vec<Firing>) {
        let Some(state) = self.specs.get_mut(hit.spec as usize) else { return };
        state.counters.hits += 1;
        let node = cx.set.node(hit.spec);
        if let SpecKind::FirstSeen { learn_for_ns, expire_days } = node.spec.kind {
            let HitValue::Print(print) = hit.value else { return };
            // Key and value together; both are keyed hashes already.
            let pair = print ^ hit.key.hash.rotate_left(41);
            let most = cx.settings.seen_per_shard_max;
            let sight = state.seen.look(pair, hit.stream_ns, expire_days, most);
            state.counters.evicted_values += u64::from(sight.evicted);
            let learning = hit.stream_ns < cx.since[hit.spec as usize].saturating_add(learn_for_ns);
            if sight.new && !learning && node.speaks {
                out.push(first_seen(node, hit));
            }
            return;
        }
        let value = match hit.value {
            HitValue::Print(print) => print as u64,
            HitValue::Number(number) => number.to_bits(),
            HitValue::None => u64::from(hit.slot),
        };
        let entry = Entry {
            t: hit.event_ns,
            id: hit.id,
            start: hit.event_ns,
            value,
            weight: hit.weight,
            rows: 1,
            label: 0,
            slot: hit.slot,
        };
        let cause = Cause { id: hit.id, t: hit.event_ns, stream_ns: hit.stream_ns };
        let from = out.len();
        self.apply(cx, hit.spec, (hit.key.hash, &hit.key.text), &[entry], cause, out);
        for firing in &mut out[from..] {
            firing.trigger = hit.id;
        }
    }

    /// Puts entries of one key into one correlation, and what follows from it into its parents.
    /// Recursion is bounded by the depth of chains.
    fn apply(
        &mut self,
        cx: &Context<'_>,
        index: u32,
        key: (u128, &[u8]),
        new: &[Entry],
        cause: Cause,
        out: &mut Vec<Firing>,
    ) {
        let node = cx.set.node(index);
        let lateness = cx.settings.lateness_ns;
        self.forget_idle(cx, index, key.0, cause.stream_ns, out);
        let at = self.place(cx, index, key, out);
        let spec = &mut self.specs[index as usize];
        let Some((hash, mut state)) = spec.slots[at as usize].take() else { return };
        spec.entries -= state.entries.len();
        state.last_stream = cause.stream_ns;
        let horizon = state.horizon(cause.stream_ns, lateness);
        let mut changes = Changes::default();
        if new.iter().any(|e| e.t < horizon) {
            let in_time: Vec<Entry> = new.iter().copied().filter(|e| e.t >= horizon).collect();
            spec.counters.late += (new.len() - in_time.len()) as u64;
            if !in_time.is_empty() {
                self.work(cx, node, hash, &mut state, &in_time, cause, &mut changes);
            }
        } else {
            self.work(cx, node, hash, &mut state, new, cause, &mut changes);
        }
        let horizon = state.horizon(cause.stream_ns, lateness);
        if node.decide != Decide::OnArrival {
            self.close(cx, node, hash, &mut state, Some(horizon), cause.stream_ns, &mut changes);
        }
        state.prune(node, horizon);
        let up = upward(node, &state, &changes, cause);
        announce(node, hash, &mut state, &mut changes, out);
        self.put_back(cx, index, at, hash, state);
        self.climb(cx, node, key, up, cause, out);
    }

    fn climb(
        &mut self,
        cx: &Context<'_>,
        node: &Node,
        key: (u128, &[u8]),
        up: Vec<(usize, Vec<Entry>)>,
        cause: Cause,
        out: &mut Vec<Firing>,
    ) {
        for (parent, entries) in up {
            self.apply(cx, node.parents[parent].0, key, &entries, cause, out);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one step over one key")]
    fn work(
        &self,
        cx: &Context<'_>,
        node: &Node,
        hash: u128,
        state: &mut KeyState,
        new: &[Entry],
        cause: Cause,
        changes: &mut Changes,
    ) {
        let behind = |slot: u8, from: i64, to: i64, out: &mut Vec<(Contribution, u32)>| {
            self.behind(cx, node, slot, hash, from, to, out);
        };
        state.apply(node, new, cause, &behind, changes);
    }

    #[allow(clippy::too_many_arguments, reason = "one step over one key")]
    fn close(
        &self,
        cx: &Context<'_>,
        node: &Node,
        hash: u128,
        state: &mut KeyState,
        horizon: Option<i64>,
        now: i64,
        changes: &mut Changes,
    ) {
        let behind = |slot: u8, from: i64, to: i64, out: &mut Vec<(Contribution, u32)>| {
            self.behind(cx, node, slot, hash, from, to, out);
        };
        state.close(node, horizon.unwrap_or(i64::MAX), horizon.is_none(), now, &behind, changes);
    }

    /// The detection matches behind a chained entry: what the child's episodes hold in that span.
    #[allow(clippy::too_many_arguments, reason = "a query")]
    fn behind(
        &self,
        cx: &Context<'_>,
        node: &Node,
        slot: u8,
        hash: u128,
        from: i64,
        to: i64,
        out: &mut Vec<(Contribution, u32)>,
    ) {
        let Some(child) = node.children[usize::from(slot)] else { return };
        let child_node = cx.set.node(child);
        let Some(state) = self.specs[child as usize].get(hash) else { return };
        let first = state.entries.partition_point(|e| e.t < from);
        let mut below: Vec<(u8, i64)> = Vec::new();
        for entry in state.entries.range(first..).take_while(|e| e.t <= to) {
            if entry.label == 0 {
                continue;
            }
            match child_node.spec.references[usize::from(entry.slot)].target {
                Target::Rule(rule) => out.push((
                    Contribution { event_ns: entry.t, id: entry.id, rule, weight: entry.weight },
                    entry.rows,
                )),
                Target::Correlation(_) => {
                    below.retain(|(s, _)| *s != entry.slot);
                    below.push((entry.slot, entry.t));
                }
            }
        }
        for (slot, until) in below {
            self.behind(cx, child_node, slot, hash, from, until, out);
        }
    }

    /// The slot of a key, made if it is new.
    fn place(
        &mut self,
        cx: &Context<'_>,
        index: u32,
        key: (u128, &[u8]),
        out: &mut Vec<Firing>,
    ) -> u32 {
        let node = cx.set.node(index);
        let spec = &mut self.specs[index as usize];
        if let Some(at) = spec.places.get(&key.0) {
            return *at;
        }
        if spec.places.len() >= cx.settings.keys_per_shard_max.max(1)
            && let Some(victim) = spec.victim(u32::MAX)
        {
            spec.counters.evicted_keys += 1;
            if let Some((hash, mut state)) = spec.remove(victim) {
                flush(node, hash, &mut state, i64::MAX, out);
            }
        }
        let state = KeyState::new(node, key.1);
        let at = match spec.free.pop() {
            Some(at) => {
                spec.slots[at as usize] = Some((key.0, state));
                at
            }
            None => {
                spec.slots.push(Some((key.0, state)));
                (spec.slots.len() - 1) as u32
            }
        };
        spec.places.insert(key.0, at);
        at
    }

    /// Returns a key to its slot, keeping within budgets.
    fn put_back(&mut self, cx: &Context<'_>, index: u32, at: u32, hash: u128, mut state: KeyState) {
        let node = cx.set.node(index);
        let spec = &mut self.specs[index as usize];
        let most = node.entries_max();
        let crowded = spec.entries + state.entries.len() > cx.settings.entries_per_shard_max;
        if state.entries.len() > most || (crowded && state.entries.len() > most / 16) {
            let goal = state.entries.len().min(most);
            let (folded, dropped) = state.shrink(node, goal);
            spec.counters.folded += folded;
            spec.counters.dropped += dropped;
        }
        if crowded && let Some(victim) = spec.victim(at) {
            // Many small keys fill the budget: the least of them goes.
            spec.counters.evicted_keys += 1;
            spec.remove(victim);
        }
        if state.timer == 0 {
            state.timer = due(node, cx.settings.lateness_ns, &state);
            spec.timers.insert((state.timer, at));
        }
        if !state.listed && state.episodes.iter().any(|e| e.dirty) {
            state.listed = true;
            spec.dirty.push(at);
        }
        spec.entries += state.entries.len();
        spec.slots[at as usize] = Some((hash, state));
    }

    /// A key untouched for too long starts anew, whether or not a tick has swept it yet.
    fn forget_idle(
        &mut self,
        cx: &Context<'_>,
        index: u32,
        hash: u128,
        now: i64,
        out: &mut Vec<Firing>,
    ) {
        let node = cx.set.node(index);
        let spec = &self.specs[index as usize];
        let Some(at) = spec.places.get(&hash).copied() else { return };
        let idle = node.idle_ns(cx.settings.lateness_ns);
        let last = spec.get(hash).map_or(now, |s| s.last_stream);
        if now > last.saturating_add(idle) {
            self.retire(cx, index, at, now, out);
        }
    }

    /// Decides what is open, says what is unsaid, forgets the key.
    fn retire(&mut self, cx: &Context<'_>, index: u32, at: u32, now: i64, out: &mut Vec<Firing>) {
        self.close_all(cx, index, at, now, out);
        let node = cx.set.node(index);
        if let Some((hash, mut state)) = self.specs[index as usize].remove(at) {
            flush(node, hash, &mut state, i64::MAX, out);
        }
    }

    /// Decides every open window of a key.
    fn close_all(
        &mut self,
        cx: &Context<'_>,
        index: u32,
        at: u32,
        now: i64,
        out: &mut Vec<Firing>,
    ) {
        let node = cx.set.node(index);
        if node.decide == Decide::OnArrival {
            return;
        }
        let spec = &mut self.specs[index as usize];
        let Some((hash, mut state)) = spec.slots[at as usize].take() else { return };
        spec.entries -= state.entries.len();
        let mut changes = Changes::default();
        self.close(cx, node, hash, &mut state, None, now, &mut changes);
        let last = state.entries.back().copied();
        let id = last.map(|e| e.id).unwrap_or_default();
        let cause = Cause { id, t: last.map_or(0, |e| e.t), stream_ns: now };
        let up = upward(node, &state, &changes, cause);
        announce(node, hash, &mut state, &mut changes, out);
        let text = state.text.clone();
        self.put_back(cx, index, at, hash, state);
        self.climb(cx, node, (hash, &text), up, cause, out);
    }

    /// Advances time: closes windows, says what grew, forgets idle keys.
    pub(super) fn tick(&mut self, cx: &Context<'_>, now: i64, out: &mut Vec<Firing>) {
        for index in 0..self.specs.len() as u32 {
            let node = cx.set.node(index);
            if let SpecKind::FirstSeen { expire_days, .. } = node.spec.kind {
                self.specs[index as usize].seen.turn(Seen::day_of(now), expire_days);
                continue;
            }
            while let Some((when, at)) = self.specs[index as usize].timers.first().copied() {
                if when > now {
                    break;
                }
                self.timer(cx, index, at, now, out);
            }
        }
        self.say_updates(cx, now, out);
    }

    fn timer(&mut self, cx: &Context<'_>, index: u32, at: u32, now: i64, out: &mut Vec<Firing>) {
        let node = cx.set.node(index);
        let lateness = cx.settings.lateness_ns;
        let spec = &mut self.specs[index as usize];
        spec.timers.pop_first();
        let Some((_, state)) = spec.slots[at as usize].as_mut() else { return };
        state.timer = 0;
        let quiet_for = now.saturating_sub(state.last_stream);
        if quiet_for > node.idle_ns(lateness) {
            self.retire(cx, index, at, now, out);
            return;
        }
        let closes = quiet_for >= node.close_delay_ns(lateness) && state.is_open();
        if closes && node.decide != Decide::OnArrival {
            self.close_all(cx, index, at, now, out);
        }
        let spec = &mut self.specs[index as usize];
        if let Some((_, state)) = spec.slots[at as usize].as_mut()
            && state.timer == 0
        {
            state.timer = due(node, lateness, state).max(now + 1);
            spec.timers.insert((state.timer, at));
        }
    }

    /// Sends updates that are due.
    fn say_updates(&mut self, cx: &Context<'_>, now: i64, out: &mut Vec<Firing>) {
        for (index, spec) in self.specs.iter_mut().enumerate() {
            let node = cx.set.node(index as u32);
            let mut waiting = Vec::new();
            for at in std::mem::take(&mut spec.dirty) {
                let Some((hash, state)) = spec.slots[at as usize].as_mut() else { continue };
                flush(node, *hash, state, now, out);
                state.listed = state.episodes.iter().any(|e| e.dirty);
                if state.listed {
                    waiting.push(at);
                }
            }
            spec.dirty = waiting;
        }
    }

    /// Decides everything as if nothing came any more.
    pub(super) fn finish(&mut self, cx: &Context<'_>, out: &mut Vec<Firing>) {
        for index in 0..self.specs.len() as u32 {
            for at in 0..self.specs[index as usize].slots.len() as u32 {
                let slot = &self.specs[index as usize].slots[at as usize];
                if let Some(now) = slot.as_ref().map(|(_, s)| s.last_stream) {
                    self.close_all(cx, index, at, now, out);
                }
            }
        }
        self.say_updates(cx, i64::MAX, out);
    }
}

/// When to look at a key again.
fn due(node: &Node, lateness_ns: i64, state: &KeyState) -> i64 {
    let delay = match node.decide != Decide::OnArrival && state.is_open() {
        true => node.close_delay_ns(lateness_ns),
        false => node.idle_ns(lateness_ns).saturating_add(1),
    };
    state.last_stream.saturating_add(delay).max(1)
}

/// Entries for the parents: each qualifying window for temporal kinds, each new episode for the
/// kinds that count.
fn upward(
    node: &Node,
    state: &KeyState,
    changes: &Changes,
    cause: Cause,
) -> Vec<(usize, Vec<Entry>)> {
    let mut out = Vec::new();
    if node.parents.is_empty() || changes.ends.is_empty() {
        return out;
    }
    let new = state.episodes.iter().find(|e| !e.announced);
    for (place, (_, slot)) in node.parents.iter().enumerate() {
        let entry = |t: i64, id, start| Entry {
            t,
            id,
            start,
            value: u64::from(*slot),
            weight: 1,
            rows: 1,
            label: 0,
            slot: *slot,
        };
        let entries: Vec<Entry> = match node.parents_walk[place] {
            true => changes.ends.iter().map(|(t, id, start)| entry(*t, *id, *start)).collect(),
            false => new.iter().map(|e| entry(cause.t, e.fired_by, e.first)).collect(),
        };
        if !entries.is_empty() {
            out.push((place, entries));
        }
    }
    out
}

/// Says joins and new episodes at once.
fn announce(
    node: &Node,
    hash: u128,
    state: &mut KeyState,
    changes: &mut Changes,
    out: &mut Vec<Firing>,
) {
    for (mut gone, into) in changes.merged.drain(..) {
        if gone.announced && node.speaks {
            out.push(firing(node, hash, &state.text, &mut gone, FiringKind::MergedInto(into)));
        }
    }
    let KeyState { episodes, text, .. } = state;
    for episode in episodes.iter_mut().filter(|e| !e.announced) {
        episode.announced = true;
        episode.dirty = false;
        if node.speaks {
            out.push(firing(node, hash, text, episode, FiringKind::New));
        }
    }
}

/// Says updates that are due at `now` (all of them at the end of time).
fn flush(node: &Node, hash: u128, state: &mut KeyState, now: i64, out: &mut Vec<Firing>) {
    let KeyState { episodes, text, .. } = state;
    for episode in episodes.iter_mut().filter(|e| e.dirty && e.next_update <= now) {
        episode.dirty = false;
        episode.next_update = now.saturating_add(episode.pause);
        episode.pause = (episode.pause * 2).min(UPDATE_PAUSE_MAX_NS);
        if node.speaks {
            out.push(firing(node, hash, text, episode, FiringKind::Update));
        }
    }
}

fn firing(node: &Node, key: u128, text: &[u8], episode: &mut Episode, kind: FiringKind) -> Firing {
    episode.evidence.sort_unstable();
    let surplus = episode.evidence.len().saturating_sub(EVIDENCE_MAX);
    episode.evidence.drain(..surplus);
    let cause = match kind {
        FiringKind::New => episode.fired_by,
        _ => episode.cause,
    };
    Firing {
        kind,
        rule: node.spec.rule,
        rule_id: node.spec.id.clone(),
        rule_type: node.spec.kind.name(),
        key,
        group: node.spec.group_by.iter().cloned().zip(values(text)).collect(),
        fired_by: episode.fired_by,
        cause,
        trigger: EventId::default(),
        event_ns: episode.cause_ns,
        stream_ns: episode.stream_ns,
        first_ns: episode.first,
        last_ns: episode.last,
        timespan_ns: node.spec.timespan_ns,
        measured: episode.measured,
        condition: node.condition.clone(),
        evidence: episode.evidence.clone(),
        events: episode.events,
        weight: episode.weight,
    }
}

fn first_seen(node: &Node, hit: &Hit) -> Firing {
    let rule = match node.spec.references[usize::from(hit.slot)].target {
        Target::Rule(rule) => rule,
        Target::Correlation(_) => node.spec.rule,
    };
    Firing {
        kind: FiringKind::New,
        rule: node.spec.rule,
        rule_id: node.spec.id.clone(),
        rule_type: node.spec.kind.name(),
        key: hit.key.hash,
        group: node.spec.group_by.iter().cloned().zip(hit.key.values()).collect(),
        fired_by: hit.id,
        cause: hit.id,
        trigger: hit.id,
        event_ns: hit.event_ns,
        stream_ns: hit.stream_ns,
        first_ns: hit.event_ns,
        last_ns: hit.event_ns,
        timespan_ns: 0,
        measured: 1.0,
        condition: node.condition.clone(),
        evidence: vec![Contribution {
            event_ns: hit.event_ns,
            id: hit.id,
            rule,
            weight: hit.weight,
        }],
        events: 1,
        weight: u64::from(hit.weight),
    }
}
