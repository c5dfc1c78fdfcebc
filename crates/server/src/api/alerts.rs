//! The alert queue.

use super::asked::{InPath, JsonBody, Params};
use super::events::{Around, around_time, time_of};
use super::people;
use super::problem::Problem;
use crate::run::App;
use crate::run::bus::News;
use crate::run::outboxes::{self, Standing};
use alert::State as Stand;
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use event::{Disposition, EventId, Level};
use ledger::{
    Actor, AlertDetail, AlertFilter, AlertOrder, AlertRow, Delivery, DeliveryStatus, LedgerError,
    LedgerRecord, Merging, TriageRequest,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use trust::Principal;

/// Events shown with an alert; the rest is one search away.
const EVENTS_SHOWN: usize = 100;
/// Rows of a page of the queue when nobody says how many.
const PAGE_DEFAULT: usize = 100;

/// Which alerts.
#[derive(Deserialize, Default, Clone)]
// A misspelt condition must not widen a change of many alerts.
#[serde(default, deny_unknown_fields)]
pub struct Wanted {
    state: Option<String>,
    level: Option<String>,
    q: Option<String>,
    rule: Option<String>,
    since: Option<String>,
    /// Fired before this: what came after somebody looked is left out.
    until: Option<String>,
    /// An identity, `me` or `none`.
    assignee: Option<String>,
    /// Exactly these, for changes of many. In any state, unless one is asked for as well.
    ids: Option<Vec<String>>,
    /// `newest` or `severity`.
    order: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

impl Wanted {
    fn filter(&self, asker: &Principal, now_ns: i64) -> Result<AlertFilter, Problem> {
        let mut filter = AlertFilter {
            text: self.q.clone().filter(|q| !q.is_empty()),
            ..AlertFilter::default()
        };
        let usual = if self.ids.is_some() { "all" } else { "open" };
        filter.states = match self.state.as_deref().unwrap_or(usual) {
            "all" => Vec::new(),
            "open" => vec![Stand::New, Stand::Acknowledged],
            name => vec![Stand::from_name(name).ok_or_else(|| {
                Problem::bad(format!(
                    "`{name}` is no state; use open, new, acknowledged, closed, all"
                ))
            })?],
        };
        if let Some(name) = self.level.as_deref().filter(|l| !l.is_empty()) {
            let level = Level::from_name(name);
            filter.min_level =
                Some(level.ok_or_else(|| Problem::bad(format!("`{name}` is no level")))?);
        }
        filter.rule_id = self.rule.clone().filter(|r| !r.is_empty());
        filter.since_ns = time_of(self.since.as_deref(), now_ns)?;
        filter.until_ns = time_of(self.until.as_deref(), now_ns)?;
        match self.assignee.as_deref().filter(|a| !a.is_empty()) {
            None => {}
            Some("none") => filter.unassigned = true,
            Some("me") => filter.assignee = Some(asker.identity.clone()),
            Some(identity) => filter.assignee = Some(identity.to_owned()),
        }
        if let Some(ids) = &self.ids {
            // An empty list that meant all would close the whole queue by a mistake of a client.
            if ids.is_empty() {
                return Err(Problem::bad("`ids` is empty; leave it out to mean every alert"));
            }
            filter.ids.clone_from(ids);
        }
        Ok(filter)
    }

    fn order(&self) -> Result<AlertOrder, Problem> {
        match self.order.as_deref().unwrap_or("newest") {
            "newest" => Ok(AlertOrder::Newest),
            "severity" => Ok(AlertOrder::Severity),
            name => Err(Problem::bad(format!("`{name}` is no order; use newest or severity"))),
        }
    }
}

/// Which alerts to change: all that match, so that nothing may be asked for that makes a page of them.
#[derive(Deserialize)]
#[serde(try_from = "Wanted")]
pub struct Chosen(Wanted);

impl TryFrom<Wanted> for Chosen {
    type Error = &'static str;

    fn try_from(wanted: Wanted) -> Result<Self, Self::Error> {
        let Wanted { order, cursor, limit, .. } = &wanted;
        match order.is_none() && cursor.is_none() && limit.is_none() {
            true => Ok(Self(wanted)),
            false => Err("a change is of every alert that matches, not of a page of them: leave \
                          `limit`, `cursor` and `order` out, and name single ones in `ids`"),
        }
    }
}

/// `GET /api/v1/alerts`
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Params(wanted): Params<Wanted>,
) -> Result<Json<Value>, Problem> {
    app.blocking(move |app| {
        let filter = wanted.filter(&principal, io::intake::wall_ns())?;
        let limit = wanted.limit.unwrap_or(PAGE_DEFAULT);
        let (order, cursor) = (wanted.order()?, wanted.cursor.as_deref());
        let page = app.ledger.alerts_by(&filter, order, limit, cursor).map_err(problem_of)?;
        let counts = app.ledger.counts(&filter).map_err(problem_of)?;
        let alerts: Vec<Value> = page.rows.iter().map(|row| row_json(app, row)).collect();
        let newest = counts.newest_ns.map(event::time::rfc3339);
        Ok(Json(json!({
            "alerts": alerts, "next": page.next, "matching": counts.total, "newest": newest,
        })))
    })
    .await
}

/// One alert of a list.
pub fn row_json(app: &App, row: &AlertRow) -> Value {
    let generation = app.generation();
    let rule = generation.rules.find(&row.rule_id).map(|i| generation.rules.rule(i));
    json!({
        "id": row.id,
        "rule_id": row.rule_id,
        "title": row.title,
        "rule_type": rule.map_or("monitor", |r| r.type_name()),
        "author": rule.map_or("Alcedo".to_owned(), |r| r.author.to_string()),
        "level": row.level.name(),
        "tags": rule.map(|r| r.tags.clone()).unwrap_or_default(),
        "reason": row.reason,
        "entity": row.entity,
        "time": event::time::rfc3339(row.event_ns),
        "last": event::time::rfc3339(row.last_event_ns),
        "count": row.count,
        "state": row.state.name(),
        "assignee": row.assignee,
        "disposition": row.disposition,
        "backfill": row.backfill,
        "stream_time": event::time::rfc3339(row.stream_ns),
    })
}

/// `GET /api/v1/alerts/{id}`
pub async fn show(
    State(app): State<Arc<App>>,
    InPath(id): InPath<String>,
) -> Result<Json<Value>, Problem> {
    app.blocking(move |app| {
        let detail = app.ledger.alert(&id).map_err(problem_of)?;
        let detail = detail.ok_or_else(|| Problem::missing("alert"))?;
        Ok(Json(detail_json(app, &detail)))
    })
    .await
}

/// An alert with its events, history and rule.
pub fn detail_json(app: &App, detail: &AlertDetail) -> Value {
    let alert = &detail.alert;
    let generation = app.generation();
    let rule = generation.rules.find(&alert.rule_id).map(|i| generation.rules.rule(i));
    let evidence: Vec<Value> = alert
        .evidence
        .iter()
        .map(|e| {
            let mut one = json!({"id": e.id.to_string(),
                "time": event::time::rfc3339(e.event_ns), "rule": &*e.rule, "weight": e.weight});
            if !e.also.is_empty() {
                one["also"] = json!(e.also);
            }
            one
        })
        .collect();
    // The newest evidence is what made it fire.
    let shown = alert.evidence.iter().rev().take(EVENTS_SHOWN).rev();
    let events = app.events(&shown.map(|e| e.id).collect::<Vec<EventId>>());
    let history: Vec<Value> =
        detail.history.iter().map(|h| history_json(&alert.id, &h.record)).collect();
    let mut shown = alert_json(detail);
    shown["explanation"] = json!(alert.explanation);
    shown["evidence"] = evidence.into();
    json!({
        "alert": shown,
        "history": history,
        "events": events,
        "deliveries": deliveries_json(app, detail),
        "rule": rule.map(|r| json!({
            "id": &*r.id, "title": &*r.title, "author": &*r.author, "license": &*r.license,
            "references": r.references, "description": &*r.description, "yaml": &*r.source.text,
        })),
    })
}

/// Destination by destination: where the alert stands with it, since when, after how many tries, and
/// what failed last.
fn deliveries_json(app: &App, detail: &AlertDetail) -> Value {
    let standings = outboxes::standings(app, detail).into_iter();
    let json = |(name, standing, delivery): (String, Standing, Option<Delivery>)| {
        let status = match standing {
            Standing::Waiting => json!("waiting"),
            Standing::Tried(status) => json!(status),
        };
        let error = delivery.as_ref().map(|d| d.last_error.as_str()).filter(|e| !e.is_empty());
        let value = json!({
            "status": status,
            "at": delivery.as_ref().map(|d| event::time::rfc3339(d.at_ns)),
            "attempts": delivery.as_ref().map_or(0, |d| d.attempts),
            "last_error": error,
        });
        (name, value)
    };
    Value::Object(standings.map(json).collect())
}

/// An alert without what only its panel shows: for open pages, which are told of every change.
pub fn alert_json(detail: &AlertDetail) -> Value {
    let alert = &detail.alert;
    json!({
        "id": alert.id, "rule_id": alert.rule_id, "title": alert.title,
        "rule_type": alert.rule_type, "author": alert.author, "level": alert.level.name(),
        "tags": alert.tags, "reason": alert.reason, "entity": alert.entity,
        "time": event::time::rfc3339(alert.event_ns),
        "last": event::time::rfc3339(detail.last_event_ns), "count": alert.count,
        "state": detail.state.name(), "assignee": detail.assignee,
        "disposition": detail.disposition, "backfill": alert.backfill,
        "evidence_count": detail.evidence_total,
        "generation": alert.generation, "rule_hash": alert.rule_hash,
        "fired_by": alert.fired_by.to_string(),
        "stream_time": event::time::rfc3339(alert.stream_ns),
    })
}

/// One record of the history of the alert `id`.
fn history_json(id: &str, record: &LedgerRecord) -> Value {
    let actor = record.actor();
    let mut out = json!({
        "at": actor.map(|a| event::time::rfc3339(a.at_ns)),
        "who": actor.map(|a| a.who.as_str()),
    });
    match record {
        LedgerRecord::Triage { from, to, disposition, why, .. } => {
            out["action"] = "triage".into();
            out["from"] = from.name().into();
            out["to"] = to.name().into();
            out["disposition"] = json!(disposition);
            out["why"] = why.as_str().into();
        }
        LedgerRecord::Merged { alert, into, outcome, .. } => {
            let Merging { closed, reopened } = outcome.unwrap_or_default();
            out["action"] = "merge".into();
            out["why"] = match (alert == id, closed, reopened) {
                (true, true, _) => {
                    format!("a late event joined this alert to {into}, which carries on")
                }
                (true, false, _) => format!(
                    "a late event joined this alert to {into}, which carries on; this one stays as \
                     people left it"
                ),
                (false, _, false) => format!("a late event joined {alert} to this alert"),
                (false, _, true) => format!(
                    "a late event joined {alert}, which was open, to this alert: it is open again"
                ),
            }
            .into();
        }
        LedgerRecord::Note { text, .. } => {
            out["action"] = "note".into();
            out["why"] = text.as_str().into();
        }
        LedgerRecord::Assign { assignee, .. } => {
            out["action"] = "assign".into();
            out["to"] = json!(assignee);
        }
        LedgerRecord::Delivery { sink, status, attempts, detail, .. } => {
            out["action"] = "delivery".into();
            out["to"] = sink.as_str().into();
            let word = match status {
                DeliveryStatus::Delivered => "delivered",
                DeliveryStatus::Retrying => "not delivered yet",
                DeliveryStatus::Failed => "refused for good",
            };
            let tries = if *attempts == 1 { "try" } else { "tries" };
            let failed = if detail.is_empty() { "" } else { "; failed last: " };
            out["why"] = format!("{word} after {attempts} {tries}{failed}{detail}").into();
        }
        LedgerRecord::AlertFolded { folded } => {
            out["action"] = "revised".into();
            out["at"] = event::time::rfc3339(folded.last_stream_ns).into();
            out["who"] = "alcedo".into();
            out["why"] = json!(folded.revision.as_ref().map(|r| &r.reason));
        }
        _ => out["action"] = "other".into(),
    }
    out
}

/// What to do with alerts.
#[derive(Deserialize)]
pub struct Move {
    to: String,
    #[serde(default)]
    disposition: Option<Disposition>,
    #[serde(default)]
    why: Option<String>,
    /// What is nobody's becomes the asker's.
    #[serde(default)]
    take: bool,
}

impl Move {
    fn request(&self, principal: &Principal) -> Result<TriageRequest, Problem> {
        let to = Stand::from_name(&self.to).ok_or_else(|| {
            Problem::bad(format!("`{}` is no state; use new, acknowledged or closed", self.to))
        })?;
        Ok(TriageRequest {
            to,
            disposition: self.disposition,
            why: self.why.clone().unwrap_or_default(),
            actor: actor(principal),
            take: self.take,
        })
    }
}

/// Who does something, now.
pub fn actor(principal: &Principal) -> Actor {
    let who = principal.identity.clone();
    Actor { who, at_ns: io::intake::wall_ns(), client: "api".into() }
}

/// `POST /api/v1/alerts/{id}/triage`
pub async fn triage(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    InPath(id): InPath<String>,
    JsonBody(step): JsonBody<Move>,
) -> Result<Json<Value>, Problem> {
    let request = step.request(&principal)?;
    app.blocking(move |app| {
        app.ledger.triage(&id, &request).map_err(problem_of)?;
        tell_changed(app, &id, "triage")
    })
    .await
}

/// An alert as it stands after a change, which open pages are told too.
fn tell_changed(app: &App, id: &str, change: &str) -> Result<Json<Value>, Problem> {
    let detail = app.ledger.alert(id).map_err(problem_of)?;
    let detail = detail.ok_or_else(|| Problem::missing("alert"))?;
    let mut alert = alert_json(&detail);
    alert["change"] = change.into();
    app.bus.tell(News::Alert(Arc::new(alert.clone())));
    Ok(Json(alert))
}

/// Body of a note.
#[derive(Deserialize)]
pub struct Said {
    text: String,
}

/// `POST /api/v1/alerts/{id}/note`
pub async fn note(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    InPath(id): InPath<String>,
    JsonBody(said): JsonBody<Said>,
) -> Result<Json<Value>, Problem> {
    let text = said.text.trim().to_owned();
    if text.is_empty() {
        return Err(Problem::bad("the note is empty; write something for whoever comes next"));
    }
    app.blocking(move |app| {
        app.ledger.note(&id, &text, actor(&principal)).map_err(problem_of)?;
        tell_changed(app, &id, "note")
    })
    .await
}

/// To whom alerts are given; `null` is nobody.
#[derive(Deserialize)]
pub struct Given {
    // Has to be said: nobody is taken off an alert by leaving a word out.
    #[serde(deserialize_with = "Option::deserialize")]
    assignee: Option<String>,
}

impl Given {
    /// The identity that is meant: somebody who may work on alerts.
    fn identity(self, app: &App, asker: &Principal) -> Result<Option<String>, Problem> {
        let Some(name) = self.assignee else { return Ok(None) };
        let identity = if name == "me" { asker.identity.clone() } else { name };
        match identity == asker.identity || people::may_triage(app, &identity) {
            true => Ok(Some(identity)),
            false => Err(Problem::bad(format!(
                "`{identity}` is nobody who works on alerts; GET /api/v1/people lists who does"
            ))),
        }
    }
}

/// `POST /api/v1/alerts/{id}/assign`
pub async fn assign(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    InPath(id): InPath<String>,
    JsonBody(given): JsonBody<Given>,
) -> Result<Json<Value>, Problem> {
    app.blocking(move |app| {
        let assignee = given.identity(app, &principal)?;
        app.ledger.assign(&id, assignee, actor(&principal)).map_err(problem_of)?;
        tell_changed(app, &id, "assign")
    })
    .await
}

/// Body of a bulk assignment.
#[derive(Deserialize)]
pub struct GivenAll {
    filter: Chosen,
    #[serde(flatten)]
    given: Given,
}

/// `POST /api/v1/alerts/assign`: every alert that matches.
pub async fn assign_all(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    JsonBody(body): JsonBody<GivenAll>,
) -> Result<Json<Value>, Problem> {
    app.blocking(move |app| {
        let filter = body.filter.0.filter(&principal, io::intake::wall_ns())?;
        let assignee = body.given.identity(app, &principal)?;
        let changed = app
            .ledger
            .bulk_assign(&filter, assignee.as_deref(), &actor(&principal))
            .map_err(problem_of)?;
        Ok(changed_json(app, changed))
    })
    .await
}

/// What a change of many came to. Pages are told that there was one, not of each alert: thousands
/// would not fit into their queues.
fn changed_json(app: &App, (changed, left_alone): (u64, u64)) -> Json<Value> {
    if changed > 0 {
        app.bus.tell(News::ManyAlerts);
    }
    Json(json!({"changed": changed, "left_alone": left_alone}))
}

/// Body of a bulk change.
#[derive(Deserialize)]
pub struct MoveAll {
    filter: Chosen,
    #[serde(flatten)]
    step: Move,
}

/// `POST /api/v1/alerts/triage`: every alert that matches, not a page of them.
pub async fn triage_all(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    JsonBody(body): JsonBody<MoveAll>,
) -> Result<Json<Value>, Problem> {
    let request = body.step.request(&principal)?;
    app.blocking(move |app| {
        let filter = body.filter.0.filter(&principal, io::intake::wall_ns())?;
        let changed = app.ledger.bulk_triage(&filter, &request).map_err(problem_of)?;
        Ok(changed_json(app, changed))
    })
    .await
}

/// `GET /api/v1/alerts/{id}/around`
pub async fn around(
    State(app): State<Arc<App>>,
    InPath(id): InPath<String>,
    Params(around): Params<Around>,
) -> Result<Json<Value>, Problem> {
    app.blocking(move |app| {
        let detail = app.ledger.alert(&id).map_err(problem_of)?;
        let detail = detail.ok_or_else(|| Problem::missing("alert"))?;
        around_time(app, detail.alert.event_ns, around.minutes)
    })
    .await
}

/// What a client is told when the ledger says no.
pub fn problem_of(error: LedgerError) -> Problem {
    let status = match &error {
        LedgerError::NoAlert { .. }
        | LedgerError::NoToken { .. }
        | LedgerError::NoSearch { .. } => StatusCode::NOT_FOUND,
        LedgerError::Triage(_) => StatusCode::CONFLICT,
        LedgerError::BadCursor | LedgerError::TooLong { .. } => StatusCode::BAD_REQUEST,
        LedgerError::Append(_) => return Problem::busy(error.to_string()),
        _ => return Problem::internal(error),
    };
    Problem::new(status, error.to_string())
}
