#![allow(clippy::unwrap_used, reason = "tests")]
//! Rules in, verdicts out: semantics, corpora, the batch matcher against the evaluator.

mod conformance;
mod corpus;
mod costs;
mod equality;
mod literal;
mod live;
mod pipelines;
mod problems;
mod pysigma;
mod refusals;
mod reload;
mod remarks;
mod samples;
mod scores;
mod semantics;
mod starter;
mod synthetic;
