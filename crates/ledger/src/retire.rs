//! The oldest part of the stream goes when everything in it is past its time.
//!
//! ```text
//! sealed segments that are old --replayed--> draft index: all as it was at `next`
//!                                                |  rows that live on
//!                                                v
//! stream: ... | carried | carried | retired {range, roots, what was carried} | ...
//!                                                |  durable, applied
//!                                                v
//!                                 the files below `next` are removed
//! ```
//! The record that ends it names what goes, so [`crate::check_retired`] takes exactly that for gone in
//! order and anything else for a loss. A crash before that record leaves rows that mean nothing; one
//! after it leaves files that the next call, or the journal's own start, removes. What lives on is
//! copied each time, so nothing goes while that would be more than half of what it frees.

use crate::carry::{self, Ending, Horizon, Tally};
use crate::index;
use crate::ledger::{INDEX_FILE, Ledger, LedgerError, apply_block, remove_index};
use crate::record::{Actor, CarriedRow, LedgerRecord, RetiredRange, RetiredSegment};
use event::{Envelope, RawBatch, RecordKind};
use journal::{Journal, JournalError, Rejoin, SealedRoot};
use rusqlite::Connection;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use trust::Hash;

/// What goes frees at least so many times what is written for it.
const GAIN_MIN: u64 = 2;
/// Most segments that go at once: what goes is taken out of the index while alerts wait.
pub(crate) const SEGMENTS_MAX: usize = 8;
/// Bytes of the disk that a byte of the stream needs while it goes: its part of the draft (4.7), what
/// taking it out of the index writes ahead (5), and what lives on (measured with alerts of 1.2 KB).
const INDEX_FACTOR: u64 = 12;
/// Bytes of carried rows that are made durable together.
const CARRY_BYTES: usize = 1 << 20;

/// What became of a retirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retirement {
    /// Nothing that is old enough is passed by every reader.
    Nothing,
    /// Too much of what is old would live on: it waits until less is open.
    Postponed {
        /// Bytes of what would live on, or more.
        carried_bytes: u64,
        /// Bytes that would be freed.
        freed_bytes: u64,
    },
    /// It was recorded, and went unless something holds the stream (a backup): then it goes later.
    Done {
        /// What went.
        range: Box<RetiredRange>,
        /// Alerts from it that live on.
        alerts: u64,
    },
}

impl Ledger {
    /// Lets go of the oldest segments in which everything is older than `keep_from_ns` (stream time) and
    /// that every reader has passed, at most eight of them. Open alerts and what anything
    /// happened to since live on. `may_go` is asked last, when nobody can change anything any more: rows
    /// that were copied by then mean nothing.
    ///
    /// # Errors
    /// When the stream or the index fails, when there is no room for what lives on, and when a record of
    /// what is old cannot be read. Nothing is lost then, and the next call tries again.
    pub fn retire(
        &self,
        keep_from_ns: i64,
        actor: &Actor,
        may_go: &dyn Fn() -> bool,
    ) -> Result<Retirement, LedgerError> {
        let _alone = self.retiring.lock();
        let before = self.last_retired()?;
        // A crash, or a backup, may have come between the record and the files.
        if let Some((_, range)) = &before {
            self.journal.retire_below(range.next)?;
        }
        let begin = before.as_ref().map_or(0, |(_, range)| range.next);
        let (going, old_below) = self.going(begin, keep_from_ns)?;
        let Some(next) = going.last().map(|segment| segment.next_offset) else {
            return Ok(Retirement::Nothing);
        };
        let horizon = Horizon { keep_from_ns, old_below, next };
        let bytes = |offset| self.journal.behind(offset).bytes;
        let freed_bytes = bytes(begin).saturating_sub(bytes(next));
        self.check_room(freed_bytes * INDEX_FACTOR)?;
        let draft = Draft::make(&self.journal, &self.dir, before.as_ref(), next)?;
        let range = range_of(before.as_ref().map(|(_, range)| range), &going, &draft);
        draft.check_whole(&range)?;
        self.check_roots(&going)?;
        let living = carry::living(&self.queries.lock(), &horizon)?;
        let (rows, carried_bytes) = draft.rows(&living, next, freed_bytes / GAIN_MIN)?;
        if carried_bytes * GAIN_MIN > freed_bytes {
            return Ok(Retirement::Postponed { carried_bytes, freed_bytes });
        }
        let mut carrier = Carrier::new(&self.journal, actor.at_ns);
        rows.iter().try_for_each(|row| carrier.push(row))?;
        // From here on nobody changes an alert: one that was closed may have been opened meanwhile.
        let mut writer = self.writer.lock();
        self.catch_up(&mut writer)?;
        let done: HashSet<String> = living.into_iter().collect();
        for id in carry::living(&writer.db, &horizon)? {
            if !done.contains(&id) {
                draft.alert(&id, next)?.iter().try_for_each(|row| carrier.push(row))?;
            }
        }
        let carried = carrier.finish()?;
        drop(draft);
        if !may_go() {
            return Ok(Retirement::Nothing);
        }
        let (alerts, range) = (carried.alerts, Box::new(range));
        let record = LedgerRecord::Retired { range: range.clone(), carried, actor: actor.clone() };
        self.submit_with(&mut writer, vec![record], actor.at_ns)?;
        drop(writer);
        self.journal.retire_below(next)?;
        Ok(Retirement::Done { range, alerts })
    }

    /// The newest retirement that was recorded, with the offset of its record.
    fn last_retired(&self) -> Result<Option<(u64, RetiredRange)>, LedgerError> {
        let mut writer = self.writer.lock();
        self.catch_up(&mut writer)?;
        Ok(index::last_retired(&writer.db)?)
    }

    /// The segments that may go: old, passed by every reader, the last of them not ending in the midst
    /// of a record. And the offset below which everything is old.
    fn going(&self, begin: u64, keep_from_ns: i64) -> Result<(Vec<SealedRoot>, u64), LedgerError> {
        let passed = self.journal.cursors().iter().map(|(_, next)| *next).min();
        let mut going = self.journal.sealed_before(keep_from_ns)?;
        let old_below = going.last().map_or(begin, |segment| segment.next_offset);
        let old_below = self.journal.first_since(old_below, keep_from_ns);
        going.retain(|s| s.first_offset >= begin && passed.is_none_or(|p| s.next_offset <= p));
        going.truncate(SEGMENTS_MAX);
        while let Some(last) = going.last()
            && self.journal.splits_record(last.next_offset)
        {
            going.pop();
        }
        Ok((going, old_below))
    }

    /// What goes takes with it what `verify` would hold against its root: that is done here for the last
    /// time. A segment that was sealed without a root has nothing to be held against; `verify` told so.
    fn check_roots(&self, going: &[SealedRoot]) -> Result<(), LedgerError> {
        for sealed in going.iter().filter(|sealed| sealed.root != [0; 32]) {
            let (first, last) = (sealed.first_offset, sealed.next_offset.saturating_sub(1));
            if self.journal.root_now(first)?.is_some_and(|root| root != sealed.root) {
                return Err(LedgerError::OldPartChanged { first, last });
            }
        }
        Ok(())
    }

    /// What is written must not take the space that is kept ready for alerts on a full disk.
    fn check_room(&self, written_bytes: u64) -> Result<(), LedgerError> {
        let stats = self.journal.stats();
        if stats.total_bytes == 0 {
            // The journal has not looked yet; a write finds out.
            return Ok(());
        }
        let segment_bytes = crate::journal_options().segment_size_bytes;
        let needed_bytes = written_bytes + 2 * segment_bytes + stats.reserve_bytes;
        match stats.free_bytes >= needed_bytes {
            true => Ok(()),
            false => Err(LedgerError::NoRoom { needed_bytes, free_bytes: stats.free_bytes }),
        }
    }
}

/// The range with the chain over its segments.
fn range_of(before: Option<&RetiredRange>, going: &[SealedRoot], draft: &Draft) -> RetiredRange {
    let of = |s: &SealedRoot| RetiredSegment {
        first: s.first_offset,
        next: s.next_offset,
        root: Hash(s.root),
    };
    let segments: Vec<RetiredSegment> = going.iter().map(of).collect();
    let head_before = before.map_or(Hash::default(), |range| range.head);
    RetiredRange {
        first: segments.first().map_or(0, |s| s.first),
        next: segments.last().map_or(0, |s| s.next),
        records: draft.records.clone(),
        newest_ns: draft.newest_ns,
        head: RetiredRange::head_of(head_before, &segments),
        head_before,
        segments,
    }
}

/// The index as it was at the offset below which everything goes: made in a file of its own, and removed.
struct Draft {
    db: Connection,
    path: PathBuf,
    /// Records in the range by type.
    records: std::collections::BTreeMap<String, u64>,
    /// Offsets in the range that cannot be read.
    missing: u64,
    newest_ns: i64,
}

impl Draft {
    fn make(
        journal: &Journal,
        dir: &Path,
        before: Option<&(u64, RetiredRange)>,
        next: u64,
    ) -> Result<Self, LedgerError> {
        let path = dir.join(format!("{INDEX_FILE}.draft"));
        remove_index(&path)?;
        let db = index::open(&path)?;
        let (records, missing, newest_ns) = Default::default();
        let mut draft = Self { db, path, records, missing, newest_ns };
        let begin = before.map_or(0, |(_, range)| range.next);
        if let Some((offset, _)) = before {
            let ending = carry::ending_at(journal, *offset)?.filter(|e| e.range.next == begin);
            let ending = ending.ok_or(LedgerError::NotCarried { next: begin })?;
            if !carry::load(journal, &mut draft.db, &ending)? {
                return Err(LedgerError::NotCarried { next: begin });
            }
        }
        draft.replay(journal, begin, next)?;
        Ok(draft)
    }

    /// What cannot be read would be lost in silence: the index may be the last that knows it, and
    /// `verify` could not tell the damage any more.
    fn check_whole(&self, range: &RetiredRange) -> Result<(), LedgerError> {
        let unreadable = self.records.get("unreadable").copied().unwrap_or(0) + self.missing;
        match unreadable == 0 && range.agrees() {
            true => Ok(()),
            false => Err(LedgerError::OldPartDamaged { next: range.next, unreadable }),
        }
    }

    fn replay(&mut self, journal: &Journal, begin: u64, next: u64) -> Result<(), LedgerError> {
        let (mut reader, mut rejoin) = (journal.reader(begin), Rejoin::default());
        while reader.next_offset() < next {
            let block = match reader.next(Duration::ZERO) {
                Ok(Some(block)) => block,
                Ok(None) => break,
                Err(JournalError::Corrupt { from_offset, to_offset, .. }) => {
                    self.missing += to_offset.min(next).saturating_sub(from_offset);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let newest = block.records().map(|view| view.stream_ns).max();
            self.newest_ns = self.newest_ns.max(newest.unwrap_or(0));
            let records = &mut self.records;
            apply_block(&mut self.db, &mut rejoin, &block, &mut |_, read| {
                let name = read.map_or("unreadable", |(record, _)| record.name());
                *records.entry(name.to_owned()).or_default() += 1;
            })?;
        }
        Ok(())
    }

    /// All that lives on, and its bytes; beyond `limit` bytes no more is read.
    fn rows(
        &self,
        living: &[String],
        next: u64,
        limit: u64,
    ) -> Result<(Vec<CarriedRow>, u64), LedgerError> {
        let (mut all, mut bytes) = (Vec::new(), 0);
        let mut take = |rows: Vec<CarriedRow>| -> Result<bool, LedgerError> {
            for row in rows {
                bytes += index::json(&row)?.len() as u64;
                all.push(row);
            }
            Ok(bytes <= limit)
        };
        let mut goes_on = take(carry::ageless(&self.db)?)?;
        for id in living {
            if !goes_on {
                break;
            }
            goes_on = take(self.alert(id, next)?)?;
        }
        Ok((all, bytes))
    }

    /// An alert as it was, with all that was known of it.
    fn alert(&self, id: &str, next: u64) -> Result<Vec<CarriedRow>, LedgerError> {
        let rows = carry::rows_of(&self.db, id, next)?;
        match rows.is_empty() {
            // The index knows an alert of that part that its records do not tell.
            true => Err(LedgerError::OldPartDamaged { next, unreadable: 1 }),
            false => Ok(rows),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = remove_index(&self.path) {
            tracing::warn!(%error, "the draft of the ledger's index stays; the next one replaces it");
        }
    }
}

/// Writes rows that live on into the stream.
struct Carrier<'a> {
    journal: &'a Journal,
    at_ns: i64,
    batch: RawBatch,
    from: Option<u64>,
    tally: Tally,
}

impl<'a> Carrier<'a> {
    fn new(journal: &'a Journal, at_ns: i64) -> Self {
        let batch = RawBatch::of(Arc::new(Envelope::internal()));
        Self { journal, at_ns, batch, from: None, tally: Tally::default() }
    }

    fn push(&mut self, row: &CarriedRow) -> Result<(), LedgerError> {
        let record = LedgerRecord::Carried { row: Box::new(row.clone()) };
        let bytes = serde_json::to_vec(&record)?;
        self.tally.add(row, &bytes);
        self.batch.push_as(RecordKind::Ledger, 0, self.at_ns, &bytes);
        if self.batch.bytes.len() >= CARRY_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), LedgerError> {
        let next = RawBatch::of(Arc::new(Envelope::internal()));
        let batch = std::mem::replace(&mut self.batch, next);
        if !batch.is_empty() {
            let durable = self.journal.appender().append_wait(batch)?;
            self.from.get_or_insert(durable.first);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<crate::record::CarriedOver, LedgerError> {
        self.flush()?;
        let end = self.journal.durable().map_or(0, |last| last + 1);
        Ok(self.tally.over(self.from.unwrap_or(end)))
    }
}

/// Where an index has to begin whose next record is not in the stream any more: filled with what lived
/// on, or as it was where nothing says so (false).
pub(crate) fn begin_again(journal: &Journal, db: &mut Connection) -> Result<bool, LedgerError> {
    let first_offset = journal.stats().first_offset;
    let found: Option<Ending> = match first_offset {
        0 => None,
        _ => carry::newest(journal, first_offset)?,
    };
    match found {
        Some(ending) => {
            index::clear(db)?;
            carry::load(journal, db, &ending)
        }
        // Nothing can take the place of what the index has: it may be the last that knows it.
        None => Ok(false),
    }
}
