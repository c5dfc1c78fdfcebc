//! The part of Loki's query language that dashboards and Grafana's log view send, as our own plans.
//!
//! ```text
//! {host_name="web-1"} |= "failed" | json | source_port > 1024        -> Query::Log
//! sum by (log_level) (count_over_time({alcedo_source="fw"}[5m]))     -> Query::Metric
//! ```
//! Labels are our field names with `_` for every other character ([`label_of`]); the caller says
//! which field a label means. A line is the record as it was received. Fields are there when events
//! arrive, so a stage that takes lines apart (`json`, `logfmt`) only asks for them to be shown.
//!
//! Not here: where events are and what an answer looks like.

mod read;

use crate::plan::Plan;

/// Longest query.
pub const QUERY_BYTES_MAX: usize = 16 << 10;
/// Deepest nesting of parentheses.
pub const DEPTH_MAX: usize = 32;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Lines.
    Log(LogQuery),
    /// Numbers over time.
    Metric(MetricQuery),
    /// A number: `vector(1)+vector(1)` is how Grafana asks whether we are there.
    Number(f64),
}

/// Which lines.
#[derive(Clone, Debug, PartialEq)]
pub struct LogQuery {
    /// Which events.
    pub filter: Plan,
    /// All fields are to be shown as labels.
    pub all_fields: bool,
}

/// What is counted of the lines of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// How many.
    Count,
    /// How many a second.
    Rate,
}

/// How many lines, over time.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricQuery {
    /// Which lines.
    pub log: LogQuery,
    /// What is counted.
    pub function: Function,
    /// Over how long, ns.
    pub range_ns: i64,
    /// Labels by which it is added up, empty for one number; `None` = by stream.
    pub by: Option<Vec<String>>,
    /// Only so many series: the largest, or (negative) the smallest.
    pub top: Option<i64>,
}

/// A query that cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct LogqlError {
    /// Character of the query, from 1.
    pub column: usize,
    /// What is wrong and what to do.
    pub message: String,
}

/// Reads a query; `field_of` gives the field that a label means.
pub fn parse(text: &str, field_of: &dyn Fn(&str) -> String) -> Result<Query, LogqlError> {
    read::query(text, field_of)
}

/// Reads a selector with its filters alone, as `labels`, `series` and `tail` send it.
pub fn parse_log(text: &str, field_of: &dyn Fn(&str) -> String) -> Result<LogQuery, LogqlError> {
    match parse(text, field_of)? {
        Query::Log(log) => Ok(log),
        _ => Err(LogqlError { column: 1, message: "lines are asked for, not numbers".into() }),
    }
}

/// A field's name as a label: letters, digits and `_`.
pub fn label_of(field: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut label: String = field.chars().map(plain).collect();
    if label.starts_with(|c: char| c.is_ascii_digit()) {
        label.insert(0, '_');
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Node, Target};

    fn field(label: &str) -> String {
        label.replace('_', ".")
    }

    fn log(text: &str) -> LogQuery {
        parse_log(text, &field).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn metric(text: &str) -> MetricQuery {
        match parse(text, &field) {
            Ok(Query::Metric(metric)) => metric,
            other => panic!("{text}: {other:?}"),
        }
    }

    /// A label of several values is shown as their list; who clicks on it gets the events that have all.
    #[test]
    fn a_list_of_values_as_it_is_shown_selects_what_has_them_all() {
        let each = log("{a=\"x\",a=\"y, z\"}").filter.root;
        let Node::Or(parts) = log(r#"{a="[\"x\",\"y, z\"]"}"#).filter.root else { panic!() };
        assert_eq!(parts.len(), 2, "the text itself, or all of them");
        assert!(matches!((&each, &parts[1]), (Node::And(a), Node::And(b)) if a.len() == b.len()));
        assert_eq!(log("{a=\"[x]\"}").filter.leaves.len(), 1);
    }

    #[test]
    fn selectors_and_line_filters_become_plans() {
        let query = log("{host_name=\"web\", user_name=~\"a|b\"} |= \"Failed\" != `x y`");
        let fields: Vec<&str> = query
            .filter
            .leaves
            .iter()
            .filter_map(|leaf| match &leaf.target {
                Target::Field(name) => Some(&**name),
                Target::Keyword => None,
            })
            .collect();
        assert_eq!(fields, ["host.name", "user.name", "event.original", "event.original"]);
        assert!(!query.all_fields);
        assert_eq!(log("{}").filter.root, Node::Const(true));
        assert_eq!(log("{a=\"b\"} |= ``").filter.leaves.len(), 1, "no text is no filter");
        assert!(log("{a=\"b\"} | json | drop __error__").all_fields);
        let query = log("{a=\"b\"} | logfmt | level=\"x\" or status >= 400 and (c!=\"d\")");
        assert_eq!(query.filter.leaves.len(), 4);
        assert_eq!(log("{a=\"b\"} | json | __error__=\"\"").filter.leaves.len(), 1);
    }

    #[test]
    fn metrics_have_function_range_and_grouping() {
        let m = metric("sum by (level, detected_level) (count_over_time({a=\"b\"} |= \"x\" [1m]))");
        assert_eq!((m.function, m.range_ns), (Function::Count, 60_000_000_000));
        assert_eq!(m.by, Some(vec!["level".into(), "detected_level".into()]));
        let m = metric("topk(5, sum(rate({a=\"b\"}[1h30m])) by (x))");
        assert_eq!((m.function, m.range_ns, m.top), (Function::Rate, 5_400_000_000_000, Some(5)));
        assert_eq!(m.by, Some(vec!["x".into()]));
        assert_eq!(metric("sum(count_over_time({a=\"b\"}[15000ms]))").by, Some(vec![]));
        assert_eq!(metric("rate({a=\"b\"} | json [5s])").by, None);
        assert_eq!(parse("vector(1)+vector(1)", &field), Ok(Query::Number(2.0)));
    }

    #[test]
    fn what_is_not_answered_is_said_with_its_place() {
        for (text, column, part) in [
            ("{a=b}", 4, "quotes"),
            ("{a=\"b\"", 7, "}"),
            ("{a=\"b\"} | line_format \"x\"", 11, "line_format"),
            ("avg(rate({a=\"b\"}[5m]))", 1, "avg"),
            ("rate({a=\"b\"})", 13, "["),
            ("{a=~\"(\"}", 5, "expression"),
            ("{a=\"b\"} trailing", 9, "end"),
        ] {
            let error = parse(text, &field).unwrap_err();
            assert_eq!(error.column, column, "{text}: {error}");
            assert!(error.message.contains(part), "{text}: {error}");
        }
        let deep = format!("{}1", "sum(".repeat(100));
        assert!(parse(&deep, &field).is_err());
    }

    #[test]
    fn labels_are_legal() {
        assert_eq!(label_of("process.command_line"), "process_command_line");
        assert_eq!(label_of("@timestamp"), "_timestamp");
        assert_eq!(label_of("4x"), "_4x");
    }
}
