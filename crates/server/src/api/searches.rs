//! Saved searches: a name for a filter with its pipes, for everybody, to search with and to follow.

use super::alerts::{actor, problem_of};
use super::asked::{InPath, JsonBody};
use super::events::{Asked, time_of};
use super::problem::Problem;
use crate::run::App;
use axum::Json;
use axum::extract::{Extension, State};
use filter::search;
use ledger::{SavedRow, SavedSearch};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use trust::Principal;

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
}

fn saved_json(row: &SavedRow) -> Value {
    let SavedSearch { name, query, since, until, note } = &row.search;
    json!({
        "name": name, "query": query, "since": since, "until": until, "note": note,
        "saved_by": row.who, "saved_at": event::time::rfc3339(row.at_ns),
        // What can be followed: a filter alone.
        "can_tail": search::parse_filter(query, 0).is_ok(),
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
    let Wish { query, since, until, note } = wish;
    let saved = SavedSearch { name, query, since, until, note };
    app.blocking(move |app| {
        let (name, query) = (saved.name.clone(), saved.query.clone());
        app.ledger.save_search(saved, actor(&principal)).map_err(problem_of)?;
        app.note(&actor(&principal), "search.save", &name, &query);
        Ok(Json(saved_json(&app.ledger.search(&name).map_err(problem_of)?)))
    })
    .await
}

/// `DELETE /api/v1/searches/{name}`
pub async fn remove(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    InPath(name): InPath<String>,
) -> Result<Json<Value>, Problem> {
    app.blocking(move |app| {
        app.ledger.remove_search(&name, actor(&principal)).map_err(problem_of)?;
        app.note(&actor(&principal), "search.remove", &name, "");
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
