//! The steps that remember: dedupe and drop filters. The sequencer drives them in journal order;
//! they mark rows and never remove one.

use event::{EventBatch, EventId, EventView, Marks};
use filter::Plan;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Most records remembered at once, over all sources: 72 bytes each, so 150 MB. When there are more,
/// the oldest are forgotten and their repeats kept.
pub const DEDUPE_ENTRIES_MAX: usize = 1 << 21;

/// How often one record came within its window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedupeSummary {
    /// The first one, which was kept.
    pub first: EventId,
    /// How many occurrences in all, the first included.
    pub count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    first: EventId,
    count: u64,
}

/// Everything a [`Dedupe`] remembers, for snapshots: the same memory gives the same bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupeState {
    /// (end of its window, fingerprint, what is known of the record), in the order of ends.
    windows: Vec<(i64, u128, Entry)>,
    marked: u64,
    forgotten: u64,
}

/// Marks repeats of a record from the same source within the source's window of stream time.
///
/// Only sources with a window are looked at. The window starts at the first occurrence. Rows keep
/// their own weight: repeats are still matched, so the first must not count them again.
pub struct Dedupe {
    windows_ns: HashMap<String, i64>,
    seed: u64,
    entries_max: usize,
    entries: HashMap<u128, Entry>,
    queue: VecDeque<(i64, u128)>,
    marked: u64,
    forgotten: u64,
}

impl Dedupe {
    /// `windows_ns`: window by source name, ns of stream time. `seed`: a secret of the
    /// installation, so that nobody can prepare records that collide.
    pub fn new(windows_ns: HashMap<String, i64>, seed: u64) -> Self {
        Self::with_limit(windows_ns, seed, DEDUPE_ENTRIES_MAX)
    }

    /// As [`Dedupe::new`] with another bound on the number of remembered records.
    pub fn with_limit(windows_ns: HashMap<String, i64>, seed: u64, entries_max: usize) -> Self {
        Self {
            windows_ns,
            seed,
            entries_max: entries_max.max(1),
            entries: HashMap::new(),
            queue: VecDeque::new(),
            marked: 0,
            forgotten: 0,
        }
    }

    /// What it remembers.
    pub fn snapshot(&self) -> DedupeState {
        let window = |(end, key): &(i64, u128)| Some((*end, *key, *self.entries.get(key)?));
        DedupeState {
            windows: self.queue.iter().filter_map(window).collect(),
            marked: self.marked,
            forgotten: self.forgotten,
        }
    }

    /// Puts back what [`Dedupe::snapshot`] gave.
    pub fn restore(&mut self, state: DedupeState) {
        self.queue = state.windows.iter().map(|(end, key, _)| (*end, *key)).collect();
        self.entries = state.windows.iter().map(|(_, key, entry)| (*key, *entry)).collect();
        (self.marked, self.forgotten) = (state.marked, state.forgotten);
    }

    /// Other windows from now on; what is remembered stays, under the window it began with.
    pub fn reconfigure(&mut self, windows_ns: HashMap<String, i64>) {
        self.windows_ns = windows_ns;
    }

    /// Marks a batch that was worked before `later` was saved, as far as can be told now: rows that
    /// `later` knows the first of, and repeats within what this memory has been shown. A repeat whose
    /// window was open before and is over is not marked: it is kept twice rather than not at all.
    pub fn remark(&mut self, batch: &mut EventBatch, later: &Dedupe) {
        self.apply(batch);
        for index in 0..batch.len() {
            let row = batch.row(index);
            let known = later.entries.get(&self.key_of(&row));
            if known.is_some_and(|entry| entry.first < row.id()) {
                batch.mark(index, Marks::DEDUPED);
            }
        }
    }

    fn key_of(&self, row: &EventView<'_>) -> u128 {
        let source = row.envelope().source.as_bytes();
        xxh3_128_with_seed(row.raw(), self.seed)
            ^ xxh3_128_with_seed(source, self.seed.rotate_left(32)).rotate_left(64)
    }

    /// Marks the repeats of a batch. Out: summaries of windows that closed and had repeats.
    pub fn apply(&mut self, batch: &mut EventBatch) -> Vec<DedupeSummary> {
        let mut closed = Vec::new();
        if self.windows_ns.is_empty() {
            return closed;
        }
        for index in 0..batch.len() {
            let row = batch.row(index);
            let Some(window_ns) = self.windows_ns.get(&*row.envelope().source).copied() else {
                continue;
            };
            let now = row.stream_ns();
            let key = self.key_of(&row);
            let id = row.id();
            self.close(now, &mut closed);
            match self.entries.get_mut(&key) {
                Some(entry) => {
                    entry.count += 1;
                    self.marked += 1;
                    batch.mark(index, Marks::DEDUPED);
                }
                None => {
                    if self.entries.len() >= self.entries_max {
                        self.forget_oldest(&mut closed);
                    }
                    self.entries.insert(key, Entry { first: id, count: 1 });
                    self.insert_in_order(now.saturating_add(window_ns), key);
                }
            }
        }
        closed
    }

    /// How many rows were marked so far.
    pub fn marked(&self) -> u64 {
        self.marked
    }

    /// How many records were forgotten before their window closed, for lack of room.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Closes the windows that ended at or before `now_ns` of stream time.
    pub fn close(&mut self, now_ns: i64, closed: &mut Vec<DedupeSummary>) {
        while let Some((end, key)) = self.queue.front().copied() {
            if end > now_ns {
                break;
            }
            self.queue.pop_front();
            self.take(key, closed);
        }
    }

    fn take(&mut self, key: u128, closed: &mut Vec<DedupeSummary>) {
        if let Some(entry) = self.entries.remove(&key)
            && entry.count > 1
        {
            closed.push(DedupeSummary { first: entry.first, count: entry.count });
        }
    }

    fn forget_oldest(&mut self, closed: &mut Vec<DedupeSummary>) {
        if let Some((_, key)) = self.queue.pop_front() {
            self.forgotten += 1;
            self.take(key, closed);
        }
    }

    /// Windows of different lengths end in another order than they began; few lengths, few steps.
    fn insert_in_order(&mut self, end: i64, key: u128) {
        let at = match self.queue.back() {
            Some((last, _)) if *last > end => self.queue.partition_point(|(e, _)| *e <= end),
            _ => self.queue.len(),
        };
        self.queue.insert(at, (end, key));
    }
}

/// Marks rows that a drop filter takes out of store and forwarding.
pub struct Drops {
    filters: Vec<(String, Plan, u64)>,
}

impl Drops {
    /// Filters by name, in order; the first that matches a row counts it.
    pub fn new(filters: Vec<(String, Plan)>) -> Self {
        Self { filters: filters.into_iter().map(|(name, plan)| (name, plan, 0)).collect() }
    }

    /// Other filters from now on. Those that go on under their names keep their counts.
    pub fn reconfigure(&mut self, filters: Vec<(String, Plan)>) {
        let before = std::mem::replace(self, Self::new(filters));
        for (name, _, count) in &mut self.filters {
            let same = before.filters.iter().find(|(n, ..)| n == name);
            *count = same.map_or(0, |(.., count)| *count);
        }
    }

    /// Marks the rows of a batch. Rows that are already marked as repeats are left to dedupe; those of an
    /// earlier run (`counts` is false) are marked and not counted.
    pub fn apply(&mut self, batch: &mut EventBatch, counts: bool) {
        if self.filters.is_empty() {
            return;
        }
        let bindings: Vec<_> = self.filters.iter().map(|(_, plan, _)| plan.bind(batch)).collect();
        for index in 0..batch.len() {
            let row = batch.row(index);
            if row.marks().has(Marks::DEDUPED) {
                continue;
            }
            let hit =
                self.filters.iter().zip(&bindings).position(|((_, p, _), b)| p.matches(b, &row));
            if let Some(at) = hit {
                self.filters[at].2 += u64::from(counts);
                batch.mark(index, Marks::DROPPED);
            }
        }
    }

    /// Number of rows marked so far, by filter.
    pub fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.filters.iter().map(|(name, _, count)| (name.as_str(), *count))
    }
}
