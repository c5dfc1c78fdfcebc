//! Questions to the index. Pages are cut by key, not by number: what is added while somebody pages
//! neither shifts nor repeats rows.

use crate::ledger::LedgerError;
use crate::record::{DeliveryStatus, LedgerRecord, SavedSearch, SearchRun, disposition};
use alert::{Revision, RuleMeta, State};
use event::{Alert, Disposition, Evidence, Level};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most rows of a page.
pub const PAGE_MAX: usize = 1_000;
/// Longest text filter, bytes.
pub const TEXT_MAX_BYTES: usize = 512;
/// Most history records shown with an alert, newest kept.
pub const HISTORY_MAX: usize = 10_000;
/// Most ids in a filter: what a person has on screen at once, below what SQLite binds (32,766).
pub const IDS_MAX: usize = 1_000;

/// Which alerts. Everything given has to hold.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertFilter {
    /// In one of these states; empty = any.
    pub states: Vec<State>,
    /// At least this severe.
    pub min_level: Option<Level>,
    /// Of this rule.
    pub rule_id: Option<String>,
    /// Entity, title or reason contain this text, in any case.
    pub text: Option<String>,
    /// Fired at or after this stream time, ns.
    pub since_ns: Option<i64>,
    /// Fired before this stream time, ns.
    pub until_ns: Option<i64>,
    /// Assigned to this person.
    pub assignee: Option<String>,
    /// Assigned to nobody.
    pub unassigned: bool,
    /// One of these, at most [`IDS_MAX`]; empty = any.
    pub ids: Vec<String>,
    /// From events read in bulk, or not.
    pub backfill: Option<bool>,
}

/// In which order alerts are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AlertOrder {
    /// Newest first, by (stream time, id).
    #[default]
    Newest,
    /// The most severe first, the newest of each level first.
    Severity,
}

/// One alert in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertRow {
    /// Id.
    pub id: String,
    /// Stream time at which it fired, ns.
    pub stream_ns: i64,
    /// Event time of the event that fired it, ns.
    pub event_ns: i64,
    /// Event time last seen, ns.
    pub last_event_ns: i64,
    /// Rule.
    pub rule_id: String,
    /// Rule title.
    pub title: String,
    /// Severity.
    pub level: Level,
    /// Where it stands.
    pub state: State,
    /// As what it was closed.
    pub disposition: Option<Disposition>,
    /// To whom it was given.
    pub assignee: Option<String>,
    /// Occurrences.
    pub count: u64,
    /// Entity.
    pub entity: BTreeMap<String, String>,
    /// One sentence.
    pub reason: String,
    /// From events read in bulk.
    pub backfill: bool,
}

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows, newest first.
    pub rows: Vec<T>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<String>,
}

/// How many alerts match a filter.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// All.
    pub total: u64,
    /// By state name.
    pub by_state: BTreeMap<String, u64>,
    /// By level name.
    pub by_level: BTreeMap<String, u64>,
    /// Stream time at which the newest of them fired, ns.
    pub newest_ns: Option<i64>,
}

/// One thing that happened to an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Offset of its record in the ledger stream.
    pub offset: u64,
    /// The record.
    pub record: LedgerRecord,
}

/// An alert with everything known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertDetail {
    /// The alert, with the occurrences and the evidence folded into it since, and the reason and
    /// measurements of its last revision.
    pub alert: Alert,
    /// Its rule's licence, references and advice.
    pub rule: RuleMeta,
    /// Where it stands.
    pub state: State,
    /// As what it was closed.
    pub disposition: Option<Disposition>,
    /// To whom it was given.
    pub assignee: Option<String>,
    /// Event time last seen, ns.
    pub last_event_ns: i64,
    /// Events it rests on, those beyond the kept ones included.
    pub evidence_total: u64,
    /// What happened to it, oldest first.
    pub history: Vec<History>,
    /// Offset of its record in the ledger stream: a sink whose cursor is not past it has it to come.
    pub offset: u64,
    /// Where it stands with every sink that was tried.
    pub deliveries: BTreeMap<String, Delivery>,
}

/// Where an alert stands with one sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// What became of it.
    pub status: DeliveryStatus,
    /// When that was, wall ns.
    pub at_ns: i64,
    /// After how many tries.
    pub attempts: u32,
    /// What failed last; empty when nothing did.
    pub last_error: String,
}

impl Delivery {
    /// The sink and the rest, of a record of a delivery.
    fn of(record: LedgerRecord) -> Option<(String, Self)> {
        let LedgerRecord::Delivery { sink, status, attempts, detail, actor, .. } = record else {
            return None;
        };
        Some((sink, Self { status, at_ns: actor.at_ns, attempts, last_error: detail }))
    }
}

/// Which audit records.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditFilter {
    /// By this identity.
    pub who: Option<String>,
    /// Of this action, or of all below it: `token` has `token.create`.
    pub action: Option<String>,
    /// At or after, wall ns.
    pub since_ns: Option<i64>,
    /// Before, wall ns.
    pub until_ns: Option<i64>,
}

/// One line of the audit list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    /// Offset of its record in the ledger stream.
    pub offset: u64,
    /// Wall time, ns since 1970-01-01 UTC.
    pub at_ns: i64,
    /// Who.
    pub who: String,
    /// Did what.
    pub action: String,
    /// To what.
    pub target: String,
    /// More.
    pub detail: String,
    /// From where.
    pub client: String,
}

/// Conditions with their values, in order. Values are always bound, never spliced in.
#[derive(Default)]
struct Where {
    terms: Vec<String>,
    values: Vec<Value>,
}

impl Where {
    fn and(&mut self, term: &str, values: impl IntoIterator<Item = Value>) {
        self.terms.push(term.to_owned());
        self.values.extend(values);
    }

    fn sql(&self) -> String {
        match self.terms.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", self.terms.join(" AND ")),
        }
    }
}

fn alert_where(filter: &AlertFilter) -> Result<Where, LedgerError> {
    let mut out = Where::default();
    let int = |n: i64| Some(Value::Integer(n));
    if !filter.states.is_empty() {
        let marks = vec!["?"; filter.states.len()].join(", ");
        let states = filter.states.iter().map(|s| Value::Integer(*s as i64));
        out.and(&format!("state IN ({marks})"), states);
    }
    if let Some(level) = filter.min_level {
        out.and("level >= ?", int(level as i64));
    }
    if let Some(rule_id) = &filter.rule_id {
        out.and("rule_id = ?", Some(Value::Text(rule_id.clone())));
    }
    if let Some(text) = filter.text.as_ref().filter(|text| !text.is_empty()) {
        if text.len() > TEXT_MAX_BYTES {
            return Err(LedgerError::TooLong { what: "text", max: TEXT_MAX_BYTES });
        }
        out.and("instr(haystack, ?) > 0", Some(Value::Text(event::text::fold(text))));
    }
    if let Some(ns) = filter.since_ns {
        out.and("stream_ns >= ?", int(ns));
    }
    if let Some(ns) = filter.until_ns {
        out.and("stream_ns < ?", int(ns));
    }
    if let Some(assignee) = &filter.assignee {
        out.and("assignee = ?", Some(Value::Text(assignee.clone())));
    }
    if filter.unassigned {
        out.and("assignee IS NULL", None);
    }
    if filter.ids.len() > IDS_MAX {
        return Err(LedgerError::TooLong { what: "the list of ids", max: IDS_MAX });
    }
    if !filter.ids.is_empty() {
        let marks = vec!["?"; filter.ids.len()].join(", ");
        out.and(&format!("id IN ({marks})"), filter.ids.iter().cloned().map(Value::Text));
    }
    if let Some(backfill) = filter.backfill {
        out.and("backfill = ?", int(i64::from(backfill)));
    }
    Ok(out)
}

/// Alerts that match.
pub(crate) fn alerts(
    db: &Connection,
    filter: &AlertFilter,
    order: AlertOrder,
    limit: usize,
    cursor: Option<&str>,
) -> Result<Page<AlertRow>, LedgerError> {
    let mut terms = alert_where(filter)?;
    let (columns, marks) = match order {
        AlertOrder::Newest => ("stream_ns, id", "?, ?"),
        AlertOrder::Severity => ("level, stream_ns, id", "?, ?, ?"),
    };
    if let Some(cursor) = cursor {
        let values = cursor_values(cursor, order).ok_or(LedgerError::BadCursor)?;
        terms.and(&format!("({columns}) < ({marks})"), values);
    }
    let limit = limit.clamp(1, PAGE_MAX);
    let sql = format!(
        "SELECT id, stream_ns, event_ns, last_event_ns, rule_id, title, level, state, disposition,
         assignee, count, entity, reason, backfill FROM alerts{} ORDER BY {} DESC LIMIT {}",
        terms.sql(),
        columns.replace(',', " DESC,"),
        limit + 1
    );
    let mut statement = db.prepare_cached(&sql)?;
    let found = statement.query_map(params_from_iter(terms.values), alert_row)?;
    let rows = found.collect::<rusqlite::Result<Vec<AlertRow>>>()?;
    Ok(page(rows, limit, |row| match order {
        AlertOrder::Newest => format!("{}.{}", row.stream_ns, row.id),
        AlertOrder::Severity => format!("{}.{}.{}", row.level as i64, row.stream_ns, row.id),
    }))
}

/// The values that a cursor stands for; none if it is no cursor of this order.
fn cursor_values(cursor: &str, order: AlertOrder) -> Option<Vec<Value>> {
    let numbers = match order {
        AlertOrder::Newest => 1,
        AlertOrder::Severity => 2,
    };
    let mut parts = cursor.splitn(numbers + 1, '.');
    let mut values = Vec::with_capacity(numbers + 1);
    for _ in 0..numbers {
        values.push(Value::Integer(parts.next()?.parse().ok()?));
    }
    let id = parts.next().filter(|id| id.len() <= 64)?;
    values.push(Value::Text(id.to_owned()));
    Some(values)
}

/// An alert as far as a change of many asks.
pub(crate) struct Standing {
    pub(crate) id: String,
    pub(crate) state: State,
    pub(crate) assignee: Option<String>,
}

/// Up to `limit` matching alerts after `after` (an id), by id.
pub(crate) fn standing(
    db: &Connection,
    filter: &AlertFilter,
    after: &str,
    limit: usize,
) -> Result<Vec<Standing>, LedgerError> {
    let mut terms = alert_where(filter)?;
    terms.and("id > ?", Some(Value::Text(after.to_owned())));
    let sql =
        format!("SELECT id, state, assignee FROM alerts{} ORDER BY id LIMIT {limit}", terms.sql());
    let mut statement = db.prepare_cached(&sql)?;
    let found = statement.query_map(params_from_iter(terms.values), standing_row)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn standing_row(row: &Row<'_>) -> rusqlite::Result<Standing> {
    Ok(Standing { id: row.get(0)?, state: state(row, 1)?, assignee: row.get(2)? })
}

/// Where one alert stands.
pub(crate) fn standing_of(db: &Connection, id: &str) -> rusqlite::Result<Option<Standing>> {
    let text = "SELECT id, state, assignee FROM alerts WHERE id = ?1";
    db.prepare_cached(text)?.query_row([id], standing_row).optional()
}

pub(crate) fn counts(db: &Connection, filter: &AlertFilter) -> Result<Counts, LedgerError> {
    let terms = alert_where(filter)?;
    let sql = format!(
        "SELECT state, level, count(*), max(stream_ns) FROM alerts{} GROUP BY state, level",
        terms.sql()
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(terms.values))?;
    let mut out = Counts::default();
    while let Some(row) = rows.next()? {
        let n = row.get::<_, i64>(2)? as u64;
        out.total += n;
        *out.by_state.entry(state(row, 0)?.name().to_owned()).or_default() += n;
        *out.by_level.entry(level(row, 1)?.name().to_owned()).or_default() += n;
        out.newest_ns = out.newest_ns.max(row.get(3)?);
    }
    Ok(out)
}

pub(crate) fn alert(db: &Connection, id: &str) -> Result<Option<AlertDetail>, LedgerError> {
    let mut statement = db.prepare_cached(
        "SELECT alert, rule, state, disposition, assignee, last_event_ns, evidence_total, count,
         offset, revision FROM alerts WHERE id = ?1",
    )?;
    let found = statement
        .query_row([id], |row| {
            let mut alert: Alert = from_json(row, 0)?;
            alert.count = row.get::<_, i64>(7)? as u64;
            if row.get_ref(9)?.as_str_or_null()?.is_some() {
                let Revision { reason, correlation } = from_json(row, 9)?;
                alert.reason = reason;
                alert.explanation.correlation = correlation;
            }
            Ok(AlertDetail {
                alert,
                rule: from_json(row, 1)?,
                state: state(row, 2)?,
                disposition: verdict(row, 3)?,
                assignee: row.get(4)?,
                last_event_ns: row.get(5)?,
                evidence_total: row.get::<_, i64>(6)? as u64,
                history: Vec::new(),
                offset: row.get::<_, i64>(8)? as u64,
                deliveries: BTreeMap::new(),
            })
        })
        .optional()?;
    let Some(mut detail) = found else { return Ok(None) };
    let mut more =
        db.prepare_cached("SELECT list FROM evidence WHERE alert = ?1 ORDER BY offset")?;
    for list in more.query_map([id], |row| from_json::<Vec<Evidence>>(row, 0))? {
        Evidence::join(&mut detail.alert.evidence, list?);
    }
    detail.alert.evidence.truncate(alert::desk::EVIDENCE_MAX);
    detail.alert.evidence.sort_by_key(|e| (e.event_ns, e.id));
    let mut history = db.prepare_cached(
        "SELECT offset, record FROM history WHERE alert = ?1 ORDER BY offset DESC LIMIT ?2",
    )?;
    let records = history.query_map((id, HISTORY_MAX as i64), |row| {
        Ok(History { offset: row.get::<_, i64>(0)? as u64, record: from_json(row, 1)? })
    })?;
    detail.history = records.collect::<rusqlite::Result<_>>()?;
    detail.history.reverse();
    detail.deliveries = deliveries(db, id)?;
    Ok(Some(detail))
}

/// Where an alert stands with every sink that was tried; also where the history shown is too short to
/// reach back to it.
pub(crate) fn deliveries(
    db: &Connection,
    id: &str,
) -> Result<BTreeMap<String, Delivery>, LedgerError> {
    let mut statement = db.prepare_cached(
        "SELECT record FROM history WHERE alert = ?1 AND json_extract(record, '$.type') = 'delivery'
         ORDER BY offset",
    )?;
    let mut out = BTreeMap::new();
    for record in statement.query_map([id], |row| from_json::<LedgerRecord>(row, 0))? {
        out.extend(Delivery::of(record?));
    }
    Ok(out)
}

pub(crate) fn audit(
    db: &Connection,
    filter: &AuditFilter,
    limit: usize,
    cursor: Option<&str>,
) -> Result<Page<AuditRow>, LedgerError> {
    let mut terms = Where::default();
    if let Some(who) = &filter.who {
        terms.and("who = ?", Some(Value::Text(who.clone())));
    }
    if let Some(action) = &filter.action {
        let below = format!("{action}.");
        let size = below.chars().count() as i64;
        terms.and(
            "(action = ? OR substr(action, 1, ?) = ?)",
            [Value::Text(action.clone()), Value::Integer(size), Value::Text(below)],
        );
    }
    if let Some(ns) = filter.since_ns {
        terms.and("at_ns >= ?", Some(Value::Integer(ns)));
    }
    if let Some(ns) = filter.until_ns {
        terms.and("at_ns < ?", Some(Value::Integer(ns)));
    }
    if let Some(cursor) = cursor {
        let offset = cursor.parse::<i64>().map_err(|_| LedgerError::BadCursor)?;
        terms.and("offset < ?", Some(Value::Integer(offset)));
    }
    let limit = limit.clamp(1, PAGE_MAX);
    let sql = format!(
        "SELECT offset, at_ns, who, action, target, detail, client FROM audit{}
         ORDER BY offset DESC LIMIT {}",
        terms.sql(),
        limit + 1
    );
    let mut statement = db.prepare_cached(&sql)?;
    let found = statement.query_map(params_from_iter(terms.values), |row| {
        Ok(AuditRow {
            offset: row.get::<_, i64>(0)? as u64,
            at_ns: row.get(1)?,
            who: row.get(2)?,
            action: row.get(3)?,
            target: row.get(4)?,
            detail: row.get(5)?,
            client: row.get(6)?,
        })
    })?;
    let rows = found.collect::<rusqlite::Result<Vec<AuditRow>>>()?;
    Ok(page(rows, limit, |row| row.offset.to_string()))
}

pub(crate) fn tokens(db: &Connection) -> Result<Vec<trust::TokenRecord>, LedgerError> {
    let mut statement = db.prepare_cached("SELECT token FROM tokens ORDER BY id")?;
    let found = statement.query_map([], |row| from_json(row, 0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// A saved search as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedRow {
    /// The search.
    pub search: SavedSearch,
    /// Who saved it last.
    pub who: String,
    /// When.
    pub at_ns: i64,
    /// Its last run, if it is run on a schedule.
    pub run: Option<SearchRun>,
}

pub(crate) fn searches(db: &Connection) -> Result<Vec<SavedRow>, LedgerError> {
    let text = "SELECT search, who, at_ns, run FROM searches ORDER BY name";
    let mut statement = db.prepare_cached(text)?;
    let found = statement.query_map([], saved_row)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn search(db: &Connection, name: &str) -> Result<Option<SavedRow>, LedgerError> {
    let text = "SELECT search, who, at_ns, run FROM searches WHERE name = ?1";
    Ok(db.prepare_cached(text)?.query_row([name], saved_row).optional()?)
}

fn saved_row(row: &Row<'_>) -> rusqlite::Result<SavedRow> {
    let run = match row.get_ref(3)? {
        ValueRef::Null => None,
        _ => Some(from_json(row, 3)?),
    };
    Ok(SavedRow { search: from_json(row, 0)?, who: row.get(1)?, at_ns: row.get(2)?, run })
}

fn page<T>(mut rows: Vec<T>, limit: usize, key: impl Fn(&T) -> String) -> Page<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    Page { next: rows.last().filter(|_| more).map(key), rows }
}

fn alert_row(row: &Row<'_>) -> rusqlite::Result<AlertRow> {
    Ok(AlertRow {
        id: row.get(0)?,
        stream_ns: row.get(1)?,
        event_ns: row.get(2)?,
        last_event_ns: row.get(3)?,
        rule_id: row.get(4)?,
        title: row.get(5)?,
        level: level(row, 6)?,
        state: state(row, 7)?,
        disposition: verdict(row, 8)?,
        assignee: row.get(9)?,
        count: row.get::<_, i64>(10)? as u64,
        entity: from_json(row, 11)?,
        reason: row.get(12)?,
        backfill: row.get(13)?,
    })
}

pub(crate) fn state(row: &Row<'_>, at: usize) -> rusqlite::Result<State> {
    let number: usize = row.get(at)?;
    let found = State::ALL.get(number).map(|(state, ..)| *state);
    found.ok_or(rusqlite::Error::IntegralValueOutOfRange(at, number as i64))
}

fn level(row: &Row<'_>, at: usize) -> rusqlite::Result<Level> {
    let number: usize = row.get(at)?;
    let found = Level::ALL.get(number).map(|(level, _)| *level);
    found.ok_or(rusqlite::Error::IntegralValueOutOfRange(at, number as i64))
}

pub(crate) fn verdict(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Disposition>> {
    Ok(row.get::<_, Option<String>>(at)?.and_then(|name| disposition(&name)))
}

pub(crate) fn from_json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    at: usize,
) -> rusqlite::Result<T> {
    let text = row.get_ref(at)?.as_str()?;
    serde_json::from_str(text).map_err(|e| {
        rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, Box::new(e))
    })
}
