#![allow(clippy::unwrap_used, reason = "tests")]
//! Rules in, verdicts out: semantics, corpora, the batch matcher against the evaluator.

mod corpus;
mod equality;
mod live;
mod problems;
mod samples;
mod scores;
mod semantics;
mod starter;
mod synthetic;
