//! Copies of a store in a folder, and a store made of such a copy.
//!
//! ```text
//! TARGET/objects/ab/abcdef...      data and index files by their SHA-256, each once for all backups
//! TARGET/backups/<time ns>.json    one backup: the manifest's state; written last, renamed into place
//! ```
//! A backup is taken while the store works: files in use by it are not removed. What is not in a
//! file yet is flushed first; what comes later is in the journal, which goes along as companions:
//! files of others, by name, of which the store knows nothing else.

use crate::error::StoreError;
use crate::far_file::FarFile;
use crate::manifest::{FileEntry, Manifest, State, sync_file, sync_folder};
use crate::read::FileHandle;
use crate::sidecar::index_path;
use crate::store::Store;
use crate::verify::hash_file;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Version of the backup's own file. 2: with companions.
const FORMAT: u32 = 2;
/// Piece of a growing file that is read in one call: a page, which the system writes in one go.
const PAGE_BYTES: u64 = 4_096;

#[derive(Serialize, Deserialize)]
struct Backup {
    format: u32,
    at_ns: i64,
    state: State,
    /// Size and SHA-256 of each companion, by its name.
    #[serde(default)]
    companions: BTreeMap<String, (u64, String)>,
}

/// A file that goes along with a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Companion {
    /// Its path below the folder that is restored to, with `/`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Others may append to it while it is copied.
    pub grows: bool,
}

/// What a backup, a check or a restoration did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BackupReport {
    /// Name of the backup: its time in ns.
    pub name: String,
    /// Data files in it.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Files that went along: journal, rules, keys.
    pub companions: u64,
    /// Bytes in it.
    pub bytes: u64,
    /// Bytes copied now; the rest was there from earlier backups.
    pub copied_bytes: u64,
    /// What is wrong; empty when all is well.
    pub problems: Vec<String>,
}

/// Size, hash and place below the store of the files that an entry lists.
fn objects(entry: &FileEntry) -> Vec<(u64, String, PathBuf)> {
    let data = PathBuf::from(&entry.path);
    let mut out = vec![(entry.size_bytes, entry.sha256.clone(), data.clone())];
    if let Some(index) = &entry.index {
        out.push((index.size_bytes, index.sha256.clone(), index_path(&data)));
    }
    out
}

fn object_path(target: &Path, sha256: &str) -> PathBuf {
    target.join("objects").join(sha256.get(..2).unwrap_or("00")).join(sha256)
}

impl Store {
    /// Adds a backup of everything up to now to the folder `target`, which is created if need be.
    /// `companions` is asked for once the store's own part is fixed; they are copied in its order, so
    /// that what a later one holds was written no later than what an earlier one holds.
    pub fn backup(
        &self,
        target: &Path,
        now_ns: i64,
        companions: &mut dyn FnMut() -> Result<Vec<Companion>, StoreError>,
    ) -> Result<BackupReport, StoreError> {
        if self.writable().is_ok() {
            self.flush()?;
        }
        // Holding the files keeps them on disk until they are copied.
        let (state, snapshot) = {
            let writer = self.writer.lock();
            (writer.manifest.state().clone(), self.snapshot().0)
        };
        let mut report = BackupReport { name: now_ns.to_string(), ..BackupReport::default() };
        for entry in state.files.values() {
            report.files += 1;
            report.rows += entry.rows;
            for (size, sha256, path) in objects(entry) {
                report.bytes += size;
                let to = object_path(target, &sha256);
                if fs::metadata(&to).is_ok_and(|m| m.len() == size) {
                    continue;
                }
                match self.far_file(entry, &path) {
                    Some(far) => recall_checked(&far, &to)?,
                    None => copy_checked(&self.root.join(path), &to, &sha256)?,
                }
                report.copied_bytes += size;
            }
        }
        drop(snapshot);
        let mut listed = BTreeMap::new();
        for companion in companions()? {
            let (size, sha256, copied) = copy_companion(target, &companion)?;
            report.companions += 1;
            report.bytes += size;
            report.copied_bytes += copied;
            listed.insert(companion.name, (size, sha256));
        }
        let folder = target.join("backups");
        fs::create_dir_all(&folder).map_err(StoreError::io("creating", &folder))?;
        let path = folder.join(format!("{now_ns}.json"));
        // All files are beside it: what is restored needs no far tier and never shares one.
        let state = state.without_far();
        let backup = Backup { format: FORMAT, at_ns: now_ns, state, companions: listed };
        let text = serde_json::to_vec(&backup).expect("plain data always serialises");
        let tmp = path.with_extension("tmp");
        fs::write(&tmp, text).map_err(StoreError::io("writing", &tmp))?;
        sync_file(&tmp)?;
        fs::rename(&tmp, &path).map_err(StoreError::io("renaming", &tmp))?;
        sync_folder(&folder)?;
        Ok(report)
    }
}

impl Store {
    /// The far file of an entry, if `path` is its data and not on the local disk.
    fn far_file(&self, entry: &FileEntry, path: &Path) -> Option<Arc<FarFile>> {
        if path != Path::new(&entry.path) {
            return None;
        }
        FileHandle::new(&self.root, entry.clone(), self.far.as_ref()).far().cloned()
    }
}

/// Copies a far file; it is compared with its hash before it gets its name.
fn recall_checked(far: &FarFile, to: &Path) -> Result<(), StoreError> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).map_err(StoreError::io("creating", folder))?;
    let tmp = to.with_extension("tmp");
    far.recall(&tmp)?;
    fs::rename(&tmp, to).map_err(StoreError::io("renaming", &tmp))?;
    sync_folder(folder)
}

/// Copies a companion unless the same bytes are there. Out: size, SHA-256, bytes copied now.
fn copy_companion(target: &Path, companion: &Companion) -> Result<(u64, String, u64), StoreError> {
    let from = &companion.path;
    if !companion.grows {
        let (size, sha256) = hash_file(from).map_err(StoreError::io("reading", from))?;
        let to = object_path(target, &sha256);
        if fs::metadata(&to).is_ok_and(|m| m.len() == size) {
            return Ok((size, sha256, 0));
        }
        copy_checked(from, &to, &sha256)?;
        return Ok((size, sha256, size));
    }
    let folder = target.join("objects");
    fs::create_dir_all(&folder).map_err(StoreError::io("creating", &folder))?;
    let tmp = folder.join("growing.tmp");
    let size = copy_backwards(from, &tmp)?;
    sync_file(&tmp)?;
    let (_, sha256) = hash_file(&tmp).map_err(StoreError::io("reading", &tmp))?;
    let to = object_path(target, &sha256);
    let folder = to.parent().unwrap_or(&to);
    fs::create_dir_all(folder).map_err(StoreError::io("creating", folder))?;
    fs::rename(&tmp, &to).map_err(StoreError::io("renaming", &tmp))?;
    sync_folder(folder)?;
    Ok((size, sha256, size))
}

/// Copies a file that others append to, its last page first: so nothing gets in without what was
/// written before it, and the copy is as the file would be after a crash.
fn copy_backwards(from: &Path, to: &Path) -> Result<u64, StoreError> {
    let source = fs::File::open(from).map_err(StoreError::io("opening", from))?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let copy = options.open(to).map_err(StoreError::io("creating", to))?;
    let size = source.metadata().map_err(StoreError::io("reading", from))?.len();
    copy.set_len(size).map_err(StoreError::io("writing", to))?;
    let mut page = vec![0; PAGE_BYTES as usize];
    for number in (0..size.div_ceil(PAGE_BYTES)).rev() {
        let at = number * PAGE_BYTES;
        let page = &mut page[..PAGE_BYTES.min(size - at) as usize];
        source.read_exact_at(page, at).map_err(StoreError::io("reading", from))?;
        // What is zero stays a hole.
        if page.iter().any(|byte| *byte != 0) {
            copy.write_all_at(page, at).map_err(StoreError::io("writing", to))?;
        }
    }
    Ok(size)
}

/// Copies a file and compares what arrived with its hash before it gets its name.
fn copy_checked(from: &Path, to: &Path, sha256: &str) -> Result<(), StoreError> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).map_err(StoreError::io("creating", folder))?;
    let tmp = to.with_extension("tmp");
    fs::copy(from, &tmp).map_err(StoreError::io("copying", from))?;
    sync_file(&tmp)?;
    let (_, found) = hash_file(&tmp).map_err(StoreError::io("reading", &tmp))?;
    if found != sha256 {
        return Err(StoreError::file(from, "its SHA-256 is not the listed one"));
    }
    fs::rename(&tmp, to).map_err(StoreError::io("renaming", &tmp))?;
    sync_folder(folder)
}

/// Names of the backups in a folder, oldest first.
pub fn list(target: &Path) -> Result<Vec<String>, StoreError> {
    let folder = target.join("backups");
    let mut names: Vec<i64> = Vec::new();
    for entry in fs::read_dir(&folder).map_err(StoreError::io("listing", &folder))? {
        let name = entry.map_err(StoreError::io("listing", &folder))?.file_name();
        let name = name.to_str().and_then(|n| n.strip_suffix(".json"));
        names.extend(name.and_then(|n| n.parse::<i64>().ok()));
    }
    names.sort_unstable();
    Ok(names.into_iter().map(|n| n.to_string()).collect())
}

/// The newest backup, or the one named.
fn read(target: &Path, name: Option<&str>) -> Result<(String, Backup), StoreError> {
    let newest = list(target)?.pop();
    let name = name.map(str::to_owned).or(newest).unwrap_or_default();
    let path = target.join("backups").join(format!("{name}.json"));
    let text = fs::read(&path).map_err(StoreError::io("reading", &path))?;
    let backup: Backup = serde_json::from_slice(&text).map_err(|e| StoreError::file(&path, e))?;
    if backup.format > FORMAT || backup.state.format > crate::manifest::FORMAT {
        return Err(StoreError::file(&path, "it was made by a newer version of this program"));
    }
    Ok((name, backup))
}

impl BackupReport {
    /// Reads the object that holds the file `shown` and compares it with what was written.
    fn check(&mut self, target: &Path, shown: &dyn std::fmt::Display, size: u64, sha256: &str) {
        self.bytes += size;
        match hash_file(&object_path(target, sha256)) {
            Ok((found_size, found)) if found_size == size && found == sha256 => {}
            Ok(_) => self.problems.push(format!("{shown}: changed")),
            Err(error) => self.problems.push(format!("{shown}: {error}")),
        }
    }
}

/// Reads every file of a backup (the newest, if none is named) and compares sizes and hashes.
pub fn verify(target: &Path, name: Option<&str>) -> Result<BackupReport, StoreError> {
    let (name, backup) = read(target, name)?;
    let mut report = BackupReport { name, ..BackupReport::default() };
    for entry in backup.state.files.values() {
        report.files += 1;
        report.rows += entry.rows;
        for (size, sha256, path) in objects(entry) {
            report.check(target, &path.display(), size, &sha256);
        }
    }
    for (name, (size, sha256)) in backup.companions {
        report.companions += 1;
        report.check(target, &name, size, &sha256);
    }
    Ok(report)
}

/// Makes a store of a backup in `dir`, which must be empty or not exist, and puts the companions
/// below `beside`. The journal's records after [`Store::stored_through`] are then to be fed again.
pub fn restore(
    target: &Path,
    name: Option<&str>,
    dir: &Path,
    beside: &Path,
) -> Result<BackupReport, StoreError> {
    let occupied = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        return Err(StoreError::file(dir, "it is not empty: restore into a new folder"));
    }
    let (name, backup) = read(target, name)?;
    let mut report = BackupReport { name, ..BackupReport::default() };
    for entry in backup.state.files.values() {
        report.files += 1;
        report.rows += entry.rows;
        for (size, sha256, path) in objects(entry) {
            report.bytes += size;
            report.copied_bytes += size;
            copy_checked(&object_path(target, &sha256), &dir.join(path), &sha256)?;
        }
    }
    for (name, (size, sha256)) in backup.companions {
        let below = Path::new(&name);
        if !below.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(StoreError::file(target, format!("the backup names a file `{name}`")));
        }
        report.companions += 1;
        report.bytes += size;
        report.copied_bytes += size;
        copy_checked(&object_path(target, &sha256), &beside.join(below), &sha256)?;
    }
    // Only a whole copy gets a manifest.
    Manifest::create(&dir.join("manifest"), backup.state)?;
    sync_folder(dir)?;
    Ok(report)
}
