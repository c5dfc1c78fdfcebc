//! The handle: opens a folder, starts the two threads, and gives out appenders and readers.

use crate::announce;
use crate::clock::{Clock, StreamClock};
use crate::error::{AppendError, JournalError, Rejected};
use crate::fs::Fs;
use crate::keeper::{Chore, Keeper, farewell};
use crate::manifest::{CURSOR_NAME_BYTES_MAX, CURSORS_MAX, Slots};
use crate::piece::{Pool, encode};
use crate::reader::Reader;
use crate::recovery::{Found, FoundLive, Recovery, recover};
use crate::sealed::{self, SealedRoot};
use crate::segment::segment_name;
use crate::senders::{self, ProducerState};
use crate::shared::{Cursors, Options, Purpose, Retired, SegmentEntry, Shared, State, Stats};
use crate::writer::{Live, Message, Submission, Writer};
use crossbeam_channel::{Sender, bounded, unbounded};
use event::{Durable, RawBatch};
use parking_lot::{Condvar, Mutex, RwLock};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a batch costs in the queue besides its bytes.
const SUBMISSION_BYTES: u64 = 256;

/// An open journal. Share it behind an `Arc`; dropping the last handle closes it.
pub struct Journal {
    pub(crate) shared: Arc<Shared>,
    queue: Sender<Message>,
    chores: Sender<Chore>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    hold: Mutex<Option<u64>>,
    _lock: Box<dyn Send + Sync>,
}

impl Journal {
    /// Opens the journal in `dir`, creating it if need be; repairs the tail after a crash.
    pub fn open(
        dir: impl AsRef<Path>,
        options: Options,
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Recovery), JournalError> {
        let (journal, steps, recovery) = Self::prepare(dir.as_ref(), options, fs, clock)?;
        let Steps { writer, keeper } = steps;
        let guard = journal.shared.clone();
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let named = std::thread::Builder::new().name(name.into());
            named.spawn(run).map_err(JournalError::io("start a thread for", &journal.shared.dir))
        };
        let writer = spawn(
            "journal-writer",
            Box::new(move || {
                precedence::go_first();
                let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.run()));
                if run.is_err() {
                    guard.set_state(State::Faulted);
                }
            }),
        )?;
        let keeper = spawn("journal-keeper", Box::new(move || keeper.run()))?;
        *journal.threads.lock() = vec![writer, keeper];
        Ok((journal, recovery))
    }

    /// Opens the journal without threads: its work is done in [`Steps`], called one by one. For
    /// simulations, where every call to the disk has its place in one order.
    pub fn open_stepped(
        dir: impl AsRef<Path>,
        options: Options,
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Steps, Recovery), JournalError> {
        Self::prepare(dir.as_ref(), options, fs, clock)
    }

    fn prepare(
        dir: &Path,
        options: Options,
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Steps, Recovery), JournalError> {
        options.check()?;
        fs.create_dir(dir).map_err(JournalError::io("create", dir))?;
        let lock = fs.lock(&dir.join("LOCK"), true).map_err(|e| match e.kind() {
            std::io::ErrorKind::WouldBlock => JournalError::InUse { dir: dir.into() },
            _ => JournalError::io("lock", dir)(e),
        })?;
        let mut found = recover(&*fs, dir, options.segment_size_bytes)?;
        let stream = StreamClock::start(&*clock, found.last_stream_ns);
        let connections = found.senders.take_connections();
        let told = std::mem::take(&mut found.told);
        let (shared, live, recovery, sealed_log) = assemble(dir, options, fs, clock, found)?;
        let news = shared.news_of(&recovery.holes, told);
        let announce = match shared.options.tick {
            true => announce::opening(&recovery, &news, &connections, shared.clock.wall_ns()),
            false => Vec::new(),
        };
        let (queue, queued) = unbounded();
        let (chores, chores_due) = unbounded();
        let writer = Writer {
            queue: queued,
            keeper: chores.clone(),
            live: Some(live),
            next_offset: shared.durable_next.load(SeqCst),
            stream,
            next_tick_ns: shared.clock.mono_ns(),
            group: crate::block::GroupBuffer::default(),
            waiting: crate::fair::FairQueue::default(),
            announce,
            told: None,
            purpose: Purpose::Records,
            broken: std::collections::HashMap::new(),
            shared: shared.clone(),
        };
        let keeper = Keeper::new(shared.clone(), chores_due, sealed_log);
        let _ = chores.send(Chore::Seal);
        let (threads, hold) = (Mutex::new(Vec::new()), Mutex::new(None));
        let journal = Self { shared, queue, chores, threads, hold, _lock: lock };
        Ok((journal, Steps { writer, keeper }, recovery))
    }

    /// A handle for handing in batches.
    pub fn appender(&self) -> Appender {
        Appender { shared: self.shared.clone(), queue: self.queue.clone() }
    }

    /// Last durable offset; `None` while nothing was ever written.
    pub fn durable(&self) -> Option<u64> {
        self.shared.durable_next.load(SeqCst).checked_sub(1)
    }

    /// Waits until `offset` is durable; false when time is up or the journal closed before.
    pub fn wait_durable(&self, offset: u64, timeout: Duration) -> bool {
        self.shared.wait_durable(offset, timeout)
    }

    /// A reader that starts at `from_offset`.
    pub fn reader(&self, from_offset: u64) -> Reader {
        Reader::new(self.shared.clone(), from_offset)
    }

    /// Where the consumer `name` goes on, if it is registered.
    pub fn cursor(&self, name: &str) -> Option<u64> {
        self.shared.cursors.lock().map.get(name).copied()
    }

    /// All cursors by name.
    pub fn cursors(&self) -> Vec<(String, u64)> {
        self.shared.cursors.lock().map.iter().map(|(n, o)| (n.clone(), *o)).collect()
    }

    /// Registers or moves a cursor: everything below `next_offset` is done with. Durable within
    /// a second, at `checkpoint`, and at close.
    pub fn set_cursor(&self, name: &str, next_offset: u64) -> Result<(), JournalError> {
        let wrong = |why| Err(JournalError::Cursor { name: name.chars().take(80).collect(), why });
        if name.is_empty() || name.len() > CURSOR_NAME_BYTES_MAX {
            return wrong("a name has 1 to 64 bytes");
        }
        let mut cursors = self.shared.cursors.lock();
        if !cursors.map.contains_key(name) && cursors.map.len() >= CURSORS_MAX {
            return wrong("there are 256 cursors already; drop one");
        }
        if cursors.map.get(name) != Some(&next_offset) {
            cursors.map.insert(name.to_owned(), next_offset);
            cursors.dirty = true;
        }
        Ok(())
    }

    /// Forgets a cursor, so that it no longer keeps segments. False when there was none.
    pub fn drop_cursor(&self, name: &str) -> bool {
        let mut cursors = self.shared.cursors.lock();
        let known = cursors.map.remove(name).is_some();
        cursors.dirty |= known;
        known
    }

    /// Makes all cursors durable now.
    pub fn checkpoint(&self) -> Result<(), JournalError> {
        self.shared
            .save_manifest(|_| ())
            .map_err(JournalError::io("write", &self.shared.path("MANIFEST")))
    }

    /// Keeps everything from `offset` on whatever the cursors say (legal hold); `None` lifts it. When
    /// this returns, no retirement from before it is still at work.
    pub fn set_hold(&self, offset: Option<u64>) {
        *self.hold.lock() = offset;
    }

    /// Removes sealed segments that every cursor has passed. Without any cursor nothing goes.
    pub fn retire(&self) -> Result<Retired, JournalError> {
        self.retire_to(None)
    }

    /// The same, of segments that end at or before `limit`; with one, no cursor is needed.
    pub(crate) fn retire_to(&self, limit: Option<u64>) -> Result<Retired, JournalError> {
        // Held until the end: whoever sets one meanwhile waits.
        let hold = self.hold.lock();
        self.shared.retire(*hold, limit)
    }

    /// Whether checking sealed segments again waits: it is background work.
    pub fn hold_scrub(&self, wait: bool) {
        self.shared.counters.scrub_waits.store(wait, SeqCst);
    }

    /// How far a numbering sender has come: the run, number and CRC of its last durable record.
    pub fn producer(&self, id: u128) -> Option<ProducerState> {
        self.shared.senders.lock().last(id)
    }

    /// Roots of all sealed segments, oldest first.
    pub fn sealed_roots(&self) -> Result<Vec<SealedRoot>, JournalError> {
        sealed::read(&*self.shared.fs, &self.shared.dir)
            .map_err(JournalError::io("read", &self.shared.path("roots.log")))
    }

    /// Gauges and counters.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Refuses new batches, finishes those in the queue, and writes the last manifest.
    pub fn close(self) -> Result<(), JournalError> {
        self.shut()
    }

    /// The same for a journal that others still hold: they can read, and what they append is
    /// refused. The second time it does nothing.
    ///
    /// # Errors
    /// When the last manifest cannot be written.
    pub fn shut(&self) -> Result<(), JournalError> {
        let mut threads = self.threads.lock();
        if threads.is_empty() {
            return Ok(());
        }
        let was = self.shared.state();
        self.shared.set_state(State::Closed);
        let _ = self.queue.send(Message::Stop);
        let mut joined = threads.drain(..);
        let writer = joined.next().map(JoinHandle::join);
        let _ = self.chores.send(Chore::Stop);
        let keeper = joined.next().map(JoinHandle::join);
        drop(self.shared.durable_lock.lock());
        self.shared.durable_signal.notify_all();
        let fine = matches!((writer, keeper), (Some(Ok(())), Some(Ok(()))));
        farewell(&self.shared, fine && was != State::Faulted)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(error) = self.shut() {
            tracing::warn!(%error, "the journal was not closed cleanly; the next start repairs it");
        }
    }
}

/// The work of a journal that was opened without threads.
pub struct Steps {
    writer: Writer,
    keeper: Keeper,
}

impl Steps {
    /// Writes what was appended so far: one group.
    pub fn write(&mut self) {
        self.writer.step();
    }

    /// Seals, makes a spare, saves the manifest, checks a sealed segment again: what the other
    /// thread does within a second.
    pub fn keep(&mut self) {
        self.keeper.step();
    }

    /// Writes all that waits and closes.
    ///
    /// # Errors
    /// When the last manifest cannot be written.
    pub fn close(mut self, journal: Journal) -> Result<(), JournalError> {
        journal.shared.set_state(State::Closed);
        self.writer.step();
        while !self.writer.waiting.is_empty() {
            self.writer.step();
        }
        farewell(&journal.shared, true)
    }
}

type Assembled = (Arc<Shared>, Live, Recovery, sealed::SealedLog);

fn assemble(
    dir: &Path,
    options: Options,
    fs: Arc<dyn Fs>,
    clock: Arc<dyn Clock>,
    mut found: Found,
) -> Result<Assembled, JournalError> {
    let io = |what| JournalError::io(what, dir);
    found.manifest.opens += 1;
    found.manifest.crashes += u64::from(!found.recovery.clean);
    if found.manifest.journal_id == 0 {
        let mut random = [0; 16];
        clock.random(&mut random).map_err(io("make an id for"))?;
        found.manifest.journal_id = u128::from_le_bytes(random);
    }
    let entry = |(first, (head, sealed)): (u64, (_, bool))| {
        (first, SegmentEntry { head, sealed, index: Arc::default(), tally: Arc::default() })
    };
    let cursors = Cursors { map: found.manifest.cursors.clone(), dirty: false };
    let torn = found.manifest.torn_bytes;
    let slots = Slots::open(&*fs, dir, found.manifest).map_err(io("write the manifest of"))?;
    let shared = Arc::new(Shared {
        dir: dir.into(),
        fs,
        clock,
        options,
        state: AtomicU8::new(State::Ok as u8),
        taken_ns: AtomicU64::new(0),
        reserve_segments: AtomicU32::new(0),
        durable_next: AtomicU64::new(found.next_offset),
        durable_lock: Mutex::new(()),
        durable_signal: Condvar::new(),
        queue_bytes: AtomicU64::new(0),
        last_stream_ns: AtomicI64::new(found.last_stream_ns),
        segments: RwLock::new(found.segments.into_iter().map(entry).collect()),
        senders: Mutex::new(found.senders),
        announcements: Mutex::default(),
        pool: Pool::default(),
        cursors: Mutex::new(cursors),
        slots: Mutex::new(slots),
        spares: Mutex::new(found.spares),
        retiring: Mutex::new(()),
        snapshotting: Mutex::new(()),
        counters: crate::shared::Counters::default(),
    });
    shared.counters.torn_bytes.store(torn, SeqCst);
    let live = live_segment(&shared, found.live, found.next_offset)?;
    shared.save_manifest(|m| m.clean = false).map_err(io("write the manifest of"))?;
    shared.fs.sync_dir(dir).map_err(io("sync"))?;
    Ok((shared, live, found.recovery, found.sealed_log))
}

/// The segment that is written to: the one that recovery found, or a new one.
fn live_segment(
    shared: &Shared,
    found: Option<FoundLive>,
    next_offset: u64,
) -> Result<Live, JournalError> {
    if let Some((first, file, scan)) = found {
        // What a dead process wrote may still be in memory only.
        file.sync_data().map_err(JournalError::io("sync", &shared.dir))?;
        let segments = shared.segments.read();
        let entry = segments.get(&first).ok_or(JournalError::Closed)?;
        *entry.index.lock() = scan.index;
        return Ok(Live {
            file,
            head: entry.head.clone(),
            pos: scan.end_pos,
            prev_crc: scan.prev_crc,
            index: entry.index.clone(),
            tally: entry.tally.clone(),
        });
    }
    let path = shared.path(&segment_name(next_offset));
    let made = shared.create_segment(next_offset, Purpose::Records);
    let (entry, file) = made.map_err(JournalError::io("create", &path))?;
    let prev_crc = entry.head.chain_start();
    let pos = crate::segment::HEADER_LEN;
    Ok(Live { file, pos, prev_crc, head: entry.head, index: entry.index, tally: entry.tally })
}

/// Hands batches to the journal. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Appender {
    shared: Arc<Shared>,
    queue: Sender<Message>,
}

impl Appender {
    /// Queues a batch. `done` is called exactly once, in the writer's thread, after the batch is
    /// durable or when it will not be: it must be quick. When the batch is refused here, it comes
    /// back and `done` is not called.
    pub fn append(
        &self,
        batch: RawBatch,
        done: impl FnOnce(Result<Durable, AppendError>) + Send + 'static,
    ) -> Result<(), Rejected> {
        let cost = batch.bytes.len() as u64 + batch.records.len() as u64 * 16 + SUBMISSION_BYTES;
        let pieces = match self.admit(&batch, cost) {
            Ok(pieces) => pieces,
            Err(why) => return Err(Rejected { batch: Box::new(batch), why }),
        };
        let submission = Submission {
            source: source_of(&batch),
            pieces,
            producer: senders::of_batch(&batch),
            records: batch.records.len() as u64,
            queued_bytes: cost,
            done: Some(Box::new(done)),
        };
        if let Err(unsent) = self.queue.send(Message::Append(submission)) {
            self.shared.queue_bytes.fetch_sub(cost, SeqCst);
            if let Message::Append(mut submission) = unsent.0 {
                submission.done = None;
            }
            return Err(Rejected { batch: Box::new(batch), why: AppendError::Closed });
        }
        Ok(())
    }

    /// As [`Journal::producer`].
    pub fn producer(&self, id: u128) -> Option<ProducerState> {
        self.shared.senders.lock().last(id)
    }

    /// Appends and waits until the batch is durable.
    pub fn append_wait(&self, batch: RawBatch) -> Result<Durable, AppendError> {
        let (tell, told) = bounded(1);
        self.append(batch, move |result| {
            let _ = tell.send(result);
        })
        .map_err(|rejected| rejected.why)?;
        told.recv().unwrap_or(Err(AppendError::Closed))
    }

    fn admit(&self, batch: &RawBatch, cost: u64) -> Result<Vec<crate::piece::Piece>, AppendError> {
        match self.shared.state() {
            State::Ok => {}
            State::DiskFull => return Err(AppendError::DiskFull),
            State::Faulted => return Err(AppendError::Faulted),
            State::Closed => return Err(AppendError::Closed),
        }
        let before = self.shared.queue_bytes.fetch_add(cost, SeqCst);
        let back = |why| {
            self.shared.queue_bytes.fetch_sub(cost, SeqCst);
            why
        };
        // An empty queue takes a batch of any size, or it could never be stored.
        if before > 0 && before + cost > self.shared.options.queue_bytes_max {
            return Err(back(AppendError::Overloaded { queue_bytes: before }));
        }
        encode(batch, self.shared.options.piece_bytes_max(), &self.shared.pool).map_err(back)
    }
}

/// Whose line a batch waits in.
fn source_of(batch: &RawBatch) -> Arc<str> {
    batch.envelopes.first().map_or_else(|| "".into(), |envelope| envelope.source.clone())
}
