//! What Grafana's own Loki data source asks, answered from the store: no plugin is needed.
//!
//! Labels are field names with `_` for every other character; a stream is what events of one source,
//! host, module, action and outcome have in common; a line is the record as it was received.

pub mod detected;
mod metrics;
mod tail;

pub use tail::tail;

use super::events::Cancel;
use super::problem::Problem;
use crate::run::App;
use axum::Json;
use axum::extract::{Path, Query as Params, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use event::{Dictionary, FieldId};
use filter::logql::{self, LogQuery, LogqlError, Query, label_of};
use filter::search;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use store::SearchRequest;

/// Fields that tell streams apart.
pub const STREAM_FIELDS: [&str; 6] =
    ["alcedo.source", "host.name", "event.module", "event.action", "event.outcome", "log.level"];
/// Further fields that are offered when a query is built.
const OFFERED_FIELDS: [&str; 12] = [
    "alcedo.pack",
    "destination.ip",
    "destination.port",
    "event.category",
    "event.code",
    "event.dataset",
    "process.executable",
    "process.name",
    "rule.name",
    "source.ip",
    "url.domain",
    "user.name",
];
/// Longest a question may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Lines when nobody says how many, as in Loki.
const LIMIT_DEFAULT: usize = 100;
/// Most values of a label, and most series of one answer.
const VALUES_MAX: usize = 1_000;
/// Looked back when nobody says since when, ns.
const BACK_DEFAULT_NS: i64 = 3_600 * event::time::SECOND_NS;

/// A refusal as Loki gives it: the reason alone, as text.
pub struct Refusal(Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<LogqlError> for Refusal {
    fn from(error: LogqlError) -> Self {
        Self(Problem::bad(error.to_string()))
    }
}

impl From<store::SearchError> for Refusal {
    fn from(error: store::SearchError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, retry) = (self.0.status, self.0.retry_after_s);
        let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        let mut response = (status, kind, self.0.detail).into_response();
        if let Some(seconds) = retry {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

type Answer = Result<Json<Value>, Refusal>;

/// The query string: keys may stand there several times.
pub struct Asked {
    pairs: Vec<(String, String)>,
    /// Set when whoever asked has gone.
    cancelled: Arc<AtomicBool>,
}

impl Asked {
    fn get(&self, key: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(k, _)| k == key);
        found.map(|(_, v)| &**v).filter(|v| !v.is_empty())
    }

    fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(k, _)| k == key).map(|(_, v)| &**v)
    }

    fn time(&self, key: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let wrong = || Problem::bad(format!("`{text}` is no time for `{key}`"));
        Ok(Some(time_of(text).ok_or_else(wrong)?))
    }

    /// `start` and `end`, the last hour by default.
    fn range(&self) -> Result<(i64, i64), Refusal> {
        let end = self.time("end")?.unwrap_or_else(io::intake::wall_ns);
        let start = self.time("start")?.unwrap_or(end.saturating_sub(BACK_DEFAULT_NS));
        match start <= end {
            true => Ok((start, end)),
            false => Err(Problem::bad("`end` is before `start`").into()),
        }
    }

    fn query(&self) -> Result<&str, Refusal> {
        Ok(self.get("query").ok_or_else(|| Problem::bad("`query` is missing"))?)
    }
}

/// Nanoseconds, seconds with a fraction, or RFC 3339.
fn time_of(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        // Loki tells them apart by their length, too.
        return if text.len() > 10 { Some(number) } else { number.checked_mul(1_000_000_000) };
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds.abs() < 9e9).then_some((seconds * 1e9) as i64);
    }
    event::time::parse_rfc3339(text)
}

/// The field that a label means: the first one of that name, ECS before others.
pub fn field_of(dict: &Dictionary, label: &str) -> String {
    if matches!(label, "level" | "detected_level") {
        return "log.level".into();
    }
    let ids = (0..dict.len() as u32).map(FieldId);
    let known = ids.map(|id| dict.name(id)).find(|name| label_of(name) == label);
    known.map_or_else(|| label.replace('_', "."), str::to_owned)
}

fn request(app: &App, asked: &Asked, log: &LogQuery, (start, end): (i64, i64)) -> SearchRequest {
    let query = search::Query { filter: log.filter.clone(), pipes: Vec::new() };
    let mut request = app.search_of(query);
    (request.since_ns, request.until_ns) = (Some(start), Some(end));
    request.timeout = Some(TIMEOUT);
    request.cancelled = asked.cancelled.clone();
    request
}

fn parsed(app: &App, text: &str) -> Result<Query, Refusal> {
    let dict = app.generation().dict.clone();
    Ok(logql::parse(text, &|label| field_of(&dict, label))?)
}

fn everything() -> LogQuery {
    LogQuery { filter: filter::Plan::everything(), all_fields: false }
}

fn selected(app: &App, text: Option<&str>) -> Result<LogQuery, Refusal> {
    let Some(text) = text else { return Ok(everything()) };
    let dict = app.generation().dict.clone();
    Ok(logql::parse_log(text, &|label| field_of(&dict, label))?)
}

/// Runs a question on a thread of its own when it is its turn, as all searches: under overload one
/// runs at a time. It ends when whoever asked goes away.
async fn answered(
    app: Arc<App>,
    pairs: Vec<(String, String)>,
    work: impl FnOnce(&App, &Asked) -> Answer + Send + 'static,
) -> Answer {
    let turn = app.turn().await?;
    let asked = Asked { pairs, cancelled: Arc::default() };
    let _gone = Cancel(asked.cancelled.clone());
    let work = move |app: &App| {
        let _turn = turn;
        work(app, &asked).map_err(|refusal| refusal.0)
    };
    Ok(app.blocking(work).await?)
}

fn success(data: Value) -> Json<Value> {
    Json(json!({"status": "success", "data": data}))
}

type Pairs = Params<Vec<(String, String)>>;

/// `GET /loki/api/v1/labels`
pub async fn labels() -> Json<Value> {
    let mut labels: Vec<String> =
        STREAM_FIELDS.iter().chain(&OFFERED_FIELDS).map(|field| shown_as(field)).collect();
    labels.sort();
    success(json!(labels))
}

/// `GET /loki/api/v1/label/{name}/values`
pub async fn values(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Params(pairs): Pairs,
) -> Answer {
    answered(app, pairs, move |app, asked| {
        let log = selected(app, asked.get("query"))?;
        let request = request(app, asked, &log, asked.range()?);
        let field = field_of(&request.dictionary, &name);
        let found = app.store.field_values(&request, &field, VALUES_MAX)?;
        let mut values: Vec<String> = found.values.into_iter().map(|(value, _)| value).collect();
        values.sort();
        Ok(success(json!(values)))
    })
    .await
}

/// `GET /loki/api/v1/series`
pub async fn series(State(app): State<Arc<App>>, Params(pairs): Pairs) -> Answer {
    answered(app, pairs, move |app, asked| {
        let range = asked.range()?;
        let mut selectors: Vec<&str> = asked.all("match[]").chain(asked.all("match")).collect();
        if selectors.is_empty() {
            selectors.push("{}");
        }
        let mut found: BTreeMap<String, Value> = BTreeMap::new();
        for selector in selectors {
            let log = selected(app, Some(selector))?;
            let fields: Vec<String> = STREAM_FIELDS.iter().map(|f| (*f).to_owned()).collect();
            for (labels, _) in metrics::totals(app, asked, &log, range, &fields)? {
                found.insert(json!(labels).to_string(), json!(labels));
            }
        }
        Ok(success(found.into_values().take(VALUES_MAX).collect()))
    })
    .await
}

/// `GET /loki/api/v1/query_range`
pub async fn query_range(State(app): State<Arc<App>>, Params(pairs): Pairs) -> Answer {
    answered(app, pairs, move |app, asked| {
        let range = asked.range()?;
        match parsed(app, asked.query()?)? {
            Query::Log(log) => lines(app, asked, &log, range),
            Query::Metric(metric) => {
                let step_ns = metrics::step_of(asked.get("step"), range)?;
                metrics::matrix(app, asked, &metric, range, step_ns)
            }
            Query::Number(number) => {
                let values =
                    [range.0, range.1].map(|at| json!([at as f64 / 1e9, number.to_string()]));
                let result = json!([{"metric": {}, "values": values}]);
                Ok(success(json!({"resultType": "matrix", "result": result})))
            }
        }
    })
    .await
}

/// `GET /loki/api/v1/query`: at one time.
pub async fn query(State(app): State<Arc<App>>, Params(pairs): Pairs) -> Answer {
    answered(app, pairs, move |app, asked| {
        let at = asked.time("time")?.unwrap_or_else(io::intake::wall_ns);
        match parsed(app, asked.query()?)? {
            Query::Log(log) => lines(app, asked, &log, (at.saturating_sub(BACK_DEFAULT_NS), at)),
            Query::Metric(metric) => metrics::vector(app, asked, &metric, at),
            Query::Number(number) => {
                let value = json!([at as f64 / 1e9, number.to_string()]);
                let result = json!([{"metric": {}, "value": value}]);
                Ok(success(json!({"resultType": "vector", "result": result})))
            }
        }
    })
    .await
}

/// `GET /loki/api/v1/index/stats`: what a query would look at, which Grafana shows before it is run.
pub async fn stats(State(app): State<Arc<App>>, Params(pairs): Pairs) -> Answer {
    answered(app, pairs, move |app, asked| {
        let log = match parsed(app, asked.query()?)? {
            Query::Log(log) => log,
            Query::Metric(metric) => metric.log,
            Query::Number(_) => return Ok(Json(json!(Stats::default()))),
        };
        let found = app.store.estimate(&request(app, asked, &log, asked.range()?))?;
        // Streams are not counted without reading: files stand for them.
        let (streams, chunks) = (found.files, found.units);
        Ok(Json(json!(Stats { streams, chunks, entries: found.rows, bytes: found.bytes })))
    })
    .await
}

/// The documented answer of `index/stats`; it has no `status`.
#[derive(Default, Serialize)]
struct Stats {
    streams: u64,
    chunks: u64,
    entries: u64,
    bytes: u64,
}

/// `GET /ready`, as Loki has it.
pub async fn ready() -> &'static str {
    "ready\n"
}

fn lines(app: &App, asked: &Asked, log: &LogQuery, range: (i64, i64)) -> Answer {
    let mut request = request(app, asked, log, range);
    let limit = asked.get("limit").map(str::parse::<usize>);
    let wrong = |_| Problem::bad("`limit` is no number");
    request.limit = limit.transpose().map_err(wrong)?.unwrap_or(LIMIT_DEFAULT);
    request.oldest_first = match asked.get("direction") {
        None | Some("backward" | "BACKWARD") => false,
        Some("forward" | "FORWARD") => true,
        Some(_) => return Err(Problem::bad("`direction` is forward or backward").into()),
    };
    let mut streams = Streams::default();
    let summary = app.store.search(&request, &mut |row| {
        if let Ok(fields) = serde_json::from_str(&row.json) {
            streams.add(&fields, row.event_ns.unwrap_or_default(), log.all_fields);
        }
        ControlFlow::Continue(())
    })?;
    let mut answer = json!({"status": "success", "data": {
        "resultType": "streams",
        "result": streams.json(),
        "stats": {"summary": {
            "execTime": summary.elapsed_ms as f64 / 1e3,
            "totalBytesProcessed": summary.scanned_bytes,
            "totalLinesProcessed": summary.scanned_rows,
            "totalEntriesReturned": summary.returned,
        }},
    }});
    if let Some(why) = summary.partial {
        let seen = summary.matched;
        answer["warnings"] = json!([format!("not whole: {why}, after {seen} matching events")]);
    }
    Ok(Json(answer))
}

/// Lines by their labels, in the order in which they came.
#[derive(Default)]
struct Streams {
    order: Vec<(Map<String, Value>, Vec<Value>)>,
    places: BTreeMap<String, usize>,
}

impl Streams {
    fn add(&mut self, fields: &Map<String, Value>, at_ns: i64, all: bool) {
        let labels = labels_of(fields, all);
        let line = text_of(&fields["event.original"]).unwrap_or_default();
        let place =
            *self.places.entry(Value::from(labels.clone()).to_string()).or_insert_with(|| {
                self.order.push((labels, Vec::new()));
                self.order.len() - 1
            });
        self.order[place].1.push(json!([at_ns.to_string(), line]));
    }

    fn json(self) -> Vec<Value> {
        let streams = self.order.into_iter();
        streams.map(|(labels, values)| json!({"stream": labels, "values": values})).collect()
    }
}

/// The label that a field is shown under: Grafana colours lines by `level`.
fn shown_as(field: &str) -> String {
    if field == "log.level" { "level".into() } else { label_of(field) }
}

/// The labels of an event: those of its stream, or all fields.
fn labels_of(fields: &Map<String, Value>, all: bool) -> Map<String, Value> {
    let mut labels = Map::new();
    let mut add = |name: &str, value: &Value| {
        if let Some(text) = text_of(value).filter(|text| !text.is_empty()) {
            labels.insert(shown_as(name), text.into());
        }
    };
    for name in STREAM_FIELDS {
        if let Some(value) = fields.get(name) {
            add(name, value);
        }
    }
    if all {
        let shown = |name: &&String| !matches!(&***name, "event.original" | "@timestamp");
        fields.iter().filter(|(name, _)| shown(name)).for_each(|(name, value)| add(name, value));
    }
    labels
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
