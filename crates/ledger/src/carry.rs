//! What of the ledger lives on when its oldest part goes: rows of the index as records, and back.
//!
//! A row is taken as it was at the offset below which everything goes, so that replaying what stays
//! on top of it comes to what the index says today.

use crate::index::{self, json};
use crate::ledger::LedgerError;
use crate::record::{CarriedAlert, CarriedOver, CarriedRow, LedgerRecord, RetiredRange, word};
use journal::{Block, Joined, Journal, JournalError, Rejoin};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::ops::Range;
use std::time::Duration;
use trust::{Frontier, Hash};

/// How the text of a record begins that carries a row, and of one that ends a retirement: what a scan
/// of the stream looks for before it reads JSON.
const CARRIED: &str = "{\"type\":\"carried\"";
/// See [`CARRIED`].
const RETIRED: &str = "{\"type\":\"retired\"";

/// What decides whether an alert is done with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Horizon {
    /// Stream time from which on records are kept, ns.
    pub(crate) keep_from_ns: i64,
    /// All records below this offset are older.
    pub(crate) old_below: u64,
    /// Records below this offset go.
    pub(crate) next: u64,
}

/// Ids of the alerts of what goes that live on: what is open, what anything was said of since, what went
/// on since, and what another alert was joined to by a record that stays: its replay needs both.
pub(crate) fn living(db: &Connection, horizon: &Horizon) -> rusqlite::Result<Vec<String>> {
    let Horizon { keep_from_ns, old_below, next } = *horizon;
    db.prepare_cached(
        "SELECT id FROM alerts WHERE offset < ?1 AND (state != ?2 OR last_stream_ns >= ?3
         OR EXISTS(SELECT 1 FROM history WHERE alert = id AND (history.offset >= ?4
         OR history.offset >= ?1 AND json_extract(record, '$.type') = 'merged'))
         OR EXISTS(SELECT 1 FROM evidence WHERE alert = id AND evidence.offset >= ?4)) ORDER BY id",
    )?
    .query_map(
        params![next as i64, alert::State::Closed as i64, keep_from_ns, old_below as i64],
        |row| row.get(0),
    )?
    .collect()
}

/// An alert with all that is known of it from below `next`; empty when there is none.
pub(crate) fn rows_of(db: &Connection, id: &str, next: u64) -> rusqlite::Result<Vec<CarriedRow>> {
    let found = db
        .prepare_cached(
            "SELECT alert, rule, state, disposition, assignee, count, last_event_ns, last_stream_ns,
             evidence_total, offset, revision FROM alerts WHERE id = ?1 AND offset < ?2",
        )?
        .query_row(params![id, next as i64], carried_alert)
        .optional()?;
    let Some(found) = found else { return Ok(Vec::new()) };
    let mut rows = vec![CarriedRow::Alert(Box::new(found))];
    let mut evidence = db.prepare_cached(
        "SELECT offset, list FROM evidence WHERE alert = ?1 AND offset < ?2 ORDER BY offset",
    )?;
    let lists = evidence.query_map(params![id, next as i64], |row| {
        let offset = row.get::<_, i64>(0)? as u64;
        Ok(CarriedRow::Evidence {
            alert: id.into(),
            offset,
            list: crate::query::from_json(row, 1)?,
        })
    })?;
    for row in lists {
        rows.push(row?);
    }
    let mut history = db.prepare_cached(
        "SELECT offset, record FROM history WHERE alert = ?1 AND offset < ?2 ORDER BY offset",
    )?;
    let told = history.query_map(params![id, next as i64], |row| {
        let (offset, record) = (row.get::<_, i64>(0)? as u64, crate::query::from_json(row, 1)?);
        Ok(CarriedRow::History { alert: id.into(), offset, record: Box::new(record) })
    })?;
    for row in told {
        rows.push(row?);
    }
    Ok(rows)
}

fn carried_alert(row: &Row<'_>) -> rusqlite::Result<CarriedAlert> {
    Ok(CarriedAlert {
        alert: crate::query::from_json(row, 0)?,
        rule: crate::query::from_json(row, 1)?,
        state: crate::query::state(row, 2)?,
        disposition: crate::query::verdict(row, 3)?,
        assignee: row.get(4)?,
        count: row.get::<_, i64>(5)? as u64,
        last_event_ns: row.get(6)?,
        last_stream_ns: row.get(7)?,
        evidence_total: row.get::<_, i64>(8)? as u64,
        offset: row.get::<_, i64>(9)? as u64,
        revision: match row.get_ref(10)? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(crate::query::from_json(row, 10)?),
        },
    })
}

/// Tokens and saved searches: they have no age.
pub(crate) fn ageless(db: &Connection) -> Result<Vec<CarriedRow>, LedgerError> {
    let tokens = crate::query::tokens(db)?.into_iter().map(|token| CarriedRow::Token { token });
    let searches = crate::query::searches(db)?.into_iter().map(|row| CarriedRow::Search {
        search: row.search,
        who: row.who,
        at_ns: row.at_ns,
        run: row.run,
    });
    Ok(tokens.chain(searches).collect())
}

/// Puts a row back into an index.
fn restore(tx: &Transaction<'_>, row: &CarriedRow) -> rusqlite::Result<()> {
    match row {
        CarriedRow::Alert(carried) => restore_alert(tx, carried),
        CarriedRow::Evidence { alert, offset, list } => tx
            .prepare_cached("INSERT OR REPLACE INTO evidence VALUES(?1, ?2, ?3)")?
            .execute(params![alert, *offset as i64, json(list)?])
            .map(drop),
        CarriedRow::History { alert, offset, record } => tx
            .prepare_cached("INSERT OR REPLACE INTO history VALUES(?1, ?2, ?3)")?
            .execute(params![alert, *offset as i64, json(record)?])
            .map(drop),
        CarriedRow::Token { token } => tx
            .prepare_cached("INSERT OR REPLACE INTO tokens VALUES(?1, ?2)")?
            .execute(params![token.id, json(token)?])
            .map(drop),
        CarriedRow::Search { search, who, at_ns, run } => tx
            .prepare_cached("INSERT OR REPLACE INTO searches VALUES(?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                search.name,
                json(search)?,
                who,
                at_ns,
                run.as_ref().map(json).transpose()?
            ])
            .map(drop),
    }
}

fn restore_alert(tx: &Transaction<'_>, carried: &CarriedAlert) -> rusqlite::Result<()> {
    let row = index::AlertRow {
        alert: &carried.alert,
        rule: &carried.rule,
        state: carried.state,
        disposition: carried.disposition.map(word),
        assignee: carried.assignee.as_deref(),
        count: carried.count,
        last_event_ns: carried.last_event_ns,
        last_stream_ns: carried.last_stream_ns,
        evidence_total: carried.evidence_total,
        offset: carried.offset,
        revision: carried.revision.as_ref(),
    };
    index::put(tx, &row)
}

/// Counts what is carried over and makes the root over it.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    pub(crate) alerts: u64,
    root: Frontier,
}

impl Tally {
    pub(crate) fn add(&mut self, row: &CarriedRow, text: &[u8]) {
        self.rows += 1;
        self.alerts += u64::from(matches!(row, CarriedRow::Alert(_)));
        self.root.push(Hash::of(text));
    }

    pub(crate) fn over(&self, from: u64) -> CarriedOver {
        CarriedOver { from, rows: self.rows, alerts: self.alerts, root: self.root.root() }
    }
}

/// A record that ends a retirement, as it stands in the stream.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) offset: u64,
    pub(crate) range: RetiredRange,
    pub(crate) carried: CarriedOver,
}

impl Ending {
    /// Of a record's text.
    pub(crate) fn of(offset: u64, text: &str) -> Option<Self> {
        if !text.starts_with(RETIRED) {
            return None;
        }
        let Ok(LedgerRecord::Retired { range, carried, .. }) = serde_json::from_str(text) else {
            return None;
        };
        Some(Self { offset, range: *range, carried })
    }
}

/// The row that a record's text carries, if it does.
pub(crate) fn row_of(text: &str) -> Option<CarriedRow> {
    if !text.starts_with(CARRIED) {
        return None;
    }
    match serde_json::from_str(text) {
        Ok(LedgerRecord::Carried { row }) => Some(*row),
        _ => None,
    }
}

/// The retirement whose record ends at `offset`, if there is one.
pub(crate) fn ending_at(journal: &Journal, offset: u64) -> Result<Option<Ending>, LedgerError> {
    let mut found = None;
    each_text(journal, offset..offset + 1, |at, text| {
        found = found.take().or_else(|| Ending::of(at, text));
        Ok(())
    })?;
    Ok(found)
}

/// The newest retirement that says what lived on from below `first_offset` or later: the whole stream is
/// looked through, for an index that does not know.
pub(crate) fn newest(journal: &Journal, first_offset: u64) -> Result<Option<Ending>, LedgerError> {
    let mut found: Option<Ending> = None;
    let end = journal.durable().map_or(0, |last| last + 1);
    each_text(journal, first_offset..end, |offset, text| {
        let ending = Ending::of(offset, text).filter(|ending| ending.range.next >= first_offset);
        if let Some(ending) = ending
            && found.as_ref().is_none_or(|known| known.range.next <= ending.range.next)
        {
            found = Some(ending);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Fills an empty index with what lived on; the next record to apply is then the first that was kept.
/// False when not all of it is there.
pub(crate) fn load(
    journal: &Journal,
    db: &mut Connection,
    ending: &Ending,
) -> Result<bool, LedgerError> {
    let tx = db.transaction()?;
    let mut tally = Tally::default();
    each_text(journal, ending.carried.from..ending.offset, |_, text| {
        let Some(row) = row_of(text) else { return Ok(()) };
        tally.add(&row, text.as_bytes());
        Ok(restore(&tx, &row)?)
    })?;
    index::set_retired(&tx, ending.offset, &ending.range)?;
    index::set_next_offset(&tx, ending.range.next)?;
    tx.commit()?;
    Ok(tally.over(ending.carried.from) == ending.carried)
}

/// Calls `each` with the text of every whole record whose last part stands in `range`; what is missing
/// is passed over.
fn each_text(
    journal: &Journal,
    range: Range<u64>,
    mut each: impl FnMut(u64, &str) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let (mut reader, mut rejoin) = (journal.reader(range.start), Rejoin::default());
    while reader.next_offset() < range.end {
        let block: Block = match reader.next(Duration::ZERO) {
            Ok(Some(block)) => block,
            Ok(None) => return Ok(()),
            Err(JournalError::Corrupt { .. } | JournalError::Retired { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        for view in block.records().filter(|view| view.offset < range.end) {
            let joined;
            let bytes = match rejoin.push(&view) {
                Joined::Whole => view.bytes,
                Joined::Parts(parts) => {
                    joined = parts;
                    &joined
                }
                Joined::Pending | Joined::TooLong => continue,
            };
            if let Ok(text) = std::str::from_utf8(bytes) {
                each(view.offset, text)?;
            }
        }
    }
    Ok(())
}
