//! From the parsed rule model to what the engine runs.

use super::gaps::Regular;
use super::spec::{
    Condition, Frame, Reference, SlotExpr, Spec, SpecError, SpecKind, SpecSet, Target,
};
use crate::ruleset::RuleSet;
use crate::sigma::{
    BoundOp, Correlation, CorrelationCondition, CorrelationType, Rule, RuleExpr, Window,
};
use hashbrown::{HashMap, HashSet};
use std::borrow::Borrow;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// `first_seen` without `learn-for` learns for seven days: a working week with its weekend.
const LEARN_FOR_DEFAULT_NS: i64 = 7 * 86_400 * 1_000_000_000;
const DAY_NS: i64 = 86_400 * 1_000_000_000;

impl SpecSet {
    /// All correlations of a rule set, in its order.
    ///
    /// # Errors
    /// The first [`SpecError`]; it names the rule.
    pub fn from_rules(rules: &RuleSet) -> Result<Arc<Self>, SpecError> {
        let list: Vec<&Rule> = rules.rules().iter().map(|r| &**r).collect();
        let lookup = Lookup { rules: &list, by_reference: rules.by_reference() };
        let specs = specs_of(&lookup, &HashSet::new())?;
        Self::with_verdicts(specs, rules.rules().iter().map(|r| r.generate).collect())
    }

    /// Correlation number `rule` alone with what it builds on, speaking whatever builds on it: for
    /// its tests.
    ///
    /// # Errors
    /// See [`SpecSet::from_rules`].
    pub fn of_rule(rules: &RuleSet, rule: u32) -> Result<Arc<Self>, SpecError> {
        let mut verdicts: Vec<bool> = rules.rules().iter().map(|r| r.generate).collect();
        verdicts[rule as usize] = true;
        Self::with_verdicts(Self::chain_of(rules, rule)?, verdicts)
    }

    /// As [`SpecSet::of_rule`], and what it builds on speaks, too: for explanations.
    ///
    /// # Errors
    /// See [`SpecSet::from_rules`].
    pub fn telling(rules: &RuleSet, rule: u32) -> Result<Arc<Self>, SpecError> {
        Self::with_verdicts(Self::chain_of(rules, rule)?, vec![true; rules.rules().len()])
    }

    /// A correlation and all that it builds on.
    fn chain_of(rules: &RuleSet, rule: u32) -> Result<Vec<Spec>, SpecError> {
        let list: Vec<&Rule> = rules.rules().iter().map(|r| &**r).collect();
        let lookup = Lookup { rules: &list, by_reference: rules.by_reference() };
        let mut wanted = vec![rule];
        let mut specs = Vec::new();
        let mut at = 0;
        while let Some(number) = wanted.get(at).copied() {
            at += 1;
            let own = rules.rule(number);
            let Some(correlation) = own.correlation() else { continue };
            specs.push(spec_of(&lookup, number, own, correlation)?);
            for part in correlation.rules.iter().filter_map(|name| rules.find(name)) {
                if !wanted.contains(&part) {
                    wanted.push(part);
                }
            }
        }
        specs.sort_by_key(|s| s.rule);
        Ok(specs)
    }
}

/// The rules that the engine cannot run as their documents say, each with the reason: what
/// [`SpecSet::from_rules`] would refuse, one after the other.
pub fn refused(rules: &[impl Borrow<Rule>]) -> Vec<(usize, SpecError)> {
    let by_reference = references(rules);
    let list: Vec<&Rule> = rules.iter().map(Borrow::borrow).collect();
    let lookup = Lookup { rules: &list, by_reference: &by_reference };
    let mut left_out = HashSet::new();
    let mut out = Vec::new();
    while let Err(error) = specs_of(&lookup, &left_out).and_then(SpecSet::new) {
        let Some(index) = error.id().and_then(|id| by_reference.get(id)).copied() else { break };
        if !left_out.insert(index) {
            break;
        }
        out.push((index as usize, error));
    }
    out
}

/// Numbers of rules by their ids and names.
pub(crate) fn references(rules: &[impl Borrow<Rule>]) -> HashMap<Arc<str>, u32> {
    let mut out = HashMap::with_capacity(rules.len());
    for (index, rule) in rules.iter().enumerate() {
        let rule: &Rule = rule.borrow();
        out.insert(rule.id.clone(), index as u32);
        if let Some(name) = &rule.name {
            out.insert(name.clone(), index as u32);
        }
    }
    out
}

/// Rules and their numbers.
#[derive(Clone, Copy)]
struct Lookup<'a> {
    rules: &'a [&'a Rule],
    by_reference: &'a HashMap<Arc<str>, u32>,
}

impl<'a> Lookup<'a> {
    fn find(&self, reference: &str) -> Option<u32> {
        self.by_reference.get(reference).copied()
    }

    fn rule(&self, index: u32) -> &'a Rule {
        self.rules[index as usize]
    }
}

fn specs_of(rules: &Lookup<'_>, left_out: &HashSet<u32>) -> Result<Vec<Spec>, SpecError> {
    let mut specs = Vec::new();
    for (index, rule) in rules.rules.iter().enumerate() {
        if let Some(correlation) = rule.correlation()
            && !left_out.contains(&(index as u32))
        {
            specs.push(spec_of(rules, index as u32, rule, correlation)?);
        }
    }
    Ok(specs)
}

fn spec_of(
    rules: &Lookup<'_>,
    index: u32,
    rule: &Rule,
    correlation: &Correlation,
) -> Result<Spec, SpecError> {
    let group_by: Vec<Arc<str>> = correlation.group_by.iter().map(|f| (&**f).into()).collect();
    let (condition, expression, value_fields, percentile) = condition_of(rules, correlation);
    let aliased = value_fields.iter().any(|f| correlation.aliases.iter().any(|a| *a.name == **f));
    let mut references = Vec::new();
    for name in &correlation.rules {
        let unknown = || SpecError::Unknown { id: rule.id.clone(), target: (&**name).into() };
        let number = rules.find(name).ok_or_else(unknown)?;
        let target = rules.rule(number);
        references.push(match target.correlation() {
            Some(_) => Reference {
                fields: group_by.iter().map(|g| field_of(correlation, target, g)).collect(),
                ..Reference::correlation(&target.id)
            },
            None => Reference {
                target: Target::Rule(number),
                fields: group_by.iter().map(|g| field_of(correlation, target, g)).collect(),
                values: match aliased {
                    true => value_fields.iter().map(|f| field_of(correlation, target, f)).collect(),
                    false => Vec::new(),
                },
            },
        });
    }
    let expression_text = match &correlation.condition {
        CorrelationCondition::Expression(expression) => Some(expression.to_string().into()),
        _ => None,
    };
    let mut hasher = Xxh3::new();
    hash_deep(rules, rule, &mut hasher, 0);
    Ok(Spec {
        id: rule.id.clone(),
        rule: index,
        hash: hasher.digest128(),
        kind: kind_of(correlation, percentile),
        references,
        group_by,
        timespan_ns: correlation.timespan.ns(),
        frame: frame_of(correlation),
        condition,
        expression,
        expression_text,
        value_fields,
        generate: correlation.generate,
    })
}

fn frame_of(correlation: &Correlation) -> Frame {
    match correlation.window {
        Window::Sliding => Frame::Sliding,
        Window::Tumbling => Frame::Tumbling,
        Window::Session { gap } => Frame::Session { gap_ns: gap.ns() },
    }
}

fn kind_of(correlation: &Correlation, percentile: Option<f64>) -> SpecKind {
    match correlation.kind {
        CorrelationType::EventCount => SpecKind::EventCount,
        CorrelationType::ValueCount => SpecKind::ValueCount,
        CorrelationType::Temporal => SpecKind::Temporal,
        CorrelationType::TemporalOrdered => SpecKind::TemporalOrdered,
        CorrelationType::ValueSum => SpecKind::ValueSum,
        CorrelationType::ValueAvg => SpecKind::ValueAvg,
        CorrelationType::ValuePercentile => SpecKind::ValuePercentile(percentile.unwrap_or(50.0)),
        CorrelationType::ValueMedian => SpecKind::ValueMedian,
        CorrelationType::Absence => SpecKind::Absence,
        CorrelationType::RegularInterval => SpecKind::RegularInterval(regular_of(correlation)),
        CorrelationType::FirstSeen => SpecKind::FirstSeen {
            learn_for_ns: correlation.learn_for.map_or(LEARN_FOR_DEFAULT_NS, |t| t.ns()),
            expire_days: (correlation.timespan.ns() / DAY_NS).clamp(1, i64::from(u16::MAX)) as u16,
        },
    }
}

/// The parser gives this kind this condition.
fn regular_of(correlation: &Correlation) -> Regular {
    let CorrelationCondition::Regular { jitter, share, burst, .. } = &correlation.condition else {
        return Regular { jitter: 0.0, share: 100.0, burst_ns: 0 };
    };
    Regular { jitter: *jitter, share: *share, burst_ns: burst.map_or(0, |t| t.ns()) }
}

type ConditionParts = (Condition, Option<SlotExpr>, Vec<Arc<str>>, Option<f64>);

fn condition_of(rules: &Lookup<'_>, correlation: &Correlation) -> ConditionParts {
    match &correlation.condition {
        CorrelationCondition::AllRules => (Condition::default(), None, Vec::new(), None),
        CorrelationCondition::Expression(expression) => {
            let slots = slot_expr(rules, correlation, expression);
            (Condition::default(), Some(slots), Vec::new(), None)
        }
        CorrelationCondition::Bounds { bounds, fields, percentile } => {
            let fields = fields.iter().map(|f| (&**f).into()).collect();
            (condition_in(bounds), None, fields, *percentile)
        }
        CorrelationCondition::Regular { bounds, .. } => {
            (condition_in(bounds), None, Vec::new(), None)
        }
    }
}

fn condition_in(bounds: &[(BoundOp, filter::Number)]) -> Condition {
    Condition(bounds.iter().map(|(op, n)| (*op, n.float())).collect())
}

/// References of the expression as slots; the parser has checked that each is one of the rules.
fn slot_expr(rules: &Lookup<'_>, correlation: &Correlation, expression: &RuleExpr) -> SlotExpr {
    let each =
        |parts: &[RuleExpr]| parts.iter().map(|p| slot_expr(rules, correlation, p)).collect();
    match expression {
        RuleExpr::Rule(name) => {
            let wanted = rules.find(name);
            let at = correlation.rules.iter().position(|r| r == name || rules.find(r) == wanted);
            SlotExpr::Slot(at.unwrap_or(0) as u8)
        }
        RuleExpr::And(parts) => SlotExpr::And(each(parts)),
        RuleExpr::Or(parts) => SlotExpr::Or(each(parts)),
        RuleExpr::Not(part) => SlotExpr::Not(Box::new(slot_expr(rules, correlation, part))),
    }
}

/// The field that holds a group-by name in the events of one rule.
fn field_of(correlation: &Correlation, target: &Rule, name: &Arc<str>) -> Arc<str> {
    let alias = correlation.aliases.iter().find(|a| *a.name == **name);
    let field = alias.and_then(|a| a.fields.iter().find(|(r, _)| target.answers_to(r)));
    field.map_or_else(|| name.clone(), |(_, f)| (&**f).into())
}

/// Hash of a correlation and of everything it builds on, by what they mean: a comment, a title or a level that
/// is edited must not cost what was counted so far.
fn hash_deep(rules: &Lookup<'_>, rule: &Rule, hasher: &mut Xxh3, depth: u32) {
    hasher.update(rule.id.as_bytes());
    if let Some(plan) = rule.plan() {
        hasher.update(format!("{:?} {plan:?}", rule.logsource.parts()).as_bytes());
    }
    let Some(correlation) = rule.correlation() else { return };
    hasher.update(format!("{correlation:?}").as_bytes());
    if depth > super::spec::CHAIN_DEPTH_MAX {
        return;
    }
    for name in &correlation.rules {
        if let Some(number) = rules.find(name) {
            hash_deep(rules, rules.rule(number), hasher, depth + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load_text;

    /// Scenario: wording is edited, then what is matched, what is counted, or the logsource.
    /// Guarantees: only what changes the meaning makes another correlation, whose state starts anew.
    #[test]
    fn wording_does_not_cost_what_was_counted() {
        const RULES: &str = "title: base\nid: a\nlogsource: {product: test}\n\
             detection: {s: {F: x}, condition: s}\n---\n\
             title: many\nid: b\nlevel: low\n\
             correlation: {type: event_count, rules: [a], group-by: [u], timespan: 5m, condition: {gte: 3}}\n";
        let hash = |text: &str| {
            let (rules, problems) = load_text(text);
            assert!(problems.is_empty(), "{problems:?}");
            let set = SpecSet::from_rules(&RuleSet::standalone(rules)).unwrap();
            let hashes: Vec<u128> = set.specs().map(|s| s.hash).collect();
            hashes
        };
        let before = hash(RULES);
        for wording in [
            format!("# a comment\n{RULES}"),
            RULES.replace("title: base", "title: other\ndescription: more"),
            RULES.replace("level: low", "level: high\ntags: [attack.t1110]"),
            RULES.replace("{product: test}", "{product: test, definition: switch it on}"),
        ] {
            assert_eq!(hash(&wording), before, "{wording}");
        }
        for (from, to) in [
            ("F: x", "F: y"),
            ("gte: 3", "gte: 4"),
            ("5m", "6m"),
            ("product: test", "product: other"),
        ] {
            assert_ne!(hash(&RULES.replace(from, to)), before, "{to}");
        }
    }
}
