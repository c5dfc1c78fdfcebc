//! The search language: a filter, then pipes.
//!
//! ```text
//! source.ip:10.0.0.0/8 and not user.name:svc_* | stats count() by user.name | sort -count | head 10
//! ^^^^^^^^^^^^^^^^^^^^ filter -> Plan ^^^^^^^^^   ^^^^^^^^^^^^^^^^^^^^^^^^ pipes -> Pipe ^^^^^^^^
//! ```
//! What stands before the first pipe is a predicate and works the same live and over history.
//!
//! | form | meaning |
//! |---|---|
//! | `word`, `"two words"`, `/reg.ex/i` | in the raw bytes or any field's value |
//! | `field:value`, `field:val*`, `field:"literal *"` | the whole value, wildcards `*` and `?` outside quotes |
//! | `message:word`, `message:"two words"` | anywhere in the value of a full text field |
//! | `field:*` | the field is present and not null |
//! | `field:10.0.0.0/8` | address in the network |
//! | `field:/regex/i` | regular expression, unanchored; flags `i`, `m`, `s` |
//! | `field>=5`, `field:>=5`, `field:[1 to 9]`, `@timestamp>now-15m` | order of numbers or times |
//! | `field:(a or b*)` | several values of one field |
//! | `a b`, `a and b`, `a or b`, `not a`, `( )` | combination; `not` binds tightest, then `and` |

pub mod ast;
mod cursor;
mod filters;
mod pipes;
mod slips;
#[cfg(test)]
mod wrong;

pub use ast::{Aggregate, AggregateFunction, Pipe, Query, SortKey};
pub use filters::FULL_TEXT_FIELDS;

use crate::Plan;
use cursor::Cursor;

/// Longest query text, in bytes: a longer one belongs into a rule or a table.
pub const QUERY_BYTES_MAX: usize = 64 * 1024;
/// Most pipes in one query.
pub const PIPES_MAX: usize = 32;

/// A query that cannot be understood, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}{}", hint.as_ref().map(|h| format!(" ({h})")).unwrap_or_default())]
pub struct SearchError {
    /// Character of the query, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Reads a query. `now_ns` gives `now-15m` its meaning.
pub fn parse(text: &str, now_ns: i64) -> Result<Query, SearchError> {
    let mut cursor = Cursor::new(text, now_ns)?;
    let query = query(&mut cursor)?;
    match cursor.peek() {
        None => Ok(query),
        Some(_) => Err(slips::unexpected(&mut cursor)),
    }
}

/// A filter and its pipes, up to the end or a closing bracket.
fn query(cursor: &mut Cursor<'_>) -> Result<Query, SearchError> {
    let filter = filters::filter(cursor)?;
    let mut pipes = Vec::new();
    while cursor.eat('|') {
        if pipes.len() == PIPES_MAX {
            return Err(cursor.error(format!("more than {PIPES_MAX} pipes"), None));
        }
        pipes.push(pipes::pipe(cursor)?);
    }
    Ok(Query { filter, pipes })
}

/// Reads a filter alone: for live tails, drop filters and alert exceptions.
pub fn parse_filter(text: &str, now_ns: i64) -> Result<Plan, SearchError> {
    let mut cursor = Cursor::new(text, now_ns)?;
    let filter = filters::filter(&mut cursor)?;
    match cursor.peek() {
        None => Ok(filter),
        Some('|') => Err(cursor.error("pipes are not possible here", Some("use a filter alone"))),
        Some(_) => Err(slips::unexpected(&mut cursor)),
    }
}

/// Reads a duration such as `500ms`, `90s`, `15m`, `24h`, `30d`, `2w`, in ns.
pub fn duration_ns(text: &str) -> Option<i64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, unit_ns) = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<i64>().ok()?.checked_mul(*unit_ns)
}

/// A duration in ns as [`duration_ns`] reads it, in its largest whole unit; less than a millisecond is lost.
pub fn duration_text(ns: i64) -> String {
    let is_whole = |unit_ns: i64| ns >= unit_ns && ns % unit_ns == 0;
    let whole = DURATION_UNITS.iter().find(|(_, unit_ns)| is_whole(*unit_ns));
    let (name, unit_ns) = whole.unwrap_or(&("ms", 1_000_000));
    format!("{}{name}", ns / unit_ns)
}

/// Units of durations and how many ns each is, the largest first.
const DURATION_UNITS: [(&str, i64); 6] = [
    ("w", 7 * 86_400 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CompareOp, Node, Number, Operand, Target, Test, TextOp};

    const NOW: i64 = 1_000_000_000_000_000_000;

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["1ms", "1500ms", "90s", "15m", "23h", "400d", "2w"] {
            assert_eq!(duration_text(duration_ns(text).unwrap()), text);
        }
        assert_eq!(duration_text(duration_ns("24h").unwrap()), "1d");
        assert_eq!(
            (duration_text(0).as_str(), duration_ns("5y"), duration_ns("d")),
            ("0ms", None, None)
        );
    }

    fn only_test(text: &str) -> Test {
        let q = parse(text, NOW).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(q.filter.leaves.len(), 1, "{text}");
        q.filter.leaves[0].test.clone()
    }

    #[test]
    fn values_become_the_cheapest_test() {
        assert_eq!(only_test("user.name:root"), Test::text(TextOp::Equals, "root", false));
        assert_eq!(only_test("user.name:svc_*"), Test::text(TextOp::Prefix, "svc_", false));
        assert_eq!(only_test(r#"a:"x * y""#), Test::text(TextOp::Equals, "x * y", false));
        assert_eq!(only_test(r"a:C:\Win\\*"), Test::text(TextOp::Prefix, r"C:\Win\", false));
        assert_eq!(only_test(r"a:x\*"), Test::text(TextOp::Equals, "x*", false));
        assert_eq!(only_test("a:::1"), Test::text(TextOp::Equals, "::1", false));
        assert!(matches!(only_test("source.ip:10.0.0.0/8"), Test::Cidr(_)));
        assert!(matches!(only_test("a:/x y/i"), Test::Regex { .. }));
        assert_eq!(
            only_test("url.path:/admin/login"),
            Test::text(TextOp::Equals, "/admin/login", false)
        );
        assert_eq!(only_test("failed"), Test::text(TextOp::Contains, "failed", false));
    }

    #[test]
    fn order_and_time() {
        let cmp = |op, operand| Test::Compare { op, operand };
        let five = || Operand::Number(Number::Int(5));
        assert_eq!(only_test("a>=5"), cmp(CompareOp::Ge, five()));
        assert_eq!(only_test("a:<5"), cmp(CompareOp::Lt, five()));
        assert_eq!(only_test("a = 5"), cmp(CompareOp::Eq, five()));
        assert_eq!(
            only_test("@timestamp>now-15m"),
            cmp(CompareOp::Gt, Operand::Time(NOW - 900_000_000_000))
        );
        let minute = event::time::parse_rfc3339("2026-11-24T02:14:00Z").unwrap();
        assert_eq!(
            only_test("@timestamp>=2026-11-24T02:14Z"),
            cmp(CompareOp::Ge, Operand::Time(minute))
        );
        assert!(parse("@timestamp:[2026-11-24T02:00Z to now]", NOW).is_ok());
        let q = parse("a:[1 to 9]", NOW).unwrap();
        assert_eq!(q.filter.leaves.len(), 2);
    }

    #[test]
    fn precedence_and_groups() {
        let q = parse("a:1 b:2 or not c:3", NOW).unwrap();
        let Node::Or(parts) = &q.filter.root else { panic!("{:?}", q.filter.root) };
        assert!(matches!(&parts[0], Node::And(p) if p.len() == 2));
        assert!(matches!(&parts[1], Node::Not(_)));
        let q = parse("user.name:(a or b*)", NOW).unwrap();
        assert!(q.filter.leaves.iter().all(|l| l.target == Target::Field("user.name".into())));
        assert_eq!(parse("", NOW).unwrap().filter, Plan::everything());
        assert_eq!(parse("*", NOW).unwrap().filter, Plan::everything());
    }

    #[test]
    fn pipes() {
        let q = parse(
            "a:1 | stats count() as n, dc(user.name) by host.name, x | sort -n, x | head 10 | fields n",
            NOW,
        )
        .unwrap();
        assert_eq!(q.pipes.len(), 4);
        let Pipe::Stats { aggregates, by } = &q.pipes[0] else { panic!() };
        assert_eq!(aggregates[1].name, "dc(user.name)");
        assert_eq!(by, &["host.name", "x"]);
        assert_eq!(q.pipes[2], Pipe::Head(10));
        let q = parse("| timechart 5m count() by a | top 3 a | rare b | dedup a, b", NOW).unwrap();
        assert!(matches!(q.pipes[0], Pipe::Timechart { span_ns: 300_000_000_000, .. }));
        assert!(matches!(&q.pipes[1], Pipe::Top { limit: 3, rare: false, .. }));
        assert!(matches!(&q.pipes[2], Pipe::Top { limit: 10, rare: true, .. }));
    }

    #[test]
    fn prose_is_searched_inside_and_other_fields_as_a_whole() {
        let contains = |text| Test::text(TextOp::Contains, text, false);
        assert_eq!(only_test(r#"message:"203.0.113.77""#), contains("203.0.113.77"));
        assert_eq!(only_test("message:mimikatz"), contains("mimikatz"));
        assert_eq!(only_test("message:foo*"), Test::text(TextOp::Prefix, "foo", false));
        assert_eq!(only_test(r#"user.name:"a b""#), Test::text(TextOp::Equals, "a b", false));
    }

    #[test]
    fn joins_lookups_and_every_function() {
        let text = "a:1 | stats p95(x) as p, p99.9(x), median(x), values(u), first(u), last(u) by h \
                    | join inner h [b:(2 or 3]) | stats count() by h] | lookup assets h as name output owner";
        assert!(parse(text, NOW).is_err(), "the bracket of the list is not closed");
        let text = text.replace("3])", "3)");
        let q = parse(&text, NOW).unwrap();
        let Pipe::Stats { aggregates, .. } = &q.pipes[0] else { panic!() };
        assert_eq!(aggregates[0].function, AggregateFunction::Percentile(950));
        assert_eq!(aggregates[1].function, AggregateFunction::Percentile(999));
        assert_eq!(aggregates[1].name, "p99.9(x)");
        let Pipe::Join { on, other, inner: true } = &q.pipes[1] else { panic!("{:?}", q.pipes[1]) };
        assert_eq!((&on[..], other.pipes.len()), (&["h".to_owned()][..], 1));
        let Pipe::Lookup { table, key: Some(key), output, .. } = &q.pipes[2] else { panic!() };
        assert_eq!((&**table, &**key, &output[..]), ("assets", "name", &["owner".to_owned()][..]));
        let q = parse("a:1 | stats count() by h | join h [b:x]", NOW).unwrap();
        assert!(
            matches!(&q.pipes[1], Pipe::Join { other, inner: false, .. } if other.pipes.is_empty())
        );
        assert!(parse("a | stats p101(x)", NOW).is_err() && parse("a | stats p5", NOW).is_err());
        assert_eq!(parse("a:[1 to 2] | filter b:1 | limit 3", NOW).unwrap().pipes.len(), 2);
    }

    #[test]
    fn errors_point_at_the_column() {
        for (text, column) in [
            ("a:(b", 5),
            ("a:\"b", 3),
            ("a:1 | nope", 7),
            ("a:/(/", 3),
            ("(a:1", 5),
            ("a:1 | head x", 12),
            ("a >", 4),
            ("not", 4),
            ("a:1 )", 5),
        ] {
            let error = parse(text, NOW).unwrap_err();
            assert_eq!(error.column, column, "{text}: {error}");
        }
        let deep = "(".repeat(5_000);
        assert!(parse(&deep, NOW).unwrap_err().message.contains("nested"));
        let words = "not ".repeat(5_000);
        assert!(parse(&words, NOW).is_err());
    }
}
