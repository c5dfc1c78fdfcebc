//! Sigma text becomes rules.

pub mod correlation;
pub mod rule;

pub use correlation::{
    Alias, BoundOp, Correlation, CorrelationCondition, CorrelationType, RuleExpr, Timespan,
};
pub use rule::{FilterDoc, LogSource, Rule, RuleKind, RuleSource, RuleTest, TestInput, TestResult};
