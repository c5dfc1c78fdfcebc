//! Exports: every result of a search as files, without a limit on their number.

use super::alerts::actor;
use super::asked::{InPath, JsonBody};
use super::events::{Asked, request_of};
use super::problem::Problem;
use crate::run::App;
use crate::run::exports::Job;
use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::SeekFrom;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use store::ExportFormat;
use tokio::io::AsyncSeekExt;
use tokio_util::io::ReaderStream;
use trust::Principal;

/// Bytes read from a file at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Body of an export.
#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    query: String,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default = "ndjson")]
    format: ExportFormat,
}

fn ndjson() -> ExportFormat {
    ExportFormat::Ndjson
}

fn job_json(job: &Job) -> Value {
    let mut out = json!({
        "id": job.id,
        "query": job.query,
        "format": job.format,
        "started": event::time::rfc3339(job.started_ns),
        "rows": job.rows.load(Ordering::Relaxed),
        "state": "running",
    });
    match job.end() {
        None => {}
        Some(Ok(manifest)) => {
            out["state"] = "done".into();
            out["manifest"] = json!(manifest);
        }
        Some(Err(error)) => {
            out["state"] = "failed".into();
            out["error"] = error.into();
        }
    }
    out
}

/// `POST /api/v1/exports`
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    JsonBody(wanted): JsonBody<Wanted>,
) -> Result<Json<Value>, Problem> {
    let Wanted { query, since, until, format } = wanted;
    let asked = Asked { query: query.clone(), since, until, ..Asked::default() };
    let request = request_of(&app, &asked)?;
    let job = app.export(&principal.identity, &query, format, request)?;
    let shown = job_json(&job);
    app.blocking(move |app| {
        app.audit_by(actor(&principal), "search.export", &query, &format!("{format:?}"));
        Ok(Json(shown))
    })
    .await
}

/// `GET /api/v1/exports`: those of the asker.
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
) -> Json<Value> {
    let jobs = app.exports.of(&principal.identity);
    Json(json!({"exports": jobs.iter().map(|job| job_json(job)).collect::<Vec<_>>()}))
}

fn find(app: &App, principal: &Principal, id: &str) -> Result<Arc<Job>, Problem> {
    let found = app.exports.find(id, &principal.identity);
    found.ok_or_else(|| Problem::missing("export, or it is somebody else's"))
}

/// `GET /api/v1/exports/{id}`
pub async fn show(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    InPath(id): InPath<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(job_json(&*find(&app, &principal, &id)?)))
}

/// `DELETE /api/v1/exports/{id}`
pub async fn remove(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    InPath(id): InPath<String>,
) -> Result<Json<Value>, Problem> {
    app.blocking(move |app| match app.exports.remove(&id, &principal.identity) {
        true => Ok(Json(json!({"deleted": id}))),
        false => Err(Problem::missing("export, or it is somebody else's")),
    })
    .await
}

/// `GET /api/v1/exports/{id}/files/{number}`: the file at that place of the manifest's list; with
/// `Range: bytes=N-` from there on.
pub async fn file(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    InPath((id, number)): InPath<(String, usize)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let job = find(&app, &principal, &id)?;
    let unfinished = || Problem::new(StatusCode::CONFLICT, "the export is not done");
    let manifest = job.end().and_then(Result::ok).ok_or_else(unfinished)?;
    let listed =
        manifest.files.get(number).ok_or_else(|| Problem::missing("file of the export"))?;
    let from = range_from(&headers).unwrap_or(0);
    if from > listed.bytes {
        return Err(Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "the file is shorter"));
    }
    let opened = tokio::fs::File::open(job.dir.join(&listed.path)).await;
    let mut open = opened.map_err(Problem::internal)?;
    open.seek(SeekFrom::Start(from)).await.map_err(Problem::internal)?;
    let body = Body::from_stream(ReaderStream::with_capacity(open, PIECE_BYTES));
    let (total, last) = (listed.bytes, listed.bytes.saturating_sub(1));
    let mut response = body.into_response();
    let kind = match job.format {
        ExportFormat::Ndjson => "application/x-ndjson",
        ExportFormat::Csv => "text/csv; charset=utf-8",
        ExportFormat::Parquet => "application/vnd.apache.parquet",
    };
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, kind.parse().map_err(Problem::internal)?);
    answer.insert(header::CONTENT_LENGTH, (total - from).into());
    answer.insert(header::ACCEPT_RANGES, "bytes".parse().map_err(Problem::internal)?);
    if from > 0 {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {from}-{last}/{total}").parse().map_err(Problem::internal)?;
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    Ok(response)
}

/// `bytes=N-`, the one form that a download which goes on needs.
fn range_from(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(header::RANGE)?.to_str().ok()?;
    text.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}
