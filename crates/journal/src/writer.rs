//! The one thread that writes: takes what waits, drops repeats, writes, syncs, answers.

use crate::block::{GroupBuffer, RunHead};
use crate::clock::StreamClock;
use crate::error::AppendError;
use crate::fair::FairQueue;
use crate::fs::{File, is_full};
use crate::keeper::Chore;
use crate::piece::{Piece, encode, record_crc};
use crate::scan::push_index;
use crate::segment::{IndexEntry, SegmentHead};
use crate::senders::{Fit, Misfit, ProducerState, Stored, is_once};
use crate::shared::{Purpose, Shared, State, Tally};
use crate::told::ToldHoles;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use event::{Certainty, Durable, Envelope, Gap, GapCause, Producer, RawBatch, RecordKind};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

pub(crate) type Done = Box<dyn FnOnce(Result<Durable, AppendError>) + Send>;

/// A batch in the queue. Whatever happens to it, `done` is called exactly once.
pub(crate) struct Submission {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) producer: Option<Producer>,
    pub(crate) records: u64,
    /// Whose line it waits in.
    pub(crate) source: Arc<str>,
    pub(crate) queued_bytes: u64,
    pub(crate) done: Option<Done>,
}

impl Default for Submission {
    fn default() -> Self {
        let source = "".into();
        Self { pieces: Vec::new(), producer: None, records: 0, source, queued_bytes: 0, done: None }
    }
}

impl Submission {
    fn answer(&mut self, result: Result<Durable, AppendError>) {
        if let Some(done) = self.done.take()
            && catch_unwind(AssertUnwindSafe(|| done(result))).is_err()
        {
            tracing::error!("a completion callback panicked; the journal goes on");
        }
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        self.answer(Err(AppendError::Closed));
    }
}

pub(crate) enum Message {
    Append(Submission),
    Stop,
}

/// A tick is due this often.
const TICK_NS: u64 = 1_000_000_000;
/// How long the writer sleeps at most when nothing happens.
const IDLE: Duration = Duration::from_secs(1);
/// How often a full disk is looked at again.
const RETRY: Duration = Duration::from_millis(200);
/// Senders remembered for a batch that failed in this run; past it the journal has been failing for
/// so long that its senders have long stopped.
const BROKEN_MAX: usize = 65_536;

/// The segment being written.
pub(crate) struct Live {
    pub(crate) file: Arc<dyn File>,
    pub(crate) head: SegmentHead,
    pub(crate) pos: u64,
    pub(crate) prev_crc: u32,
    pub(crate) index: Arc<Mutex<Vec<IndexEntry>>>,
    /// What a footer has to say, when all of the segment was written in this run.
    pub(crate) tally: Arc<Mutex<Tally>>,
}

/// A batch in the current group: its offsets, for the answer.
struct Placed {
    submission: Submission,
    first: u64,
    next: u64,
    fit: Fit,
    misfit: Option<AppendError>,
}

enum Failure {
    Full,
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if is_full(&error) { Self::Full } else { Self::Io(error) }
    }
}

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Receiver<Message>,
    pub(crate) keeper: Sender<Chore>,
    /// `None` after a failed write: the next group starts a new segment.
    pub(crate) live: Option<Live>,
    pub(crate) next_offset: u64,
    pub(crate) stream: StreamClock,
    pub(crate) next_tick_ns: u64,
    pub(crate) group: GroupBuffer,
    pub(crate) waiting: FairQueue,
    /// Control records that go first in the next group.
    pub(crate) announce: Vec<RawBatch>,
    /// The list of told damage to save once those are durable.
    pub(crate) told: Option<ToldHoles>,
    /// What is being written, and so what a new segment may be made of.
    pub(crate) purpose: Purpose,
    /// Senders with a batch that failed in this run: epoch and the lowest number of it.
    pub(crate) broken: HashMap<u128, (u64, u64)>,
}

impl Writer {
    pub(crate) fn run(mut self) {
        let mut stopping = !self.announce.is_empty() && self.step();
        while !stopping {
            if self.waiting.is_empty() {
                match self.queue.recv_timeout(self.patience()) {
                    Ok(Message::Append(first)) => self.waiting.push(first),
                    Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => stopping = true,
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
            stopping |= self.step();
        }
        while !self.waiting.is_empty() {
            self.step();
        }
    }

    fn patience(&self) -> Duration {
        if self.shared.state() == State::DiskFull {
            return RETRY;
        }
        if !self.shared.options.tick {
            return IDLE;
        }
        let now = self.shared.clock.mono_ns();
        Duration::from_nanos(self.next_tick_ns.saturating_sub(now)).min(IDLE)
    }

    /// Takes in what waits and writes one group. While it syncs, the next one gathers by itself,
    /// so no delay is ever added. True when told to stop.
    pub(crate) fn step(&mut self) -> bool {
        let mut stopping = false;
        loop {
            match self.queue.try_recv() {
                Ok(Message::Append(next)) => self.waiting.push(next),
                Ok(Message::Stop) => stopping = true,
                Err(_) => break,
            }
        }
        let group = self.waiting.take(self.shared.options.group_bytes_max as u64);
        self.commit(group);
        stopping
    }

    fn commit(&mut self, waiting: Vec<Submission>) {
        self.shared.check_room();
        let queued: u64 = waiting.iter().map(|s| s.queued_bytes).sum();
        let refuse = match self.shared.state() {
            State::DiskFull => Some(AppendError::DiskFull),
            State::Faulted => Some(AppendError::Faulted),
            State::Ok | State::Closed => None,
        };
        if let Some(why) = refuse {
            for mut submission in waiting {
                self.note_failed(&submission);
                submission.answer(Err(why.clone()));
            }
            self.shared.queue_bytes.fetch_sub(queued, SeqCst);
            if matches!(why, AppendError::DiskFull) && self.is_tick_due() {
                // Time goes on on a full disk, or what is decided by time would wait for space.
                self.purpose = Purpose::Control;
                self.write(Vec::new(), 0);
                self.purpose = Purpose::Records;
            }
            return;
        }
        self.write(waiting, queued);
    }

    /// Writes one group: what the journal says itself, and what waited.
    fn write(&mut self, waiting: Vec<Submission>, queued: u64) {
        let (announced, told) = self.shared.take_announcements();
        self.announce.extend(announced);
        self.told = told.or(self.told.take());
        let (placed, stored) = self.encode_group(waiting);
        let result = self.write_group();
        let durable_next = self.shared.durable_next.load(SeqCst);
        self.next_offset = durable_next;
        self.remember(&stored, durable_next);
        if result.is_ok() && !self.announce.is_empty() {
            self.announce.clear();
            if let Some(told) = self.told.take() {
                self.shared.announced(&told);
            }
        }
        self.shared.queue_bytes.fetch_sub(queued, SeqCst);
        for one in placed {
            self.answer(one, &result, durable_next);
        }
        self.group.clear(&self.shared.pool);
    }

    /// Brings the tables up to what is durable.
    fn remember(&mut self, stored: &[Stored], durable_next: u64) {
        let mut senders = self.shared.senders.lock();
        for one in stored.iter().filter(|one| one.offset < durable_next) {
            senders.set(one);
        }
        let mut offset = self.group.blocks.first().map_or(durable_next, |b| b.head.first_offset);
        for piece in self.group.pieces() {
            if offset < durable_next {
                piece.envelopes.iter().for_each(|e| senders.heard(e, piece.wall_max_ns));
                piece
                    .ends
                    .iter()
                    .for_each(|local| senders.ended(&piece.envelopes[*local as usize]));
            }
            offset += u64::from(piece.parts);
        }
        senders.covers = durable_next;
    }

    fn answer(&mut self, mut one: Placed, result: &Result<(), AppendError>, durable_next: u64) {
        let Placed { first, next, fit, .. } = one;
        let answer = match (one.misfit.take(), result) {
            (Some(why), _) => Err(why),
            (None, Err(why)) if next > durable_next => {
                self.note_failed(&one.submission);
                Err(why.clone())
            }
            (None, _) => {
                self.note_stored(&one.submission);
                self.shared.counters.repeats.fetch_add(fit.repeats, SeqCst);
                let last = durable_next.saturating_sub(1);
                let (first, last) = match fit.stored_at {
                    _ if next > first => (first, next - 1),
                    Some(earlier) => earlier,
                    None => (last, last),
                };
                let partition = self.shared.options.partition;
                Ok(Durable { partition, first, last, repeats: fit.repeats as u32 })
            }
        };
        one.submission.answer(answer);
    }

    /// What failed is there now, if this batch reaches it; a repeat of what was stored before it does
    /// not.
    fn note_stored(&mut self, submission: &Submission) {
        let Some(p) = submission.producer else { return };
        if let Some((epoch, lowest)) = self.broken.get(&p.id).copied()
            && (epoch != p.epoch || p.base_seq + submission.records > lowest)
        {
            self.broken.remove(&p.id);
        }
    }

    /// Later batches of this sender must not overtake one that failed.
    fn note_failed(&mut self, submission: &Submission) {
        let Some(p) = submission.producer.filter(|p| !is_once(p.epoch)) else { return };
        if self.broken.len() >= BROKEN_MAX && !self.broken.contains_key(&p.id) {
            return;
        }
        let lowest = self.broken.entry(p.id).or_insert((p.epoch, p.base_seq));
        if lowest.0 != p.epoch || lowest.1 > p.base_seq {
            *lowest = (p.epoch, p.base_seq);
        }
    }

    /// Gives offsets to what is new and encodes it.
    fn encode_group(&mut self, waiting: Vec<Submission>) -> (Vec<Placed>, Vec<Stored>) {
        let (wall_ns, stream_ns) = self.stream.read(&*self.shared.clock);
        for batch in std::mem::take(&mut self.announce) {
            self.control(&batch, wall_ns, stream_ns);
            self.announce.push(batch);
        }
        self.tick_if_due(wall_ns, stream_ns);
        let mut placed = Vec::with_capacity(waiting.len());
        let mut stored = Vec::new();
        let mut ahead = HashMap::new();
        for mut submission in waiting {
            let fit = self.fit(&submission, &ahead);
            let first = self.next_offset;
            let (fit, misfit) = match fit {
                Ok(fit) => (fit, None),
                Err(why) => (Fit::default(), Some(why)),
            };
            if let Some((from, to)) = fit.missing {
                self.tell_missing(&submission, from, to, wall_ns, stream_ns);
            }
            let first = first.max(self.next_offset);
            for mut piece in std::mem::take(&mut submission.pieces) {
                if fit.repeats > piece.first_record {
                    piece.drop_records_before(fit.repeats);
                }
                if piece.parts == 0 || misfit.is_some() {
                    self.shared.pool.give(piece.body);
                    continue;
                }
                let producer = submission.producer;
                if let Some(one) = self.place(piece, producer, first, wall_ns, stream_ns) {
                    ahead.insert(one.id, one);
                    stored.push(one);
                }
            }
            placed.push(Placed { submission, first, next: self.next_offset, fit, misfit });
        }
        self.group.finish_block();
        self.shared.last_stream_ns.store(stream_ns, SeqCst);
        (placed, stored)
    }

    /// How a numbered batch meets what is stored, or why it cannot be taken.
    fn fit(
        &self,
        submission: &Submission,
        ahead: &HashMap<u128, Stored>,
    ) -> Result<Fit, AppendError> {
        let Some(p) = submission.producer else { return Ok(Fit::default()) };
        if let Some((epoch, expected_seq)) = self.broken.get(&p.id).copied()
            && epoch == p.epoch
            && p.base_seq > expected_seq
        {
            return Err(AppendError::OutOfOrder { expected_seq });
        }
        let crc_of = |record| record_crc(&submission.pieces, record);
        let senders = self.shared.senders.lock();
        senders.fit(&p, submission.records, ahead.get(&p.id), crc_of).map_err(|misfit| match misfit
        {
            Misfit::OutOfOrder { expected_seq } => AppendError::OutOfOrder { expected_seq },
            Misfit::Fork { .. } if is_once(p.epoch) => {
                AppendError::Invalid { why: "its idempotency key came with another batch" }
            }
            Misfit::Fork { seq } => AppendError::Fork { seq },
        })
    }

    /// A sender goes on at a number that leaves some out which we were told were stored.
    fn tell_missing(&mut self, of: &Submission, from: u64, to: u64, wall_ns: i64, stream_ns: i64) {
        let Some(envelope) = of.pieces.first().and_then(|p| p.envelopes.first()) else { return };
        let gap = Gap {
            protocol: Some(envelope.protocol),
            connection: envelope.connection,
            ..Gap::at(GapCause::SequenceHole, Certainty::Known, &envelope.source, wall_ns)
        };
        let batch = crate::announce::about(envelope, &gap.over(from, to));
        self.control(&batch, wall_ns, stream_ns);
    }

    fn place(
        &mut self,
        piece: Piece,
        producer: Option<Producer>,
        first_offset: u64,
        wall_ns: i64,
        stream_ns: i64,
    ) -> Option<Stored> {
        let producer =
            producer.map(|p| Producer { base_seq: p.base_seq + piece.first_record, ..p });
        let (ended, tail_crc) = (piece.ended, piece.tail_crc);
        let offset = self.next_offset;
        self.next_offset += u64::from(piece.parts);
        let run = RunHead { producer, wall_ns, stream_ns };
        self.group.add(piece, &run, offset, self.shared.options.piece_bytes_max());
        let p = producer.filter(|_| ended > 0)?;
        let state = ProducerState { epoch: p.epoch, seq: p.base_seq + ended - 1, tail_crc };
        let offset = self.next_offset - 1;
        Some(Stored { id: p.id, state, first_offset, offset, stream_ns })
    }

    /// Adds a control record of our own.
    fn control(&mut self, batch: &RawBatch, wall_ns: i64, stream_ns: i64) {
        let shared = self.shared.clone();
        let pieces = encode(batch, shared.options.piece_bytes_max(), &shared.pool);
        for piece in pieces.unwrap_or_default() {
            self.place(piece, None, 0, wall_ns, stream_ns);
        }
    }

    fn is_tick_due(&self) -> bool {
        self.shared.options.tick && self.shared.clock.mono_ns() >= self.next_tick_ns
    }

    fn tick_if_due(&mut self, wall_ns: i64, stream_ns: i64) {
        if !self.is_tick_due() {
            return;
        }
        self.next_tick_ns = self.shared.clock.mono_ns() + TICK_NS;
        let step_ns = self.stream.take_step_ns();
        let text =
            format!(r#"{{"wall_ns":{wall_ns},"stream_ns":{stream_ns},"step_ns":{step_ns}}}"#);
        let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
        batch.push_as(RecordKind::Tick, 0, wall_ns, text.as_bytes());
        self.control(&batch, wall_ns, stream_ns);
    }

    /// Writes and syncs the group. After a first failure once more, to a new segment.
    fn write_group(&mut self) -> Result<(), AppendError> {
        let (mut at_block, mut failures) = (0, 0);
        loop {
            match self.write_from(&mut at_block) {
                Ok(()) => break,
                Err(Failure::Full) => {
                    if self.shared.state() != State::DiskFull {
                        tracing::error!("no space above the reserve: the journal refuses records");
                        self.shared.set_state(State::DiskFull);
                    }
                    return Err(AppendError::DiskFull);
                }
                Err(Failure::Io(error)) => {
                    failures += 1;
                    self.shared.counters.write_errors.fetch_add(1, SeqCst);
                    tracing::error!(%error, failures, "writing the journal failed");
                    // The page cache of that file cannot be trusted from here on.
                    self.live = None;
                    self.shared.announce_fault(&error);
                    if failures == 2 {
                        self.shared.set_state(State::Faulted);
                        return Err(AppendError::Faulted);
                    }
                }
            }
        }
        if at_block > 0 {
            let counters = &self.shared.counters;
            counters.groups.fetch_add(1, SeqCst);
            counters.group_bytes.fetch_add(self.group.stored_len(), SeqCst);
        }
        Ok(())
    }

    /// Writes the blocks from number `at_block` on; moves it past what is durable.
    fn write_from(&mut self, at_block: &mut usize) -> Result<(), Failure> {
        while *at_block < self.group.blocks.len() {
            let durable_next = self.shared.durable_next.load(SeqCst);
            if self.live.is_none() {
                self.live = Some(self.roll(durable_next)?);
            }
            let Some(live) = &mut self.live else { continue };
            let (mut end_pos, mut crc, mut count) = (live.pos, live.prev_crc, 0);
            while let Some(block) = self.group.blocks.get(*at_block + count)
                && end_pos + block.head.stored_len() <= live.head.footer_pos
            {
                end_pos += block.head.stored_len();
                crc = self.group.seal_head(*at_block + count, &live.head, crc, durable_next);
                count += 1;
            }
            if count == 0 {
                if live.pos == crate::segment::HEADER_LEN {
                    // Limits on pieces and envelopes rule this out; never roll for ever.
                    return Err(io::Error::other("a block is longer than a segment").into());
                }
                // Kept until there is another: when there is none, a tick may still fit.
                self.live = Some(self.roll(durable_next)?);
                continue;
            }
            let mut slices = self.group.io_slices(*at_block..*at_block + count);
            let written = live.file.write_slices_at(&mut slices, live.pos).and_then(|()| {
                let from = self.shared.clock.mono_ns();
                live.file.sync_data()?;
                note_sync(&self.shared, self.shared.clock.mono_ns().saturating_sub(from));
                Ok(())
            });
            if let Err(error) = written {
                self.live = None;
                return Err(error.into());
            }
            let blocks = &self.group.blocks[*at_block..*at_block + count];
            let mut pos = live.pos;
            let (mut index, mut tally) = (live.index.lock(), live.tally.lock());
            let mut parts = 0;
            for block in blocks {
                push_index(&mut index, pos, &block.head);
                pos += block.head.stored_len();
                parts += u64::from(block.head.parts);
                tally.add(block, pos);
            }
            drop((index, tally));
            (live.pos, live.prev_crc) = (end_pos, crc);
            self.shared.counters.records.fetch_add(parts, SeqCst);
            self.shared.publish(blocks[count - 1].head.next_offset());
            *at_block += count;
        }
        Ok(())
    }

    /// Starts the segment whose first offset is `durable_next`; the ones before get sealed.
    fn roll(&mut self, durable_next: u64) -> Result<Live, Failure> {
        let (entry, file) = self.shared.create_segment(durable_next, self.purpose)?;
        // The keeper may be gone only when the journal closes.
        let _ = self.keeper.send(Chore::Seal);
        Ok(Live {
            file,
            pos: crate::segment::HEADER_LEN,
            prev_crc: entry.head.chain_start(),
            head: entry.head,
            index: entry.index,
            tally: entry.tally,
        })
    }
}

fn note_sync(shared: &Shared, ns: u64) {
    shared.counters.syncs.fetch_add(1, SeqCst);
    shared.counters.sync_ns_sum.fetch_add(ns, SeqCst);
    shared.counters.sync_ns_max.fetch_max(ns, SeqCst);
}
