//! Following files: lines in, numbered batches out, checkpoints moved only by acks.
//!
//! ```text
//! patterns --poll--> files --lines--> agent_protocol::Batch {producer, epoch, base_seq}
//!                      ^                                          |
//!                      +---- checkpoints.json <---- acked(...) <--+
//! ```
//!
//! A file is known by (device, inode, hash of its first bytes), not by its name. Its producer and
//! epoch are written to the checkpoint file before the first batch leaves, so a restart re-sends
//! the same numbers for the same lines and the receiver can drop repeats. Plain and synchronous:
//! the caller polls; nothing here sleeps.

use crate::agent_protocol::{Batch, Last, RECORDS_MAX};
use crate::backoff::random_u64;
use event::{Certainty, Gap, GapCause, RecordKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Bytes at a file's start that tell it from a new file on the same inode.
const FINGERPRINT_BYTES: usize = 256;
/// Bytes read at a time and the usual size of a batch.
const READ_BYTES: usize = 256 << 10;
/// A rotated file without news for so long is taken as finished, ns: a writer that has not
/// noticed the rotation reopens its log within seconds.
const QUIET_NS: i64 = 5_000_000_000;
/// Most files followed: each holds a descriptor.
pub const FILES_MAX: usize = 4096;
/// Name of the checkpoint file in the state folder.
pub const CHECKPOINTS: &str = "checkpoints.json";

/// Settings of a [`Tailer`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Files to follow; `*` in the last part of a path stands for any text.
    pub paths: Vec<PathBuf>,
    /// Folder of the checkpoint file; made if missing.
    pub state: PathBuf,
    /// Name of this agent; part of every producer id.
    pub agent: String,
    /// Longest line in one piece; a longer one is sent as several records.
    pub line_bytes_max: usize,
}

impl Config {
    /// Defaults for these paths.
    pub fn new(agent: &str, state: &Path, paths: Vec<PathBuf>) -> Self {
        Self { paths, state: state.into(), agent: agent.into(), line_bytes_max: 1 << 20 }
    }
}

/// Following files failed.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The checkpoint file cannot be read or written.
    #[error("checkpoints {}: {source}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What is remembered of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Checkpoint {
    path: PathBuf,
    dev: u64,
    ino: u64,
    fingerprint: String,
    fingerprint_bytes: usize,
    /// 32 hex digits.
    producer: String,
    epoch: u64,
    /// Where the first line without an ack starts, and its number.
    offset: u64,
    next_seq: u64,
    /// CRC-32C of the last record with an ack, if there is one and it is known.
    #[serde(default)]
    tail_crc: Option<u32>,
    /// The first record of this epoch is a gap: the file had been truncated.
    after_truncation: bool,
    /// The first record of this epoch is a gap: another agent had gone on with the numbers before.
    #[serde(default)]
    after_fork: bool,
    /// When that gap was found, ns since 1970: a record has the same bytes whenever it is read.
    #[serde(default)]
    begun_ns: i64,
}

/// One followed file.
struct Tracked {
    file: File,
    acked: Checkpoint,
    producer: u128,
    offset: u64,
    next_seq: u64,
    /// Each batch without an ack.
    waiting: VecDeque<Waiting>,
    /// Its name now belongs to another file, or to none.
    rotated: bool,
    /// Time of the first look, in a row, that found nothing new, ns since 1970.
    quiet_since_ns: Option<i64>,
}

/// A batch without an ack.
struct Waiting {
    last_seq: u64,
    /// Where the file goes on after it.
    end: u64,
    /// CRC-32C of its last record.
    crc: u32,
}

/// What the server's last record says about us, see [`Tailer::resumed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// We are the one that sent it: go on.
    Same,
    /// Another agent has gone on with our numbers, or we came back from an older state. The file has
    /// a new producer, starting with a gap record; batches of the old one must not be sent.
    Forked,
}

/// Follows files. See the module's text.
pub struct Tailer {
    config: Config,
    files: Vec<Tracked>,
    /// Checkpoints of files that are not open.
    resting: Vec<Checkpoint>,
    /// A producer or epoch is not on disk yet; must be before it is used.
    dirty: bool,
    /// Acks are not on disk yet; costs repeats after a crash, nothing else.
    moved: bool,
    /// Where the next poll starts, so that a busy file does not starve those after it.
    turn: usize,
}

impl Tailer {
    /// Reads the checkpoints.
    ///
    /// # Errors
    /// When the state folder cannot be made or its checkpoint file is unreadable.
    pub fn open(config: Config) -> Result<Self, TailError> {
        let path = config.state.join(CHECKPOINTS);
        let error = |source| TailError::State { path: path.clone(), source };
        std::fs::create_dir_all(&config.state).map_err(error)?;
        let resting = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| error(e.into()))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(error(e)),
        };
        Ok(Self { config, files: Vec::new(), resting, dirty: false, moved: false, turn: 0 })
    }

    /// Looks for new, rotated and truncated files and reads what is new, at most one batch per
    /// file. `now_ns` (ns since 1970) is stamped on the records.
    ///
    /// # Errors
    /// When checkpoints cannot be written; nothing was read then. Unreadable files are skipped.
    pub fn poll(&mut self, now_ns: i64) -> Result<Vec<Batch>, TailError> {
        self.poll_within(now_ns, usize::MAX, true)
    }

    /// As [`Tailer::poll`], but stops once `bytes_max` are read (the last batch may go over; 0 reads
    /// nothing), goes on there the next time, and looks for files only if `discover`.
    ///
    /// # Errors
    /// As [`Tailer::poll`].
    pub fn poll_within(
        &mut self,
        now_ns: i64,
        bytes_max: usize,
        discover: bool,
    ) -> Result<Vec<Batch>, TailError> {
        if discover {
            self.discover(now_ns);
        }
        for file in &mut self.files {
            if file.was_replaced_in_place() {
                self.dirty |= file.start_over(&self.config.agent, now_ns);
            }
        }
        if self.dirty {
            // Before a new producer or epoch is used for the first time.
            self.save()?;
        }
        let (mut batches, mut bytes) = (Vec::new(), 0usize);
        let (start, count) = (self.turn, self.files.len());
        for step in 0..count {
            if bytes >= bytes_max {
                self.turn = (start + step) % count;
                break;
            }
            let file = &mut self.files[(start + step) % count];
            match file.read(&self.config, now_ns) {
                Ok(Some(batch)) => {
                    bytes = bytes.saturating_add(batch.bytes.len());
                    batches.push(batch);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(path = %file.acked.path.display(), %error, "cannot read");
                }
            }
        }
        let before = self.files.len();
        self.files.retain(|f| !f.finished(now_ns));
        self.moved |= before != self.files.len();
        Ok(batches)
    }

    /// Everything of this producer and epoch up to `up_to_seq` is durable.
    pub fn acked(&mut self, producer: u128, epoch: u64, up_to_seq: u64) {
        for file in &mut self.files {
            if file.producer != producer || file.acked.epoch != epoch {
                continue;
            }
            while let Some(batch) = file.waiting.pop_front_if(|batch| batch.last_seq <= up_to_seq) {
                (file.acked.next_seq, file.acked.offset) = (batch.last_seq + 1, batch.end);
                file.acked.tail_crc = Some(batch.crc);
                self.moved = true;
            }
        }
    }

    /// Where a producer goes on: its first number without an ack. `None` when it is not followed.
    pub fn next_seq(&self, producer: u128, epoch: u64) -> Option<u64> {
        let found = self.files.iter().find(|f| f.producer == producer && f.acked.epoch == epoch);
        found.map(|f| f.acked.next_seq)
    }

    /// Compares what the server has of a producer with the file. A server may have more than we have
    /// acks for, if these were lost: then the file has the same record under that number. A server
    /// that has less has lost it; that is its own to tell.
    ///
    /// # Errors
    /// When the file cannot be read; nothing is decided then.
    pub fn resumed(
        &mut self,
        producer: u128,
        epoch: u64,
        last: Option<Last>,
        now_ns: i64,
    ) -> io::Result<Resumed> {
        let of = |f: &&mut Tracked| f.producer == producer && f.acked.epoch == epoch;
        let Some(file) = self.files.iter_mut().find(of) else { return Ok(Resumed::Same) };
        // A file with other content gets a new producer at the next poll in any case.
        let Some(last) = last.filter(|_| !file.was_replaced_in_place()) else {
            return Ok(Resumed::Same);
        };
        let own = match last.seq.saturating_add(1) {
            next if next < file.acked.next_seq => return Ok(Resumed::Same),
            next if next == file.acked.next_seq => file.acked.tail_crc.or(Some(last.crc)),
            _ => file.crc_of(&self.config, last.seq, now_ns)?,
        };
        // A server that was started from its records only may not know the bytes.
        if own.is_some() && (own == Some(last.crc) || last.crc == 0) {
            return Ok(Resumed::Same);
        }
        file.fork(now_ns);
        self.dirty = true;
        Ok(Resumed::Forked)
    }

    /// Whether batches are without an ack.
    pub fn is_waiting(&self) -> bool {
        self.files.iter().any(|f| !f.waiting.is_empty())
    }

    /// Writes the checkpoints: temporary file, fsync, rename, fsync of the folder.
    ///
    /// # Errors
    /// [`TailError::State`].
    pub fn save(&mut self) -> Result<(), TailError> {
        let all: Vec<&Checkpoint> =
            self.files.iter().map(|f| &f.acked).chain(&self.resting).collect();
        let path = self.config.state.join(CHECKPOINTS);
        let temporary = self.config.state.join("checkpoints.tmp");
        let write = || -> io::Result<()> {
            std::fs::write(&temporary, serde_json::to_vec_pretty(&all)?)?;
            File::open(&temporary)?.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            File::open(&self.config.state)?.sync_all()
        };
        write().map_err(|source| TailError::State { path: path.clone(), source })?;
        (self.dirty, self.moved) = (false, false);
        Ok(())
    }

    /// [`Tailer::save`], unless the checkpoints on disk are the present ones.
    ///
    /// # Errors
    /// [`TailError::State`].
    pub fn save_if_moved(&mut self) -> Result<(), TailError> {
        if self.dirty || self.moved { self.save() } else { Ok(()) }
    }

    fn discover(&mut self, now_ns: i64) {
        let mut present = Vec::new();
        for pattern in &self.config.paths {
            expand(pattern, &mut present);
        }
        let mut named = Vec::new();
        for path in present {
            let Ok(meta) = std::fs::metadata(&path) else { continue };
            if meta.is_file() {
                named.push((meta.dev(), meta.ino()));
                self.adopt(&path, (meta.dev(), meta.ino()), false, now_ns);
            }
        }
        for file in &mut self.files {
            file.rotated = !named.contains(&(file.acked.dev, file.acked.ino));
        }
        self.find_rotated_while_away(now_ns);
    }

    /// Starts following the file unless it is followed, or empty.
    fn adopt(&mut self, path: &Path, (dev, ino): (u64, u64), only_known: bool, now_ns: i64) {
        let same = |c: &Checkpoint| (c.dev, c.ino) == (dev, ino);
        if self.files.iter().any(|f| same(&f.acked)) || self.files.len() >= FILES_MAX {
            return;
        }
        let Ok(file) = File::open(path) else { return };
        // The name may have moved on between looking and opening.
        if !file.metadata().is_ok_and(|m| (m.dev(), m.ino()) == (dev, ino)) {
            return;
        }
        let known = self.resting.iter().position(same).map(|i| self.resting.swap_remove(i));
        // The number of a file that is gone is given to the next one.
        let was_another = known.as_ref().is_some_and(|c| !c.fits(&file));
        let checkpoint = match known.filter(|_| !was_another) {
            Some(checkpoint) => checkpoint,
            None if only_known => return,
            None => {
                let fresh = Checkpoint::fresh(path, &file, &self.config.agent);
                let Some(mut fresh) = fresh else { return };
                if was_another {
                    (fresh.after_truncation, fresh.begun_ns) = (true, now_ns);
                }
                self.dirty = true;
                fresh
            }
        };
        self.files.push(Tracked::new(file, checkpoint));
    }

    /// A file renamed while we were not running is found beside its old name, by inode. One that is gone, with
    /// another under its name, may have had more than we read.
    fn find_rotated_while_away(&mut self, now_ns: i64) {
        let mut kept = Vec::new();
        for checkpoint in std::mem::take(&mut self.resting) {
            let folder = checkpoint.path.parent().map(Path::to_path_buf).unwrap_or_default();
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                // Unreadable for now: what is known of the file must not be forgotten.
                Err(_) => {
                    kept.push(checkpoint);
                    continue;
                }
            };
            let found = entries.flatten().find(|entry| {
                entry
                    .metadata()
                    .is_ok_and(|m| (m.dev(), m.ino()) == (checkpoint.dev, checkpoint.ino))
            });
            self.dirty = true;
            let (path, id) = (checkpoint.path.clone(), (checkpoint.dev, checkpoint.ino));
            if let Some(entry) = found {
                self.resting.push(checkpoint);
                self.adopt(&entry.path(), id, true, now_ns);
                self.resting.clear();
            }
            if !self.files.iter().any(|f| (f.acked.dev, f.acked.ino) == id) {
                self.note_replaced(&path, now_ns);
            }
        }
        self.resting = kept;
    }

    /// The file now under this name begins with a possible gap, if nothing was read of it yet.
    fn note_replaced(&mut self, path: &Path, now_ns: i64) {
        let is_new = |f: &&mut Tracked| {
            f.acked.path == path && f.acked.next_seq == 0 && f.next_seq == 0 && f.acked.offset == 0
        };
        if let Some(file) = self.files.iter_mut().find(is_new)
            && file.acked.first_gap().is_none()
        {
            (file.acked.after_truncation, file.acked.begun_ns) = (true, now_ns);
            self.dirty = true;
        }
    }
}

impl Checkpoint {
    /// `None` while the file is empty: it has no identity yet.
    fn fresh(path: &Path, file: &File, agent: &str) -> Option<Self> {
        let meta = file.metadata().ok()?;
        let head = head(file, FINGERPRINT_BYTES)?;
        if head.is_empty() {
            return None;
        }
        let fingerprint = hex(&Sha256::digest(&head));
        let identity = format!("{agent}\0{}\0{}\0{fingerprint}", meta.dev(), meta.ino());
        let producer = hex(&Sha256::digest(identity.as_bytes())[..16]);
        Some(Self {
            path: path.into(),
            dev: meta.dev(),
            ino: meta.ino(),
            fingerprint,
            fingerprint_bytes: head.len(),
            producer,
            epoch: random_u64(),
            offset: 0,
            next_seq: 0,
            tail_crc: None,
            after_truncation: false,
            after_fork: false,
            begun_ns: 0,
        })
    }

    /// Why the epoch starts with a gap record, if it does.
    fn first_gap(&self) -> Option<GapCause> {
        let forked = self.after_fork.then_some(GapCause::AgentFork);
        forked.or(self.after_truncation.then_some(GapCause::RotationRace))
    }

    /// Whether the file still starts as it did.
    fn fits(&self, file: &File) -> bool {
        head(file, self.fingerprint_bytes).is_some_and(|h| {
            h.len() == self.fingerprint_bytes && hex(&Sha256::digest(h)) == self.fingerprint
        }) && file.metadata().is_ok_and(|m| m.len() >= self.offset)
    }
}

impl Tracked {
    fn new(file: File, acked: Checkpoint) -> Self {
        let producer = u128::from_str_radix(&acked.producer, 16).unwrap_or(0);
        let (offset, next_seq) = (acked.offset, acked.next_seq);
        let waiting = VecDeque::new();
        let (rotated, quiet_since_ns) = (false, None);
        Self { file, acked, producer, offset, next_seq, waiting, rotated, quiet_since_ns }
    }

    /// Truncated, or truncated and written again past where we were (copytruncate).
    fn was_replaced_in_place(&self) -> bool {
        let Ok(meta) = self.file.metadata() else { return false };
        meta.len() < self.offset || (meta.len() != self.offset && !self.acked.fits(&self.file))
    }

    /// The same inode with other content is another file, with another producer and epoch.
    fn start_over(&mut self, agent: &str, now_ns: i64) -> bool {
        let Some(fresh) = Checkpoint::fresh(&self.acked.path, &self.file, agent) else {
            return false;
        };
        let Ok(file) = self.file.try_clone() else { return false };
        *self = Self::new(file, Checkpoint { after_truncation: true, begun_ns: now_ns, ..fresh });
        true
    }

    /// Goes on under a producer that nobody else has, from the last ack on: what the other agent sent
    /// since is not ours, and what we sent since may be there twice.
    fn fork(&mut self, now_ns: i64) {
        let producer = u128::from(random_u64()) << 64 | u128::from(random_u64());
        self.acked.producer = format!("{producer:032x}");
        (self.acked.epoch, self.acked.next_seq, self.acked.tail_crc) = (random_u64(), 0, None);
        (self.acked.after_fork, self.acked.after_truncation) = (true, false);
        self.acked.begun_ns = now_ns;
        (self.producer, self.offset, self.next_seq) = (producer, self.acked.offset, 0);
        self.waiting.clear();
        self.quiet_since_ns = None;
    }

    /// CRC-32C of record number `seq` as the file has it now; `None` when it ends before.
    fn crc_of(&self, config: &Config, seq: u64, now_ns: i64) -> io::Result<Option<u32>> {
        let mut look = Self::new(self.file.try_clone()?, self.acked.clone());
        (look.rotated, look.quiet_since_ns) = (self.rotated, self.quiet_since_ns);
        loop {
            let before = look.offset;
            match look.read(config, now_ns)? {
                Some(batch) if batch.last_seq() >= seq => {
                    let at = usize::try_from(seq.saturating_sub(batch.base_seq)).unwrap_or(0);
                    return Ok(batch.each().nth(at).map(|(_, _, bytes)| crc32c::crc32c(bytes)));
                }
                Some(_) => look.waiting.clear(),
                // Empty lines are no records.
                None if look.offset > before => {}
                None => return Ok(None),
            }
        }
    }

    /// Rotated away, read to its end, and acked.
    fn finished(&self, now_ns: i64) -> bool {
        self.rotated && self.is_quiet(now_ns) && self.waiting.is_empty() && !self.has_more()
    }

    fn is_quiet(&self, now_ns: i64) -> bool {
        self.quiet_since_ns.is_some_and(|since| now_ns.saturating_sub(since) >= QUIET_NS)
    }

    /// Whether the file holds bytes that were not read.
    fn has_more(&self) -> bool {
        self.file.metadata().is_ok_and(|m| m.len() > self.offset)
    }

    fn read(&mut self, config: &Config, now_ns: i64) -> io::Result<Option<Batch>> {
        let size = self.file.metadata()?.len();
        if size < self.offset {
            return Ok(None);
        }
        let mut batch = Batch {
            producer: self.producer,
            epoch: self.acked.epoch,
            base_seq: self.next_seq,
            path: self.acked.path.to_string_lossy().into_owned(),
            ..Batch::default()
        };
        if self.next_seq == 0
            && let Some(cause) = self.acked.first_gap()
        {
            let gap = Gap::at(cause, Certainty::Possible, &batch.path, self.acked.begun_ns);
            batch.push(RecordKind::Gap, now_ns, &gap.to_json());
        }
        let used = self.read_lines(config, size, now_ns, &mut batch)?;
        self.quiet_since_ns =
            if used > 0 { None } else { Some(self.quiet_since_ns.unwrap_or(now_ns)) };
        self.offset += used as u64;
        if batch.records.is_empty() {
            return Ok(None);
        }
        self.next_seq += batch.records.len() as u64;
        let crc = batch.each().last().map_or(0, |(_, _, bytes)| crc32c::crc32c(bytes));
        self.waiting.push_back(Waiting { last_seq: self.next_seq - 1, end: self.offset, crc });
        Ok(Some(batch))
    }

    /// Reads whole lines from `offset` into `batch`; returns the bytes they take.
    fn read_lines(
        &self,
        config: &Config,
        size: u64,
        now_ns: i64,
        batch: &mut Batch,
    ) -> io::Result<usize> {
        let line_max = config.line_bytes_max.max(1);
        let left = usize::try_from(size - self.offset).unwrap_or(usize::MAX);
        let mut buffer = read_at(&self.file, self.offset, left.min(READ_BYTES))?;
        if left > buffer.len() && memchr::memchr(b'\n', &buffer).is_none() {
            buffer = read_at(&self.file, self.offset, left.min(line_max + 1))?;
        }
        let mut at = 0;
        while at < buffer.len() && batch.records.len() < RECORDS_MAX {
            let rest = &buffer[at..];
            let (line, used) = match memchr::memchr(b'\n', &rest[..rest.len().min(line_max + 1)]) {
                Some(end) => (rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]), end + 1),
                // Deterministic pieces, so that a re-read numbers them alike.
                None if rest.len() > line_max => (&rest[..line_max], line_max),
                // The last line of a file that nobody writes to any more has no LF.
                None if self.rotated && self.is_quiet(now_ns) && left == buffer.len() => {
                    (rest, rest.len())
                }
                None => break,
            };
            if !line.is_empty() {
                batch.push(RecordKind::Data, now_ns, line);
            }
            at += used;
        }
        Ok(at)
    }
}

/// Reads up to `len` bytes at `offset`.
fn read_at(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

fn head(file: &File, len: usize) -> Option<Vec<u8>> {
    read_at(file, 0, len).ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The files a path stands for: itself, or the matches of `*` in its last part.
fn expand(pattern: &Path, out: &mut Vec<PathBuf>) {
    let name = pattern.file_name().and_then(|n| n.to_str()).unwrap_or("");
    if !name.contains('*') {
        out.push(pattern.into());
        return;
    }
    let folder = pattern.parent().filter(|p| !p.as_os_str().is_empty());
    let Ok(entries) = std::fs::read_dir(folder.unwrap_or(Path::new("."))) else { return };
    let fits = |p: &PathBuf| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| star(name, n));
    let mut found: Vec<_> = entries.flatten().map(|e| e.path()).filter(fits).collect();
    found.sort();
    out.append(&mut found);
}

/// Whether `name` matches `pattern`, where `*` is any text.
fn star(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    struct World {
        dir: tempfile::TempDir,
        got: std::collections::BTreeMap<(u128, u64, u64), Vec<u8>>,
        gaps: usize,
        now_ns: i64,
    }

    impl World {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), got: Default::default(), gaps: 0, now_ns: 7 }
        }
        fn log(&self) -> PathBuf {
            self.dir.path().join("app.log")
        }
        fn tailer(&self) -> Tailer {
            let state = self.dir.path().join("state");
            let mut config = Config::new("a1", &state, vec![self.log()]);
            config.line_bytes_max = 10;
            Tailer::open(config).unwrap()
        }
        fn write(&self, text: &str) {
            let open = std::fs::OpenOptions::new().append(true).create(true).open(self.log());
            open.unwrap().write_all(text.as_bytes()).unwrap();
        }
        /// The receiver: drops repeats by number and insists that repeats are equal.
        fn take(&mut self, tailer: &mut Tailer, ack: bool) {
            self.now_ns += 1_000_000_000;
            for batch in tailer.poll(self.now_ns).unwrap() {
                for (seq, (kind, _, bytes)) in (batch.base_seq..).zip(batch.each()) {
                    let key = (batch.producer, batch.epoch, seq);
                    let old = self.got.insert(key, bytes.to_vec());
                    assert!(old.is_none_or(|o| o == bytes), "number {seq} was given twice");
                    self.gaps += usize::from(kind == RecordKind::Gap);
                }
                if ack {
                    tailer.acked(batch.producer, batch.epoch, batch.last_seq());
                }
            }
        }
        fn lines(&self) -> Vec<String> {
            let mut lines: Vec<_> =
                self.got.values().map(|b| String::from_utf8(b.clone()).unwrap()).collect();
            lines.retain(|l| !l.starts_with('{'));
            lines.sort();
            lines
        }
    }

    #[test]
    fn restarts_without_acks_send_the_same_numbers() {
        let mut w = World::new();
        w.write("a\nb\npart");
        let mut t = w.tailer();
        w.take(&mut t, true);
        w.take(&mut t, true);
        t.save().unwrap();
        w.write("ial\nc\n");
        w.take(&mut t, false);
        drop(t);
        let mut t = w.tailer();
        w.take(&mut t, true);
        w.write("d\n");
        w.take(&mut t, true);
        assert_eq!(w.lines(), ["a", "b", "c", "d", "partial"]);
        let keys: std::collections::BTreeSet<_> = w.got.keys().map(|k| (k.0, k.1)).collect();
        assert_eq!(keys.len(), 1);
    }

    #[test]
    fn rotation_finishes_the_old_file_also_over_a_restart() {
        let mut w = World::new();
        w.write("a\n");
        let mut t = w.tailer();
        w.take(&mut t, true);
        t.save().unwrap();
        w.write("b\n");
        std::fs::rename(w.log(), w.dir.path().join("app.log.1")).unwrap();
        w.write("c\n");
        w.take(&mut t, true);
        assert_eq!(w.lines(), ["a", "b", "c"]);
        t.save().unwrap();
        drop(t);
        w.write("d\n");
        std::fs::rename(w.log(), w.dir.path().join("app.log.2")).unwrap();
        w.write("e\n");
        let mut t = w.tailer();
        w.take(&mut t, true);
        assert_eq!(w.lines(), ["a", "b", "c", "d", "e"]);
        assert_eq!(w.gaps, 0);
    }

    #[test]
    fn a_rotated_file_gives_up_its_last_line() {
        let mut w = World::new();
        w.write("a\nlast");
        let mut t = w.tailer();
        w.take(&mut t, true);
        std::fs::rename(w.log(), w.dir.path().join("app.log.1")).unwrap();
        for _ in 0..20 {
            w.take(&mut t, true);
        }
        assert_eq!(w.lines(), ["a", "last"]);
        assert!(t.files.is_empty());
    }

    #[test]
    fn truncation_starts_a_new_epoch_with_a_gap() {
        let mut w = World::new();
        w.write("first\nsecond\n");
        let mut t = w.tailer();
        w.take(&mut t, true);
        std::fs::write(w.log(), "other\n").unwrap();
        w.take(&mut t, true);
        std::fs::write(w.log(), "longer!\nthan\nbefore\n").unwrap();
        w.take(&mut t, true);
        assert_eq!(w.gaps, 2);
        assert_eq!(w.lines(), ["before", "first", "longer!", "other", "second", "than"]);
    }

    /// Scenario: lines are written while nobody follows, then the file is removed and another one has its
    /// name: with the number of the old one, or with another.
    /// Guarantees: the new file's records begin with a possible gap, once, also after a restart.
    #[test]
    fn a_file_replaced_while_we_were_away_begins_with_a_gap() {
        for keeps_number in [true, false] {
            let mut w = World::new();
            w.write("a\n");
            let mut t = w.tailer();
            w.take(&mut t, true);
            t.save().unwrap();
            drop(t);
            w.write("lost\n");
            // While it is open its number is not given away.
            let open = (!keeps_number).then(|| File::open(w.log()).unwrap());
            std::fs::remove_file(w.log()).unwrap();
            w.write("new\n");
            for _ in 0..2 {
                let mut t = w.tailer();
                w.take(&mut t, false);
                t.save().unwrap();
            }
            drop(open);
            assert_eq!((w.lines(), w.gaps), (vec!["a".into(), "new".into()], 1 + 1));
            assert_eq!(w.got.values().filter(|b| b.starts_with(b"{")).count(), 1);
        }
    }

    #[test]
    fn a_small_allowance_reaches_every_file_in_turn() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::write(dir.path().join(name), format!("{name}1\n{name}2\n")).unwrap();
        }
        let paths = ["a", "b", "c"].map(|n| dir.path().join(n)).to_vec();
        let mut config = Config::new("a1", &dir.path().join("state"), paths);
        config.line_bytes_max = 10;
        let mut tailer = Tailer::open(config).unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            for name in ["a", "b", "c"] {
                let path = dir.path().join(name);
                let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
                file.write_all(b"more\n").unwrap();
            }
            let batches = tailer.poll_within(7, 1, true).unwrap();
            assert_eq!(batches.len(), 1);
            seen.push(batches[0].path.clone());
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 3);
    }

    /// Scenario: the server has nothing, what we know of, more of the same (acks were lost), more of
    /// another, and a file that ends before it (it came back from an older image).
    /// Guarantees: only the last two are forks; then the lines without an ack come under a new
    /// producer, after a gap record, also after a restart.
    #[test]
    fn a_server_with_other_records_is_found_out() {
        let mut w = World::new();
        w.write("a\nb\n");
        let mut t = w.tailer();
        w.take(&mut t, true);
        t.save().unwrap();
        w.write("c\n\nd\n");
        let (producer, epoch, _) = *w.got.keys().next().unwrap();
        assert_eq!(t.next_seq(producer, epoch), Some(2));
        let crc = |text: &str| crc32c::crc32c(text.as_bytes());
        let ask = |t: &mut Tailer, seq, crc| {
            t.resumed(producer, epoch, Some(Last { seq, crc }), 9).unwrap()
        };
        assert_eq!(t.resumed(producer, epoch, None, 9).unwrap(), Resumed::Same);
        assert_eq!(ask(&mut t, 0, 77), Resumed::Same, "it lost some; not our doing");
        assert_eq!(ask(&mut t, 1, crc("b")), Resumed::Same);
        assert_eq!(ask(&mut t, 3, crc("d")), Resumed::Same);
        w.take(&mut t, false);
        drop(t);
        let mut t = w.tailer();
        t.poll(7).unwrap();
        assert_eq!(ask(&mut t, 1, crc("other")), Resumed::Forked);
        assert_eq!(t.next_seq(producer, epoch), None);
        w.take(&mut t, false);
        drop(t);
        let mut t = w.tailer();
        w.take(&mut t, true);
        assert_eq!(w.gaps, 2, "the gap comes first, until it has its ack");
        let lines: Vec<_> = w.got.iter().filter(|(key, _)| key.0 != producer).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!((lines[1].1.as_slice(), lines[2].1.as_slice()), (&b"c"[..], &b"d"[..]));
        let key = *lines[0].0;
        let beyond = t.resumed(key.0, key.1, Some(Last { seq: 9, crc: 1 }), 9).unwrap();
        assert_eq!(beyond, Resumed::Forked);
    }

    #[test]
    fn long_lines_come_in_pieces_and_lose_nothing() {
        let mut w = World::new();
        w.write("0123456789abcdefghijXYZ\r\nshort\n");
        let mut t = w.tailer();
        w.take(&mut t, true);
        assert_eq!(w.lines(), ["0123456789", "XYZ", "abcdefghij", "short"]);
    }

    #[test]
    fn stars_match() {
        assert!(star("*.log", "a.log") && star("a*c*", "abcd") && star("*", ""));
        assert!(!star("*.log", "a.log.1") && !star("a*a", "a"));
    }
}
