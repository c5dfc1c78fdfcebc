//! The one language: a predicate over an event, whoever wrote it.
//!
//! ```text
//! Sigma rule text --(crate detect)--+
//!                                   +--> Plan --bind(names)--> Binding --matches(row)--> bool
//! search text ------(module search)-+                                 \--explain(row)--> Outcome
//! ```
//!
//! A Sigma rule, a drop filter, a live tail, a search and an alert exception all become a [`Plan`]:
//! a handful of primitive tests under and/or/not/at-least-n. Every modifier of every language is a
//! lowering into these, never a new node.
//!
//! **Semantics, the same everywhere.** Text compares case-insensitively unless asked otherwise;
//! `4624` equals `"4624"`; a field with several values matches if any of them does, per leaf; an
//! absent field makes a leaf false (so true under `not`), except [`Test::Null`], which holds for
//! absent or null; a field without a value of its own that has fields below it (`a`, of `a.b`) is an
//! object: present, not null, without text; a keyword is looked for in the raw bytes and in every cell's text.
//!
//! Not here: where events come from, Arrow, storage, Sigma's own syntax.
#![forbid(unsafe_code)]

pub mod evaluate;
pub mod explain;
pub mod expression;
pub mod grams;
pub mod logql;
pub mod pattern;
pub mod pcre;
pub mod plan;
pub mod presence;
pub mod search;
pub mod test;

pub use evaluate::{Values, is_part};
pub use expression::Expression;
pub use pattern::{Part, text_test};
pub use plan::{Below, Binding, Leaf, Names, Node, Plan, Target};
pub use presence::Presence;
pub use test::{CompareOp, Number, Operand, Test, TextOp, TimePart};
