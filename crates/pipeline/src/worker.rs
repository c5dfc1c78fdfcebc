//! Pure functions of (record, generation): shape the records of a job and match every rule.

use crate::feeder::{Instead, Job, Loose, Records, WithHeader};
use crate::generation::Generation;
use crate::in_hand::Care;
use detect::correlate::Hit;
use event::{Envelope, EventBatch, EventId, Marks, Match, Room, RowHead};
use journal::Block;
use shape::joins::Whole;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use watch::Receipt;

/// See [`crate::in_hand`].
const SET_ASIDE: &str = "the process ended several times with this record in hand";

/// What an event says whose parser panicked.
pub(crate) const CRASHED: &str = "the parser crashed on this record";

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
    /// What the job's records changed about the headers of their streams.
    pub headers: crate::headers::HeaderChanges,
    /// What the job's records changed about the parts that wait for others.
    pub(crate) joins: crate::joins::JoinChanges,
    /// The control record at `next_offset - 1` follows: nothing begins between them.
    pub(crate) is_before_control: bool,
}

/// A worker's buffers, kept from job to job.
#[derive(Default)]
pub struct Worker {
    shape: shape::Scratch,
    matching: detect::Scratch,
    /// What rows needed last.
    room: Room,
    /// The records at hand ended the process before: they are kept raw.
    set_aside: bool,
    /// The bytes at hand are several records'; whether some are missing.
    joined: Option<bool>,
}

impl Worker {
    /// Works one job off. Never fails: a record that crashes a parser becomes a raw event that says
    /// so, an event that crashes the matcher is marked and has no matches.
    pub fn work(&mut self, job: Job) -> Done {
        self.set_aside = job.care == Care::SetAside;
        let generation = job.generation;
        let mut done = Done {
            batch: EventBatch::with_room(
                generation.dict.clone(),
                job.records.len(),
                job.records.size_bytes(),
                self.room,
            ),
            matches: Vec::new(),
            hits: Vec::new(),
            records: 0,
            read: job.read,
            next_offset: 0,
            stream_ns: 0,
            wall_ns: 0,
            headers: job.headers,
            joins: job.joins,
            is_before_control: false,
            generation,
        };
        match job.records {
            Records::Block { block, from, to, with, instead } => {
                self.block(&mut done, &block, from..to, (with, instead));
            }
            Records::Joined(joined) => {
                let place = Place {
                    offset: joined.offset,
                    wall_ns: joined.wall_ns,
                    stream_ns: joined.stream_ns,
                    envelope: &joined.envelope,
                    sub: 0,
                };
                self.shape(&mut done, &place, &joined.bytes, joined.unfit);
            }
            Records::Waited(waited) => {
                (done.stream_ns, done.wall_ns) = (waited.stream_ns, waited.wall_ns);
                self.wholes(&mut done, waited.offset, &waited.wholes);
                (done.next_offset, done.is_before_control) = (waited.offset + 1, true);
            }
            Records::Loose(loose) => self.loose(&mut done, &loose),
            Records::Shaped(batch) => done.batch = *batch,
        }
        self.room = self.room.after(&done.batch);
        self.detect(&mut done);
        done
    }

    fn block(
        &mut self,
        done: &mut Done,
        block: &Block,
        range: Range<usize>,
        (with, instead): (WithHeader, Instead),
    ) {
        let (mut with, mut instead) = (with.iter().peekable(), instead.iter().peekable());
        for index in range {
            let Some(record) = block.record(index) else { continue };
            let headed = with.next_if(|(at, _)| *at == index);
            let place = Place {
                offset: record.offset,
                wall_ns: record.wall_ns,
                stream_ns: record.stream_ns,
                envelope: headed.map_or(record.envelope, |(_, envelope)| envelope),
                sub: 0,
            };
            match instead.next_if(|(at, _)| *at == index) {
                None => self.shape(done, &place, record.bytes, None),
                Some((_, wholes)) => {
                    self.wholes(done, record.offset, wholes);
                    place.pass(done);
                }
            }
        }
    }

    fn loose(&mut self, done: &mut Done, loose: &Loose) {
        let mut with = loose.with.iter().peekable();
        let mut instead = loose.instead.iter().peekable();
        for (index, (offset, range)) in loose.records.iter().enumerate() {
            let headed = with.next_if(|(at, _)| *at == index);
            let place = Place {
                offset: *offset,
                wall_ns: loose.wall_ns,
                stream_ns: loose.wall_ns,
                envelope: headed.map_or(&loose.envelope, |(_, envelope)| envelope),
                sub: 0,
            };
            match instead.next_if(|(at, _)| *at == index) {
                None => {
                    let bytes = loose.bytes.get(range.clone()).unwrap_or_default();
                    self.shape(done, &place, bytes, None);
                }
                Some((_, wholes)) => self.wholes(done, *offset, wholes),
            }
        }
        // Behind the records: what the end of a file left.
        for (_, wholes) in instead {
            for whole in wholes {
                self.wholes(done, whole.last, std::slice::from_ref(whole));
            }
        }
    }

    /// Events of several records, all at one place: they are told apart by `sub`.
    fn wholes(&mut self, done: &mut Done, offset: u64, wholes: &[Whole]) {
        let mut sub = 0;
        for whole in wholes {
            let place = Place {
                offset,
                wall_ns: whole.wall_ns,
                stream_ns: whole.stream_ns,
                envelope: &whole.envelope,
                sub,
            };
            self.joined = Some(whole.is_short);
            self.shape(done, &place, &whole.bytes, None);
            self.joined = None;
            let last = done.batch.len().checked_sub(1);
            sub = last.map_or(0, |at| done.batch.row(at).id().sub.saturating_add(1));
        }
    }

    fn shape(
        &mut self,
        done: &mut Done,
        place: &Place<'_>,
        bytes: &[u8],
        unfit: Option<&'static str>,
    ) {
        place.pass(done);
        if let Some(why) = unfit.or(self.set_aside.then_some(SET_ASIDE)) {
            return keep_raw(&done.generation, place.head(), bytes, (why, true), &mut done.batch);
        }
        let rows_before = done.batch.len();
        // Borrowed, not cloned: a count that all workers change for every record would be the one
        // thing they share.
        let (generation, batch, scratch) = (&done.generation, &mut done.batch, &mut self.shape);
        let joined = self.joined;
        let shaped = catch_unwind(AssertUnwindSafe(|| {
            match joined {
                None => generation.shaper.shape(place.head(), bytes, batch, scratch),
                Some(short) => {
                    generation.shaper.shape_joined(place.head(), (bytes, short), batch, scratch)
                }
            };
        }));
        if shaped.is_err() {
            // Rows that were finished before the panic stay; the buffers start afresh.
            self.shape = shape::Scratch::default();
            if done.batch.len() == rows_before {
                keep_raw(&done.generation, place.head(), bytes, (CRASHED, false), &mut done.batch);
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
        let (rules, extractor) = (done.generation.rules.clone(), done.generation.extractor.clone());
        let (batch, scratch) = (&done.batch, &mut self.matching);
        let mut failed = guarded(batch.len(), &mut done.matches, &mut |rows, out| match out {
            Some(out) => rules.match_rows(batch, rows, scratch, out),
            None => *scratch = detect::Scratch::new(),
        });
        let matches = &done.matches;
        let lost = guarded(matches.len(), &mut done.hits, &mut |range, out| {
            if let Some(out) = out {
                extractor.extract(batch, &matches[range], out);
            }
        });
        if !lost.is_empty() {
            done.hits.sort_by_key(|h| (h.id, h.spec, h.slot));
            failed.extend(lost.iter().map(|at| matches[*at].row as usize));
        }
        if let Some(first) = failed.first() {
            let (rows, event) = (failed.len(), batch.row(*first).id());
            tracing::error!(rows, %event, "detection crashed on these rows; others are not affected");
        }
        for row in failed {
            done.batch.mark(row, Marks::MATCH_FAILED);
        }
        for found in &done.matches {
            done.batch.mark(found.row as usize, Marks::MATCHED);
        }
        done.batch.settle();
    }
}

/// Works on some items and appends what comes of them; with `None` it starts over with clean buffers.
type Work<'w, T> = dyn FnMut(Range<usize>, Option<&mut Vec<T>>) + 'w;

/// Works on `count` items at once; if that panics, on one after the other, so that a crash costs the
/// results of its own item and no others. Out: the items that crashed. `work` is called with `None`
/// to start over with clean buffers.
fn guarded<T>(count: usize, results: &mut Vec<T>, work: &mut Work<'_, T>) -> Vec<usize> {
    let mut attempt = |items: Range<usize>, results: &mut Vec<T>| {
        let before = results.len();
        let done = catch_unwind(AssertUnwindSafe(|| work(items, Some(&mut *results)))).is_ok();
        if !done {
            // What a crash leaves behind is not to be trusted: neither buffers nor half a result.
            results.truncate(before);
            work(0..0, None);
        }
        done
    };
    if attempt(0..count, results) {
        return Vec::new();
    }
    (0..count).filter(|at| !attempt(*at..*at + 1, results)).collect()
}

struct Place<'a> {
    offset: u64,
    wall_ns: i64,
    stream_ns: i64,
    envelope: &'a Arc<Envelope>,
    sub: u32,
}

impl Place<'_> {
    /// The job has come past this place.
    fn pass(&self, done: &mut Done) {
        done.records += 1;
        done.next_offset = self.offset + 1;
        (done.stream_ns, done.wall_ns) = (self.stream_ns, self.wall_ns);
    }

    fn head(&self) -> RowHead {
        RowHead {
            id: EventId { sub: self.sub, ..EventId::at(self.offset) },
            received_ns: self.wall_ns,
            stream_ns: self.stream_ns,
            envelope: self.envelope.clone(),
        }
    }
}

/// Keeps a record that is not shaped. If redacting crashes, too, its bytes stay in the journal only.
pub(crate) fn keep_raw(
    generation: &Generation,
    head: RowHead,
    bytes: &[u8],
    why: (&str, bool),
    batch: &mut EventBatch,
) {
    let shaper = &generation.shaper;
    let kept = catch_unwind(AssertUnwindSafe(|| shaper.keep_raw(head.clone(), bytes, why, batch)));
    if kept.is_err() {
        shaper.keep_raw(head, b"", why, batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule `r` of two matches rows that `r + 1` divides; rows in `bad` crash after the first rule.
    fn run(count: usize, bad: &[usize]) -> (Vec<(u32, u32)>, Vec<usize>, usize) {
        let (mut matches, mut resets) = (Vec::new(), 0);
        let failed = guarded(count, &mut matches, &mut |rows, out| {
            let Some(out) = out else {
                resets += 1;
                return;
            };
            for row in rows {
                for rule in (0..2).filter(|rule| row % (rule + 1) == 0) {
                    out.push(Match { row: row as u32, rule: rule as u32 });
                    assert!(!bad.contains(&row), "row {row} crashes");
                }
            }
        });
        (matches.iter().map(|m| (m.row, m.rule)).collect(), failed, resets)
    }

    /// Scenario: no, one, several and all rows crash the matcher in the middle of their rules.
    /// Guarantees: every other row keeps all its matches, in order; a crashed row has none and is
    /// named; buffers start over after every crash.
    #[test]
    fn a_crash_costs_the_matches_of_its_own_row_and_no_others() {
        let all = [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (3, 0), (4, 0), (4, 1)];
        for bad in [&[][..], &[2], &[0, 3], &[0, 1, 2, 3, 4]] {
            let (matches, failed, resets) = run(5, bad);
            let wanted: Vec<_> =
                all.into_iter().filter(|(row, _)| !bad.contains(&(*row as usize))).collect();
            assert_eq!((matches, &failed[..]), (wanted, bad));
            assert_eq!(resets, if bad.is_empty() { 0 } else { bad.len() + 1 });
        }
    }
}
