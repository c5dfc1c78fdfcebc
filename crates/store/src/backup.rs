//! Copies of a store in a folder or bucket, and a store made of such a copy.
//!
//! A backup is taken while the store works: files in use by it are not removed. What is not in a
//! file yet is flushed first; what comes later is in the journal, which goes along as companions:
//! files of others, by name, of which the store knows nothing else. What is there from earlier
//! backups is not copied again. It is listed only when all of it is there.
//!
//! Not here: how places keep it (`vault`).

use crate::error::StoreError;
use crate::far_file::FarFile;
use crate::manifest::{FileEntry, Manifest, State, sync_folder};
use crate::read::FileHandle;
use crate::sidecar::index_path;
use crate::store::Store;
use crate::vault::{Object, Vault};
use crate::verify::hash_file;
use hashbrown::HashSet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

pub use crate::prune::{Pruned, prune};
pub use crate::vault::Place;

/// Version of a backup's own file. 2: with companions.
const FORMAT: u32 = 2;
/// Piece of a growing file that is read in one call: a page, which the system writes in one go.
const PAGE_BYTES: u64 = 4_096;
/// Files whose objects are asked after together.
const ENTRIES_AT_ONCE: usize = 64;
/// Earlier backups of a bucket that are read to find the last one of a store: so many stores may take
/// turns there.
const KNOWN_BACKUPS_MAX: usize = 32;

#[derive(Serialize, Deserialize)]
pub(crate) struct Backup {
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

/// The files that an entry lists: what is in them, and their places below the store.
fn objects(entry: &FileEntry) -> Vec<(Object, PathBuf)> {
    let data = PathBuf::from(&entry.path);
    let object = |size, sha256: &str| Object { size, sha256: sha256.into(), packs: false };
    let mut out = vec![(object(entry.size_bytes, &entry.sha256), data.clone())];
    if let Some(index) = &entry.index {
        out.push((object(index.size_bytes, &index.sha256), index_path(&data)));
    }
    out
}

impl Store {
    /// Adds a backup of everything up to now to `target`; a folder is created if need be. See
    /// [`Store::begin_backup`] for `companions`.
    pub fn backup(
        &self,
        target: &Place,
        now_ns: i64,
        companions: &mut dyn FnMut() -> Result<Vec<Companion>, StoreError>,
    ) -> Result<BackupReport, StoreError> {
        self.begin_backup(target, companions)?.finish(now_ns, companions)
    }

    /// Copies what will most likely be in a backup: what takes long, while nothing has to be kept for
    /// it. `companions` is asked for twice: now, to copy those that do not grow, and again once the
    /// store's own part is fixed. Then they are copied in its order, so that what a later one holds was
    /// written no later than what an earlier one holds. One that cannot be read now, because its time
    /// has come meanwhile, counts as not copied yet.
    ///
    /// Only one backup of a store may be made at a time.
    pub fn begin_backup(
        &self,
        target: &Place,
        companions: &mut dyn FnMut() -> Result<Vec<Companion>, StoreError>,
    ) -> Result<BackupRun<'_>, StoreError> {
        let vault = Vault::open(target, &self.ending)?;
        let shared = vault.lock_shared()?;
        self.know_earlier(&vault)?;
        let mut run = BackupRun { store: self, vault, copied_bytes: 0, _shared: shared };
        let mut report = BackupReport::default();
        self.copy_state(&run.vault, &mut report)?;
        for companion in companions()?.iter().filter(|c| !c.grows) {
            match self.copy_companion(&run.vault, companion, &mut report) {
                Err(error) if is_about(&error, &companion.path) => {
                    tracing::info!(%error, "it went or changed while it was copied: the end has its say");
                }
                done => drop(done?),
            }
        }
        run.copied_bytes = report.copied_bytes;
        Ok(run)
    }

    /// Tells a bucket's vault what earlier backups have, newest first, until one is of this store: what
    /// it had is what is wanted again. Those of others are asked because anything may be in them; one
    /// that cannot be read only means that more is looked at again.
    fn know_earlier(&self, vault: &Vault) -> Result<(), StoreError> {
        if matches!(vault, Vault::Folder(_)) {
            return Ok(());
        }
        let own: HashSet<String> = {
            let writer = self.writer.lock();
            writer.manifest.state().files.values().map(|e| e.sha256.clone()).collect()
        };
        for name in vault.names()?.into_iter().rev().take(KNOWN_BACKUPS_MAX) {
            match read(vault, name) {
                Ok(backup) => {
                    let is_own = backup.state.files.values().any(|e| own.contains(&e.sha256));
                    vault.know(backup.hashes());
                    if is_own {
                        break;
                    }
                }
                Err(error) if vault.is_silent() => return Err(error),
                Err(error) => tracing::warn!(%error, "an earlier backup cannot be read"),
            }
        }
        Ok(())
    }

    /// Copies the files of this moment. Out: the state that lists them.
    fn copy_state(&self, vault: &Vault, report: &mut BackupReport) -> Result<State, StoreError> {
        // Holding the files keeps them on disk until they are copied.
        let (state, _snapshot) = {
            let writer = self.writer.lock();
            (writer.manifest.state().clone(), self.snapshot().0)
        };
        let entries: Vec<&FileEntry> = state.files.values().collect();
        for some in entries.chunks(ENTRIES_AT_ONCE) {
            self.copy_files(vault, some, report)?;
        }
        Ok(state)
    }

    fn copy_files(
        &self,
        vault: &Vault,
        entries: &[&FileEntry],
        report: &mut BackupReport,
    ) -> Result<(), StoreError> {
        let of_entries = entries.iter().flat_map(|e| objects(e).into_iter().map(|o| (*e, o)));
        let all: Vec<(&FileEntry, (Object, PathBuf))> = of_entries.collect();
        let wanted: Vec<Object> = all.iter().map(|(_, (object, _))| object.clone()).collect();
        let there = vault.has(&wanted)?;
        report.files += entries.len() as u64;
        report.rows += entries.iter().map(|e| e.rows).sum::<u64>();
        for ((entry, (object, path)), there) in all.into_iter().zip(there) {
            report.bytes += object.size;
            if there {
                continue;
            }
            let [spare, packed] = vault.scratch(&self.root)?;
            match self.far_file(entry, &path) {
                Some(far) => {
                    far.recall(&spare)?;
                    vault.put(&object, &spare, true, &packed)?;
                }
                None => vault.put(&object, &self.root.join(path), false, &packed)?,
            }
            report.copied_bytes += object.size;
        }
        Ok(())
    }

    /// The far file of an entry, if `path` is its data and not on the local disk.
    fn far_file(&self, entry: &FileEntry, path: &Path) -> Option<Arc<FarFile>> {
        if path != Path::new(&entry.path) {
            return None;
        }
        FileHandle::new(&self.root, entry.clone(), self.far.as_ref()).far().cloned()
    }

    /// Copies a companion unless the same bytes are there. Out: what is kept.
    fn copy_companion(
        &self,
        vault: &Vault,
        companion: &Companion,
        report: &mut BackupReport,
    ) -> Result<Object, StoreError> {
        let [spare, packed] = vault.scratch(&self.root)?;
        let from = match companion.grows {
            true => {
                copy_backwards(&companion.path, &spare)?;
                &spare
            }
            false => &companion.path,
        };
        let (size, sha256) = hash_file(from).map_err(StoreError::io("reading", from))?;
        let object = Object { size, sha256, packs: true };
        self.step("companion summed up");
        report.companions += 1;
        report.bytes += size;
        // What grows is told as copied even if it did not grow: its bytes were looked at anew.
        let there = vault.has(std::slice::from_ref(&object))?.contains(&true);
        if !there || companion.grows {
            report.copied_bytes += size;
        }
        if !there {
            vault.put(&object, from, companion.grows, &packed)?;
        }
        Ok(object)
    }
}

/// Whether an error says that the file `path` is not there, or not as it was a moment ago.
fn is_about(error: &StoreError, path: &Path) -> bool {
    match error {
        StoreError::Io { path: of, .. } | StoreError::File { path: of, .. } => of == path,
        _ => false,
    }
}

/// A backup that has begun: most of it is in its place, and nobody knows of it.
pub struct BackupRun<'s> {
    store: &'s Store,
    vault: Vault,
    copied_bytes: u64,
    /// Nothing is pruned meanwhile.
    _shared: Option<fs::File>,
}

impl BackupRun<'_> {
    /// Copies what has come since, and names the backup. What the companions hold must stay from
    /// before this call until it returns.
    pub fn finish(
        self,
        now_ns: i64,
        companions: &mut dyn FnMut() -> Result<Vec<Companion>, StoreError>,
    ) -> Result<BackupReport, StoreError> {
        let (store, vault) = (self.store, &self.vault);
        if store.writable().is_ok() {
            store.flush()?;
        }
        let mut report = BackupReport { name: now_ns.to_string(), ..BackupReport::default() };
        let state = store.copy_state(vault, &mut report)?;
        let mut listed = BTreeMap::new();
        for companion in companions()? {
            let object = store.copy_companion(vault, &companion, &mut report)?;
            listed.insert(companion.name, (object.size, object.sha256));
        }
        // All files are beside it: what is restored needs no far tier and never shares one.
        let state = state.without_far();
        let backup = Backup { format: FORMAT, at_ns: now_ns, state, companions: listed };
        let text = serde_json::to_vec(&backup).expect("plain data always serialises");
        vault.publish(now_ns, text)?;
        report.copied_bytes += self.copied_bytes;
        Ok(report)
    }
}

impl Drop for BackupRun<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.vault.remove_scratch(&self.store.root) {
            tracing::warn!(%error, "what was on its way to a backup stays until the next one");
        }
    }
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

/// Names of the backups in a place, oldest first.
pub fn list(target: &Place) -> Result<Vec<String>, StoreError> {
    let names = Vault::open(target, &Arc::default())?.names()?;
    Ok(names.into_iter().map(|n| n.to_string()).collect())
}

/// The backup of this name, checked for what it must not say.
pub(crate) fn read(vault: &Vault, name: i64) -> Result<Backup, StoreError> {
    let shown = PathBuf::from(format!("backups/{name}.json"));
    let text = vault.read(name)?;
    let backup: Backup = serde_json::from_slice(&text).map_err(|e| StoreError::file(&shown, e))?;
    if backup.format > FORMAT || backup.state.format > crate::manifest::FORMAT {
        return Err(StoreError::file(&shown, "it was made by a newer version of this program"));
    }
    // Who can write to the place must not write anywhere here.
    let places = backup.state.files.values().map(|e| &e.path).chain(backup.companions.keys());
    for place in places {
        let below = Path::new(place).components().all(|part| matches!(part, Component::Normal(_)));
        if place.is_empty() || !below {
            return Err(StoreError::file(&shown, format!("it names a file `{place}`")));
        }
    }
    Ok(backup)
}

/// Opens a place and reads the newest backup of it, or the one named.
fn find(target: &Place, name: Option<&str>) -> Result<(Vault, i64, Backup), StoreError> {
    let vault = Vault::open(target, &Arc::default())?;
    let mut names = vault.names()?;
    let found = match name {
        Some(name) => name.parse().ok().filter(|number| names.contains(number)),
        None => names.pop(),
    };
    let name = found.ok_or_else(|| StoreError::NoBackup {
        place: target.to_string(),
        name: name.map(str::to_owned),
    })?;
    let backup = read(&vault, name)?;
    Ok((vault, name, backup))
}

/// The companion that no two installations have in common.
const OWNER: &str = "secret";

impl Backup {
    /// Whose it is; empty where nothing tells.
    pub(crate) fn owner(&self) -> &str {
        self.companions.get(OWNER).map_or("", |(_, sha256)| sha256)
    }

    /// All that it refers to.
    pub(crate) fn all_objects(&self) -> impl Iterator<Item = Object> {
        let files = self.state.files.values().flat_map(objects).map(|(object, _)| object);
        files.chain(self.companions().map(|(_, object)| object))
    }

    /// Hashes of all that it refers to.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = String> {
        let files = self.state.files.values().flat_map(objects).map(|(object, _)| object.sha256);
        files.chain(self.companions.values().map(|(_, sha256)| sha256.clone()))
    }

    /// What each companion is.
    fn companions(&self) -> impl Iterator<Item = (&str, Object)> {
        self.companions.iter().map(|(name, (size, sha256))| {
            (&**name, Object { size: *size, sha256: sha256.clone(), packs: true })
        })
    }
}

impl BackupReport {
    /// Reads the object that holds the file `shown` and compares it with what was written.
    fn check(&mut self, vault: &Vault, shown: &dyn std::fmt::Display, object: &Object) {
        self.bytes += object.size;
        if let Err(problem) = vault.check(object) {
            self.problems.push(format!("{shown}: {problem}"));
        }
    }
}

/// Reads every file of a backup (the newest, if none is named) and compares sizes and hashes.
pub fn verify(target: &Place, name: Option<&str>) -> Result<BackupReport, StoreError> {
    let (vault, name, backup) = find(target, name)?;
    let _shared = vault.lock_if_there();
    let mut report = BackupReport { name: name.to_string(), ..BackupReport::default() };
    for entry in backup.state.files.values() {
        report.files += 1;
        report.rows += entry.rows;
        for (object, path) in objects(entry) {
            report.check(&vault, &path.display(), &object);
        }
    }
    for (name, object) in backup.companions() {
        report.companions += 1;
        report.check(&vault, &name, &object);
    }
    Ok(report)
}

/// Makes a store of a backup in `dir`, which must be empty or not exist, and puts the companions
/// below `beside`. The journal's records after [`Store::stored_through`] are then to be fed again.
pub fn restore(
    target: &Place,
    name: Option<&str>,
    dir: &Path,
    beside: &Path,
) -> Result<BackupReport, StoreError> {
    let occupied = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        return Err(StoreError::file(dir, "it is not empty: restore into a new folder"));
    }
    let (vault, name, backup) = find(target, name)?;
    let _shared = vault.lock_if_there();
    let mut report = BackupReport { name: name.to_string(), ..BackupReport::default() };
    for entry in backup.state.files.values() {
        report.files += 1;
        report.rows += entry.rows;
        for (object, path) in objects(entry) {
            report.bytes += object.size;
            report.copied_bytes += object.size;
            vault.get(&object, &dir.join(path))?;
        }
    }
    for (name, object) in backup.companions() {
        report.companions += 1;
        report.bytes += object.size;
        report.copied_bytes += object.size;
        vault.get(&object, &beside.join(name))?;
    }
    // Only a whole copy gets a manifest.
    Manifest::create(&dir.join("manifest"), backup.state)?;
    sync_folder(dir)?;
    Ok(report)
}
