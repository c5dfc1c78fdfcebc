//! Windows of a correlation over correlations that end one after the other, decided in one pass: what a
//! late event changes is every window that it may lie in.
//!
//! ```text
//! entries   a   b a     b   a a  b      each lies in the windows from where it stands until their edge
//! windows       [-----]                 passes where it begins
//!                 [-----]               qualify and share entries: one piece, taken together
//!                           [---]       another piece
//! ```
//! Each window by itself would be walked from end to end, and their number is as large as their length.
//! Here an entry comes and goes once, at the price of a short search.

use super::evidence::{Behind, Cause, Changes};
use super::spec::Node;
use super::window::KeyState;
use std::collections::{BTreeMap, BTreeSet};

/// The child that an entry is a window of: its slot, and its key if that is another one.
type Child = (u8, Option<u128>);

/// Windows that qualify and hang together.
#[derive(Default)]
struct Piece {
    chosen: Vec<usize>,
    /// Of which child the events from when to when are evidence.
    behind: Vec<(Child, (i64, i64))>,
    measured: f64,
}

/// What of a child is evidence of the piece at work, as far as windows that follow each other share
/// entries of it.
#[derive(Default)]
struct Span {
    /// Entries of the current window that are part of the piece.
    entries: usize,
    times: (i64, i64),
}

impl KeyState {
    /// Decides the windows that end at entry `first` and later, until `until`.
    pub(super) fn decide_stretch(
        &mut self,
        node: &Node,
        (first, until): (usize, i64),
        cause: Cause,
        behind: Behind<'_>,
        changes: &mut Changes,
    ) {
        let mut pass = Pass::of(self, node, (first, until));
        for end in first..pass.next {
            pass.window(end, changes);
        }
        for piece in pass.finish() {
            let mut found = Vec::new();
            for ((slot, key), times) in &piece.behind {
                behind(*slot, *key, *times, &mut found);
            }
            self.absorb_found(node, &piece.chosen, found, piece.measured, cause, changes);
        }
    }
}

struct Pass<'a> {
    state: &'a KeyState,
    node: &'a Node,
    /// First entry that any of the windows may hold, and the entry after their last one.
    base: usize,
    next: usize,
    /// Entries of the window by where they begin.
    begins: Lowest,
    /// Those of each slot.
    slots: Vec<BTreeSet<usize>>,
    /// Those that are not part of the piece.
    fresh: Vec<usize>,
    is_taken: Vec<bool>,
    spans: BTreeMap<Child, Span>,
    piece: Option<Piece>,
    /// End of the last window that qualified.
    last: usize,
    done: Vec<Piece>,
}

impl<'a> Pass<'a> {
    fn of(state: &'a KeyState, node: &'a Node, (first, until): (usize, i64)) -> Self {
        let next = state.entries.partition_point(|e| e.t <= until).max(first);
        let base = if first < next { state.lower(node, first) } else { first };
        let mut pass = Self {
            state,
            node,
            base,
            next,
            begins: Lowest::of(next - base),
            slots: vec![BTreeSet::new(); node.children.len()],
            fresh: Vec::new(),
            is_taken: vec![false; next - base],
            spans: BTreeMap::new(),
            piece: None,
            last: 0,
            done: Vec::new(),
        };
        (base..first).for_each(|at| pass.enter(at));
        pass
    }

    /// The window that ends at entry `end`.
    fn window(&mut self, end: usize, changes: &mut Changes) {
        self.enter(end);
        let entry = self.state.entries[end];
        let edge = self.node.edge(entry.t);
        while let Some(at) = self.begins.lowest_before(edge) {
            self.leave(self.base + at);
        }
        let measured = self.slots.iter().filter(|slot| !slot.is_empty()).count() as f64;
        let slots = &self.slots;
        if !self.node.holds(measured, &|slot| !slots[usize::from(slot)].is_empty()) {
            return;
        }
        let start = self.tight_start();
        changes.ends.push((entry.t, entry.id, start));
        let oldest = self.slots.iter().filter_map(|slot| slot.first()).min().copied();
        if self.piece.is_none() || oldest.is_none_or(|oldest| oldest > self.last) {
            self.end_piece();
            self.piece = Some(Piece::default());
        }
        self.take(edge, measured);
        self.last = end;
    }

    fn enter(&mut self, at: usize) {
        looked(1);
        let entry = &self.state.entries[at];
        self.begins.set(at - self.base, entry.start);
        self.slots[usize::from(entry.slot)].insert(at);
        self.fresh.push(at);
    }

    fn leave(&mut self, at: usize) {
        looked(1);
        let entry = &self.state.entries[at];
        self.begins.set(at - self.base, i64::MAX);
        self.slots[usize::from(entry.slot)].remove(&at);
        if !self.is_taken[at - self.base] {
            return;
        }
        let child = (entry.slot, self.state.child_of(entry));
        let Some(span) = self.spans.get_mut(&child) else { return };
        span.entries -= 1;
        if span.entries == 0
            && let Some(piece) = &mut self.piece
        {
            piece.behind.push((child, span.times));
            self.spans.remove(&child);
        }
    }

    /// Makes what the window holds part of the piece.
    fn take(&mut self, edge: i64, measured: f64) {
        let Some(piece) = &mut self.piece else { return };
        piece.measured = piece.measured.max(measured);
        for at in self.fresh.drain(..) {
            let entry = &self.state.entries[at];
            if entry.start < edge {
                // It has left before any window qualified.
                continue;
            }
            self.is_taken[at - self.base] = true;
            piece.chosen.push(at);
            let child = (entry.slot, self.state.child_of(entry));
            let span =
                self.spans.entry(child).or_insert(Span { entries: 0, times: (edge, entry.t) });
            span.entries += 1;
            span.times.1 = span.times.1.max(entry.t);
        }
    }

    /// Start of the shortest run of entries up to the window's end that satisfies the rule.
    fn tight_start(&self) -> i64 {
        let latest =
            self.slots.iter().enumerate().filter_map(|(slot, at)| Some((*at.last()?, slot)));
        let mut latest: Vec<(usize, usize)> = latest.collect();
        latest.sort_unstable_by(|a, b| b.cmp(a));
        let mut from = self.base;
        for count in 1..=latest.len() {
            from = latest[count - 1].0;
            let occurred = |slot: u8| latest[..count].iter().any(|(_, s)| *s == usize::from(slot));
            if self.node.holds(count as f64, &occurred) {
                break;
            }
        }
        self.begins.lowest_from(from - self.base)
    }

    fn end_piece(&mut self) {
        let Some(mut piece) = self.piece.take() else { return };
        piece.behind.extend(std::mem::take(&mut self.spans).into_iter().map(|(c, s)| (c, s.times)));
        piece.behind.retain(|((slot, _), _)| self.node.children[usize::from(*slot)].is_some());
        piece.behind.sort_unstable();
        piece.chosen.sort_unstable();
        self.done.push(piece);
    }

    fn finish(mut self) -> Vec<Piece> {
        self.end_piece();
        self.done
    }
}

/// Numbers at places, and the lowest of them: all, or from a place on. [`i64::MAX`] where there is none.
struct Lowest {
    size: usize,
    /// A tree in which each node has the lower of its two; the places are its leaves.
    nodes: Vec<i64>,
}

impl Lowest {
    fn of(places: usize) -> Self {
        let size = places.next_power_of_two();
        Self { size, nodes: vec![i64::MAX; 2 * size] }
    }

    fn set(&mut self, place: usize, number: i64) {
        let mut at = self.size + place;
        self.nodes[at] = number;
        while at > 1 {
            at /= 2;
            self.nodes[at] = self.nodes[2 * at].min(self.nodes[2 * at + 1]);
        }
    }

    /// A place with the lowest number, if that is below `limit`.
    fn lowest_before(&self, limit: i64) -> Option<usize> {
        if self.nodes[1] >= limit {
            return None;
        }
        let mut at = 1;
        while at < self.size {
            at = if self.nodes[2 * at] <= self.nodes[2 * at + 1] { 2 * at } else { 2 * at + 1 };
        }
        Some(at - self.size)
    }

    fn lowest_from(&self, place: usize) -> i64 {
        let mut at = self.size + place;
        let mut lowest = self.nodes[at];
        while at > 1 {
            if at.is_multiple_of(2) {
                lowest = lowest.min(self.nodes[at + 1]);
            }
            at /= 2;
        }
        lowest
    }
}

#[cfg(test)]
std::thread_local! {
    /// Entries of windows over correlations that were looked at, for tests of what that costs.
    pub(super) static LOOKED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    /// Windows are decided one by one, for tests that both ways say the same.
    pub(super) static BY_ONE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Whether windows are decided in one pass.
pub(super) fn is_in_use() -> bool {
    #[cfg(test)]
    return !BY_ONE.with(std::cell::Cell::get);
    #[cfg(not(test))]
    true
}

/// So many entries of a window over correlations are looked at.
pub(super) fn looked(_entries: usize) {
    #[cfg(test)]
    LOOKED.with(|sum| sum.set(sum.get() + _entries as u64));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_lowest_is_the_lowest(steps in prop::collection::vec((0usize..21, 0i64..50), 1..80)) {
            let (mut lowest, mut model) = (Lowest::of(21), [i64::MAX; 21]);
            for (place, number) in steps {
                // Now and then one goes.
                let number = if number < 10 { i64::MAX } else { number };
                lowest.set(place, number);
                model[place] = number;
                for from in 0..21 {
                    prop_assert_eq!(lowest.lowest_from(from), *model[from..].iter().min().unwrap());
                }
                let least = *model.iter().min().unwrap();
                prop_assert_eq!(lowest.lowest_before(least), None);
                let found = lowest.lowest_before(least.saturating_add(1)).map(|at| model[at]);
                prop_assert_eq!(found, Some(least).filter(|n| *n < i64::MAX));
            }
        }
    }
}
