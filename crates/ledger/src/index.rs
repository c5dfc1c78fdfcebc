//! The SQLite index: its schema, and how one record changes it.
//!
//! WAL mode, so that readers never wait for the writer. `synchronous=NORMAL`: a power cut may take
//! the last transactions but never damages the file, and what it takes is read again from the
//! journal, because the applied offset goes with it. `FULL` would sync everything twice for nothing;
//! `OFF` could leave a damaged file.

use crate::query::standing_of;
use crate::record::{CarriedRow, LedgerRecord, Merging, RetiredRange, word};
use alert::{Folded, Revision, RuleMeta, State};
use event::Alert;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::path::Path;
use std::time::Duration;

/// Version of the schema. Another one in the file: the index is made again from the journal. 2: saved
/// searches. 3: revisions of alerts, and where an alert stands in the stream. 4: runs of searches. 5: what
/// went, and what lives on.
pub const SCHEMA_VERSION: i64 = 5;

const SCHEMA: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE alerts(
  id TEXT PRIMARY KEY, stream_ns INTEGER NOT NULL, event_ns INTEGER NOT NULL,
  rule_id TEXT NOT NULL, level INTEGER NOT NULL, state INTEGER NOT NULL, disposition TEXT,
  assignee TEXT, count INTEGER NOT NULL, last_event_ns INTEGER NOT NULL,
  last_stream_ns INTEGER NOT NULL, evidence_total INTEGER NOT NULL, backfill INTEGER NOT NULL,
  entity TEXT NOT NULL, haystack TEXT NOT NULL, title TEXT NOT NULL, reason TEXT NOT NULL,
  alert TEXT NOT NULL, rule TEXT NOT NULL, offset INTEGER NOT NULL, revision TEXT) WITHOUT ROWID;
CREATE INDEX alerts_time ON alerts(stream_ns, id);
CREATE INDEX alerts_state ON alerts(state, stream_ns, id);
CREATE INDEX alerts_rule ON alerts(rule_id, stream_ns, id);
CREATE TABLE evidence(alert TEXT NOT NULL, offset INTEGER NOT NULL, list TEXT NOT NULL,
  PRIMARY KEY(alert, offset)) WITHOUT ROWID;
CREATE TABLE history(alert TEXT NOT NULL, offset INTEGER NOT NULL, record TEXT NOT NULL,
  PRIMARY KEY(alert, offset)) WITHOUT ROWID;
CREATE TABLE audit(offset INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, who TEXT NOT NULL,
  action TEXT NOT NULL, target TEXT NOT NULL, detail TEXT NOT NULL, client TEXT NOT NULL);
CREATE TABLE tokens(id TEXT PRIMARY KEY, token TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE searches(name TEXT PRIMARY KEY, search TEXT NOT NULL, who TEXT NOT NULL,
  at_ns INTEGER NOT NULL, run TEXT) WITHOUT ROWID;
CREATE TABLE carried(id TEXT PRIMARY KEY, offset INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE retired(next INTEGER PRIMARY KEY, offset INTEGER NOT NULL, range TEXT NOT NULL);
";
/// What stays on its schedule goes on where its last run ended.
const SAVE_SEARCH: &str = "INSERT INTO searches VALUES(?1, ?2, ?3, ?4, NULL) ON CONFLICT(name) DO UPDATE SET
  search = excluded.search, who = excluded.who, at_ns = excluded.at_ns, run = CASE WHEN ?5 THEN run END";
const TABLES: &[&str] =
    &["meta", "alerts", "evidence", "history", "audit", "tokens", "searches", "carried", "retired"];

/// What applying a record came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The index changed.
    Changed,
    /// It was there already and says the same.
    Known,
    /// An alert of this id is there and says something else; the first one stays.
    Disagrees,
    /// It is about an alert or token that is not there.
    Orphan,
}

/// Opens the file, makes the schema in an empty one and empties one with another version.
pub fn open(path: &Path) -> rusqlite::Result<Connection> {
    let mut db = Connection::open(path)?;
    settle(&db)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "normal")?;
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version != SCHEMA_VERSION {
        clear(&mut db)?;
    }
    Ok(db)
}

/// Opens the file for queries only.
pub fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    settle(&db)?;
    db.pragma_update(None, "query_only", true)?;
    Ok(db)
}

fn settle(db: &Connection) -> rusqlite::Result<()> {
    // A reader may hold the file for a checkpoint's time; five seconds is far beyond that.
    db.busy_timeout(Duration::from_secs(5))?;
    db.pragma_update(None, "trusted_schema", false)
}

/// Empties the index: the next catch-up starts from the journal's beginning.
pub fn clear(db: &mut Connection) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    for table in TABLES {
        tx.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
    }
    tx.execute_batch(SCHEMA)?;
    tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    tx.commit()
}

/// Offset of the next record to apply.
pub fn next_offset(db: &Connection) -> rusqlite::Result<u64> {
    let found: Option<i64> = db
        .query_row("SELECT value FROM meta WHERE key = 'next_offset'", [], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or(0) as u64)
}

/// Stores the offset of the next record to apply. In the transaction that applied those before it.
pub fn set_next_offset(tx: &Transaction<'_>, offset: u64) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO meta VALUES('next_offset', ?1)")?
        .execute([offset as i64])?;
    Ok(())
}

/// Applies the record that stands at `offset`; `text` is its JSON.
pub fn apply(
    tx: &Transaction<'_>,
    offset: u64,
    record: &LedgerRecord,
    text: &str,
) -> rusqlite::Result<Applied> {
    let done = match record {
        LedgerRecord::AlertFired { alert, rule } => return fire(tx, offset, alert, rule),
        LedgerRecord::AlertFolded { folded } => return fold(tx, offset, folded),
        LedgerRecord::Merged { alert, into, .. } if knows_merge(tx, alert, into)? => {
            return Ok(Applied::Known);
        }
        LedgerRecord::Merged { .. } => usize::from(merge(tx, offset, record)?),
        LedgerRecord::Triage { alert, to, disposition, .. } => {
            let disposition = disposition.filter(|_| *to == State::Closed).map(word);
            set_state(tx, alert, *to, disposition)?
        }
        LedgerRecord::Assign { alert, assignee, .. } => tx
            .prepare_cached("UPDATE alerts SET assignee = ?2 WHERE id = ?1")?
            .execute(params![alert, assignee])?,
        LedgerRecord::Note { alert, .. } | LedgerRecord::Delivery { alert, .. } => {
            usize::from(stored_alert(tx, alert)?.is_some())
        }
        LedgerRecord::Audit { .. } => 1,
        LedgerRecord::TokenCreated { token, .. } => tx
            .prepare_cached("INSERT OR IGNORE INTO tokens VALUES(?1, ?2)")?
            .execute(params![token.id, json(token)?])?,
        LedgerRecord::TokenRevoked { id, actor } => tx
            .prepare_cached(
                "UPDATE tokens SET token = json_set(token, '$.revoked_ns', ?2) WHERE id = ?1",
            )?
            .execute(params![id, actor.at_ns])?,
        LedgerRecord::SearchSaved { search, actor } => {
            tx.prepare_cached(SAVE_SEARCH)?.execute(params![
                search.name,
                json(search)?,
                actor.who,
                actor.at_ns,
                search.alert.as_ref().is_some_and(|alert| alert.every_ns.is_some())
            ])?
        }
        LedgerRecord::SearchRan { name, run, .. } => tx
            .prepare_cached("UPDATE searches SET run = ?2 WHERE name = ?1")?
            .execute(params![name, json(run)?])?,
        LedgerRecord::SearchRemoved { name, .. } => {
            tx.prepare_cached("DELETE FROM searches WHERE name = ?1")?.execute([name])?
        }
        LedgerRecord::Carried { row } => {
            note_carried(tx, offset, row)?;
            1
        }
        LedgerRecord::Retired { range, carried, .. } => {
            retire(tx, offset, range, carried.from)?;
            1
        }
    };
    if let LedgerRecord::Triage { alert, .. }
    | LedgerRecord::Assign { alert, .. }
    | LedgerRecord::Note { alert, .. }
    | LedgerRecord::Delivery { alert, .. } = record
    {
        remember(tx, alert, offset, text)?;
    }
    if let (Some(actor), Some((action, target, detail))) = (record.actor(), record.audit()) {
        tx.prepare_cached("INSERT OR IGNORE INTO audit VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![
                offset as i64,
                actor.at_ns,
                actor.who,
                action,
                target,
                detail,
                actor.client
            ])?;
    }
    Ok(if done == 0 { Applied::Orphan } else { Applied::Changed })
}

/// The JSON of a stored alert as it fired.
pub fn stored_alert(db: &Connection, id: &str) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT alert FROM alerts WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()
}

/// Whether the index knows an alert like this one, and whether it says the same.
pub fn compare(db: &Connection, alert: &Alert) -> rusqlite::Result<Option<Applied>> {
    Ok(match stored_alert(db, &alert.id)? {
        None => None,
        Some(stored) if stored == json(alert)? => Some(Applied::Known),
        // An older version may have written the same in another way.
        Some(stored) if serde_json::from_str(&stored).is_ok_and(|s: Alert| s == *alert) => {
            Some(Applied::Known)
        }
        Some(_) => Some(Applied::Disagrees),
    })
}

/// What an alert says at present: its last revision, or what it said when it fired.
fn says(db: &Connection, id: &str) -> rusqlite::Result<Option<Revision>> {
    let texts: Option<(String, Option<String>)> = db
        .prepare_cached("SELECT alert, revision FROM alerts WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(texts.and_then(|(alert, revision)| match revision {
        Some(text) => serde_json::from_str(&text).ok(),
        None => Revision::first_of(&serde_json::from_str(&alert).ok()?),
    }))
}

/// The revision in `folded`, where it says more than the alert does.
fn revises<'a>(db: &Connection, folded: &'a Folded) -> rusqlite::Result<Option<&'a Revision>> {
    let Some(revision) = folded.revision.as_deref() else { return Ok(None) };
    let said = says(db, &folded.id)?;
    Ok(Some(revision).filter(|new| said.is_none_or(|said| new.exceeds(&said))))
}

/// Whether what `folded` says is told already.
pub fn knows_fold(db: &Connection, folded: &Folded) -> rusqlite::Result<bool> {
    if revises(db, folded)?.is_some() {
        return Ok(false);
    }
    let stored: Option<(i64, i64)> = db
        .prepare_cached("SELECT count, evidence_total FROM alerts WHERE id = ?1")?
        .query_row([&folded.id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(stored.is_some_and(|(count, evidence)| {
        folded.count as i64 <= count && folded.evidence_total as i64 <= evidence
    }))
}

fn fire(
    tx: &Transaction<'_>,
    offset: u64,
    alert: &Alert,
    rule: &RuleMeta,
) -> rusqlite::Result<Applied> {
    if let Some(known) = compare(tx, alert)? {
        return Ok(known);
    }
    let row = AlertRow {
        alert,
        rule,
        state: State::New,
        disposition: None,
        assignee: None,
        count: alert.count,
        last_event_ns: alert.event_ns,
        last_stream_ns: alert.stream_ns,
        evidence_total: alert.evidence.len() as u64,
        offset,
        revision: None,
    };
    put(tx, &row)?;
    Ok(Applied::Changed)
}

/// An alert and where it stands: its row.
pub(crate) struct AlertRow<'a> {
    pub(crate) alert: &'a Alert,
    pub(crate) rule: &'a RuleMeta,
    pub(crate) state: State,
    pub(crate) disposition: Option<&'a str>,
    pub(crate) assignee: Option<&'a str>,
    pub(crate) count: u64,
    pub(crate) last_event_ns: i64,
    pub(crate) last_stream_ns: i64,
    pub(crate) evidence_total: u64,
    pub(crate) offset: u64,
    /// What it says instead of what it said when it fired.
    pub(crate) revision: Option<&'a Revision>,
}

/// Writes an alert's row, in the place of one that there may be.
pub(crate) fn put(tx: &Transaction<'_>, row: &AlertRow<'_>) -> rusqlite::Result<()> {
    let alert = row.alert;
    let reason = row.revision.map_or(&alert.reason, |revision| &revision.reason);
    tx.prepare_cached(
        "INSERT OR REPLACE INTO alerts VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,
         ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
    )?
    .execute(params![
        alert.id,
        alert.stream_ns,
        alert.event_ns,
        alert.rule_id,
        alert.level as i64,
        row.state as i64,
        row.disposition,
        row.assignee,
        row.count as i64,
        row.last_event_ns,
        row.last_stream_ns,
        row.evidence_total as i64,
        alert.backfill,
        json(&alert.entity)?,
        haystack(alert, reason),
        alert.title,
        reason,
        json(alert)?,
        json(row.rule)?,
        row.offset as i64,
        row.revision.map(json).transpose()?,
    ])
    .map(drop)
}

fn fold(tx: &Transaction<'_>, offset: u64, folded: &Folded) -> rusqlite::Result<Applied> {
    if knows_fold(tx, folded)? {
        return Ok(Applied::Known);
    }
    let changed = tx
        .prepare_cached(
            "UPDATE alerts SET count = max(count, ?2), last_event_ns = max(last_event_ns, ?3),
             last_stream_ns = max(last_stream_ns, ?4), evidence_total = max(evidence_total, ?5)
             WHERE id = ?1",
        )?
        .execute(params![
            folded.id,
            folded.count as i64,
            folded.last_event_ns,
            folded.last_stream_ns,
            folded.evidence_total as i64
        ])?;
    if changed == 0 {
        return Ok(Applied::Orphan);
    }
    if let Some(revision) = revises(tx, folded)? {
        revise(tx, offset, folded, revision)?;
    }
    if !folded.evidence.is_empty() {
        tx.prepare_cached("INSERT OR IGNORE INTO evidence VALUES(?1, ?2, ?3)")?
            .execute(params![folded.id, offset as i64, json(&folded.evidence)?])?;
    }
    Ok(Applied::Changed)
}

/// Puts a revision in place of what the alert said, and into its history. The alert as it fired stays:
/// a replay is compared with it.
fn revise(
    tx: &Transaction<'_>,
    offset: u64,
    folded: &Folded,
    revision: &Revision,
) -> rusqlite::Result<()> {
    let Some(stored) = stored_alert(tx, &folded.id)? else { return Ok(()) };
    let Ok(alert) = serde_json::from_str::<Alert>(&stored) else { return Ok(()) };
    tx.prepare_cached("UPDATE alerts SET reason = ?2, haystack = ?3, revision = ?4 WHERE id = ?1")?
        .execute(params![
            folded.id,
            revision.reason,
            haystack(&alert, &revision.reason),
            json(revision)?
        ])?;
    // The evidence has a table of its own.
    let folded = Folded { evidence: Vec::new(), ..folded.clone() };
    let id = folded.id.clone();
    remember(tx, &id, offset, &json(&LedgerRecord::AlertFolded { folded })?)
}

/// Puts a record into an alert's history.
fn remember(tx: &Transaction<'_>, alert: &str, offset: u64, text: &str) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR IGNORE INTO history VALUES(?1, ?2, ?3)")?
        .execute(params![alert, offset as i64, text])
        .map(drop)
}

/// Out: how many alerts that changed.
fn set_state(
    tx: &Transaction<'_>,
    alert: &str,
    to: State,
    disposition: Option<&str>,
) -> rusqlite::Result<usize> {
    tx.prepare_cached("UPDATE alerts SET state = ?2, disposition = ?3 WHERE id = ?1")?
        .execute(params![alert, to as i64, disposition])
}

/// Whether it is told already that `alert` was joined to `into`.
pub fn knows_merge(db: &Connection, alert: &str, into: &str) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT EXISTS(SELECT 1 FROM history WHERE alert = ?1
         AND json_extract(record, '$.type') = 'merged' AND json_extract(record, '$.into') = ?2)",
    )?
    .query_row([alert, into], |row| row.get(0))
}

/// Joins an alert to the one that carries on. What nobody has decided is closed, what people decided
/// stays; and what goes on has an open alert. False when one of the two is not there.
fn merge(tx: &Transaction<'_>, offset: u64, record: &LedgerRecord) -> rusqlite::Result<bool> {
    let LedgerRecord::Merged { alert, into, .. } = record else { return Ok(false) };
    let (Some(ends), Some(goes_on)) = (standing_of(tx, alert)?, standing_of(tx, into)?) else {
        return Ok(false);
    };
    let was_open = ends.state != State::Closed;
    let outcome = Merging {
        closed: ends.state == State::New && !was_moved_by_people(tx, alert)?,
        reopened: was_open && goes_on.state == State::Closed,
    };
    if outcome.closed {
        set_state(tx, alert, State::Closed, None)?;
    }
    if outcome.reopened {
        set_state(tx, into, State::New, None)?;
    }
    let mut told = record.clone();
    if let LedgerRecord::Merged { outcome: place, .. } = &mut told {
        *place = Some(outcome);
    }
    let told = json(&told)?;
    remember(tx, alert, offset, &told)?;
    remember(tx, into, offset, &told)?;
    Ok(true)
}

/// Remembers which alerts live on; what they were is in the index already.
fn note_carried(tx: &Transaction<'_>, offset: u64, row: &CarriedRow) -> rusqlite::Result<()> {
    if let CarriedRow::Alert(carried) = row {
        tx.prepare_cached("INSERT OR REPLACE INTO carried VALUES(?1, ?2)")?
            .execute(params![carried.alert.id, offset as i64])?;
    }
    Ok(())
}

/// Lets go of what was made of records in the range, but for alerts that were carried over from `from`
/// on. An index that was made of what lived on knows it already.
fn retire(
    tx: &Transaction<'_>,
    offset: u64,
    range: &RetiredRange,
    from: u64,
) -> rusqlite::Result<()> {
    if last_retired(tx)?.is_none_or(|(_, last)| last.next < range.next) {
        let next = range.next as i64;
        tx.execute(
            "DELETE FROM alerts WHERE offset < ?1
             AND id NOT IN (SELECT id FROM carried WHERE offset >= ?2)",
            [next, from as i64],
        )?;
        for table in ["evidence", "history"] {
            tx.execute_batch(&format!(
                "DELETE FROM {table} WHERE alert NOT IN (SELECT id FROM alerts)"
            ))?;
        }
        tx.execute("DELETE FROM audit WHERE offset < ?1", [next])?;
        tx.execute("DELETE FROM retired WHERE offset < ?1", [next])?;
    }
    tx.execute_batch("DELETE FROM carried")?;
    set_retired(tx, offset, range)
}

/// Stores what went; `offset` is where the stream says so.
pub(crate) fn set_retired(
    tx: &Transaction<'_>,
    offset: u64,
    range: &RetiredRange,
) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT OR REPLACE INTO retired VALUES(?1, ?2, ?3)",
        params![range.next as i64, offset as i64, json(range)?],
    )
    .map(drop)
}

/// What went last, with the offset of the record that says so.
pub(crate) fn last_retired(db: &Connection) -> rusqlite::Result<Option<(u64, RetiredRange)>> {
    db.prepare_cached("SELECT offset, range FROM retired ORDER BY next DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get::<_, i64>(0)? as u64, crate::query::from_json(row, 1)?)))
        .optional()
}

/// Whether somebody put an alert where it stands, or where it stood once.
fn was_moved_by_people(tx: &Transaction<'_>, alert: &str) -> rusqlite::Result<bool> {
    tx.prepare_cached(
        "SELECT EXISTS(SELECT 1 FROM history WHERE alert = ?1
         AND json_extract(record, '$.type') = 'triage')",
    )?
    .query_row([alert], |row| row.get(0))
}

/// What a text filter looks in, folded once here as the rest of the product folds.
fn haystack(alert: &Alert, reason: &str) -> String {
    let entity: Vec<String> = alert.entity.iter().map(|(k, v)| format!("{k}={v}")).collect();
    event::text::fold(&[&entity.join("\n"), &alert.title, reason].join("\n"))
}

/// JSON text for a column.
pub(crate) fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}
