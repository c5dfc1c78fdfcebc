//! The ledger: one writer, in front of it the journal, behind it the index.

use crate::index::{self, Applied};
use crate::query::{
    self, AlertDetail, AlertFilter, AlertOrder, AlertRow, AuditFilter, AuditRow, Counts, Delivery,
    Page, SavedRow, Standing,
};
use crate::record::{Actor, LedgerRecord, SavedSearch};
use crate::retire;
use crate::room::{self, Room};
use alert::{State, TriageError, transition};
use event::{Disposition, Envelope, RawBatch, RecordKind};
use journal::{AppendError, Block, Joined, Journal, JournalError, Options, Reader, Rejoin};
use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use trust::TokenRecord;

/// File name of the index.
pub const INDEX_FILE: &str = "ledger.sqlite";
/// Most records of one submission: bounds the transaction and what a caller waits for.
pub const SUBMIT_MAX: usize = 4_096;
/// Alerts changed per journal batch by a bulk change.
const BULK_BATCH: usize = 500;
/// Most saved searches: more than anybody reads through.
pub const SEARCHES_MAX: usize = 1_000;
/// Longest note, bytes.
pub const NOTE_MAX_BYTES: usize = alert::triage::REASON_MAX_BYTES;

/// Options for the `ledger` stream's journal: small segments, and its own space. Eight zeroed files
/// are kept ready, so alerts and audit go on for 32 MiB (tens of thousands of alerts) on a disk that
/// has no byte left, long after the `data` stream, which keeps a reserve free, has stopped.
pub fn journal_options() -> Options {
    Options { segment_size_bytes: 4 << 20, disk_reserve_bytes: 0, spares: 8, ..Options::default() }
}

/// Why the ledger said no.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The stream could not be read or opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The change was not made durable; nothing changed.
    #[error("the change was not stored: {0}")]
    Append(#[from] AppendError),
    /// The index failed. What was submitted is durable and applied at the next call or start.
    #[error("the ledger's index failed: {0}; restart, or delete ledger.sqlite, it is made again")]
    Index(#[source] rusqlite::Error),
    /// The index has no space. What was submitted is durable and applied when there is some.
    #[error("the disk is full: the ledger's index cannot grow; free space, nothing of it is lost")]
    Full(#[source] rusqlite::Error),
    /// A file could not be moved or removed.
    #[error("cannot replace {path}: {source}; check the folder's permissions")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A record could not be written as JSON.
    #[error("the record cannot be encoded: {0}")]
    Encode(#[from] serde_json::Error),
    /// There is no such alert.
    #[error("there is no alert {id}")]
    NoAlert {
        /// The id asked for.
        id: String,
    },
    /// There is no such token, or it is revoked already.
    #[error("there is no valid token {id}")]
    NoToken {
        /// The id asked for.
        id: String,
    },
    /// There is no saved search of that name.
    #[error("no search is saved as `{name}`")]
    NoSearch {
        /// The name asked for.
        name: String,
    },
    /// The move is not allowed.
    #[error(transparent)]
    Triage(#[from] TriageError),
    /// What lives on of the ledger's oldest part has no room.
    #[error(
        "the oldest part of the ledger stays: what lives on of it needs {needed_bytes} bytes of space, and \
         {free_bytes} are free; free some"
    )]
    NoRoom {
        /// What has to be free.
        needed_bytes: u64,
        /// What is.
        free_bytes: u64,
    },
    /// What lived on of a part that is gone is not all there.
    #[error(
        "the ledger keeps what it has: what lived on from below offset {next} is not all there; `alcedo \
         verify` tells more"
    )]
    NotCarried {
        /// The first offset that was kept.
        next: u64,
    },
    /// Records of what is old enough to go can be read and are not those that were sealed.
    #[error(
        "the ledger keeps what it has: records {first} to {last}, which are old enough to go, are not those \
         that were sealed: somebody wrote to the file; `alcedo verify` tells more"
    )]
    OldPartChanged {
        /// The first offset of the segment.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// What is old enough to go is not all there, or not all readable.
    #[error(
        "the ledger keeps what it has: of what is old enough to go, below offset {next}, {unreadable} records \
         cannot be read or a segment is missing; `alcedo verify` tells which"
    )]
    OldPartDamaged {
        /// The first offset that would be kept.
        next: u64,
        /// Records that cannot be read.
        unreadable: u64,
    },
    /// A cursor that no page gave out.
    #[error("the cursor is not one that a page gave; start again without it")]
    BadCursor,
    /// Too much of something.
    #[error("{what} is longer than {max}; shorten or split it")]
    TooLong {
        /// What.
        what: &'static str,
        /// How much is taken.
        max: usize,
    },
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        match room::is_full(&error) {
            true => Self::Full(error),
            false => Self::Index(error),
        }
    }
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Submitted {
    /// Records that are durable and applied now.
    pub appended: usize,
    /// Alerts, updates and merges that the ledger knew already.
    pub known: usize,
    /// Last offset of the ledger stream that is applied.
    pub last: Option<u64>,
}

/// What a person wants to do with alerts.
#[derive(Clone, Debug)]
pub struct TriageRequest {
    /// Where they should go.
    pub to: State,
    /// As what they are closed.
    pub disposition: Option<Disposition>,
    /// Why.
    pub why: String,
    /// By whom.
    pub actor: Actor,
    /// Whether alerts that are nobody's become the actor's in the same step.
    pub take: bool,
}

/// What the ledger has met since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LedgerCounters {
    /// Records applied to the index.
    pub applied: u64,
    /// Replayed alerts that were known and the same.
    pub known: u64,
    /// Replayed alerts that were known and different: replay is not deterministic somewhere.
    pub disagreements: u64,
    /// Records about something that is not in the ledger.
    pub orphans: u64,
    /// Records that do not read back (written by a newer version, or damaged).
    pub unreadable: u64,
    /// Ranges of the stream that are missing.
    pub holes: u64,
}

#[derive(Default)]
struct Meters {
    applied: AtomicU64,
    known: AtomicU64,
    disagreements: AtomicU64,
    orphans: AtomicU64,
    unreadable: AtomicU64,
    holes: AtomicU64,
}

pub(crate) struct Writer {
    pub(crate) db: Connection,
    reader: Reader,
    rejoin: Rejoin,
}

/// The open ledger. Share it behind an `Arc`; every call blocks.
pub struct Ledger {
    pub(crate) journal: Arc<Journal>,
    /// The folder of the index.
    pub(crate) dir: PathBuf,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) queries: Mutex<Connection>,
    /// One retirement at a time.
    pub(crate) retiring: Mutex<()>,
    room: Room,
    tokens: RwLock<BTreeMap<String, TokenRecord>>,
    meters: Meters,
}

impl Ledger {
    /// Opens the index in `dir` over the ledger stream `journal` and applies what it lacks. A file
    /// that is damaged, or ahead of the journal, is replaced. On a full disk it has the space that is kept
    /// for it.
    pub fn open(dir: &Path, journal: Arc<Journal>) -> Result<Self, LedgerError> {
        match Self::open_once(dir, journal.clone()) {
            Err(LedgerError::Full(_)) if Room::of(dir).give() => Self::open_once(dir, journal),
            opened => opened,
        }
    }

    fn open_once(dir: &Path, journal: Arc<Journal>) -> Result<Self, LedgerError> {
        let path = dir.join(INDEX_FILE);
        let mut db = match index::open(&path).and_then(|db| index::next_offset(&db).map(|_| db)) {
            Ok(db) => db,
            Err(error) if is_damage(&error) => {
                tracing::warn!(%error, "the ledger's index is damaged; making it again");
                remove_index(&path)?;
                index::open(&path)?
            }
            Err(error) => return Err(error.into()),
        };
        let next = index::next_offset(&db)?;
        if next > journal.durable().map_or(0, |last| last + 1) {
            tracing::warn!(next, "the ledger's index is ahead of its stream; making it again");
            index::clear(&mut db)?;
        }
        let queries = index::open_reader(&path)?;
        let writer = Writer { db, reader: journal.reader(next), rejoin: Rejoin::default() };
        let ledger = Self {
            journal,
            dir: dir.to_path_buf(),
            writer: Mutex::new(writer),
            queries: Mutex::new(queries),
            retiring: Mutex::default(),
            room: Room::of(dir),
            tokens: RwLock::default(),
            meters: Meters::default(),
        };
        ledger.stand(&mut ledger.writer.lock())?;
        ledger.catch_up(&mut ledger.writer.lock())?;
        ledger.load_tokens()?;
        Ok(ledger)
    }

    /// Makes records durable and applies them. Alerts, updates and merges that are known already are
    /// compared and left out. `at_ns` is the wall time for the stream.
    pub fn submit(&self, records: Vec<LedgerRecord>, at_ns: i64) -> Result<Submitted, LedgerError> {
        let mut writer = self.writer.lock();
        self.submit_with(&mut writer, records, at_ns)
    }

    /// Moves one alert. Checked against where it stands now, in the same breath.
    pub fn triage(&self, id: &str, request: &TriageRequest) -> Result<(), LedgerError> {
        let mut writer = self.writer.lock();
        self.catch_up(&mut writer)?;
        let alert = query::standing_of(&writer.db, id)?
            .ok_or_else(|| LedgerError::NoAlert { id: id.chars().take(64).collect() })?;
        transition(alert.state, request.to, request.disposition, &request.why)?;
        let records = triage_records(&alert, request);
        self.submit_with(&mut writer, records, request.actor.at_ns).map(|_| ())
    }

    /// Moves every alert that matches, not just a page of them. Returns (moved, left alone because
    /// the move is not legal from where they stand). Each alert gets its own record.
    pub fn bulk_triage(
        &self,
        filter: &AlertFilter,
        request: &TriageRequest,
    ) -> Result<(u64, u64), LedgerError> {
        self.bulk(filter, request.actor.at_ns, |alert| {
            match transition(alert.state, request.to, request.disposition, &request.why) {
                Ok(()) => Ok(triage_records(alert, request)),
                Err(TriageError::NotAllowed { .. }) => Ok(Vec::new()),
                // A missing reason is the caller's mistake, not the alert's.
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Gives every alert that matches to somebody, or to nobody. Returns (given, left alone because
    /// they were theirs already). Each alert gets its own record.
    pub fn bulk_assign(
        &self,
        filter: &AlertFilter,
        assignee: Option<&str>,
        actor: &Actor,
    ) -> Result<(u64, u64), LedgerError> {
        self.bulk(filter, actor.at_ns, |alert| {
            let changes = alert.assignee.as_deref() != assignee;
            let given = || assign_record(&alert.id, assignee, actor);
            Ok(changes.then(given).into_iter().collect())
        })
    }

    /// Records something about every alert that matches; nothing leaves one alone. Returns (changed,
    /// left alone).
    fn bulk(
        &self,
        filter: &AlertFilter,
        at_ns: i64,
        change: impl Fn(&Standing) -> Result<Vec<LedgerRecord>, LedgerError>,
    ) -> Result<(u64, u64), LedgerError> {
        let (mut after, mut changed, mut left) = (String::new(), 0, 0);
        loop {
            // The lock is given back between batches: alerts go on being recorded meanwhile.
            let mut writer = self.writer.lock();
            self.catch_up(&mut writer)?;
            let found = query::standing(&writer.db, filter, &after, BULK_BATCH)?;
            let Some(last) = found.last() else { return Ok((changed, left)) };
            after.clone_from(&last.id);
            let mut records = Vec::with_capacity(found.len());
            for alert in &found {
                let mut of_alert = change(alert)?;
                *if of_alert.is_empty() { &mut left } else { &mut changed } += 1;
                records.append(&mut of_alert);
            }
            self.submit_with(&mut writer, records, at_ns)?;
        }
    }

    /// Adds a note to an alert.
    pub fn note(&self, id: &str, text: &str, actor: Actor) -> Result<(), LedgerError> {
        if text.len() > NOTE_MAX_BYTES {
            return Err(LedgerError::TooLong { what: "the note", max: NOTE_MAX_BYTES });
        }
        let (alert, text, at_ns) = (id.to_owned(), text.to_owned(), actor.at_ns);
        self.about_alert(id, LedgerRecord::Note { alert, text, actor }, at_ns)
    }

    /// Gives an alert to somebody, or to nobody.
    pub fn assign(
        &self,
        id: &str,
        assignee: Option<String>,
        actor: Actor,
    ) -> Result<(), LedgerError> {
        self.about_alert(id, assign_record(id, assignee.as_deref(), &actor), actor.at_ns)
    }

    /// Stores a new token: hash and scope only.
    pub fn create_token(&self, token: TokenRecord, actor: Actor) -> Result<(), LedgerError> {
        let at_ns = actor.at_ns;
        self.submit(vec![LedgerRecord::TokenCreated { token, actor }], at_ns).map(|_| ())
    }

    /// Revokes a token: refused from the moment this returns.
    pub fn revoke_token(&self, id: &str, actor: Actor) -> Result<(), LedgerError> {
        if self.token(id).is_none_or(|token| token.revoked_ns.is_some()) {
            return Err(LedgerError::NoToken { id: id.chars().take(64).collect() });
        }
        let (id, at_ns) = (id.to_owned(), actor.at_ns);
        self.submit(vec![LedgerRecord::TokenRevoked { id, actor }], at_ns).map(|_| ())
    }

    /// A token by id, from memory: what [`trust::verify`] looks up on every request.
    pub fn token(&self, id: &str) -> Option<TokenRecord> {
        self.tokens.read().get(id).cloned()
    }

    /// All tokens by id, revoked ones included.
    pub fn tokens(&self) -> Vec<TokenRecord> {
        self.tokens.read().values().cloned().collect()
    }

    /// Gives a search a name, in place of what has it. One more than [`SEARCHES_MAX`] is refused.
    pub fn save_search(&self, search: SavedSearch, actor: Actor) -> Result<(), LedgerError> {
        let mut writer = self.writer.lock();
        self.catch_up(&mut writer)?;
        let there = query::searches(&writer.db)?;
        if there.len() >= SEARCHES_MAX && there.iter().all(|row| row.search.name != search.name) {
            return Err(LedgerError::TooLong { what: "the list of searches", max: SEARCHES_MAX });
        }
        let at_ns = actor.at_ns;
        let record = LedgerRecord::SearchSaved { search, actor };
        self.submit_with(&mut writer, vec![record], at_ns).map(|_| ())
    }

    /// Removes a saved search.
    pub fn remove_search(&self, name: &str, actor: Actor) -> Result<(), LedgerError> {
        let mut writer = self.writer.lock();
        self.catch_up(&mut writer)?;
        if query::search(&writer.db, name)?.is_none() {
            return Err(LedgerError::NoSearch { name: name.chars().take(64).collect() });
        }
        let (name, at_ns) = (name.to_owned(), actor.at_ns);
        let record = LedgerRecord::SearchRemoved { name, actor };
        self.submit_with(&mut writer, vec![record], at_ns).map(|_| ())
    }

    /// Saved searches by name.
    pub fn searches(&self) -> Result<Vec<SavedRow>, LedgerError> {
        query::searches(&self.queries.lock())
    }

    /// The saved search of that name.
    pub fn search(&self, name: &str) -> Result<SavedRow, LedgerError> {
        let found = query::search(&self.queries.lock(), name)?;
        found.ok_or_else(|| LedgerError::NoSearch { name: name.chars().take(64).collect() })
    }

    /// Alerts that match, newest first by (stream time, id); at most [`query::PAGE_MAX`].
    pub fn alerts(
        &self,
        filter: &AlertFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page<AlertRow>, LedgerError> {
        self.alerts_by(filter, AlertOrder::Newest, limit, cursor)
    }

    /// The same in another order. A cursor is good for the order it came from.
    pub fn alerts_by(
        &self,
        filter: &AlertFilter,
        order: AlertOrder,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page<AlertRow>, LedgerError> {
        query::alerts(&self.queries.lock(), filter, order, limit, cursor)
    }

    /// How many alerts match, by state and by level.
    pub fn counts(&self, filter: &AlertFilter) -> Result<Counts, LedgerError> {
        query::counts(&self.queries.lock(), filter)
    }

    /// One alert with its evidence and history.
    pub fn alert(&self, id: &str) -> Result<Option<AlertDetail>, LedgerError> {
        query::alert(&self.queries.lock(), id)
    }

    /// Where an alert stands with a sink; `None` when it was never tried, or there is no such alert.
    pub fn delivery(&self, id: &str, sink: &str) -> Result<Option<Delivery>, LedgerError> {
        Ok(query::deliveries(&self.queries.lock(), id)?.remove(sink))
    }

    /// Audit records, newest first. Triage, notes, assignments and tokens are among them.
    pub fn audit(
        &self,
        filter: &AuditFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page<AuditRow>, LedgerError> {
        query::audit(&self.queries.lock(), filter, limit, cursor)
    }

    /// Empties the index and makes it again from the stream. Queries see it grow meanwhile.
    pub fn rebuild(&self) -> Result<(), LedgerError> {
        let mut writer = self.writer.lock();
        index::clear(&mut writer.db)?;
        self.stand(&mut writer)?;
        self.catch_up(&mut writer)?;
        self.load_tokens()
    }

    /// Puts the writer where the index is. One that is older than the stream begins with what lived on of
    /// the part that is gone.
    fn stand(&self, writer: &mut Writer) -> Result<(), LedgerError> {
        let first_offset = self.journal.stats().first_offset;
        if index::next_offset(&writer.db)? < first_offset
            && !retire::begin_again(&self.journal, &mut writer.db)?
        {
            self.meters.holes.fetch_add(1, Relaxed);
            tracing::error!(
                first_offset,
                "not all is there that lived on of the ledger's oldest part"
            );
        }
        let next = index::next_offset(&writer.db)?;
        (writer.reader, writer.rejoin) = (self.journal.reader(next), Rejoin::default());
        Ok(())
    }

    /// What was met since the ledger was opened.
    pub fn counters(&self) -> LedgerCounters {
        let m = &self.meters;
        LedgerCounters {
            applied: m.applied.load(Relaxed),
            known: m.known.load(Relaxed),
            disagreements: m.disagreements.load(Relaxed),
            orphans: m.orphans.load(Relaxed),
            unreadable: m.unreadable.load(Relaxed),
            holes: m.holes.load(Relaxed),
        }
    }

    fn about_alert(&self, id: &str, record: LedgerRecord, at_ns: i64) -> Result<(), LedgerError> {
        let mut writer = self.writer.lock();
        self.catch_up(&mut writer)?;
        if query::standing_of(&writer.db, id)?.is_none() {
            return Err(LedgerError::NoAlert { id: id.chars().take(64).collect() });
        }
        self.submit_with(&mut writer, vec![record], at_ns).map(|_| ())
    }

    pub(crate) fn submit_with(
        &self,
        writer: &mut Writer,
        records: Vec<LedgerRecord>,
        at_ns: i64,
    ) -> Result<Submitted, LedgerError> {
        if records.len() > SUBMIT_MAX {
            return Err(LedgerError::TooLong { what: "the list of records", max: SUBMIT_MAX });
        }
        // Comparing asks the index, so it has to be complete first.
        self.catch_up(writer)?;
        let mut out = Submitted::default();
        let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
        let mut tokens = false;
        for record in &records {
            if self.is_known(&writer.db, record)? {
                out.known += 1;
                continue;
            }
            let bytes = serde_json::to_vec(record)?;
            if bytes.len() > journal::RECORD_BYTES_MAX {
                let max = journal::RECORD_BYTES_MAX;
                return Err(LedgerError::TooLong { what: "a record", max });
            }
            batch.push_as(record.kind(), 0, at_ns, &bytes);
            out.appended += 1;
            tokens |= matches!(
                record,
                LedgerRecord::TokenCreated { .. } | LedgerRecord::TokenRevoked { .. }
            );
        }
        if self.room.is_given() {
            self.room.take(self.journal.stats().free_bytes);
        }
        if !batch.is_empty() {
            out.last = Some(self.journal.appender().append_wait(batch)?.last);
            let applied = self.catch_up(writer);
            if tokens && applied.is_ok() {
                self.set_tokens(query::tokens(&writer.db)?);
            }
            applied?;
        }
        Ok(out)
    }

    /// Whether an alert, or what detection said of one, is in the ledger already; compares and counts.
    fn is_known(&self, db: &Connection, record: &LedgerRecord) -> Result<bool, LedgerError> {
        match record {
            LedgerRecord::AlertFired { alert, .. } => {
                let found = index::compare(db, alert)?;
                found.inspect(|applied| self.count(*applied));
                Ok(found.is_some())
            }
            LedgerRecord::AlertFolded { folded } => Ok(index::knows_fold(db, folded)?),
            LedgerRecord::Merged { alert, into, .. } => Ok(index::knows_merge(db, alert, into)?),
            _ => Ok(false),
        }
    }

    /// Applies everything durable that the index lacks, one transaction per block.
    pub(crate) fn catch_up(&self, writer: &mut Writer) -> Result<(), LedgerError> {
        while self.journal.durable().is_some_and(|last| last >= writer.reader.next_offset()) {
            match writer.reader.next(Duration::ZERO) {
                Ok(Some(block)) => {
                    if let Err(error) = self.apply_block(writer, &block) {
                        // The transaction is undone; the same block is read again next time.
                        let next = index::next_offset(&writer.db)?;
                        writer.reader = self.journal.reader(next);
                        writer.rejoin = Rejoin::default();
                        if !matches!(error, LedgerError::Full(_)) || !self.room.give() {
                            return Err(error);
                        }
                    }
                }
                Ok(None) => return Ok(()),
                Err(error @ (JournalError::Corrupt { .. } | JournalError::Retired { .. })) => {
                    // The reader stands behind the gap. Going on keeps what can still be read.
                    self.meters.holes.fetch_add(1, Relaxed);
                    tracing::error!(%error, "records of the ledger are missing");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn apply_block(&self, writer: &mut Writer, block: &Block) -> Result<(), LedgerError> {
        let Writer { db, rejoin, .. } = writer;
        Ok(apply_block(db, rejoin, block, &mut |offset, read| match read {
            Some((_, applied)) => self.count(applied),
            None => {
                self.meters.unreadable.fetch_add(1, Relaxed);
                tracing::error!(offset, "a ledger record does not read back");
            }
        })?)
    }

    fn count(&self, applied: Applied) {
        let m = &self.meters;
        let meter = match applied {
            Applied::Changed => &m.applied,
            Applied::Known => &m.known,
            Applied::Disagrees => &m.disagreements,
            Applied::Orphan => &m.orphans,
        };
        meter.fetch_add(1, Relaxed);
    }

    fn load_tokens(&self) -> Result<(), LedgerError> {
        self.set_tokens(query::tokens(&self.queries.lock())?);
        Ok(())
    }

    fn set_tokens(&self, tokens: Vec<TokenRecord>) {
        *self.tokens.write() = tokens.into_iter().map(|t| (t.id.clone(), t)).collect();
    }
}

/// What is told of a record: where it stands, and what it is with what applying it came to, unless it
/// does not read back.
pub(crate) type Told<'a> = &'a mut dyn FnMut(u64, Option<(&LedgerRecord, Applied)>);

/// Applies what an index lacks of a block, in one transaction.
pub(crate) fn apply_block(
    db: &mut Connection,
    rejoin: &mut Rejoin,
    block: &Block,
    told: Told<'_>,
) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    let from = index::next_offset(&tx)?;
    for view in block.records().filter(|view| view.offset >= from) {
        if !matches!(view.kind, RecordKind::Ledger | RecordKind::Audit) {
            index::set_next_offset(&tx, view.offset + 1)?;
            continue;
        }
        let joined;
        let bytes = match rejoin.push(&view) {
            Joined::Pending => continue,
            Joined::Whole => Some(view.bytes),
            Joined::Parts(parts) => {
                joined = parts;
                Some(&joined[..])
            }
            Joined::TooLong => None,
        };
        let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let record: Option<(&str, LedgerRecord)> =
            text.and_then(|t| Some((t, serde_json::from_str(t).ok()?)));
        match record {
            Some((text, record)) => {
                let applied = index::apply(&tx, view.offset, &record, text)?;
                told(view.offset, Some((&record, applied)));
            }
            None => told(view.offset, None),
        }
        index::set_next_offset(&tx, view.offset + 1)?;
    }
    tx.commit()
}

fn triage_records(alert: &Standing, request: &TriageRequest) -> Vec<LedgerRecord> {
    let actor = &request.actor;
    let moved = LedgerRecord::Triage {
        alert: alert.id.clone(),
        from: alert.state,
        to: request.to,
        disposition: request.disposition,
        why: request.why.clone(),
        actor: actor.clone(),
    };
    let takes = request.take && alert.assignee.is_none();
    let taken = takes.then(|| assign_record(&alert.id, Some(&actor.who), actor));
    [moved].into_iter().chain(taken).collect()
}

fn assign_record(id: &str, assignee: Option<&str>, actor: &Actor) -> LedgerRecord {
    let assignee = assignee.map(str::to_owned);
    LedgerRecord::Assign { alert: id.to_owned(), assignee, actor: actor.clone() }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let missing_table = matches!(error, rusqlite::Error::SqliteFailure(_, Some(text))
        if text.starts_with("no such table"));
    missing_table || matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

pub(crate) fn remove_index(path: &Path) -> Result<(), LedgerError> {
    for end in ["", "-wal", "-shm"] {
        let file = PathBuf::from(format!("{}{end}", path.display()));
        match std::fs::remove_file(&file) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(LedgerError::File { path: file, source });
            }
            _ => {}
        }
    }
    Ok(())
}
