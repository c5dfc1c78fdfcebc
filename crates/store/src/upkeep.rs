//! Joining small files and letting old ones go: manifest first, then the disk.
//!
//! A join reads its files as streams in their order and writes one file in that order, a row group at
//! a time, without holding the store's lock: rows can be flushed and searched all along. Every row is
//! joined at most twice: tiny files while their hour is open, everything once it is over.

use crate::error::StoreError;
use crate::layout::{COLUMNS_MAX, FieldColumn, GROUP_ROWS, RARE_ONE_IN, Type};
use crate::manifest::{Change, FileEntry, sync_folder};
use crate::read::{FileHandle, StoredFile};
use crate::rows::{FullRow, RowRef};
use crate::sidecar::{GroupIndex, SidecarWriter, index_path};
use crate::store::{Store, hour_is_over};
use crate::verify::hash_file;
use crate::write::{FileWriter, ZSTD_SETTLED, file_path, lead};
use event::{Dictionary, EventId, Kind};
use hashbrown::{HashMap, HashSet};
use parking_lot::MutexGuard;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fs;
use std::sync::Arc;
use std::time::Instant;

/// Rows of a joined file, at most: about 300 MB, an hour of 600 events a second.
pub(crate) const COMPACT_ROWS_MAX: u64 = 2 << 20;
/// Compressed bytes of a joined file, at most.
pub(crate) const COMPACT_BYTES_MAX: u64 = 512 << 20;
/// Neighbours that are joined while their hour is still open; fewer would rewrite rows too often.
pub(crate) const COMPACT_FILES_MIN: usize = 8;
/// Most files of one join: each takes some megabytes while it is read.
const COMPACT_FILES_MAX: usize = 64;
/// A file of fewer rows is joined while its hour is open.
const COMPACT_SMALL_ROWS: u64 = GROUP_ROWS as u64 / 2;
/// Bytes of rows after which a join closes a row group: it is in memory while it is written.
const GROUP_BYTES_MAX: usize = 128 << 20;
/// Rows of one file that are in memory during a join, at most, and their bytes, about.
const STREAM_ROWS: u64 = 512;
const STREAM_BYTES: u64 = 1 << 20;

impl Store {
    /// Joins one run of small neighbouring files of one hour, if there is one. Returns how many; none
    /// while others rewrite files.
    pub(crate) fn compact(&self, now_ns: i64) -> Result<u64, StoreError> {
        self.upkeep.try_lock().map_or(Ok(0), |upkeep| self.join_run(upkeep, now_ns))
    }

    fn join_run(&self, upkeep: MutexGuard<'_, ()>, now_ns: i64) -> Result<u64, StoreError> {
        let (snapshot, _) = self.snapshot();
        // What has been uploaded stays as it is: joining it would move it twice.
        let fit = |f: &&Arc<FileHandle>| !f.is_damaged() && f.entry.far.is_none();
        let whole: Vec<_> = snapshot.files.iter().filter(fit).cloned().collect();
        let entries: Vec<&FileEntry> = whole.iter().map(|f| &f.entry).collect();
        let Some(run) = small_run(&entries, now_ns) else { return Ok(0) };
        let files = whole[run].to_vec();
        drop((snapshot, whole));
        let Some(entry) = unless_damaged(self.rewrite(&files, &|_| true, now_ns), &files)? else {
            return Ok(0);
        };
        self.step("compacted file renamed");
        let remove: Vec<String> = files.iter().map(|f| f.entry.path.clone()).collect();
        let gone: HashSet<String> = remove.iter().cloned().collect();
        let add = self.handles(std::slice::from_ref(&entry));
        let mut writer = self.writer.lock();
        let change = Change { add: vec![entry], remove, ..Change::default() };
        self.commit(&mut writer, change)?;
        drop(files);
        self.swap_files(&writer, &gone, add);
        drop((writer, upkeep));
        Ok(gone.len() as u64)
    }

    /// Joins all files that can be joined, as if every hour were over. Returns how many.
    pub fn join_all(&self) -> Result<u64, StoreError> {
        let mut joined = 0;
        loop {
            match self.join_run(self.upkeep.lock(), i64::MAX)? {
                0 => return Ok(joined),
                some => joined += some,
            }
        }
    }

    /// Writes one file of the rows of neighbouring files that `keep` wants. Its range is that of all
    /// of them. Nobody knows of it yet.
    pub(crate) fn rewrite(
        &self,
        files: &[Arc<FileHandle>],
        keep: &dyn Fn(&FullRow) -> bool,
        now_ns: i64,
    ) -> Result<FileEntry, StoreError> {
        let stored = files.iter().map(|f| f.open_whole()).collect::<Result<Vec<_>, _>>()?;
        let entry = self.joined(files);
        let columns = joined_columns(&stored, &self.dictionary());
        let mut writer = FileWriter::create(&self.root, entry, columns, ZSTD_SETTLED)?;
        let mut merge = Merge::new(stored)?;
        let (mut rows, mut bytes): (Vec<FullRow>, usize) = (Vec::new(), 0);
        let mut started = Instant::now();
        loop {
            let next = merge.next()?;
            let end = next.is_none();
            if let Some(row) = next.filter(|row| keep(row)) {
                bytes += row.size_bytes();
                rows.push(row);
            }
            let full = rows.len() == GROUP_ROWS || bytes >= GROUP_BYTES_MAX;
            if full || end && !rows.is_empty() {
                let refs: Vec<RowRef<'_>> = rows.iter().map(RowRef::Full).collect();
                writer.group(&refs)?;
                (rows, bytes) = (Vec::new(), 0);
                self.yield_to_ingest(started, now_ns)?;
                started = Instant::now();
            }
            if end {
                return writer.finish();
            }
        }
    }

    /// Makes the index of every file anew that has none or whose index is not the listed one. Files
    /// that cannot be read are passed over.
    pub fn reindex(&self) -> Result<Reindexed, StoreError> {
        let _upkeep = self.upkeep.lock();
        let (snapshot, _) = self.snapshot();
        let mut done = Reindexed::default();
        for file in &snapshot.files {
            let found = hash_file(&index_path(&file.path)).ok();
            let listed = file.entry.index.as_ref().map(|i| (i.size_bytes, i.sha256.clone()));
            if listed.is_some() && listed == found {
                continue;
            }
            match unless_damaged(self.reindex_file(file), std::slice::from_ref(file))? {
                Some(()) => done.made += 1,
                None => done.passed_over += 1,
            }
        }
        Ok(done)
    }

    fn reindex_file(&self, file: &FileHandle) -> Result<(), StoreError> {
        let path = index_path(&file.path);
        let stored = file.open()?;
        let tmp = path.with_extension("idx.tmp");
        let mut writer = SidecarWriter::create(&tmp)?;
        for group in 0..stored.groups() {
            let mut index = GroupIndex::new();
            for (at, row) in stored.full_rows(group, None)?.iter().enumerate() {
                index.row(at);
                let envelope = &row.head.envelope;
                for text in [&envelope.source, &envelope.identity, &envelope.peer] {
                    index.cell(text.as_bytes());
                }
                row.cells.iter().for_each(|cell| index.cell(&cell.bytes));
                index.text(&row.raw);
            }
            writer.group(index)?;
        }
        let index = writer.finish()?;
        fs::rename(&tmp, &path).map_err(StoreError::io("renaming", &tmp))?;
        path.parent().map_or(Ok(()), sync_folder)?;
        let entry = FileEntry { index: Some(index), ..file.entry.clone() };
        let mut writer = self.writer.lock();
        let change = Change { add: vec![entry.clone()], ..Change::default() };
        self.commit(&mut writer, change)?;
        drop(self.replace_handle(&entry));
        Ok(())
    }

    /// Between two row groups of a join: flushes what has become due, and waits as long as the group
    /// took while rows come in fast.
    pub(crate) fn yield_to_ingest(&self, started: Instant, now_ns: i64) -> Result<(), StoreError> {
        if self.hot_is_due(now_ns) {
            self.flush()?;
        }
        if self.stats().hot_bytes as usize > self.options.hot_bytes_max / 2 {
            std::thread::sleep(started.elapsed());
        }
        Ok(())
    }

    /// What the manifest will say of a file made of these.
    pub(crate) fn joined(&self, files: &[Arc<FileHandle>]) -> FileEntry {
        let entries = || files.iter().map(|f| &f.entry);
        let first = entries().map(|e| e.first).min().unwrap_or_default();
        let last = entries().map(|e| e.last).max().unwrap_or_default();
        let received_max_ns = entries().map(|e| e.received_max_ns).max().unwrap_or_default();
        let generation = self.writer.lock().manifest.state().version + 1;
        FileEntry {
            path: file_path(received_max_ns, first, last, generation),
            first,
            last,
            after: entries().next().and_then(|e| e.after),
            rows: entries().map(|e| e.rows).sum(),
            event_min_ns: entries().map(|e| e.event_min_ns).min().unwrap_or_default(),
            event_max_ns: entries().map(|e| e.event_max_ns).max().unwrap_or_default(),
            received_min_ns: entries().map(|e| e.received_min_ns).min().unwrap_or_default(),
            received_max_ns,
            ..FileEntry::default()
        }
    }
}

/// What [`Store::reindex`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reindexed {
    /// Indexes made.
    pub made: u64,
    /// Files passed over because they are damaged or the far tier did not give them.
    pub passed_over: u64,
}

/// Nothing if one of `files` cannot be read: a damaged or missing one is left alone from now on, one
/// that the far tier does not give for now, so that upkeep goes on with all others.
pub(crate) fn unless_damaged<T>(
    result: Result<T, StoreError>,
    files: &[Arc<FileHandle>],
) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::File { path, reason }) => {
            let Some(file) = files.iter().find(|f| f.path == path) else {
                return Err(StoreError::File { path, reason });
            };
            file.leave_alone();
            tracing::error!(path = %path.display(), reason, "a damaged file is left as it is");
            Ok(None)
        }
        Err(StoreError::Io { action, path, source }) => {
            let file = files.iter().find(|f| f.path == path);
            match file.filter(|_| source.kind() == std::io::ErrorKind::NotFound) {
                Some(file) => {
                    file.leave_alone();
                    tracing::error!(path = %path.display(), "a file of the store is missing");
                    Ok(None)
                }
                None => Err(StoreError::Io { action, path, source }),
            }
        }
        // It can be read another time.
        Err(error @ StoreError::Far { .. }) => {
            tracing::warn!(%error, "a file of the far tier is passed over for now");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The order of a file's rows.
type Key = (Vec<u8>, Vec<u8>, i64, EventId);

/// Several files as one stream in the order of a file.
pub(crate) struct Merge {
    files: Vec<Arc<StoredFile>>,
    readers: Vec<ParquetRecordBatchReader>,
    rows: Vec<VecDeque<FullRow>>,
    heap: BinaryHeap<Reverse<(Key, usize)>>,
}

impl Merge {
    pub(crate) fn new(files: Vec<Arc<StoredFile>>) -> Result<Self, StoreError> {
        let rows = |file: &StoredFile| {
            (STREAM_BYTES / file.row_bytes().max(1)).clamp(1, STREAM_ROWS) as usize
        };
        let readers = files.iter().map(|f| f.stream(rows(f))).collect::<Result<Vec<_>, _>>()?;
        let rows = files.iter().map(|_| VecDeque::new()).collect();
        let mut merge = Self { files, readers, rows, heap: BinaryHeap::new() };
        for file in 0..merge.files.len() {
            merge.offer(file)?;
        }
        Ok(merge)
    }

    fn offer(&mut self, file: usize) -> Result<(), StoreError> {
        if self.rows[file].is_empty()
            && let Some(batch) = self.readers[file].next()
        {
            let batch = batch.map_err(|e| self.files[file].unreadable(&e))?;
            self.rows[file].extend(self.files[file].decode(&batch)?);
        }
        if let Some(row) = self.rows[file].front() {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            let row = RowRef::Full(row);
            lead(&row, &mut a, &mut b);
            self.heap.push(Reverse(((a, b, row.event_ns(), row.id()), file)));
        }
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Result<Option<FullRow>, StoreError> {
        let Some(Reverse((_, file))) = self.heap.pop() else { return Ok(None) };
        let row = self.rows[file].pop_front();
        self.offer(file)?;
        Ok(row)
    }
}

/// The columns of a file made of several: those that are frequent over all of them. A column whose
/// files disagree about its type becomes text.
pub(crate) fn joined_columns(files: &[Arc<StoredFile>], dict: &Dictionary) -> Vec<FieldColumn> {
    struct Seen {
        rows: u64,
        types: BTreeMap<u8, (Type, u64)>,
        kinds: HashMap<Kind, u64>,
    }
    let total: u64 = files.iter().map(|f| f.rows()).sum();
    let mut seen: BTreeMap<&str, Seen> = BTreeMap::new();
    for file in files {
        for index in file.field_indices() {
            let name = file.schema().field(index).name().as_str();
            let Some(ty) = file.column_type(index) else { continue };
            let rows = file.present(index);
            let seen = seen.entry(name).or_insert_with(|| Seen {
                rows: 0,
                types: BTreeMap::new(),
                kinds: HashMap::new(),
            });
            seen.rows += rows;
            seen.types.entry(ty as u8).or_insert((ty, 0)).1 += rows;
            *seen.kinds.entry(file.kind(index)).or_insert(0) += rows;
        }
    }
    let mut list: Vec<(&str, Seen)> = seen
        .into_iter()
        .filter(|(name, seen)| dict.id(name).is_some() || seen.rows * RARE_ONE_IN >= total)
        .collect();
    list.sort_by(|a, b| b.1.rows.cmp(&a.1.rows).then(a.0.cmp(b.0)));
    list.truncate(COLUMNS_MAX);
    list.sort_by(|a, b| a.0.cmp(b.0));
    list.into_iter()
        .map(|(name, seen)| {
            let types: Vec<Type> = seen.types.values().map(|(ty, _)| *ty).collect();
            let most = seen.types.values().max_by_key(|(_, rows)| *rows).map(|(ty, _)| *ty);
            let same = |list: &[Type]| types.iter().all(|ty| list.contains(ty));
            let ty = match most {
                Some(most) if types.len() == 1 => most,
                Some(most) if same(&[Type::Text, Type::Plain]) => most,
                Some(most) if same(&[Type::Long, Type::PlainLong]) => most,
                _ => Type::Text,
            };
            let kind = seen.kinds.into_iter().max_by_key(|(kind, rows)| (*rows, *kind as u8));
            FieldColumn { name: name.into(), kind: kind.map_or(Kind::Str, |(k, _)| k), ty }
        })
        .collect()
}

/// The first run of files worth joining: neighbours without a gap, in one hour's folder, small.
fn small_run(entries: &[&FileEntry], now_ns: i64) -> Option<std::ops::Range<usize>> {
    let folder = |e: &FileEntry| e.path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    let mut start = 0;
    while start < entries.len() {
        let over = hour_is_over(entries[start], now_ns);
        let (rows_max, enough) = match over {
            true => (COMPACT_ROWS_MAX / 2, 2),
            false => (COMPACT_SMALL_ROWS, COMPACT_FILES_MIN),
        };
        let (mut rows, mut bytes) = (0, 0);
        let mut end = start;
        while let Some(entry) = entries.get(end) {
            let joins = end == start
                || entry.after == Some(entries[end - 1].last)
                    && folder(entry) == folder(entries[start]);
            rows += entry.rows;
            bytes += entry.size_bytes;
            let small = entry.rows <= rows_max && entry.size_bytes <= COMPACT_BYTES_MAX / 2;
            let fits = rows <= COMPACT_ROWS_MAX && bytes <= COMPACT_BYTES_MAX;
            if !joins || !small || !fits || end - start == COMPACT_FILES_MAX {
                break;
            }
            end += 1;
        }
        if end - start >= enough {
            return Some(start..end);
        }
        start = end.max(start + 1);
    }
    None
}
