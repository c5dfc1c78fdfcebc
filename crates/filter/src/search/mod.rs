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

pub use ast::{Aggregate, AggregateFunction, Pipe, Query, SortKey};

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
    let filter = filters::filter(&mut cursor)?;
    let mut pipes = Vec::new();
    while cursor.eat('|') {
        if pipes.len() == PIPES_MAX {
            return Err(cursor.error(format!("more than {PIPES_MAX} pipes"), None));
        }
        pipes.push(pipes::pipe(&mut cursor)?);
    }
    match cursor.peek() {
        None => Ok(Query { filter, pipes }),
        Some(c) => Err(cursor.error(format!("unexpected `{c}`"), Some("close or quote it"))),
    }
}

/// Reads a filter alone: for live tails, drop filters and alert exceptions.
pub fn parse_filter(text: &str, now_ns: i64) -> Result<Plan, SearchError> {
    let mut cursor = Cursor::new(text, now_ns)?;
    let filter = filters::filter(&mut cursor)?;
    match cursor.peek() {
        None => Ok(filter),
        Some('|') => Err(cursor.error("pipes are not possible here", Some("use a filter alone"))),
        Some(c) => Err(cursor.error(format!("unexpected `{c}`"), Some("close or quote it"))),
    }
}

/// Reads a duration such as `500ms`, `90s`, `15m`, `24h`, `30d`, `2w`, in ns.
pub fn duration_ns(text: &str) -> Option<i64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_ns = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3_600 * 1_000_000_000,
        "d" => 86_400 * 1_000_000_000,
        "w" => 7 * 86_400 * 1_000_000_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CompareOp, Node, Number, Operand, Target, Test, TextOp};

    const NOW: i64 = 1_000_000_000_000_000_000;

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
