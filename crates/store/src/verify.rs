//! Proving that what is listed is what is on disk.

use crate::error::StoreError;
use crate::far_file::FarFile;
use crate::kernel::Group;
use crate::manifest::FileEntry;
use crate::read::{FileHandle, Source, StoredFile};
use crate::sidecar::{Sidecar, index_path};
use crate::store::Store;
use crate::tier::random_id;
use crate::write::hex;
use event::EventId;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One thing that is not as the manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, or empty for a problem between files.
    pub path: String,
    /// What is wrong.
    pub what: String,
}

/// Result of [`Store::verify`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Files looked at.
    pub files: u64,
    /// Rows read.
    pub rows: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Far files of which only size and index were looked at.
    pub far_files: u64,
    /// What is wrong; empty when all is well.
    pub problems: Vec<Problem>,
}

impl Store {
    /// Reads every listed file: size, SHA-256, row count, identities and times within what the
    /// manifest says; ranges of files neither overlap nor leave a gap that retention did not make.
    ///
    /// Files of the far tier are copied here one after the other for that.
    pub fn verify(&self) -> Result<VerifyReport, StoreError> {
        self.verify_with(true)
    }

    /// The same; unless `far_bytes` are to be read, the far tier is asked for the size of its files only.
    pub fn verify_with(&self, far_bytes: bool) -> Result<VerifyReport, StoreError> {
        // Holding the files keeps retention from unlinking them meanwhile.
        let (state, snapshot) = {
            let writer = self.writer.lock();
            (writer.manifest.state().clone(), self.snapshot().0)
        };
        let mut report = VerifyReport::default();
        let mut entries: Vec<&FileEntry> = state.files.values().collect();
        entries.sort_by_key(|e| (e.first, e.last));
        for entry in &entries {
            report.files += 1;
            let path = self.root.join(&entry.path);
            let handle = FileHandle::new(&self.root, (*entry).clone(), self.far.as_ref());
            let mut found = match handle.far() {
                None => check_file(&path, entry, &mut report)?,
                Some(far) if far_bytes => check_far(&path, far, entry, &mut report)?,
                Some(far) => check_far_size(far, entry, &mut report),
            };
            found.extend(check_index(&path, entry, &mut report));
            for what in found {
                report.problems.push(Problem { path: entry.path.clone(), what });
            }
        }
        drop(snapshot);
        let retired: Vec<(Option<EventId>, EventId)> =
            state.retired.iter().map(|r| (r.after, r.through)).collect();
        check_ranges(&entries, &retired, &mut report.problems);
        Ok(report)
    }
}

/// A far file: its end that is here, and all of it, copied for a while.
fn check_far(
    path: &Path,
    far: &Arc<FarFile>,
    entry: &FileEntry,
    report: &mut VerifyReport,
) -> Result<Vec<String>, StoreError> {
    let damaged = far.has_damaged_end();
    let source = Source::Far(far.clone());
    if let Err(error) = StoredFile::of(path, source, entry.footer.as_ref()) {
        return Ok(vec![format!("its end on the local disk: {error}")]);
    }
    let folder = own_folder()?;
    let copy = folder.join("copy.parquet");
    let found = match far.recall(&copy) {
        Ok(()) => check_file(&copy, entry, report),
        Err(error) => Ok(vec![error.to_string()]),
    };
    std::fs::remove_dir_all(&folder).map_err(StoreError::io("removing", &folder))?;
    let text = "its end on the local disk was damaged: the one of the far tier is read instead";
    found.map(|found| found.into_iter().chain(damaged.then(|| text.into())).collect())
}

/// A new folder that nobody else can look into or knew the name of. Not beside the files: the store may
/// be open for looking only.
fn own_folder() -> Result<PathBuf, StoreError> {
    let folder = std::env::temp_dir().join(format!("alcedo-verify-{}", random_id()?));
    let made = std::fs::DirBuilder::new().mode(0o700).create(&folder);
    made.map_err(StoreError::io("creating", &folder))?;
    Ok(folder)
}

fn check_far_size(far: &FarFile, entry: &FileEntry, report: &mut VerifyReport) -> Vec<String> {
    report.far_files += 1;
    match far.size_there() {
        Ok(Some(size)) if size == entry.size_bytes => Vec::new(),
        Ok(Some(size)) => {
            vec![format!("its object is {size} bytes long, listed with {}", entry.size_bytes)]
        }
        Ok(None) => vec!["its object is not in the far tier".into()],
        Err(error) => vec![error.to_string()],
    }
}

/// The index beside a file: as listed, and whole.
fn check_index(path: &Path, entry: &FileEntry, report: &mut VerifyReport) -> Option<String> {
    let listed = entry.index.as_ref()?;
    let path = index_path(path);
    let hint = "`alcedo store reindex` makes it anew";
    let (size, digest) = match hash_file(&path) {
        Ok(found) => found,
        Err(error) => return Some(format!("its index cannot be read: {error}; {hint}")),
    };
    report.bytes += size;
    if size != listed.size_bytes || digest != listed.sha256 {
        return Some(format!("its index is not the listed one; {hint}"));
    }
    let whole = Sidecar::open(&path).and_then(|sidecar| sidecar.verify());
    whole.err().map(|reason| format!("its index: {reason}; {hint}"))
}

/// Size and SHA-256 of a file.
pub(crate) fn hash_file(path: &Path) -> std::io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((size, hex(&hash.finalize())));
        }
        hash.update(&buffer[..n]);
        size += n as u64;
    }
}

/// How much of a damaged file can be read.
fn readable(path: &Path, entry: &FileEntry) -> String {
    let Ok(stored) = StoredFile::open(path, entry.footer.as_ref()) else {
        return format!("none of its {} rows can be read", entry.rows);
    };
    let whole = (0..stored.groups()).filter(|group| stored.read(*group, None, None).is_ok());
    let rows: usize = whole.map(|group| stored.group_rows(group)).sum();
    format!("{rows} of its {} rows can be read whole", entry.rows)
}

fn check_file(
    path: &Path,
    entry: &FileEntry,
    report: &mut VerifyReport,
) -> Result<Vec<String>, StoreError> {
    let (size, digest) = match hash_file(path) {
        Ok(found) => found,
        Err(error) => return Ok(vec![format!("cannot be opened: {error}")]),
    };
    report.bytes += size;
    if size != entry.size_bytes {
        return Ok(vec![format!("is {size} bytes long, listed with {}", entry.size_bytes)]);
    }
    if digest != entry.sha256 {
        return Ok(vec![format!("its SHA-256 is not the listed one; {}", readable(path, entry))]);
    }
    // The bytes are those that were written; now whether they say what is listed.
    let stored = match StoredFile::open(path, entry.footer.as_ref()) {
        Ok(stored) => Arc::new(stored),
        Err(error) => return Ok(vec![error.to_string()]),
    };
    let (mut rows, mut outside) = (0, 0);
    for group in 0..stored.groups() {
        let mut group = Group::new(stored.clone(), group);
        rows += group.rows as u64;
        let (ids, times) = (group.ids()?, group.times()?);
        let inside = |(id, at): (&EventId, &i64)| {
            (entry.first..=entry.last).contains(id)
                && (entry.event_min_ns..=entry.event_max_ns).contains(at)
        };
        outside += ids.iter().zip(&times).filter(|pair| !inside(*pair)).count();
    }
    report.rows += rows;
    let mut out = Vec::new();
    if rows != entry.rows {
        out.push(format!("holds {rows} rows, listed with {}", entry.rows));
    }
    if outside > 0 {
        out.push(format!("{outside} rows are outside the listed range of ids or times"));
    }
    Ok(out)
}

/// `entries` sorted by first id.
fn check_ranges(
    entries: &[&FileEntry],
    retired: &[(Option<EventId>, EventId)],
    problems: &mut Vec<Problem>,
) {
    let mut last: Option<&FileEntry> = None;
    for entry in entries {
        let before = last.filter(|l| l.last.partition == entry.first.partition);
        let mut wrong = |what: String| {
            problems.push(Problem { path: entry.path.clone(), what });
        };
        if before.is_some_and(|b| entry.first <= b.last) {
            wrong("overlaps the file before it".into());
        }
        let expected = before.map(|b| b.last);
        let gone = |from: Option<EventId>, to: Option<EventId>| {
            retired
                .iter()
                .any(|(after, through)| *after <= from && to.is_some_and(|t| t <= *through))
        };
        if entry.after != expected && !gone(expected, entry.after) {
            let text = |id: Option<EventId>| id.map_or("the beginning".into(), |i| i.to_string());
            wrong(format!(
                "events after {} up to {} are in no file",
                text(expected),
                text(entry.after)
            ));
        }
        last = Some(entry);
    }
}
