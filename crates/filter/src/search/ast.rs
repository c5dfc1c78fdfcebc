//! What a search asks for.

use crate::Plan;

/// A parsed search.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Which events.
    pub filter: Plan,
    /// What is made of them, in order. None: the events themselves, newest first.
    pub pipes: Vec<Pipe>,
}

/// One step after the filter. Columns are named by field names or by the names given with `as`.
#[derive(Clone, Debug, PartialEq)]
pub enum Pipe {
    /// `| where FILTER`: a further predicate over events, or over the columns of a table.
    Where(Plan),
    /// `| stats count() as n, dc(user.name) by host.name`.
    Stats {
        /// One output column each.
        aggregates: Vec<Aggregate>,
        /// Group-by columns; an event without the field is in the group of null.
        by: Vec<String>,
    },
    /// `| timechart 5m count() by host.name`: stats by time bucket of `@timestamp`.
    Timechart {
        /// Width of a bucket, ns.
        span_ns: i64,
        /// One output column each.
        aggregates: Vec<Aggregate>,
        /// Further group-by columns.
        by: Vec<String>,
    },
    /// `| top 10 user.name, host.name` (most frequent first) or `| rare ...`.
    Top {
        /// Rows kept.
        limit: u64,
        /// Group-by columns.
        by: Vec<String>,
        /// Least frequent first instead.
        rare: bool,
    },
    /// `| sort -count, host.name`.
    Sort(Vec<SortKey>),
    /// `| head 10`.
    Head(u64),
    /// `| fields @timestamp, user.name`: these columns only, in this order.
    Fields(Vec<String>),
    /// `| dedup user.name, source.ip`: the first row of each combination.
    Dedup(Vec<String>),
    /// `| join user.name [event.code:4625 | stats count() as failed by user.name]`: columns of
    /// another search, for rows with the same value.
    Join {
        /// Columns that must be equal on both sides.
        on: Vec<String>,
        /// The other search; it must end in a table that has these columns.
        other: Box<Query>,
        /// Rows without a partner go.
        inner: bool,
    },
    /// `| lookup assets host.name output owner, site`: columns of a reference table.
    Lookup {
        /// Name of the table.
        table: String,
        /// Column of the rows whose value is looked up.
        field: String,
        /// Column of the table that it is looked up in; the first one if not given.
        key: Option<String>,
        /// Columns that are added; all but the key if empty.
        output: Vec<String>,
    },
}

/// One aggregate with its output name.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// What is computed.
    pub function: AggregateFunction,
    /// Over which field; `count()` may have none.
    pub field: Option<String>,
    /// Name of the output column: given with `as`, else `count` or `function(field)`.
    pub name: String,
}

/// Aggregate functions. Numbers are read from text; what is no number is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateFunction {
    /// Events, or events with the field.
    Count,
    /// Distinct values.
    Dc,
    /// Sum.
    Sum,
    /// Mean.
    Avg,
    /// Least (numbers if all are, else text; times for dates).
    Min,
    /// Greatest.
    Max,
    /// The value that so many thousandths of the values are at most: `p50`, `p99`, `p99.9`.
    Percentile(u16),
    /// All distinct values, as a list.
    Values,
    /// The value of the earliest event that has one.
    First,
    /// The value of the latest event that has one.
    Last,
}

impl AggregateFunction {
    /// Whether the result is known from how many rows of each kind there are, whatever their order.
    pub fn counts_alike(self) -> bool {
        use AggregateFunction::*;
        matches!(self, Count | Dc | Sum | Avg | Min | Max | Values)
    }

    /// Reads a name: `count`, `p95`, `values`.
    pub fn named(name: &str) -> Option<Self> {
        use AggregateFunction::*;
        Some(match name {
            "count" => Count,
            "dc" => Dc,
            "sum" => Sum,
            "avg" => Avg,
            "min" => Min,
            "max" => Max,
            "median" => Percentile(500),
            "values" => Values,
            "first" => First,
            "last" => Last,
            _ => {
                let digits = name.strip_prefix('p')?;
                let (whole, tenth) = digits.split_once('.').unwrap_or((digits, "0"));
                let (whole, tenth) = (whole.parse::<u16>().ok()?, tenth.parse::<u16>().ok()?);
                (whole <= 100 && tenth < 10 && digits.len() <= 5 && whole * 10 + tenth <= 1_000)
                    .then_some(Percentile(whole * 10 + tenth))?
            }
        })
    }
}

/// One sort column.
#[derive(Clone, Debug, PartialEq)]
pub struct SortKey {
    /// Column name.
    pub column: String,
    /// Largest first.
    pub descending: bool,
}
