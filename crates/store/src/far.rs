//! The far tier's client: a folder or bucket, asked with few requests and never for long.
//!
//! ```text
//! caller (any thread, blocks) --future--> own runtime, one thread --> object store
//!        <-- answer or time-out --------/
//! ```
//! Callers wait on a plain channel, so it does not matter whether they stand on a runtime of their
//! own. Reads are cut into cells of [`CELL_BYTES`], which a bounded cache keeps; cells that are
//! missing are asked for in runs, over small gaps, several runs at a time.
//!
//! Not here: which files are in the far tier, and when they get there (`tier`).

use crate::cells::{CELL_BYTES, CellCache, Cells};
use crate::error::StoreError;
use crate::places;
use crate::tier::TierOptions;
use crate::write::hex;
use bytes::Bytes;
use object_store::path::{Path as ObjectPath, PathPart};
use object_store::{
    MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion,
};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Unneeded bytes between two needed ones that are read along: a request takes as long as these.
const GAP_CELLS: u64 = (1 << 20) / CELL_BYTES;
/// Most bytes of one request: several of them run at a time, and one that fails is soon repeated.
const REQUEST_BYTES_MAX: u64 = 8 << 20;
/// Requests of one read that run at a time.
const READS_AT_ONCE: usize = 8;
/// Bytes of a part of an upload; S3 takes 5 MiB at least and 10,000 parts at most.
const PART_BYTES: u64 = 8 << 20;
/// Parts on their way at a time: what an upload has in memory.
const PARTS_AT_ONCE: usize = 4;
/// After a failed read all reads fail at once for so long: a search over a thousand files must not
/// wait a thousand times.
const AWAY_PAUSE: Duration = Duration::from_secs(10);
/// A call is given up after so many times the time-out of a request: it may be repeated that often.
const CALL_TIMEOUTS: u32 = 3;
/// Whoever waits for an answer looks up so often whether we are about to end.
const LOOK_UP: Duration = Duration::from_millis(200);
/// Longest reason that is told.
const REASON_CHARS_MAX: usize = 300;

/// What went on between us and the far tier, since the start.
#[derive(Default)]
pub(crate) struct Traffic {
    /// Requests for bytes.
    pub(crate) gets: AtomicU64,
    /// Bytes that came.
    pub(crate) got_bytes: AtomicU64,
    /// Cells that were in memory already.
    pub(crate) hits: AtomicU64,
    /// Bytes that were sent.
    pub(crate) sent_bytes: AtomicU64,
    /// Calls that failed, after all repetitions.
    pub(crate) failures: AtomicU64,
    /// Calls that were answered, also with that there is no such object.
    pub(crate) answers: AtomicU64,
}

/// A call that failed.
#[derive(Debug)]
pub(crate) struct FarError {
    pub(crate) reason: String,
    /// The object is not there.
    pub(crate) is_gone: bool,
    /// Not the far tier failed but the file here.
    pub(crate) is_local: bool,
    /// The object is not as it was when it was looked at.
    pub(crate) is_conflict: bool,
    /// Nothing was heard of the far tier, or it said that it cannot: other objects fare no better.
    pub(crate) is_away: bool,
}

impl FarError {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_gone: false,
            is_local: false,
            is_conflict: false,
            is_away: false,
        }
    }

    fn away(reason: impl Into<String>) -> Self {
        Self { is_away: true, ..Self::new(reason) }
    }

    fn local(error: &std::io::Error) -> Self {
        Self { is_local: true, ..Self::new(format!("it cannot be read: {error}")) }
    }

    pub(crate) fn of(self, object: &str) -> StoreError {
        StoreError::Far { object: object.into(), reason: self.reason }
    }
}

impl From<object_store::Error> for FarError {
    fn from(error: object_store::Error) -> Self {
        use object_store::Error::{AlreadyExists, NotFound, Precondition};
        let is_gone = matches!(error, NotFound { .. });
        if is_gone && places::has_no_bucket(&error) {
            // That says nothing of an object, and others fare no better.
            return Self::away(format!("there is no such bucket: {}", without_secrets(&error)));
        }
        let is_conflict = matches!(error, AlreadyExists { .. } | Precondition { .. });
        let reason = if is_gone { "it is not there".into() } else { without_secrets(&error) };
        Self { is_gone, is_conflict, is_away: places::is_away(&error), ..Self::new(reason) }
    }
}

/// An error's text without what may be a signature: everything after `?` of an address.
fn without_secrets(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let words = text.split_whitespace().map(|word| match word.split_once('?') {
        Some((before, _)) if before.contains("://") => before,
        _ => word,
    });
    let text: String = words.collect::<Vec<_>>().join(" ");
    text.chars().take(REASON_CHARS_MAX).collect()
}

/// The connection to a far tier.
pub(crate) struct Far {
    store: Arc<dyn ObjectStore>,
    /// What the names of all objects begin with.
    prefix: ObjectPath,
    /// Where it is, if it is a folder.
    folder: Option<PathBuf>,
    runtime: Option<Runtime>,
    timeout: Duration,
    cells: Mutex<CellCache>,
    away_until: Mutex<Option<Instant>>,
    silent: AtomicBool,
    /// When the next part of an upload may go, and bytes per second.
    pace: (Mutex<Instant>, Option<u64>),
    /// We are about to end: nothing is waited for any more.
    pub(crate) leaving: Arc<AtomicBool>,
    /// The store is open for looking at it: what comes is not written to its folder.
    pub(crate) looks_only: AtomicBool,
    pub(crate) traffic: Traffic,
}

impl Far {
    /// Reads the settings; nothing is asked of the object store yet. Once `leaving` is set nothing is
    /// waited for any more.
    pub(crate) fn new(options: &TierOptions, leaving: Arc<AtomicBool>) -> Result<Self, StoreError> {
        let failed = |reason: String| StoreError::Tier { to: options.to.clone(), reason };
        let place = places::of(options).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("far tier")
            .enable_all()
            .build()
            .map_err(|e| failed(e.to_string()))?;
        Ok(Self {
            store: place.store,
            prefix: place.prefix,
            folder: place.folder,
            runtime: Some(runtime),
            timeout: options.request_timeout,
            cells: Mutex::new(CellCache::new(options.cache_bytes)),
            away_until: Mutex::new(None),
            silent: AtomicBool::new(false),
            pace: (Mutex::new(Instant::now()), options.upload_bytes_per_s),
            leaving,
            looks_only: AtomicBool::new(false),
            traffic: Traffic::default(),
        })
    }

    fn at(&self, object: &str) -> ObjectPath {
        self.prefix.parts().chain(object.split('/').map(PathPart::from)).collect()
    }

    fn start<T: Send + 'static>(
        &self,
        call: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Receiver<object_store::Result<T>> {
        let (give, take) = sync_channel(1);
        let limit = self.timeout * CALL_TIMEOUTS;
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move {
                // Nobody may be waiting any more.
                if let Ok(result) = tokio::time::timeout(limit, call).await {
                    let _ = give.send(result);
                }
            });
        }
        take
    }

    fn finish<T>(&self, answer: Receiver<object_store::Result<T>>) -> Result<T, FarError> {
        let limit = self.timeout * CALL_TIMEOUTS;
        let result = loop {
            match answer.recv_timeout(LOOK_UP) {
                Ok(result) => break result.map_err(FarError::from),
                Err(RecvTimeoutError::Timeout) if self.leaving.load(Ordering::Relaxed) => {
                    break Err(FarError::away("the program stops"));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let text = format!("no answer within {} s", limit.as_secs());
                    break Err(FarError::away(text));
                }
            }
        };
        self.silent.store(result.as_ref().is_err_and(|e| e.is_away), Ordering::Relaxed);
        let has_failed = result.as_ref().is_err_and(|e| !e.is_gone);
        let count = if has_failed { &self.traffic.failures } else { &self.traffic.answers };
        count.fetch_add(1, Ordering::Relaxed);
        result
    }

    fn call<T: Send + 'static>(
        &self,
        call: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, FarError> {
        self.finish(self.start(call))
    }

    /// Size of an object; none if it is not there.
    pub(crate) fn size(&self, object: &str) -> Result<Option<u64>, FarError> {
        let (store, path) = (self.store.clone(), self.at(object));
        match self.call(async move { store.head(&path).await }) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(error) if error.is_gone => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sizes of objects, several asked for at a time; none for one that is not there.
    pub(crate) fn sizes(&self, objects: &[String]) -> Result<Vec<Option<u64>>, FarError> {
        let mut out = Vec::with_capacity(objects.len());
        for part in objects.chunks(READS_AT_ONCE) {
            let ask = |object: &String| {
                let (store, path) = (self.store.clone(), self.at(object));
                self.start(async move { store.head(&path).await })
            };
            let started: Vec<_> = part.iter().map(ask).collect();
            for answer in started {
                out.push(match self.finish(answer) {
                    Ok(meta) => Some(meta.size),
                    Err(error) if error.is_gone => None,
                    Err(error) => return Err(error),
                });
            }
        }
        Ok(out)
    }

    /// Deletes an object; that it was not there is no error.
    pub(crate) fn delete(&self, object: &str) -> Result<(), FarError> {
        self.remove_staged(object)?;
        let (store, path) = (self.store.clone(), self.at(object));
        match self.call(async move { store.delete(&path).await }) {
            Err(error) if !error.is_gone => Err(error),
            _ => Ok(()),
        }
    }

    /// A small object as a whole; none if it is not there.
    pub(crate) fn small(&self, object: &str) -> Result<Option<Bytes>, FarError> {
        let (store, path) = (self.store.clone(), self.at(object));
        match self.call(async move { store.get(&path).await?.bytes().await }) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_gone => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a small object that must not be there yet.
    pub(crate) fn create(&self, object: &str, bytes: Vec<u8>) -> Result<(), FarError> {
        let (store, path) = (self.store.clone(), self.at(object));
        let payload = PutPayload::from(bytes);
        self.remove_staged(object)?;
        self.call(async move { store.put_opts(&path, payload, PutMode::Create.into()).await })?;
        self.settle(object)
    }

    /// A small object as a whole, and which state of it this is; none if it is not there.
    pub(crate) fn small_with_version(
        &self,
        object: &str,
    ) -> Result<Option<(Bytes, UpdateVersion)>, FarError> {
        let (store, path) = (self.store.clone(), self.at(object));
        let got = self.call(async move {
            let got = store.get(&path).await?;
            let (e_tag, version) = (got.meta.e_tag.clone(), got.meta.version.clone());
            Ok((got.bytes().await?, UpdateVersion { e_tag, version }))
        });
        match got {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_gone => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a small object in the place of the state `seen` of it (none: it must not be there).
    pub(crate) fn replace(
        &self,
        object: &str,
        bytes: Vec<u8>,
        seen: Option<UpdateVersion>,
    ) -> Result<(), FarError> {
        let (store, path) = (self.store.clone(), self.at(object));
        let mode = seen.map_or(PutMode::Create, PutMode::Update);
        let payload = PutPayload::from(bytes);
        self.call(async move { store.put_opts(&path, payload, mode.into()).await }).map(drop)
    }

    fn range(&self, object: &str, range: Range<u64>) -> Receiver<object_store::Result<Bytes>> {
        let (store, path) = (self.store.clone(), self.at(object));
        self.traffic.gets.fetch_add(1, Ordering::Relaxed);
        self.start(async move { store.get_range(&path, range).await })
    }

    fn received(
        &self,
        answer: Receiver<object_store::Result<Bytes>>,
        range: &Range<u64>,
    ) -> Result<Bytes, FarError> {
        let bytes = self.finish(answer)?;
        self.traffic.got_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        match bytes.len() as u64 == range.end - range.start {
            true => Ok(bytes),
            false => Err(FarError::new(format!("{} bytes of {range:?} came", bytes.len()))),
        }
    }

    /// The cells that cover `ranges` of an object of `size` bytes: out of memory, or asked for.
    pub(crate) fn cells(
        &self,
        object: &Arc<str>,
        size: u64,
        ranges: &[Range<u64>],
    ) -> Result<Cells, FarError> {
        let mut wanted = BTreeSet::new();
        for range in ranges.iter().filter(|r| r.start < r.end) {
            wanted.extend(range.start / CELL_BYTES..=(range.end - 1) / CELL_BYTES);
        }
        let mut cells = self.cells.lock().take(object, &wanted);
        self.traffic.hits.fetch_add(cells.len() as u64, Ordering::Relaxed);
        wanted.retain(|number| !cells.contains_key(number));
        if wanted.is_empty() {
            return Ok(cells);
        }
        self.is_there()?;
        for part in runs(&wanted, size).chunks(READS_AT_ONCE) {
            let started: Vec<_> =
                part.iter().map(|range| (self.range(object, range.clone()), range)).collect();
            for (answer, range) in started {
                let bytes = self.received(answer, range).inspect_err(|e| self.was_away(e))?;
                let first = range.start / CELL_BYTES;
                for (at, cell) in bytes.chunks(CELL_BYTES as usize).enumerate() {
                    // A copy: a slice would keep the whole answer in memory.
                    cells.insert(first + at as u64, Bytes::copy_from_slice(cell));
                }
            }
        }
        *self.away_until.lock() = None;
        self.cells.lock().keep(object, &cells);
        Ok(cells)
    }

    /// Forgets cells whose bytes were wrong.
    pub(crate) fn forget(&self, object: &Arc<str>, range: &Range<u64>) {
        let numbers = range.start / CELL_BYTES..=range.end / CELL_BYTES;
        self.cells.lock().forget(object, numbers);
    }

    fn is_there(&self) -> Result<(), FarError> {
        let until = *self.away_until.lock();
        match until.is_some_and(|until| Instant::now() < until) {
            true => Err(FarError::away("it did not answer a moment ago")),
            false => Ok(()),
        }
    }

    /// Whether the last call that ended found the far tier away.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// One object that cannot be had says nothing of the others.
    fn was_away(&self, error: &FarError) {
        if error.is_away {
            *self.away_until.lock() = Some(Instant::now() + AWAY_PAUSE);
        }
    }

    /// Reads a whole object in order. Out: its SHA-256.
    pub(crate) fn whole(
        &self,
        object: &str,
        size: u64,
        each: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<String, FarError> {
        let mut hash = Sha256::new();
        let mut at = 0;
        while at < size {
            let range = at..size.min(at + REQUEST_BYTES_MAX);
            let bytes = self.received(self.range(object, range.clone()), &range)?;
            hash.update(&bytes);
            each(&bytes).map_err(|e| FarError::new(e.to_string()))?;
            at = range.end;
        }
        Ok(hex(&hash.finalize()))
    }

    /// Sends a file. Out: SHA-256 of what was sent. While `goes_on` says no it is given up.
    pub(crate) fn upload(
        &self,
        object: &str,
        from: &Path,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<String, FarError> {
        self.remove_staged(object)?;
        let local = |e: std::io::Error| FarError::local(&e);
        let file = File::open(from).map_err(local)?;
        let size = file.metadata().map_err(local)?.len();
        let mut source = Source { far: self, file, size, at: 0, hash: Sha256::new(), goes_on };
        let (store, path) = (self.store.clone(), self.at(object));
        if size <= PART_BYTES {
            let payload = source.next().map_err(local)?.unwrap_or_default();
            self.call(async move { store.put(&path, payload).await })?;
        } else {
            let upload = self.call(async move { store.put_multipart(&path).await })?;
            self.parts(upload, &mut source)?;
        }
        self.settle(object)?;
        Ok(hex(&source.hash.finalize()))
    }

    fn parts(
        &self,
        mut upload: Box<dyn MultipartUpload>,
        source: &mut Source<'_>,
    ) -> Result<(), FarError> {
        let mut sent = || {
            let mut waiting = VecDeque::new();
            while let Some(part) = source.next().map_err(|e| FarError::local(&e))? {
                waiting.push_back(self.start(upload.put_part(part)));
                if waiting.len() == PARTS_AT_ONCE
                    && let Some(oldest) = waiting.pop_front()
                {
                    self.finish(oldest)?;
                }
            }
            waiting.into_iter().try_for_each(|part| self.finish(part))
        };
        let result = sent();
        match result {
            Ok(()) => self.call(async move { upload.complete().await }).map(drop),
            Err(error) => {
                // Parts that stay would be paid for. If this fails too, the bucket's own rule for
                // unfinished uploads has to remove them.
                let _ = self.call(async move { upload.abort().await });
                Err(error)
            }
        }
    }

    /// Removes what a crash left of uploads of this object to a folder: `NAME#1` and so on. Of a bucket,
    /// its own rule for unfinished uploads does that.
    fn remove_staged(&self, object: &str) -> Result<(), FarError> {
        let Some(path) = self.folder.as_ref().map(|folder| folder.join(object)) else {
            return Ok(());
        };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        let staged = format!("{}#", name.to_string_lossy());
        let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&staged) {
                let removed = std::fs::remove_file(entry.path());
                removed
                    .map_err(|e| FarError::new(format!("removing an unfinished upload: {e}")))?;
            }
        }
        Ok(())
    }

    /// Waits until a folder has an object on its disk; object stores answer only then.
    fn settle(&self, object: &str) -> Result<(), FarError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let path = folder.join(object);
        for path in path.ancestors().take_while(|p| p.starts_with(folder)) {
            let synced = File::open(path).and_then(|f| f.sync_all());
            synced.map_err(|e| FarError::new(format!("syncing {}: {e}", path.display())))?;
        }
        Ok(())
    }

    /// Waits until so many more bytes may go, by the setting of bytes per second.
    fn wait_for_pace(&self, bytes: u64, goes_on: &dyn Fn() -> bool) {
        let Some(rate) = self.pace.1 else { return };
        let at = {
            let mut next = self.pace.0.lock();
            let at = (*next).max(Instant::now());
            *next = at + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
            at
        };
        while goes_on() {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        // Waiting for it is not allowed where the last owner stands on another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A file as parts of an upload.
struct Source<'a> {
    far: &'a Far,
    file: File,
    size: u64,
    at: u64,
    hash: Sha256,
    goes_on: &'a dyn Fn() -> bool,
}

impl Source<'_> {
    fn next(&mut self) -> std::io::Result<Option<PutPayload>> {
        let len = PART_BYTES.min(self.size - self.at);
        if len == 0 {
            return Ok(None);
        }
        self.far.wait_for_pace(len, self.goes_on);
        if !(self.goes_on)() {
            return Err(std::io::Error::other("the program stops"));
        }
        let mut part = vec![0; len as usize];
        self.file.read_exact_at(&mut part, self.at)?;
        self.hash.update(&part);
        self.at += len;
        self.far.traffic.sent_bytes.fetch_add(len, Ordering::Relaxed);
        Ok(Some(part.into()))
    }
}

/// Ranges to ask for that cover these cells.
fn runs(wanted: &BTreeSet<u64>, size: u64) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for number in wanted {
        match runs.last_mut() {
            Some(run)
                if number - run.end <= GAP_CELLS
                    && (number + 1 - run.start) * CELL_BYTES <= REQUEST_BYTES_MAX =>
            {
                run.end = number + 1;
            }
            _ => runs.push(*number..number + 1),
        }
    }
    runs.into_iter().map(|r| r.start * CELL_BYTES..(r.end * CELL_BYTES).min(size)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_cells_are_one_request_and_far_ones_are_not() {
        let size = 1_000 * CELL_BYTES + 5;
        let ask = |cells: &[u64]| {
            let runs = runs(&cells.iter().copied().collect(), size);
            runs.into_iter().map(|r| (r.start / CELL_BYTES, r.end)).collect::<Vec<_>>()
        };
        assert_eq!(ask(&[0, 1, 10]), [(0, 11 * CELL_BYTES)]);
        assert_eq!(ask(&[0, 500]), [(0, CELL_BYTES), (500, 501 * CELL_BYTES)]);
        assert_eq!(ask(&[1_000]), [(1_000, size)]);
        let all: Vec<u64> = (0..300).collect();
        assert_eq!(ask(&all).len(), 3, "8 MiB at most");
    }

    #[test]
    fn reasons_tell_no_signature() {
        let text = "PUT https://h/b/o?sig=abc&x=1 failed: what? no";
        assert_eq!(without_secrets(&text), "PUT https://h/b/o failed: what? no");
    }
}
