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
    /// `| where FILTER`: a further predicate over events; only before any aggregating pipe.
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
}

/// One sort column.
#[derive(Clone, Debug, PartialEq)]
pub struct SortKey {
    /// Column name.
    pub column: String,
    /// Largest first.
    pub descending: bool,
}
