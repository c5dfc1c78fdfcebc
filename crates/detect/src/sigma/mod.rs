//! Sigma text becomes rules.
//!
//! ```text
//! file --yaml--> documents --document--> Rule { Detection(plan) | Correlation | Filter }
//!                              |
//!          detection: selections --item + modifiers--> plans --condition--> one plan
//! ```
//! Reading order: [`rule`] and [`correlation`] (what comes out), [`document`], [`detection`],
//! [`item`], [`modifiers`], [`condition`], [`mod@string`], [`yaml`], [`problem`].

pub mod condition;
pub mod correlation;
pub mod correlation_doc;
pub mod detection;
pub mod document;
pub mod item;
pub mod modifiers;
pub mod problem;
pub mod rule;
pub mod string;
mod tests_doc;
pub mod yaml;

pub use correlation::{
    Alias, BoundOp, Correlation, CorrelationCondition, CorrelationType, RuleExpr, Timespan,
};
pub use document::{ParsedFile, parse_file};
pub use problem::{Position, ProblemKind, Refusal, RuleProblem};
pub use rule::{FilterDoc, LogSource, Rule, RuleKind, RuleSource, RuleTest, TestInput, TestStep};
