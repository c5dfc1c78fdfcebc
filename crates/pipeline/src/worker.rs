//! Pure functions of (record, generation): shape the records of a job and match every rule.

use crate::feeder::{Job, Records};
use crate::generation::Generation;
use crate::in_hand::Care;
use detect::correlate::Hit;
use event::{Envelope, EventBatch, EventId, Kind, Marks, Match, RowHead};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use watch::Receipt;

/// See [`crate::in_hand`].
const SET_ASIDE: &str = "the process ended several times with this record in hand";

/// An event older than this at receipt was read in bulk: its alerts are queued, nobody is paged. A
/// day: a machine that comes back after a night reports what happened to it; an archive does not.
pub const BACKFILL_AFTER_NS: i64 = 86_400 * event::time::SECOND_NS;

/// What a worker made of a job.
pub struct Done {
    /// Its generation.
    pub generation: Arc<Generation>,
    /// The events.
    pub batch: EventBatch,
    /// Which rule matched which row, in (row, rule) order.
    pub matches: Vec<Match>,
    /// What correlations count.
    pub hits: Vec<Hit>,
    /// Number of records in the job.
    pub records: u64,
    /// What the feeder counted when it read them.
    pub read: Vec<Receipt>,
    /// Offset after the last record.
    pub next_offset: u64,
    /// Stream time of the last record.
    pub stream_ns: i64,
    /// Wall clock of the last record.
    pub wall_ns: i64,
}

/// A worker's buffers, kept from job to job.
#[derive(Default)]
pub struct Worker {
    shape: shape::Scratch,
    matching: detect::Scratch,
    /// The records at hand ended the process before: they are kept raw.
    set_aside: bool,
}

impl Worker {
    /// Works one job off. Never fails: a row that panics becomes a raw event that says so.
    pub fn work(&mut self, job: Job) -> Done {
        self.set_aside = job.care == Care::SetAside;
        let generation = job.generation;
        let mut done = Done {
            batch: EventBatch::new(generation.dict.clone()),
            matches: Vec::new(),
            hits: Vec::new(),
            records: 0,
            read: job.read,
            next_offset: 0,
            stream_ns: 0,
            wall_ns: 0,
            generation,
        };
        match job.records {
            Records::Block { block, from, to } => {
                for record in (from..to).filter_map(|i| block.record(i)) {
                    let place = Place {
                        offset: record.offset,
                        wall_ns: record.wall_ns,
                        stream_ns: record.stream_ns,
                        envelope: record.envelope,
                    };
                    self.shape(&mut done, &place, record.bytes, None);
                }
            }
            Records::Joined(joined) => {
                let place = Place {
                    offset: joined.offset,
                    wall_ns: joined.wall_ns,
                    stream_ns: joined.stream_ns,
                    envelope: &joined.envelope,
                };
                self.shape(&mut done, &place, &joined.bytes, joined.unfit);
            }
            Records::Loose(loose) => {
                for (offset, range) in loose.records {
                    let place = Place {
                        offset,
                        wall_ns: loose.wall_ns,
                        stream_ns: loose.wall_ns,
                        envelope: &loose.envelope,
                    };
                    let bytes = loose.bytes.get(range).unwrap_or_default();
                    self.shape(&mut done, &place, bytes, None);
                }
            }
        }
        self.detect(&mut done);
        done
    }

    fn shape(
        &mut self,
        done: &mut Done,
        place: &Place<'_>,
        bytes: &[u8],
        unfit: Option<&'static str>,
    ) {
        done.records += 1;
        done.next_offset = place.offset + 1;
        (done.stream_ns, done.wall_ns) = (place.stream_ns, place.wall_ns);
        if let Some(why) = unfit.or(self.set_aside.then_some(SET_ASIDE)) {
            return raw_event(&mut done.batch, place, bytes, why, true);
        }
        let rows_before = done.batch.len();
        // Borrowed, not cloned: a count that all workers change for every record would be the one
        // thing they share.
        let (generation, batch, scratch) = (&done.generation, &mut done.batch, &mut self.shape);
        let shaped = catch_unwind(AssertUnwindSafe(|| {
            generation.shaper.shape(place.head(), bytes, batch, scratch);
        }));
        if shaped.is_err() {
            // Rows that were finished before the panic stay; the buffers start afresh.
            self.shape = shape::Scratch::default();
            if done.batch.len() == rows_before {
                raw_event(
                    &mut done.batch,
                    place,
                    bytes,
                    "the parser crashed on this record",
                    false,
                );
            }
        }
    }

    fn detect(&mut self, done: &mut Done) {
        for index in 0..done.batch.len() {
            let row = done.batch.row(index);
            // A clock that was set forward makes nothing old: stream time follows it slowly.
            let received_ns = row.received_ns().min(row.stream_ns());
            if received_ns.saturating_sub(row.event_ns()) > BACKFILL_AFTER_NS {
                done.batch.mark(index, Marks::BACKFILL);
            }
        }
        let rules = done.generation.rules.clone();
        let (batch, scratch, matches) = (&done.batch, &mut self.matching, &mut done.matches);
        let matched = catch_unwind(AssertUnwindSafe(|| {
            rules.match_batch(batch, scratch, matches);
        }));
        if matched.is_err() {
            // The batch's rows are stored without their matches; the operator is told which.
            self.matching = detect::Scratch::default();
            done.matches.clear();
            tracing::error!(next_offset = done.next_offset, "matching crashed on a batch");
        }
        done.generation.extractor.extract(&done.batch, &done.matches, &mut done.hits);
        for found in &done.matches {
            done.batch.mark(found.row as usize, Marks::MATCHED);
        }
    }
}

struct Place<'a> {
    offset: u64,
    wall_ns: i64,
    stream_ns: i64,
    envelope: &'a Arc<Envelope>,
}

impl Place<'_> {
    fn head(&self) -> RowHead {
        RowHead {
            id: EventId::at(self.offset),
            received_ns: self.wall_ns,
            stream_ns: self.stream_ns,
            envelope: self.envelope.clone(),
        }
    }
}

fn raw_event(batch: &mut EventBatch, place: &Place<'_>, bytes: &[u8], why: &str, limit: bool) {
    let mut row = batch.begin(place.head(), bytes);
    let (message, tags) = (row.field("error.message"), row.field("tags"));
    row.push(message, Kind::Str, why.as_bytes());
    row.push(tags, Kind::Str, b"parse_failed");
    row.mark(Marks::PARSE_FAILED);
    if limit {
        row.mark(Marks::QUARANTINED);
    }
    row.finish();
}
