//! The list of files: an append-only log of checksummed records, started anew now and then.
//!
//! ```text
//! manifest/<generation>.log   [len u32][crc32c u32][JSON] [len][crc][JSON] ...     little-endian
//!                             ^ full state                ^ one change each, fsynced
//! ```
//! A change is one record, so it happens whole or not at all. Order of publication: the data file is
//! written, fsynced and renamed, its folder fsynced, then the record is appended and fsynced.
//! A torn last record (cut short by a crash) is taken back; damage anywhere else stops the start,
//! because dropping a record would orphan files that nobody else knows.

use crate::checks::FooterSum;
use crate::error::StoreError;
use crate::policy::{Hold, Tombstone};
use crate::sidecar::IndexEntry;
use event::EventId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Records after which a new log with the full state is started: replay stays in milliseconds.
const RECORDS_PER_LOG: u64 = 1_024;
/// Records before a new log is tried again that could not be written: on a full disk each try costs the
/// whole state.
const RECORDS_PER_TRY: u64 = 64;
/// Longest record: bounds what a damaged length field can make us allocate.
const RECORD_BYTES_MAX: u32 = 256 << 20;
const FRAME_BYTES: usize = 8;
/// Version of the state that is written; a program refuses newer ones. 2: indexes, holds, tombstones.
/// 3: a far tier. 4: files whose times are in microseconds.
pub(crate) const FORMAT: u32 = 4;

/// One stored file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path below the store's folder, with `/`.
    pub path: String,
    /// First event in it.
    pub first: EventId,
    /// Last event in it.
    pub last: EventId,
    /// The file covers all events after this one (exclusive); none for the first file.
    pub after: Option<EventId>,
    /// Rows.
    pub rows: u64,
    /// Size in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the whole file, hexadecimal.
    pub sha256: String,
    /// Least `@timestamp`, ns.
    pub event_min_ns: i64,
    /// Greatest `@timestamp`, ns.
    pub event_max_ns: i64,
    /// Earliest receipt, ns.
    pub received_min_ns: i64,
    /// Latest receipt, ns.
    pub received_max_ns: i64,
    /// The index beside it; none for files of before there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexEntry>,
    /// Its end; none for files of before there were checksums.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footer: Option<FooterSum>,
    /// Where it is in the far tier; none: only here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub far: Option<FarCopy>,
}

/// A file's object in the far tier. It was read back and compared before it was listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FarCopy {
    /// Its name below the tier's prefix.
    pub object: String,
    /// The file is on the local disk as well.
    pub is_local: bool,
}

impl FileEntry {
    /// Bytes that go when the file goes.
    pub fn total_bytes(&self) -> u64 {
        self.size_bytes + self.index.as_ref().map_or(0, |index| index.size_bytes)
    }
}

/// A range of events that retention removed: after (exclusive) .. through (inclusive).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Exclusive start; none is the very beginning.
    pub after: Option<EventId>,
    /// Inclusive end.
    pub through: EventId,
}

/// What is stored: the state that replaying a log gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Number of changes so far.
    pub(crate) version: u64,
    /// Files by path.
    pub(crate) files: BTreeMap<String, FileEntry>,
    /// Everything up to here is in files (or was not to be kept), per partition.
    pub(crate) through: BTreeMap<u32, EventId>,
    /// Last event covered by a file, per partition.
    pub(crate) covered: BTreeMap<u32, EventId>,
    /// What retention took, oldest first, adjacent ranges joined.
    pub(crate) retired: Vec<Retired>,
    /// [`FORMAT`] of the program that wrote the state; 0 before there was one.
    #[serde(default)]
    pub(crate) format: u32,
    /// Rows that must stay.
    #[serde(default)]
    pub(crate) holds: Vec<Hold>,
    /// Rows that are hidden until their files are rewritten.
    #[serde(default)]
    pub(crate) tombstones: Vec<Tombstone>,
    /// By which name the far tier knows this store; none as long as there never was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) far_id: Option<String>,
    /// Objects that may be in the far tier and belong to no listed file.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) far_doomed: BTreeSet<String>,
}

/// One change.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Change {
    /// Files that appear.
    pub(crate) add: Vec<FileEntry>,
    /// Paths that disappear.
    pub(crate) remove: Vec<String>,
    /// New values of [`State::through`].
    pub(crate) through: BTreeMap<u32, EventId>,
    /// Whether the removed files' events are gone (else they live on in `add`).
    pub(crate) retire: bool,
    /// Holds that are set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) holds: Vec<Hold>,
    /// Numbers of holds that are released.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) released: Vec<u64>,
    /// Rows that are hidden from now on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tombstones: Vec<Tombstone>,
    /// Numbers of tombstones whose rows are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) buried: Vec<u64>,
    /// The store's name in the far tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) far_id: Option<String>,
    /// Objects that are about to be written. Those of removed files need not be named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) far_doomed: Vec<String>,
    /// Objects that are not there any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) far_gone: Vec<String>,
}

#[derive(Serialize, Deserialize)]
enum Record {
    Full(State),
    Change(Change),
}

impl State {
    /// Applies one change.
    pub(crate) fn apply(&mut self, change: &Change) {
        for path in &change.remove {
            let Some(entry) = self.files.remove(path) else { continue };
            if change.retire {
                self.retire(Retired { after: entry.after, through: entry.last });
            }
            self.far_doomed.extend(entry.far.map(|far| far.object));
        }
        self.far_doomed.extend(change.far_doomed.iter().cloned());
        for entry in &change.add {
            let covered = self.covered.entry(entry.last.partition).or_insert(entry.last);
            *covered = (*covered).max(entry.last);
            if let Some(far) = &entry.far {
                self.far_doomed.remove(&far.object);
            }
            self.files.insert(entry.path.clone(), entry.clone());
        }
        for (partition, id) in &change.through {
            let through = self.through.entry(*partition).or_insert(*id);
            *through = (*through).max(*id);
        }
        self.holds.extend(change.holds.iter().cloned());
        self.holds.retain(|hold| !change.released.contains(&hold.id));
        self.tombstones.extend(change.tombstones.iter().cloned());
        self.tombstones.retain(|tombstone| !change.buried.contains(&tombstone.id));
        self.far_doomed.retain(|object| !change.far_gone.contains(object));
        self.far_id = change.far_id.clone().or(self.far_id.take());
        self.version += 1;
    }

    /// The state of a copy whose files are all beside it: it has no far tier.
    pub(crate) fn without_far(mut self) -> Self {
        self.files.values_mut().for_each(|entry| entry.far = None);
        (self.far_id, self.far_doomed) = (None, BTreeSet::new());
        self.format = FORMAT;
        self
    }

    fn retire(&mut self, range: Retired) {
        self.retired.push(range);
        self.retired.sort_by_key(|r| r.through);
        let mut joined: Vec<Retired> = Vec::with_capacity(self.retired.len());
        for next in self.retired.drain(..) {
            match joined.last_mut() {
                Some(last) if next.after == Some(last.through) => last.through = next.through,
                _ => joined.push(next),
            }
        }
        self.retired = joined;
    }
}

/// How the end of the log looked when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Ended with a whole record.
    Clean,
    /// The last record was cut short: so many bytes were taken back.
    Torn(u64),
    /// The last record is whole in length but wrong in content: so many bytes were taken back.
    Damaged(u64),
}

/// The open log.
pub(crate) struct Manifest {
    folder: PathBuf,
    generation: u64,
    path: PathBuf,
    file: File,
    end: u64,
    records: u64,
    /// Records after which a new log is started.
    next_at: u64,
    state: State,
}

impl Manifest {
    /// Opens the newest log below `folder`, or starts one.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Tail), StoreError> {
        fs::create_dir_all(folder).map_err(StoreError::io("creating", folder))?;
        let mut generations = Vec::new();
        for entry in fs::read_dir(folder).map_err(StoreError::io("listing", folder))? {
            let path = entry.map_err(StoreError::io("listing", folder))?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            match name.strip_suffix(".log").and_then(|n| n.parse::<u64>().ok()) {
                Some(generation) => generations.push(generation),
                // A new log that was never published.
                None if name.ends_with(".tmp") => {
                    fs::remove_file(&path).map_err(StoreError::io("removing", &path))?;
                }
                None => {}
            }
        }
        generations.sort_unstable();
        let Some(newest) = generations.pop() else {
            let manifest = Self::start(folder, 1, State::default())?;
            return Ok((manifest, Tail::Clean));
        };
        let (manifest, tail) = Self::replay(folder, newest, false)?;
        for old in generations {
            let path = log_path(folder, old);
            fs::remove_file(&path).map_err(StoreError::io("removing", &path))?;
        }
        Ok((manifest, tail))
    }

    /// Reads the newest log and changes nothing, not even a torn end: another program may be
    /// writing it. It must not be appended to.
    pub(crate) fn open_read_only(folder: &Path) -> Result<(Self, Tail), StoreError> {
        // A new log may take over between listing and reading.
        let mut tries = 5;
        loop {
            let mut newest = 0;
            for entry in fs::read_dir(folder).map_err(StoreError::io("listing", folder))? {
                let name = entry.map_err(StoreError::io("listing", folder))?.file_name();
                let number = name.to_str().and_then(|n| n.strip_suffix(".log"));
                newest = newest.max(number.and_then(|n| n.parse().ok()).unwrap_or(0));
            }
            match Self::replay(folder, newest, true) {
                Err(StoreError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound && tries > 0 =>
                {
                    tries -= 1;
                }
                result => return result,
            }
        }
    }

    /// Starts a log with a known state, in a folder without one.
    pub(crate) fn create(folder: &Path, state: State) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(StoreError::io("creating", folder))?;
        Self::start(folder, 1, state)
    }

    /// What is stored.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Makes a change durable, then applies it. After an error the log must be opened anew; the
    /// change may or may not have happened.
    pub(crate) fn append(&mut self, change: Change) -> Result<(), StoreError> {
        // A program of before must refuse the log, not pass over what it does not know.
        if self.state.format < FORMAT {
            self.start_next()?;
        }
        let frame = frame(&Record::Change(change.clone()));
        let io = StoreError::io;
        self.file.set_len(self.end).map_err(io("truncating", &self.path))?;
        self.file.write_all(&frame).map_err(io("appending to", &self.path))?;
        self.file.sync_data().map_err(io("syncing", &self.path))?;
        self.end += frame.len() as u64;
        self.records += 1;
        self.state.apply(&change);
        if self.records < self.next_at {
            return Ok(());
        }
        match self.start_next() {
            // The change is on disk, and this log can grow: a later change tries again.
            Err(error) if self.has_no_next()? => {
                tracing::warn!(%error, "no new log of the manifest was started; the old one goes on");
                self.next_at = self.records + RECORDS_PER_TRY;
                Ok(())
            }
            started => started,
        }
    }

    fn start_next(&mut self) -> Result<(), StoreError> {
        let next = Self::start(&self.folder, self.generation + 1, self.state.clone())?;
        let old = std::mem::replace(self, next);
        // One that stays is removed by the next start.
        if let Err(error) = fs::remove_file(&old.path) {
            tracing::warn!(path = %old.path.display(), %error, "an old log was not removed");
        }
        Ok(())
    }

    /// Makes sure that no later log is there: a start would believe it, and not this one.
    fn has_no_next(&self) -> Result<bool, StoreError> {
        let path = log_path(&self.folder, self.generation + 1);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
            removed => {
                removed.map_err(StoreError::io("removing", &path))?;
                sync_folder(&self.folder).map(|()| true)
            }
        }
    }

    fn start(folder: &Path, generation: u64, mut state: State) -> Result<Self, StoreError> {
        state.format = FORMAT;
        let path = log_path(folder, generation);
        let tmp = path.with_extension("tmp");
        let frame = frame(&Record::Full(state.clone()));
        let written = fs::write(&tmp, &frame).map_err(StoreError::io("writing", &tmp));
        if let Err(error) = written.and_then(|()| sync_file(&tmp)) {
            // A piece would keep the last free space from the log that goes on.
            let _ = fs::remove_file(&tmp);
            return Err(error);
        }
        fs::rename(&tmp, &path).map_err(StoreError::io("renaming", &tmp))?;
        sync_folder(folder)?;
        let file = append_to(&path)?;
        let end = frame.len() as u64;
        let (records, next_at) = (0, RECORDS_PER_LOG);
        Ok(Self { folder: folder.into(), generation, path, file, end, records, next_at, state })
    }

    fn replay(folder: &Path, generation: u64, read_only: bool) -> Result<(Self, Tail), StoreError> {
        let path = log_path(folder, generation);
        let bytes = fs::read(&path).map_err(StoreError::io("reading", &path))?;
        let bad = |at: usize, reason: &str| StoreError::Manifest {
            path: path.clone(),
            at: at as u64,
            reason: reason.into(),
        };
        let mut state: Option<State> = None;
        let (mut at, mut records, mut tail) = (0, 0, Tail::Clean);
        while at < bytes.len() {
            let rest = &bytes[at..];
            match read_frame(rest) {
                Frame::Whole(record, len) => {
                    match (*record, &mut state) {
                        (Record::Full(full), None) => state = Some(full),
                        (Record::Change(change), Some(state)) => state.apply(&change),
                        _ => return Err(bad(at, "records are out of order")),
                    }
                    records += 1;
                    at += len;
                }
                Frame::Short => {
                    tail = Tail::Torn(rest.len() as u64);
                    break;
                }
                Frame::Wrong(len) if len == rest.len() || rest[4..].iter().all(|b| *b == 0) => {
                    tail = Tail::Damaged(rest.len() as u64);
                    break;
                }
                Frame::Wrong(_) => return Err(bad(at, "checksum mismatch before the end")),
            }
        }
        // The first record was fsynced before the log got its name: it cannot be torn by a crash.
        let state = state.ok_or_else(|| bad(0, "no state at the start"))?;
        if state.format > FORMAT {
            let (found, known) = (state.format, FORMAT);
            return Err(StoreError::Newer { path, found, known });
        }
        let file = match read_only {
            true => File::open(&path).map_err(StoreError::io("opening", &path))?,
            false => append_to(&path)?,
        };
        if tail != Tail::Clean && !read_only {
            file.set_len(at as u64).map_err(StoreError::io("truncating", &path))?;
            file.sync_all().map_err(StoreError::io("syncing", &path))?;
        }
        let end = at as u64;
        let (folder, next_at) = (folder.into(), RECORDS_PER_LOG);
        Ok((Self { folder, generation, path, file, end, records, next_at, state }, tail))
    }
}

/// Whether this program can read the store in the folder `store`, from its manifest's first record:
/// nothing is changed. A store that is not there yet can be read, and damage is told by who opens it.
pub fn check_format(store: &Path) -> Result<(), StoreError> {
    let folder = store.join("manifest");
    let logs = fs::read_dir(&folder).into_iter().flatten().flatten();
    let number = |name: &std::ffi::OsStr| name.to_str()?.strip_suffix(".log")?.parse::<u64>().ok();
    let Some(newest) = logs.filter_map(|entry| number(&entry.file_name())).max() else {
        return Ok(());
    };
    let path = log_path(&folder, newest);
    let bytes = fs::read(&path).map_err(StoreError::io("reading", &path))?;
    match read_frame(&bytes) {
        Frame::Whole(record, _) => match *record {
            Record::Full(state) if state.format > FORMAT => {
                Err(StoreError::Newer { path, found: state.format, known: FORMAT })
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn log_path(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("{generation:012}.log"))
}

fn append_to(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new().append(true).open(path).map_err(StoreError::io("opening", path))
}

/// Waits until a file's bytes are on disk.
pub(crate) fn sync_file(path: &Path) -> Result<(), StoreError> {
    let file = File::open(path).map_err(StoreError::io("opening", path))?;
    file.sync_all().map_err(StoreError::io("syncing", path))
}

/// Waits until a folder's entries are on disk.
pub(crate) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    sync_file(path)
}

fn frame(record: &Record) -> Vec<u8> {
    let mut out = vec![0; FRAME_BYTES];
    serde_json::to_writer(&mut out, record).expect("plain data always serialises");
    let len = (out.len() - FRAME_BYTES) as u32;
    let crc = crc32c::crc32c(&out[FRAME_BYTES..]);
    out[..4].copy_from_slice(&len.to_le_bytes());
    out[4..FRAME_BYTES].copy_from_slice(&crc.to_le_bytes());
    out
}

enum Frame {
    Whole(Box<Record>, usize),
    Short,
    Wrong(usize),
}

fn read_frame(bytes: &[u8]) -> Frame {
    let Some((head, rest)) = bytes.split_at_checked(FRAME_BYTES) else { return Frame::Short };
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (len, crc) = (number(0), number(4));
    if len == 0 || len > RECORD_BYTES_MAX {
        return Frame::Wrong(bytes.len());
    }
    let Some(body) = rest.get(..len as usize) else { return Frame::Short };
    let size = FRAME_BYTES + len as usize;
    match crc32c::crc32c(body) == crc {
        true => match serde_json::from_slice(body) {
            Ok(record) => Frame::Whole(Box::new(record), size),
            Err(_) => Frame::Wrong(size),
        },
        false => Frame::Wrong(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u64) -> FileEntry {
        FileEntry {
            path: format!("events/{n}"),
            first: EventId::at(n * 10),
            last: EventId::at(n * 10 + 9),
            after: n.checked_sub(1).map(|p| EventId::at(p * 10 + 9)),
            rows: 10,
            size_bytes: 1,
            sha256: String::new(),
            ..FileEntry::default()
        }
    }

    fn add(n: u64) -> Change {
        Change { add: vec![entry(n)], ..Change::default() }
    }

    #[test]
    fn cut_at_any_byte_the_log_opens_with_a_prefix_of_its_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (mut m, _) = Manifest::open(dir.path()).unwrap();
        let start = m.end;
        let mut ends = vec![start];
        for n in 0..4 {
            m.append(add(n)).unwrap();
            ends.push(m.end);
        }
        let path = m.path.clone();
        let whole = fs::read(&path).unwrap();
        for cut in start as usize..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (m, tail) = Manifest::open(dir.path()).unwrap();
            let expected = ends.iter().filter(|e| **e <= cut as u64).count() - 1;
            assert_eq!(m.state().files.len(), expected, "cut at {cut}");
            assert_eq!(tail == Tail::Clean, ends.contains(&(cut as u64)));
        }
    }

    #[test]
    fn damage_before_the_end_stops_the_start_instead_of_losing_files() {
        let dir = tempfile::tempdir().unwrap();
        let (mut m, _) = Manifest::open(dir.path()).unwrap();
        let first_change = m.end as usize;
        m.append(add(0)).unwrap();
        m.append(add(1)).unwrap();
        let path = m.path.clone();
        let mut bytes = fs::read(&path).unwrap();
        bytes[first_change + 20] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = Manifest::open(dir.path()).err().unwrap();
        assert!(matches!(error, StoreError::Manifest { at, .. } if at == first_change as u64));
    }

    #[test]
    fn a_new_log_takes_over_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let (mut m, _) = Manifest::open(dir.path()).unwrap();
        for n in 0..RECORDS_PER_LOG + 3 {
            m.append(add(n)).unwrap();
        }
        assert_eq!(m.generation, 2);
        let state = m.state().clone();
        drop(m);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let (m, tail) = Manifest::open(dir.path()).unwrap();
        assert_eq!((m.state(), tail), (&state, Tail::Clean));
    }

    /// Scenario: stores of earlier formats, and one of a later one, with what only that one knows.
    /// Guarantees: the former open with all that is in them; the latter is refused by its number, by a
    /// look and by opening, and no byte of the folder changes.
    #[test]
    fn earlier_formats_open_and_a_later_one_is_refused_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("manifest");
        let path = Manifest::open(&folder).unwrap().0.path.clone();
        let mut state = State::default();
        (0..3).for_each(|n| state.apply(&add(n)));
        let mut written = |format: u32, more: &str| {
            state.format = format;
            let text = serde_json::to_string(&Record::Full(state.clone())).unwrap();
            let text = text.replacen("{\"Full\":{", &format!("{{\"Full\":{{{more}"), 1);
            let mut out = (text.len() as u32).to_le_bytes().to_vec();
            out.extend(crc32c::crc32c(text.as_bytes()).to_le_bytes());
            out.extend(text.as_bytes());
            fs::write(&path, &out).unwrap();
            out
        };
        for format in 0..=FORMAT {
            written(format, "");
            check_format(dir.path()).unwrap();
            let (m, tail) = Manifest::open(&folder).unwrap();
            assert_eq!((m.state().files.len(), tail), (3, Tail::Clean), "format {format}");
        }
        let bytes = written(FORMAT + 1, "\"vectors\":[1,2],");
        for refused in [
            check_format(dir.path()).unwrap_err(),
            Manifest::open(&folder).err().unwrap(),
            Manifest::open_read_only(&folder).err().unwrap(),
        ] {
            let told = refused.to_string();
            assert!(told.contains("newer version") && !told.contains("damaged"), "{told}");
        }
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        check_format(&dir.path().join("none")).unwrap();
    }

    /// Scenario: a new log is due and cannot be written, as on a full disk; changes come; then it can.
    /// Guarantees: no change fails or is lost, at once and after a start; the new log comes in the end.
    #[test]
    fn without_room_for_a_new_log_the_old_one_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (mut m, _) = Manifest::open(dir.path()).unwrap();
        // Nobody can write a file where a folder is.
        let blocked = log_path(dir.path(), 2).with_extension("tmp");
        fs::create_dir(&blocked).unwrap();
        for n in 0..RECORDS_PER_LOG + 3 {
            m.append(add(n)).unwrap();
        }
        assert_eq!((m.generation, m.state().files.len() as u64), (1, RECORDS_PER_LOG + 3));
        fs::remove_dir(&blocked).unwrap();
        let again = Manifest::open(dir.path()).unwrap();
        assert_eq!((again.0.state(), again.1), (m.state(), Tail::Clean));
        for n in 3..RECORDS_PER_TRY {
            assert_eq!(m.generation, 1, "it is not tried at every change");
            m.append(add(RECORDS_PER_LOG + n)).unwrap();
        }
        assert_eq!(m.generation, 2);
        let again = Manifest::open(dir.path()).unwrap();
        assert_eq!((again.0.state(), again.1), (m.state(), Tail::Clean));
    }

    /// Scenario: a new log is due and there is no room for it.
    /// Guarantees: nothing of it stays; the change is durable in the old one.
    #[test]
    fn a_new_log_without_room_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (mut m, _) = Manifest::open(dir.path()).unwrap();
        let tmp = log_path(dir.path(), 2).with_extension("tmp");
        std::os::unix::fs::symlink("/dev/full", &tmp).unwrap();
        m.next_at = 4;
        for n in 0..6 {
            m.append(add(n)).unwrap();
        }
        assert!(fs::symlink_metadata(&tmp).is_err(), "what could not be written stays");
        let again = Manifest::open(dir.path()).unwrap();
        assert_eq!((again.0.state(), again.1), (m.state(), Tail::Clean));
        assert_eq!(m.generation, 1);
    }

    #[test]
    fn retired_ranges_join() {
        let mut state = State::default();
        for n in 0..3 {
            state.apply(&add(n));
        }
        for n in [1, 0] {
            let remove = vec![entry(n).path];
            state.apply(&Change { remove, retire: true, ..Change::default() });
        }
        assert_eq!(state.retired, [Retired { after: None, through: EventId::at(19) }]);
    }
}
