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
//! How occurrences go up: `rise`.
//!
//! Keys that meet here hash to different shards, so the correlations of such a chain have one shard for
//! all their keys: still nothing ever leaves a shard.

use super::hit::Key;
use super::rise::KEYS_PER_WINDOW_MAX;
use super::window::{Entry, KeyState};
use event::EventId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Keys for the correlations above, by their numbers in [`Node::outer`]; none where a field is absent.
pub(super) type OuterKeys = Arc<[Option<Key>]>;

/// Bytes of one entry in the index of outer keys, with its share of the correlation's own index.
const PLACE_BYTES: usize = 144;

/// Where an entry stands in its window.
pub(super) type Place = (i64, EventId, u8);

/// How a correlation is seen by one that builds on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rise {
    /// Number of the parent's key among the outer ones; none if both have the same group-by.
    pub(super) key: Option<usize>,
    /// For each outer key of the parent, its number here.
    pub(super) outer: Vec<usize>,
    /// Length of the parent's window, ns.
    pub(super) timespan_ns: i64,
    /// The parent is told of nothing under a key until another of its rules has occurred there; then
    /// it asks for what it needs.
    pub(super) is_asked: bool,
    /// The parent may be satisfied by the last of these windows, so each makes it look at all that it has.
    pub(super) is_last: bool,
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
    /// The stands come in addition to those that are known of the entry.
    pub(super) is_more: bool,
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

/// A key of a correlation above: its number among the outer ones, its hash.
pub(super) type Outer = (u32, u128);

/// What a key keeps beside its entries.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Lifted {
    pub(super) stands: BTreeMap<Place, Vec<Stand>>,
    from: BTreeMap<Place, u128>,
    /// Episodes that counting parents have been told of: label, number of the parent, its key.
    pub(super) told: BTreeSet<(u32, u32, u128)>,
    /// Which entries have which outer key, and the newest time of it there.
    places: BTreeMap<(Outer, Place), i64>,
    /// Ends of windows that qualified, with their starts.
    pub(super) ends: BTreeMap<(i64, EventId), i64>,
    /// Keys of parents that have asked (number of the parent, hash): from which end on they are told of
    /// every window.
    pub(super) asking: BTreeMap<(u32, u128), i64>,
    bytes: usize,
    /// Entries whose keys are new in this step.
    #[serde(skip)]
    pub(super) touched: Vec<Place>,
    /// Outer keys that came or went since the correlation's index was told.
    #[serde(skip)]
    moved: Vec<Outer>,
}

impl Lifted {
    pub(super) fn bytes(&self) -> usize {
        let small = self.from.len() + self.told.len() + self.ends.len() + self.asking.len();
        self.bytes + small * 64 + self.places.len() * PLACE_BYTES
    }

    fn note(&mut self, arrival: &Arrival) {
        let place = arrival.entry.place();
        if let Some(key) = arrival.from {
            self.from.insert(place, key);
        }
        if arrival.stands.is_empty() {
            return;
        }
        self.touched.push(place);
        let mut stands = arrival.stands.clone();
        if let Some(old) = self.stands.remove(&place) {
            self.leave(place, &old);
            if arrival.is_more {
                old.into_iter().for_each(|stand| add(&mut stands, Some(stand)));
            }
        }
        self.bytes += bytes_of(&stands);
        for (outer, t) in stands.iter().flat_map(outers_of) {
            if !self.has(outer) {
                self.moved.push(outer);
            }
            let newest = self.places.entry((outer, place)).or_insert(t);
            *newest = t.max(*newest);
        }
        self.stands.insert(place, stands);
    }

    /// What stood at a place is no longer there.
    fn leave(&mut self, place: Place, stands: &[Stand]) {
        self.bytes -= bytes_of(stands);
        for (outer, _) in stands.iter().flat_map(outers_of) {
            if self.places.remove(&(outer, place)).is_some() && !self.has(outer) {
                self.moved.push(outer);
            }
        }
    }

    /// Whether an event with the outer key is here.
    pub(super) fn has(&self, outer: Outer) -> bool {
        self.places_of(outer, i64::MIN).next().is_some()
    }

    /// Entries with an outer key, from a time on, each with the newest time of the key there.
    pub(super) fn places_of(
        &self,
        outer: Outer,
        from: i64,
    ) -> impl Iterator<Item = (Place, i64)> + '_ {
        let last = (i64::MAX, EventId::default(), 0);
        let range = (outer, (from, EventId::default(), 0))..=(outer, last);
        self.places.range(range).map(|((_, place), newest)| (*place, *newest))
    }

    /// All outer keys.
    pub(super) fn outers(&self) -> Vec<Outer> {
        let mut all: Vec<Outer> = self.places.keys().map(|(outer, _)| *outer).collect();
        all.dedup();
        all
    }

    /// Those, and what the index may have of before.
    pub(super) fn all_outers(&self) -> impl Iterator<Item = Outer> + '_ {
        self.outers().into_iter().chain(self.moved.iter().copied())
    }

    /// Outer keys that came or went since this was asked last.
    pub(super) fn take_moved(&mut self) -> Vec<Outer> {
        std::mem::take(&mut self.moved)
    }

    /// Outer keys of a number that are new in this step.
    pub(super) fn touched(&self, number: usize) -> BTreeSet<u128> {
        let stands = self.touched.iter().filter_map(|place| self.stands.get(place)).flatten();
        stands.filter_map(|stand| stand.keys[number].as_ref()).map(|key| key.hash).collect()
    }

    /// What is known at a place under an outer key.
    pub(super) fn stands_at(
        &self,
        place: &Place,
        (number, hash): Outer,
    ) -> impl Iterator<Item = (&Key, &Stand)> {
        let stands = self.stands.get(place).into_iter().flatten();
        let key = move |stand: &'_ Stand| stand.keys[number as usize].as_ref().map(|k| k.hash);
        stands
            .filter(move |stand| key(stand) == Some(hash))
            .filter_map(move |stand| Some((stand.keys[number as usize].as_ref()?, stand)))
    }

    /// Forgets what lies before the oldest entry, and episodes that are gone.
    fn trim(&mut self, oldest: Option<&Entry>, is_kept: impl Fn(u32) -> bool) {
        let from = oldest.map_or((i64::MAX, EventId::default(), 0), |entry| entry.place());
        let kept = self.stands.split_off(&from);
        for (place, stands) in std::mem::replace(&mut self.stands, kept) {
            self.leave(place, &stands);
        }
        self.from = self.from.split_off(&from);
        self.ends = self.ends.split_off(&(from.0, from.1));
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

    /// The step is over: nothing is new any more.
    pub(super) fn settle_lifted(&mut self) {
        if let Some(lifted) = &mut self.lifted {
            lifted.touched.clear();
        }
    }

    /// Key of the correlation that a chained entry came from, if that is another one.
    pub(super) fn child_of(&self, entry: &Entry) -> Option<u128> {
        self.lifted.as_ref()?.from.get(&entry.place()).copied()
    }
}

impl Rise {
    /// What an event is to the parent's own parents.
    pub(super) fn handed(&self, stand: &Stand) -> Option<Stand> {
        let keys = || self.outer.iter().map(|number| stand.keys[*number].clone()).collect();
        (!self.outer.is_empty()).then(|| Stand { t: stand.t, keys: keys() })
    }
}

/// Adds what has keys of its own; of what is there already the newest time stays.
pub(super) fn add(list: &mut Vec<Stand>, stand: Option<Stand>) {
    let Some(stand) = stand else { return };
    match list.iter().position(|known| known.keys == stand.keys) {
        Some(known) => list[known].t = stand.t.max(list[known].t),
        None if list.len() < KEYS_PER_WINDOW_MAX => list.push(stand),
        None => {}
    }
}

/// The outer keys of a stand, with its time.
fn outers_of(stand: &Stand) -> impl Iterator<Item = (Outer, i64)> + '_ {
    let numbered = stand.keys.iter().zip(0u32..);
    numbered.filter_map(|(key, number)| Some(((number, key.as_ref()?.hash), stand.t)))
}

fn bytes_of(stands: &[Stand]) -> usize {
    let key = |key: &Key| size_of::<Key>() + key.text.len();
    let of = |stand: &Stand| 32 + stand.keys.iter().flatten().map(key).sum::<usize>();
    96 + stands.iter().map(of).sum::<usize>()
}
