//! Joining small files and letting old ones go: manifest first, then the disk.

use crate::error::StoreError;
use crate::manifest::{Change, FileEntry};
use crate::rows::{FullRow, RowRef};
use crate::store::{Store, hour_is_over};
use crate::write::write_file;
use hashbrown::HashSet;
use std::sync::Arc;

/// Rows of a joined file, at most: its rows are in memory while it is written.
pub(crate) const COMPACT_ROWS_MAX: u64 = 65_536;
/// Compressed bytes of a joined file, at most: about 100 MB in memory at the usual ratio.
pub(crate) const COMPACT_BYTES_MAX: u64 = 12 << 20;
/// Neighbours that are joined while their hour is still open; fewer would rewrite rows too often.
pub(crate) const COMPACT_FILES_MIN: usize = 8;

impl Store {
    /// Joins one run of small neighbouring files of one hour, if there is one. Returns how many.
    pub(crate) fn compact(&self, now_ns: i64) -> Result<u64, StoreError> {
        let mut writer = self.writer.lock();
        let (snapshot, _) = self.snapshot();
        let entries: Vec<&FileEntry> = snapshot.files.iter().map(|f| &f.entry).collect();
        let Some(run) = small_run(&entries, now_ns) else { return Ok(0) };
        let files = &snapshot.files[run];
        let mut rows: Vec<FullRow> = Vec::new();
        for file in files {
            let stored = file.open()?;
            for group in 0..stored.groups() {
                rows.extend(stored.full_rows(group, None)?);
            }
        }
        let mut refs: Vec<RowRef<'_>> = rows.iter().map(RowRef::Full).collect();
        let after = files.first().and_then(|f| f.entry.after);
        let generation = writer.manifest.state().version + 1;
        let entry = write_file(&self.root, &mut refs, after, generation, &self.dictionary())?;
        self.step("compacted file renamed");
        let remove: Vec<String> = files.iter().map(|f| f.entry.path.clone()).collect();
        let count = remove.len() as u64;
        let gone: HashSet<String> = remove.iter().cloned().collect();
        let add = self.handles(std::slice::from_ref(&entry));
        let change = Change { add: vec![entry], remove, ..Change::default() };
        self.commit(&mut writer, change)?;
        drop(snapshot);
        self.swap_files(&writer, &gone, add);
        Ok(count)
    }

    /// Removes files beyond the limits of age and size. Returns files and rows.
    pub(crate) fn retire(&self, now_ns: i64) -> Result<(u64, u64), StoreError> {
        let mut writer = self.writer.lock();
        let (snapshot, _) = self.snapshot();
        let mut oldest: Vec<Arc<_>> = snapshot.files.clone();
        oldest.sort_by_key(|f| (f.entry.received_max_ns, f.entry.first));
        let mut total: u64 = oldest.iter().map(|f| f.entry.size_bytes).sum();
        let mut remove = Vec::new();
        let mut rows = 0;
        for file in &oldest {
            let age = now_ns.saturating_sub(file.entry.received_max_ns);
            let too_old = self.options.retention_age_ns.is_some_and(|max| age > max);
            let too_much = self.options.retention_bytes.is_some_and(|max| total > max);
            if !too_old && !too_much {
                break;
            }
            total -= file.entry.size_bytes;
            rows += file.entry.rows;
            remove.push(file.entry.path.clone());
        }
        drop((snapshot, oldest));
        if remove.is_empty() {
            return Ok((0, 0));
        }
        let gone: HashSet<String> = remove.iter().cloned().collect();
        let change = Change { remove, retire: true, ..Change::default() };
        self.commit(&mut writer, change)?;
        self.swap_files(&writer, &gone, Vec::new());
        Ok((gone.len() as u64, rows))
    }
}

/// The first run of files worth joining: neighbours without a gap, in one hour's folder, small.
fn small_run(entries: &[&FileEntry], now_ns: i64) -> Option<std::ops::Range<usize>> {
    let folder = |e: &FileEntry| e.path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    let small =
        |e: &FileEntry| e.rows <= COMPACT_ROWS_MAX / 2 && e.size_bytes <= COMPACT_BYTES_MAX / 2;
    let mut start = 0;
    while start < entries.len() {
        let (mut rows, mut bytes) = (0, 0);
        let mut end = start;
        while let Some(entry) = entries.get(end) {
            let joins = end == start
                || entry.after == Some(entries[end - 1].last)
                    && folder(entry) == folder(entries[start]);
            rows += entry.rows;
            bytes += entry.size_bytes;
            if !joins || !small(entry) || rows > COMPACT_ROWS_MAX || bytes > COMPACT_BYTES_MAX {
                break;
            }
            end += 1;
        }
        let enough = if entries.get(start).is_some_and(|e| hour_is_over(e, now_ns)) {
            2
        } else {
            COMPACT_FILES_MIN
        };
        if end - start >= enough {
            return Some(start..end);
        }
        start = end.max(start + 1);
    }
    None
}
