//! Source health and rules.

use super::alerts::actor;
use super::problem::Problem;
use crate::run::App;
use axum::Json;
use axum::extract::{Extension, State};
use detect::ProblemKind;
use serde_json::{Value, json};
use std::sync::Arc;
use trust::Principal;
use watch::HostStatus;

/// `GET /api/v1/sources`
pub async fn sources(State(app): State<Arc<App>>) -> Json<Value> {
    let mut rows: Vec<Value> = Vec::new();
    for source in app.health().iter() {
        if source.hosts.is_empty() {
            rows.push(row(&source.source, "", &source.total, source.spiking));
        }
        for (host, status) in &source.hosts {
            rows.push(row(&source.source, host, status, source.spiking));
        }
    }
    Json(json!({"sources": rows}))
}

fn row(source: &str, host: &str, status: &HostStatus, spiking: bool) -> Value {
    let state = match (status.silent, spiking) {
        (true, _) => "silent",
        (_, true) => "spike",
        _ => "ok",
    };
    json!({
        "source": source,
        "host": host,
        "state": state,
        "first_seen": event::time::rfc3339(status.first_wall_ns),
        "last_seen": event::time::rfc3339(status.last_wall_ns),
        "events": status.events,
        "bytes": status.bytes,
        "events_per_s": status.rate_10s,
        "parse_failures": status.parse_failures,
        "parse_failed_share": status.parse_failure_share,
        "lag_ms": status.lag_p50_ms,
        "lag_max_ms": status.lag_max_ms,
        "pack": status.product,
    })
}

/// `GET /api/v1/rules`
pub async fn rules(State(app): State<Arc<App>>) -> Json<Value> {
    let generation = app.generation();
    let shadow = app.shadow_counts();
    let mut out: Vec<Value> = Vec::new();
    for rule in generation.rules.rules() {
        let state = if rule.shadow { "shadow" } else { "live" };
        out.push(json!({
            "id": &*rule.id, "title": &*rule.title, "level": rule.level.name(),
            "type": rule.type_name(), "state": state, "author": &*rule.author,
            "status": &*rule.status,
            "shadow_matches": rule.shadow.then(|| shadow.get(&rule.id).copied().unwrap_or(0)),
            "file": rule.source.file.display().to_string(), "tags": rule.tags,
            "logsource": rule.logsource.shown(),
        }));
    }
    for problem in app.archive.problems().iter() {
        let state = match problem.kind {
            ProblemKind::NotCovered => "not_covered",
            ProblemKind::Invalid => "failed",
        };
        out.push(json!({
            "id": &*problem.rule, "title": &*problem.rule, "level": null, "type": null,
            "state": state, "reason": problem.reason, "hint": problem.hint,
            "file": format!("{}:{}:{}", problem.file.display(), problem.line, problem.column),
        }));
    }
    Json(json!({"rules": out, "generation": generation.number}))
}

/// `POST /api/v1/rules/reload`
pub async fn reload(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Value>, Problem> {
    app.blocking(move |app| {
        let reloaded = app.reload(actor(&principal)).map_err(|e| Problem::bad(e.message))?;
        Ok(Json(json!(reloaded)))
    })
    .await
}
