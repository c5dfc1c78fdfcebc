//! Where backups are kept: a folder, or a bucket of an object store.
//!
//! ```text
//! objects/ab/<sha256>        bytes, each once for all backups; in a bucket `.zst` for what packs well
//! backups/<time ns>.json     one backup
//! LOCK                       in a folder only: shared by who makes a backup, taken alone by who prunes
//! alcedo-backups.json        in a bucket only: the names of all whole backups
//! alcedo-backups.lock        in a bucket only: who makes one or prunes now, see `lease`
//! ```
//! A bucket is never listed and only `prune` deletes in it, so what others keep there is neither seen
//! nor touched, and rights to read and write objects are enough for the rest. An object counts as there only if it
//! was read back: now, or before an earlier backup that is named was named.
//!
//! Order in a bucket: objects, each read back; the backup, made under a name that must not be there;
//! its name, by a change of the list that fails if somebody else changed it meanwhile. A crash
//! leaves at most objects that the next backup looks at again, and a backup that nobody names.

use crate::error::StoreError;
use crate::far::Far;
use crate::lease::Lease;
use crate::manifest::{sync_file, sync_folder};
use crate::tier::TierOptions;
use crate::verify::hash_file;
use crate::write::hex;
use hashbrown::HashSet;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// In a folder: the file whose lock keeps pruning and making apart.
const LOCK: &str = "LOCK";
/// The list of whole backups of a bucket.
const LIST: &str = "alcedo-backups.json";
/// Version of the list.
const LIST_FORMAT: u32 = 1;
/// A name is added again after somebody else changed the list, so many times.
const TRIES: usize = 5;
/// Names of a file on its way and of its packed form.
const SCRATCH: [&str; 2] = ["backup.tmp", "backup.zst.tmp"];
/// Level of what is packed: segments of the journal, which are text and holes.
const PACK_LEVEL: i32 = 3;

/// Where backups are.
#[derive(Clone, Debug)]
pub enum Place {
    /// A folder of this machine.
    Folder(PathBuf),
    /// `s3://`, `gs://` or `az://`, see [`TierOptions`]; needs the feature `cloud`.
    Bucket(TierOptions),
}

impl Place {
    /// The place that the settings name: a bucket, `file:///FOLDER`, or a folder, which is relative to
    /// `base`.
    pub fn of(settings: TierOptions, base: &Path) -> Self {
        match settings.to.split_once("://") {
            Some(("file", path)) => Place::Folder(path.into()),
            Some(_) => Place::Bucket(settings),
            None => Place::Folder(base.join(settings.to)),
        }
    }

    /// Whether a client can be made of the settings. Nothing is asked of it.
    pub fn check(&self) -> Result<(), StoreError> {
        match self {
            Place::Folder(_) => Ok(()),
            Place::Bucket(settings) => settings.check(),
        }
    }
}

impl From<PathBuf> for Place {
    fn from(folder: PathBuf) -> Self {
        Place::Folder(folder)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Folder(path) => path.display().fmt(f),
            Place::Bucket(settings) => settings.to.fmt(f),
        }
    }
}

/// Bytes that a backup refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// Bytes.
    pub(crate) size: u64,
    /// SHA-256 of the bytes, 64 hexadecimal digits.
    pub(crate) sha256: String,
    /// Stored packed in a bucket: not for data files, which are packed already.
    pub(crate) packs: bool,
}

impl Object {
    /// Its name; an error if the hash, which may come from a bucket, is none.
    fn name(&self) -> Result<String, String> {
        let digits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match self.sha256.len() == 64 && self.sha256.bytes().all(digits) {
            true => Ok(format!("objects/{}/{}", &self.sha256[..2], self.sha256)),
            false => Err(format!("`{}` is no SHA-256", self.sha256.escape_debug())),
        }
    }

    fn is(&self, size: u64, sha256: &str) -> Result<(), String> {
        match self.size == size && self.sha256 == sha256 {
            true => Ok(()),
            false => Err("changed".into()),
        }
    }
}

/// A place that was opened.
pub(crate) enum Vault {
    Folder(PathBuf),
    Bucket(Box<Bucket>),
}

pub(crate) struct Bucket {
    far: Far,
    /// Hashes of what earlier backups have, and of what was read back since.
    known: Mutex<HashSet<String>>,
    /// What keeps others away, while we make a backup or prune.
    lease: Mutex<Option<Lease>>,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.lock().take() {
            lease.give_up(&self.far);
        }
    }
}

#[derive(Serialize, Deserialize)]
struct List {
    format: u32,
    backups: Vec<i64>,
}

impl Vault {
    /// Nothing is asked of the place yet; once `ending` is set nothing is waited for any more.
    pub(crate) fn open(place: &Place, ending: &Arc<AtomicBool>) -> Result<Self, StoreError> {
        Ok(match place {
            Place::Folder(path) => Vault::Folder(path.clone()),
            Place::Bucket(settings) => {
                let far = Far::new(settings, ending.clone())?;
                Vault::Bucket(Box::new(Bucket {
                    far,
                    known: Mutex::default(),
                    lease: Mutex::default(),
                }))
            }
        })
    }

    /// What is to be believed whole: earlier backups have it.
    pub(crate) fn know(&self, hashes: impl Iterator<Item = String>) {
        if let Vault::Bucket(bucket) = self {
            bucket.known.lock().extend(hashes);
        }
    }

    /// Whether the last call found the bucket away: another one will fare no better.
    pub(crate) fn is_silent(&self) -> bool {
        match self {
            Vault::Folder(_) => false,
            Vault::Bucket(bucket) => bucket.far.is_silent(),
        }
    }

    /// Names of whole backups, oldest first; none where there never was one.
    pub(crate) fn names(&self) -> Result<Vec<i64>, StoreError> {
        match self {
            Vault::Folder(path) => folder_names(&path.join("backups")),
            Vault::Bucket(bucket) => Ok(bucket.list()?.0.backups),
        }
    }

    /// What [`Vault::publish`] was given.
    pub(crate) fn read(&self, name: i64) -> Result<Vec<u8>, StoreError> {
        match self {
            Vault::Folder(path) => {
                let path = path.join("backups").join(format!("{name}.json"));
                fs::read(&path).map_err(StoreError::io("reading", &path))
            }
            Vault::Bucket(bucket) => {
                let object = format!("backups/{name}.json");
                let bytes = bucket.far.small(&object).map_err(|e| e.of(&object))?;
                let gone = || StoreError::Far { object, reason: "it is not there".into() };
                bytes.map(|bytes| bytes.to_vec()).ok_or_else(gone)
            }
        }
    }

    /// Makes a backup known under its name. All of its objects are there.
    pub(crate) fn publish(&self, name: i64, text: Vec<u8>) -> Result<(), StoreError> {
        match self {
            Vault::Folder(path) => publish_in(&path.join("backups"), name, &text),
            Vault::Bucket(bucket) => bucket.publish(name, text),
        }
    }

    /// Which of the objects are there from earlier backups.
    pub(crate) fn has(&self, objects: &[Object]) -> Result<Vec<bool>, StoreError> {
        let path = match self {
            Vault::Folder(path) => path,
            Vault::Bucket(bucket) => return bucket.has(objects),
        };
        let has = |object: &Object| {
            let path = path.join(named(object)?);
            Ok(fs::metadata(path).is_ok_and(|m| m.len() == object.size))
        };
        objects.iter().map(has).collect()
    }

    /// Places for a file on its way and for its packed form; `root` is the store's folder.
    pub(crate) fn scratch(&self, root: &Path) -> Result<[PathBuf; 2], StoreError> {
        let folder = match self {
            // Where it is, it can be renamed.
            Vault::Folder(path) => &path.join("objects"),
            Vault::Bucket(_) => root,
        };
        make_folder(folder)?;
        Ok(SCRATCH.map(|name| folder.join(name)))
    }

    /// Removes what is there, of now or of a crash.
    pub(crate) fn remove_scratch(&self, root: &Path) -> Result<(), StoreError> {
        self.scratch(root)?.iter().try_for_each(|path| remove(path))
    }

    /// Adds an object that is a file here; what arrived is compared with its hash. A file that is
    /// itself on its way is `ours`: it need not stay.
    pub(crate) fn put(
        &self,
        object: &Object,
        from: &Path,
        ours: bool,
        packed: &Path,
    ) -> Result<(), StoreError> {
        let path = match self {
            Vault::Folder(path) => path.join(named(object)?),
            Vault::Bucket(bucket) => return bucket.put(object, from, packed),
        };
        if !ours {
            return copy_checked(from, &path, &object.sha256);
        }
        sync_file(from)?;
        let folder = path.parent().unwrap_or(&path);
        make_folder(folder)?;
        fs::rename(from, &path).map_err(StoreError::io("renaming", from))?;
        sync_folder(folder)
    }

    /// Keeps pruning away as long as the file and the vault live.
    pub(crate) fn lock_shared(&self) -> Result<Option<File>, StoreError> {
        let path = match self {
            Vault::Folder(path) => path,
            Vault::Bucket(bucket) => {
                let refused = |reason| StoreError::Far { object: "backups".into(), reason };
                return bucket.enter(false)?.map(|()| None).map_err(refused);
            }
        };
        fs::create_dir_all(path).map_err(StoreError::io("creating", path))?;
        let path = path.join(LOCK);
        let file = open_lock(&path)?;
        match file.lock_shared() {
            // Not every network file system has locks; on such a one nothing is pruned either.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            locked => locked.map(|()| Some(file)).map_err(StoreError::io("locking", &path)),
        }
    }

    /// The same for who only reads, maybe from a place that cannot be written.
    pub(crate) fn lock_if_there(&self) -> Option<File> {
        let Vault::Folder(path) = self else { return None };
        let file = File::open(path.join(LOCK)).ok()?;
        file.lock_shared().is_ok().then_some(file)
    }

    /// Keeps everybody else away as long as the file and the vault live; the inner error says that
    /// somebody is there. In a bucket nothing is written, and nobody kept away, for who only looks.
    pub(crate) fn lock_alone(
        &self,
        only_looks: bool,
    ) -> Result<Result<Option<File>, String>, StoreError> {
        let path = match self {
            Vault::Folder(path) => path,
            Vault::Bucket(_) if only_looks => return Ok(Ok(None)),
            Vault::Bucket(bucket) => return Ok(bucket.enter(true)?.map(|()| None)),
        };
        if !path.is_dir() {
            return Ok(Err("there are no backups".into()));
        }
        let path = path.join(LOCK);
        let file = open_lock(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Ok(Some(file))),
            Err(fs::TryLockError::WouldBlock) => {
                let text =
                    "a backup is being made, verified or restored: try again when it is done";
                Ok(Err(text.into()))
            }
            Err(fs::TryLockError::Error(error)) => Err(StoreError::io("locking", &path)(error)),
        }
    }

    /// Takes backups off the list.
    pub(crate) fn unname(&self, names: &[i64]) -> Result<(), StoreError> {
        match self {
            // The file is the name.
            Vault::Folder(_) => self.remove_texts(names.iter().copied()),
            Vault::Bucket(bucket) => bucket.unname(names),
        }
    }

    /// Removes the texts of backups that are not named any more.
    pub(crate) fn remove_texts(&self, names: impl Iterator<Item = i64>) -> Result<(), StoreError> {
        for name in names {
            let text = format!("backups/{name}.json");
            match self {
                Vault::Folder(path) => remove(&path.join(text))?,
                Vault::Bucket(bucket) => bucket.delete(&text)?,
            }
        }
        match self {
            Vault::Folder(path) if path.join("backups").is_dir() => {
                sync_folder(&path.join("backups"))
            }
            _ => Ok(()),
        }
    }

    /// Removes objects: in a bucket those that are `unneeded`, in a folder all that are not `needed`,
    /// for there it can be seen what crashes left. Out: their number and bytes.
    pub(crate) fn remove_unneeded(
        &self,
        needed: &BTreeSet<String>,
        unneeded: &BTreeMap<String, Object>,
        dry_run: bool,
    ) -> Result<(u64, u64), StoreError> {
        let path = match self {
            Vault::Folder(path) => path.join("objects"),
            Vault::Bucket(bucket) => {
                for object in unneeded.values().filter(|_| !dry_run) {
                    bucket.delete(&name_in_bucket(object)?)?;
                }
                let bytes = unneeded.values().map(|object| object.size).sum();
                return Ok((unneeded.len() as u64, bytes));
            }
        };
        let (mut count, mut bytes) = (0, 0);
        for folder in entries(&path)?.into_iter().filter(|path| path.is_dir()) {
            for file in entries(&folder)? {
                let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default();
                // A copy that a crash cut has the object's name and an ending.
                let sha256 = name.strip_suffix(".tmp").unwrap_or(name);
                let ours = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
                if !ours || name == sha256 && needed.contains(sha256) {
                    continue;
                }
                count += 1;
                bytes += fs::metadata(&file).map_or(0, |m| m.len());
                if !dry_run {
                    remove(&file)?;
                }
            }
        }
        Ok((count, bytes))
    }

    /// Writes an object to the file `to`, which gets its name once the bytes are the right ones.
    pub(crate) fn get(&self, object: &Object, to: &Path) -> Result<(), StoreError> {
        let bucket = match self {
            Vault::Folder(path) => {
                return copy_checked(&path.join(named(object)?), to, &object.sha256);
            }
            Vault::Bucket(bucket) => bucket,
        };
        let folder = to.parent().unwrap_or(to);
        make_folder(folder)?;
        let tmp = to.with_extension("tmp");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        if object.packs {
            // Among the files of others are keys.
            options.mode(0o600);
        }
        let mut file = options.open(&tmp).map_err(StoreError::io("creating", &tmp))?;
        let name = named(object)?;
        let failed = |reason| StoreError::Far { object: name.clone(), reason };
        bucket.fetch(object, &mut file).map_err(failed)?;
        file.sync_all().map_err(StoreError::io("syncing", &tmp))?;
        fs::rename(&tmp, to).map_err(StoreError::io("renaming", &tmp))?;
        sync_folder(folder)
    }

    /// Reads an object and compares it with what was written; the error says what is wrong.
    pub(crate) fn check(&self, object: &Object) -> Result<(), String> {
        match self {
            Vault::Folder(path) => {
                let found = hash_file(&path.join(object.name()?)).map_err(|e| e.to_string())?;
                object.is(found.0, &found.1)
            }
            Vault::Bucket(bucket) => bucket.fetch(object, &mut io::sink()),
        }
    }
}

/// Makes a folder with all above it that are missing; their names are on the disk when this returns.
/// Out: how many were made.
fn make_folder(folder: &Path) -> Result<usize, StoreError> {
    let missing = folder.ancestors().take_while(|path| !path.as_os_str().is_empty());
    let missing: Vec<&Path> = missing.take_while(|path| !path.is_dir()).collect();
    if missing.is_empty() {
        return Ok(0);
    }
    fs::create_dir_all(folder).map_err(StoreError::io("creating", folder))?;
    for path in &missing {
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        sync_folder(above.unwrap_or(Path::new(".")))?;
    }
    Ok(missing.len())
}

fn open_lock(path: &Path) -> Result<File, StoreError> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(StoreError::io("opening", path))
}

/// What is in a folder; nothing if it is not there.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let listing = StoreError::io("listing", folder);
    let found: io::Result<Vec<_>> =
        fs::read_dir(folder).and_then(|list| list.map(|entry| Ok(entry?.path())).collect());
    found.map_err(listing)
}

/// Removes a file that a crash may have left.
fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io("removing", path)(e)),
        _ => Ok(()),
    }
}

/// Removes what a crash during a backup to a bucket left in the store's folder.
pub(crate) fn remove_left(root: &Path) -> Result<(), StoreError> {
    SCRATCH.iter().try_for_each(|name| remove(&root.join(name)))
}

fn named(object: &Object) -> Result<String, StoreError> {
    let wrong = |reason| StoreError::Far { object: "objects".into(), reason };
    object.name().map_err(wrong)
}

fn folder_names(folder: &Path) -> Result<Vec<i64>, StoreError> {
    let mut names: Vec<i64> = Vec::new();
    if !folder.is_dir() {
        return Ok(names);
    }
    for entry in fs::read_dir(folder).map_err(StoreError::io("listing", folder))? {
        let name = entry.map_err(StoreError::io("listing", folder))?.file_name();
        let name = name.to_str().and_then(|n| n.strip_suffix(".json"));
        names.extend(name.and_then(|n| n.parse::<i64>().ok()));
    }
    names.sort_unstable();
    Ok(names)
}

fn publish_in(folder: &Path, name: i64, text: &[u8]) -> Result<(), StoreError> {
    make_folder(folder)?;
    let path = folder.join(format!("{name}.json"));
    let tmp = path.with_extension("tmp");
    fs::write(&tmp, text).map_err(StoreError::io("writing", &tmp))?;
    sync_file(&tmp)?;
    fs::rename(&tmp, &path).map_err(StoreError::io("renaming", &tmp))?;
    sync_folder(folder)
}

/// Copies a file and compares what arrived with its hash before it gets its name.
fn copy_checked(from: &Path, to: &Path, sha256: &str) -> Result<(), StoreError> {
    let folder = to.parent().unwrap_or(to);
    make_folder(folder)?;
    let tmp = to.with_extension("tmp");
    fs::copy(from, &tmp).map_err(StoreError::io("copying", from))?;
    sync_file(&tmp)?;
    let (_, found) = hash_file(&tmp).map_err(StoreError::io("reading", &tmp))?;
    if found != sha256 {
        // Nobody may want it again, and then nobody would remove it.
        remove(&tmp)?;
        return Err(StoreError::file(from, "its SHA-256 is not the listed one"));
    }
    fs::rename(&tmp, to).map_err(StoreError::io("renaming", &tmp))?;
    sync_folder(folder)
}

impl Bucket {
    /// Takes a place among those who work here, beside others or alone. The inner error says who is in
    /// the way.
    fn enter(&self, alone: bool) -> Result<Result<(), String>, StoreError> {
        Ok(Lease::take(&self.far, alone)?.map(|lease| *self.lease.lock() = Some(lease)))
    }

    /// Puts off the end of our place here, if that is due or it has to be `certain`.
    fn stay(&self, certain: bool) -> Result<(), StoreError> {
        match &mut *self.lease.lock() {
            Some(lease) => lease.put_off(&self.far, certain),
            None => Ok(()),
        }
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.stay(false)?;
        self.far.delete(name).map_err(|e| e.of(name))
    }

    /// The list, and which state of it this is; none if there is no list yet.
    fn list(&self) -> Result<(List, Option<object_store::UpdateVersion>), StoreError> {
        let Some((bytes, version)) = self.far.small_with_version(LIST).map_err(|e| e.of(LIST))?
        else {
            return Ok((List { format: LIST_FORMAT, backups: Vec::new() }, None));
        };
        let wrong = |reason: &str| StoreError::Far { object: LIST.into(), reason: reason.into() };
        let list: List = serde_json::from_slice(&bytes)
            .map_err(|_| wrong("it is not a list of backups: choose another prefix"))?;
        match list.format <= LIST_FORMAT {
            true => Ok((list, Some(version))),
            false => Err(wrong("it was made by a newer version of this program")),
        }
    }

    fn publish(&self, name: i64, text: Vec<u8>) -> Result<(), StoreError> {
        let object = format!("backups/{name}.json");
        self.make(&object, text)?;
        // Once it has a name, nothing of it may be missing.
        self.stay(true)?;
        for _ in 0..TRIES {
            let (mut list, version) = self.list()?;
            if list.backups.contains(&name) {
                return Ok(());
            }
            list.backups.push(name);
            list.backups.sort_unstable();
            let bytes = serde_json::to_vec(&list).expect("plain data always serialises");
            // A failure says nothing: the list may have been changed all the same, or by somebody
            // else. It is read again, and so is what was written.
            if let Err(error) = self.far.replace(LIST, bytes, version)
                && !error.is_conflict
            {
                return Err(error.of(LIST));
            }
        }
        match self.list()?.0.backups.contains(&name) {
            true => Ok(()),
            false => {
                Err(StoreError::Far { object: LIST.into(), reason: "others change it".into() })
            }
        }
    }

    /// Takes names off the list; what others add meanwhile stays.
    fn unname(&self, names: &[i64]) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let (mut list, version) = self.list()?;
            if !list.backups.iter().any(|name| names.contains(name)) {
                return Ok(());
            }
            list.backups.retain(|name| !names.contains(name));
            let bytes = serde_json::to_vec(&list).expect("plain data always serialises");
            if let Err(error) = self.far.replace(LIST, bytes, version)
                && !error.is_conflict
            {
                return Err(error.of(LIST));
            }
        }
        Err(StoreError::Far { object: LIST.into(), reason: "others change it".into() })
    }

    /// Makes a small object that is not there yet; one with the same bytes may be.
    fn make(&self, object: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let made = self.far.create(object, bytes.clone());
        // A request that was repeated may find its own object.
        match self.far.small(object).map_err(|e| e.of(object))? {
            Some(there) if there == bytes => Ok(()),
            _ => {
                let other = || "what came back is not what was sent".to_owned();
                let reason = made.err().map_or_else(other, |error| error.reason);
                Err(StoreError::Far { object: object.into(), reason })
            }
        }
    }

    fn has(&self, objects: &[Object]) -> Result<Vec<bool>, StoreError> {
        let names: Vec<String> = objects.iter().map(name_in_bucket).collect::<Result<_, _>>()?;
        let sizes = self.far.sizes(&names).map_err(|e| e.of("objects"))?;
        let whole = |(object, size): (&Object, Option<u64>)| match size {
            None => false,
            Some(size) if self.is_known(object) => object.packs || size == object.size,
            // One that no backup names may be what a crash or somebody else left.
            Some(_) => {
                let whole = self.fetch(object, &mut io::sink()).is_ok();
                if whole {
                    self.known.lock().insert(object.sha256.clone());
                }
                whole
            }
        };
        Ok(objects.iter().zip(sizes).map(whole).collect())
    }

    fn is_known(&self, object: &Object) -> bool {
        self.known.lock().contains(&object.sha256)
    }

    /// Sends a file and reads it back; `packed` is a place for a packed copy.
    fn put(&self, object: &Object, from: &Path, packed: &Path) -> Result<(), StoreError> {
        self.stay(false)?;
        let name = name_in_bucket(object)?;
        if object.packs {
            let sent = self.put_packed(object, &name, from, packed);
            // What only we may read must not stay: another object may be the last for long.
            remove(packed)?;
            sent?;
        } else if self.send(&name, from)? != object.sha256 {
            return Err(StoreError::file(from, "its SHA-256 is not the listed one"));
        }
        self.fetch(object, &mut io::sink()).map_err(|reason| StoreError::Far {
            object: name,
            reason: format!("what came back is not what was sent: {reason}"),
        })?;
        self.known.lock().insert(object.sha256.clone());
        Ok(())
    }

    fn put_packed(
        &self,
        object: &Object,
        name: &str,
        from: &Path,
        packed: &Path,
    ) -> Result<(), StoreError> {
        match pack(from, packed)? == object.sha256 {
            true => self.send(name, packed).map(drop),
            false => Err(StoreError::file(from, "its SHA-256 is not the listed one")),
        }
    }

    /// Out: SHA-256 of what was sent.
    fn send(&self, name: &str, from: &Path) -> Result<String, StoreError> {
        let goes_on = || !self.far.leaving.load(Ordering::Relaxed);
        self.far.upload(name, from, &goes_on).map_err(|e| e.of(name))
    }

    /// Reads an object in pieces into `out`; what is not what was written is an error.
    fn fetch(&self, object: &Object, out: &mut dyn Write) -> Result<(), String> {
        let name = name_in_bucket(object).map_err(|e| e.to_string())?;
        let size = self.far.size(&name).map_err(|e| e.reason)?.ok_or("it is not there")?;
        let mut sum = Summed { out, hash: Sha256::new(), size: 0, size_max: object.size };
        match object.packs {
            false => {
                if size != object.size {
                    return Err("changed".into());
                }
                self.far.whole(&name, size, &mut |bytes| sum.write_all(bytes))
            }
            true => {
                let unpacker = zstd::stream::write::Decoder::new(&mut sum);
                let mut unpacker = unpacker.map_err(|e| e.to_string())?;
                let read = self.far.whole(&name, size, &mut |bytes| unpacker.write_all(bytes));
                unpacker.flush().map_err(|e| e.to_string())?;
                read
            }
        }
        .map_err(|e| e.reason)?;
        object.is(sum.size, &hex(&sum.hash.finalize()))
    }
}

fn name_in_bucket(object: &Object) -> Result<String, StoreError> {
    Ok(named(object)? + if object.packs { ".zst" } else { "" })
}

/// Packs a file; what is zero becomes next to nothing. Nobody else may read the packed one: among the
/// files of others are keys. Out: SHA-256 of what was packed.
fn pack(from: &Path, to: &Path) -> Result<String, StoreError> {
    let mut source = File::open(from).map_err(StoreError::io("opening", from))?;
    // Never into what somebody else has open, nor through a link.
    remove(to)?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let target = options.open(to).map_err(StoreError::io("creating", to))?;
    let mut hash = Sha256::new();
    let packed = zstd::stream::Encoder::new(target, PACK_LEVEL).and_then(|mut packer| {
        let mut buffer = vec![0; 1 << 20];
        loop {
            match source.read(&mut buffer)? {
                0 => break packer.finish().map(drop),
                n => {
                    hash.update(&buffer[..n]);
                    packer.write_all(&buffer[..n])?;
                }
            }
        }
    });
    packed.map_err(StoreError::io("writing", to))?;
    Ok(hex(&hash.finalize()))
}

/// Passes bytes on, sums them up, and takes no more than there may be: what comes may be anything.
struct Summed<'w> {
    out: &'w mut dyn Write,
    hash: Sha256,
    size: u64,
    size_max: u64,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.size += bytes.len() as u64;
        if self.size > self.size_max {
            return Err(io::Error::other("it is longer than what was written"));
        }
        self.hash.update(bytes);
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn folders_are_made_with_all_above_them_once() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        assert_eq!(make_folder(&deep).unwrap(), 3);
        assert_eq!(make_folder(&deep).unwrap(), 0);
        assert_eq!(make_folder(&dir.path().join("a/d")).unwrap(), 1);
        fs::write(deep.join("file"), b"x").unwrap();
        assert!(make_folder(&deep.join("file/e")).is_err());
    }

    /// Scenario: a crash, or somebody else, left a file that all may read where a packed copy goes.
    /// Guarantees: the copy is a file of its own that nobody else may read, with the right bytes.
    #[test]
    fn a_packed_copy_is_read_by_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let [from, to, kept] = ["from", "to", "kept"].map(|name| dir.path().join(name));
        fs::write(&from, [7; 5_000]).unwrap();
        fs::write(&to, b"left").unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o644)).unwrap();
        fs::hard_link(&to, &kept).unwrap();
        let found = pack(&from, &to).unwrap();
        assert_eq!(found, hash_file(&from).unwrap().1);
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(&kept).unwrap(), b"left");
        let unpacked = zstd::decode_all(File::open(&to).unwrap()).unwrap();
        assert_eq!(unpacked, [7; 5_000]);
    }
}
