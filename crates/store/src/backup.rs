//! Copies of a store in a folder, and a store made of such a copy.
//!
//! ```text
//! TARGET/objects/ab/abcdef...      data and index files by their SHA-256, each once for all backups
//! TARGET/backups/<time ns>.json    one backup: the manifest's state; written last, renamed into place
//! ```
//! A backup is taken while the store works: files in use by it are not removed. What is not in a
//! file yet is flushed first; what comes later is in the journal.

use crate::error::StoreError;
use crate::manifest::{FileEntry, Manifest, State, sync_file, sync_folder};
use crate::sidecar::index_path;
use crate::store::Store;
use crate::verify::hash_file;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Version of the backup's own file.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Backup {
    format: u32,
    at_ns: i64,
    state: State,
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
    pub fn backup(&self, target: &Path, now_ns: i64) -> Result<BackupReport, StoreError> {
        self.flush()?;
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
                copy_checked(&self.root.join(path), &to, &sha256)?;
                report.copied_bytes += size;
            }
        }
        drop(snapshot);
        let folder = target.join("backups");
        fs::create_dir_all(&folder).map_err(StoreError::io("creating", &folder))?;
        let path = folder.join(format!("{now_ns}.json"));
        let backup = Backup { format: FORMAT, at_ns: now_ns, state };
        let text = serde_json::to_vec(&backup).expect("plain data always serialises");
        let tmp = path.with_extension("tmp");
        fs::write(&tmp, text).map_err(StoreError::io("writing", &tmp))?;
        sync_file(&tmp)?;
        fs::rename(&tmp, &path).map_err(StoreError::io("renaming", &tmp))?;
        sync_folder(&folder)?;
        Ok(report)
    }
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

/// Reads every file of a backup (the newest, if none is named) and compares sizes and hashes.
pub fn verify(target: &Path, name: Option<&str>) -> Result<BackupReport, StoreError> {
    let (name, backup) = read(target, name)?;
    let mut report = BackupReport { name, ..BackupReport::default() };
    for entry in backup.state.files.values() {
        report.files += 1;
        report.rows += entry.rows;
        for (size, sha256, path) in objects(entry) {
            report.bytes += size;
            let object = object_path(target, &sha256);
            match hash_file(&object) {
                Ok(found) if found == (size, sha256) => {}
                Ok(_) => report.problems.push(format!("{}: changed", path.display())),
                Err(error) => report.problems.push(format!("{}: {error}", path.display())),
            }
        }
    }
    Ok(report)
}

/// Makes a store of a backup in `dir`, which must be empty or not exist. The journal's records after
/// [`Store::stored_through`] are then to be fed again.
pub fn restore(target: &Path, name: Option<&str>, dir: &Path) -> Result<BackupReport, StoreError> {
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
    // Only a whole copy gets a manifest.
    Manifest::create(&dir.join("manifest"), backup.state)?;
    sync_folder(dir)?;
    Ok(report)
}
