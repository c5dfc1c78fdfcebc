//! The store itself: hot rows, listed files, and how one becomes the other.

use crate::budget::Budget;
use crate::error::{SearchError, StoreError};
use crate::far::Far;
use crate::manifest::{Change, FileEntry, Manifest, Tail, sync_folder};
use crate::pipes;
use crate::policy::{AuditRecord, Hidden, RetentionRule};
use crate::read::FileHandle;
use crate::render::event_json;
use crate::rows::{HotBatch, RowRef};
use crate::scan::Snapshot;
use crate::search::{self, Estimate, FieldValues, Histogram, Row, SearchRequest, SearchSummary};
use crate::sidecar::index_path;
use crate::tier::{Moving, TierOptions};
use crate::write::{hour_folder, write_file};
use event::{Dictionary, EventBatch, EventId};
use hashbrown::HashSet;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Called with the name of each step of publication; tests copy the folder there.
pub type StepHook = Arc<dyn Fn(&str) + Send + Sync>;

/// 400 days: above the year that PCI DSS 10.5.1 asks for.
pub const RETENTION_AGE_DEFAULT_NS: i64 = 400 * 86_400 * event::time::SECOND_NS;

/// Searches that run at once unless told otherwise: each may use its limit of memory.
pub const SEARCHES_MAX_DEFAULT: usize = 16;

/// How a store behaves.
#[derive(Clone)]
pub struct Options {
    /// Hot rows are flushed by [`Store::maintain`] beyond so many bytes.
    pub hot_bytes_max: usize,
    /// ... or when they have been hot for so long, ns.
    pub hot_age_max_ns: i64,
    /// Files whose youngest row was received longer ago are deleted; none: no limit of age.
    pub retention_age_ns: Option<i64>,
    /// Oldest files are deleted beyond so many bytes in all; none: no limit of size.
    pub retention_bytes: Option<u64>,
    /// Further rules of retention, for some rows or for all.
    pub retention_rules: Vec<RetentionRule>,
    /// Searches, exports and SQL that may run at once; one more is refused.
    pub searches_max: usize,
    /// Bytes for sorting, grouping and distinct values of all that run at once.
    pub searches_bytes_max: usize,
    /// The same of one of them, beside the limit that its request has.
    pub search_bytes_max: usize,
    /// Where old files move to; none: all files stay on the local disk.
    pub tier: Option<TierOptions>,
    /// Called at each step of publication.
    pub step_hook: Option<StepHook>,
}

impl Options {
    /// All rules of retention.
    pub fn rules(&self) -> Vec<RetentionRule> {
        let mut rules = Vec::new();
        if self.retention_age_ns.is_some() || self.retention_bytes.is_some() {
            rules.push(RetentionRule {
                name: "default".into(),
                age_ns: self.retention_age_ns,
                bytes: self.retention_bytes,
                filter: None,
            });
        }
        rules.extend(self.retention_rules.iter().cloned());
        rules
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hot_bytes_max: 64 << 20,
            hot_age_max_ns: 60 * event::time::SECOND_NS,
            retention_age_ns: Some(RETENTION_AGE_DEFAULT_NS),
            retention_bytes: None,
            retention_rules: Vec::new(),
            searches_max: SEARCHES_MAX_DEFAULT,
            searches_bytes_max: SEARCHES_MAX_DEFAULT * crate::search::MEMORY_BYTES_DEFAULT,
            search_bytes_max: crate::search::MEMORY_BYTES_DEFAULT,
            tier: None,
            step_hook: None,
        }
    }
}

/// What was found when opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Files listed and present.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Unlisted files that were deleted: their publication was never finished.
    pub orphans_removed: u64,
    /// Unlisted files that were set aside in `orphans/`, because the manifest's end was damaged.
    pub orphans_set_aside: u64,
    /// Bytes of an unfinished last record taken back from the manifest.
    pub manifest_bytes_cut: u64,
    /// Listed files that are not there: searches say that they are partial.
    pub missing: Vec<String>,
}

/// Numbers about a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Listed files.
    pub files: u64,
    /// Rows in files.
    pub file_rows: u64,
    /// Bytes of files, without their indexes.
    pub file_bytes: u64,
    /// Bytes of the indexes beside them.
    pub index_bytes: u64,
    /// Rows only in memory (and in the journal).
    pub hot_rows: u64,
    /// Bytes of frozen batches.
    pub hot_bytes: u64,
    /// Least and greatest `@timestamp` anywhere, ns.
    pub event_times_ns: Option<(i64, i64)>,
    /// Rows given to [`Store::append`] that were stored already.
    pub repeats: u64,
    /// Number of manifest changes so far.
    pub version: u64,
    /// Listed files that were missing at the start.
    pub missing_files: u64,
    /// Bytes of files that are in the far tier only; they count among `file_bytes`.
    pub far_bytes: u64,
}

/// What one round of upkeep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// The offset that a flush made durable, see [`Store::flush`].
    pub flushed_through: Option<u64>,
    /// Small files that became one.
    pub compacted_files: u64,
    /// There are more rows in memory than may be: call again at once.
    pub is_behind: bool,
    /// Files that retention took.
    pub retired_files: u64,
    /// Rows in them.
    pub retired_rows: u64,
    /// What was removed or hidden, for the ledger.
    pub audit: Vec<AuditRecord>,
}

#[derive(Default)]
struct Live {
    files: Vec<Arc<FileHandle>>,
    hot: Vec<HotBatch>,
    hot_bytes: usize,
    /// Batches that are in files and that somebody may still read, each with its bytes.
    read_on: Vec<(Weak<EventBatch>, usize)>,
    appended: BTreeMap<u32, EventId>,
    /// What was in files when the store was opened.
    opened: BTreeMap<u32, EventId>,
    repeats: u64,
    missing: u64,
    hot_since_ns: Option<i64>,
    /// Copies of the manifest's, so that asking never waits for a flush.
    through: BTreeMap<u32, EventId>,
    version: u64,
    hidden: Arc<Vec<Hidden>>,
}

pub(crate) struct Writer {
    pub(crate) manifest: Manifest,
    broken: bool,
    /// The manifest's number after the last change that is known to be durable.
    version: u64,
    /// Files whose listing failed: listed or not, until the manifest has been read again.
    unlisted: Vec<FileEntry>,
}

/// Hot rows and files of one installation. Share it by reference or `Arc`: all methods take `&self`
/// and block; searches may run beside appends, flushes and upkeep.
pub struct Store {
    pub(crate) root: PathBuf,
    pub(crate) options: Options,
    read_only: bool,
    dictionary: RwLock<Arc<Dictionary>>,
    live: Mutex<Live>,
    pub(crate) writer: Mutex<Writer>,
    running: AtomicUsize,
    searches_memory: Arc<Budget>,
    joining_waits: AtomicBool,
    /// Held while files are joined or removed, one such work at a time; taken before `writer`.
    pub(crate) upkeep: Mutex<()>,
    /// When the rules of retention were applied last, ns.
    pub(crate) retired_at_ns: Mutex<Option<i64>>,
    /// Counts what makes files be looked at anew for deleted rows: a hold that was released, other
    /// names of fields.
    pub(crate) looks_epoch: AtomicU64,
    /// Deletions of which nothing can be erased until something changes.
    pub(crate) settled: Mutex<HashSet<u64>>,
    pub(crate) far: Option<Arc<Far>>,
    /// Set when nothing far away is to be waited for any more.
    pub(crate) ending: Arc<AtomicBool>,
    /// Held while files move, one such work at a time; taken before `upkeep`.
    pub(crate) moving: Mutex<Moving>,
    /// Unlisted files whose objects somebody may still read.
    leaving: Mutex<Vec<(String, Weak<FileHandle>)>>,
    /// Copy of a number of the manifest's, so that asking never waits.
    pub(crate) doomed_objects: AtomicU64,
}

impl Store {
    /// Opens or creates a store in `dir`: replays the manifest and removes unlisted files.
    pub fn open(dir: &Path, options: Options) -> Result<(Store, OpenReport), StoreError> {
        fs::create_dir_all(dir).map_err(StoreError::io("creating", dir))?;
        // Before anything is swept: objects among the store's files would count as orphans.
        options.tier.as_ref().map_or(Ok(()), |tier| tier.check_apart(dir))?;
        let (manifest, tail) = Manifest::open(&dir.join("manifest"))?;
        let mut report = OpenReport::default();
        if let Tail::Torn(bytes) | Tail::Damaged(bytes) = tail {
            report.manifest_bytes_cut = bytes;
        }
        let set_aside = matches!(tail, Tail::Damaged(_));
        sweep_orphans(dir, &manifest, set_aside, &mut report)?;
        crate::vault::remove_left(dir)?;
        let store = Self::with(dir, options, manifest, false, &mut report)?;
        store.refresh_hidden(&store.writer.lock())?;
        Ok((store, report))
    }

    /// Opens a store for looking at it, also while another program writes it: nothing on disk is
    /// created, changed or removed. What would write fails with [`StoreError::ReadOnly`].
    pub fn open_read_only(dir: &Path) -> Result<(Store, OpenReport), StoreError> {
        Self::open_read_only_with(dir, None)
    }

    /// The same, with the far tier that old files have moved to.
    pub fn open_read_only_with(
        dir: &Path,
        tier: Option<TierOptions>,
    ) -> Result<(Store, OpenReport), StoreError> {
        let (manifest, tail) = Manifest::open_read_only(&dir.join("manifest"))?;
        let mut report = OpenReport::default();
        if let Tail::Torn(bytes) | Tail::Damaged(bytes) = tail {
            report.manifest_bytes_cut = bytes;
        }
        let options = Options { tier, ..Options::default() };
        let store = Self::with(dir, options, manifest, true, &mut report)?;
        store.refresh_hidden(&store.writer.lock())?;
        Ok((store, report))
    }

    fn with(
        dir: &Path,
        options: Options,
        manifest: Manifest,
        read_only: bool,
        report: &mut OpenReport,
    ) -> Result<Self, StoreError> {
        let ending = Arc::<AtomicBool>::default();
        let far = options.tier.as_ref().map(|tier| Far::new(tier, ending.clone())).transpose()?;
        let far = far.map(Arc::new);
        if let Some(far) = &far {
            far.looks_only.store(read_only, Ordering::Relaxed);
        }
        let mut live = Live {
            appended: manifest.state().through.clone(),
            opened: manifest.state().through.clone(),
            through: manifest.state().through.clone(),
            version: manifest.state().version,
            ..Live::default()
        };
        for entry in manifest.state().files.values() {
            if entry.far.is_some() || dir.join(&entry.path).is_file() {
                report.files += 1;
                report.rows += entry.rows;
                live.files.push(Arc::new(FileHandle::new(dir, entry.clone(), far.as_ref())));
            } else {
                report.missing.push(entry.path.clone());
            }
        }
        live.missing = report.missing.len() as u64;
        let version = manifest.state().version;
        let doomed_objects = AtomicU64::new(manifest.state().far_doomed.len() as u64);
        let writer = Writer { manifest, broken: false, version, unlisted: Vec::new() };
        let (all, one) = (options.searches_bytes_max, options.search_bytes_max);
        let searches_memory = Arc::new(Budget::of(all, one));
        sort_files(&mut live.files);
        Ok(Store {
            root: dir.to_path_buf(),
            options,
            read_only,
            dictionary: RwLock::new(Dictionary::ecs()),
            live: Mutex::new(live),
            writer: Mutex::new(writer),
            running: AtomicUsize::new(0),
            searches_memory,
            joining_waits: AtomicBool::new(false),
            upkeep: Mutex::new(()),
            retired_at_ns: Mutex::new(None),
            looks_epoch: AtomicU64::new(0),
            settled: Mutex::default(),
            far,
            ending,
            moving: Mutex::default(),
            leaving: Mutex::new(Vec::new()),
            doomed_objects,
        })
    }

    pub(crate) fn writable(&self) -> Result<(), StoreError> {
        match self.read_only {
            true => Err(StoreError::ReadOnly { path: self.root.clone() }),
            false => Ok(()),
        }
    }

    /// Tells which names the current generation knows: they get columns even where they are rare.
    pub fn set_dictionary(&self, dictionary: Arc<Dictionary>) {
        let before = std::mem::replace(&mut *self.dictionary.write(), dictionary.clone());
        if !Arc::ptr_eq(&before, &dictionary) {
            self.looks_epoch.fetch_add(1, Ordering::SeqCst);
        }
        let writer = self.writer.lock();
        // Their filters were read when they were set; they can be read again.
        if let Err(error) = self.refresh_hidden(&writer) {
            tracing::error!(%error, "a deletion is not applied");
        }
    }

    pub(crate) fn dictionary(&self) -> Arc<Dictionary> {
        self.dictionary.read().clone()
    }

    /// Adds a frozen batch: searchable at once, durable in files after a flush. Batches come in
    /// order of [`EventId`] and hold whole records; rows at or before what was appended (or stored
    /// before a restart) are skipped, and so are rows that are not kept.
    ///
    /// Out: the rows that are in the store now, by index, ascending; among them those that were in
    /// its files when it was opened, which a replay brings again. A row that comes twice in one run
    /// is not among them the second time.
    pub fn append(&self, batch: Arc<EventBatch>) -> Arc<[u32]> {
        let mut live = self.live.lock();
        let before = live.appended.clone();
        let mut kept = Vec::with_capacity(batch.len());
        let mut from_files = Vec::new();
        let (mut low, mut high) = (i64::MAX, i64::MIN);
        for row in batch.rows() {
            let id = row.id();
            if before.get(&id.partition).is_some_and(|through| id <= *through) {
                live.repeats += 1;
                let stored = live.opened.get(&id.partition).is_some_and(|through| id <= *through);
                if stored && row.is_kept() {
                    from_files.push(row.index() as u32);
                }
                continue;
            }
            let through = live.appended.entry(id.partition).or_insert(id);
            *through = (*through).max(id);
            if row.is_kept() {
                kept.push(row.index() as u32);
                (low, high) = (low.min(row.event_ns()), high.max(row.event_ns()));
            }
        }
        if !kept.is_empty() {
            live.hot_bytes += batch.size_bytes();
            // What was in files comes before what is new: rows come in order.
            let held = from_files.iter().chain(&kept).copied().collect();
            let kept = kept.into();
            live.hot.push(HotBatch { batch, kept, event_min_ns: low, event_max_ns: high });
            return held;
        }
        from_files.into()
    }

    /// Memory of the rows that are in no file yet, bytes.
    pub fn hot_bytes(&self) -> usize {
        self.live.lock().hot_bytes
    }

    /// Memory of rows that are in files, and that searches which began before still hold, bytes.
    pub fn read_on_bytes(&self) -> usize {
        let mut live = self.live.lock();
        live.read_on.retain(|(batch, _)| batch.strong_count() > 0);
        live.read_on.iter().map(|(_, bytes)| bytes).sum()
    }

    /// The last event of a partition that was appended, or stored before a restart.
    pub fn appended_through(&self, partition: u32) -> Option<EventId> {
        self.live.lock().appended.get(&partition).copied()
    }

    /// The last event of a partition up to which everything is in files. After a restart, feed
    /// what comes after it from the journal; what comes before is skipped.
    pub fn stored_through(&self, partition: u32) -> Option<EventId> {
        self.live.lock().through.get(&partition).copied()
    }

    /// Writes all hot rows to files and lists them in one manifest record, then lets go of the
    /// batches. Returns the offset (of partition 0) up to which everything is in files, if that
    /// changed: the journal's cursor of the store may move there.
    ///
    /// After an error nothing has changed for searches, and it can be tried again. Only where the
    /// manifest's own write failed and the record turns out to be there all the same, the store must
    /// be opened anew before it writes again.
    pub fn flush(&self) -> Result<Option<u64>, StoreError> {
        self.writable()?;
        let mut writer = self.writer.lock();
        self.mend(&mut writer)?;
        let (hot, appended) = {
            let live = self.live.lock();
            (live.hot.clone(), live.appended.clone())
        };
        if writer.manifest.state().through == appended {
            return Ok(None);
        }
        let before = writer.manifest.state().through.get(&0).copied();
        let mut rows: Vec<RowRef<'_>> = hot
            .iter()
            .flat_map(|h| h.kept.iter().map(|row| RowRef::Hot(h.batch.row(*row as usize))))
            .collect();
        rows.sort_by_key(RowRef::id);
        let mut add = Vec::new();
        let mut covered = writer.manifest.state().covered.clone();
        let generation = writer.manifest.state().version + 1;
        let dictionary = self.dictionary();
        for run in split_runs(&mut rows) {
            let partition = run.first().map_or(0, |r| r.id().partition);
            let after = covered.get(&partition).copied();
            match write_file(&self.root, run, after, generation, &dictionary) {
                Ok(entry) => {
                    covered.insert(partition, entry.last);
                    add.push(entry);
                    self.step("file renamed");
                }
                Err(error) => {
                    self.discard(&add);
                    return Err(error);
                }
            }
        }
        let handles = self.handles(&add);
        let change = Change { add: add.clone(), through: appended.clone(), ..Change::default() };
        if let Err(error) = self.commit(&mut writer, change) {
            writer.unlisted.extend(add);
            return Err(error);
        }
        let mut live = self.live.lock();
        live.files.extend(handles);
        sort_files(&mut live.files);
        let written: Vec<HotBatch> = live.hot.drain(..hot.len()).collect();
        live.read_on.retain(|(batch, _)| batch.strong_count() > 0);
        let read_on = written.iter().map(|h| (Arc::downgrade(&h.batch), h.batch.size_bytes()));
        live.read_on.extend(read_on);
        live.hot_bytes = live.hot.iter().map(|h| h.batch.size_bytes()).sum();
        live.hot_since_ns = None;
        live.through.clone_from(&appended);
        live.version = writer.manifest.state().version;
        drop(live);
        let now = appended.get(&0).copied();
        Ok(now.filter(|id| Some(*id) != before).map(|id| id.offset))
    }

    /// All upkeep in one: [`Store::keep_up`], then [`Store::tidy`] unless rows in memory are many.
    pub fn maintain(&self, now_ns: i64) -> Result<Upkeep, StoreError> {
        let mut done = self.keep_up(now_ns)?;
        if !done.is_behind {
            let (tidied, failed) = self.tidy(now_ns);
            failed?;
            (done.retired_files, done.retired_rows) = (tidied.retired_files, tidied.retired_rows);
            done.audit = tidied.audit;
        }
        Ok(done)
    }

    /// To be called about once a second by a background thread with the wall clock: flushes when hot
    /// rows are many or old, joins tiny neighbouring files. It never waits for the far tier, nor for
    /// who rewrites files; nothing is joined meanwhile.
    pub fn keep_up(&self, now_ns: i64) -> Result<Upkeep, StoreError> {
        let mut done = Upkeep::default();
        if self.hot_is_due(now_ns) {
            done.flushed_through = self.flush()?;
        }
        // Joining can wait, rows in memory cannot.
        done.is_behind = self.hot_is_due(now_ns);
        if done.is_behind {
            return Ok(done);
        }
        if !self.joining_waits.load(Ordering::Relaxed) {
            done.compacted_files = self.compact(now_ns)?;
        }
        Ok(done)
    }

    /// The same by a thread of its own, for it reads files of the far tier: applies retention, and
    /// rewrites files with rows that were deleted. Out: what was done, also before something failed.
    pub fn tidy(&self, now_ns: i64) -> (Upkeep, Result<(), StoreError>) {
        let mut done = Upkeep::default();
        let retired = self.retire(&self.options.rules(), now_ns, &mut done);
        let result = retired.and_then(|()| self.bury(now_ns, &mut done.audit));
        (done, result)
    }

    /// Whether joining files waits: it is background work. Flushing and retention go on.
    pub fn hold_joining(&self, wait: bool) {
        self.joining_waits.store(wait, Ordering::Relaxed);
    }

    /// A place among the searches that run, or an error when there is none.
    pub(crate) fn admit(&self) -> Result<Admitted<'_>, SearchError> {
        let admitted = Admitted(&self.running);
        match self.running.fetch_add(1, Ordering::AcqRel) < self.options.searches_max {
            true => Ok(admitted),
            false => Err(SearchError::Busy { running: self.options.searches_max }),
        }
    }

    pub(crate) fn hot_is_due(&self, now_ns: i64) -> bool {
        let mut live = self.live.lock();
        if live.hot.is_empty() {
            return false;
        }
        let since = *live.hot_since_ns.get_or_insert(now_ns);
        live.hot_bytes >= self.options.hot_bytes_max
            || now_ns.saturating_sub(since) >= self.options.hot_age_max_ns
    }

    /// Runs a search. Rows are handed to `out` until it breaks; the summary says what was seen.
    pub fn search(
        &self,
        request: &SearchRequest,
        out: &mut dyn FnMut(Row) -> ControlFlow<()>,
    ) -> Result<SearchSummary, SearchError> {
        let _admitted = self.admit()?;
        let (snapshot, missing) = self.snapshot();
        let mut summary = search::run(snapshot, request, out)?;
        mark_missing(&mut summary, missing);
        Ok(summary)
    }

    /// Matching events per bucket of `@timestamp` over the request's time range (or all there is).
    /// Only the filter and leading `where` pipes count.
    pub fn histogram(
        &self,
        request: &SearchRequest,
        buckets: usize,
    ) -> Result<Histogram, SearchError> {
        let _admitted = self.admit()?;
        let (snapshot, missing) = self.snapshot();
        let mut histogram = search::histogram(snapshot, request, buckets)?;
        mark_missing(&mut histogram.summary, missing);
        Ok(histogram)
    }

    /// The most frequent values of `field` among matching events.
    pub fn field_values(
        &self,
        request: &SearchRequest,
        field: &str,
        limit: usize,
    ) -> Result<FieldValues, SearchError> {
        let _admitted = self.admit()?;
        let (snapshot, missing) = self.snapshot();
        let mut values = search::field_values(snapshot, request, field, limit)?;
        mark_missing(&mut values.summary, missing);
        Ok(values)
    }

    /// What a search with this filter would look at. Reads indexes only.
    pub fn estimate(&self, request: &SearchRequest) -> Result<Estimate, SearchError> {
        let _admitted = self.admit()?;
        let (snapshot, _) = self.snapshot();
        Ok(request.scan(snapshot, search::event_filter(&request.query)).estimate())
    }

    /// One event as JSON.
    pub fn event(&self, id: EventId) -> Result<Option<String>, SearchError> {
        let (snapshot, _) = self.snapshot();
        Ok(search::find(&snapshot, id)?.map(|row| event_json(&row)))
    }

    /// The events of `ids` as JSON objects, in their order; none for what is not there or cannot be read.
    /// Costs one look at each row group that may have some, however many there are.
    pub fn events(&self, ids: &[EventId]) -> Vec<Option<String>> {
        let (snapshot, _) = self.snapshot();
        let mut sorted = ids.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut found = vec![None; sorted.len()];
        let looked = search::find_all(&snapshot, &sorted, &mut |place, row| {
            found[place] = Some(event_json(&row));
        });
        if let Err(error) = looked {
            tracing::warn!(%error, "events cannot be read");
        }
        let of = |id: &EventId| found[sorted.binary_search(id).ok()?].clone();
        ids.iter().map(of).collect()
    }

    /// The events within `span_ns` before and after event `id` that match the request's filter, in
    /// (time, id) order: half of the limit on either side. None if there is no such event. The
    /// request's own time range is not used.
    pub fn around(
        &self,
        request: &SearchRequest,
        id: EventId,
        span_ns: i64,
        out: &mut dyn FnMut(Row) -> ControlFlow<()>,
    ) -> Result<Option<SearchSummary>, SearchError> {
        let _admitted = self.admit()?;
        let (snapshot, missing) = self.snapshot();
        let Some(center) = search::find(&snapshot, id)? else { return Ok(None) };
        let at = center.head.event_ns;
        let mut before = request.clone();
        before.since_ns = Some(at.saturating_sub(span_ns));
        before.until_ns = Some(at);
        before.oldest_first = false;
        before.limit = request.limit / 2;
        let mut after = before.clone();
        after.since_ns = Some(at);
        after.until_ns = Some(at.saturating_add(span_ns).saturating_add(1));
        after.oldest_first = true;
        after.limit = request.limit - before.limit;
        let mut earlier = Vec::new();
        let first = search::run(snapshot.clone(), &before, &mut |row| {
            earlier.push(row);
            ControlFlow::Continue(())
        })?;
        let mut open = true;
        for row in earlier.into_iter().rev() {
            open = open && out(row).is_continue();
        }
        let mut summary = search::run(snapshot, &after, &mut |row| match open {
            true => out(row),
            false => ControlFlow::Break(()),
        })?;
        summary.matched += first.matched;
        summary.matched_exact &= first.matched_exact;
        summary.returned += first.returned;
        summary.scanned_rows += first.scanned_rows;
        summary.elapsed_ms += first.elapsed_ms;
        summary.partial = summary.partial.or(first.partial);
        mark_missing(&mut summary, missing);
        Ok(Some(summary))
    }

    /// SQL as it is over the table `events`: envelope columns and one text column per field that has
    /// a column in some file. The request gives time range, limit and memory; its query is not used.
    pub fn sql(
        &self,
        text: &str,
        request: &SearchRequest,
        out: &mut dyn FnMut(Row) -> ControlFlow<()>,
    ) -> Result<SearchSummary, SearchError> {
        let _admitted = self.admit()?;
        let (snapshot, missing) = self.snapshot();
        let mut summary = pipes::sql(snapshot, request, text, out)?;
        mark_missing(&mut summary, missing);
        Ok(summary)
    }

    /// Numbers about what is stored.
    pub fn stats(&self) -> Stats {
        let live = self.live.lock();
        let hot = live.hot.iter().map(|h| (h.event_min_ns, h.event_max_ns));
        let files = live.files.iter().map(|f| (f.entry.event_min_ns, f.entry.event_max_ns));
        let indexes =
            live.files.iter().filter_map(|f| f.entry.index.as_ref()).map(|i| i.size_bytes);
        Stats {
            files: live.files.len() as u64,
            file_rows: live.files.iter().map(|f| f.entry.rows).sum(),
            file_bytes: live.files.iter().map(|f| f.entry.size_bytes).sum(),
            index_bytes: indexes.sum(),
            hot_rows: live.hot.iter().map(|h| h.kept.len() as u64).sum(),
            hot_bytes: live.hot_bytes as u64,
            event_times_ns: hot.chain(files).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))),
            repeats: live.repeats,
            version: live.version,
            missing_files: live.missing,
            far_bytes: live.files.iter().filter(|f| f.is_far()).map(|f| f.entry.size_bytes).sum(),
        }
    }

    /// Files and batches of this moment, and how many listed files are missing. Both change under
    /// one lock, so no row is in neither or both.
    pub(crate) fn snapshot(&self) -> (Snapshot, u64) {
        let live = self.live.lock();
        let (files, hot, hidden) = (live.files.clone(), live.hot.clone(), live.hidden.clone());
        (Snapshot { files, hot, hidden, memory: self.searches_memory.clone() }, live.missing)
    }

    /// After a failed write of the manifest: reads it again. If the failed record is not there, it is
    /// as if it had never been tried, and writing goes on.
    fn mend(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if !writer.broken {
            return Ok(());
        }
        let (manifest, _) = Manifest::open(&self.root.join("manifest"))?;
        if manifest.state().version != writer.version {
            return Err(StoreError::Manifest {
                path: self.root.join("manifest"),
                at: 0,
                reason: "a failed write is there all the same: restart to read it anew".into(),
            });
        }
        writer.manifest = manifest;
        writer.broken = false;
        self.discard(&std::mem::take(&mut writer.unlisted));
        tracing::info!("the manifest was read again, and can be written");
        Ok(())
    }

    /// Makes a change durable. A failure here leaves unknown what is on disk: no more writes before
    /// [`Store::mend`].
    pub(crate) fn commit(&self, writer: &mut Writer, change: Change) -> Result<(), StoreError> {
        self.writable()?;
        self.step("before manifest");
        self.mend(writer)?;
        let result = writer.manifest.append(change);
        writer.broken = result.is_err();
        let doomed = writer.manifest.state().far_doomed.len() as u64;
        self.doomed_objects.store(doomed, Ordering::Relaxed);
        writer.version =
            if writer.broken { writer.version } else { writer.manifest.state().version };
        self.step("after manifest");
        result
    }

    /// Rows that searches leave out from now on.
    pub(crate) fn set_hidden(&self, hidden: Arc<Vec<Hidden>>) {
        self.live.lock().hidden = hidden;
    }

    /// Replaces listed files in the eyes of searches; the old ones go when nobody reads them.
    pub(crate) fn swap_files(
        &self,
        writer: &Writer,
        remove: &HashSet<String>,
        add: Vec<Arc<FileHandle>>,
    ) {
        let mut live = self.live.lock();
        live.version = writer.manifest.state().version;
        let (gone, mut stay): (Vec<_>, Vec<_>) =
            live.files.drain(..).partition(|f| remove.contains(&f.entry.path));
        stay.extend(add);
        sort_files(&mut stay);
        live.files = stay;
        drop(live);
        for file in &gone {
            file.doom();
            if let Some(far) = &file.entry.far {
                self.leaving.lock().push((far.object.clone(), Arc::downgrade(file)));
            }
        }
        drop(gone);
        self.step("unlinked");
    }

    /// Objects of unlisted files that are still read.
    pub(crate) fn far_in_use(&self) -> HashSet<String> {
        let mut leaving = self.leaving.lock();
        leaving.retain(|(_, file)| file.strong_count() > 0);
        leaving.iter().map(|(object, _)| object.clone()).collect()
    }

    /// Searches see the file with its new entry from now on; nothing is removed. Out: as it was seen.
    pub(crate) fn replace_handle(&self, entry: &FileEntry) -> Option<Arc<FileHandle>> {
        let fresh = FileHandle::new(&self.root, entry.clone(), self.far.as_ref());
        let mut live = self.live.lock();
        let file = live.files.iter_mut().find(|f| f.entry.path == entry.path)?;
        let fresh = Arc::new(fresh.after(file));
        Some(std::mem::replace(file, fresh))
    }

    fn handle(&self, entry: &FileEntry) -> Arc<FileHandle> {
        Arc::new(FileHandle::new(&self.root, entry.clone(), self.far.as_ref()))
    }

    pub(crate) fn handles(&self, entries: &[FileEntry]) -> Vec<Arc<FileHandle>> {
        entries.iter().map(|e| self.handle(e)).collect()
    }

    /// Removes files whose publication was given up.
    fn discard(&self, entries: &[FileEntry]) {
        for entry in entries {
            let path = self.root.join(&entry.path);
            for path in [index_path(&path), path] {
                if let Err(error) = fs::remove_file(&path) {
                    tracing::warn!(path = %path.display(), %error, "unlisted file not removed");
                }
            }
        }
    }

    pub(crate) fn step(&self, name: &str) {
        if let Some(hook) = &self.options.step_hook {
            hook(name);
        }
    }
}

/// Gives its place back when dropped.
pub(crate) struct Admitted<'a>(&'a AtomicUsize);

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(crate) fn mark_missing(summary: &mut SearchSummary, missing: u64) {
    if missing > 0 && summary.partial.is_none() {
        summary.partial = Some(format!("{missing} files are missing"));
    }
}

fn sort_files(files: &mut [Arc<FileHandle>]) {
    files.sort_by_key(|f| (f.entry.first, f.entry.last));
}

/// Cuts rows in id order into runs of one partition whose hour of receipt does not grow.
fn split_runs<'r, 'b>(rows: &'r mut [RowRef<'b>]) -> Vec<&'r mut [RowRef<'b>]> {
    let hour = |row: &RowRef<'_>| row.received_ns().div_euclid(3_600 * event::time::SECOND_NS);
    let mut cuts = Vec::new();
    let mut current: Option<(u32, i64)> = None;
    let mut start = 0;
    for (at, row) in rows.iter().enumerate() {
        let here = (row.id().partition, hour(row));
        let cut = current.is_some_and(|(p, h)| p != here.0 || here.1 > h);
        if cut {
            cuts.push(at - start);
            start = at;
        }
        current = match current {
            Some(current) if !cut => Some(current),
            _ => Some(here),
        };
    }
    let mut rest = rows;
    let mut out = Vec::new();
    for len in cuts {
        let (head, tail) = rest.split_at_mut(len);
        out.push(head);
        rest = tail;
    }
    if !rest.is_empty() {
        out.push(rest);
    }
    out
}

/// Removes what no manifest record lists: unfinished writes, and files that were already replaced.
fn sweep_orphans(
    root: &Path,
    manifest: &Manifest,
    set_aside: bool,
    report: &mut OpenReport,
) -> Result<(), StoreError> {
    let events = root.join("events");
    if !events.is_dir() {
        return Ok(());
    }
    for date in list(&events)? {
        for hour in list(&date)? {
            for path in list(&hour)? {
                let below = path.strip_prefix(root).unwrap_or(&path);
                let name = below.to_string_lossy().replace('\\', "/");
                let beside = name.strip_suffix(".idx").or_else(|| name.strip_suffix(".tail"));
                let is_data = beside.is_none();
                let data = match beside {
                    Some(stem) => format!("{stem}.parquet"),
                    None => name,
                };
                if manifest.state().files.get(&data).is_some_and(|e| belongs(e, &path)) {
                    continue;
                }
                let complete = path.extension().is_some_and(|e| e == "parquet" || e == "idx");
                if set_aside && complete {
                    let aside = root.join("orphans");
                    fs::create_dir_all(&aside).map_err(StoreError::io("creating", &aside))?;
                    let target = aside.join(path.file_name().unwrap_or_default());
                    fs::rename(&path, &target).map_err(StoreError::io("moving", &path))?;
                    sync_folder(&aside)?;
                    report.orphans_set_aside += u64::from(data.ends_with(".parquet") && is_data);
                } else {
                    fs::remove_file(&path).map_err(StoreError::io("removing", &path))?;
                    report.orphans_removed += u64::from(is_data);
                }
            }
        }
    }
    Ok(())
}

/// Whether a file that is named like a listed one is part of it: of a local file there is no end
/// apart, and of a far one no data, except where a crash came between manifest and disk.
fn belongs(entry: &FileEntry, path: &Path) -> bool {
    match path.extension().and_then(|e| e.to_str()) {
        Some("tail") => entry.far.is_some(),
        Some("parquet") => entry.far.as_ref().is_none_or(|far| far.is_local),
        _ => true,
    }
}

/// The entries of a folder; nothing for a file.
fn list(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(path).map_err(StoreError::io("listing", path))?;
    entries.map(|e| Ok(e.map_err(StoreError::io("listing", path))?.path())).collect()
}

/// Whether all files of an hour of receipt must have arrived.
pub(crate) fn hour_is_over(entry: &FileEntry, now_ns: i64) -> bool {
    hour_folder(entry.received_max_ns)
        < hour_folder(now_ns.saturating_sub(600 * event::time::SECOND_NS))
}
