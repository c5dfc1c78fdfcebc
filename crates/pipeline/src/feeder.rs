//! Reads the journal in order, rejoins split records, joins records that are one event, cuts jobs,
//! and sees control records first.
//!
//! A joined event stands at the place of the record that completed it. One that waited in vain stands
//! at the place of what ended the wait: the tick, or the part that took its room. So offsets ascend
//! and nothing else waits.

use crate::generation::{Generation, Generations};
use crate::headers::HeaderChanges;
use crate::in_hand::{Care, InHand};
use crate::joins::JoinChanges;
use event::{Envelope, EventBatch, RecordKind};
use journal::{Block, JournalError, Reader};
use shape::joins::{Multiline, Part, Whole};
use shape::{Headers, Joins};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use watch::{Receipt, Receipts};

/// Most records of one job: about 2 ms of work at 8 us a record, so that an alert does not wait for
/// a large batch, and a batch is still large enough to share its costs.
pub const JOB_RECORDS_MAX: usize = 256;

/// A piece of work for one worker.
pub struct Job {
    /// What to work with.
    pub generation: Arc<Generation>,
    /// The records.
    pub records: Records,
    /// How they have to be worked on.
    pub care: Care,
    /// What its records changed about the headers of their streams.
    pub headers: HeaderChanges,
    /// What its records changed about the parts that wait for others.
    pub joins: JoinChanges,
    /// The feeder's own count of them, which nobody after it touches.
    pub read: Vec<Receipt>,
}

/// Envelopes of records whose stream has a header in force, by the record's place; the others have
/// their own.
pub type WithHeader = Vec<(usize, Arc<Envelope>)>;

/// What takes the place of records that are parts, by the record's place: nothing while others are
/// awaited, else the joined events.
pub type Instead = Vec<(usize, Vec<Whole>)>;

impl Job {
    /// The offsets of its records, from the first to after the last.
    pub fn offsets(&self) -> Range<u64> {
        match &self.records {
            Records::Block { block, from, to, .. } => {
                let at = |index: usize| block.record(index).map(|r| r.offset);
                let first = at(*from).unwrap_or_default();
                first..at(to.saturating_sub(1)).map_or(first, |last| last + 1)
            }
            Records::Joined(joined) => joined.offset..joined.offset + 1,
            Records::Loose(loose) => {
                let first = loose.records.first().map_or(0, |(offset, _)| *offset);
                first..loose.records.last().map_or(first, |(last, _)| last + 1)
            }
            Records::Waited(waited) => waited.offset..waited.offset + 1,
            Records::Shaped(_) => 0..0,
        }
    }
}

/// Records of a job: a piece of a block, or one that had to be rejoined.
pub enum Records {
    /// Records `from..to` of the block.
    Block {
        /// The block.
        block: Block,
        /// First record.
        from: usize,
        /// After the last record.
        to: usize,
        /// Those with a header, by their index in the block.
        with: WithHeader,
        /// Those that are parts, by their index in the block.
        instead: Instead,
    },
    /// A record that was split over several parts.
    Joined(Joined),
    /// Events that were waited for long enough; the control record at their place follows.
    Waited(Waited),
    /// Records of a file that never were in a journal.
    Loose(Loose),
    /// Events that were shaped before: they are only matched.
    Shaped(Box<EventBatch>),
}

impl Records {
    /// About how many rows they become; 0 if they are rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Block { from, to, .. } => to.saturating_sub(*from),
            Self::Joined(_) => 1,
            Self::Waited(waited) => waited.wholes.len(),
            Self::Loose(loose) => loose.records.len(),
            Self::Shaped(_) => 0,
        }
    }

    /// About how many bytes they have; 0 if they are rows.
    pub fn size_bytes(&self) -> usize {
        let of_wholes = |wholes: &[Whole]| wholes.iter().map(|whole| whole.bytes.len()).sum();
        match self {
            Self::Block { block, from, to, .. } => {
                let records = (*from..*to).filter_map(|index| block.record(index));
                records.map(|record| record.bytes.len()).sum()
            }
            Self::Joined(joined) => joined.bytes.len(),
            Self::Waited(waited) => of_wholes(&waited.wholes),
            Self::Loose(loose) => loose.records.iter().map(|(_, range)| range.len()).sum(),
            Self::Shaped(_) => 0,
        }
    }

    /// Whether no rows are to be made.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Records cut out of a file's bytes.
pub struct Loose {
    /// The bytes.
    pub bytes: Arc<Vec<u8>>,
    /// Offset that each record gets, and where it is in `bytes`.
    pub records: Vec<(u64, std::ops::Range<usize>)>,
    /// When they are taken to be received, ns.
    pub wall_ns: i64,
    /// Where they are from.
    pub envelope: Arc<Envelope>,
    /// Those with a header, by their place in `records`.
    pub with: WithHeader,
    /// Those that are parts, by their place in `records`.
    pub instead: Instead,
}

/// Events whose other parts did not come in time.
pub struct Waited {
    /// The tick's offset: theirs, too.
    pub offset: u64,
    /// Stream time of the tick.
    pub stream_ns: i64,
    /// Wall clock of the tick.
    pub wall_ns: i64,
    /// The events.
    pub wholes: Vec<Whole>,
}

/// A rejoined record; it has the offset and times of its last part.
pub struct Joined {
    /// Offset of the last part.
    pub offset: u64,
    /// Wall clock at receipt.
    pub wall_ns: i64,
    /// Stream time.
    pub stream_ns: i64,
    /// Sender.
    pub envelope: Arc<Envelope>,
    /// All bytes.
    pub bytes: Vec<u8>,
    /// Parts it came in.
    pub parts: u64,
    /// Why it is kept as it is and not parsed: it was larger than [`journal::RECORD_BYTES_MAX`] and
    /// the bytes are what fits, or its last parts cannot be read.
    pub unfit: Option<&'static str>,
}

/// See [`Joined::unfit`].
const OVER_LIMIT: &str = "record over the size limit";
/// See [`Joined::unfit`].
const CUT_SHORT: &str = "the rest of the record cannot be read from the journal";

/// A control record, in its place between the jobs.
pub enum Control {
    /// A second passed.
    Tick {
        /// Its offset.
        offset: u64,
        /// Stream time.
        stream_ns: i64,
        /// Wall clock.
        wall_ns: i64,
    },
    /// Rules, packs or tables changed.
    Switched {
        /// Its offset.
        offset: u64,
        /// In force from here on.
        generation: Arc<Generation>,
        /// Stream time.
        stream_ns: i64,
    },
    /// Loss, known or possible.
    Gap {
        /// Its offset.
        offset: u64,
        /// Who lost it.
        envelope: Arc<Envelope>,
        /// What is known of it (JSON).
        bytes: Vec<u8>,
        /// Stream time.
        stream_ns: i64,
        /// Wall clock.
        wall_ns: i64,
    },
}

/// What the feeder hands on.
pub enum Step {
    /// Work.
    Job(Job),
    /// A control record; and, when it stands between the parts of a record, the first part's offset:
    /// whoever goes on behind the control record has to read from there.
    Control(Control, Option<u64>),
}

/// The parts of a record that is not whole yet.
#[derive(Default)]
struct Parts {
    joined: Option<Joined>,
    first_offset: u64,
}

impl Parts {
    /// Where the record being joined begins.
    fn begun_at(&self) -> Option<u64> {
        self.joined.as_ref().map(|_| self.first_offset)
    }

    /// Takes one part; the last one completes the record. A first part while another record is not
    /// whole takes its place: that one's group failed, and its sender was told no.
    fn take(&mut self, part: &journal::RecordView<'_>) -> Option<Joined> {
        let mut joined = match self.joined.take() {
            Some(joined) if part.continuation => joined,
            _ => {
                self.first_offset = part.offset;
                Joined {
                    offset: part.offset,
                    wall_ns: part.wall_ns,
                    stream_ns: part.stream_ns,
                    envelope: part.envelope.clone(),
                    bytes: Vec::new(),
                    parts: 0,
                    unfit: None,
                }
            }
        };
        let room = journal::RECORD_BYTES_MAX.saturating_sub(joined.bytes.len());
        if part.bytes.len() > room {
            joined.unfit = Some(OVER_LIMIT);
        }
        joined.bytes.extend_from_slice(&part.bytes[..part.bytes.len().min(room)]);
        (joined.offset, joined.stream_ns) = (part.offset, part.stream_ns);
        joined.parts += 1;
        if !part.continued {
            return Some(joined);
        }
        self.joined = Some(joined);
        None
    }
}

/// The feeder's state between blocks.
pub struct Feeder {
    reader: Reader,
    generations: Arc<dyn Generations>,
    generation: Arc<Generation>,
    parts: Parts,
    /// What was read and is in no job yet.
    read: Receipts,
    hand: Arc<InHand>,
    /// A job begins at this offset: what was detected before and what was not never share one.
    cut: u64,
    headers: Headers,
    /// What changed in them since the last job.
    changed: HeaderChanges,
    /// Of the records since the last job.
    with: WithHeader,
    /// Of the records since the last job.
    instead: Instead,
    joins: Joins,
    /// What changed in them since the last job.
    join_changes: JoinChanges,
    /// Records below are read only if they were held here, see [`Begin`].
    from: u64,
    held: Vec<u64>,
}

/// Where a feeder begins.
pub struct Begin {
    /// First offset whose events are wanted.
    pub from: u64,
    /// Records before it that waited for others there, ascending: the reader begins with the first.
    pub held: Vec<u64>,
    /// A job begins at this offset if it comes by.
    pub cut: u64,
    /// The headers in force at `from`.
    pub headers: Headers,
}

impl Feeder {
    /// Starts at the reader's place with the generation in force there.
    pub fn new(
        reader: Reader,
        generations: Arc<dyn Generations>,
        begin: Begin,
        hand: Arc<InHand>,
    ) -> Self {
        let generation = generations.at(begin.from);
        let (parts, read) = (Parts::default(), Receipts::default());
        let (cut, headers) = (begin.cut, begin.headers);
        let (from, held) = (begin.from, begin.held);
        Self {
            reader,
            generations,
            generation,
            parts,
            read,
            hand,
            cut,
            headers,
            changed: Vec::new(),
            with: Vec::new(),
            instead: Vec::new(),
            joins: Joins::default(),
            join_changes: Vec::new(),
            from,
            held,
        }
    }

    /// The generation in force at the current place.
    pub fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }

    /// Waits up to `timeout` for durable records and gives their steps to `out`, in order.
    /// Returns false when nothing came.
    pub fn next(
        &mut self,
        timeout: Duration,
        out: &mut dyn FnMut(Step),
    ) -> Result<bool, JournalError> {
        let block = match self.reader.next(timeout) {
            Ok(Some(block)) => block,
            Ok(None) => return Ok(false),
            Err(error) => {
                // The next part may be what cannot be read: what there is of the record is kept.
                if let Some(joined) = self.parts.joined.take() {
                    self.joined(Joined { unfit: Some(CUT_SHORT), ..joined }, out);
                }
                return Err(error);
            }
        };
        let mut from = 0;
        for (index, record) in block.records().enumerate() {
            if record.offset < self.from {
                self.held_before(&record);
                from = index + 1;
                continue;
            }
            if record.offset == self.cut && from < index {
                self.job(&block, from..index, Care::None, out);
                from = index;
            }
            let whole =
                record.kind == RecordKind::Data && !record.continued && !record.continuation;
            if !whole {
                self.job(&block, from..index, Care::None, out);
                from = index + 1;
                self.part_or_control(&record, out);
                continue;
            }
            self.parts.joined = None;
            let care = self.care(record.offset);
            if care != Care::None {
                self.job(&block, from..index, Care::None, out);
                self.whole(index, &record);
                self.job(&block, index..index + 1, care, out);
                from = index + 1;
                continue;
            }
            self.whole(index, &record);
            if index - from + 1 == JOB_RECORDS_MAX {
                self.job(&block, from..index + 1, Care::None, out);
                from = index + 1;
            }
        }
        self.job(&block, from..block.len(), Care::None, out);
        Ok(true)
    }

    /// Takes a record in its turn: it is counted, and may be a part, a header line, or belong below
    /// one.
    fn whole(&mut self, index: usize, record: &journal::RecordView<'_>) {
        self.read.read(&record.envelope.source, record.wall_ns, 1);
        let mut wholes = Vec::new();
        let lines = lines_of(&self.generation, record.envelope);
        if let Some(taken) = self.joins.push(&part_of(record), lines, &mut wholes) {
            if let Some(wall_ns) = taken.joined_wall_ns {
                self.read.joined(&record.envelope.source, wall_ns);
            }
            self.instead.push((index, wholes));
            self.note_joins(record.offset);
            return;
        }
        if let Some(envelope) = self.headers.take(record.envelope, record.bytes) {
            self.with.push((index, envelope));
        }
        self.note_changes(record.offset);
    }

    /// A record from before the beginning: it waited for others there, or is of no interest.
    fn held_before(&mut self, record: &journal::RecordView<'_>) {
        if record.kind == RecordKind::Data && self.held.binary_search(&record.offset).is_ok() {
            let lines = lines_of(&self.generation, record.envelope);
            self.joins.restore(&part_of(record), lines);
        }
    }

    /// What has waited until a tick goes first: the tick closes windows.
    fn waited(&mut self, tick: &journal::RecordView<'_>, out: &mut dyn FnMut(Step)) {
        let mut wholes = Vec::new();
        self.joins.expire(tick.stream_ns, &mut wholes);
        if wholes.is_empty() {
            return;
        }
        self.note_joins(tick.offset);
        let (offset, stream_ns, wall_ns) = (tick.offset, tick.stream_ns, tick.wall_ns);
        let care = self.care(offset);
        self.send(Records::Waited(Waited { offset, stream_ns, wall_ns, wholes }), care, out);
    }

    fn note_joins(&mut self, offset: u64) {
        let changes = self.joins.changes().into_iter();
        self.join_changes.extend(changes.map(|change| (offset + 1, change)));
    }

    fn note_changes(&mut self, offset: u64) {
        let changes = self.headers.changes().into_iter();
        self.changed.extend(changes.map(|change| (offset + 1, change)));
    }

    fn care(&self, offset: u64) -> Care {
        if self.hand.is_clear() { Care::None } else { self.hand.care(offset) }
    }

    fn job(&mut self, block: &Block, range: Range<usize>, care: Care, out: &mut dyn FnMut(Step)) {
        if !range.is_empty() {
            let with = std::mem::take(&mut self.with);
            let instead = std::mem::take(&mut self.instead);
            let (block, from, to) = (block.clone(), range.start, range.end);
            self.send(Records::Block { block, from, to, with, instead }, care, out);
        }
    }

    fn joined(&mut self, mut joined: Joined, out: &mut dyn FnMut(Step)) {
        self.read.read(&joined.envelope.source, joined.wall_ns, joined.parts);
        if let Some(envelope) = self.headers.take(&joined.envelope, &joined.bytes) {
            joined.envelope = envelope;
        }
        self.note_changes(joined.offset);
        let care = self.care(joined.offset);
        self.send(Records::Joined(joined), care, out);
    }

    fn send(&mut self, records: Records, care: Care, out: &mut dyn FnMut(Step)) {
        let (headers, read) = (std::mem::take(&mut self.changed), self.read.take());
        let generation = self.generation.clone();
        let joins = std::mem::take(&mut self.join_changes);
        out(Step::Job(Job { generation, records, care, headers, joins, read }));
    }

    fn part_or_control(&mut self, record: &journal::RecordView<'_>, out: &mut dyn FnMut(Step)) {
        let (offset, stream_ns, wall_ns) = (record.offset, record.stream_ns, record.wall_ns);
        let begun_at = self.parts.begun_at();
        match record.kind {
            RecordKind::Data => {
                if let Some(joined) = self.parts.take(record) {
                    self.joined(joined, out);
                }
            }
            RecordKind::Tick => {
                self.waited(record, out);
                out(Step::Control(Control::Tick { offset, stream_ns, wall_ns }, begun_at));
            }
            RecordKind::Generation => {
                if let Some(generation) = self.generations.load(offset, record.bytes) {
                    self.generation = generation.clone();
                    let switched = Control::Switched { offset, generation, stream_ns };
                    out(Step::Control(switched, begun_at));
                }
            }
            RecordKind::Gap => {
                let (envelope, bytes) = (record.envelope.clone(), record.bytes.to_vec());
                let gap = Control::Gap { offset, envelope, bytes, stream_ns, wall_ns };
                out(Step::Control(gap, begun_at));
            }
            // The ledger stream's own records are never in the data stream.
            RecordKind::Ledger | RecordKind::Audit => {}
            // For the journal itself, and for people who look.
            RecordKind::Lifecycle | RecordKind::ConnectionEnd => {}
        }
    }
}

fn part_of<'a>(record: &journal::RecordView<'a>) -> Part<'a> {
    Part {
        offset: record.offset,
        wall_ns: record.wall_ns,
        stream_ns: record.stream_ns,
        envelope: record.envelope,
        bytes: record.bytes,
    }
}

fn lines_of<'g>(generation: &'g Generation, envelope: &Envelope) -> Option<&'g Multiline> {
    let lines = &generation.settings.multiline;
    if lines.is_empty() { None } else { lines.get(&*envelope.source) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Protocol;

    fn part<'a>(
        offset: u64,
        envelope: &'a Arc<Envelope>,
        bytes: &'a [u8],
        (continuation, continued): (bool, bool),
    ) -> journal::RecordView<'a> {
        journal::RecordView {
            offset,
            kind: RecordKind::Data,
            envelope,
            envelope_bytes: b"",
            wall_ns: 60,
            stream_ns: offset as i64,
            continued,
            continuation,
            producer: None,
            bytes,
        }
    }

    #[test]
    fn parts_become_one_record_and_say_where_it_begins() {
        let envelope = Arc::new(Envelope::of("a", Protocol::Http));
        let mut parts = Parts::default();
        assert!(parts.take(&part(7, &envelope, b"never ", (false, true))).is_none());
        // Its group failed; the sender sends it again.
        assert!(parts.take(&part(9, &envelope, b"one ", (false, true))).is_none());
        assert_eq!(parts.begun_at(), Some(9));
        assert!(parts.take(&part(11, &envelope, b"two ", (true, true))).is_none());
        assert_eq!(parts.begun_at(), Some(9));
        let joined = parts.take(&part(12, &envelope, b"three", (true, false))).unwrap();
        assert_eq!((joined.offset, joined.parts, joined.unfit), (12, 3, None));
        assert_eq!((joined.bytes.as_slice(), parts.begun_at()), (&b"one two three"[..], None));
    }
}
