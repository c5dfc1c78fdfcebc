//! Saved searches: a name for a filter with its pipes, for everybody, to search with and to follow; a
//! filter alone may raise alerts, too, and is a rule then; one that gives a table may do so on a schedule.

use super::alerts::{actor, problem_of};
use super::asked::{InPath, JsonBody};
use super::events::{Asked, time_of};
use super::problem::Problem;
use crate::run::{App, live_searches, scheduled};
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use event::Level;
use filter::search;
use ledger::{SavedRow, SavedSearch, SearchAlert};
use parking_lot::MutexGuard;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::sync::Arc;
use trust::{Permission, Principal};

/// Longest name.
const NAME_CHARS_MAX: usize = 64;
/// Longest note.
const NOTE_CHARS_MAX: usize = 500;

/// Body of a search to save.
#[derive(Deserialize)]
pub struct Wish {
    query: String,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    note: String,
    /// What it raises, to be a rule, too; `null`: nothing. Left out: what it raised before.
    #[serde(default, deserialize_with = "told")]
    alert: Option<Option<WishedAlert>>,
}

/// A member that is there, be it `null`.
fn told<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<WishedAlert>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// What a search is to raise.
#[derive(Deserialize)]
pub struct WishedAlert {
    level: Option<String>,
    /// How often it is run, such as 5m: for a search with pipes that give a table.
    #[serde(default)]
    every: Option<String>,
}

fn saved_json(row: &SavedRow) -> Value {
    let SavedSearch { name, query, since, until, note, alert } = &row.search;
    let alert = alert.as_ref().map(|alert| {
        let mut told = json!({
            "level": alert.level.name(),
            "rule_id": live_searches::rule_id(name),
        });
        if let Some(every_ns) = alert.every_ns {
            told["every"] = search::duration_text(every_ns).into();
            told["last_run"] = json!(row.run);
        }
        told
    });
    json!({
        "name": name, "query": query, "since": since, "until": until, "note": note,
        "saved_by": row.who, "saved_at": event::time::rfc3339(row.at_ns),
        // What can be followed: a filter alone.
        "can_tail": search::parse_filter(query, 0).is_ok(),
        "alert": alert,
    })
}

/// `GET /api/v1/searches`
pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    app.blocking(|app| {
        let found = app.ledger.searches().map_err(problem_of)?;
        let rows: Vec<Value> = found.iter().map(saved_json).collect();
        Ok(Json(json!({"searches": rows})))
    })
    .await
}

/// `PUT /api/v1/searches/{name}`: saves it, in place of what has the name.
pub async fn save(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    InPath(name): InPath<String>,
    JsonBody(wish): JsonBody<Wish>,
) -> Result<Json<Value>, Problem> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(legal) {
        let text =
            format!("a name has letters, digits, - _ . and at most {NAME_CHARS_MAX} of them");
        return Err(Problem::bad(text));
    }
    if wish.note.chars().count() > NOTE_CHARS_MAX {
        return Err(Problem::bad(format!("the note is longer than {NOTE_CHARS_MAX} characters")));
    }
    // What cannot be run is not saved.
    let now_ns = io::intake::wall_ns();
    search::parse(&wish.query, now_ns)?;
    time_of(wish.since.as_deref(), now_ns)?;
    time_of(wish.until.as_deref(), now_ns)?;
    app.blocking(move |app| {
        let alone = app.lock_searches();
        let Wish { query, since, until, note, alert } = wish;
        let alert = match alert {
            Some(wished) => wished,
            None => raised_before(app, &name),
        };
        let is_timed = since.is_some() || until.is_some();
        let alert = alert.as_ref().map(|alert| raised(&query, is_timed, alert)).transpose()?;
        keep(app, &principal, SavedSearch { name, query, since, until, note, alert }, &alone)
    })
    .await
}

/// `PUT /api/v1/searches/{name}/alert`: from now on it raises alerts, or with `{"level": null}` none any
/// more. For who may change rules and need not be one who saves searches.
pub async fn set_alert(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    InPath(name): InPath<String>,
    JsonBody(wished): JsonBody<WishedAlert>,
) -> Result<Json<Value>, Problem> {
    app.blocking(move |app| {
        let alone = app.lock_searches();
        let saved = app.ledger.search(&name).map_err(problem_of)?.search;
        let alert = match wished.level {
            Some(_) => {
                let is_timed = saved.since.is_some() || saved.until.is_some();
                Some(raised(&saved.query, is_timed, &wished)?)
            }
            None => None,
        };
        keep(app, &principal, SavedSearch { alert, ..saved }, &alone)
    })
    .await
}

/// Saves a search and puts in force what it is as a rule. What it was was looked at under `alone`, too:
/// nobody makes a rule of it in between.
fn keep(
    app: &App,
    principal: &Principal,
    saved: SavedSearch,
    alone: &MutexGuard<'_, ()>,
) -> Result<Json<Value>, Problem> {
    let (name, query) = (saved.name.clone(), saved.query.clone());
    let is_rule = saved.alert.is_some() || raises(app, &name);
    may_change(principal, is_rule)?;
    app.ledger.save_search(saved, actor(principal)).map_err(problem_of)?;
    app.note(&actor(principal), "search.save", &name, &query);
    put_in_force(app, principal, is_rule, alone)?;
    Ok(Json(saved_json(&app.ledger.search(&name).map_err(problem_of)?)))
}

/// What a search raises; an error if it can neither be a rule nor be run on a schedule.
fn raised(query: &str, is_timed: bool, wished: &WishedAlert) -> Result<SearchAlert, Problem> {
    let level = wished.level.as_deref().and_then(Level::from_name).ok_or_else(|| {
        Problem::bad("the `level` of alerts is informational, low, medium, high or critical")
    })?;
    if let Some(every) = &wished.every {
        return on_schedule(query, is_timed, level, every);
    }
    let plan = search::parse_filter(query, 0).map_err(|e| Problem {
        column: Some(e.column),
        ..Problem::bad(format!(
            "{e}; what raises alerts is a filter alone, asked of each event, or has `every`: 5m"
        ))
    })?;
    if search::parse_filter(query, io::intake::wall_ns()).is_ok_and(|now| now != plan) {
        let text = "what raises alerts has no time that depends on now: leave it out";
        return Err(Problem::bad(text));
    }
    Ok(SearchAlert { level, every_ns: None })
}

/// A search that is run so often over what has come since; each row of its result is an alert.
fn on_schedule(
    query: &str,
    is_timed: bool,
    level: Level,
    every: &str,
) -> Result<SearchAlert, Problem> {
    let every_ns = search::duration_ns(every).filter(|ns| scheduled::EVERY_NS.contains(ns));
    let every_ns = every_ns.ok_or_else(|| {
        let (least, most) = (*scheduled::EVERY_NS.start(), *scheduled::EVERY_NS.end());
        let (least, most) = (search::duration_text(least), search::duration_text(most));
        Problem::bad(format!("`every` is a time from {least} to {most}, such as 5m"))
    })?;
    let parsed = search::parse(query, io::intake::wall_ns())?;
    if !scheduled::gives_table(&parsed.pipes) {
        let text = "what is run on a schedule gives a table: `| stats count() by user.name | where count > 10`; \
                    a filter alone needs no `every`";
        return Err(Problem::bad(text));
    }
    if is_timed {
        let text = "what is run on a schedule looks at what has come since its last run: leave out \
                    `since` and `until`";
        return Err(Problem::bad(text));
    }
    Ok(SearchAlert { level, every_ns: Some(every_ns) })
}

/// What the search of this name raises now.
fn raised_before(app: &App, name: &str) -> Option<WishedAlert> {
    let alert = app.ledger.search(name).ok()?.search.alert?;
    let every = alert.every_ns.map(search::duration_text);
    Some(WishedAlert { level: Some(alert.level.name().to_owned()), every })
}

/// Whether the search of this name is a rule now.
fn raises(app: &App, name: &str) -> bool {
    app.ledger.search(name).is_ok_and(|row| row.search.alert.is_some())
}

/// Rules are changed by who may change rules.
fn may_change(principal: &Principal, is_rule: bool) -> Result<(), Problem> {
    match !is_rule || principal.may(Permission::RulesWrite) {
        true => Ok(()),
        false => {
            let text = "a search that raises alerts is a rule, which your role may not change";
            Err(Problem::new(StatusCode::FORBIDDEN, text))
        }
    }
}

/// Reads the rules again after a search that is one, or was one, has changed.
fn put_in_force(
    app: &App,
    principal: &Principal,
    is_rule: bool,
    alone: &MutexGuard<'_, ()>,
) -> Result<(), Problem> {
    if !is_rule {
        return Ok(());
    }
    app.reload_searches(actor(principal), alone).map(drop).map_err(|failure| {
        let text = format!("the search is saved, but the rules are as they were: {failure}");
        Problem::new(StatusCode::CONFLICT, text)
    })
}

/// `DELETE /api/v1/searches/{name}`
pub async fn remove(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    InPath(name): InPath<String>,
) -> Result<Json<Value>, Problem> {
    app.blocking(move |app| {
        let alone = app.lock_searches();
        let is_rule = raises(app, &name);
        may_change(&principal, is_rule)?;
        app.ledger.remove_search(&name, actor(&principal)).map_err(problem_of)?;
        app.note(&actor(&principal), "search.remove", &name, "");
        put_in_force(app, &principal, is_rule, &alone)?;
        Ok(Json(json!({"removed": name})))
    })
    .await
}

/// What is asked, with the saved search in it that it names: its filter, its times unless others are
/// given, and further pipes.
pub async fn filled(app: &Arc<App>, mut asked: Asked) -> Result<Asked, Problem> {
    let Some(name) = asked.saved.take() else { return Ok(asked) };
    let row = app.clone().blocking(move |app| app.ledger.search(&name).map_err(problem_of)).await?;
    let further = asked.query.trim();
    if !further.is_empty() && !further.starts_with('|') {
        let text = "a saved search has its filter; further pipes begin with `|`";
        return Err(Problem { column: Some(1), ..Problem::bad(text) });
    }
    let SavedSearch { query, since, until, .. } = row.search;
    asked.query = format!("{query} {further}").trim_end().to_owned();
    asked.since = asked.since.or(since);
    asked.until = asked.until.or(until);
    Ok(asked)
}
