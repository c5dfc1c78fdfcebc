//! The correlation model: Sigma's meta rules over the hits of other rules, as data.

use event::time::SECOND_NS;
use filter::Number;

/// A `correlation:` document.
#[derive(Clone, Debug, PartialEq)]
pub struct Correlation {
    /// What is computed over the window.
    pub kind: CorrelationType,
    /// Ids or names of the rules whose hits are related, in the order written (the order that
    /// `temporal_ordered` demands). Correlations may be among them (chaining).
    pub rules: Vec<Box<str>>,
    /// Fields or alias names that separate the groups; empty = one group.
    pub group_by: Vec<Box<str>>,
    /// Names usable in `group_by` and in the condition's `field` whose field differs by rule.
    pub aliases: Vec<Alias>,
    /// Length of the window. For `first_seen`: how long a pair is remembered; for sessions: the
    /// longest one.
    pub timespan: Timespan,
    /// How time is cut into windows (our `window` key).
    pub window: Window,
    /// When it fires.
    pub condition: CorrelationCondition,
    /// Whether the related rules also alert by themselves (`generate`, default no).
    pub generate: bool,
    /// `first_seen` only (`learn-for`): silent for so long after the rule appears. Default: none
    /// given, the engine's own default holds.
    pub learn_for: Option<Timespan>,
}

/// Correlation types of Sigma 2.1, pySigma's `value_median`, and our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CorrelationType {
    /// Number of events.
    EventCount,
    /// Number of distinct values (or tuples) of the condition's field(s).
    ValueCount,
    /// Hits of the rules, in any order.
    Temporal,
    /// Hits of the rules, in the order written.
    TemporalOrdered,
    /// Sum of a numeric field.
    ValueSum,
    /// Mean of a numeric field.
    ValueAvg,
    /// A percentile of a numeric field.
    ValuePercentile,
    /// Median of a numeric field.
    ValueMedian,
    /// Ours: the condition's field(s) have a value not seen before within the group.
    FirstSeen,
    /// Ours: after a hit of the first rule, none of the others follows within the timespan.
    Absence,
    /// Ours: hits that follow each other at regular intervals.
    RegularInterval,
}

impl CorrelationType {
    /// All types with the names rules use.
    pub const ALL: &[(CorrelationType, &'static str)] = &[
        (CorrelationType::EventCount, "event_count"),
        (CorrelationType::ValueCount, "value_count"),
        (CorrelationType::Temporal, "temporal"),
        (CorrelationType::TemporalOrdered, "temporal_ordered"),
        (CorrelationType::ValueSum, "value_sum"),
        (CorrelationType::ValueAvg, "value_avg"),
        (CorrelationType::ValuePercentile, "value_percentile"),
        (CorrelationType::ValueMedian, "value_median"),
        (CorrelationType::FirstSeen, "first_seen"),
        (CorrelationType::Absence, "absence"),
        (CorrelationType::RegularInterval, "regular_interval"),
    ];

    /// Its name in rules.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(t, _)| *t)
    }

    /// Whether the type reads values of a field given in its condition.
    pub fn needs_field(self) -> bool {
        !matches!(
            self,
            Self::EventCount
                | Self::Temporal
                | Self::TemporalOrdered
                | Self::Absence
                | Self::RegularInterval
        )
    }

    /// Whether the condition is about a number of things, not about a number in events.
    pub fn is_counted(self) -> bool {
        matches!(self, Self::EventCount | Self::ValueCount | Self::RegularInterval)
            || self.is_temporal()
    }

    /// Whether the type relates several rules by their presence.
    pub fn is_temporal(self) -> bool {
        matches!(self, Self::Temporal | Self::TemporalOrdered)
    }
}

/// How time is cut into windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Window {
    /// Any stretch of the timespan's length: nothing is lost between two windows.
    #[default]
    Sliding,
    /// Back to back, from multiples of the timespan since 1970-01-01 UTC.
    Tumbling,
    /// From a first hit until none has followed for `gap`, or until the timespan is over.
    Session {
        /// Silence that ends it.
        gap: Timespan,
    },
}

/// A name whose field depends on which rule was hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The name used in `group-by` or `field`.
    pub name: Box<str>,
    /// (rule id or name, field of that rule's events).
    pub fields: Vec<(Box<str>, Box<str>)>,
}

/// A length of time as written. Calendar units are fixed lengths: a month is 30 days, a year 365.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timespan {
    /// How many.
    pub amount: u32,
    /// Of what: `s`, `m`, `h`, `d`, `w`, `M` (month) or `y`.
    pub unit: char,
}

impl Timespan {
    /// Units with their lengths in seconds.
    pub const UNITS: &[(char, i64)] = &[
        ('s', 1),
        ('m', 60),
        ('h', 3_600),
        ('d', 86_400),
        ('w', 7 * 86_400),
        ('M', 30 * 86_400),
        ('y', 365 * 86_400),
    ];

    /// Reads `10m`; `None` if it is not a positive number and one of [`Timespan::UNITS`], or longer
    /// than the clock can count (292 years).
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_or_nought(text).filter(|span| span.amount > 0)
    }

    /// As [`Timespan::parse`], and `0s` is none at all.
    pub fn parse_or_nought(text: &str) -> Option<Self> {
        let unit = text.chars().next_back()?;
        let amount: u32 = text[..text.len() - unit.len_utf8()].parse().ok()?;
        let (_, seconds) = Self::UNITS.iter().find(|(u, _)| *u == unit)?;
        seconds.checked_mul(i64::from(amount))?.checked_mul(SECOND_NS)?;
        Some(Self { amount, unit })
    }

    /// Its length in ns.
    pub fn ns(self) -> i64 {
        let seconds = Self::UNITS.iter().find(|(u, _)| *u == self.unit).map_or(0, |(_, s)| *s);
        seconds.saturating_mul(i64::from(self.amount)).saturating_mul(SECOND_NS)
    }
}

impl std::fmt::Display for Timespan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.amount, self.unit)
    }
}

/// When a correlation fires.
#[derive(Clone, Debug, PartialEq)]
pub enum CorrelationCondition {
    /// Bounds on what the type computes; all must hold (a range has two).
    Bounds {
        /// The bounds; never empty, except for `first_seen`, which has none.
        bounds: Vec<(BoundOp, Number)>,
        /// Field(s) whose values are taken; several make a tuple. Empty where the type needs none.
        fields: Vec<Box<str>>,
        /// `value_percentile` only: which percentile, 0..=100.
        percentile: Option<f64>,
    },
    /// `regular_interval` only: so many visits, most of them equally far apart.
    Regular {
        /// Bounds on the number of visits; never empty.
        bounds: Vec<(BoundOp, Number)>,
        /// How far a gap may be from the median of all, percent of the median: 0..=50.
        jitter: f64,
        /// How many of the gaps must be as near as that, percent: 50..=100.
        share: f64,
        /// Hits that follow each other no later than this are one visit; default: equal times.
        burst: Option<Timespan>,
    },
    /// `temporal` types and `absence` without a condition: the listed rules say it all.
    AllRules,
    /// `temporal` types: a boolean expression over the rules by their references.
    Expression(RuleExpr),
}

/// Comparison of the computed number with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BoundOp {
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
}

impl BoundOp {
    /// All operators with the names rules use.
    pub const ALL: &[(BoundOp, &'static str)] = &[
        (BoundOp::Gt, "gt"),
        (BoundOp::Gte, "gte"),
        (BoundOp::Lt, "lt"),
        (BoundOp::Lte, "lte"),
        (BoundOp::Eq, "eq"),
        (BoundOp::Neq, "neq"),
    ];

    /// Its name in rules.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The operator of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(o, _)| *o)
    }

    /// Whether an `order` of (computed value, bound) satisfies it.
    pub fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            BoundOp::Gt => order.is_gt(),
            BoundOp::Gte => order.is_ge(),
            BoundOp::Lt => order.is_lt(),
            BoundOp::Lte => order.is_le(),
            BoundOp::Eq => order.is_eq(),
            BoundOp::Neq => order.is_ne(),
        }
    }
}

/// `a and (b or not c)` over rule references; every reference is one of [`Correlation::rules`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleExpr {
    /// The rule occurred in the window.
    Rule(Box<str>),
    /// All parts hold.
    And(Vec<RuleExpr>),
    /// One part holds.
    Or(Vec<RuleExpr>),
    /// The part does not hold.
    Not(Box<RuleExpr>),
}

impl RuleExpr {
    /// Calls `f` with every reference.
    pub fn visit(&self, f: &mut impl FnMut(&str)) {
        match self {
            RuleExpr::Rule(name) => f(name),
            RuleExpr::And(parts) | RuleExpr::Or(parts) => {
                for part in parts {
                    part.visit(f);
                }
            }
            RuleExpr::Not(part) => part.visit(f),
        }
    }

    fn is_linked(&self) -> bool {
        matches!(self, RuleExpr::And(_) | RuleExpr::Or(_))
    }

    /// Evaluates with `occurred` saying which rules occurred.
    pub fn holds(&self, occurred: &impl Fn(&str) -> bool) -> bool {
        match self {
            RuleExpr::Rule(name) => occurred(name),
            RuleExpr::And(parts) => parts.iter().all(|p| p.holds(occurred)),
            RuleExpr::Or(parts) => parts.iter().any(|p| p.holds(occurred)),
            RuleExpr::Not(part) => !part.holds(occurred),
        }
    }
}

/// As a rule would write it.
impl std::fmt::Display for RuleExpr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (parts, link) = match self {
            RuleExpr::Rule(name) => return f.write_str(name),
            RuleExpr::Not(part) if part.is_linked() => return write!(f, "not ({part})"),
            RuleExpr::Not(part) => return write!(f, "not {part}"),
            RuleExpr::And(parts) => (parts, " and "),
            RuleExpr::Or(parts) => (parts, " or "),
        };
        for (at, part) in parts.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { link })?;
            match part.is_linked() {
                true => write!(f, "({part})")?,
                false => write!(f, "{part}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_order_of_their_values() {
        for (i, (kind, name)) in CorrelationType::ALL.iter().enumerate() {
            assert_eq!((*kind as usize, kind.name()), (i, *name));
        }
        for (i, (op, name)) in BoundOp::ALL.iter().enumerate() {
            assert_eq!((*op as usize, op.name()), (i, *name));
        }
    }

    #[test]
    fn expressions_are_shown_as_a_rule_would_write_them() {
        let rules: String = ["a", "b", "c", "d", "e"]
            .map(|r| {
                format!("title: {r}\nid: {r}\ndetection: {{s: {{F: {r}}}, condition: s}}\n---\n")
            })
            .concat();
        for written in ["a and not b", "a and (b or c) and not (d or e)", "(a and b) or c"] {
            let text = format!(
                "{rules}title: t\nid: t\n\
                 correlation: {{type: temporal, timespan: 5m, condition: {written}}}\n"
            );
            let (rules, problems) = crate::load_text(&text);
            assert!(problems.is_empty(), "{problems:?}");
            let condition = rules.last().and_then(|r| r.correlation()).map(|c| &c.condition);
            let Some(CorrelationCondition::Expression(expression)) = condition else { panic!() };
            assert_eq!(expression.to_string(), written);
        }
    }

    #[test]
    fn timespans_have_one_form() {
        assert_eq!(Timespan::parse("90m").map(Timespan::ns), Some(5_400 * SECOND_NS));
        assert_eq!(Timespan::parse("2M").map(Timespan::ns), Some(60 * 86_400 * SECOND_NS));
        for wrong in ["", "5", "m", "0s", "-5m", "5x", "1.5h", "5 m", "4000000000y", "5\u{e4}"] {
            assert_eq!(Timespan::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Timespan::parse_or_nought("0s").map(Timespan::ns), Some(0));
        assert_eq!(Timespan::parse_or_nought("90m"), Timespan::parse("90m"));
        assert_eq!(Timespan::parse_or_nought("-5m"), None);
    }
}
