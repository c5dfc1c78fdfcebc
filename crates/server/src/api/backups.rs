//! Backups of the running server.

use super::alerts::actor;
use super::asked::JsonBody;
use super::problem::Problem;
use crate::run::App;
use axum::Json;
use axum::extract::{Extension, State};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use trust::Principal;

/// `GET /api/v1/backups`: names, oldest first.
pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    app.blocking(|app| {
        let target = app.config.backup.as_ref();
        let names = target.map(store::backup::list).transpose()?.unwrap_or_default();
        Ok(Json(json!({"to": target.map(ToString::to_string), "backups": names})))
    })
    .await
}

/// `POST /api/v1/backups`: makes one; the answer comes when it is whole.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Value>, Problem> {
    app.blocking(move |app| {
        let report = app.back_up().inspect_err(|problem| {
            // That one is being made already, or that there is no place, is no failure.
            if problem.status.is_server_error() {
                let place = app.config.backup.as_ref().map(ToString::to_string);
                let place = place.unwrap_or_default();
                app.audit_by(actor(&principal), "backup.failed", &place, &problem.detail);
            }
        })?;
        let detail = format!("{} files, {} bytes", report.files, report.bytes);
        app.audit_by(actor(&principal), "backup.create", &report.name, &detail);
        Ok(Json(json!(report)))
    })
    .await
}

/// Which backups are to stay.
#[derive(Deserialize)]
pub struct Kept {
    keep: usize,
    /// Say what would go, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// `POST /api/v1/backups/prune`: removes all but the newest, and what only the others needed.
pub async fn prune(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    JsonBody(kept): JsonBody<Kept>,
) -> Result<Json<Value>, Problem> {
    if kept.keep == 0 {
        return Err(Problem::bad("at least one backup stays: `keep` is 1 or more"));
    }
    app.blocking(move |app| {
        let pruned = app.prune_backups(kept.keep, kept.dry_run)?;
        if !kept.dry_run && !pruned.removed.is_empty() {
            let detail = format!("{} objects, {} bytes", pruned.objects, pruned.bytes);
            app.audit_by(actor(&principal), "backup.prune", &pruned.removed.join(" "), &detail);
        }
        Ok(Json(json!(pruned)))
    })
    .await
}
