//! From Sigma text to verdicts over event batches.
//!
//! ```text
//! rule files --sigma--> Vec<Rule> --ruleset--> RuleSet --matcher--> Match {rule, row} per batch
//!                                                  \----explain---> why it held, or did not
//! ```
//! **Invariants.** A rule is honoured exactly or listed as not covered, never approximated. The
//! batch matcher's verdicts are those of [`filter::Plan::matches`]. One bad rule hides no other.
//!
//! Not here: wall clocks, storage, how an alert is shown or sent.
//!
//! Reading order: [`sigma`] (text to plan), [`ruleset`] (files to a set), [`matcher`] (the batch
//! matcher), [`ruletest`] (rules that carry their own tests).
#![forbid(unsafe_code)]

pub mod correlate;
pub mod matcher;
pub mod ruleset;
pub mod ruletest;
pub mod sigma;

pub use matcher::{LOGSOURCE_FIELD, MatcherStats, Scratch};
pub use ruleset::{RuleSet, load_paths, load_text};
pub use ruletest::{RegressionCase, read_regression, run_tests};
pub use sigma::{
    Alias, BoundOp, Correlation, CorrelationCondition, CorrelationType, LogSource, ProblemKind,
    Rule, RuleExpr, RuleKind, RuleProblem, RuleSource, RuleTest, TestInput, TestResult, Timespan,
};
