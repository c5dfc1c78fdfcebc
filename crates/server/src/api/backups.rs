//! Backups of the running server.

use super::alerts::actor;
use super::problem::Problem;
use crate::run::App;
use axum::Json;
use axum::extract::{Extension, State};
use serde_json::{Value, json};
use std::sync::Arc;
use trust::Principal;

/// `GET /api/v1/backups`: names, oldest first.
pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    app.blocking(|app| {
        let target = app.config.backup.as_ref();
        let names = match target.filter(|t| t.join("backups").is_dir()) {
            Some(target) => store::backup::list(target)?,
            None => Vec::new(),
        };
        Ok(Json(json!({"to": target.map(|t| t.display().to_string()), "backups": names})))
    })
    .await
}

/// `POST /api/v1/backups`: makes one; the answer comes when it is whole.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Value>, Problem> {
    app.blocking(move |app| {
        let report = app.back_up()?;
        let detail = format!("{} files, {} bytes", report.files, report.bytes);
        app.audit_by(actor(&principal), "backup.create", &report.name, &detail);
        Ok(Json(json!(report)))
    })
    .await
}
