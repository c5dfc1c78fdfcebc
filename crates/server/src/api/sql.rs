//! SQL over the table `events`.

use super::events::{Asked, Cancel, request_of, stream_rows, summary_json};
use super::problem::Problem;
use crate::run::App;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Longest statement.
const SQL_BYTES_MAX: usize = 64 << 10;

/// Body of a statement.
#[derive(Deserialize)]
pub struct Statement {
    sql: String,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

/// `POST /api/v1/sql`
pub async fn sql(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Json(statement): Json<Statement>,
) -> Result<Response, Problem> {
    let Statement { sql, since, until, limit } = statement;
    if sql.len() > SQL_BYTES_MAX {
        return Err(Problem::bad(format!("the statement is longer than {SQL_BYTES_MAX} bytes")));
    }
    let request = request_of(&app, &Asked { query: String::new(), since, until, limit })?;
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    if accept.contains("application/x-ndjson") {
        let cancelled = request.cancelled.clone();
        let work = move |app: &App, out: &mut dyn FnMut(store::Row) -> ControlFlow<()>| {
            app.store.sql(&sql, &request, out)
        };
        return stream_rows(app, cancelled, work).await;
    }
    let _gone = Cancel(request.cancelled.clone());
    app.blocking(move |app| {
        let mut rows: Vec<Value> = Vec::new();
        let summary = app.store.sql(&sql, &request, &mut |row| {
            rows.extend(serde_json::from_str::<Value>(&row.json));
            ControlFlow::Continue(())
        })?;
        let columns = &summary.columns;
        let body = json!({"rows": rows, "columns": columns, "summary": summary_json(&summary)});
        Ok(Json(body).into_response())
    })
    .await
}
