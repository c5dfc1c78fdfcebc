//! One virtual shard: the keys of every correlation that hash to it.
//!
//! ```text
//! Hit --> correlation's keys --> window of the key --qualifying windows--> parent correlations
//!                                      \--> episodes --> Firing (new at once, updates at ticks)
//! ```
//! A chained correlation has the same key, hence the same shard, or all keys of the chain are here
//! (`lift`): nothing ever leaves it. Backfill is a second set of states beside the live one, worked by the same code.

use super::evidence::{Cause, Changes};
use super::firing::{Contribution, Firing};
use super::hit::{Hit, HitValue};
use super::keys::{SEEN_BYTES, SpecState};
use super::lift::{Arrival, OuterKeys, Stand, Upward};
use super::rise::Work;
use super::seen::Seen;
use super::settings::Settings;
use super::speak::{announce, first_seen, flush, upward};
use super::spec::{Decide, Node, SpecKind, SpecSet, TIMESPAN_MAX_NS, Target};
use super::window::{Entry, KeyState};

/// State of one virtual shard.
#[derive(Debug, Default)]
pub struct ShardState {
    pub(super) specs: Vec<SpecState>,
    /// States of the backfill pass; empty until its first hit.
    pub(super) backfill: Vec<SpecState>,
}

/// Everything a step needs beside the state.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) set: &'a SpecSet,
    pub(super) settings: &'a Settings,
    /// Stream time at which each correlation became active.
    pub(super) since: &'a [i64],
    /// This is the backfill pass.
    pub(super) backfill: bool,
}

impl Context<'_> {
    /// How far before the newest event of a key others are still put in their place. Backfill comes
    /// in any order of sources: there windows close when nothing more comes, not by event time.
    fn reach_ns(&self, hold_ns: i64) -> i64 {
        match self.backfill {
            true => TIMESPAN_MAX_NS,
            false => self.settings.lateness_ns.saturating_add(hold_ns),
        }
    }

    /// Memory of a correlation in this shard, bytes: all of it where all its keys are here.
    fn budget(&self, node: &Node, tight: bool) -> usize {
        match node.home {
            Some(_) => self.settings.bytes_per_rule,
            None => self.settings.shard_bytes(tight),
        }
    }

    fn idle_ns(&self, node: &Node, hold_ns: i64) -> i64 {
        node.idle_ns(self.settings.lateness_ns.saturating_add(hold_ns))
    }

    fn close_delay_ns(&self, node: &Node, hold_ns: i64) -> i64 {
        node.close_delay_ns(self.settings.lateness_ns.saturating_add(hold_ns))
    }
}

impl ShardState {
    pub(super) fn new(set: &SpecSet) -> Self {
        Self { specs: empty(set), backfill: Vec::new() }
    }

    /// Works in one hit.
    pub(super) fn hit(&mut self, cx: &Context<'_>, hit: &Hit, out: &mut Vec<Firing>) {
        let Some(state) = self.specs.get_mut(hit.spec as usize) else { return };
        state.counters.hits += 1;
        state.counters.backfill += u64::from(hit.backfill);
        let node = cx.set.node(hit.spec);
        if let SpecKind::FirstSeen { learn_for_ns, expire_days } = node.spec.kind {
            let HitValue::Print(print) = hit.value else { return };
            // Key and value together; both are keyed hashes already.
            let pair = print ^ hit.key.hash.rotate_left(41);
            let room = cx.settings.shard_bytes(state.tight) / SEEN_BYTES;
            let most = cx.settings.seen_per_shard_max.min(room);
            let sight = state.seen.look(pair, hit.stream_ns, expire_days, most);
            state.counters.evicted_values += u64::from(sight.evicted);
            let learning = hit.stream_ns < cx.since[hit.spec as usize].saturating_add(learn_for_ns);
            if sight.new && !learning {
                state.counters.episodes += 1;
                out.extend(node.speaks.then(|| first_seen(node, hit)));
            }
            return;
        }
        let from = out.len();
        if hit.backfill {
            if self.backfill.is_empty() {
                self.backfill = empty(cx.set);
            }
            self.in_backfill(cx, |shard, cx| shard.windowed(cx, hit, out));
        } else {
            self.windowed(cx, hit, out);
        }
        for firing in &mut out[from..] {
            firing.trigger = hit.id;
            firing.backfill = hit.backfill;
        }
    }

    /// Runs `step` with the states of the backfill pass in place of the live ones.
    fn in_backfill(&mut self, cx: &Context<'_>, step: impl FnOnce(&mut Self, &Context<'_>)) {
        std::mem::swap(&mut self.specs, &mut self.backfill);
        step(self, &Context { backfill: true, ..*cx });
        std::mem::swap(&mut self.specs, &mut self.backfill);
    }

    fn windowed(&mut self, cx: &Context<'_>, hit: &Hit, out: &mut Vec<Firing>) {
        let state = &mut self.specs[hit.spec as usize];
        if !cx.backfill {
            state.feed(hit.source);
            let lag = hit.stream_ns.saturating_sub(hit.event_ns);
            if lag > cx.settings.lateness_ns {
                state.hold_ns = state.hold_ns.max(lag.min(cx.settings.hold_max_ns));
            }
        }
        let entry = Entry::of(hit);
        let cause = Cause { id: hit.id, t: hit.event_ns, stream_ns: hit.stream_ns };
        let stand = |keys: &OuterKeys| Stand { t: hit.event_ns, keys: keys.clone() };
        let stands = hit.outer.iter().map(stand).collect();
        let arrival = Arrival { entry, stands, is_more: false, from: None };
        self.apply(cx, hit.spec, (hit.key.hash, &hit.key.text), &[arrival], cause, out);
    }

    /// Puts entries of one key into one correlation, and what follows from it into its parents.
    /// Recursion is bounded by the depth of chains.
    fn apply(
        &mut self,
        cx: &Context<'_>,
        index: u32,
        key: (u128, &[u8]),
        new: &[Arrival],
        cause: Cause,
        out: &mut Vec<Firing>,
    ) {
        let node = cx.set.node(index);
        self.forget_idle(cx, index, key.0, cause.stream_ns, out);
        let asked = self.ask(cx, index, key.0, new);
        let spec = &mut self.specs[index as usize];
        let prior = if new.len() == 1 { spec.prior(node, key.0, new[0].entry.t) } else { 0 };
        let mut first = None;
        let at = match spec.find(key.0) {
            Some(at) => at,
            None => {
                first = spec.packed.take(key.0).filter(|p| {
                    let idle = cx.idle_ns(node, spec.hold_ns);
                    cause.stream_ns <= p.stream_ns.saturating_add(idle)
                });
                if first.is_none() && new.len() == 1 && is_packed(node, &new[0].entry, prior) {
                    spec.pack(key.0, &new[0].entry, cause.stream_ns);
                    self.make_room(cx, index, u32::MAX, out);
                    return;
                }
                spec.open(key.0, KeyState::new(node, key.0, key.1))
            }
        };
        let Some(mut kept) = spec.take(at) else { return };
        let (hold, state) = (spec.hold_ns, &mut kept.1);
        if let Some(packed) = first {
            state.unpack(node, packed.entry());
        }
        state.last_stream = cause.stream_ns;
        let mut changes = Changes::default();
        let from = state.horizon(cause.stream_ns, cx.reach_ns(hold));
        let in_time = |e: &Entry| e.t >= from && e.t > state.sealed_t;
        let in_time = new.iter().filter(|a| in_time(&a.entry));
        // What was asked for was in time when it happened.
        let taken: Vec<&Arrival> = asked.iter().chain(in_time).collect();
        taken.iter().for_each(|arrival| state.note(arrival));
        let taken: Vec<Entry> = taken.iter().map(|a| a.entry).collect();
        spec.counters.late += (asked.len() + new.len() - taken.len()) as u64;
        if !taken.is_empty() {
            self.work(cx, node, kept.0, &mut kept.1, &taken, (cause, prior), &mut changes);
        }
        let horizon = kept.1.horizon(cause.stream_ns, cx.reach_ns(hold));
        if node.decide != Decide::OnArrival {
            self.close(
                cx,
                node,
                kept.0,
                &mut kept.1,
                (horizon, false),
                cause.stream_ns,
                &mut changes,
            );
        }
        kept.1.prune(node, horizon);
        self.speak(cx, index, (at, kept), key.1, changes, cause, out);
    }

    /// Says what changed, returns the state to its place, and tells the parents.
    #[allow(clippy::too_many_arguments, reason = "one step over one key")]
    fn speak(
        &mut self,
        cx: &Context<'_>,
        index: u32,
        (at, mut kept): (u32, Box<(u128, KeyState)>),
        text: &[u8],
        mut changes: Changes,
        cause: Cause,
        out: &mut Vec<Firing>,
    ) {
        let node = cx.set.node(index);
        let mut work = Work::default();
        let wants = |place: usize, hash: u128| self.wants(cx, node.parents[place].0, hash);
        let up = upward(node, &mut kept.1, &changes, cause, &wants, &mut work);
        let counters = &mut self.specs[index as usize].counters;
        counters.cut += work.cut;
        let hash = kept.0;
        announce(node, hash, &mut kept.1, &mut changes, counters, out);
        self.put_back(cx, index, at, kept, out);
        for Upward { place, key, arrivals } in up {
            let key = key.as_ref().map_or((hash, text), |key| (key.hash, &*key.text));
            self.apply(cx, node.parents[place].0, key, &arrivals, cause, out);
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
        cause: (Cause, u64),
        changes: &mut Changes,
    ) {
        let behind = |slot: u8, key: Option<u128>, span, out: &mut Vec<(Contribution, u32)>| {
            self.behind(cx, node, slot, key.unwrap_or(hash), span, out);
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
        horizon: (i64, bool),
        now: i64,
        changes: &mut Changes,
    ) {
        let behind = |slot: u8, key: Option<u128>, span, out: &mut Vec<(Contribution, u32)>| {
            self.behind(cx, node, slot, key.unwrap_or(hash), span, out);
        };
        state.close(node, horizon, now, &behind, changes);
    }

    /// The detection matches behind a chained entry: what the child's episodes hold in that span.
    fn behind(
        &self,
        cx: &Context<'_>,
        node: &Node,
        slot: u8,
        hash: u128,
        (from, to): (i64, i64),
        out: &mut Vec<(Contribution, u32)>,
    ) {
        let Some(child) = node.children[usize::from(slot)] else { return };
        let child_node = cx.set.node(child);
        let Some(state) = self.specs[child as usize].get(hash) else { return };
        let first = state.entries.partition_point(|e| e.t < from);
        let mut below: Vec<(u8, u128, i64)> = Vec::new();
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
                    let key = state.child_of(entry).unwrap_or(hash);
                    below.retain(|(slot, of, _)| (*slot, *of) != (entry.slot, key));
                    below.push((entry.slot, key, entry.t));
                }
            }
        }
        for (slot, key, until) in below {
            self.behind(cx, child_node, slot, key, (from, until), out);
        }
    }

    /// Returns a key to its slot, or packs or drops it, keeping within budgets.
    fn put_back(
        &mut self,
        cx: &Context<'_>,
        index: u32,
        at: u32,
        mut kept: Box<(u128, KeyState)>,
        out: &mut Vec<Firing>,
    ) {
        let node = cx.set.node(index);
        let spec = &mut self.specs[index as usize];
        let state = &mut kept.1;
        let quiet = state.episodes.is_empty() && !state.listed;
        let only = state.entries.front().filter(|e| state.entries.len() == 1 && e.rows == 1);
        if quiet && node.packs() && only.is_some_and(|e| e.label == 0) {
            let entry = state.entries[0];
            spec.forget(at, &kept);
            spec.pack(kept.0, &entry, kept.1.last_stream);
            return self.make_room(cx, index, u32::MAX, out);
        }
        let most = node.entries_max();
        let budget = cx.budget(node, spec.tight);
        let crowded = spec.bytes() + state.bytes() > budget && state.entries.len() > most / 16;
        if state.entries.len() > most || crowded {
            let goal = state.entries.len().min(most);
            let (folded, dropped) = state.shrink(node, goal);
            spec.counters.folded += folded;
            spec.counters.dropped += dropped;
        }
        if state.timer == 0 {
            state.timer = due(cx, node, spec.hold_ns, state);
            spec.timers.insert((state.timer, at));
        }
        if !state.listed && state.episodes.iter().any(|e| e.dirty) {
            state.listed = true;
            spec.dirty.push(at);
        }
        spec.put(at, kept);
        self.make_room(cx, index, at, out);
    }

    /// Lets keys go until the budget is kept: packed ones first, the longest untouched before others.
    fn make_room(&mut self, cx: &Context<'_>, index: u32, but: u32, out: &mut Vec<Firing>) {
        let node = cx.set.node(index);
        let spec = &mut self.specs[index as usize];
        let budget = cx.budget(node, spec.tight);
        while spec.bytes() > budget {
            if let Some(gone) = spec.packed.pop() {
                spec.counters.sketched += 1;
                spec.remember(node, cx.settings, gone.key(), &[gone.entry()]);
                continue;
            }
            let Some(mut kept) = spec.victim(but).and_then(|at| spec.remove(at)) else { break };
            spec.counters.evicted_keys += 1;
            flush(node, kept.0, &mut kept.1, i64::MAX, &mut spec.counters, out);
            let entries = kept.1.entries.make_contiguous();
            spec.remember(node, cx.settings, kept.0, entries);
        }
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
        let Some(at) = spec.find(hash) else { return };
        let idle = cx.idle_ns(node, spec.hold_ns);
        let last = spec.get(hash).map_or(now, |s| s.last_stream);
        if now > last.saturating_add(idle) {
            self.retire(cx, index, at, now, out);
        }
    }

    /// Decides what is open, says what is unsaid, forgets the key.
    fn retire(&mut self, cx: &Context<'_>, index: u32, at: u32, now: i64, out: &mut Vec<Firing>) {
        self.close_all(cx, index, at, now, out);
        let spec = &mut self.specs[index as usize];
        if let Some(mut kept) = spec.remove(at) {
            flush(cx.set.node(index), kept.0, &mut kept.1, i64::MAX, &mut spec.counters, out);
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
        let Some(mut kept) = self.specs[index as usize].take(at) else { return };
        let mut changes = Changes::default();
        self.close(cx, node, kept.0, &mut kept.1, (i64::MAX, true), now, &mut changes);
        let last = kept.1.entries.back().copied();
        let id = last.map(|e| e.id).unwrap_or_default();
        let cause = Cause { id, t: last.map_or(0, |e| e.t), stream_ns: now };
        let text = kept.1.text.clone();
        self.speak(cx, index, (at, kept), &text, changes, cause, out);
    }

    /// Advances time: closes windows, says what grew, forgets idle keys.
    pub(super) fn tick(&mut self, cx: &Context<'_>, now: i64, out: &mut Vec<Firing>) {
        self.pass(cx, now, out);
        if !self.backfill.is_empty() {
            let from = out.len();
            self.in_backfill(cx, |shard, cx| shard.pass(cx, now, out));
            out[from..].iter_mut().for_each(|f| f.backfill = true);
        }
    }

    fn pass(&mut self, cx: &Context<'_>, now: i64, out: &mut Vec<Firing>) {
        for index in 0..self.specs.len() as u32 {
            let node = cx.set.node(index);
            let spec = &mut self.specs[index as usize];
            if let SpecKind::FirstSeen { expire_days, .. } = node.spec.kind {
                spec.seen.turn(Seen::day_of(now), expire_days);
                continue;
            }
            let idle = cx.idle_ns(node, spec.hold_ns);
            while spec.packed.front().is_some_and(|p| p.stream_ns.saturating_add(idle) < now) {
                spec.packed.pop();
            }
            while let Some((when, at)) = self.specs[index as usize].timers.first().copied() {
                if when > now {
                    break;
                }
                self.timer(cx, index, at, now, out);
            }
            if self.specs[index as usize].tight {
                self.make_room(cx, index, u32::MAX, out);
            }
        }
        self.say_updates(cx, now, out);
    }

    fn timer(&mut self, cx: &Context<'_>, index: u32, at: u32, now: i64, out: &mut Vec<Firing>) {
        let node = cx.set.node(index);
        let spec = &mut self.specs[index as usize];
        let hold = spec.hold_ns;
        spec.timers.pop_first();
        let Some(kept) = spec.slots[at as usize].as_mut() else { return };
        kept.1.timer = 0;
        let quiet_for = now.saturating_sub(kept.1.last_stream);
        if quiet_for > cx.idle_ns(node, hold) {
            self.retire(cx, index, at, now, out);
            return;
        }
        let closes = quiet_for >= cx.close_delay_ns(node, hold) && kept.1.is_open(node);
        if closes {
            self.close_all(cx, index, at, now, out);
        }
        let spec = &mut self.specs[index as usize];
        if let Some(kept) = spec.slots[at as usize].as_mut()
            && kept.1.timer == 0
        {
            kept.1.timer = due(cx, node, hold, &kept.1).max(now + 1);
            spec.timers.insert((kept.1.timer, at));
        }
    }

    /// Sends updates that are due.
    fn say_updates(&mut self, cx: &Context<'_>, now: i64, out: &mut Vec<Firing>) {
        for (index, spec) in self.specs.iter_mut().enumerate() {
            let node = cx.set.node(index as u32);
            let mut waiting = Vec::new();
            for at in std::mem::take(&mut spec.dirty) {
                let Some(kept) = spec.slots[at as usize].as_mut() else { continue };
                flush(node, kept.0, &mut kept.1, now, &mut spec.counters, out);
                kept.1.listed = kept.1.episodes.iter().any(|e| e.dirty);
                if kept.1.listed {
                    waiting.push(at);
                }
            }
            spec.dirty = waiting;
        }
    }

    /// Decides everything as if nothing came any more.
    pub(super) fn finish(&mut self, cx: &Context<'_>, out: &mut Vec<Firing>) {
        self.decide_all(cx, out);
        let from = out.len();
        self.in_backfill(cx, |shard, cx| shard.decide_all(cx, out));
        out[from..].iter_mut().for_each(|f| f.backfill = true);
    }

    fn decide_all(&mut self, cx: &Context<'_>, out: &mut Vec<Firing>) {
        // Children before parents: closing one may open the other.
        for index in cx.set.order() {
            if self.specs.is_empty() {
                return;
            }
            for at in 0..self.specs[*index as usize].slots.len() as u32 {
                let slot = &self.specs[*index as usize].slots[at as usize];
                if let Some(now) = slot.as_ref().map(|kept| kept.1.last_stream) {
                    self.close_all(cx, *index, at, now, out);
                }
            }
        }
        self.say_updates(cx, i64::MAX, out);
    }
}

fn empty(set: &SpecSet) -> Vec<SpecState> {
    (0..set.len()).map(|_| SpecState::default()).collect()
}

/// Whether a new key's first event decides nothing by itself.
fn is_packed(node: &Node, entry: &Entry, prior: u64) -> bool {
    let alone = || node.alone(entry).is_none();
    let measure = match node.spec.kind {
        SpecKind::EventCount => f64::from(entry.weight),
        _ => 1.0,
    };
    let with_prior = || prior > 0 && node.holds(measure + prior as f64, &|_| false);
    node.packs() && alone() && !with_prior()
}

/// When to look at a key again.
fn due(cx: &Context<'_>, node: &Node, hold_ns: i64, state: &KeyState) -> i64 {
    let delay = match state.is_open(node) {
        true => cx.close_delay_ns(node, hold_ns),
        false => cx.idle_ns(node, hold_ns).saturating_add(1),
    };
    state.last_stream.saturating_add(delay).max(1)
}
