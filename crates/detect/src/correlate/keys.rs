//! The keys of one correlation in one shard, within a budget.
//!
//! ```text
//! slots    whole states: two events or more, or an episode     timers: when to look again
//! packed   one event, no episode: 64 bytes, in order of arrival
//! sketch   what had to go (only once the budget was exceeded)
//! ```
//! A flood of keys evicts packed keys first, then whole ones with the fewest entries; what goes is
//! counted in the sketch, so a slow attack still adds up.

use super::lift::Outer;
use super::packed::{Packed, PackedKeys};
use super::seen::Seen;
use super::settings::{EVICTION_SAMPLE, FEEDS_MAX, Settings};
use super::sketch::Sketch;
use super::spec::{Node, SpecKind};
use super::window::{Entry, KeyState};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of one value that `first_seen` remembers, with its share of the index.
pub(super) const SEEN_BYTES: usize = 56;

/// What happened, per correlation. Everything from `late` on is a degradation: zero means exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Hits taken in.
    pub hits: u64,
    /// Of those, hits of the backfill pass.
    pub backfill: u64,
    /// Episodes begun.
    pub episodes: u64,
    /// Revisions: updates of episodes.
    pub updates: u64,
    /// Revisions: episodes joined to older ones by late events.
    pub merged: u64,
    /// Events that came later than lateness and hold allow and were left out.
    pub late: u64,
    /// Keys with one event whose event went into the sketch for want of room.
    pub sketched: u64,
    /// Whole keys forgotten for want of room (their counts are in the sketch where the kind has one).
    pub evicted_keys: u64,
    /// Episodes begun on what the sketch says: their count is an upper bound.
    pub estimated: u64,
    /// Remembered values forgotten for want of room (`first_seen`).
    pub evicted_values: u64,
    /// Entries folded into neighbours of the same kind: counts stay, single events are lost.
    pub folded: u64,
    /// Entries dropped from the old end of an overfull window.
    pub dropped: u64,
    /// Windows, or keys of correlations above with another group-by, that were not told of what changed
    /// there, because one event would have cost too much.
    pub cut: u64,
}

impl Counters {
    /// All of them by name, in their order.
    pub fn each(&self) -> [(&'static str, u64); 13] {
        [
            ("hits", self.hits),
            ("backfill", self.backfill),
            ("episodes", self.episodes),
            ("updates", self.updates),
            ("merged", self.merged),
            ("late", self.late),
            ("sketched", self.sketched),
            ("evicted_keys", self.evicted_keys),
            ("estimated", self.estimated),
            ("evicted_values", self.evicted_values),
            ("folded", self.folded),
            ("dropped", self.dropped),
            ("cut", self.cut),
        ]
    }

    /// Those that say what was given up, if anything was.
    pub fn degradations(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.each().into_iter().skip_while(|(name, _)| *name != "late").filter(|(_, n)| *n > 0)
    }

    /// Adds another shard's.
    pub fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.backfill += other.backfill;
        self.episodes += other.episodes;
        self.updates += other.updates;
        self.merged += other.merged;
        self.late += other.late;
        self.sketched += other.sketched;
        self.evicted_keys += other.evicted_keys;
        self.estimated += other.estimated;
        self.evicted_values += other.evicted_values;
        self.folded += other.folded;
        self.dropped += other.dropped;
        self.cut += other.cut;
    }
}

/// The keys of one correlation in one shard.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct SpecState {
    pub(super) slots: Vec<Option<Box<(u128, KeyState)>>>,
    free: Vec<u32>,
    hand: usize,
    pub(super) timers: BTreeSet<(i64, u32)>,
    pub(super) dirty: Vec<u32>,
    pub(super) packed: PackedKeys,
    sketch: Option<Sketch>,
    pub(super) seen: Seen,
    pub(super) counters: Counters,
    /// Hashes of the sources whose events came this way, ascending.
    feeds: Vec<u64>,
    /// How long windows are held open for lagging sources, ns.
    pub(super) hold_ns: i64,
    /// The rule as a whole is beyond its budget.
    pub(super) tight: bool,
    #[serde(skip)]
    bytes: usize,
    #[serde(skip)]
    places: HashMap<u128, u32>,
    /// For each key of correlations above that group otherwise, the keys here that have it.
    #[serde(skip)]
    outer: BTreeMap<Outer, BTreeSet<u128>>,
}

impl SpecState {
    /// Rebuilds what is not stored.
    pub(super) fn rebuild(&mut self, node: &Node) {
        self.seen.rebuild();
        self.places.clear();
        self.outer.clear();
        self.bytes = 0;
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if let Some(kept) = slot {
                self.places.insert(kept.0, at as u32);
                kept.1.rebuild(node);
                self.bytes += kept.1.bytes();
                for outer in kept.1.lifted.iter().flat_map(|lifted| lifted.outers()) {
                    self.outer.entry(outer).or_default().insert(kept.0);
                }
            }
        }
    }

    /// Gives rules their numbers in a new rule set.
    pub(super) fn renumber(&mut self, numbers: &HashMap<u32, u32>) {
        for kept in self.slots.iter_mut().flatten() {
            for (c, _) in kept.1.episodes.iter_mut().flat_map(|e| e.evidence.iter_mut()) {
                c.rule = numbers.get(&c.rule).copied().unwrap_or(c.rule);
            }
        }
    }

    pub(super) fn keys(&self) -> usize {
        self.places.len() + self.packed.len()
    }

    /// Memory in use, the sketch aside, which is bounded by itself.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.packed.bytes() + self.seen.len() * SEEN_BYTES
    }

    pub(super) fn sketch_bytes(&self) -> usize {
        self.sketch.as_ref().map_or(0, Sketch::bytes)
    }

    pub(super) fn find(&self, hash: u128) -> Option<u32> {
        self.places.get(&hash).copied()
    }

    pub(super) fn get(&self, hash: u128) -> Option<&KeyState> {
        self.slots[self.find(hash)? as usize].as_ref().map(|kept| &kept.1)
    }

    /// Takes a state out to work on it; [`SpecState::put`] returns it.
    pub(super) fn take(&mut self, at: u32) -> Option<Box<(u128, KeyState)>> {
        let kept = self.slots[at as usize].take()?;
        self.bytes -= kept.1.bytes();
        Some(kept)
    }

    pub(super) fn put(&mut self, at: u32, mut kept: Box<(u128, KeyState)>) {
        if let Some(lifted) = &mut kept.1.lifted {
            for outer in lifted.take_moved() {
                match lifted.has(outer) {
                    true => {
                        self.outer.entry(outer).or_default().insert(kept.0);
                    }
                    false => self.leave(outer, kept.0),
                }
            }
        }
        self.bytes += kept.1.bytes();
        self.slots[at as usize] = Some(kept);
    }

    /// A slot for a new key.
    pub(super) fn open(&mut self, hash: u128, state: KeyState) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.places.insert(hash, at);
        self.put(at, Box::new((hash, state)));
        at
    }

    pub(super) fn remove(&mut self, at: u32) -> Option<Box<(u128, KeyState)>> {
        let kept = self.take(at)?;
        self.forget(at, &kept);
        Some(kept)
    }

    /// The state of slot `at` has been taken out and will not come back.
    pub(super) fn forget(&mut self, at: u32, kept: &(u128, KeyState)) {
        self.places.remove(&kept.0);
        self.free.push(at);
        self.timers.remove(&(kept.1.timer, at));
        for outer in kept.1.lifted.iter().flat_map(|lifted| lifted.all_outers()) {
            self.leave(outer, kept.0);
        }
    }

    /// The keys that have a key of correlations above, in the order of their hashes.
    pub(super) fn with_outer(&self, outer: Outer) -> Vec<u128> {
        self.outer.get(&outer).into_iter().flatten().copied().collect()
    }

    fn leave(&mut self, outer: Outer, hash: u128) {
        if let Some(keys) = self.outer.get_mut(&outer) {
            keys.remove(&hash);
            if keys.is_empty() {
                self.outer.remove(&outer);
            }
        }
    }

    /// The key to give up: of a few, one without an open episode, with the fewest entries, longest
    /// untouched. A flood of new keys therefore evicts its own kind before a slow attack.
    pub(super) fn victim(&mut self, but: u32) -> Option<u32> {
        let len = self.slots.len();
        let hand = self.hand;
        let mut seen = 0;
        let mut best = None;
        for at in (0..len).map(|i| (hand + i) % len) {
            let Some(kept) = self.slots[at].as_ref().filter(|_| at as u32 != but) else { continue };
            let s = &kept.1;
            let rank = (!s.episodes.is_empty(), s.entries.len(), s.last_stream, at as u32);
            best = Some(best.map_or(rank, |b: (bool, usize, i64, u32)| b.min(rank)));
            seen += 1;
            self.hand = (at + 1) % len;
            if seen == EVICTION_SAMPLE {
                break;
            }
        }
        best.map(|b| b.3)
    }

    /// Counts what is being let go.
    pub(super) fn remember(
        &mut self,
        node: &Node,
        settings: &Settings,
        hash: u128,
        gone: &[Entry],
    ) {
        if !node.sketches() {
            return;
        }
        let new = || Sketch::new(node.spec.timespan_ns, settings.lateness_ns);
        let sketch = self.sketch.get_or_insert_with(new);
        for entry in gone {
            match node.spec.kind {
                SpecKind::EventCount => sketch.add(hash, entry.t, entry.weight),
                _ => sketch.add_value(hash, entry.t, entry.value),
            }
        }
    }

    /// The most that may be missing from the window of a key that ends at `t`.
    pub(super) fn prior(&self, node: &Node, hash: u128, t: i64) -> u64 {
        let count = |s: &Sketch| s.count(hash, node.edge(t), t);
        self.sketch.as_ref().map_or(0, count)
    }

    /// Packs a key that has one event.
    pub(super) fn pack(&mut self, hash: u128, entry: &Entry, stream_ns: i64) {
        self.packed.push(Packed::new(hash, entry, stream_ns));
    }

    /// Notes who feeds the rule.
    pub(super) fn feed(&mut self, source: u64) {
        if let Err(place) = self.feeds.binary_search(&source)
            && self.feeds.len() < FEEDS_MAX
        {
            self.feeds.insert(place, source);
        }
    }

    pub(super) fn is_fed_by(&self, source: u64) -> bool {
        self.feeds.len() >= FEEDS_MAX || self.feeds.binary_search(&source).is_ok()
    }
}
