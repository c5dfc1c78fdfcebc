//! Sigma text becomes rules.
//!
//! ```text
//! file --yaml--> documents --document--> Rule { Detection(plan) | Correlation | Filter }
//!                              |
//!          detection: selections of items --modifiers--> --pipeline--> --lowering--> one plan
//! ```
//! Reading order: [`rule`] and [`correlation`] (what comes out), [`document`], [`detection`],
//! [`selection`], [`item`], [`modifiers`], [`condition`], [`pipeline`], [`lowering`], [`settings`],
//! [`mod@string`], [`yaml`], [`problem`], [`mod@remarks`].

pub mod condition;
pub mod correlation;
pub mod correlation_doc;
pub mod detection;
pub mod document;
pub mod item;
mod logsource_names;
pub mod lowering;
pub mod modifiers;
pub mod pipeline;
pub mod problem;
pub mod remarks;
pub mod rule;
pub mod selection;
pub mod settings;
pub mod string;
mod tests_doc;
pub mod yaml;

pub use correlation::{
    Alias, BoundOp, Correlation, CorrelationCondition, CorrelationType, RuleExpr, Timespan, Window,
};
pub use document::{ParsedFile, parse_file};
pub use problem::{Position, ProblemKind, Refusal, Refusals, RefusedRule, RuleProblem};
pub use remarks::{Remark, remarks};
pub use rule::{FilterDoc, LogSource, Rule, RuleKind, RuleSource, RuleTest, TestInput, TestStep};
pub use settings::{FilterReading, SigmaSettings};
