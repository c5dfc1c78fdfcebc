//! What is kept and what may go: rules of retention, legal holds, deletions.

use super::alerts::actor;
use super::asked::{InPath, JsonBody, Params};
use super::events::time_of;
use super::problem::Problem;
use crate::run::App;
use axum::Json;
use axum::extract::{Extension, State};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use store::policy::warnings;
use store::{Hold, RetentionRule, Store, TierOptions};
use trust::Principal;

/// Longest reason that is kept with a hold or a deletion.
const REASON_CHARS_MAX: usize = 500;
/// Most rules that a plan is asked for.
const PLAN_RULES_MAX: usize = 256;

/// What the rules would remove now, what is stored, and when the disk will be full. One form for the
/// server and for the data folder.
pub fn plan_json(
    store: &Store,
    rules: &[RetentionRule],
    tier: Option<&TierOptions>,
    free_bytes: u64,
    now_ns: i64,
) -> Result<Value, store::StoreError> {
    let plans = store.retention_plan(rules, now_ns)?;
    let stats = store.stats();
    let rows = rules.iter().zip(&plans).map(|(rule, plan)| {
        json!({
            "rule": rule.name,
            "filter": rule.filter,
            "age": rule.age_ns.map(filter::search::duration_text),
            "age_days": rule.age_ns.map(|ns| ns / (86_400 * event::time::SECOND_NS)),
            "size_bytes": rule.bytes,
            "files": plan.files,
            "rows": plan.rows,
            "bytes": plan.bytes,
            "oldest": plan.oldest_ns.map(event::time::rfc3339),
            "held_files": plan.held_files,
            "held_rows": plan.held_rows,
        })
    });
    Ok(json!({
        "rules": rows.collect::<Vec<_>>(),
        "stored": {
            "files": stats.files,
            "rows": stats.file_rows + stats.hot_rows,
            "bytes": stats.file_bytes + stats.index_bytes,
            "oldest_event": stats.event_times_ns.map(|(low, _)| event::time::rfc3339(low)),
            "newest_event": stats.event_times_ns.map(|(_, high)| event::time::rfc3339(high)),
        },
        "free_bytes": free_bytes,
        "forecast": store.forecast(rules, free_bytes, now_ns),
        "holds": store.holds().len(),
        "waiting_deletions": store.tombstones().len(),
        "warnings": warnings(rules, tier),
    }))
}

/// `GET /api/v1/retention`: the rules in force.
pub async fn retention(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    app.blocking(|app| {
        let rules = crate::run::store_options(&app.config).rules();
        let tier = app.config.tier.as_ref();
        let free_bytes = app.journal.stats().free_bytes;
        Ok(Json(plan_json(&app.store, &rules, tier, free_bytes, io::intake::wall_ns())?))
    })
    .await
}

/// Rules to try.
#[derive(Deserialize)]
pub struct Tried {
    rules: Vec<RetentionRule>,
}

/// `POST /api/v1/retention/plan`: what other rules would remove. Nothing is changed.
pub async fn plan(
    State(app): State<Arc<App>>,
    JsonBody(tried): JsonBody<Tried>,
) -> Result<Json<Value>, Problem> {
    if tried.rules.len() > PLAN_RULES_MAX {
        return Err(Problem::bad(format!("more than {PLAN_RULES_MAX} rules")));
    }
    app.blocking(move |app| {
        let free_bytes = app.journal.stats().free_bytes;
        Ok(Json(plan_json(&app.store, &tried.rules, None, free_bytes, io::intake::wall_ns())?))
    })
    .await
}

/// A hold for people.
pub fn hold_json(hold: &Hold) -> Value {
    json!({
        "id": hold.id,
        "filter": hold.filter,
        "since": hold.since_ns.map(event::time::rfc3339),
        "until": hold.until_ns.map(event::time::rfc3339),
        "actor": hold.actor,
        "reason": hold.reason,
        "set_at": event::time::rfc3339(hold.set_at_ns),
    })
}

/// `GET /api/v1/holds`
pub async fn holds(State(app): State<Arc<App>>) -> Json<Value> {
    let holds: Vec<Value> = app.store.holds().iter().map(hold_json).collect();
    Json(json!({"holds": holds}))
}

/// Body of a new hold.
#[derive(Deserialize)]
pub struct NewHold {
    filter: String,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
    reason: String,
}

pub(super) fn reason_of(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err(Problem::bad("say why: a case number or a sentence")),
        n if n > REASON_CHARS_MAX => {
            Err(Problem::bad(format!("the reason is longer than {REASON_CHARS_MAX} characters")))
        }
        _ => Ok(text.to_owned()),
    }
}

/// `POST /api/v1/holds`
pub async fn hold(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    JsonBody(new): JsonBody<NewHold>,
) -> Result<Json<Value>, Problem> {
    let now_ns = io::intake::wall_ns();
    let hold = Hold {
        id: 0,
        reason: reason_of(&new.reason)?,
        since_ns: time_of(new.since.as_deref(), now_ns)?,
        until_ns: time_of(new.until.as_deref(), now_ns)?,
        filter: new.filter,
        actor: principal.identity,
        set_at_ns: now_ns,
    };
    app.blocking(move |app| {
        let (hold, audit) = app.store.set_hold(hold)?;
        app.audit_store("api", &[audit]);
        Ok(Json(hold_json(&hold)))
    })
    .await
}

/// Why something is undone.
#[derive(Deserialize)]
pub struct Why {
    #[serde(default)]
    reason: String,
}

/// `DELETE /api/v1/holds/{id}`
pub async fn release(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    InPath(id): InPath<u64>,
    Params(why): Params<Why>,
) -> Result<Json<Value>, Problem> {
    let reason = reason_of(&why.reason)?;
    app.blocking(move |app| {
        let released = app.store.release_hold(id, &principal.identity, &reason)?;
        let audit = released.ok_or_else(|| Problem::missing("hold"))?;
        app.audit_store("api", &[audit]);
        Ok(Json(json!({"released": id})))
    })
    .await
}

/// `GET /api/v1/deletions`: those whose rewrites are still to come.
pub async fn deletions(State(app): State<Arc<App>>) -> Json<Value> {
    let waiting = app.store.tombstones();
    let rows = waiting.iter().map(|t| {
        json!({
            "id": t.id,
            "filter": t.filter,
            "received_before": event::time::rfc3339(t.received_before_ns),
            "actor": t.actor,
            "reason": t.reason,
        })
    });
    Json(json!({"deletions": rows.collect::<Vec<_>>()}))
}

/// Body of a deletion.
#[derive(Deserialize)]
pub struct Deletion {
    filter: String,
    /// Only events received before; default: now.
    #[serde(default)]
    before: Option<String>,
    #[serde(default)]
    reason: String,
    /// Say how many it would be, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// `POST /api/v1/deletions`: hides events at once, removes them from the files later. What a hold refuses
/// is on record like what is done.
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    JsonBody(wanted): JsonBody<Deletion>,
) -> Result<Json<Value>, Problem> {
    let now_ns = io::intake::wall_ns();
    let before_ns = time_of(wanted.before.as_deref(), now_ns)?.unwrap_or(now_ns);
    if wanted.dry_run {
        return app
            .blocking(move |app| {
                // As a deletion does: rows that are only in memory so far count like all others.
                app.store.flush()?;
                let plan = app.store.deletion_plan(&wanted.filter, before_ns)?;
                let holds: Vec<Value> = plan.holds.iter().map(hold_json).collect();
                Ok(Json(json!({
                    "rows": plan.rows,
                    "bytes": plan.bytes,
                    "oldest": plan.oldest_ns.map(event::time::rfc3339),
                    "held_rows": plan.held_rows,
                    "holds": holds,
                    "unread_files": plan.unread_files,
                    "deleted": false,
                })))
            })
            .await;
    }
    let reason = reason_of(&wanted.reason)?;
    app.blocking(move |app| {
        let who = actor(&principal).who;
        let deleted = app.store.delete(&wanted.filter, before_ns, &who, &reason);
        if let Err(held @ store::StoreError::Held { .. }) = &deleted {
            let detail = format!("{reason}: {held}");
            app.audit_by(actor(&principal), "delete.refused", &wanted.filter, &detail);
        }
        let audit = deleted?;
        let rows = audit.rows;
        app.audit_store("api", &[audit]);
        Ok(Json(json!({"rows": rows, "deleted": true})))
    })
    .await
}
