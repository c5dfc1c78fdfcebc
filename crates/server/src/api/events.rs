//! Searching, looking around, following.

use super::asked::{InPath, JsonBody, Params};
use super::lines::{error_line, lines};
use super::problem::Problem;
use super::searches;
use super::viewer::{Viewer, sse, viewer};
use crate::run::App;
use crate::run::app::Turn;
use crate::run::bus::Seen;
use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use event::{EventBatch, EventId};
use filter::search::{self, duration_ns};
use futures::stream::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::{Row, SearchRequest, SearchSummary};
use trust::Principal;

/// Longest a search may take before it answers with what it has, saying so.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Rows a live tail sends per second before it skips and says how many.
const TAIL_ROWS_PER_S: u64 = 5_000;
/// Rows of "around": both sides together.
const AROUND_ROWS: usize = 2_000;

/// Body of a search.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Asked {
    /// Name of a saved search; `query` then has further pipes only.
    pub saved: Option<String>,
    /// Filter and pipes.
    pub query: String,
    /// Beginning.
    pub since: Option<String>,
    /// End.
    pub until: Option<String>,
    /// Most rows; 0 is as many as there may be.
    pub limit: Option<usize>,
}

/// A time: RFC 3339, or a duration back from now.
pub fn time_of(text: Option<&str>, now_ns: i64) -> Result<Option<i64>, Problem> {
    let Some(text) = text.filter(|t| !t.is_empty()) else { return Ok(None) };
    let back = duration_ns(text).and_then(|ns| now_ns.checked_sub(ns));
    let time = back.or_else(|| event::time::parse_written(text));
    let wrong = || Problem::bad(format!("`{text}` is no time; write 24h or 2026-11-24T02:14:00Z"));
    time.map(Some).ok_or_else(wrong)
}

/// The request that is meant, with this server's limits.
pub fn request_of(app: &App, asked: &Asked) -> Result<SearchRequest, Problem> {
    let now_ns = io::intake::wall_ns();
    let query = search::parse(&asked.query, now_ns)?;
    let mut request = SearchRequest::new(query, app.generation().dict.clone());
    request.since_ns = time_of(asked.since.as_deref(), now_ns)?;
    request.until_ns = time_of(asked.until.as_deref(), now_ns)?;
    request.limit = match asked.limit {
        // Of more than [`store::search::LIMIT_MAX`] the answer says that it is cut.
        Some(0) => usize::MAX,
        Some(limit) => limit,
        None => store::search::LIMIT_DEFAULT,
    };
    request.timeout = Some(SEARCH_TIMEOUT);
    let lookups = app.lookups.of_query(&request.query);
    request.lookups = lookups.map_err(|error| error.located_in(&asked.query))?;
    Ok(request)
}

/// What a search did, for people.
pub fn summary_json(summary: &SearchSummary) -> Value {
    let mut out = json!({
        "matched": summary.matched,
        "matched_exact": summary.matched_exact,
        "returned": summary.returned,
        "scanned_rows": summary.scanned_rows,
        "scanned_files": summary.scanned_files,
        "scanned_bytes": summary.scanned_bytes,
        "elapsed_ms": summary.elapsed_ms,
        "partial": summary.partial.is_some(),
    });
    if let Some(why) = &summary.partial {
        out["why_partial"] = why.as_str().into();
    }
    out
}

/// The same of a search of all events, with how many came in before it and could not be found yet.
fn summary_beside(summary: &SearchSummary, waiting_records: u64) -> Value {
    let mut out = summary_json(summary);
    if waiting_records > 0 {
        out["waiting_records"] = waiting_records.into();
    }
    out
}

/// `POST /api/v1/search`
pub async fn search(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    JsonBody(asked): JsonBody<Asked>,
) -> Result<Response, Problem> {
    let asked = searches::filled(&app, asked).await?;
    let request = limited(&app, request_of(&app, &asked)?, &headers);
    let cancelled = request.cancelled.clone();
    answer(app, (principal, &headers), cancelled, move |app, out| {
        app.store.search(&request, out).map_err(|error| error.located_in(&asked.query))
    })
    .await
}

/// Whether rows are handed on as they are found.
fn is_streamed(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    accept.is_some_and(|accept| accept.contains("application/x-ndjson"))
}

/// The request with the limit of its answer: a document is in memory until it is whole.
pub fn limited(app: &App, request: SearchRequest, headers: &HeaderMap) -> SearchRequest {
    match is_streamed(headers) {
        true => request,
        false => SearchRequest { memory_bytes_max: app.memory.search, ..request },
    }
}

/// What `work` finds, in the form that was asked for: rows as they are found for
/// `Accept: application/x-ndjson`, else one document. Waits for its turn while there is little memory.
pub async fn answer(
    app: Arc<App>,
    (principal, headers): (Principal, &HeaderMap),
    cancelled: Arc<AtomicBool>,
    work: impl FnOnce(&App, &mut dyn FnMut(Row) -> ControlFlow<()>) -> Found + Send + 'static,
) -> Result<Response, Problem> {
    let turn = app.turn().await?;
    // Before the search: what is found is at least all else.
    let waiting = app.not_searchable(io::intake::wall_ns());
    if is_streamed(headers) {
        return stream_rows((app, principal), cancelled, (turn, waiting), work).await;
    }
    let _gone = Cancel(cancelled);
    app.blocking(move |app| {
        let _turn = turn;
        // Rows stay the text they are: read and written again they would take several times the room.
        let mut pieces: Vec<String> = vec!["{\"rows\":[".into()];
        let summary = work(app, &mut |row| {
            if pieces.len() > 1 {
                pieces.push(",".into());
            }
            let mut json = row.json;
            json.shrink_to_fit();
            pieces.push(json);
            ControlFlow::Continue(())
        })?;
        let (columns, summary) = (json!(summary.columns), summary_beside(&summary, waiting));
        pieces.push(format!("],\"columns\":{columns},\"summary\":{summary}}}"));
        let len: usize = pieces.iter().map(String::len).sum();
        let pieces = futures::stream::iter(pieces).map(Ok::<_, Infallible>);
        let headers = [
            (header::CONTENT_TYPE, "application/json".to_owned()),
            (header::CONTENT_LENGTH, len.to_string()),
        ];
        Ok((headers, Body::from_stream(pieces)).into_response())
    })
    .await
}

/// Ends a search whose asker has gone.
pub struct Cancel(pub Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

enum Piece {
    Line(String),
    Failed(store::SearchError),
}

/// Rows as they are found, one JSON object a line; the last line is the summary. What fails before
/// the first row is a problem with a status of its own.
async fn stream_rows(
    (app, principal): (Arc<App>, Principal),
    cancelled: Arc<AtomicBool>,
    (turn, waiting): (Turn, u64),
    work: impl FnOnce(&App, &mut dyn FnMut(Row) -> ControlFlow<()>) -> Found + Send + 'static,
) -> Result<Response, Problem> {
    let gone = Cancel(cancelled);
    let (mut answer, mut told) = lines(app.clone(), principal);
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let found = work(&app, &mut |row| {
            let mut line = row.json;
            line.push('\n');
            answer.put(Piece::Line(line))
        });
        let last = match found {
            Ok(summary) => {
                let mut told = summary_beside(&summary, waiting);
                told["columns"] = json!(summary.columns);
                Piece::Line(format!("{}\n", json!({"alcedo.summary": told})))
            }
            Err(error) => Piece::Failed(error),
        };
        let _ = answer.put(last);
    });
    let first = match told.first().await {
        Some(Piece::Failed(error)) => return Err(error.into()),
        first => first,
    };
    Ok(told.into_response(first, gone, |piece| match piece {
        Piece::Line(line) => line,
        Piece::Failed(error) => error_line(&error.to_string()),
    }))
}

/// What a search comes to.
pub type Found = Result<SearchSummary, store::SearchError>;

/// Query of histogram and values.
#[derive(Deserialize)]
pub struct Distribution {
    #[serde(default)]
    query: String,
    since: Option<String>,
    until: Option<String>,
    buckets: Option<usize>,
    field: Option<String>,
    limit: Option<usize>,
}

impl Distribution {
    fn request(&self, app: &App) -> Result<SearchRequest, Problem> {
        let (query, since, until) = (self.query.clone(), self.since.clone(), self.until.clone());
        let mut request = request_of(app, &Asked { query, since, until, ..Asked::default() })?;
        // The distribution of the events: what comes after the first other pipe is about its rows.
        let pipes = &mut request.query.pipes;
        let events = pipes.iter().take_while(|p| matches!(p, search::Pipe::Where(_))).count();
        pipes.truncate(events);
        Ok(request)
    }
}

/// `GET /api/v1/search/histogram`
pub async fn histogram(
    State(app): State<Arc<App>>,
    Params(asked): Params<Distribution>,
) -> Result<Json<Value>, Problem> {
    let turn = app.turn().await?;
    let request = asked.request(&app)?;
    let _gone = Cancel(request.cancelled.clone());
    app.blocking(move |app| {
        let _turn = turn;
        let buckets = asked.buckets.unwrap_or(120);
        let found = app.store.histogram(&request, buckets)?;
        Ok(Json(json!({
            "from_ms": found.from_ns / 1_000_000,
            "span_ms": found.span_ns / 1_000_000,
            "counts": found.counts,
            "elapsed_ms": found.summary.elapsed_ms,
            "matched": found.summary.matched,
            "partial": found.summary.partial.is_some(),
            "why_partial": found.summary.partial,
        })))
    })
    .await
}

/// `GET /api/v1/search/values`
pub async fn values(
    State(app): State<Arc<App>>,
    Params(asked): Params<Distribution>,
) -> Result<Json<Value>, Problem> {
    let field = asked.field.clone().ok_or_else(|| Problem::bad("say which: ?field=user.name"))?;
    let turn = app.turn().await?;
    let request = asked.request(&app)?;
    let _gone = Cancel(request.cancelled.clone());
    app.blocking(move |app| {
        let _turn = turn;
        let limit = asked.limit.unwrap_or(10);
        let found = app.store.field_values(&request, &field, limit)?;
        Ok(Json(json!({
            "values": found.values,
            "present": found.present,
            "matched": found.summary.matched,
            "partial": found.summary.partial.is_some(),
            "why_partial": found.summary.partial,
        })))
    })
    .await
}

fn id_of(text: &str) -> Result<EventId, Problem> {
    text.parse().map_err(|e: event::id::EventIdError| Problem::bad(e.to_string()))
}

/// `GET /api/v1/events/{id}`
pub async fn show(
    State(app): State<Arc<App>>,
    InPath(id): InPath<String>,
) -> Result<Json<Value>, Problem> {
    let id = id_of(&id)?;
    app.blocking(move |app| {
        app.event(id).map(Json).ok_or_else(|| Problem::missing("event, or it is past retention"))
    })
    .await
}

/// Query of the "around" routes.
#[derive(Deserialize)]
pub struct Around {
    /// Minutes before and after.
    #[serde(default = "quarter")]
    pub minutes: u32,
}

fn quarter() -> u32 {
    15
}

/// `GET /api/v1/events/{id}/around`
pub async fn around(
    State(app): State<Arc<App>>,
    InPath(id): InPath<String>,
    Params(around): Params<Around>,
) -> Result<Json<Value>, Problem> {
    let id = id_of(&id)?;
    let turn = app.turn().await?;
    app.blocking(move |app| {
        let _turn = turn;
        let event = app.event(id).ok_or_else(|| Problem::missing("event"))?;
        let time = event["@timestamp"].as_str().and_then(event::time::parse_rfc3339);
        around_time(app, time.unwrap_or_default(), around.minutes)
    })
    .await
}

/// What happened before and after a moment, in order.
pub fn around_time(app: &App, at_ns: i64, minutes: u32) -> Result<Json<Value>, Problem> {
    let reach_ns = i64::from(minutes.clamp(1, 24 * 60)) * 60 * 1_000_000_000;
    let query = search::parse("", at_ns)?;
    let mut request = app.search_of(query);
    request.since_ns = Some(at_ns.saturating_sub(reach_ns));
    request.until_ns = Some(at_ns.saturating_add(reach_ns));
    (request.limit, request.oldest_first) = (AROUND_ROWS, true);
    request.timeout = Some(SEARCH_TIMEOUT);
    let mut rows: Vec<Value> = Vec::new();
    let summary = app.store.search(&request, &mut |row| {
        rows.extend(serde_json::from_str::<Value>(&row.json));
        ControlFlow::Continue(())
    })?;
    Ok(Json(json!({"rows": rows, "summary": summary_json(&summary)})))
}

/// Query of a tail.
#[derive(Deserialize)]
pub struct Followed {
    #[serde(default)]
    query: String,
    /// Name of a saved search, instead.
    #[serde(default)]
    saved: Option<String>,
}

/// `GET /api/v1/tail`: server-sent events, rows as they are shaped.
pub async fn tail(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Params(followed): Params<Followed>,
) -> Result<impl IntoResponse, Problem> {
    let Followed { query, saved } = followed;
    let asked = searches::filled(&app, Asked { query, saved, ..Asked::default() }).await?;
    let plan = search::parse_filter(&asked.query, io::intake::wall_ns())?;
    let mut batches = app.bus.tail();
    let (mut viewer, told) = viewer();
    tokio::spawn(async move {
        let mut tally = Tally::default();
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            let goes_on = tokio::select! {
                seen = batches.recv() => match seen {
                    Seen::Batch(batch) => tally.rows(&batch, &plan, &mut viewer),
                    Seen::Missed(batches) => {
                        tally.skipped_batches += batches;
                        ControlFlow::Continue(())
                    }
                },
                _ = second.tick() => {
                    if !app.is_good(&principal.identity, io::intake::wall_ns()) {
                        return;
                    }
                    let status = tally.status(app.bus.sampled_one_in());
                    viewer.put("status", &status.to_string()).map_continue(|_| ())
                }
            };
            if goes_on.is_break() {
                return;
            }
        }
    });
    Ok(sse(told))
}

#[derive(Default)]
struct Tally {
    matched: u64,
    shown: u64,
    skipped_batches: u64,
    this_second: u64,
}

impl Tally {
    /// Puts the rows that match in front of the viewer; what he has no room for is skipped.
    fn rows(
        &mut self,
        batch: &EventBatch,
        plan: &filter::Plan,
        viewer: &mut Viewer,
    ) -> ControlFlow<()> {
        let binding = plan.bind(batch);
        for row in batch.rows().filter(|row| plan.matches(&binding, row)) {
            self.matched += 1;
            if self.this_second < TAIL_ROWS_PER_S && viewer.has_room() {
                self.this_second += 1;
                let mut text = String::new();
                shape::to_json(&row, &mut text);
                self.shown += u64::from(viewer.put("row", &text)?);
            }
        }
        ControlFlow::Continue(())
    }

    fn status(&mut self, sampled_one_in: u64) -> Value {
        self.this_second = 0;
        json!({
            "matched": self.matched,
            "shown": self.shown,
            "skipped": self.matched - self.shown,
            "skipped_batches": self.skipped_batches,
            "sampled": sampled_one_in > 1,
            "sampled_one_in": sampled_one_in,
        })
    }
}
