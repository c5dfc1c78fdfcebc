//! Rules: what is in force, what it holds and costs.

use super::alerts::actor;
use super::asked::InPath;
use super::problem::Problem;
use crate::run::App;
use crate::run::pauses::Pauses;
use axum::Json;
use axum::extract::{Extension, State};
use detect::Changed;
use detect::correlate::RuleStats;
use detect::{Pausing, RefusedRule, Rule, RuleProblem, WORK_PER_EVENT_MAX};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use trust::Principal;

/// `GET /api/v1/rules`
pub async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    let generation = app.generation();
    let shadow = app.shadow_counts();
    let matched = generation.rules.matched();
    let paused = app.archive.pauses().now();
    let kept = app.archive.kept();
    let correlations = app.correlations();
    let correlations: HashMap<&str, &RuleStats> =
        correlations.iter().map(|s| (&*s.id, s)).collect();
    let mut out: Vec<Value> = Vec::new();
    for (rule, matched) in generation.rules.rules().iter().zip(matched) {
        let mut row = of_rule(rule);
        if kept.contains(&rule.id) {
            row["edit"] = "failed".into();
            row["reason"] = "an edit of its file failed; this is the version before it".into();
            row["hint"] = "mend the file, or take the rule out of it".into();
        }
        if let Some(pausing) = Pauses::of(&paused, &rule.id, &rule.hash) {
            of_pause(&pausing, &mut row);
        }
        row["shadow_matches"] =
            rule.shadow.then(|| shadow.get(&rule.id).copied().unwrap_or(0)).into();
        match correlations.get(&*rule.id) {
            Some(stats) => {
                row["matches"] = stats.counters.episodes.into();
                row["correlation"] = of_stats(stats);
            }
            None => row["matches"] = matched.into(),
        }
        out.push(row);
    }
    let problems = app.archive.problems();
    out.extend(RefusedRule::of(&*problems).iter().map(of_refused));
    Json(json!({"rules": out, "generation": generation.number}))
}

/// A document that is not in force as it is written, with all that is wrong with it.
pub fn of_refused(refused: &RefusedRule<'_>) -> Value {
    let first = refused.first();
    let problems = refused.problems.iter().map(|p| of_problem(p));
    let title = if first.title.is_empty() { &first.rule } else { &first.title };
    json!({
        "id": &*first.rule, "title": &**title, "level": first.level.map(|l| l.name()),
        "type": null, "state": refused.state(), "reason": refused.reason(), "hint": first.hint,
        "file": format!("{}:{}:{}", first.file.display(), first.line, first.column),
        "problems": problems.collect::<Vec<Value>>(),
    })
}

/// One problem, for programs.
pub fn of_problem(problem: &RuleProblem) -> Value {
    json!({
        "file": problem.file.display().to_string(), "line": problem.line,
        "column": problem.column, "rule": &*problem.rule, "title": &*problem.title,
        "state": if problem.mistake { "failed" } else { "not_covered" },
        "reason": problem.reason, "hint": problem.hint,
    })
}

fn of_rule(rule: &Rule) -> Value {
    let state = if rule.shadow { "shadow" } else { "live" };
    json!({
        "id": &*rule.id, "title": &*rule.title, "level": rule.level.name(),
        "type": rule.type_name(), "state": state, "author": &*rule.author,
        "status": &*rule.status, "file": rule.source.file.display().to_string(),
        "tags": rule.tags, "logsource": rule.logsource.shown(),
    })
}

/// A rule that costs more than it may matches nothing until it is tried again.
fn of_pause(pausing: &Pausing, row: &mut Value) {
    row["state"] = "paused".into();
    row["reason"] = format!("paused: {}", pausing.reason()).into();
    row["hint"] = "give its expressions a literal text to stand behind, or its selections a field \
                   that is seldom there; it is tried again by itself"
        .into();
    row["until"] = pausing.until_ns.map(event::time::rfc3339).into();
}

/// What a correlation holds, and what it had to give up since it has state: nothing means exact.
fn of_stats(stats: &RuleStats) -> Value {
    let given_up: Map<String, Value> =
        stats.counters.degradations().map(|(name, n)| (name.to_owned(), n.into())).collect();
    json!({
        "hits": stats.counters.hits, "groups": stats.groups, "bytes": stats.bytes,
        "sketch_bytes": stats.sketch_bytes, "held_s": stats.held_ns / 1_000_000_000,
        "over_budget": stats.tight, "degraded": stats.tight || !given_up.is_empty(),
        "given_up": given_up,
    })
}

/// `GET /api/v1/rules/{id}`: a rule in force, with its text.
pub async fn show(
    State(app): State<Arc<App>>,
    InPath(id): InPath<String>,
) -> Result<Json<Value>, Problem> {
    let generation = app.generation();
    let found = generation.rules.find(&id).map(|at| generation.rules.rule(at));
    let rule = found.ok_or_else(|| Problem::missing("rule in force"))?;
    let mut out = of_rule(rule);
    out["description"] = (*rule.description).into();
    out["license"] = (*rule.license).into();
    out["references"] = json!(rule.references);
    out["date"] = (*rule.date).into();
    out["modified"] = (*rule.modified).into();
    out["hash"] = (*rule.hash).into();
    out["tests"] = rule.tests.len().into();
    out["generates_alerts"] = (rule.generate && !rule.shadow).into();
    out["yaml"] = (*rule.source.text).into();
    Ok(Json(out))
}

/// `GET /api/v1/rules/cost`
pub async fn cost(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    app.blocking(|app| {
        let generation = app.generation();
        let paused = app.archive.pauses().now();
        let rows = generation.rules.costs().into_iter().map(|cost| {
            let rule = generation.rules.rule(cost.rule);
            let is_paused = Pauses::of(&paused, &rule.id, &rule.hash).is_some();
            json!({
                "id": &*rule.id, "title": &*rule.title, "events": cost.rows,
                "candidates": cost.candidates, "matched": cost.matched, "work": cost.work,
                "work_per_event": cost.work_per_event(), "estimated_ms": cost.estimated_ns / 1e6,
                "allowed_per_event": cost.allowed, "over_budget": cost.is_over_budget(),
                "paused": is_paused,
                "witness": cost.witness,
            })
        });
        let rows: Vec<Value> = rows.collect();
        Ok(Json(json!({"rules": rows, "work_per_event_max": WORK_PER_EVENT_MAX})))
    })
    .await
}

/// `POST /api/v1/rules/reload`
pub async fn reload(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Value>, Problem> {
    app.blocking(move |app| {
        let reloaded = app
            .reload(actor(&principal), &Changed::Anything)
            .map_err(|e| Problem::bad(e.message))?;
        Ok(Json(json!(reloaded)))
    })
    .await
}
