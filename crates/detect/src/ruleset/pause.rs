//! Rules that are taken out of force for a while, because they cost more than they may.
//!
//! ```text
//! what rules owe --RuleSet::overdrawn--> Pausing --> a record of the journal
//!                                                    --> RuleSet::with_paused, from there on
//! ```
//! A verdict acts only from the record that carries it on, so that a replay decides alike whatever the
//! rules cost then. Nothing else of a paused rule changes: its number, its place in listings, and the
//! state of correlations that build on it stay.

use super::{GONE, Part, RuleSet};
use crate::matcher::Overdrawn;
use crate::sigma::{BoundOp, Correlation, CorrelationCondition, CorrelationType, Rule, RuleExpr};
use event::time::SECOND_NS;
use hashbrown::HashSet;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How long a rule is paused before it is tried again: long enough for what is behind it to catch up,
/// short enough that nobody has to remember it.
pub const PAUSE_NS: i64 = 600 * SECOND_NS;

/// That a rule is paused from here on, or no longer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pausing {
    /// Id of the rule.
    pub rule: Arc<str>,
    /// Hash of what it says: an edited rule is another one and not paused.
    pub hash: Arc<str>,
    /// Stream time at which it is tried again, ns; `None`: it is in force again.
    pub until_ns: Option<i64>,
    /// Its work per event.
    pub work_per_event: f64,
    /// What was allowed per event.
    pub allowed: f64,
}

impl Pausing {
    /// Pauses a rule that is overdrawn, from `stream_ns` on.
    pub fn of(rule: &Rule, over: &Overdrawn, stream_ns: i64) -> Self {
        Self {
            rule: rule.id.clone(),
            hash: rule.hash.clone(),
            until_ns: Some(stream_ns.saturating_add(PAUSE_NS)),
            work_per_event: over.work_per_event,
            allowed: over.allowed,
        }
    }

    /// Puts the rule in force again.
    pub fn lifted(&self) -> Self {
        Self { until_ns: None, ..self.clone() }
    }

    /// Why, for people.
    pub fn reason(&self) -> String {
        format!(
            "cost {:.0} units of work per event where {:.0} are allowed",
            self.work_per_event, self.allowed
        )
    }
}

impl RuleSet {
    /// The same rules with those of `paused` out of force, and no others. What was compiled is
    /// shared.
    pub fn with_paused(&self, paused: Vec<Pausing>) -> Self {
        let meant = |p: &Pausing| {
            self.find(&p.rule).filter(|n| p.until_ns.is_some() && self.rule(*n).hash == p.hash)
        };
        let out: HashSet<u32> = paused.iter().filter_map(meant).collect();
        let part = |part: &Part| {
            let number = |n: &u32| if out.contains(n) { GONE } else { *n };
            let numbers = part.all_numbers.iter().map(number).collect();
            Part { numbers, ..part.clone() }
        };
        Self {
            rules: self.rules.clone(),
            parts: self.parts.iter().map(part).collect(),
            dict: self.dict.clone(),
            by_reference: self.by_reference.clone(),
            hash: self.hash.clone(),
            paused: paused.into(),
        }
    }

    /// What [`RuleSet::with_paused`] was given.
    pub fn paused(&self) -> &[Pausing] {
        &self.paused
    }

    /// What should be paused, and what should be in force again, at `stream_ns`. Rules whose silence
    /// would make alerts are left out: they stay in force and are told as over budget.
    pub fn pausing(&self, stream_ns: i64) -> Vec<Pausing> {
        let overdrawn = self.overdrawn();
        let spared = if overdrawn.is_empty() { HashSet::new() } else { self.missed_if_silent() };
        let over = overdrawn.iter().filter(|o| !spared.contains(&o.rule));
        let mut out: Vec<Pausing> =
            over.map(|o| Pausing::of(self.rule(o.rule), o, stream_ns)).collect();
        let ended = |p: &&Pausing| p.until_ns.is_some_and(|until| until <= stream_ns);
        out.extend(self.paused.iter().filter(ended).map(Pausing::lifted));
        out
    }

    /// Rules whose silence can make a correlation fire, directly or through others.
    fn missed_if_silent(&self) -> HashSet<u32> {
        let mut out = HashSet::new();
        let correlations = self.rules.iter().filter_map(|rule| rule.correlation());
        let mut waiting: Vec<&str> =
            correlations.filter(|c| fires_on_silence(c)).flat_map(references_of).collect();
        while let Some(name) = waiting.pop() {
            let Some(number) = self.find(name) else { continue };
            if out.insert(number)
                && let Some(correlation) = self.rule(number).correlation()
            {
                waiting.extend(references_of(correlation));
            }
        }
        out
    }
}

fn references_of(correlation: &Correlation) -> impl Iterator<Item = &str> {
    correlation.rules.iter().map(|name| &**name)
}

/// Whether fewer hits can make it fire.
fn fires_on_silence(correlation: &Correlation) -> bool {
    let rising = |op: BoundOp| matches!(op, BoundOp::Gt | BoundOp::Gte);
    match (&correlation.kind, &correlation.condition) {
        (CorrelationType::Absence, _) => true,
        // Without one of the events the others may be regular.
        (CorrelationType::RegularInterval, _) => true,
        (CorrelationType::EventCount | CorrelationType::ValueCount, bounds) => match bounds {
            CorrelationCondition::Bounds { bounds, .. } => bounds.iter().any(|b| !rising(b.0)),
            _ => false,
        },
        (_, CorrelationCondition::Expression(expression)) => negates(expression),
        _ => false,
    }
}

fn negates(expression: &RuleExpr) -> bool {
    match expression {
        RuleExpr::Rule(_) => false,
        RuleExpr::And(parts) | RuleExpr::Or(parts) => parts.iter().any(negates),
        RuleExpr::Not(_) => true,
    }
}
