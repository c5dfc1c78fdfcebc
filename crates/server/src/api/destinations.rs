//! Where alerts go: how each destination does, and letting go of one that is not configured any more.

use super::alerts::{actor, problem_of};
use super::asked::InPath;
use super::problem::Problem;
use crate::config::NotifyTo;
use crate::run::App;
use crate::run::outboxes::{self, Destination};
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use ledger::{Audit, LedgerRecord};
use serde_json::{Value, json};
use std::sync::Arc;
use trust::Principal;

/// `GET /api/v1/destinations`
pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    app.blocking(|app| {
        let rows: Vec<Value> = outboxes::destinations(app).iter().map(row_json).collect();
        Ok(Json(json!({"destinations": rows})))
    })
    .await
}

fn row_json(one: &Destination) -> Value {
    let kind = one.notify.as_ref().map(|notify| match notify.to {
        NotifyTo::Terminal => "terminal",
        NotifyTo::File(_) => "file",
        NotifyTo::Webhook(_) => "webhook",
    });
    let now = one.outbox.as_ref().map(io::Gauge::status).unwrap_or_default();
    let state = match (&one.notify, now.lag_since) {
        (None, _) => "left_over",
        (Some(_), Some(_)) => "failing",
        (Some(_), None) => "ok",
    };
    json!({
        "name": one.name,
        "state": state,
        "kind": kind,
        "min_level": one.notify.as_ref().map(|notify| notify.min_level.name()),
        "records_behind": one.behind.records,
        "bytes_behind": one.behind.bytes,
        "delivered": now.delivered,
        "refused": now.dead,
        "attempts": now.attempts,
        "early_ends": now.early_ends,
        "failing_since": now.lag_since.map(event::time::rfc3339),
        "last_error": now.last_error,
    })
}

/// `DELETE /api/v1/destinations/{name}`: forgets the place of one that is not configured any more.
pub async fn remove(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    InPath(name): InPath<String>,
) -> Result<Json<Value>, Problem> {
    app.blocking(move |app| {
        let all = outboxes::destinations(app);
        let found = all.iter().find(|one| one.name == name);
        let found = found.ok_or_else(|| Problem::missing("destination"))?;
        if found.notify.is_some() {
            let text = format!(
                "`{name}` is in the configuration: take it out of `notify` and restart, then drop it"
            );
            return Err(Problem::new(StatusCode::CONFLICT, text));
        }
        let (records, bytes) = (found.behind.records, found.behind.bytes);
        let detail = format!("{records} records, {bytes} bytes behind");
        let who = actor(&principal);
        let action = "destination.drop";
        app.note(&who, action, &name, &detail);
        // On record before it is gone.
        let audit = Audit { action: action.into(), target: name.clone(), detail };
        let at_ns = who.at_ns;
        let record = LedgerRecord::Audit { audit, actor: who };
        app.ledger.submit(vec![record], at_ns).map_err(problem_of)?;
        outboxes::forget(app, &name);
        app.ledger_stream.checkpoint().map_err(Problem::internal)?;
        Ok(Json(json!({"dropped": name, "records": records, "bytes": bytes})))
    })
    .await
}
