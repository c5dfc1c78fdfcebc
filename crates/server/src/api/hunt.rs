//! Rules over what is stored.

use super::asked::JsonBody;
use super::events::{Asked, Cancel, request_of, summary_json};
use super::lines::lines;
use super::problem::Problem;
use crate::generation::Parts;
use crate::history::{self, Hunted, Told};
use crate::run::App;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use trust::Principal;

/// Body of a hunt.
#[derive(Deserialize)]
pub struct Wanted {
    /// Texts of rule files.
    rules: Vec<String>,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
}

/// `POST /api/v1/hunt`: lines of NDJSON: what was found, `alcedo.progress` now and then, what is wrong
/// with rules as `alcedo.problem`, and `alcedo.summary` last. One hunt at a time.
pub async fn hunt(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    JsonBody(wanted): JsonBody<Wanted>,
) -> Result<Response, Problem> {
    let Ok(alone) = app.hunting.clone().try_acquire_owned() else {
        let problem =
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "a hunt runs; wait for it or end it");
        return Err(Problem { retry_after_s: Some(5), ..problem });
    };
    let Wanted { rules, since, until } = wanted;
    let mut request = request_of(&app, &Asked { since, until, ..Asked::default() })?;
    request.timeout = None;
    let compiling = app.clone();
    let compiled = tokio::task::spawn_blocking(move || {
        let parts = Parts::of_config(&compiling.config)?;
        let (rules, problems) = detect::load_text_with(&rules.join("\n---\n"), &parts.sigma);
        let rules = rules.into_iter().map(Arc::new).collect();
        let parts = Parts { rules, ..parts };
        Ok::<_, crate::exit::Failure>((parts.compile(0, [0; 16])?, problems))
    });
    let compiled = compiled.await.map_err(Problem::internal)?;
    let (generation, problems) = compiled.map_err(|e| Problem::bad(e.message))?;
    let detail = format!("{} rules", generation.rules.rules().len());
    app.note(&super::alerts::actor(&principal), "hunt", "", &detail);
    request.dictionary = generation.dict.clone();
    let gone = Cancel(request.cancelled.clone());
    let (mut answer, told) = lines::<String>(app.clone(), principal);
    tokio::task::spawn_blocking(move || {
        let _alone = alone;
        for problem in problems {
            let _ = answer.put(json!({"alcedo.problem": problem.to_string()}).to_string());
        }
        let mut out = |told: Told| {
            let line = match told {
                Told::Found(line) => line,
                Told::Passed { rows, of, found } => {
                    json!({"alcedo.progress": {"rows": rows, "of": of, "found": found}})
                }
            };
            answer.put(line.to_string())
        };
        // The live workers keep the other cores.
        let done = history::hunt(&app.store, &Arc::new(generation), request, 1, &mut out);
        let last = match done {
            Ok(hunted) => json!({"alcedo.summary": hunted_json(&hunted)}),
            Err(error) => json!({"alcedo.error": error.to_string()}),
        };
        let _ = answer.put(last.to_string());
    });
    Ok(told.into_response(None, gone, |line| line + "\n"))
}

/// What a hunt came to, for people: the summary of a search, and what the lines found are.
pub fn hunted_json(hunted: &Hunted) -> Value {
    let mut out = summary_json(&hunted.summary);
    (out["matches"], out["correlations"]) = (hunted.matches.into(), hunted.correlations.into());
    out
}
