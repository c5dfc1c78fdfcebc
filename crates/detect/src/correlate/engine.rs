//! All shards together: the order in which hits are worked in, time, reload, snapshots.

use super::firing::{Firing, sort_firings};
use super::hit::Hit;
use super::keys::{Counters, SpecState};
use super::settings::{SHARDS, Settings};
use super::shard::{Context, ShardState};
use super::spec::{Spec, SpecSet, Target};
use hashbrown::HashMap;
use std::sync::Arc;

/// The correlation engine. A pure state machine: the same hits and ticks give the same firings.
#[derive(Debug)]
pub struct Engine {
    pub(super) set: Arc<SpecSet>,
    pub(super) settings: Settings,
    pub(super) shards: Vec<ShardState>,
    /// Per correlation, stream time of its activation; `i64::MIN` until the first hit or tick.
    pub(super) since: Vec<i64>,
}

/// One correlation in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleStats {
    /// The rule's id.
    pub id: Arc<str>,
    /// What happened, degradations included.
    pub counters: Counters,
    /// Keys held, or values remembered.
    pub groups: u64,
    /// Of those, keys in the compact form.
    pub packed: u64,
    /// Memory of the state, about, in bytes.
    pub bytes: u64,
    /// Memory of its sketches, in bytes.
    pub sketch_bytes: u64,
    /// How long its windows are held open for lagging sources, ns.
    pub held_ns: i64,
    /// It is beyond its budget: keys are let go.
    pub tight: bool,
}

/// A set of shards, to be driven by one thread.
#[derive(Debug)]
pub struct Part<'a> {
    set: &'a SpecSet,
    settings: &'a Settings,
    since: &'a [i64],
    first: usize,
    shards: &'a mut [ShardState],
}

impl Engine {
    /// An engine with empty state. `Arc` the set once per generation and share it with the
    /// extractor.
    pub fn new(set: Arc<SpecSet>, settings: Settings) -> Self {
        let shards = (0..SHARDS).map(|_| ShardState::new(&set)).collect();
        let since = vec![i64::MIN; set.len()];
        Self { set, settings, shards, since }
    }

    /// The correlations it runs.
    pub fn specs(&self) -> &Arc<SpecSet> {
        &self.set
    }

    /// Works in the hits of a batch, which are in EventId order, and appends what fires, sorted by
    /// [`sort_firings`]. `now_stream_ns` is the stream time of the batch's last row; it moves no
    /// timers, so results do not depend on how rows were cut into batches.
    pub fn process(&mut self, hits: impl AsRef<[Hit]>, now_stream_ns: i64, out: &mut Vec<Firing>) {
        let hits = hits.as_ref();
        let from = out.len();
        self.activate(hits.first().map_or(now_stream_ns, |h| h.stream_ns));
        let cx = Context {
            set: &self.set,
            settings: &self.settings,
            since: &self.since,
            backfill: false,
        };
        for hit in hits {
            self.shards[self.set.shard_of(hit)].hit(&cx, hit, out);
        }
        sort_firings(&mut out[from..]);
    }

    /// Stream time has reached `now_stream_ns`: call for every tick record, never between. Closes
    /// windows, sends pending updates, forgets idle keys; sorted as by [`Engine::process`].
    ///
    /// No source lags; see [`Engine::tick_with`].
    pub fn tick(&mut self, now_stream_ns: i64, out: &mut Vec<Firing>) {
        self.tick_with(now_stream_ns, &[], out);
    }

    /// As [`Engine::tick`], with the sources that lag now and by how much ([`super::Lags`]): windows
    /// of the rules they feed are held open for so long, within the settings' bound.
    pub fn tick_with(&mut self, now_stream_ns: i64, lagging: &[(u64, i64)], out: &mut Vec<Firing>) {
        let from = out.len();
        self.activate(now_stream_ns);
        self.weigh(lagging);
        let cx = Context {
            set: &self.set,
            settings: &self.settings,
            since: &self.since,
            backfill: false,
        };
        for shard in &mut self.shards {
            shard.tick(&cx, now_stream_ns, out);
        }
        sort_firings(&mut out[from..]);
    }

    /// Nothing comes any more (end of a hunt or a rule test): decides every open window and sends
    /// what is pending.
    pub fn finish(&mut self, out: &mut Vec<Firing>) {
        let from = out.len();
        let cx = Context {
            set: &self.set,
            settings: &self.settings,
            since: &self.since,
            backfill: false,
        };
        for shard in &mut self.shards {
            shard.finish(&cx, out);
        }
        sort_firings(&mut out[from..]);
    }

    /// What is decided over all shards once per tick, before the shards' own ticks: how long rules
    /// wait for lagging sources, and which are beyond their budget. [`Engine::tick_with`] does it;
    /// whoever drives parts calls it before a tick.
    pub fn weigh(&mut self, lagging: &[(u64, i64)]) {
        for index in 0..self.set.len() {
            for backfill in [false, true] {
                let pass = |s: &ShardState| if backfill { s.backfill.len() } else { s.specs.len() };
                let of = |s: &ShardState| -> usize {
                    let list = if backfill { &s.backfill } else { &s.specs };
                    list.get(index).map_or(0, SpecState::bytes)
                };
                if self.shards.iter().all(|s| pass(s) == 0) {
                    continue;
                }
                let bytes: usize = self.shards.iter().map(of).sum();
                let tight = bytes > self.settings.bytes_per_rule;
                for shard in &mut self.shards {
                    let list = if backfill { &mut shard.backfill } else { &mut shard.specs };
                    if let Some(spec) = list.get_mut(index) {
                        // Once over, a rule stays tight until it has shrunk well below.
                        spec.tight =
                            tight || (spec.tight && bytes > self.settings.bytes_per_rule / 2);
                    }
                }
            }
            let feeds = |source: u64| self.shards.iter().any(|s| s.specs[index].is_fed_by(source));
            let lags = lagging.iter().filter(|(source, _)| feeds(*source)).map(|l| l.1);
            let hold = lags.max().unwrap_or(0).clamp(0, self.settings.hold_max_ns);
            self.shards.iter_mut().for_each(|s| s.specs[index].hold_ns = hold);
        }
    }

    /// The shards in `count` parts for as many threads. Every part is given all hits of the batch
    /// and takes its own; `first_stream_ns` is the stream time of the batch's first hit (or of the
    /// tick). Afterwards put the outputs together and call [`sort_firings`]: the result is that of
    /// [`Engine::process`] for any `count`.
    pub fn split(&mut self, count: usize, first_stream_ns: i64) -> Vec<Part<'_>> {
        self.activate(first_stream_ns);
        let size = SHARDS.div_ceil(count.clamp(1, SHARDS));
        let (set, settings, since) = (&*self.set, &self.settings, &*self.since);
        let chunks = self.shards.chunks_mut(size).enumerate();
        chunks.map(|(i, shards)| Part { set, settings, since, first: i * size, shards }).collect()
    }

    /// Goes over to another set of correlations. State of those whose id and hash are unchanged is
    /// kept; returns the ids that lost theirs.
    pub fn reload(&mut self, set: Arc<SpecSet>) -> Vec<Arc<str>> {
        let old = std::mem::replace(&mut self.set, set);
        let old_since = std::mem::take(&mut self.since);
        let mut kept: HashMap<Arc<str>, u32> = HashMap::new();
        let mut lost = Vec::new();
        let now: HashMap<&str, &Spec> = self.set.specs().map(|s| (&*s.id, s)).collect();
        for (index, spec) in old.specs().enumerate() {
            match now.get(&*spec.id).is_some_and(|s| s.hash == spec.hash) {
                true => {
                    kept.insert(spec.id.clone(), index as u32);
                }
                false => lost.push(spec.id.clone()),
            }
        }
        let numbers = renumbering(kept.values().map(|i| &old.node(*i).spec), &now);
        self.since = self
            .set
            .specs()
            .map(|s| kept.get(&s.id).map_or(i64::MIN, |i| old_since[*i as usize]))
            .collect();
        for shard in &mut self.shards {
            for list in [&mut shard.specs, &mut shard.backfill] {
                if list.is_empty() && !old.is_empty() {
                    continue;
                }
                let mut before: Vec<Option<SpecState>> =
                    std::mem::take(list).into_iter().map(Some).collect();
                for (index, spec) in self.set.specs().enumerate() {
                    let state = kept.get(&spec.id).and_then(|i| before[*i as usize].take());
                    let mut state = state.unwrap_or_default();
                    state.renumber(&numbers);
                    state.rebuild(self.set.node(index as u32));
                    list.push(state);
                }
            }
        }
        lost
    }

    /// What each correlation holds and what happened to it, in the set's order.
    pub fn stats(&self) -> Vec<RuleStats> {
        self.set.specs().enumerate().map(|(index, spec)| self.stats_of(index, spec)).collect()
    }

    fn stats_of(&self, index: usize, spec: &Spec) -> RuleStats {
        let mut out = RuleStats { id: spec.id.clone(), ..RuleStats::default() };
        let states = self
            .shards
            .iter()
            .flat_map(|s| s.specs.get(index).into_iter().chain(s.backfill.get(index)));
        for state in states {
            out.counters.add(&state.counters);
            out.groups += (state.keys() + state.seen.len()) as u64;
            out.packed += state.packed.len() as u64;
            out.bytes += state.bytes() as u64;
            out.sketch_bytes += state.sketch_bytes() as u64;
            out.held_ns = out.held_ns.max(state.hold_ns);
            out.tight |= state.tight;
        }
        out
    }

    /// Number of keys held now, over all correlations.
    pub fn keys(&self) -> usize {
        let specs = self.shards.iter().flat_map(|s| s.specs.iter().chain(&s.backfill));
        specs.map(|s| s.keys() + s.seen.len()).sum()
    }

    fn activate(&mut self, stream_ns: i64) {
        for since in self.since.iter_mut().filter(|s| **s == i64::MIN) {
            *since = stream_ns;
        }
    }
}

impl Part<'_> {
    /// As [`Engine::process`], for the part's own shards.
    pub fn process(&mut self, hits: &[Hit], out: &mut Vec<Firing>) {
        let cx =
            Context { set: self.set, settings: self.settings, since: self.since, backfill: false };
        for hit in hits {
            let at = self.set.shard_of(hit).checked_sub(self.first);
            if let Some(shard) = at.and_then(|i| self.shards.get_mut(i)) {
                shard.hit(&cx, hit, out);
            }
        }
    }

    /// As [`Engine::tick`], for the part's own shards.
    pub fn tick(&mut self, now_stream_ns: i64, out: &mut Vec<Firing>) {
        let cx =
            Context { set: self.set, settings: self.settings, since: self.since, backfill: false };
        for shard in self.shards.iter_mut() {
            shard.tick(&cx, now_stream_ns, out);
        }
    }
}

/// Old to new numbers of the detection rules that kept correlations reference: their references are
/// the same ones in the same order.
pub(super) fn renumbering<'a>(
    old: impl Iterator<Item = &'a Spec>,
    now: &HashMap<&str, &Spec>,
) -> HashMap<u32, u32> {
    let mut numbers = HashMap::new();
    for spec in old {
        let Some(new) = now.get(&*spec.id) else { continue };
        for (a, b) in spec.references.iter().zip(&new.references) {
            if let (Target::Rule(a), Target::Rule(b)) = (&a.target, &b.target) {
                numbers.insert(*a, *b);
            }
        }
    }
    numbers
}
