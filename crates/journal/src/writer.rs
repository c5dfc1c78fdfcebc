//! The one thread that writes: takes what waits, drops repeats, writes, syncs, answers.

use crate::block::{GroupBuffer, RunHead};
use crate::clock::StreamClock;
use crate::error::AppendError;
use crate::fs::{File, is_full};
use crate::keeper::Chore;
use crate::piece::{Piece, encode};
use crate::scan::push_index;
use crate::segment::{IndexEntry, SegmentHead};
use crate::shared::{Shared, State};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use event::{Durable, Envelope, Producer, RawBatch, RecordKind};
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
    pub(crate) queued_bytes: u64,
    pub(crate) done: Option<Done>,
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

/// The segment being written.
pub(crate) struct Live {
    pub(crate) file: Arc<dyn File>,
    pub(crate) head: SegmentHead,
    pub(crate) pos: u64,
    pub(crate) prev_crc: u32,
    pub(crate) index: Arc<Mutex<Vec<IndexEntry>>>,
}

/// A batch in the current group: its offsets, for the answer.
struct Placed {
    submission: Submission,
    first: u64,
    next: u64,
    repeats: u32,
}

/// A sequence number that becomes part of the table once `offset` is durable.
struct Numbered {
    id: u128,
    epoch: u64,
    seq: u64,
    offset: u64,
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
}

impl Writer {
    pub(crate) fn run(mut self) {
        let mut stopping = false;
        while !stopping {
            let mut waiting = Vec::new();
            match self.queue.recv_timeout(self.patience()) {
                Ok(Message::Append(first)) => {
                    stopping = self.gather(first, &mut waiting);
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => stopping = true,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.commit(waiting);
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

    /// Takes what waits, up to a group. While one group syncs, the next one gathers by itself, so
    /// no delay is ever added. True when told to stop.
    fn gather(&mut self, first: Submission, waiting: &mut Vec<Submission>) -> bool {
        let mut bytes = first.queued_bytes;
        waiting.push(first);
        while bytes < self.shared.options.group_bytes_max as u64 {
            match self.queue.try_recv() {
                Ok(Message::Append(next)) => {
                    bytes += next.queued_bytes;
                    waiting.push(next);
                }
                Ok(Message::Stop) => return true,
                Err(_) => break,
            }
        }
        false
    }

    fn commit(&mut self, waiting: Vec<Submission>) {
        if self.shared.state() == State::DiskFull && self.shared.prepare_spare().is_ok() {
            tracing::info!("there is space again: the journal takes records");
            self.shared.set_state(State::Ok);
        }
        let queued: u64 = waiting.iter().map(|s| s.queued_bytes).sum();
        let refuse = match self.shared.state() {
            State::DiskFull => Some(AppendError::DiskFull),
            State::Faulted => Some(AppendError::Faulted),
            State::Ok | State::Closed => None,
        };
        if let Some(why) = refuse {
            for mut submission in waiting {
                submission.answer(Err(why.clone()));
            }
            self.shared.queue_bytes.fetch_sub(queued, SeqCst);
            return;
        }
        let (placed, numbered) = self.encode_group(waiting);
        let result = self.write_group();
        let durable_next = self.shared.durable_next.load(SeqCst);
        self.next_offset = durable_next;
        {
            let mut producers = self.shared.producers.lock();
            for n in numbered.iter().filter(|n| n.offset < durable_next) {
                producers.set(n.id, n.epoch, n.seq, n.offset);
            }
            producers.covers = durable_next;
        }
        self.shared.queue_bytes.fetch_sub(queued, SeqCst);
        for mut one in placed {
            one.submission.answer(match &result {
                Err(why) if one.next > durable_next => Err(why.clone()),
                _ => {
                    self.shared.counters.repeats.fetch_add(one.repeats.into(), SeqCst);
                    let stored = one.next > one.first;
                    let last = if stored { one.next } else { durable_next }.saturating_sub(1);
                    let first = if stored { one.first } else { last };
                    let partition = self.shared.options.partition;
                    Ok(Durable { partition, first, last, repeats: one.repeats })
                }
            });
        }
    }

    /// Gives offsets to what is new and encodes it.
    fn encode_group(&mut self, waiting: Vec<Submission>) -> (Vec<Placed>, Vec<Numbered>) {
        self.group.clear();
        let (wall_ns, stream_ns) = self.stream.read(&*self.shared.clock);
        self.tick_if_due(wall_ns, stream_ns);
        let mut placed = Vec::with_capacity(waiting.len());
        let mut numbered = Vec::new();
        let mut ahead = HashMap::new();
        for mut submission in waiting {
            let first = self.next_offset;
            let fresh_from = self.fresh_from(&submission, &ahead);
            for mut piece in std::mem::take(&mut submission.pieces) {
                if fresh_from > piece.first_record {
                    piece.drop_records_before(fresh_from);
                }
                if piece.parts > 0 {
                    self.place(&piece, submission.producer, wall_ns, stream_ns, &mut numbered);
                }
            }
            if let Some(p) = submission.producer
                && fresh_from < submission.records
            {
                ahead.insert(p.id, (p.epoch, p.base_seq + submission.records - 1));
            }
            let repeats = fresh_from as u32;
            placed.push(Placed { submission, first, next: self.next_offset, repeats });
        }
        self.group.finish_block();
        self.shared.last_stream_ns.store(stream_ns, SeqCst);
        (placed, numbered)
    }

    /// How many records at the front of the batch are stored already.
    fn fresh_from(&self, submission: &Submission, ahead: &HashMap<u128, (u64, u64)>) -> u64 {
        let Some(p) = submission.producer else { return 0 };
        let known = ahead.get(&p.id).copied().or_else(|| self.shared.producers.lock().last(p.id));
        match known {
            Some((epoch, last)) if epoch == p.epoch && last >= p.base_seq => {
                (last - p.base_seq).saturating_add(1).min(submission.records)
            }
            _ => 0,
        }
    }

    fn place(
        &mut self,
        piece: &Piece,
        producer: Option<Producer>,
        wall_ns: i64,
        stream_ns: i64,
        numbered: &mut Vec<Numbered>,
    ) {
        let producer =
            producer.map(|p| Producer { base_seq: p.base_seq + piece.first_record, ..p });
        let run = RunHead { producer, wall_ns, stream_ns };
        let block_max = self.shared.options.piece_bytes_max();
        self.group.add(piece, &run, self.next_offset, block_max);
        self.next_offset += u64::from(piece.parts);
        if let Some(p) = producer
            && let Some(seq) = (p.base_seq + piece.records_ended()).checked_sub(1)
            && seq >= p.base_seq
        {
            let offset = self.next_offset - 1;
            numbered.push(Numbered { id: p.id, epoch: p.epoch, seq, offset });
        }
    }

    fn tick_if_due(&mut self, wall_ns: i64, stream_ns: i64) {
        let now = self.shared.clock.mono_ns();
        if !self.shared.options.tick || now < self.next_tick_ns {
            return;
        }
        self.next_tick_ns = now + TICK_NS;
        let step_ns = self.stream.take_step_ns();
        let text =
            format!(r#"{{"wall_ns":{wall_ns},"stream_ns":{stream_ns},"step_ns":{step_ns}}}"#);
        let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
        batch.push_as(RecordKind::Tick, 0, wall_ns, text.as_bytes());
        for piece in encode(&batch, self.shared.options.piece_bytes_max()).unwrap_or_default() {
            self.place(&piece, None, wall_ns, stream_ns, &mut Vec::new());
        }
    }

    /// Writes and syncs the group. After a first failure once more, to a new segment.
    fn write_group(&mut self) -> Result<(), AppendError> {
        let (mut at_block, mut failures) = (0, 0);
        loop {
            match self.write_from(&mut at_block) {
                Ok(()) => break,
                Err(Failure::Full) => {
                    tracing::error!("no space above the reserve: the journal refuses records");
                    self.shared.set_state(State::DiskFull);
                    return Err(AppendError::DiskFull);
                }
                Err(Failure::Io(error)) => {
                    failures += 1;
                    self.shared.counters.write_errors.fetch_add(1, SeqCst);
                    tracing::error!(%error, failures, "writing the journal failed");
                    // The page cache of that file cannot be trusted from here on.
                    self.live = None;
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
            counters.group_bytes.fetch_add(self.group.bytes.len() as u64, SeqCst);
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
                self.live = None;
                continue;
            }
            let blocks = &self.group.blocks[*at_block..*at_block + count];
            let bytes = &self.group.bytes[blocks[0].start..blocks[count - 1].end];
            let written = live.file.write_at(bytes, live.pos).and_then(|()| {
                let from = self.shared.clock.mono_ns();
                live.file.sync_data()?;
                note_sync(&self.shared, self.shared.clock.mono_ns().saturating_sub(from));
                Ok(())
            });
            if let Err(error) = written {
                self.live = None;
                return Err(error.into());
            }
            let mut pos = live.pos;
            let mut index = live.index.lock();
            for block in blocks {
                push_index(&mut index, pos, &block.head);
                pos += block.head.stored_len();
            }
            drop(index);
            (live.pos, live.prev_crc) = (end_pos, crc);
            let parts: u64 = blocks.iter().map(|b| u64::from(b.head.parts)).sum();
            self.shared.counters.records.fetch_add(parts, SeqCst);
            self.shared.publish(blocks[count - 1].head.next_offset());
            *at_block += count;
        }
        Ok(())
    }

    /// Starts the segment whose first offset is `durable_next`; the ones before get sealed.
    fn roll(&mut self, durable_next: u64) -> Result<Live, Failure> {
        let (entry, file) = self.shared.create_segment(durable_next)?;
        // The keeper may be gone only when the journal closes.
        let _ = self.keeper.send(Chore::Seal);
        Ok(Live {
            file,
            pos: crate::segment::HEADER_LEN,
            prev_crc: entry.head.chain_start(),
            head: entry.head,
            index: entry.index,
        })
    }
}

fn note_sync(shared: &Shared, ns: u64) {
    shared.counters.syncs.fetch_add(1, SeqCst);
    shared.counters.sync_ns_sum.fetch_add(ns, SeqCst);
    shared.counters.sync_ns_max.fetch_max(ns, SeqCst);
}
