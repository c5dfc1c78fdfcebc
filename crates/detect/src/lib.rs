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
//! matcher), [`correlate`], [`ruletest`] (rules that carry their own tests), [`synthesize`].
#![forbid(unsafe_code)]

pub mod attack;
pub mod correlate;
pub mod coverage;
pub mod matcher;
pub mod ruleset;
pub mod ruletest;
pub mod sigma;
pub mod synthesize;

pub use matcher::{
    LOGSOURCE_FIELD, MatcherStats, Overdrawn, RuleCost, Scratch, WORK_PER_EVENT_MAX,
};
pub use ruleset::{
    Changed, LastGood, Loaded, Loader, PAUSE_NS, Pausing, RuleSet, fields_of, load_documents,
    load_paths, load_paths_with, load_text, load_text_with, resembling, texts_of,
};
pub use ruletest::{RegressionCase, TestResult, read_regression};
pub use sigma::{
    Alias, BoundOp, Correlation, CorrelationCondition, CorrelationType, FilterReading, LogSource,
    ProblemKind, RefusedRule, Remark, Rule, RuleExpr, RuleKind, RuleProblem, RuleSource, RuleTest,
    SigmaSettings, TestInput, TestStep, Timespan, Window, remarks,
};
