//! One pass over a snapshot: hot batches and row groups, best time first, each with its matching rows.

use crate::error::{SearchError, StoreError};
use crate::kernel::{BatchNames, Bits, Group, OwnValue, Resolved, hot_values};
use crate::read::{FileHandle, StoredFile};
use crate::rows::{FullRow, HotBatch};
use event::{Dictionary, EventId};
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What is stored at one moment: files up to some event, frozen batches after it.
#[derive(Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) files: Vec<Arc<FileHandle>>,
    pub(crate) hot: Vec<HotBatch>,
}

/// When to stop early.
#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancelled: Arc<AtomicBool>,
}

impl Control {
    /// Why to stop now, if so.
    pub(crate) fn stop(&self) -> Option<&'static str> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Some("cancelled");
        }
        self.deadline.is_some_and(|at| Instant::now() >= at).then_some("timeout")
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
    pub(crate) rows: Vec<u32>,
    group: Option<Group>,
    batch: Option<HotBatch>,
}

/// The pass. `next` gives units until none is left, or none can matter any more.
pub(crate) struct Scan {
    pub(crate) snapshot: Snapshot,
    resolved: Arc<Resolved>,
    dict: Arc<Dictionary>,
    since: Option<i64>,
    until: Option<i64>,
    oldest_first: bool,
    control: Control,
    queue: BinaryHeap<(i64, Unit)>,
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
            dict,
            since,
            until,
            oldest_first,
            control,
            queue: BinaryHeap::new(),
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

    fn push(&mut self, unit: Unit, (low, high): (i64, i64)) {
        let outside = self.since.is_some_and(|s| high < s) || self.until.is_some_and(|u| low >= u);
        if !outside {
            self.queue.push((if self.oldest_first { !low } else { high }, unit));
        }
    }

    /// The next unit with matching rows. With `worst` (a time), units that only hold rows beyond it
    /// are left out.
    pub(crate) fn next(&mut self, worst: Option<i64>) -> Result<Option<Selected>, SearchError> {
        while let Some((bound, unit)) = self.queue.pop() {
            if let Some(why) = self.control.stop() {
                self.counters.stopped = Some(why);
                return Ok(None);
            }
            let worst = worst.map(|w| if self.oldest_first { !w } else { w });
            if worst.is_some_and(|worst| bound < worst) {
                self.counters.skipped = true;
                return Ok(None);
            }
            let selected = match unit {
                Unit::File(index) => {
                    self.expand(index)?;
                    continue;
                }
                Unit::Hot(index) => self.hot(index),
                Unit::Group(file, group) => self.group(file, group)?,
            };
            if !selected.rows.is_empty() {
                self.counters.matched += selected.rows.len() as u64;
                return Ok(Some(selected));
            }
        }
        Ok(None)
    }

    fn expand(&mut self, index: usize) -> Result<(), StoreError> {
        let file = self.snapshot.files[index].open()?;
        self.counters.scanned_files += 1;
        for group in 0..file.groups() {
            if self.resolved.may_hold(&file, group) {
                self.push(Unit::Group(index, group), file.group_times(group));
            }
        }
        Ok(())
    }

    fn group(&mut self, index: usize, group: usize) -> Result<Selected, StoreError> {
        let file: Arc<StoredFile> = self.snapshot.files[index].open()?;
        self.counters.scanned_bytes += file.group_bytes(group);
        let mut reader = Group::new(file, group);
        self.counters.scanned_rows += reader.rows as u64;
        let mask = reader.in_time(self.since, self.until)?;
        let held = reader.matching(&self.resolved, &mask)?;
        let rows = held.iter().map(|r| r as u32).collect();
        Ok(Selected { unit: Unit::Group(index, group), rows, group: Some(reader), batch: None })
    }

    fn hot(&mut self, index: usize) -> Selected {
        let hot = self.snapshot.hot[index].clone();
        let batch = &*hot.batch;
        let binding = self.resolved.plan.bind(&BatchNames { dict: &self.dict, batch });
        self.counters.scanned_rows += hot.kept.len() as u64;
        let rows = hot.kept.iter().copied().filter(|index| {
            let row = batch.row(*index as usize);
            let at = row.event_ns();
            self.since.is_none_or(|s| at >= s)
                && self.until.is_none_or(|u| at < u)
                && self.resolved.plan.matches(&binding, &row)
        });
        let rows = rows.collect();
        Selected { unit: Unit::Hot(index), rows, group: None, batch: Some(hot) }
    }
}

impl Selected {
    fn mask(&self, group: &Group) -> Bits {
        let mut mask = Bits::none(group.rows);
        self.rows.iter().for_each(|row| mask.set(*row as usize));
        mask
    }

    /// Time and identity of each selected row.
    pub(crate) fn keys(&mut self) -> Result<Vec<(i64, EventId)>, StoreError> {
        if let Some(group) = &mut self.group {
            let (times, ids) = (group.times()?, group.ids()?);
            return Ok(self.rows.iter().map(|r| (times[*r as usize], ids[*r as usize])).collect());
        }
        let views = self.hot_rows();
        Ok(views.map(|row| (row.event_ns(), row.id())).collect())
    }

    /// Times alone.
    pub(crate) fn times(&mut self) -> Result<Vec<i64>, StoreError> {
        if let Some(group) = &mut self.group {
            let times = group.times()?;
            return Ok(self.rows.iter().map(|r| times[*r as usize]).collect());
        }
        Ok(self.hot_rows().map(|row| row.event_ns()).collect())
    }

    fn hot_rows(&self) -> impl Iterator<Item = event::EventView<'_>> {
        let batch = self.batch.iter();
        batch.flat_map(|hot| self.rows.iter().map(|index| hot.batch.row(*index as usize)))
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
