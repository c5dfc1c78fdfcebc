//! Which labels and fields there are, for what Grafana offers while a query is built.
//!
//! Labels are counted over all events of the range; fields are told from the newest lines alone, as Loki
//! does, and the answer says from how many.

use super::{
    Answer, Asked, OFFERED_FIELDS, Pairs, STREAM_FIELDS, VALUES_MAX, answered, request, selected,
    shown_as, text_of,
};
use crate::api::problem::Problem;
use crate::run::App;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Lines that fields are told from, and fields told, when nobody says how many, as in Loki.
const LINES_DEFAULT: usize = 1_000;
/// Most lines that fields are told from.
const LINES_MAX: usize = 5_000;

/// `GET /loki/api/v1/detected_labels`
pub async fn labels(State(app): State<Arc<App>>, pairs: Pairs) -> Answer {
    answered(app, pairs.0, |app, asked| {
        let log = selected(app, asked.get("query"))?;
        let request = request(app, asked, &log, asked.range()?);
        let mut found = Vec::new();
        for field in STREAM_FIELDS.iter().chain(&OFFERED_FIELDS) {
            let values = app.store.field_values(&request, field, VALUES_MAX)?.values;
            if !values.is_empty() {
                found.push(json!({"label": shown_as(field), "cardinality": values.len()}));
            }
        }
        Ok(Json(json!({"detectedLabels": found})))
    })
    .await
}

/// `GET /loki/api/v1/detected_fields`
pub async fn fields(State(app): State<Arc<App>>, pairs: Pairs) -> Answer {
    answered(app, pairs.0, |app, asked| {
        let limit = number(asked, "limit")?.unwrap_or(LINES_DEFAULT);
        let seen = seen(app, asked)?;
        let told = seen.iter().take(limit).map(|(field, values)| {
            json!({
                "label": shown_as(field),
                "type": kind_of(values),
                "cardinality": values.len(),
                // They are labels without a parser as well.
                "parsers": [],
            })
        });
        Ok(Json(json!({"fields": told.collect::<Vec<_>>(), "limit": limit})))
    })
    .await
}

/// `GET /loki/api/v1/detected_field/{name}/values`
pub async fn values(State(app): State<Arc<App>>, Path(name): Path<String>, pairs: Pairs) -> Answer {
    answered(app, pairs.0, move |app, asked| {
        let limit = number(asked, "limit")?.unwrap_or(LINES_DEFAULT);
        let seen = seen(app, asked)?;
        let of_field = seen.into_iter().find(|(field, _)| shown_as(field) == name);
        let values = of_field.map(|(_, values)| values).unwrap_or_default();
        Ok(Json(
            json!({"values": values.into_iter().take(limit).collect::<Vec<_>>(), "limit": limit}),
        ))
    })
    .await
}

fn number(asked: &Asked, key: &str) -> Result<Option<usize>, Problem> {
    let wrong = |_| Problem::bad(format!("`{key}` is no number"));
    asked.get(key).map(str::parse::<usize>).transpose().map_err(wrong)
}

/// Fields of the newest lines with their values.
fn seen(app: &App, asked: &Asked) -> Result<BTreeMap<String, BTreeSet<String>>, super::Refusal> {
    let log = selected(app, asked.get("query"))?;
    let mut request = request(app, asked, &log, asked.range()?);
    request.limit = number(asked, "line_limit")?.unwrap_or(LINES_DEFAULT).min(LINES_MAX);
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    app.store.search(&request, &mut |row| {
        let fields: Map<String, Value> = serde_json::from_str(&row.json).unwrap_or_default();
        for (name, value) in fields {
            let shown = !matches!(&*name, "event.original" | "@timestamp");
            if let Some(text) = text_of(&value).filter(|text| shown && !text.is_empty()) {
                seen.entry(name).or_default().insert(text);
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(seen)
}

/// Loki's word for what all values are.
fn kind_of(values: &BTreeSet<String>) -> &'static str {
    let all = |is: fn(&str) -> bool| values.iter().all(|text| is(text));
    match () {
        () if all(|text| text.parse::<i64>().is_ok()) => "int",
        () if all(|text| text.parse::<f64>().is_ok()) => "float",
        () if all(|text| matches!(text, "true" | "false")) => "boolean",
        () => "string",
    }
}
