#![allow(clippy::unwrap_used, reason = "tests")]
//! Rules in, verdicts out: semantics, corpora, the batch matcher against the evaluator.

mod corpus;
mod equality;
mod problems;
mod semantics;
mod starter;
