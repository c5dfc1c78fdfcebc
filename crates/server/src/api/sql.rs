//! SQL over the table `events`.

use super::asked::JsonBody;
use super::events::{Asked, answer, limited, request_of};
use super::problem::Problem;
use crate::run::App;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use trust::Principal;

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
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    JsonBody(statement): JsonBody<Statement>,
) -> Result<Response, Problem> {
    let Statement { sql, since, until, limit } = statement;
    if sql.len() > SQL_BYTES_MAX {
        return Err(Problem::bad(format!("the statement is longer than {SQL_BYTES_MAX} bytes")));
    }
    let request = request_of(&app, &Asked { since, until, limit, ..Asked::default() })?;
    let request = limited(&app, request, &headers);
    let cancelled = request.cancelled.clone();
    answer(app, (principal, &headers), cancelled, move |app, out| {
        app.store.sql(&sql, &request, out).map_err(|error| error.located_in(&sql))
    })
    .await
}
