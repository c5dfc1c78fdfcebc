//! Chains whose correlations group by different things: what an event is to the outer ones.
//!
//! ```text
//! inner window of host h1   e1 ann . e2 bob . e3 bob --qualifies at e3--> outer, key ann: one occurrence
//!   each event with the outer keys that its fields give                   outer, key bob: one occurrence
//! ```
//! An outer correlation uses its own group-by alone, over the events of the inner one: a qualifying window
//! is one occurrence for each key that its evidence has. The occurrence ends where the window ends, and
//! begins where the shortest sufficient part begins, or earlier at the newest event that has the key. All
//! of this depends on the events in the window, not on the order in which they came.
//!
//! Keys that meet here hash to different shards, so the correlations of such a chain have one shard for
//! all their keys: still nothing ever leaves a shard.

use super::evidence::Changes;
use super::hit::Key;
use super::spec::{Decide, Node, SpecKind};
use super::window::{Entry, KeyState};
use event::EventId;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most keys for which one window is an occurrence, those of its newest events first: a window of a
/// thousand names must not cost a thousand windows more with each event.
pub(super) const KEYS_PER_WINDOW_MAX: usize = 256;
/// Most events of one window that are looked at for it, the newest first.
const EVENTS_PER_WINDOW_MAX: usize = 1_024;

/// Keys for the correlations above, by their numbers in [`Node::outer`]; none where a field is absent.
pub(super) type OuterKeys = Arc<[Option<Key>]>;

/// Where an entry stands in its window.
type Place = (i64, EventId, u8);

/// How a correlation is seen by one that builds on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rise {
    /// Number of the parent's key among the outer ones; none if both have the same group-by.
    pub(super) key: Option<usize>,
    /// For each outer key of the parent, its number here.
    pub(super) outer: Vec<usize>,
    /// Length of the parent's window, ns.
    pub(super) timespan_ns: i64,
}

/// An event that an entry rests on, as correlations above see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stand {
    pub(super) t: i64,
    pub(super) keys: OuterKeys,
}

/// An entry on its way into a correlation.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) entry: Entry,
    /// What it rests on; empty if no correlation above groups otherwise.
    pub(super) stands: Vec<Stand>,
    /// Key of the correlation that it comes from, if that is another one.
    pub(super) from: Option<u128>,
}

/// Arrivals for one key of a parent.
pub(super) struct Upward {
    /// Number among the parents.
    pub(super) place: usize,
    /// The parent's key and its text, if it is another one.
    pub(super) key: Option<Key>,
    pub(super) arrivals: Vec<Arrival>,
}

/// What a key keeps beside its entries.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Lifted {
    stands: BTreeMap<Place, Vec<Stand>>,
    from: BTreeMap<Place, u128>,
    /// Episodes that counting parents have been told of: label, number of the parent, its key.
    told: BTreeSet<(u32, u32, u128)>,
    bytes: usize,
}

impl Lifted {
    pub(super) fn bytes(&self) -> usize {
        self.bytes + (self.from.len() + self.told.len()) * 64
    }

    fn note(&mut self, arrival: &Arrival) {
        let place = place_of(&arrival.entry);
        if let Some(key) = arrival.from {
            self.from.insert(place, key);
        }
        if !arrival.stands.is_empty() {
            self.bytes += bytes_of(&arrival.stands);
            if let Some(old) = self.stands.insert(place, arrival.stands.clone()) {
                self.bytes -= bytes_of(&old);
            }
        }
    }

    /// Forgets what lies before the oldest entry, and episodes that are gone.
    fn trim(&mut self, oldest: Option<&Entry>, is_kept: impl Fn(u32) -> bool) {
        let from = oldest.map_or((i64::MAX, EventId::default(), 0), place_of);
        let kept = self.stands.split_off(&from);
        self.bytes -= self.stands.values().map(|stands| bytes_of(stands)).sum::<usize>();
        self.stands = kept;
        self.from = self.from.split_off(&from);
        self.told.retain(|(label, ..)| is_kept(*label));
    }
}

impl KeyState {
    /// Keeps what an arrival brings beside its entry.
    pub(super) fn note(&mut self, arrival: &Arrival) {
        if arrival.from.is_some() || !arrival.stands.is_empty() {
            self.lifted.get_or_insert_default().note(arrival);
        }
    }

    /// Forgets what belongs to no entry any more.
    pub(super) fn trim_lifted(&mut self) {
        let Some(mut lifted) = self.lifted.take() else { return };
        lifted.trim(self.entries.front(), |label| self.is_kept(label));
        self.lifted = Some(lifted);
    }

    /// Key of the correlation that a chained entry came from, if that is another one.
    pub(super) fn child_of(&self, entry: &Entry) -> Option<u128> {
        self.lifted.as_ref()?.from.get(&place_of(entry)).copied()
    }

    /// What the window that ends with an event rests on, newest first.
    fn stands_of(&self, node: &Node, t: i64, id: EventId) -> Vec<&Stand> {
        let Some(lifted) = &self.lifted else { return Vec::new() };
        // Of an order, what happened in the same instant may be a step before its last.
        let same_instant = node.spec.kind == SpecKind::TemporalOrdered;
        let within = |e: &Entry| e.t < t || (e.t == t && (same_instant || e.id <= id));
        let end = self.entries.partition_point(within);
        let Some(last) = end.checked_sub(1) else { return Vec::new() };
        let from = match node.decide {
            Decide::OnLeaving => self.entries.partition_point(|e| (e.t, e.id) < (t, id)),
            _ => self.lower(node, last),
        };
        let evidence = self.entries.range(from..end).rev().filter(|e| e.label != 0);
        let stands = evidence
            .take(EVENTS_PER_WINDOW_MAX)
            .filter_map(|e| lifted.stands.get(&place_of(e)))
            .flatten();
        let mut stands: Vec<&Stand> = stands.collect();
        stands.sort_by_key(|stand| std::cmp::Reverse(stand.t));
        stands
    }

    /// The windows that qualified as occurrences for a parent of another group-by; it counts episodes
    /// unless it `walks` them.
    pub(super) fn rise(
        &mut self,
        node: &Node,
        place: usize,
        changes: &Changes,
        chained: impl Fn(i64, EventId, i64) -> Entry,
    ) -> Vec<Upward> {
        let rise = &node.rises[place];
        let (Some(number), walks) = (rise.key, node.parents_walk[place]) else { return Vec::new() };
        let own = self.hash;
        let mut out: Vec<Upward> = Vec::new();
        let mut places: HashMap<u128, usize> = HashMap::new();
        for (t, id, start) in &changes.ends {
            let mut by_key: Vec<(Key, i64, Vec<Stand>)> = Vec::new();
            for stand in self.stands_of(node, *t, *id) {
                let Some(key) = &stand.keys[number] else { continue };
                let handed = rise.handed(stand);
                match by_key.iter().position(|known| known.0.hash == key.hash) {
                    Some(known) => add(&mut by_key[known].2, handed),
                    None if by_key.len() < KEYS_PER_WINDOW_MAX => {
                        by_key.push((key.clone(), stand.t, handed.into_iter().collect()));
                    }
                    None => {}
                }
            }
            for (key, newest, stands) in by_key {
                let begin = newest.min(*start);
                let entry = match walks {
                    // No window of the parent could hold it.
                    true if begin < t.saturating_sub(rise.timespan_ns) => continue,
                    true => chained(*t, *id, begin),
                    false => match self.tell_episode(place, (*t, *id), key.hash) {
                        Some((fired_by, first)) => chained(*t, fired_by, first),
                        None => continue,
                    },
                };
                let arrival = Arrival { entry, stands, from: Some(own) };
                let at = *places.entry(key.hash).or_insert(out.len());
                if at == out.len() {
                    out.push(Upward { place, key: Some(key), arrivals: Vec::new() });
                }
                out[at].arrivals.push(arrival);
            }
        }
        out
    }

    /// The episode of the window that ends with an event, if a counting parent has not been told of it
    /// under this key: what it is called and where it begins.
    fn tell_episode(
        &mut self,
        place: usize,
        (t, id): (i64, EventId),
        key: u128,
    ) -> Option<(EventId, i64)> {
        let at = self.entries.partition_point(|e| (e.t, e.id) < (t, id));
        let label = self.entries.get(at)?.label;
        let episode = self.episodes.iter().rev().find(|e| e.label == label)?;
        let is_new = self.lifted.as_mut()?.told.insert((label, place as u32, key));
        is_new.then_some((episode.fired_by, episode.first))
    }

    /// What a window hands on to a parent of the same group-by.
    pub(super) fn handed_on(
        &self,
        node: &Node,
        place: usize,
        (t, id): (i64, EventId),
    ) -> Vec<Stand> {
        let rise = &node.rises[place];
        let mut out = Vec::new();
        for stand in self.stands_of(node, t, id) {
            add(&mut out, rise.handed(stand));
        }
        out
    }
}

impl Rise {
    /// What an event is to the parent's own parents.
    fn handed(&self, stand: &Stand) -> Option<Stand> {
        let keys = || self.outer.iter().map(|number| stand.keys[*number].clone()).collect();
        (!self.outer.is_empty()).then(|| Stand { t: stand.t, keys: keys() })
    }
}

/// Adds what has keys of its own; they come newest first.
fn add(list: &mut Vec<Stand>, stand: Option<Stand>) {
    if let Some(stand) = stand
        && list.len() < KEYS_PER_WINDOW_MAX
        && !list.iter().any(|known| known.keys == stand.keys)
    {
        list.push(stand);
    }
}

fn place_of(entry: &Entry) -> Place {
    (entry.t, entry.id, entry.slot)
}

fn bytes_of(stands: &[Stand]) -> usize {
    let key = |key: &Key| size_of::<Key>() + key.text.len();
    let of = |stand: &Stand| 32 + stand.keys.iter().flatten().map(key).sum::<usize>();
    96 + stands.iter().map(of).sum::<usize>()
}
