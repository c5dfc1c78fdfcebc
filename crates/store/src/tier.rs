//! Two tiers: what is young on the local disk, what is old in a folder or bucket far away.
//!
//! ```text
//! local ---intent---> local --upload, read back--> both ---> far
//!          manifest           SHA-256 as listed    manifest  manifest, then the local file goes
//! far or both --retention, deletion, join: manifest--> unlisted --object deleted--> gone from the list
//! ```
//! At every moment the manifest knows each object that may exist: those of listed files, and those
//! listed as to be deleted, among them uploads that were begun. So nothing has to be looked for in
//! the bucket, and objects of others are never touched.
//!
//! Of a far file its end (`*.tail`: checksums of all blocks, page indexes, footer) and its index stay
//! here: which rows a search needs is told without a request, and what comes is compared with its
//! checksums. A mark in the bucket says whose it is: two stores never share a prefix.
//!
//! Not here: how an object store is asked (`far`), how files are read (`read`).

use crate::error::StoreError;
use crate::far::Far;
use crate::far_file::tail_path;
use crate::manifest::{Change, FarCopy, FileEntry, State};
use crate::read::FileHandle;
use crate::store::{Store, hour_is_over};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// 90 days at hand: the three months that PCI DSS 10.5.1 wants immediately available.
pub const HOT_AGE_DEFAULT_NS: i64 = 90 * 86_400 * event::time::SECOND_NS;
/// Pieces of far files that are kept in memory: some hundred needles' worth.
pub const CACHE_BYTES_DEFAULT: usize = 64 << 20;
/// One request with its answer: a part of 8 MiB over a line of 2 Mbit/s.
pub const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Objects deleted in one round: each is a request.
const DELETES_PER_ROUND: usize = 64;
/// Files that one round moves at most while one does not go: what fails is to be told soon.
const FILES_IN_TROUBLE: usize = 32;
/// It begins none after so long, for the same reason.
const TIME_IN_TROUBLE: Duration = Duration::from_secs(60);
/// Name of the object that says whose prefix it is.
const MARK: &str = "alcedo-store.json";

/// Where the far tier is and what goes there.
#[derive(Clone, Debug)]
pub struct TierOptions {
    /// `file:///FOLDER`, `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`; all but
    /// the first need the feature `cloud`.
    pub to: String,
    /// Files whose youngest row was received longer ago move there.
    pub hot_age_ns: i64,
    /// Above so many local bytes the oldest files move there before.
    pub hot_bytes: Option<u64>,
    /// Memory for pieces of far files, bytes.
    pub cache_bytes: usize,
    /// Uploads take no more than so many bytes a second.
    pub upload_bytes_per_s: Option<u64>,
    /// Longest time of one request.
    pub request_timeout: Duration,
    /// Address of a server that speaks the same protocol; none: the provider's own.
    pub endpoint: Option<String>,
    /// Region of an S3 bucket.
    pub region: Option<String>,
    /// The bucket is part of the host's name instead of the path.
    pub virtual_hosted: bool,
    /// Plain HTTP is allowed.
    pub allow_http: bool,
    /// File with `NAME=VALUE` lines, names as in the provider's environment variables; none: the
    /// environment, or the instance.
    pub credentials: Option<PathBuf>,
}

impl TierOptions {
    /// A far tier with the default limits.
    pub fn new(to: impl Into<String>) -> Self {
        Self {
            to: to.into(),
            hot_age_ns: HOT_AGE_DEFAULT_NS,
            hot_bytes: None,
            cache_bytes: CACHE_BYTES_DEFAULT,
            upload_bytes_per_s: None,
            request_timeout: REQUEST_TIMEOUT_DEFAULT,
            endpoint: None,
            region: None,
            virtual_hosted: false,
            allow_http: false,
            credentials: None,
        }
    }

    /// Whether a client can be made of the settings. The object store is not asked.
    pub fn check(&self) -> Result<(), StoreError> {
        Far::new(self, Arc::default()).map(drop)
    }

    /// Whether the far tier is apart from the store in `dir`: what a start finds there and does not
    /// know, it deletes.
    pub fn check_apart(&self, dir: &Path) -> Result<(), StoreError> {
        let Some(folder) = self.to.strip_prefix("file://") else { return Ok(()) };
        let (far, own) = (real_path(Path::new(folder)), real_path(dir));
        if !far.starts_with(&own) && !own.starts_with(&far) {
            return Ok(());
        }
        let reason = format!("the store's own files are in {}: name another folder", own.display());
        Err(StoreError::Tier { to: self.to.clone(), reason })
    }
}

/// A path without links, as far as it exists.
fn real_path(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let known = path.ancestors().find_map(|a| Some((a, std::fs::canonicalize(a).ok()?)));
    let Some((known, mut real)) = known else { return path };
    for part in path.strip_prefix(known).unwrap_or(&path).components() {
        match part {
            Component::ParentDir => drop(real.pop()),
            part => real.push(part),
        }
    }
    real
}

/// What one round of [`Store::move_old`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TierRound {
    /// Files that were uploaded and read back.
    pub uploaded: u64,
    /// Their bytes.
    pub uploaded_bytes: u64,
    /// Local files that went, their object being listed.
    pub evicted: u64,
    /// Objects that were deleted.
    pub deleted: u64,
    /// There is more to do: call again at once.
    pub has_more: bool,
}

/// What one round leaves for the next.
#[derive(Default)]
pub(crate) struct Moving {
    /// Files that did not go: object and reason, by path.
    failed: BTreeMap<String, (String, String)>,
    /// The object that a deletion was tried of last, if that round left some: the next begins behind.
    deleted_through: Option<String>,
}

/// What is to move, as for a dry run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TierPlan {
    /// Files that would move now.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of indexes and file ends that stay here.
    pub kept_bytes: u64,
    /// Oldest receipt among them, ns.
    pub oldest_ns: Option<i64>,
    /// Objects that would be deleted.
    pub deletes: u64,
    /// Old files that stay: damaged, or of before there were checksums.
    pub unmovable: u64,
}

/// Numbers about the far tier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TierStats {
    /// Files that are only there.
    pub far_files: u64,
    /// Their bytes.
    pub far_bytes: u64,
    /// Files that should be there and are not.
    pub pending_files: u64,
    /// Their bytes.
    pub pending_bytes: u64,
    /// How long the oldest of them has been due, s.
    pub behind_s: u64,
    /// Objects that are to be deleted.
    pub doomed_objects: u64,
    /// Requests for bytes since the start.
    pub gets: u64,
    /// Bytes that came.
    pub got_bytes: u64,
    /// Pieces that a read found in memory.
    pub cache_hits: u64,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Calls that failed after all repetitions.
    pub failures: u64,
    /// Calls that were answered, also with that there is no such object.
    pub answers: u64,
}

/// The mark's content.
#[derive(serde::Serialize, serde::Deserialize)]
struct Mark {
    store: String,
}

impl Store {
    /// One piece of the far tier's work: deletes objects that are no longer listed, lets local files
    /// go that are listed in both tiers, uploads the next old file. Blocks for as long as an upload
    /// takes, holding nothing up; `goes_on` is asked before each part. Without a far tier it does
    /// nothing.
    ///
    /// One object or file that does not go holds up no other: the round goes on for a while, and tells
    /// the first such error at its end. After an error everything is as it was or further, and it can be
    /// tried again at any time.
    pub fn move_old(
        &self,
        now_ns: i64,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<TierRound, StoreError> {
        self.writable()?;
        let mut round = TierRound::default();
        let Some(far) = self.far.clone() else { return Ok(round) };
        let mut moving = self.moving.lock();
        let due = self.due(now_ns).0;
        let idle = {
            let writer = self.writer.lock();
            let state = writer.manifest.state();
            let both = |e: &FileEntry| e.far.as_ref().is_some_and(|f| f.is_local);
            due.is_empty() && state.far_doomed.is_empty() && !state.files.values().any(both)
        };
        if idle {
            return Ok(round);
        }
        self.own_prefix(&far)?;
        let kept: BTreeSet<String> = due.iter().map(|f| object_name(&f.entry)).collect();
        let manifest = self.root.join("manifest");
        let mut trouble = Trouble { far: &far, manifest, first: None };
        round.deleted =
            self.delete_doomed(&far, &kept, &mut moving.deleted_through, &mut trouble)?;
        round.evicted = self.evict(&far, &mut trouble)?;
        self.move_files(&far, due, &mut moving.failed, goes_on, &mut round, &mut trouble)?;
        trouble.first.map_or(Ok(round), Err)
    }

    /// Uploads the next file; after an error or with files that have failed before, more of them, within
    /// [`FILES_IN_TROUBLE`] and [`TIME_IN_TROUBLE`]. Those that failed come last, and as long as one was
    /// not tried again, its error is that of the round.
    fn move_files(
        &self,
        far: &Far,
        mut due: Vec<Arc<FileHandle>>,
        failed: &mut BTreeMap<String, (String, String)>,
        goes_on: &dyn Fn() -> bool,
        round: &mut TierRound,
        trouble: &mut Trouble<'_>,
    ) -> Result<(), StoreError> {
        let paths: BTreeSet<&str> = due.iter().map(|f| &*f.entry.path).collect();
        failed.retain(|path, _| paths.contains(&**path));
        due.sort_by_key(|f| failed.contains_key(&f.entry.path));
        let (left, began) = (due.len(), Instant::now());
        // Each file is held only until it has moved: its bytes here go with the last who holds it.
        for (at, file) in due.into_iter().enumerate() {
            let path = &file.entry.path;
            match self.upload(far, &file, goes_on) {
                Ok(listed) => {
                    failed.remove(path);
                    round.uploaded += u64::from(listed);
                    round.uploaded_bytes += if listed { file.entry.size_bytes } else { 0 };
                }
                Err(error) => {
                    // A damaged one is not due any more.
                    if !matches!(error, StoreError::File { .. }) {
                        let reason = match &error {
                            StoreError::Far { reason, .. } => reason.clone(),
                            other => other.to_string(),
                        };
                        failed.insert(path.clone(), (object_name(&file.entry), reason));
                    }
                    trouble.note(error)?;
                }
            }
            drop(file);
            round.evicted += self.evict(far, trouble)?;
            round.has_more = at + 1 < left && goes_on();
            let well = trouble.first.is_none() && failed.is_empty();
            let enough = at + 1 >= FILES_IN_TROUBLE || began.elapsed() >= TIME_IN_TROUBLE;
            if well || enough || !goes_on() {
                break;
            }
        }
        let waits = failed.values().next();
        let waits = waits.map(|(object, reason)| (object.clone(), reason.clone()));
        trouble.first = trouble
            .first
            .take()
            .or(waits.map(|(object, reason)| StoreError::Far { object, reason }));
        Ok(())
    }

    /// Gives up all that waits for the far tier or for a bucket of backups, now and later: the program
    /// is about to end.
    pub fn leave_far_tier(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// What [`Store::move_old`] would do now. Nothing is changed, and nothing asked of anybody.
    pub fn tier_plan(&self, now_ns: i64) -> TierPlan {
        let (due, unmovable) = self.due(now_ns);
        let mut plan = TierPlan { unmovable, ..TierPlan::default() };
        for file in due {
            let entry = &file.entry;
            plan.files += 1;
            plan.rows += entry.rows;
            plan.bytes += entry.size_bytes;
            plan.kept_bytes += entry.index.as_ref().map_or(0, |index| index.size_bytes);
            plan.kept_bytes += entry.footer.map_or(0, |f| entry.size_bytes.saturating_sub(f.at));
            let least = entry.received_min_ns;
            plan.oldest_ns = Some(plan.oldest_ns.map_or(least, |o| o.min(least)));
        }
        plan.deletes = self.writer.lock().manifest.state().far_doomed.len() as u64;
        plan
    }

    /// Numbers about the far tier; none where there is none.
    pub fn tier_stats(&self, now_ns: i64) -> Option<TierStats> {
        let far = self.far.as_ref()?;
        let hot = self.options.tier.as_ref().map_or(HOT_AGE_DEFAULT_NS, |t| t.hot_age_ns);
        let mut out = TierStats::default();
        for file in &self.snapshot().0.files {
            if file.is_far() {
                out.far_files += 1;
                out.far_bytes += file.entry.size_bytes;
            }
        }
        for file in self.due(now_ns).0 {
            out.pending_files += 1;
            out.pending_bytes += file.entry.size_bytes;
            let age = now_ns.saturating_sub(file.entry.received_max_ns);
            let late = age.saturating_sub(hot).max(0) / event::time::SECOND_NS;
            out.behind_s = out.behind_s.max(late.unsigned_abs());
        }
        out.doomed_objects = self.doomed_objects.load(Ordering::Relaxed);
        let traffic = &far.traffic;
        out.gets = traffic.gets.load(Ordering::Relaxed);
        out.got_bytes = traffic.got_bytes.load(Ordering::Relaxed);
        out.cache_hits = traffic.hits.load(Ordering::Relaxed);
        out.sent_bytes = traffic.sent_bytes.load(Ordering::Relaxed);
        out.failures = traffic.failures.load(Ordering::Relaxed);
        out.answers = traffic.answers.load(Ordering::Relaxed);
        Some(out)
    }

    /// Files that are to move, oldest first, and how many are old and cannot.
    fn due(&self, now_ns: i64) -> (Vec<Arc<FileHandle>>, u64) {
        let Some(tier) = &self.options.tier else { return (Vec::new(), 0) };
        let (snapshot, _) = self.snapshot();
        let mut files = snapshot.files;
        files.retain(|f| f.entry.far.is_none());
        files.sort_by_key(|f| (f.entry.received_max_ns, f.entry.first));
        let mut local: u64 = files.iter().map(|f| f.entry.total_bytes()).sum();
        let mut unmovable = 0;
        files.retain(|f| {
            let old = now_ns.saturating_sub(f.entry.received_max_ns) > tier.hot_age_ns;
            let much = tier.hot_bytes.is_some_and(|max| local > max);
            if !(old || much) || !hour_is_over(&f.entry, now_ns) {
                return false;
            }
            let fit = f.entry.footer.is_some() && !f.is_damaged();
            unmovable += u64::from(!fit);
            local -= if fit { f.entry.size_bytes } else { 0 };
            fit
        });
        (files, unmovable)
    }

    /// Makes sure that the prefix is ours: nobody else deletes there, and we delete nobody's.
    fn own_prefix(&self, far: &Far) -> Result<(), StoreError> {
        let known = self.writer.lock().manifest.state().far_id.clone();
        let id = match known {
            Some(id) => id,
            None => {
                let id = random_id()?;
                let mut writer = self.writer.lock();
                self.commit(&mut writer, Change { far_id: Some(id.clone()), ..Change::default() })?;
                id
            }
        };
        let wrong = |reason: &str| StoreError::Far { object: MARK.into(), reason: reason.into() };
        if let Some(bytes) = far.small(MARK).map_err(|e| e.of(MARK))? {
            return match serde_json::from_slice::<Mark>(&bytes) {
                Ok(mark) if mark.store == id => Ok(()),
                Ok(_) => Err(wrong(
                    "it says that another store moves its files here: choose another prefix",
                )),
                Err(_) => Err(wrong("it is not one of ours: choose another prefix")),
            };
        }
        let used = {
            let writer = self.writer.lock();
            let state = writer.manifest.state();
            state.files.values().any(|e| e.far.is_some())
        };
        if used {
            return Err(wrong("it is not there, though files are: is the right folder mounted?"));
        }
        let mark = serde_json::to_vec(&Mark { store: id }).expect("plain data always serialises");
        far.create(MARK, mark).map_err(|e| e.of(MARK))
    }

    /// Deletes objects that no listed file has and nobody reads any more. Those of `kept` are about to
    /// be listed: an upload that was cut short may have been whole.
    fn delete_doomed(
        &self,
        far: &Far,
        kept: &BTreeSet<String>,
        through: &mut Option<String>,
        trouble: &mut Trouble<'_>,
    ) -> Result<u64, StoreError> {
        let mut doomed: Vec<String> = {
            let writer = self.writer.lock();
            let state = writer.manifest.state();
            let in_use = self.far_in_use();
            let listed: BTreeSet<&str> = objects_of(state).collect();
            let free =
                |o: &&String| !listed.contains(&***o) && !in_use.contains(*o) && !kept.contains(*o);
            state.far_doomed.iter().filter(free).cloned().collect()
        };
        // Else those that do not go would come first each time, and no other after them.
        let tried = through.take();
        let behind = tried.map_or(0, |tried| doomed.partition_point(|object| *object <= tried));
        doomed.rotate_left(behind);
        let (mut gone, mut failed, mut ended) = (Vec::new(), 0, Ok(()));
        for object in doomed {
            match far.delete(&object) {
                Ok(()) => gone.push(object.clone()),
                Err(error) => {
                    failed += 1;
                    ended = trouble.note(error.of(&object));
                }
            }
            if ended.is_err() || failed.max(gone.len()) == DELETES_PER_ROUND {
                *through = Some(object);
                break;
            }
        }
        self.step("objects deleted");
        let count = gone.len() as u64;
        if count > 0 {
            let mut writer = self.writer.lock();
            self.commit(&mut writer, Change { far_gone: gone, ..Change::default() })?;
        }
        ended.map(|()| count)
    }

    /// Uploads a file, reads it back, and lists it in both tiers. Out: whether it is listed so.
    fn upload(
        &self,
        far: &Far,
        file: &Arc<FileHandle>,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<bool, StoreError> {
        let entry = &file.entry;
        let object = object_name(entry);
        let failed = |reason: String| StoreError::Far { object: object.clone(), reason };
        {
            let mut writer = self.writer.lock();
            if !writer.manifest.state().far_doomed.contains(&object) {
                let change = Change { far_doomed: vec![object.clone()], ..Change::default() };
                self.commit(&mut writer, change)?;
            }
        }
        self.step("upload listed");
        let there = far.size(&object).map_err(|e| e.of(&object))? == Some(entry.size_bytes);
        if !there || read_back(far, &object, entry).is_err() {
            // A damaged file stays where it is and holds no other up; its object, if there is one, is
            // deleted with the next round.
            let damaged = |reason: &str| {
                file.leave_alone();
                StoreError::file(&file.path, reason)
            };
            let sent = far.upload(&object, &file.path, goes_on).map_err(|e| match e.is_local {
                true if goes_on() => damaged(&e.reason),
                _ => e.of(&object),
            })?;
            if sent != entry.sha256 {
                return Err(damaged("its SHA-256 is not the listed one"));
            }
            self.step("uploaded");
            read_back(far, &object, entry).map_err(failed)?;
        }
        file.open()?.write_tail(&tail_path(&file.path))?;
        self.step("tail written");
        // Upkeep may have replaced the file meanwhile.
        let _upkeep = self.upkeep.lock();
        let mut writer = self.writer.lock();
        let listed = writer.manifest.state().files.get(&entry.path).cloned();
        let Some(listed) = listed.filter(|l| l.sha256 == entry.sha256) else {
            let tail = tail_path(&file.path);
            std::fs::remove_file(&tail).map_err(StoreError::io("removing", &tail))?;
            return Ok(false);
        };
        let both = FileEntry { far: Some(FarCopy { object, is_local: true }), ..listed };
        self.commit(&mut writer, Change { add: vec![both.clone()], ..Change::default() })?;
        self.replace_handle(&both);
        self.step("listed in both");
        Ok(true)
    }

    /// Lets go of local files that are listed in both tiers.
    fn evict(&self, far: &Far, trouble: &mut Trouble<'_>) -> Result<u64, StoreError> {
        let both: Vec<FileEntry> = {
            let writer = self.writer.lock();
            let files = writer.manifest.state().files.values();
            files.filter(|e| e.far.as_ref().is_some_and(|f| f.is_local)).cloned().collect()
        };
        let mut evicted = 0;
        for entry in both {
            let Some(copy) = &entry.far else { continue };
            // It was read back when it was listed; it may have been deleted behind our back since.
            let is_there = match far.size(&copy.object) {
                Ok(size) => size == Some(entry.size_bytes),
                Err(error) => {
                    trouble.note(error.of(&copy.object))?;
                    continue;
                }
            };
            evicted += u64::from(match is_there {
                true => self.let_go(&entry, copy)?,
                false => self.take_back(&entry, copy, trouble)?,
            });
        }
        Ok(evicted)
    }

    /// The local file goes. Out: whether it did.
    fn let_go(&self, entry: &FileEntry, copy: &FarCopy) -> Result<bool, StoreError> {
        // Nothing waits for the answer; upkeep may have replaced the file meanwhile.
        let _upkeep = self.upkeep.lock();
        let mut writer = self.writer.lock();
        let listed = writer.manifest.state().files.get(&entry.path).cloned();
        let Some(listed) = listed.filter(|l| l.far == entry.far) else { return Ok(false) };
        let copy = FarCopy { is_local: false, ..copy.clone() };
        let entry = FileEntry { far: Some(copy), ..listed };
        self.commit(&mut writer, Change { add: vec![entry.clone()], ..Change::default() })?;
        self.step("listed as far");
        if let Some(old) = self.replace_handle(&entry) {
            old.doom_data();
        }
        self.step("evicted");
        Ok(true)
    }

    /// The object is not what was sent any more: the file counts as never moved, and goes again.
    fn take_back(
        &self,
        entry: &FileEntry,
        copy: &FarCopy,
        trouble: &mut Trouble<'_>,
    ) -> Result<bool, StoreError> {
        let object = copy.object.clone();
        if !self.root.join(&entry.path).is_file() {
            let reason = "it is gone or has another size, and there is no local file".into();
            return trouble.note(StoreError::Far { object, reason }).map(|()| false);
        }
        tracing::warn!(object, "it is gone or has another size; the local file is sent again");
        let _upkeep = self.upkeep.lock();
        let mut writer = self.writer.lock();
        let listed = writer.manifest.state().files.get(&entry.path).cloned();
        let Some(listed) = listed.filter(|l| l.far == entry.far) else { return Ok(false) };
        let entry = FileEntry { far: None, ..listed };
        let far_doomed = vec![object];
        let change = Change { add: vec![entry.clone()], far_doomed, ..Change::default() };
        self.commit(&mut writer, change)?;
        self.replace_handle(&entry);
        Ok(false)
    }
}

/// What goes wrong in a round with one object or file, while the round goes on.
struct Trouble<'a> {
    far: &'a Far,
    /// Where an error ends the round: what cannot be listed is not to be moved.
    manifest: PathBuf,
    /// What is told in the end.
    first: Option<StoreError>,
}

impl Trouble<'_> {
    /// Takes note of an error. Out: the error, if nothing else would fare better.
    fn note(&mut self, error: StoreError) -> Result<(), StoreError> {
        match error {
            StoreError::Far { .. } if self.far.is_silent() => Err(error),
            StoreError::Io { ref path, .. } if path.starts_with(&self.manifest) => Err(error),
            StoreError::Far { .. } | StoreError::File { .. } | StoreError::Io { .. } => {
                self.first.get_or_insert(error);
                Ok(())
            }
            _ => Err(error),
        }
    }
}

/// Reads an object as a whole and compares it with what the manifest says of its file.
pub(crate) fn read_back(far: &Far, object: &str, entry: &FileEntry) -> Result<(), String> {
    let found = far.whole(object, entry.size_bytes, &mut |_| Ok(()));
    match found {
        Ok(sha256) if sha256 == entry.sha256 => Ok(()),
        Ok(_) => Err("what came back is not what was sent".into()),
        Err(error) => Err(error.reason),
    }
}

/// The name of a file's object: its path, and what is in it, so that no two contents share a name.
fn object_name(entry: &FileEntry) -> String {
    let stem = entry.path.strip_suffix(".parquet").unwrap_or(&entry.path);
    format!("{stem}-{}.parquet", entry.sha256.get(..16).unwrap_or("0"))
}

/// Objects of listed files.
pub(crate) fn objects_of(state: &State) -> impl Iterator<Item = &str> {
    state.files.values().filter_map(|e| e.far.as_ref()).map(|far| &*far.object)
}

pub(crate) fn random_id() -> Result<String, StoreError> {
    let mut id = [0; 16];
    let random = std::path::Path::new("/dev/urandom");
    let read = std::fs::File::open(random)
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut id));
    read.map_err(StoreError::io("reading", random))?;
    Ok(crate::write::hex(&id))
}
