//! Which labels and fields there are, for what Grafana offers while a query is built.
//!
//! Labels are counted over all events of the range; fields are told from the newest lines alone, as Loki
//! does, and the answer says from how many.

use super::{
    Answer, Asked, OFFERED_FIELDS, Pairs, STREAM_FIELDS, TIMEOUT, VALUES_MAX, answered, request,
    selected, shown_as, text_of,
};
use crate::api::problem::Problem;
use crate::run::App;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// Lines that fields are told from, and fields told, when nobody says how many, as in Loki.
const LINES_DEFAULT: usize = 1_000;
/// Most lines that fields are told from.
const LINES_MAX: usize = 5_000;
/// Most values that are told apart in one answer, of all fields: eight bytes each are kept.
const DISTINCT_MAX: usize = 1 << 20;
/// Most bytes of names, and of values, that one answer is made of.
const BYTES_MAX: usize = 4 << 20;
/// What an answer says that has left out what was too much.
const TOO_MUCH: &str = "memory";

/// `GET /loki/api/v1/detected_labels`
pub async fn labels(State(app): State<Arc<App>>, pairs: Pairs) -> Answer {
    answered(app, pairs.0, |app, asked| {
        let log = selected(app, asked.get("query"))?;
        let mut request = request(app, asked, &log, asked.range()?);
        let (began, mut found, mut partial) = (Instant::now(), Vec::new(), None);
        for field in STREAM_FIELDS.iter().chain(&OFFERED_FIELDS) {
            // All of them have the time of one question.
            request.timeout = Some(TIMEOUT.saturating_sub(began.elapsed()));
            let of_field = app.store.field_values(&request, field, VALUES_MAX)?;
            if !of_field.values.is_empty() {
                let cardinality = of_field.values.len();
                found.push(json!({"label": shown_as(field), "cardinality": cardinality}));
            }
            partial = partial.or(of_field.summary.partial);
        }
        Ok(told(json!({"detectedLabels": found}), partial))
    })
    .await
}

/// `GET /loki/api/v1/detected_fields`
pub async fn fields(State(app): State<Arc<App>>, pairs: Pairs) -> Answer {
    answered(app, pairs.0, |app, asked| {
        let limit = number(asked, "limit")?.unwrap_or(LINES_DEFAULT);
        let mut seen = Fields::default();
        let partial = newest(app, asked, &mut |name, value| seen.add(name, value))?;
        let fields = seen.by_name.iter().take(limit).map(|(field, values)| {
            json!({
                "label": shown_as(field),
                "type": values.kind(),
                "cardinality": values.hashes.len(),
                // They are labels without a parser as well.
                "parsers": [],
            })
        });
        let answer = json!({"fields": fields.collect::<Vec<_>>(), "limit": limit});
        Ok(told(answer, partial.or(seen.partial())))
    })
    .await
}

/// `GET /loki/api/v1/detected_field/{name}/values`
pub async fn values(State(app): State<Arc<App>>, Path(name): Path<String>, pairs: Pairs) -> Answer {
    answered(app, pairs.0, move |app, asked| {
        let limit = number(asked, "limit")?.unwrap_or(LINES_DEFAULT);
        let mut seen = Values::default();
        let partial = newest(app, asked, &mut |field, value| {
            if shown_as(field) == name {
                seen.add(value);
            }
        })?;
        let partial = partial.or(seen.is_cut.then(|| TOO_MUCH.into()));
        let values: Vec<_> = seen.values.into_iter().take(limit).collect();
        Ok(told(json!({"values": values, "limit": limit}), partial))
    })
    .await
}

/// An answer that says so where it is not whole.
fn told(mut answer: Value, partial: Option<String>) -> Json<Value> {
    if let Some(why) = partial {
        answer["warnings"] = json!([format!("not whole: {why}")]);
    }
    Json(answer)
}

fn number(asked: &Asked, key: &str) -> Result<Option<usize>, Problem> {
    let wrong = |_| Problem::bad(format!("`{key}` is no number"));
    asked.get(key).map(str::parse::<usize>).transpose().map_err(wrong)
}

/// Hands out the fields of the newest lines with their values, line by line. Out: why these are not all, if so.
fn newest(
    app: &App,
    asked: &Asked,
    take: &mut dyn FnMut(&str, &str),
) -> Result<Option<String>, super::Refusal> {
    let log = selected(app, asked.get("query"))?;
    let mut request = request(app, asked, &log, asked.range()?);
    request.limit = number(asked, "line_limit")?.unwrap_or(LINES_DEFAULT).min(LINES_MAX);
    let summary = app.store.search(&request, &mut |row| {
        let fields: Map<String, Value> = serde_json::from_str(&row.json).unwrap_or_default();
        for (name, value) in fields {
            let shown = !matches!(&*name, "event.original" | "@timestamp");
            if let Some(text) = text_of(&value).filter(|text| shown && !text.is_empty()) {
                take(&name, &text);
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(summary.partial)
}

/// Fields by name. Values are counted by their hashes: they may be as large as events.
#[derive(Default)]
struct Fields {
    by_name: BTreeMap<String, Counted>,
    names_bytes: usize,
    distinct: usize,
    is_cut: bool,
}

impl Fields {
    fn add(&mut self, name: &str, value: &str) {
        if !self.by_name.contains_key(name) {
            self.names_bytes += name.len();
            if self.names_bytes > BYTES_MAX {
                self.is_cut = true;
                return;
            }
            self.by_name.insert(name.to_owned(), Counted::default());
        }
        let Some(field) = self.by_name.get_mut(name) else { return };
        field.note_kind(value);
        let hash = xxhash_rust::xxh3::xxh3_64(value.as_bytes());
        if field.hashes.contains(&hash) {
            return;
        }
        self.distinct += 1;
        match self.distinct > DISTINCT_MAX {
            true => self.is_cut = true,
            false => drop(field.hashes.insert(hash)),
        }
    }

    fn partial(&self) -> Option<String> {
        self.is_cut.then(|| TOO_MUCH.into())
    }
}

/// How many values a field has, and whether some are no whole number, no number, no truth value.
#[derive(Default)]
struct Counted {
    hashes: HashSet<u64>,
    not: [bool; 3],
}

impl Counted {
    fn note_kind(&mut self, text: &str) {
        self.not[0] |= text.parse::<i64>().is_err();
        self.not[1] |= text.parse::<f64>().is_err();
        self.not[2] |= !matches!(text, "true" | "false");
    }

    /// Loki's word for what all values are.
    fn kind(&self) -> &'static str {
        match self.not {
            [false, ..] => "int",
            [_, false, _] => "float",
            [.., false] => "boolean",
            _ => "string",
        }
    }
}

/// The values of one field, as far as there is room for them.
#[derive(Default)]
struct Values {
    values: BTreeSet<String>,
    bytes: usize,
    is_cut: bool,
}

impl Values {
    fn add(&mut self, value: &str) {
        if self.values.contains(value) {
            return;
        }
        match self.bytes + value.len() > BYTES_MAX {
            true => self.is_cut = true,
            false => {
                self.bytes += value.len();
                self.values.insert(value.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: fields of large values, each of them another; more values and names than there is room for.
    /// Guarantees: values are counted, not kept; what is too much is left out, and the answer says so.
    #[test]
    fn what_is_kept_has_bounds() {
        let (mut fields, mut values) = (Fields::default(), Values::default());
        for n in 0..20 {
            let large = n.to_string().repeat(1 << 19);
            fields.add("blob", &large);
            values.add(&large);
            fields.add("n", &n.to_string());
            fields.add("x", if n == 7 { "0.5" } else { "1" });
        }
        assert_eq!((fields.by_name["blob"].hashes.len(), fields.partial()), (20, None));
        assert_eq!(fields.by_name["n"].kind(), "int");
        assert_eq!((fields.by_name["x"].kind(), fields.by_name["x"].hashes.len()), ("float", 2));
        assert!(values.is_cut && values.bytes <= BYTES_MAX && values.values.len() > 4);
        for n in 0..=DISTINCT_MAX {
            fields.add("many", &n.to_string());
        }
        assert!(fields.by_name["many"].hashes.len() < DISTINCT_MAX);
        assert_eq!(fields.partial().as_deref(), Some(TOO_MUCH));
        let mut names = Fields::default();
        (0..10).for_each(|n| names.add(&n.to_string().repeat(1 << 19), "v"));
        assert!(names.by_name.len() < 10 && names.partial().is_some());
    }
}
