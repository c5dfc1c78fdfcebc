//! Stored events shaped anew, from their own bytes.
//!
//! ```text
//! file --rows that are wanted--> reshape (the caller's) --+--> file of the same rows and range
//!      --all other rows, as they are----------------------+         listed in its place by one record
//! ```
//! A row keeps its id, its bytes (but for what rules of redaction take out of them), who sent it and when it was received; its fields, its time and what
//! its marks say of parsing are new. A file is replaced whole by one record of the manifest: at every
//! moment each event is in exactly one listed file, and after a crash a file is either done or as it
//! was, so that asking again goes on where it stopped. Rows under a hold stay as they are; so does a
//! row that could be parsed and no longer can.
//!
//! Not here: what shaping is, and detection, which never sees these rows again.

use crate::error::StoreError;
use crate::layout::{self, COLUMNS_MAX, FieldColumn, GROUP_ROWS};
use crate::manifest::{Change, FileEntry};
use crate::policy::{AuditRecord, Hidden, matching_ids};
use crate::read::FileHandle;
use crate::residual::Cell;
use crate::rows::{FullRow, RowRef};
use crate::store::Store;
use crate::upkeep::{Merge, joined_columns, unless_damaged};
use crate::write::{FileWriter, SAMPLE_ROWS, ZSTD_SETTLED, sort, usage};
use event::batch::REDACTION_FIELDS;
use event::{EventBatch, EventId, Marks, RowHead};
use hashbrown::HashSet;
use std::sync::Arc;
use std::time::Instant;

/// Rows that the caller is given at once.
const ASK_ROWS: usize = 512;
/// What parsing says about a row; all other marks stay.
const OF_PARSING: u16 = Marks::PARSE_FAILED.0 | Marks::TIME_SUSPECT.0 | Marks::REDACTED.0;

/// Which rows are shaped anew, who wants it and why.
#[derive(Clone, Debug, Default)]
pub struct Reparse {
    /// Filter in the search language; its times must be absolute.
    pub filter: String,
    /// Only events of this time or later, ns.
    pub since_ns: Option<i64>,
    /// Only events before this time, ns.
    pub until_ns: Option<i64>,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Count, and change nothing.
    pub dry_run: bool,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReparseCounts {
    /// Files that were listed when it began and can hold wanted rows.
    pub files: u64,
    /// Files looked at.
    pub files_done: u64,
    /// Rows that the filter matches.
    pub matched: u64,
    /// Rows whose fields or time are others now.
    pub changed: u64,
    /// Among them: rows that could not be parsed and now can.
    pub mended: u64,
    /// Rows left as they are because shaping them anew would fail.
    pub worse: u64,
    /// Rows left as they are because a hold matches them.
    pub held: u64,
    /// Files passed over because they are damaged or the far tier did not give them.
    pub passed_over: u64,
}

/// A stored row, for shaping.
pub struct StoredRow<'a>(&'a FullRow);

impl StoredRow<'_> {
    /// Id, times of receipt and sender.
    pub fn head(&self) -> RowHead {
        let head = &self.0.head;
        RowHead {
            id: head.id,
            received_ns: head.received_ns,
            stream_ns: head.stream_ns,
            envelope: head.envelope.clone(),
        }
    }

    /// Its bytes.
    pub fn raw(&self) -> &[u8] {
        &self.0.raw
    }

    /// Whether a field has this value now.
    pub fn has(&self, name: &str, value: &[u8]) -> bool {
        self.0.cells.iter().any(|c| &*c.name == name && &*c.bytes == value)
    }

    /// The first value of a field now.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.0.cells.iter().find(|c| &*c.name == name).map(|c| &*c.bytes)
    }
}

/// Shapes rows: one row for each, in order, and whether the row has to stay as it is. Rows of an answer
/// of another length stay as they are.
pub type Reshape<'a> = dyn FnMut(&[StoredRow<'_>]) -> (EventBatch, Vec<bool>) + 'a;

/// Hears what was changed, for the audit, after each file; false ends the run.
pub type Listen<'a> = dyn FnMut(ReparseCounts, Option<AuditRecord>) -> bool + 'a;

impl Store {
    /// Shapes stored rows anew, file by file. What is only in memory is written to files first. Files
    /// that cannot be read are passed over and counted.
    ///
    /// # Errors
    /// A filter that cannot be read; a disk that cannot be written. Files that were replaced until
    /// then stay so.
    pub fn reparse(
        &self,
        wanted: &Reparse,
        reshape: &mut Reshape<'_>,
        listen: &mut Listen<'_>,
        now_ns: i64,
    ) -> Result<ReparseCounts, StoreError> {
        self.writable()?;
        self.flush()?;
        let mut chosen = Hidden::of(&wanted.filter, &self.dictionary())?;
        (chosen.since_ns, chosen.until_ns) = (wanted.since_ns, wanted.until_ns);
        let mut counts = ReparseCounts::default();
        let (snapshot, _) = self.snapshot();
        let may_hold = |e: &FileEntry| {
            wanted.since_ns.is_none_or(|since| e.event_max_ns >= since)
                && wanted.until_ns.is_none_or(|until| e.event_min_ns < until)
        };
        counts.files = snapshot.files.iter().filter(|f| may_hold(&f.entry)).count() as u64;
        let end = snapshot.files.iter().map(|f| f.entry.last).max();
        drop(snapshot);
        let mut done: Option<EventId> = None;
        // Joins may go on between two files: the next is found by its place, not by its name.
        while done < end {
            let _upkeep = self.upkeep.lock();
            let (snapshot, _) = self.snapshot();
            let next = |f: &&Arc<FileHandle>| done.is_none_or(|done| f.entry.last > done);
            let Some(file) = snapshot.files.iter().find(next).cloned() else { break };
            drop(snapshot);
            done = Some(file.entry.last);
            if !may_hold(&file.entry) {
                continue;
            }
            let audit = self.reparse_file(&file, wanted, &chosen, reshape, &mut counts, now_ns);
            let audit = unless_damaged(audit, std::slice::from_ref(&file))?;
            counts.passed_over += u64::from(audit.is_none());
            counts.files_done += 1;
            if !listen(counts, audit.flatten()) {
                break;
            }
        }
        Ok(counts)
    }

    fn reparse_file(
        &self,
        file: &Arc<FileHandle>,
        wanted: &Reparse,
        chosen: &Hidden,
        reshape: &mut Reshape<'_>,
        counts: &mut ReparseCounts,
        now_ns: i64,
    ) -> Result<Option<AuditRecord>, StoreError> {
        // Deleted rows stay as they are: shaped anew they might be none of the deletion's any more.
        let hidden = self.snapshot().0.hidden;
        let all = matching_ids(file, chosen, &hidden)?;
        let mut ids = match self.hidden_holds()? {
            holds if holds.is_empty() || all.is_empty() => all.clone(),
            holds => matching_ids(file, chosen, &holds)?,
        };
        ids.retain(|id| all.contains(id));
        counts.matched += all.len() as u64;
        counts.held += (all.len() - ids.len()) as u64;
        if ids.is_empty() {
            return Ok(None);
        }
        // One copy of a far file serves both passes.
        let _whole = file.open_whole()?;
        let (found, sample) = self.try_file(file, &ids, reshape)?;
        counts.changed += found.changed;
        counts.mended += found.mended;
        counts.worse += found.worse;
        if found.changed == 0 || wanted.dry_run {
            return Ok(None);
        }
        let entry = self.reshaped(file, &ids, &sample, reshape, now_ns)?;
        self.step("reshaped file renamed");
        let path = file.entry.path.clone();
        let bytes = file.entry.total_bytes().saturating_sub(entry.total_bytes());
        let add = self.handles(std::slice::from_ref(&entry));
        let change = Change { add: vec![entry], remove: vec![path.clone()], ..Change::default() };
        let mut writer = self.writer.lock();
        self.commit(&mut writer, change)?;
        self.swap_files(&writer, &HashSet::from_iter([path.clone()]), add);
        let (actor, reason) = (&wanted.actor, &wanted.reason);
        let record =
            crate::policy::record("reparse.rewrite", actor, reason, &path, found.changed, bytes);
        Ok(Some(record))
    }

    /// Shapes the rows anew and counts. Out: also some of the new rows, to choose columns by.
    fn try_file(
        &self,
        file: &Arc<FileHandle>,
        ids: &HashSet<EventId>,
        reshape: &mut Reshape<'_>,
    ) -> Result<(ReparseCounts, Vec<FullRow>), StoreError> {
        let (mut counts, mut sample) = (ReparseCounts::default(), Vec::new());
        let mut merge = Merge::new(vec![file.open_whole()?])?;
        let mut rows = Vec::with_capacity(ASK_ROWS);
        loop {
            let next = merge.next()?;
            let end = next.is_none();
            rows.extend(next.filter(|row| ids.contains(&row.head.id)));
            if rows.len() == ASK_ROWS || end {
                reshape_rows(&mut rows, None, reshape, &mut counts);
                let room = SAMPLE_ROWS - sample.len();
                sample.extend(rows.drain(..).take(room));
            }
            if end {
                return Ok((counts, sample));
            }
        }
    }

    /// Writes the file that takes the place of `file`. Nobody knows of it yet.
    fn reshaped(
        &self,
        file: &Arc<FileHandle>,
        ids: &HashSet<EventId>,
        sample: &[FullRow],
        reshape: &mut Reshape<'_>,
        now_ns: i64,
    ) -> Result<FileEntry, StoreError> {
        let files = [file.clone()];
        let (stored, entry) = (vec![file.open_whole()?], self.joined(&files));
        let columns = self.columns(joined_columns(&stored, &self.dictionary()), sample);
        let mut writer = FileWriter::create(&self.root, entry, columns, ZSTD_SETTLED)?;
        let mut merge = Merge::new(stored)?;
        let mut rows: Vec<FullRow> = Vec::with_capacity(GROUP_ROWS);
        let (mut low, mut high) = (i64::MAX, i64::MIN);
        let mut counts = ReparseCounts::default();
        let mut started = Instant::now();
        loop {
            let next = merge.next()?;
            let end = next.is_none();
            rows.extend(next);
            if rows.len() == GROUP_ROWS || end && !rows.is_empty() {
                for part in rows.chunks_mut(ASK_ROWS) {
                    reshape_rows(part, Some(ids), reshape, &mut counts);
                }
                for row in &rows {
                    (low, high) = (low.min(row.head.event_ns), high.max(row.head.event_ns));
                }
                let mut refs: Vec<RowRef<'_>> = rows.iter().map(RowRef::Full).collect();
                sort(&mut refs);
                writer.group(&refs)?;
                rows.clear();
                self.yield_to_ingest(started, now_ns)?;
                started = Instant::now();
            }
            if end {
                let mut entry = writer.finish()?;
                (entry.event_min_ns, entry.event_max_ns) = (low, high);
                return Ok(entry);
            }
        }
    }

    /// The file's columns, and those that the new rows ask for.
    fn columns(&self, mut columns: Vec<FieldColumn>, sample: &[FullRow]) -> Vec<FieldColumn> {
        let refs: Vec<RowRef<'_>> = sample.iter().map(RowRef::Full).collect();
        let new = layout::choose(&usage(&refs), refs.len() as u64, &self.dictionary());
        for column in new {
            if columns.len() < COLUMNS_MAX && !columns.iter().any(|c| c.name == column.name) {
                columns.push(column);
            }
        }
        columns.sort_by(|a, b| a.name.cmp(&b.name));
        columns
    }
}

/// Shapes those of the rows anew that are in `ids` (all without), in place.
fn reshape_rows(
    rows: &mut [FullRow],
    ids: Option<&HashSet<EventId>>,
    reshape: &mut Reshape<'_>,
    counts: &mut ReparseCounts,
) {
    let is_raw = |row: &FullRow| row.head.marks.has(Marks::QUARANTINED);
    let places: Vec<usize> = (0..rows.len())
        .filter(|at| ids.is_none_or(|ids| ids.contains(&rows[*at].head.id)) && !is_raw(&rows[*at]))
        .collect();
    if places.is_empty() {
        return;
    }
    let asked: Vec<StoredRow<'_>> = places.iter().map(|at| StoredRow(&rows[*at])).collect();
    let (batch, stays) = reshape(&asked);
    if batch.len() != places.len() || stays.len() != places.len() {
        return;
    }
    for (index, at) in places.into_iter().enumerate() {
        let (mut new, old) = (FullRow::of(&batch.row(index)), &mut rows[at]);
        keep_redaction(&mut new, old);
        let failed = |row: &FullRow| row.head.marks.has(Marks::PARSE_FAILED);
        if stays[index] || failed(&new) && !failed(old) {
            counts.worse += u64::from(!stays[index]);
            continue;
        }
        // The record itself changes only where something was taken out of it.
        let is_redacted = new.head.marks.has(Marks::REDACTED) && new.raw != old.raw;
        if new.head.event_ns == old.head.event_ns
            && !is_redacted
            && same_cells(&new.cells, &old.cells)
        {
            continue;
        }
        counts.changed += 1;
        counts.mended += u64::from(failed(old) && !failed(&new));
        let marks = old.head.marks.0 & !OF_PARSING | new.head.marks.0 & OF_PARSING;
        (old.head.marks, old.head.event_ns) = (Marks(marks), new.head.event_ns);
        old.cells = new.cells;
        if is_redacted {
            old.raw = new.raw;
        }
    }
}

/// What was taken out of a record is not there to be found again: what says so stays.
fn keep_redaction(new: &mut FullRow, old: &FullRow) {
    for cell in old.cells.iter().filter(|cell| REDACTION_FIELDS.contains(&&*cell.name)) {
        let is_same = |c: &Cell| c.name == cell.name && c.bytes == cell.bytes;
        if !new.cells.iter().any(is_same) {
            let (name, bytes) = (cell.name.clone(), cell.bytes.clone());
            new.cells.push(Cell { name, kind: cell.kind, bytes });
        }
        new.head.marks.0 |= Marks::REDACTED.0;
    }
}

/// Whether two rows say the same: the order of fields means nothing, that of a field's values does.
fn same_cells(a: &[Cell], b: &[Cell]) -> bool {
    let sorted = |cells: &[Cell]| {
        let mut order: Vec<usize> = (0..cells.len()).collect();
        order.sort_by(|x, y| cells[*x].name.cmp(&cells[*y].name).then(x.cmp(y)));
        order
    };
    a.len() == b.len()
        && sorted(a).into_iter().zip(sorted(b)).all(|(x, y)| {
            let (x, y) = (&a[x], &b[y]);
            x.name == y.name && x.kind == y.kind && x.bytes == y.bytes
        })
}
