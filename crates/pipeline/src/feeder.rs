//! Reads the journal in order, rejoins split records, cuts jobs, and sees control records first.

use crate::generation::{Generation, Generations};
use crate::headers::HeaderChanges;
use crate::in_hand::{Care, InHand};
use event::{Envelope, EventBatch, RecordKind};
use journal::{Block, JournalError, Reader};
use shape::Headers;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

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
}

/// Envelopes of records whose stream has a header in force, by the record's place; the others have
/// their own.
pub type WithHeader = Vec<(usize, Arc<Envelope>)>;

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
    },
    /// A record that was split over several parts.
    Joined(Joined),
    /// Records of a file that never were in a journal.
    Loose(Loose),
    /// Events that were shaped before: they are only matched.
    Shaped(Box<EventBatch>),
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
    /// It was larger than [`journal::RECORD_BYTES_MAX`]; the bytes are what fits.
    pub over_limit: bool,
}

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
    /// A control record.
    Control(Control),
}

/// The feeder's state between blocks.
pub struct Feeder {
    reader: Reader,
    generations: Arc<dyn Generations>,
    generation: Arc<Generation>,
    joining: Option<Joined>,
    hand: Arc<InHand>,
    /// A job begins at this offset: what was detected before and what was not never share one.
    cut: u64,
    headers: Headers,
    /// What changed in them since the last job.
    changed: HeaderChanges,
    /// Of the records since the last job.
    with: WithHeader,
}

/// Where a feeder begins.
pub struct Begin {
    /// First offset that is read.
    pub from: u64,
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
        let (cut, headers) = (begin.cut, begin.headers);
        let (with, changed) = (Vec::new(), Vec::new());
        Self { reader, generations, generation, joining: None, hand, cut, headers, changed, with }
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
        let Some(block) = self.reader.next(timeout)? else { return Ok(false) };
        let mut from = 0;
        for (index, record) in block.records().enumerate() {
            if record.offset == self.cut && from < index {
                self.job(&block, from..index, Care::None, out);
                from = index;
            }
            let whole =
                record.kind == RecordKind::Data && !record.continued && !record.continuation;
            let care = if whole { self.care(record.offset) } else { Care::None };
            if care != Care::None {
                self.job(&block, from..index, Care::None, out);
                self.header_of(index, &record);
                self.job(&block, index..index + 1, care, out);
                from = index + 1;
                continue;
            }
            if whole {
                self.header_of(index, &record);
                if index - from + 1 < JOB_RECORDS_MAX {
                    continue;
                }
            }
            let to = index + usize::from(whole);
            self.job(&block, from..to, Care::None, out);
            from = index + 1;
            if !whole {
                self.part_or_control(&record, out);
            }
        }
        self.job(&block, from..block.len(), Care::None, out);
        Ok(true)
    }

    /// Takes a record in its turn: it may be a header line, or belong below one.
    fn header_of(&mut self, index: usize, record: &journal::RecordView<'_>) {
        if let Some(envelope) = self.headers.take(record.envelope, record.bytes) {
            self.with.push((index, envelope));
        }
        self.note_changes(record.offset);
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
            let (block, from, to) = (block.clone(), range.start, range.end);
            self.send(Records::Block { block, from, to, with }, care, out);
        }
    }

    fn send(&mut self, records: Records, care: Care, out: &mut dyn FnMut(Step)) {
        let headers = std::mem::take(&mut self.changed);
        let generation = self.generation.clone();
        out(Step::Job(Job { generation, records, care, headers }));
    }

    fn part_or_control(&mut self, record: &journal::RecordView<'_>, out: &mut dyn FnMut(Step)) {
        let (offset, stream_ns, wall_ns) = (record.offset, record.stream_ns, record.wall_ns);
        match record.kind {
            RecordKind::Data => self.part(record, out),
            RecordKind::Tick => out(Step::Control(Control::Tick { offset, stream_ns, wall_ns })),
            RecordKind::Generation => {
                if let Some(generation) = self.generations.load(offset, record.bytes) {
                    self.generation = generation.clone();
                    out(Step::Control(Control::Switched { offset, generation, stream_ns }));
                }
            }
            RecordKind::Gap => out(Step::Control(Control::Gap {
                offset,
                envelope: record.envelope.clone(),
                bytes: record.bytes.to_vec(),
                stream_ns,
                wall_ns,
            })),
            // The ledger stream's own records are never in the data stream.
            RecordKind::Ledger | RecordKind::Audit => {}
            // For the journal itself, and for people who look.
            RecordKind::Lifecycle | RecordKind::ConnectionEnd => {}
        }
    }

    /// One part of a split record; the last one completes it.
    fn part(&mut self, record: &journal::RecordView<'_>, out: &mut dyn FnMut(Step)) {
        let mut joined = match self.joining.take() {
            Some(joined) if record.continuation => joined,
            _ => Joined {
                offset: record.offset,
                wall_ns: record.wall_ns,
                stream_ns: record.stream_ns,
                envelope: record.envelope.clone(),
                bytes: Vec::new(),
                over_limit: false,
            },
        };
        let room = journal::RECORD_BYTES_MAX.saturating_sub(joined.bytes.len());
        joined.over_limit |= record.bytes.len() > room;
        joined.bytes.extend_from_slice(&record.bytes[..record.bytes.len().min(room)]);
        (joined.offset, joined.stream_ns) = (record.offset, record.stream_ns);
        if record.continued {
            self.joining = Some(joined);
            return;
        }
        if let Some(envelope) = self.headers.take(&joined.envelope, &joined.bytes) {
            joined.envelope = envelope;
        }
        self.note_changes(joined.offset);
        let care = self.care(joined.offset);
        self.send(Records::Joined(joined), care, out);
    }

    /// Offset from which a replay has to start so that a record now being joined is whole again.
    pub fn joining_from(&self) -> bool {
        self.joining.is_some()
    }
}
