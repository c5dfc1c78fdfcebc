//! Lines counted over time.
//!
//! Events are counted in pieces of time that both step and range consist of; what a point shows is
//! the sum of the pieces in the range before it. Points stand at multiples of the step.

use super::{
    Answer, Asked, Refusal, STREAM_FIELDS, VALUES_MAX, field_of, request, shown_as, success,
};
use crate::api::problem::Problem;
use crate::run::App;
use filter::logql::{Function, LogQuery, MetricQuery};
use filter::search::{Aggregate, AggregateFunction, Pipe};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use store::SearchSummary;

/// Most points of a series, as in Loki.
const POINTS_MAX: i64 = 11_000;
/// Points when nobody says how far apart, as in Loki.
const POINTS_DEFAULT: i64 = 250;
/// Shortest piece of time, ns.
const PIECE_MIN_NS: i64 = 1_000_000;
const SECOND_NS: i64 = event::time::SECOND_NS;

type Labels = BTreeMap<String, String>;

/// `15`, `0.5`, `15s`, `15000ms`.
pub(super) fn step_of(text: Option<&str>, (start, end): (i64, i64)) -> Result<i64, Refusal> {
    let wide = end - start;
    let step = match text {
        None => Some((wide / POINTS_DEFAULT / SECOND_NS * SECOND_NS).max(SECOND_NS)),
        Some(text) => match text.parse::<f64>() {
            Ok(seconds) => Some((seconds * 1e9) as i64),
            Err(_) => filter::search::duration_ns(text),
        },
    };
    let step = step.filter(|ns| *ns >= PIECE_MIN_NS);
    let step = step.ok_or_else(|| Problem::bad("`step` is no duration of at least 1 ms"))?;
    match wide / step <= POINTS_MAX {
        true => Ok(step),
        false => {
            let text = format!("more than {POINTS_MAX} points: make `step` larger");
            Err(Problem::bad(text).into())
        }
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Fields by which a metric is told apart, with the labels they are shown under.
fn grouping(app: &App, metric: &MetricQuery) -> Vec<(String, String)> {
    match &metric.by {
        None => STREAM_FIELDS.iter().map(|f| (shown_as(f), (*f).to_owned())).collect(),
        Some(labels) => {
            let dict = app.generation().dict.clone();
            labels.iter().map(|label| (label.clone(), field_of(&dict, label))).collect()
        }
    }
}

fn count() -> Vec<Aggregate> {
    let function = AggregateFunction::Count;
    vec![Aggregate { function, field: None, name: "lines".into() }]
}

/// Lines by labels in a range of time.
pub(super) fn totals(
    app: &App,
    asked: &Asked,
    log: &LogQuery,
    range: (i64, i64),
    fields: &[String],
) -> Result<Vec<(Labels, u64)>, Refusal> {
    let mut request = request(app, asked, log, range);
    request.limit = VALUES_MAX;
    request.query.pipes = vec![Pipe::Stats { aggregates: count(), by: fields.to_vec() }];
    let labels: Vec<(String, String)> = fields.iter().map(|f| (shown_as(f), f.clone())).collect();
    let mut out = Vec::new();
    app.store.search(&request, &mut |row| {
        if let Ok(row) = serde_json::from_str::<Map<String, Value>>(&row.json) {
            let lines = row["lines"].as_u64().unwrap_or(0);
            if lines > 0 {
                out.push((labels_of(&row, &labels), lines));
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(out)
}

fn labels_of(row: &Map<String, Value>, labels: &[(String, String)]) -> Labels {
    let one = |(label, field): &(String, String)| {
        let text = super::text_of(row.get(field)?)?;
        (!text.is_empty()).then(|| (label.clone(), text))
    };
    labels.iter().filter_map(one).collect()
}

/// What a count is in the metric's unit, as text.
fn shown(metric: &MetricQuery, lines: u64) -> String {
    match metric.function {
        Function::Count => lines.to_string(),
        Function::Rate => (lines as f64 / (metric.range_ns as f64 / 1e9)).to_string(),
    }
}

/// Only the largest or smallest, if that is asked.
fn chosen<T>(metric: &MetricQuery, mut series: Vec<(u64, T)>) -> Vec<T> {
    if let Some(top) = metric.top {
        series.sort_by_key(|(lines, _)| if top > 0 { u64::MAX - lines } else { *lines });
        series.truncate(top.unsigned_abs() as usize);
    }
    series.truncate(VALUES_MAX);
    series.into_iter().map(|(_, one)| one).collect()
}

/// A number that would be too small is not given.
fn whole(summary: &SearchSummary) -> Result<(), Refusal> {
    let Some(why) = &summary.partial else { return Ok(()) };
    let text = format!("the answer would not be whole ({why}): narrow the query or the range");
    Err(Problem::bad(text).into())
}

/// A metric at one time.
pub(super) fn vector(app: &App, asked: &Asked, metric: &MetricQuery, at_ns: i64) -> Answer {
    let groups = grouping(app, metric);
    let fields: Vec<String> = groups.iter().map(|(_, field)| field.clone()).collect();
    let range = (at_ns.saturating_sub(metric.range_ns), at_ns);
    let mut request = request(app, asked, &metric.log, range);
    request.limit = VALUES_MAX;
    request.query.pipes = vec![Pipe::Stats { aggregates: count(), by: fields }];
    let mut found = Vec::new();
    let summary = app.store.search(&request, &mut |row| {
        if let Ok(row) = serde_json::from_str::<Map<String, Value>>(&row.json) {
            let lines = row["lines"].as_u64().unwrap_or(0);
            if lines > 0 {
                found.push((lines, (labels_of(&row, &groups), lines)));
            }
        }
        ControlFlow::Continue(())
    })?;
    whole(&summary)?;
    let at = at_ns as f64 / 1e9;
    let result: Vec<Value> = chosen(metric, found)
        .into_iter()
        .map(|(labels, lines)| json!({"metric": labels, "value": [at, shown(metric, lines)]}))
        .collect();
    Ok(success(json!({"resultType": "vector", "result": result})))
}

/// A metric over time.
pub(super) fn matrix(
    app: &App,
    asked: &Asked,
    metric: &MetricQuery,
    (start, end): (i64, i64),
    step_ns: i64,
) -> Answer {
    let first = start.div_euclid(step_ns).saturating_add(1).saturating_mul(step_ns);
    let last = end.div_euclid(step_ns).saturating_add(1).saturating_mul(step_ns);
    let piece_ns = piece_of(step_ns, metric.range_ns, last - first + metric.range_ns);
    let groups = grouping(app, metric);
    let by = groups.iter().map(|(_, field)| field.clone()).collect();
    let range = (first.saturating_sub(metric.range_ns), last);
    let mut request = request(app, asked, &metric.log, range);
    request.limit = store::search::LIMIT_MAX;
    request.query.pipes = vec![Pipe::Timechart { span_ns: piece_ns, aggregates: count(), by }];
    let mut series: BTreeMap<Labels, BTreeMap<i64, u64>> = BTreeMap::new();
    let summary = app.store.search(&request, &mut |row| {
        if let Ok(row) = serde_json::from_str::<Map<String, Value>>(&row.json) {
            let at = row["@timestamp"].as_str().and_then(event::time::parse_rfc3339);
            let lines = row["lines"].as_u64().unwrap_or(0);
            if let Some(at) = at.filter(|_| lines > 0) {
                *series.entry(labels_of(&row, &groups)).or_default().entry(at).or_default() +=
                    lines;
            }
        }
        ControlFlow::Continue(())
    })?;
    whole(&summary)?;
    let points: Vec<i64> = (0..=(last - first) / step_ns).map(|n| first + n * step_ns).collect();
    let ranked = series.into_iter().map(|(labels, pieces)| {
        let total: u64 = pieces.values().sum();
        (total, (labels, over_time(metric, &pieces, &points)))
    });
    let result: Vec<Value> = chosen(metric, ranked.collect())
        .into_iter()
        .map(|(labels, values)| json!({"metric": labels, "values": values}))
        .collect();
    Ok(success(json!({"resultType": "matrix", "result": result})))
}

/// The longest piece of time that step and range consist of; the step itself when those would be too
/// many.
fn piece_of(step_ns: i64, range_ns: i64, wide_ns: i64) -> i64 {
    let piece = gcd(step_ns, range_ns);
    match piece >= PIECE_MIN_NS && wide_ns / piece <= POINTS_MAX {
        true => piece,
        false => step_ns,
    }
}

fn over_time(metric: &MetricQuery, pieces: &BTreeMap<i64, u64>, points: &[i64]) -> Vec<Value> {
    let at = |point: &i64| {
        let since = point.saturating_sub(metric.range_ns);
        let lines: u64 = pieces.range(since..*point).map(|(_, lines)| lines).sum();
        (lines > 0).then(|| json!([*point as f64 / 1e9, shown(metric, lines)]))
    };
    points.iter().filter_map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_fit_step_and_range() {
        assert_eq!(piece_of(60, 300, 1), 60, "below a millisecond there are no pieces");
        let s = SECOND_NS;
        assert_eq!(piece_of(60 * s, 300 * s, 3_600 * s), 60 * s);
        assert_eq!(piece_of(60 * s, 90 * s, 3_600 * s), 30 * s);
        assert_eq!(piece_of(61 * s, 60 * s, 86_400 * s), 61 * s);
    }

    #[test]
    fn steps_are_read_as_grafana_writes_them() {
        let hour = (0, 3_600 * SECOND_NS);
        let step = |text| step_of(text, hour).ok();
        assert_eq!(step(Some("15000ms")), Some(15 * SECOND_NS));
        assert_eq!(step(Some("15")), Some(15 * SECOND_NS));
        assert_eq!(step(Some("0.5")), Some(SECOND_NS / 2));
        assert_eq!(step(None), Some(14 * SECOND_NS));
        assert_eq!(step(Some("1ms")), None, "too many points");
        assert_eq!(step(Some("x")), None);
    }
}
