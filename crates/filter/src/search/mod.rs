//! The search language: a filter, then pipes.
//!
//! ```text
//! source.ip:10.0.0.0/8 and not user.name:svc_* | stats count() by user.name | sort -count | head 10
//! ^^^^^^^^^^^^^^^^^^^^ filter -> Plan ^^^^^^^^^   ^^^^^^^^^^^^^^^^^^^^^^^^ pipes -> Pipe ^^^^^^^^^
//! ```
//! What stands before the first pipe is a predicate and works the same live and over history.

pub mod ast;

pub use ast::{Aggregate, AggregateFunction, Pipe, Query, SortKey};
