//! What the threads share: options, segments, cursors, gauges, and the operations on them.

use crate::announce;
use crate::block::{Block, PlannedBlock};
use crate::clock::Clock;
use crate::error::JournalError;
use crate::fs::{Access, File, Fs, is_full};
use crate::manifest::{Manifest, Slots};
use crate::piece::Pool;
use crate::scan::{Bounds, Hole, scan};
use crate::segment::{
    Footer, IndexEntry, SEGMENT_SIZE_MAX, SEGMENT_SIZE_MIN, SegmentHead, segment_name,
};
use crate::senders::Senders;
use crate::told::ToldHoles;
use event::RawBatch;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Computes the root over a segment that gets no more records. Runs in the keeper thread.
pub type Sealer = Arc<dyn Fn(&SealedBlocks<'_>) -> [u8; 32] + Send + Sync>;

/// How a journal behaves. `Options::default()` is right for the `data` stream.
#[derive(Clone)]
pub struct Options {
    /// Size of new segments, bytes (256 KiB..=1 GiB). Two to four of them exist on an idle system.
    pub segment_size_bytes: u64,
    /// Appends are refused while more bytes than this wait for the disk.
    pub queue_bytes_max: u64,
    /// One write takes what waits, up to about this many bytes.
    pub group_bytes_max: usize,
    /// Records are refused while less than this stays free, bytes, or less than a twentieth of the
    /// file system where that is smaller (a disk of 10 GB need not keep 1 GiB). Ticks and gaps go on
    /// meanwhile, in at most 64 MiB of it.
    pub disk_reserve_bytes: u64,
    /// No segment is added when all of them would be larger than this, bytes.
    pub disk_bytes_max: Option<u64>,
    /// Segments that `retire` keeps in any case, counted from the newest.
    pub keep_segments_min: usize,
    /// Zeroed files kept ready. They are this stream's own space: it goes on for as long when the
    /// disk is full. They are made one a second.
    pub spares: usize,
    /// Append control records about the stream itself: a tick every second, and what was found when
    /// it was opened (`Lifecycle`, and a `Gap` for each damaged range and each connection that was
    /// open at a crash).
    pub tick: bool,
    /// Each sealed segment is read and checked again within this time; `None`: never.
    pub scrub_every: Option<Duration>,
    /// Partition to put into `Durable`.
    pub partition: u32,
    /// Computes a segment's root when it is sealed.
    pub sealer: Option<Sealer>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_size_bytes: 64 << 20,
            queue_bytes_max: 64 << 20,
            group_bytes_max: 1 << 20,
            disk_reserve_bytes: 1 << 30,
            disk_bytes_max: None,
            keep_segments_min: 0,
            spares: 1,
            tick: false,
            // Twice as often as a monthly backup would need; a percent of a disk's read rate.
            scrub_every: Some(Duration::from_hours(7 * 24)),
            partition: 0,
            sealer: None,
        }
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), JournalError> {
        if !(SEGMENT_SIZE_MIN..=SEGMENT_SIZE_MAX).contains(&self.segment_size_bytes) {
            let why = format!("{} is not within 256 KiB..=1 GiB", self.segment_size_bytes);
            return Err(JournalError::Option { option: "segment_size_bytes", why });
        }
        Ok(())
    }

    /// Longest part of a record: 1 MiB less what a block adds, a quarter of a small segment.
    pub(crate) fn piece_bytes_max(&self) -> usize {
        (SegmentHead::data_len(self.segment_size_bytes) / 4).min((1 << 20) - 1024) as usize
    }
}

/// Whether appends are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Yes.
    Ok = 0,
    /// No: no space above the reserve. Returns to `Ok` by itself.
    DiskFull = 1,
    /// No: writing failed twice. Needs a restart.
    Faulted = 2,
    /// No: closed.
    Closed = 3,
}

/// Gauges and counters since open.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Whether appends are taken.
    pub state: State,
    /// Bytes that wait for the disk.
    pub queue_bytes: u64,
    /// Last durable offset.
    pub durable: Option<u64>,
    /// Oldest offset kept.
    pub first_offset: u64,
    /// Bytes of all segments and spares on disk.
    pub disk_bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Groups written.
    pub groups: u64,
    /// Bytes of groups written, headers included.
    pub group_bytes: u64,
    /// Records written (parts counted one by one).
    pub records: u64,
    /// Calls of fdatasync on segments.
    pub syncs: u64,
    /// Time in them, ns.
    pub sync_ns_sum: u64,
    /// The longest, ns.
    pub sync_ns_max: u64,
    /// Writes or syncs of segments that failed.
    pub write_errors: u64,
    /// Failures of sealing, spares and the manifest; they are tried again.
    pub keeper_errors: u64,
    /// Bytes of torn tails removed, since the journal was created.
    pub torn_bytes: u64,
    /// Records dropped as repeats.
    pub repeats: u64,
    /// Senders and idempotency keys remembered.
    pub producers: u64,
    /// Sealed segments read and checked again.
    pub scrubbed: u64,
    /// Damaged ranges met.
    pub holes: u64,
    /// Bytes available on the file system, as of at most a second ago.
    pub free_bytes: u64,
    /// Size of the file system, bytes.
    pub total_bytes: u64,
    /// What has to stay free of it, bytes.
    pub reserve_bytes: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) groups: AtomicU64,
    pub(crate) group_bytes: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) sync_ns_sum: AtomicU64,
    pub(crate) sync_ns_max: AtomicU64,
    pub(crate) write_errors: AtomicU64,
    pub(crate) keeper_errors: AtomicU64,
    pub(crate) torn_bytes: AtomicU64,
    pub(crate) repeats: AtomicU64,
    pub(crate) free_bytes: AtomicU64,
    pub(crate) total_bytes: AtomicU64,
    /// Checking sealed segments again waits.
    pub(crate) scrub_waits: AtomicBool,
    pub(crate) scrubbed: AtomicU64,
    pub(crate) holes: AtomicU64,
}

/// What a footer says of the blocks written so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// The segment was begun in this run, so nothing is left out.
    pub(crate) whole: bool,
    records: u64,
    blocks: u64,
    pub(crate) end_pos: u64,
    wall_ns: Option<(i64, i64)>,
    last_stream_ns: i64,
}

impl Tally {
    pub(crate) fn add(&mut self, block: &PlannedBlock, end_pos: u64) {
        self.records += u64::from(block.head.parts);
        self.blocks += 1;
        self.end_pos = end_pos;
        let (min, max) = self.wall_ns.unwrap_or((block.wall_min_ns, block.wall_max_ns));
        self.wall_ns = Some((min.min(block.wall_min_ns), max.max(block.wall_max_ns)));
        self.last_stream_ns = self.last_stream_ns.max(block.head.stream_ns);
    }

    /// The footer of a segment that ends before `next_offset`.
    pub(crate) fn footer(
        &self,
        head: &SegmentHead,
        next_offset: u64,
        index: Vec<IndexEntry>,
    ) -> Footer {
        let (wall_min_ns, wall_max_ns) = self.wall_ns.unwrap_or_default();
        Footer {
            first_offset: head.first_offset,
            next_offset,
            records: self.records,
            blocks: self.blocks,
            end_pos: self.end_pos.max(crate::segment::HEADER_LEN),
            wall_min_ns,
            wall_max_ns,
            last_stream_ns: self.last_stream_ns,
            root: None,
            index,
        }
    }
}

/// A segment in the folder.
#[derive(Clone)]
pub(crate) struct SegmentEntry {
    pub(crate) head: SegmentHead,
    pub(crate) sealed: bool,
    /// Sparse index while it is being written; sealed segments have theirs in the footer.
    pub(crate) index: Arc<Mutex<Vec<IndexEntry>>>,
    pub(crate) tally: Arc<Mutex<Tally>>,
}

#[derive(Default)]
pub(crate) struct Cursors {
    pub(crate) map: BTreeMap<String, u64>,
    pub(crate) dirty: bool,
}

/// A zeroed or outlived file that can become a segment without asking the disk for space.
pub(crate) struct Spare {
    pub(crate) name: String,
    pub(crate) recycled: bool,
    pub(crate) size: u64,
}

/// Outlived segments kept for reuse: those of a second at the highest rates, for they are retired about
/// once a second; more would only hold space back.
pub(crate) const SPARES_MAX: usize = 4;
/// A segment that lasts no longer is one of many: the next one goes without zeros.
const HURRY_NS: u64 = 2_000_000_000;
/// Zeros written and synced at once.
const ZEROS: usize = 1 << 20;

/// Size of a segment that is made of the reserve: an hour of ticks or more.
const RESERVE_SEGMENT_BYTES: u64 = 1 << 20;
/// Most of them in a row: days of ticks, and little of what is kept free.
const RESERVE_SEGMENTS_MAX: u32 = 64;

/// What a new segment is for, and so what it may be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Whatever is sent: a spare, or space above the reserve.
    Records,
    /// Only what the journal says itself while the disk is full: also a little of the reserve.
    Control,
}

/// A spare that is being filled with zeros. Blocks that were written before are overwritten without the
/// file system's own journal having to commit; that is what makes a later fdatasync cheap.
pub(crate) struct Making {
    stem: String,
    tmp: PathBuf,
    file: Arc<dyn File>,
    zeroed: u64,
    size: u64,
}

impl Making {
    /// Whether there are no more zeros to write.
    pub(crate) fn is_whole(&self) -> bool {
        self.zeroed >= self.size
    }

    /// Writes the next zeros. Each piece is synced by itself: a burst of zeros would hold up the sync of
    /// what senders wait for.
    pub(crate) fn write_piece(&mut self) -> io::Result<()> {
        let len = (self.size - self.zeroed).min(ZEROS as u64);
        self.file.write_at(&vec![0; len as usize], self.zeroed)?;
        self.file.sync_data()?;
        self.zeroed += len;
        Ok(())
    }
}

pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    pub(crate) state: AtomicU8,
    /// When a segment was last begun; 0 = not yet.
    pub(crate) taken_ns: AtomicU64,
    /// Segments made of the reserve since there was space above it.
    pub(crate) reserve_segments: AtomicU32,
    /// All offsets below are durable. Written with `durable_lock` held.
    pub(crate) durable_next: AtomicU64,
    pub(crate) durable_lock: Mutex<()>,
    pub(crate) durable_signal: Condvar,
    pub(crate) queue_bytes: AtomicU64,
    pub(crate) last_stream_ns: AtomicI64,
    pub(crate) segments: RwLock<BTreeMap<u64, SegmentEntry>>,
    pub(crate) senders: Mutex<Senders>,
    /// Control records that the writer takes along, and the holes they told of already.
    pub(crate) announcements: Mutex<Announcements>,
    pub(crate) pool: Pool,
    pub(crate) cursors: Mutex<Cursors>,
    pub(crate) slots: Mutex<Slots>,
    pub(crate) spares: Mutex<Vec<Spare>>,
    pub(crate) retiring: Mutex<()>,
    pub(crate) snapshotting: Mutex<()>,
    pub(crate) counters: Counters,
}

/// Control records on their way to the writer.
#[derive(Default)]
pub(crate) struct Announcements {
    waiting: Vec<RawBatch>,
    told: ToldHoles,
}

impl Shared {
    pub(crate) fn state(&self) -> State {
        match self.state.load(SeqCst) {
            0 => State::Ok,
            1 => State::DiskFull,
            2 => State::Faulted,
            _ => State::Closed,
        }
    }

    /// Moves to `state` unless closed or faulted, which last.
    pub(crate) fn set_state(&self, state: State) {
        let change =
            |now: u8| (now < State::Faulted as u8 || state == State::Closed).then_some(state as u8);
        let _ = self.state.fetch_update(SeqCst, SeqCst, change);
    }

    pub(crate) fn publish(&self, durable_next: u64) {
        let guard = self.durable_lock.lock();
        self.durable_next.store(durable_next, SeqCst);
        drop(guard);
        self.durable_signal.notify_all();
    }

    /// Waits until `offset` is durable, the journal closes, or time is up.
    pub(crate) fn wait_durable(&self, offset: u64, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let mut guard = self.durable_lock.lock();
        while self.durable_next.load(SeqCst) <= offset {
            if self.state() == State::Closed
                || self.durable_signal.wait_until(&mut guard, until).timed_out()
            {
                return self.durable_next.load(SeqCst) > offset;
            }
        }
        true
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Takes what the writer should write of its own accord, and, if that tells of damage, the list of
    /// all that is told once it is durable.
    pub(crate) fn take_announcements(&self) -> (Vec<RawBatch>, Option<ToldHoles>) {
        let mut announcements = self.announcements.lock();
        (std::mem::take(&mut announcements.waiting), announcements.told.take_changed())
    }

    /// What was announced is durable: the next start need not tell it again. `told` is the list as it
    /// was taken: what was met since is told by records that are still to be written.
    pub(crate) fn announced(&self, told: &ToldHoles) {
        if let Err(error) = told.write(&*self.fs, &self.dir) {
            tracing::warn!(%error, "the list of told holes was not saved; they are told again");
        }
    }

    /// Has a control record written, in a stream that tells about itself.
    pub(crate) fn announce(&self, batch: RawBatch) {
        if self.options.tick {
            self.announcements.lock().waiting.push(batch);
        }
    }

    /// Takes over what earlier runs told; returns what of `holes` is news. Whoever opened the journal
    /// tells it.
    pub(crate) fn news_of(&self, holes: &[Hole], earlier: ToldHoles) -> Vec<Hole> {
        let mut announcements = self.announcements.lock();
        announcements.told = earlier;
        holes.iter().filter(|hole| announcements.told.tell(hole)).cloned().collect()
    }

    /// Has a damaged range told, once.
    pub(crate) fn announce_hole(&self, hole: &Hole) {
        let mut announcements = self.announcements.lock();
        if announcements.told.tell(hole) && hole.from_offset < hole.to_offset {
            self.counters.holes.fetch_add(1, SeqCst);
            tracing::error!(?hole, "records that were acknowledged cannot be read");
            // In one step with the list: whoever takes one takes the other.
            if self.options.tick {
                let record = announce::corruption(hole, self.clock.wall_ns());
                announcements.waiting.push(record);
            }
        }
    }

    /// Has a failed write told; the record itself goes to the next segment.
    pub(crate) fn announce_fault(&self, error: &io::Error) {
        let text = error.to_string();
        self.announce(announce::lifecycle(
            "storage.fault",
            self.clock.wall_ns(),
            &[("error", text)],
        ));
    }

    /// Space that has to stay free.
    fn reserve_bytes(&self, total: u64) -> u64 {
        self.options.disk_reserve_bytes.min(total / 20)
    }

    /// Whether records may be taken: the reserve is free, and there is or can be a spare.
    fn has_room(&self) -> io::Result<bool> {
        let space = self.fs.space(&self.dir)?;
        self.counters.free_bytes.store(space.available, SeqCst);
        self.counters.total_bytes.store(space.total, SeqCst);
        Ok(space.available >= self.reserve_bytes(space.total)
            || self.options.disk_reserve_bytes == 0)
    }

    /// Turns a journal that is out of space back on when there is some again.
    pub(crate) fn check_room(&self) {
        if self.state() != State::DiskFull || !matches!(self.has_room(), Ok(true)) {
            return;
        }
        let mut spares = self.spares.lock();
        let make = || self.finish_spare(self.begin_spare()?);
        let ready = !spares.is_empty() || make().map(|one| spares.push(one)).is_ok();
        drop(spares);
        if ready {
            tracing::info!("there is space again: the journal takes records");
            self.reserve_segments.store(0, SeqCst);
            self.set_state(State::Ok);
            self.announce(announce::lifecycle("disk.resumed", self.clock.wall_ns(), &[]));
        }
    }

    /// Turns the journal off when the reserve is touched. Called once a second: others fill disks.
    pub(crate) fn watch_room(&self) -> io::Result<()> {
        if self.state() == State::Ok && !self.has_room()? {
            tracing::error!("less than the reserve is free: the journal refuses records");
            self.set_state(State::DiskFull);
        }
        Ok(())
    }

    /// Takes a spare. If there is none it is made: without zeros at rates that leave no time for them,
    /// where writing them too would be the slower way; else with zeros, for a sync that the file
    /// system's journal has a part in waits for what everybody else writes.
    pub(crate) fn take_spare(&self) -> io::Result<Spare> {
        let now_ns = self.clock.mono_ns();
        let taken_ns = self.taken_ns.swap(now_ns, SeqCst);
        let mut spares = self.spares.lock();
        if let Some(spare) = spares.pop() {
            return Ok(spare);
        }
        let mut making = self.begin_spare()?;
        let is_hurried = taken_ns != 0 && now_ns.saturating_sub(taken_ns) < HURRY_NS;
        while !is_hurried && !making.is_whole() {
            if let Err(error) = making.write_piece() {
                self.abandon_spare(making);
                return Err(error);
            }
        }
        self.finish_spare(making)
    }

    /// Whether fewer spares are ready than should be.
    pub(crate) fn wants_spare(&self) -> bool {
        self.spares.lock().len() < self.options.spares.max(1)
    }

    /// Takes the space for a spare.
    pub(crate) fn begin_spare(&self) -> io::Result<Making> {
        let size = self.options.segment_size_bytes;
        let space = self.fs.space(&self.dir)?;
        self.counters.free_bytes.store(space.available, SeqCst);
        self.counters.total_bytes.store(space.total, SeqCst);
        let all: u64 = self.segments.read().values().map(|s| s.head.size).sum();
        let over = self.options.disk_bytes_max.is_some_and(|max| all + size > max);
        if over || space.available < size.saturating_add(self.reserve_bytes(space.total)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.begin_file(size)
    }

    /// A piece of the reserve, for what goes on while the disk is full.
    fn take_reserve(&self) -> io::Result<Spare> {
        if self.reserve_segments.load(SeqCst) >= RESERVE_SEGMENTS_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let size = self.options.segment_size_bytes.min(RESERVE_SEGMENT_BYTES);
        let mut making = self.begin_file(size)?;
        while !making.is_whole() {
            if let Err(error) = making.write_piece() {
                self.abandon_spare(making);
                return Err(error);
            }
        }
        let spare = self.finish_spare(making)?;
        self.reserve_segments.fetch_add(1, SeqCst);
        Ok(spare)
    }

    fn begin_file(&self, size: u64) -> io::Result<Making> {
        let mut random = [0; 8];
        self.clock.random(&mut random)?;
        let stem = format!("{:016x}", u64::from_le_bytes(random));
        let tmp = self.path(&format!("{stem}.tmp"));
        let file = self.fs.open(&tmp, Access::CreateNew)?;
        let making = Making { stem, tmp, file, zeroed: 0, size };
        match making.file.allocate(size) {
            Ok(()) => Ok(making),
            Err(error) => {
                self.abandon_spare(making);
                Err(error)
            }
        }
    }

    /// Makes it ready to be taken.
    pub(crate) fn finish_spare(&self, making: Making) -> io::Result<Spare> {
        let name = format!("{}.spare", making.stem);
        match self.fs.rename(&making.tmp, &self.path(&name)) {
            Ok(()) => Ok(Spare { name, recycled: false, size: making.size }),
            Err(error) => {
                self.abandon_spare(making);
                Err(error)
            }
        }
    }

    /// Gives its space back.
    pub(crate) fn abandon_spare(&self, making: Making) {
        // What a full disk let us take; left over, the next start removes it.
        let _ = self.fs.unlink(&making.tmp);
    }

    /// Creates the segment that starts with `first_offset` and makes it known.
    pub(crate) fn create_segment(
        &self,
        first_offset: u64,
        purpose: Purpose,
    ) -> io::Result<(SegmentEntry, Arc<dyn File>)> {
        // The last spare is what the tables of senders are written from when space is to be freed.
        let spare = match purpose {
            Purpose::Records => self.take_spare()?,
            Purpose::Control => self.take_reserve().or_else(|_| self.take_spare())?,
        };
        let Spare { recycled, size, .. } = spare;
        let wall_ns = self.clock.wall_ns();
        let head = SegmentHead::fresh(&*self.clock, first_offset, wall_ns, size, recycled)?;
        let path = self.path(&spare.name);
        let file = self.fs.open(&path, Access::ReadWrite)?;
        file.write_at(&head.encode(), 0)?;
        file.sync_data()?;
        self.fs.rename(&path, &self.path(&segment_name(first_offset)))?;
        self.fs.sync_dir(&self.dir)?;
        let tally = Arc::new(Mutex::new(Tally { whole: true, ..Tally::default() }));
        let entry = SegmentEntry { head, sealed: false, index: Arc::default(), tally };
        self.segments.write().insert(first_offset, entry.clone());
        Ok((entry, file))
    }

    /// Makes cursors and pointers durable. `change` may alter the manifest before it is written.
    pub(crate) fn save_manifest(&self, change: impl FnOnce(&mut Manifest)) -> io::Result<()> {
        let mut slots = self.slots.lock();
        let mut next = slots.current.clone();
        let mut cursors = self.cursors.lock();
        next.cursors.clone_from(&cursors.map);
        cursors.dirty = false;
        drop(cursors);
        next.durable_next = self.durable_next.load(SeqCst);
        next.last_stream_ns = self.last_stream_ns.load(SeqCst);
        change(&mut next);
        slots.write(next).inspect_err(|_| self.cursors.lock().dirty = true)
    }

    /// Writes the senders' tables. One at a time: an older copy must never replace a newer one.
    pub(crate) fn save_senders(&self) -> io::Result<()> {
        let _one_at_a_time = self.snapshotting.lock();
        let copy = self.senders.lock().clone();
        match copy.write(&*self.fs, &self.dir) {
            Err(error) if is_full(&error) && self.drop_spare() => copy.write(&*self.fs, &self.dir),
            other => other,
        }
    }

    /// Gives a spare's space back, so that what frees more space can be written.
    fn drop_spare(&self) -> bool {
        let spare = self.spares.lock().pop();
        spare.is_some_and(|spare| self.fs.unlink(&self.path(&spare.name)).is_ok())
    }

    /// Removes segments that nobody needs any more: no cursor, and who set the limit.
    pub(crate) fn retire(
        &self,
        hold_from: Option<u64>,
        limit: Option<u64>,
    ) -> Result<Retired, JournalError> {
        let _one_at_a_time = self.retiring.lock();
        let least = self.cursors.lock().map.values().min().copied();
        let Some(mut needed) = least.into_iter().chain(limit).min() else {
            return Ok(Retired::default());
        };
        needed = needed.min(hold_from.unwrap_or(u64::MAX)).min(self.durable_next.load(SeqCst));
        let segments = self.segments.read();
        let starts: Vec<u64> = segments.keys().copied().collect();
        let most = starts.len().saturating_sub(self.options.keep_segments_min.max(1));
        let gone: Vec<(u64, SegmentHead)> = starts
            .windows(2)
            .take(most)
            .take_while(|pair| pair[1] <= needed && segments[&pair[0]].sealed)
            .map(|pair| (pair[0], segments[&pair[0]].head.clone()))
            .collect();
        drop(segments);
        let Some((last, _)) = gone.last() else { return Ok(Retired::default()) };
        let below = starts.iter().copied().find(|s| s > last).unwrap_or(0);
        self.save_senders().map_err(JournalError::io("write", &self.path("senders.snap")))?;
        self.save_manifest(|m| m.retired_below = below)
            .map_err(JournalError::io("write", &self.path("MANIFEST")))?;
        let mut retired = Retired { first_offset: below, ..Retired::default() };
        for (first, head) in gone {
            self.segments.write().remove(&first);
            self.remove_segment(first, &head)?;
            retired.segments += 1;
            retired.bytes += head.size;
        }
        self.fs.sync_dir(&self.dir).map_err(JournalError::io("sync", &self.dir))?;
        Ok(retired)
    }

    fn remove_segment(&self, first: u64, head: &SegmentHead) -> Result<(), JournalError> {
        let path = self.path(&segment_name(first));
        let mut spares = self.spares.lock();
        if head.size == self.options.segment_size_bytes
            && spares.len() < SPARES_MAX.max(self.options.spares)
        {
            let name = format!("{:032x}.spare", head.id);
            self.fs.rename(&path, &self.path(&name)).map_err(JournalError::io("rename", &path))?;
            spares.push(Spare { name, recycled: true, size: head.size });
            return Ok(());
        }
        self.fs.unlink(&path).map_err(JournalError::io("remove", &path))
    }

    pub(crate) fn stats(&self) -> Stats {
        let c = &self.counters;
        let get = |n: &AtomicU64| n.load(SeqCst);
        let segments = self.segments.read();
        let spares = self.spares.lock().len() as u64 * self.options.segment_size_bytes;
        Stats {
            state: self.state(),
            queue_bytes: get(&self.queue_bytes),
            durable: get(&self.durable_next).checked_sub(1),
            first_offset: segments.keys().next().copied().unwrap_or(0),
            disk_bytes: segments.values().map(|s| s.head.size).sum::<u64>() + spares,
            segments: segments.len() as u64,
            groups: get(&c.groups),
            group_bytes: get(&c.group_bytes),
            records: get(&c.records),
            syncs: get(&c.syncs),
            sync_ns_sum: get(&c.sync_ns_sum),
            sync_ns_max: get(&c.sync_ns_max),
            write_errors: get(&c.write_errors),
            keeper_errors: get(&c.keeper_errors),
            torn_bytes: get(&c.torn_bytes),
            repeats: get(&c.repeats),
            producers: self.senders.lock().len() as u64,
            free_bytes: get(&c.free_bytes),
            total_bytes: get(&c.total_bytes),
            reserve_bytes: self.reserve_bytes(get(&c.total_bytes)),
            scrubbed: get(&c.scrubbed),
            holes: get(&c.holes),
        }
    }
}

/// What `retire` removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// Segments removed.
    pub segments: u64,
    /// Their size on disk, bytes.
    pub bytes: u64,
    /// Oldest offset kept now (0 when nothing was removed).
    pub first_offset: u64,
}

/// A full segment, as the sealer sees it.
pub struct SealedBlocks<'a> {
    pub(crate) file: &'a Arc<dyn File>,
    pub(crate) head: &'a SegmentHead,
    pub(crate) next_offset: u64,
}

impl SealedBlocks<'_> {
    /// First offset in the segment.
    pub fn first_offset(&self) -> u64 {
        self.head.first_offset
    }

    /// First offset after it.
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Calls `each` with every readable block in order.
    pub fn for_each(&self, mut each: impl FnMut(&Block)) -> Result<(), JournalError> {
        let bounds = Bounds { end_offset: self.next_offset, proven_next: self.next_offset };
        let name = segment_name(self.head.first_offset);
        scan(self.file, self.head, &name, &bounds, &mut |block| {
            each(&block.clone().between(0, self.next_offset));
        })
        .map_err(JournalError::io("read", Path::new(&name)))?;
        Ok(())
    }
}
