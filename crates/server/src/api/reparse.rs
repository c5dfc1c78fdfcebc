//! Stored events shaped anew with the packs of now.

use super::alerts::actor;
use super::asked::JsonBody;
use super::events::time_of;
use super::keeping::reason_of;
use super::problem::Problem;
use crate::run::{App, reparsing};
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use store::Reparse;
use trust::Principal;

/// Body of a run.
#[derive(Deserialize)]
pub struct Wanted {
    filter: String,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    reason: String,
    /// Count, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// `POST /api/v1/reparse`: begins a run.
pub async fn begin(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    JsonBody(wanted): JsonBody<Wanted>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let now_ns = io::intake::wall_ns();
    let reason = if wanted.dry_run { String::new() } else { reason_of(&wanted.reason)? };
    let run = Reparse {
        filter: wanted.filter,
        since_ns: time_of(wanted.since.as_deref(), now_ns)?,
        until_ns: time_of(wanted.until.as_deref(), now_ns)?,
        actor: actor(&principal).who,
        reason,
        dry_run: wanted.dry_run,
    };
    Ok((StatusCode::ACCEPTED, Json(reparsing::begin(&app, run)?)))
}

/// `GET /api/v1/reparse`: the run that goes on, or the last one.
pub async fn show(State(app): State<Arc<App>>) -> Json<Value> {
    let run = app.reparsing.lock().as_ref().map(reparsing::Reparsing::to_json);
    Json(json!({"reparse": run}))
}
