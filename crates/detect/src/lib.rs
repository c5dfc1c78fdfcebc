//! From Sigma text to verdicts over event batches.
#![forbid(unsafe_code)]

pub mod sigma;

pub use sigma::{Correlation, LogSource, Rule, RuleKind, RuleSource};
