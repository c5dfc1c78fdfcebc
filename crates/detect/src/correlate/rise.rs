//! How the windows of one correlation become occurrences for those above that group otherwise.
//!
//! ```text
//! parent that needs another of its rules, too    told of nothing --that rule occurs--> asks (`ask`) -->
//!                                                told of each window that has its key, as it qualifies
//! parent that its own slot satisfies             told of each window, under each key that it has
//! parent that counts                             told of each episode, once under each key
//! ```
//! An event that comes late changes every window that it lies in. What follows for its own keys is all
//! told; other keys are told of windows that are new or begin elsewhere, and once more of one that is not,
//! so that they find the event behind it. One step does a bounded amount of work; keys beyond that are
//! counted as `cut`, and ask again for everything with the next event of theirs.

use super::evidence::Changes;
use super::hit::Key;
use super::lift::{Arrival, Lifted, Outer, Place, Rise, Stand, Upward, add};
use super::shard::{Context, ShardState};
use super::spec::{Decide, Node, SpecKind};
use super::window::{Entry, KeyState};
use event::EventId;
use hashbrown::HashMap;
use std::collections::{BTreeMap, VecDeque};

/// Most keys for which one window is an occurrence where all of them are told, those of its newest events
/// first: a window of a thousand names must not cost a thousand windows more with each event.
pub(super) const KEYS_PER_WINDOW_MAX: usize = 256;
/// Most events of one window that are looked at for that, the newest first.
const EVENTS_PER_WINDOW_MAX: usize = 1_024;
/// Most work of one step over one key for the correlations above, in events looked at (some 50 ns each):
/// about a millisecond.
const WORK_PER_STEP_MAX: usize = 16_384;
/// Work of going to one key of a correlation above, in the same unit.
const WORK_PER_KEY: usize = 32;
/// Most keys below that are asked when a rule occurs: a user shows up on as many hosts as an attacker
/// likes.
pub(super) const ASKED_MAX: usize = 1_024;

/// Makes the entry of a window: its end, and where it begins.
pub(super) type Chained<'a> = &'a dyn Fn(i64, EventId, i64) -> Entry;

/// End of a window that qualified.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) t: i64,
    pub(super) id: EventId,
    pub(super) start: i64,
    /// It did not qualify before, or began elsewhere.
    pub(super) is_fresh: bool,
}

/// What may still be done in a step.
pub(super) struct Work {
    left: usize,
    /// What was left out: windows, or keys that were not told of theirs.
    pub(super) cut: u64,
}

impl Default for Work {
    fn default() -> Self {
        Self { left: WORK_PER_STEP_MAX, cut: 0 }
    }
}

impl Work {
    /// Whether there was as much left; if not, one more is cut.
    fn spend(&mut self, cost: usize) -> bool {
        let is_there = self.left >= cost;
        self.left = self.left.saturating_sub(cost);
        self.cut += u64::from(!is_there);
        is_there
    }
}

/// One parent, as the windows of a child are told to it.
struct Way<'a> {
    node: &'a Node,
    place: usize,
    rise: &'a Rise,
    /// Number of its key among the outer ones.
    number: u32,
    chained: Chained<'a>,
}

/// Arrivals by the keys that they are for.
#[derive(Default)]
struct Upwards {
    out: Vec<Upward>,
    at: HashMap<u128, usize>,
}

impl Upwards {
    /// Whether there is room in `work` for one more; a key that is new here costs `cost`.
    fn push(
        &mut self,
        place: usize,
        key: &Key,
        arrival: Arrival,
        (work, cost): (&mut Work, usize),
    ) -> bool {
        let at = match self.at.get(&key.hash) {
            Some(at) => *at,
            None if !work.spend(cost) => return false,
            None => {
                self.out.push(Upward { place, key: Some(key.clone()), arrivals: Vec::new() });
                self.at.insert(key.hash, self.out.len() - 1);
                self.out.len() - 1
            }
        };
        self.out[at].arrivals.push(arrival);
        true
    }
}

/// Goes through ends of windows and says what they have of an outer key.
struct Walk<'s> {
    state: &'s KeyState,
    node: &'s Node,
    /// Evidence with the key, and the newest time of the key there.
    list: Vec<(Place, i64)>,
    /// What of it lies in the window.
    from: usize,
    to: usize,
    /// Of that, what nothing later outdoes, the newest time first.
    best: VecDeque<usize>,
}

impl<'s> Walk<'s> {
    /// Over ends at `first` and later.
    fn of(state: &'s KeyState, lifted: &Lifted, node: &'s Node, outer: Outer, first: i64) -> Self {
        let from = if node.decide == Decide::OnLeaving { first } else { node.edge(first) };
        let is_evidence = |(place, _): &(Place, i64)| {
            let at = state.entries.partition_point(|e| e.place() < *place);
            state.entries.get(at).is_some_and(|e| e.place() == *place && e.label != 0)
        };
        let list = lifted.places_of(outer, from).filter(is_evidence).collect();
        Self { state, node, list, from: 0, to: 0, best: VecDeque::new() }
    }

    /// The newest time of the key in the window with that end, if it is there. Ends go up.
    fn newest(&mut self, end: &End) -> Option<i64> {
        while let Some((place, newest)) = self.list.get(self.to)
            && is_within(self.node, *place, (end.t, end.id))
        {
            while self.best.back().is_some_and(|last| self.list[*last].1 <= *newest) {
                self.best.pop_back();
            }
            self.best.push_back(self.to);
            self.to += 1;
        }
        if self.from == self.to {
            return None;
        }
        let lower = self.state.lower_of(self.node, (end.t, end.id));
        while self.from < self.to && self.list[self.from].0 < lower {
            self.from += 1;
        }
        while self.best.front().is_some_and(|first| *first < self.from) {
            self.best.pop_front();
        }
        self.best.front().map(|at| self.list[*at].1)
    }

    /// Where it stands in the window, newest last.
    fn places(&self) -> &[(Place, i64)] {
        &self.list[self.from..self.to]
    }
}

/// Whether an entry is no later than the end of a window. Of an order, what happened in the same instant
/// may be a step before its last.
fn is_within(node: &Node, place: Place, (t, id): (i64, EventId)) -> bool {
    let same_instant = node.spec.kind == SpecKind::TemporalOrdered;
    place.0 < t || (place.0 == t && (same_instant || place.1 <= id))
}

impl KeyState {
    /// Notes which windows qualified in this step, and says in order which of them are new.
    pub(super) fn note_ends(&mut self, changes: &Changes) -> Vec<End> {
        let mut ends: BTreeMap<(i64, EventId), i64> = BTreeMap::new();
        for (t, id, start) in &changes.ends {
            let known = ends.entry((*t, *id)).or_insert(*start);
            *known = (*known).max(*start);
        }
        let Some(lifted) = &mut self.lifted else { return Vec::new() };
        let note = |((t, id), start)| {
            let is_fresh = lifted.ends.insert((t, id), start) != Some(start);
            End { t, id, start, is_fresh }
        };
        ends.into_iter().map(note).collect()
    }

    /// The windows that qualified, as occurrences for a parent of another group-by. `wants` tells
    /// whether a parent that asks still needs those of a key.
    pub(super) fn rise(
        &mut self,
        node: &Node,
        place: usize,
        ends: &[End],
        wants: &dyn Fn(u128) -> bool,
        chained: Chained<'_>,
        work: &mut Work,
    ) -> Vec<Upward> {
        let rise = &node.rises[place];
        let Some(number) = rise.key.map(|number| number as u32) else { return Vec::new() };
        let Some(mut lifted) = self.lifted.take() else { return Vec::new() };
        let way = Way { node, place, rise, number, chained };
        let mut up = Upwards::default();
        match (node.parents_walk[place], rise.is_asked) {
            (true, true) => self.tell_asking(&mut lifted, &way, ends, wants, &mut up, work),
            (true, false) => self.tell_all(&lifted, &way, ends, &mut up, work),
            (false, _) => self.tell_episodes(&mut lifted, &way, ends, &mut up, work),
        }
        self.lifted = Some(lifted);
        up.out
    }

    /// The windows that a key of a parent needs now and has not been told of: those that end at `from` or
    /// later. `is_told`: it has been told of every window since it asked last.
    fn answer(
        &mut self,
        way: &Way<'_>,
        (hash, from, is_told): (u128, i64, bool),
        work: &mut Work,
    ) -> Vec<Arrival> {
        let Some(mut lifted) = self.lifted.take() else { return Vec::new() };
        let asking = (way.place as u32, hash);
        let before = lifted.asking.get(&asking).copied().filter(|_| is_told);
        let mut up = Upwards::default();
        if before.is_none_or(|before| from < before) {
            lifted.asking.insert(asking, from);
            let until = before.unwrap_or(i64::MAX);
            let ends = ends_between(&lifted, from, until);
            if !self.tell(&lifted, way, hash, (&ends, true), &mut up, work) {
                lifted.asking.remove(&asking);
            }
        }
        self.lifted = Some(lifted);
        up.out.into_iter().flat_map(|up| up.arrivals).collect()
    }

    /// Keys that have asked: what a new event brings to its own ones, and what it changes for others.
    fn tell_asking(
        &self,
        lifted: &mut Lifted,
        way: &Way<'_>,
        ends: &[End],
        wants: &dyn Fn(u128) -> bool,
        up: &mut Upwards,
        work: &mut Work,
    ) {
        let parent = way.place as u32;
        let own = lifted.touched(way.number as usize);
        for hash in own.iter().copied().filter(|hash| wants(*hash)) {
            // It has not asked here because it was not here.
            let is_new = !lifted.asking.contains_key(&(parent, hash));
            let all = is_new.then(|| ends_between(lifted, i64::MIN, i64::MAX));
            let ends = all.as_deref().unwrap_or(ends);
            if !self.tell(lifted, way, hash, (ends, true), up, work) {
                lifted.asking.remove(&(parent, hash));
            } else if is_new {
                lifted.asking.insert((parent, hash), i64::MIN);
            }
        }
        let others = lifted.asking.range((parent, 0)..=(parent, u128::MAX));
        let others = others.map(|((_, hash), _)| *hash).filter(|hash| !own.contains(hash));
        for hash in others.collect::<Vec<_>>() {
            let is_gone = !lifted.has((way.number, hash)) || !wants(hash);
            if is_gone || !self.tell(lifted, way, hash, (ends, false), up, work) {
                lifted.asking.remove(&(parent, hash));
            }
        }
    }

    /// Each window under each key that it has: first what is new, then the rest.
    fn tell_all(
        &self,
        lifted: &Lifted,
        way: &Way<'_>,
        ends: &[End],
        up: &mut Upwards,
        work: &mut Work,
    ) {
        for hash in lifted.touched(way.number as usize) {
            self.tell(lifted, way, hash, (ends, true), up, work);
        }
        let known = ends.iter().filter(|end| !end.is_fresh);
        for end in ends.iter().filter(|end| end.is_fresh).chain(known) {
            let first = self.lower_of(way.node, (end.t, end.id));
            for (key, newest, stands) in self.keys_of(lifted, way, end, first, work) {
                let begin = newest.min(end.start);
                if begin >= end.t.saturating_sub(way.rise.timespan_ns) {
                    let entry = (way.chained)(end.t, end.id, begin);
                    let arrival = Arrival { entry, stands, is_more: false, from: Some(self.hash) };
                    if !up.push(way.place, &key, arrival, (work, self.reading_cost(way, end))) {
                        return;
                    }
                }
            }
            if !work.spend(1) {
                return;
            }
        }
    }

    /// The episodes of windows, once under each key that they have.
    fn tell_episodes(
        &self,
        lifted: &mut Lifted,
        way: &Way<'_>,
        ends: &[End],
        up: &mut Upwards,
        work: &mut Work,
    ) {
        let mut told = Vec::new();
        for hash in lifted.touched(way.number as usize) {
            let outer = (way.number, hash);
            let Some(first) = ends.first() else { return };
            let mut walk = Walk::of(self, lifted, way.node, outer, first.t);
            let mut label = 0;
            for end in ends {
                let Some(_) = walk.newest(end) else { continue };
                let now = self.label_at(end);
                if std::mem::replace(&mut label, now) != now
                    && let Some(key) = walk.places().iter().find_map(|(place, _)| {
                        lifted.stands_at(place, outer).next().map(|(key, _)| key.clone())
                    })
                {
                    told.push((*end, key, self.handed(lifted, way, outer, walk.places(), work)));
                }
            }
        }
        for end in ends.iter().filter(|end| end.is_fresh) {
            let first = self.untold_from(lifted, way.node, end);
            let keys = self.keys_of(lifted, way, end, first, work);
            told.extend(keys.into_iter().map(|(key, _, stands)| (*end, key, stands)));
            if !work.spend(1) {
                break;
            }
        }
        for (end, key, stands) in told {
            let label = self.label_at(&end);
            let Some(episode) = self.episodes.iter().rev().find(|e| e.label == label) else {
                continue;
            };
            if lifted.told.insert((label, way.place as u32, key.hash)) {
                let entry = (way.chained)(end.t, episode.fired_by, episode.first);
                let arrival = Arrival { entry, stands, is_more: false, from: Some(self.hash) };
                if !up.push(way.place, &key, arrival, (work, WORK_PER_KEY)) {
                    lifted.told.remove(&(label, way.place as u32, key.hash));
                }
            }
        }
    }

    /// Where keys begin that may not have been told of the episode of a window: behind the window before,
    /// if that is of the same episode and all that lies in it belongs to it.
    fn untold_from(&self, lifted: &Lifted, node: &Node, end: &End) -> Place {
        let lower = self.lower_of(node, (end.t, end.id));
        if node.scans || node.decide == Decide::OnLeaving || node.gap() != i64::MAX {
            return lower;
        }
        let Some(((t, id), _)) = lifted.ends.range(..(end.t, end.id)).next_back() else {
            return lower;
        };
        let before = End { t: *t, id: *id, ..*end };
        let is_same = (before.t, before.id, 0) >= lower;
        match is_same && self.label_at(&before) == self.label_at(end) {
            true => (before.t, before.id, 0),
            false => lower,
        }
    }

    fn label_at(&self, end: &End) -> u32 {
        let at = self.entries.partition_point(|e| (e.t, e.id) < (end.t, end.id));
        self.entries.get(at).map_or(0, |e| e.label)
    }

    /// Tells one key of windows that have it: of all `ends`, or, if the event that changed them is not its
    /// own, of fresh ones and the first other one. `false` if there was no time for it.
    fn tell(
        &self,
        lifted: &Lifted,
        way: &Way<'_>,
        hash: u128,
        (ends, is_own): (&[End], bool),
        up: &mut Upwards,
        work: &mut Work,
    ) -> bool {
        let outer = (way.number, hash);
        let Some(first) = ends.first() else { return true };
        let mut walk = Walk::of(self, lifted, way.node, outer, first.t);
        let mut key: Option<Key> = None;
        let mut is_due = true;
        for end in ends {
            if !(is_own || is_due || end.is_fresh) {
                continue;
            }
            let Some(newest) = walk.newest(end) else { continue };
            is_due &= end.is_fresh;
            let begin = newest.min(end.start);
            // No window of the parent could hold it.
            if begin < end.t.saturating_sub(way.rise.timespan_ns) {
                continue;
            }
            if key.is_none() {
                let mut known = walk.places().iter().map(|(place, _)| place);
                key =
                    known.find_map(|place| Some(lifted.stands_at(place, outer).next()?.0.clone()));
            }
            let Some(key) = &key else { continue };
            let stands = self.handed(lifted, way, outer, walk.places(), work);
            let entry = (way.chained)(end.t, end.id, begin);
            let arrival = Arrival { entry, stands, is_more: false, from: Some(self.hash) };
            let cost = match is_own {
                true => WORK_PER_KEY + ends.len(),
                false => self.reading_cost(way, end),
            };
            if !up.push(way.place, key, arrival, (work, cost)) {
                return false;
            }
        }
        true
    }

    /// The keys of the evidence of a window from a place on, newest first, each with its newest time and
    /// what it hands on.
    fn keys_of(
        &self,
        lifted: &Lifted,
        way: &Way<'_>,
        end: &End,
        first: Place,
        work: &mut Work,
    ) -> Vec<(Key, i64, Vec<Stand>)> {
        let mut out: Vec<(Key, i64, Vec<Stand>)> = Vec::new();
        let mut known: HashMap<u128, usize> = HashMap::new();
        for stand in self.stands_from(lifted, way.node, end, first, work) {
            let Some(key) = &stand.keys[way.number as usize] else { continue };
            let handed = way.rise.handed(stand);
            match known.get(&key.hash) {
                Some(at) => add(&mut out[*at].2, handed),
                None if out.len() < KEYS_PER_WINDOW_MAX => {
                    known.insert(key.hash, out.len());
                    out.push((key.clone(), stand.t, handed.into_iter().collect()));
                }
                None => {}
            }
        }
        out
    }

    /// What the window with that end rests on from a place on, newest first.
    fn stands_from<'s>(
        &self,
        lifted: &'s Lifted,
        node: &Node,
        end: &End,
        first: Place,
        work: &mut Work,
    ) -> Vec<&'s Stand> {
        let from = self.entries.partition_point(|e| e.place() < first);
        let to = self.entries.partition_point(|e| is_within(node, e.place(), (end.t, end.id)));
        let evidence = self.entries.range(from..to.max(from)).rev().filter(|e| e.label != 0);
        let stands = evidence
            .take(EVENTS_PER_WINDOW_MAX)
            .filter_map(|e| lifted.stands.get(&e.place()))
            .flatten();
        let mut stands: Vec<&Stand> = stands.collect();
        if !work.spend(stands.len()) {
            return Vec::new();
        }
        stands.sort_by_key(|stand| std::cmp::Reverse(stand.t));
        stands
    }

    /// Work of a key of a parent that reads what is behind a window: all that came since, or all.
    fn reading_cost(&self, way: &Way<'_>, end: &End) -> usize {
        let before = self.entries.partition_point(|e| e.t < end.t);
        let read = if way.rise.is_last { self.entries.len() } else { self.entries.len() - before };
        WORK_PER_KEY + read
    }

    /// What an outer key's events in a window are to the correlations above its own.
    fn handed(
        &self,
        lifted: &Lifted,
        way: &Way<'_>,
        outer: Outer,
        places: &[(Place, i64)],
        work: &mut Work,
    ) -> Vec<Stand> {
        let mut out = Vec::new();
        if way.rise.outer.is_empty() {
            return out;
        }
        for (place, _) in places.iter().rev() {
            // Looking for what is known takes longer the more there is.
            if !work.spend(1 + out.len() / 16) {
                break;
            }
            for (_, stand) in lifted.stands_at(place, outer) {
                add(&mut out, way.rise.handed(stand));
            }
        }
        out
    }

    /// What a window hands on to a parent of the same group-by: all of it, or, of a window that the parent
    /// knows, what is new in it.
    pub(super) fn handed_on(
        &self,
        node: &Node,
        place: usize,
        end: &End,
        work: &mut Work,
    ) -> Vec<Stand> {
        let rise = &node.rises[place];
        let mut out = Vec::new();
        let Some(lifted) = &self.lifted else { return out };
        let lower = self.lower_of(node, (end.t, end.id));
        let new = lifted
            .touched
            .iter()
            .filter(|place| **place >= lower && is_within(node, **place, (end.t, end.id)));
        let stands: Vec<&Stand> = match end.is_fresh {
            true => self.stands_from(lifted, node, end, lower, work),
            false => new.filter_map(|place| lifted.stands.get(place)).flatten().collect(),
        };
        for stand in stands {
            if !work.spend(1 + out.len() / 16) {
                break;
            }
            add(&mut out, rise.handed(stand));
        }
        out
    }

    /// Where the first entry of the window with that end may stand.
    fn lower_of(&self, node: &Node, (t, id): (i64, EventId)) -> Place {
        if node.decide == Decide::OnLeaving {
            // Events of one time are missed together; each absence is of one event.
            let is_of_one = node.spec.kind == SpecKind::Absence;
            return (t, if is_of_one { id } else { EventId::default() }, 0);
        }
        if node.gap() == i64::MAX {
            return (node.edge(t), EventId::default(), 0);
        }
        let end = self.entries.partition_point(|e| is_within(node, e.place(), (t, id)));
        let lower = end.checked_sub(1).map(|last| self.lower(node, last));
        lower.map_or((t, id, 0), |lower| self.entries[lower].place())
    }
}

/// Windows that qualified and end at `from` or later, before `until`.
fn ends_between(lifted: &Lifted, from: i64, until: i64) -> Vec<End> {
    let ends = lifted.ends.range((from, EventId::default())..);
    let ends = ends.take_while(|((t, _), _)| *t < until);
    ends.map(|((t, id), start)| End { t: *t, id: *id, start: *start, is_fresh: true }).collect()
}

impl ShardState {
    /// What a key needs of correlations below that group otherwise, now that these entries occur: it has
    /// not been told of it while it had nothing else.
    pub(super) fn ask(
        &mut self,
        cx: &Context<'_>,
        index: u32,
        hash: u128,
        new: &[Arrival],
    ) -> Vec<Arrival> {
        let node = cx.set.node(index);
        let mut out = Vec::new();
        if node.asks.iter().all(Option::is_none) {
            return out;
        }
        let own = new.iter().filter(|a| node.asks[usize::from(a.entry.slot)].is_none());
        let Some(first) = own.map(|a| a.entry.t).min() else { return out };
        let from = first.saturating_sub(node.spec.timespan_ns);
        let is_told = self.wants(cx, index, hash);
        let asks = node.asks.iter().zip(0u8..).filter_map(|(asks, slot)| Some(((*asks)?, slot)));
        for ((place, number), slot) in asks {
            let Some(below) = node.children[usize::from(slot)] else { continue };
            let child = cx.set.node(below);
            let chained = |t, id, start| Entry::chained(slot, (t, id), start);
            let (rise, chained): (_, Chained<'_>) = (&child.rises[place], &chained);
            let way = Way { node: child, place, rise, number, chained };
            let spec = &mut self.specs[below as usize];
            let keys = spec.with_outer((number, hash));
            let cut = keys.len().saturating_sub(ASKED_MAX) as u64;
            let mut work = Work { cut, ..Work::default() };
            for key in keys.into_iter().take(ASKED_MAX) {
                let Some(at) = spec.find(key) else { continue };
                let Some(mut kept) = spec.take(at) else { continue };
                out.extend(kept.1.answer(&way, (hash, from, is_told), &mut work));
                spec.put(at, kept);
            }
            spec.counters.cut += work.cut;
        }
        out
    }

    /// Whether a key has something for which it needs the correlations below that it asks.
    pub(super) fn wants(&self, cx: &Context<'_>, index: u32, hash: u128) -> bool {
        let node = cx.set.node(index);
        let own = |e: &Entry| node.asks[usize::from(e.slot)].is_none();
        self.specs[index as usize].get(hash).is_some_and(|state| state.entries.iter().any(own))
    }
}
