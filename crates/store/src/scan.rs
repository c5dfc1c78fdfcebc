//! One pass over a snapshot: hot batches and row groups, best time first, each with its matching rows.

use crate::budget::Budget;
use crate::coded::Coded;
use crate::error::{SearchError, StoreError};
use crate::kernel::{BatchNames, Bits, Group, OwnValue, Resolved, hot_values};
use crate::policy::Hidden;
use crate::read::{FileHandle, StoredFile};
use crate::rows::{FullRow, HotBatch};
use crate::search::{Estimate, damaged};
use crate::sidecar::BLOCK_ROWS;
use event::{Dictionary, EventBatch, EventId};
use filter::Plan;
use hashbrown::HashMap;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is stored at one moment: files up to some event, frozen batches after it.
#[derive(Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) files: Vec<Arc<FileHandle>>,
    pub(crate) hot: Vec<HotBatch>,
    /// Rows that nobody sees any more.
    pub(crate) hidden: Arc<Vec<Hidden>>,
    /// What all searches may take together.
    pub(crate) memory: Arc<Budget>,
}

/// When to stop early. Clones are of the same search.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancelled: Arc<AtomicBool>,
    /// What puts off the deadline, ns.
    waited_ns: Arc<AtomicU64>,
}

impl Control {
    pub(crate) fn new(timeout: Option<Duration>, cancelled: Arc<AtomicBool>) -> Self {
        let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
        Self { deadline, cancelled, waited_ns: Arc::default() }
    }

    /// Puts off the deadline.
    pub(crate) fn allow(&self, more: Duration) {
        self.waited_ns.fetch_add(more.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Why to stop now, if so.
    pub(crate) fn stop(&self) -> Option<&'static str> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Some("cancelled");
        }
        let waited = Duration::from_nanos(self.waited_ns.load(Ordering::Relaxed));
        let over = |at: Instant| Instant::now() >= at.checked_add(waited).unwrap_or(at);
        self.deadline.is_some_and(over).then_some("timeout")
    }
}

/// What a pass has looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) matched: u64,
    pub(crate) scanned_rows: u64,
    pub(crate) scanned_files: u64,
    pub(crate) scanned_bytes: u64,
    pub(crate) stopped: Option<&'static str>,
    pub(crate) skipped: bool,
    /// Rows of units that could not be read.
    pub(crate) damaged_rows: u64,
    /// What the far tier did not give.
    pub(crate) away: Away,
}

/// Rows that the far tier did not give, and the times that they are of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Away {
    rows: u64,
    times_ns: Option<(i64, i64)>,
}

impl Away {
    pub(crate) fn add(&mut self, rows: u64, (low, high): (i64, i64)) {
        self.rows += rows;
        let (l, h) = self.times_ns.unwrap_or((low, high));
        self.times_ns = Some((l.min(low), h.max(high)));
    }

    pub(crate) fn is_some(&self) -> bool {
        self.times_ns.is_some()
    }

    /// Which part of the answer is missing.
    pub(crate) fn text(&self) -> Option<String> {
        let (low, high) = self.times_ns?;
        let (low, high) = (event::time::rfc3339(low), event::time::rfc3339(high));
        Some(format!(
            "{} rows of {low} to {high} are in the far tier, which does not give them",
            self.rows
        ))
    }
}

impl Counters {
    /// Adds those of another pass for the same answer.
    pub(crate) fn add(&mut self, other: &Counters) {
        self.matched += other.matched;
        self.scanned_rows += other.scanned_rows;
        self.scanned_files += other.scanned_files;
        self.scanned_bytes += other.scanned_bytes;
        self.stopped = self.stopped.or(other.stopped);
        self.skipped |= other.skipped;
        self.damaged_rows += other.damaged_rows;
        if let Some(times) = other.away.times_ns {
            self.away.add(other.away.rows, times);
        }
    }

    /// Why the answer is not whole, if so.
    pub(crate) fn partial(&self) -> Option<String> {
        let damaged = (self.damaged_rows > 0).then(|| damaged(self.damaged_rows));
        self.stopped.map(str::to_owned).or(damaged).or(self.away.text())
    }
}

/// A place in the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    Hot(usize),
    File(usize),
    Group(usize, usize),
}

/// The rows of one unit that hold, and the means to read more of them.
pub(crate) struct Selected {
    pub(crate) unit: Unit,
    /// Row numbers within the unit.
    pub(crate) rows: Vec<u32>,
    /// The same as the reader counts them.
    local: Vec<u32>,
    group: Option<Group>,
    batch: Option<HotBatch>,
}

/// What came of a step.
#[expect(clippy::large_enum_variant, reason = "one at a time, handed on at once")]
pub(crate) enum Step {
    /// A unit with rows that match.
    Rows(Selected),
    /// Nothing yet.
    None,
    /// There is no more.
    End,
}

/// The pass. `next` gives units until none is left, or none can matter any more.
pub(crate) struct Scan {
    pub(crate) snapshot: Snapshot,
    resolved: Arc<Resolved>,
    hint: Option<Resolved>,
    dict: Arc<Dictionary>,
    since: Option<i64>,
    until: Option<i64>,
    offsets: Option<Range<u64>>,
    oldest_first: bool,
    control: Control,
    queue: BinaryHeap<(i64, Unit)>,
    /// Blocks of a group that may hold, where the index has told.
    blocks: HashMap<(usize, usize), u64>,
    /// Whether rows are looked at once more after their unit, by their places.
    comes_back: bool,
    /// Hot batches that were given last.
    given: Vec<usize>,
    pub(crate) counters: Counters,
}

impl Scan {
    pub(crate) fn new(
        snapshot: Snapshot,
        resolved: Arc<Resolved>,
        dict: Arc<Dictionary>,
        (since, until): (Option<i64>, Option<i64>),
        oldest_first: bool,
        control: Control,
    ) -> Self {
        let mut scan = Self {
            snapshot,
            resolved,
            hint: None,
            dict,
            since,
            until,
            offsets: None,
            oldest_first,
            control,
            queue: BinaryHeap::new(),
            blocks: HashMap::new(),
            comes_back: true,
            given: Vec::new(),
            counters: Counters::default(),
        };
        let hot = scan.snapshot.hot.iter().map(|h| (h.event_min_ns, h.event_max_ns));
        let files =
            scan.snapshot.files.iter().map(|f| (f.entry.event_min_ns, f.entry.event_max_ns));
        let units = hot
            .enumerate()
            .map(|(i, t)| (Unit::Hot(i), t))
            .chain(files.enumerate().map(|(i, t)| (Unit::File(i), t)));
        let units: Vec<_> = units.collect();
        units.into_iter().for_each(|(unit, times)| scan.push(unit, times));
        scan
    }

    /// Leaves out blocks that cannot meet a further condition, without applying it to rows.
    pub(crate) fn hinted(mut self, hint: Plan) -> Self {
        self.hint = Some(Resolved::new(hint, &self.dict)).filter(Resolved::asks_index);
        self
    }

    /// Leaves out events whose offset is not in the range, without opening files that have none.
    pub(crate) fn within(mut self, offsets: Option<&Range<u64>>) -> Self {
        let Some(offsets) = offsets else { return self };
        let snapshot = &self.snapshot;
        self.queue.retain(|(_, unit)| match unit {
            Unit::File(index) => {
                let entry = &snapshot.files[*index].entry;
                entry.first.offset < offsets.end && entry.last.offset >= offsets.start
            }
            _ => true,
        });
        self.offsets = Some(offsets.clone());
        self
    }

    fn is_within(&self, id: EventId) -> bool {
        self.offsets.as_ref().is_none_or(|offsets| offsets.contains(&id.offset))
    }

    fn push(&mut self, unit: Unit, (low, high): (i64, i64)) {
        let outside = self.since.is_some_and(|s| high < s) || self.until.is_some_and(|u| low >= u);
        match unit {
            Unit::Hot(index) if outside => self.snapshot.let_go(index),
            _ if outside => {}
            _ => self.queue.push((if self.oldest_first { !low } else { high }, unit)),
        }
    }

    /// For a pass that is done with rows when it asks for the next ones.
    pub(crate) fn once_through(mut self) -> Self {
        self.comes_back = false;
        self
    }

    /// Lets go of the hot batches that have been looked at and of which no row is `wanted` any more: a
    /// pass over much history must not hold what has long been in files.
    pub(crate) fn release(&mut self, wanted: impl Fn(usize) -> bool) {
        let (snapshot, given) = (&mut self.snapshot, &mut self.given);
        given.retain(|index| {
            let is_wanted = wanted(*index);
            if !is_wanted {
                snapshot.let_go(*index);
            }
            is_wanted
        });
    }

    /// Whether there are hot batches to let go of.
    pub(crate) fn holds_hot(&self) -> bool {
        !self.given.is_empty()
    }

    /// The next unit with matching rows. With `worst` (a time), units that only hold rows beyond it
    /// are left out.
    pub(crate) fn next(&mut self, worst: Option<i64>) -> Result<Option<Selected>, SearchError> {
        loop {
            match self.step(worst)? {
                Step::Rows(selected) => return Ok(Some(selected)),
                Step::None => {}
                Step::End => return Ok(None),
            }
        }
    }

    /// One piece of work towards the next unit.
    pub(crate) fn step(&mut self, worst: Option<i64>) -> Result<Step, SearchError> {
        if !self.comes_back {
            self.release(|_| false);
        }
        let Some((bound, unit)) = self.queue.pop() else { return Ok(Step::End) };
        if let Some(why) = self.control.stop() {
            self.counters.stopped = Some(why);
            return Ok(Step::End);
        }
        let worst = worst.map(|w| if self.oldest_first { !w } else { w });
        if worst.is_some_and(|worst| bound < worst) {
            self.counters.skipped = true;
            return Ok(Step::End);
        }
        let selected = match unit {
            Unit::File(index) => {
                if let Err(error) = self.expand(index) {
                    self.pass_over(unit, &error);
                }
                return Ok(Step::None);
            }
            Unit::Hot(index) => self.hot(index),
            Unit::Group(file, group) => match self.group(file, group) {
                Ok(selected) => selected,
                Err(error) => {
                    self.pass_over(unit, &error);
                    return Ok(Step::None);
                }
            },
        };
        if selected.rows.is_empty() {
            return Ok(Step::None);
        }
        self.counters.matched += selected.rows.len() as u64;
        Ok(Step::Rows(selected))
    }

    /// Rows of all units that are still to be looked at.
    pub(crate) fn rows_left(&self) -> u64 {
        let rows = self.queue.iter().map(|(_, unit)| match unit {
            Unit::Hot(index) => self.snapshot.hot[*index].kept.len() as u64,
            Unit::File(index) => self.snapshot.files[*index].entry.rows,
            Unit::Group(index, group) => {
                self.snapshot.files[*index].open().map_or(0, |f| f.group_rows(*group) as u64)
            }
        });
        rows.sum()
    }

    /// Goes on without a unit that cannot be read: a damaged file must not hide its neighbours.
    pub(crate) fn pass_over(&mut self, unit: Unit, error: &StoreError) {
        let rows = match unit {
            Unit::Hot(_) => 0,
            Unit::File(index) => self.snapshot.files[index].entry.rows,
            Unit::Group(index, group) => {
                self.snapshot.files[index].open().map_or(0, |file| file.group_rows(group) as u64)
            }
        };
        match error {
            StoreError::Far { .. } => self.counters.away.add(rows, self.snapshot.times(unit)),
            _ => self.counters.damaged_rows += rows,
        }
        tracing::error!(%error, rows, "an answer goes without rows that cannot be read");
    }

    /// What is to be looked at, as far as indexes and statistics tell; nothing else is read.
    pub(crate) fn estimate(mut self) -> Estimate {
        let mut out = Estimate::default();
        while let Some((_, unit)) = self.queue.pop() {
            if self.control.stop().is_some() {
                break;
            }
            match unit {
                Unit::File(index) => match self.expand(index) {
                    Ok(()) => out.files += 1,
                    Err(error) => self.pass_over(unit, &error),
                },
                Unit::Hot(index) => {
                    let hot = &self.snapshot.hot[index];
                    out.units += 1;
                    out.rows += hot.kept.len() as u64;
                    out.bytes += hot.batch.size_bytes() as u64;
                }
                Unit::Group(index, group) => {
                    let Ok(file) = self.snapshot.files[index].open() else { continue };
                    let whole = file.group_rows(group).max(1) as u64;
                    let blocks = self.blocks.remove(&(index, group)).unwrap_or(u64::MAX);
                    let rows = whole.min(u64::from(blocks.count_ones()) * BLOCK_ROWS as u64);
                    out.units += 1;
                    out.rows += rows;
                    out.bytes += (u128::from(file.group_bytes(group)) * u128::from(rows)
                        / u128::from(whole)) as u64;
                }
            }
        }
        out
    }

    /// What may stop it.
    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// What no unread row is better than, as [`Scan::push`] counts: the time, inverted for oldest
    /// first. None when nothing is left to read.
    pub(crate) fn best_unread(&self) -> Option<i64> {
        self.queue.peek().map(|(bound, _)| *bound)
    }

    fn expand(&mut self, index: usize) -> Result<(), StoreError> {
        let file = self.snapshot.files[index].open()?;
        self.counters.scanned_files += 1;
        let asks = self.resolved.asks_index() || self.hint.is_some();
        let mut sidecar = if asks { file.sidecar() } else { None };
        for group in 0..file.groups() {
            if !self.resolved.may_hold(&file, group) {
                continue;
            }
            if let Some(open) = &sidecar {
                let hinted = match &self.hint {
                    Some(hint) => hint.blocks(open, group),
                    None => Ok(u64::MAX),
                };
                let found = self.resolved.blocks(open, group);
                match found.and_then(|mask| Ok(mask & hinted?)) {
                    Ok(0) => continue,
                    Ok(mask) => drop(self.blocks.insert((index, group), mask)),
                    Err(reason) => {
                        let path = &self.snapshot.files[index].entry.path;
                        tracing::error!(path, reason, "index is damaged: searching without it");
                        sidecar = None;
                    }
                }
            }
            self.push(Unit::Group(index, group), file.group_times(group));
        }
        Ok(())
    }

    fn group(&mut self, index: usize, group: usize) -> Result<Selected, StoreError> {
        let file: Arc<StoredFile> = self.snapshot.files[index].open()?;
        let whole = file.group_rows(group).max(1) as u64;
        let bytes = file.group_bytes(group);
        let blocks = self.blocks.remove(&(index, group)).unwrap_or(u64::MAX);
        let mut reader = Group::of_blocks(file, group, blocks);
        self.counters.scanned_rows += reader.rows as u64;
        self.counters.scanned_bytes +=
            (u128::from(bytes) * reader.rows as u128 / u128::from(whole)) as u64;
        let mut mask = reader.in_time(self.since, self.until)?;
        let entry = &self.snapshot.files[index].entry;
        if !(self.is_within(entry.first) && self.is_within(entry.last)) {
            let ids = reader.ids()?;
            mask.retain(|row| self.is_within(ids[row]));
        }
        let mut held = reader.matching(&self.resolved, &mask)?;
        for hidden in self.snapshot.hidden.iter() {
            if !held.is_empty() {
                held = held.minus(&hidden.rows(&mut reader, &held)?);
            }
        }
        let local = held.rows();
        let rows = reader.numbers(&local);
        let unit = Unit::Group(index, group);
        Ok(Selected { unit, rows, local, group: Some(reader), batch: None })
    }

    fn hot(&mut self, index: usize) -> Selected {
        let hot = self.snapshot.hot[index].clone();
        let batch = &*hot.batch;
        let binding = self.resolved.plan.bind(&BatchNames { dict: &self.dict, batch });
        let hidden: Vec<_> = self
            .snapshot
            .hidden
            .iter()
            .map(|h| (h, h.resolved.plan.bind(&BatchNames { dict: &self.dict, batch })))
            .collect();
        self.counters.scanned_rows += hot.kept.len() as u64;
        let rows = hot.kept.iter().copied().filter(|index| {
            let row = batch.row(*index as usize);
            let at = row.event_ns();
            self.since.is_none_or(|s| at >= s)
                && self.until.is_none_or(|u| at < u)
                && self.is_within(row.id())
                && self.resolved.plan.matches(&binding, &row)
                && !hidden.iter().any(|(hidden, binding)| hidden.holds(binding, &row))
        });
        let rows: Vec<u32> = rows.collect();
        match rows.is_empty() {
            true => self.snapshot.let_go(index),
            false => self.given.push(index),
        }
        let local = rows.clone();
        Selected { unit: Unit::Hot(index), rows, local, group: None, batch: Some(hot) }
    }
}

impl Selected {
    fn mask(&self, group: &Group) -> Bits {
        let mut mask = Bits::none(group.rows);
        self.local.iter().for_each(|row| mask.set(*row as usize));
        mask
    }

    /// Time and identity of each selected row.
    pub(crate) fn keys(&mut self) -> Result<Vec<(i64, EventId)>, StoreError> {
        if let Some(group) = &mut self.group {
            let (times, ids) = (group.times()?, group.ids()?);
            return Ok(self.local.iter().map(|r| (times[*r as usize], ids[*r as usize])).collect());
        }
        let views = self.hot_rows();
        Ok(views.map(|row| (row.event_ns(), row.id())).collect())
    }

    /// Time, identity and row of those that may be among the `limit` best, in no order: none that is
    /// beyond `worst`, a time. Identities are read only of what is near enough.
    pub(crate) fn best(
        &mut self,
        oldest_first: bool,
        limit: usize,
        worst: Option<i64>,
    ) -> Result<Vec<(i64, EventId, u32)>, StoreError> {
        let times = self.times()?;
        let order = |at: &u32| match oldest_first {
            true => times[*at as usize],
            false => !times[*at as usize],
        };
        let worst = worst.map(|at| if oldest_first { at } else { !at });
        let mut near: Vec<u32> = (0..times.len() as u32)
            .filter(|at| worst.is_none_or(|worst| order(at) <= worst))
            .collect();
        if near.len() > limit && limit > 0 {
            let mut sorted = near.clone();
            let (_, last, _) = sorted.select_nth_unstable_by_key(limit - 1, order);
            let last = order(last);
            // Of one time all stay: their identities decide.
            near.retain(|at| order(at) <= last);
        }
        let ids = self.ids(&near)?;
        let row = |at: u32| (times[at as usize], self.rows[at as usize]);
        Ok(near
            .into_iter()
            .zip(ids)
            .map(|(at, id)| {
                let (time, row) = row(at);
                (time, id, row)
            })
            .collect())
    }

    /// Identities of some of the selected rows.
    fn ids(&mut self, at: &[u32]) -> Result<Vec<EventId>, StoreError> {
        let local: Vec<u32> = at.iter().map(|at| self.local[*at as usize]).collect();
        if local.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(group) = &mut self.group {
            return group.ids_of(&local);
        }
        let batch = self.batch.iter();
        let ids = batch.flat_map(|hot| local.iter().map(|row| hot.batch.row(*row as usize).id()));
        Ok(ids.collect())
    }

    /// Times alone.
    pub(crate) fn times(&mut self) -> Result<Vec<i64>, StoreError> {
        if let Some(group) = &mut self.group {
            let times = group.times()?;
            return Ok(self.local.iter().map(|r| times[*r as usize]).collect());
        }
        Ok(self.hot_rows().map(|row| row.event_ns()).collect())
    }

    fn hot_rows(&self) -> impl Iterator<Item = event::EventView<'_>> {
        let batch = self.batch.iter();
        batch.flat_map(|hot| self.local.iter().map(|index| hot.batch.row(*index as usize)))
    }

    /// The same as [`Selected::values`], as numbers into distinct texts.
    pub(crate) fn coded(&mut self, names: &[Box<str>]) -> Result<Coded, StoreError> {
        match &mut self.group {
            Some(group) => Coded::of_group(group, names, &self.local),
            None => Ok(Coded::of_values(self.values(names)?)),
        }
    }

    /// The values of the first present field among `names`, for each selected row.
    pub(crate) fn values(&mut self, names: &[Box<str>]) -> Result<Vec<Vec<OwnValue>>, StoreError> {
        if let Some(mut group) = self.group.take() {
            let mask = self.mask(&group);
            let values = group.values(names, &mask);
            self.group = Some(group);
            return values;
        }
        Ok(self.hot_rows().map(|row| hot_values(&row, names)).collect())
    }
}

impl Snapshot {
    /// Lets go of a hot batch: its place stays, without rows.
    fn let_go(&mut self, index: usize) {
        if let Some(hot) = self.hot.get_mut(index) {
            let dict = hot.batch.dict().clone();
            (hot.batch, hot.kept) = (Arc::new(EventBatch::new(dict)), Arc::default());
        }
    }

    /// Least and greatest `@timestamp` of a unit.
    pub(crate) fn times(&self, unit: Unit) -> (i64, i64) {
        match unit {
            Unit::Hot(index) => (self.hot[index].event_min_ns, self.hot[index].event_max_ns),
            Unit::File(index) | Unit::Group(index, _) => {
                let entry = &self.files[index].entry;
                (entry.event_min_ns, entry.event_max_ns)
            }
        }
    }

    /// Whole rows of one unit, in the order of `rows` (ascending).
    pub(crate) fn full_rows(&self, unit: Unit, rows: &[u32]) -> Result<Vec<FullRow>, StoreError> {
        match unit {
            Unit::Hot(index) => {
                let batch = &self.hot[index].batch;
                Ok(rows.iter().map(|row| FullRow::of(&batch.row(*row as usize))).collect())
            }
            Unit::Group(file, group) => self.files[file].open()?.full_rows(group, Some(rows)),
            Unit::File(_) => Ok(Vec::new()),
        }
    }
}
