//! The `detection` section: named selections and a condition become one plan.

use crate::sigma::condition::{self, Expr};
use crate::sigma::lowering::Lowering;
use crate::sigma::problem::{Position, ProblemKind, Refusal, Refusals};
use crate::sigma::selection::{self, Selection};
use crate::sigma::yaml::{Node, Yaml};
use filter::Plan;

/// Which section is read: each has keys of its own that are no selections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// `detection:`
    Detection,
    /// `filter:`, where `rules` names what it narrows.
    Filter,
}

impl Section {
    /// Whether a key is no selection. Everything else is one, whatever it is called.
    fn is_reserved(self, key: &str) -> bool {
        matches!(key, "condition" | "timeframe") || (self == Section::Filter && key == "rules")
    }
}
/// Most selections of one section.
pub const SELECTIONS_MAX: usize = 4_096;

/// A `detection:` (or `filter:`) section, its modifiers applied.
#[derive(Clone, Debug)]
pub struct Detection {
    /// Selections by name, in order. `None` is one that a pipeline took away, or of which nothing could
    /// be read: it is left out of the conditions that name it.
    pub selections: Vec<(String, Option<Selection>)>,
    /// Conditions with their places; any of them.
    pub conditions: Vec<(Expr, Position)>,
}

/// Reads a section. Everything wrong in it is noted in `problems`; what is left of it is given all the
/// same, so that what is wrong with the rest shows, too.
pub fn read(section: &Node, kind: Section, problems: &mut Refusals) -> Option<Detection> {
    let Yaml::Map(entries) = &section.value else {
        let reason = format!("`detection` is {}", section.kind());
        problems.push(Refusal::invalid(reason, "write selections and a condition").at(section.at));
        return None;
    };
    if let Some(timeframe) = section.get("timeframe") {
        problems.push(refuse_timeframe(timeframe));
        return None;
    }
    let conditions = match section.get("condition").map(read_conditions) {
        None => Err(Refusal::invalid("there is no condition", "add `condition:`").at(section.at)),
        Some(read) => read,
    };
    // Obsolete rules are told apart by their condition, whatever their selections hold.
    let is_obsolete = conditions.as_ref().is_err_and(|r| r.kind == ProblemKind::NotCovered);
    let conditions = problems.ok(conditions).unwrap_or_default();
    if is_obsolete {
        return None;
    }
    if entries.len() > SELECTIONS_MAX {
        let reason = format!("more than {SELECTIONS_MAX} selections");
        problems.push(Refusal::invalid(reason, "split the rule").at(section.at));
        return None;
    }
    let own = entries.iter().filter(|(name, _)| !kind.is_reserved(name));
    let selections =
        own.map(|(name, node)| (name.clone(), selection::read(node, problems))).collect();
    Some(Detection { selections, conditions })
}

/// `timeframe` is what aggregations once had. As the name of a selection it stays reserved: engines
/// that still know the old key would leave the selection out of the rule without a word.
fn refuse_timeframe(node: &Node) -> Refusal {
    let refusal = match &node.value {
        Yaml::Map(_) | Yaml::List(_) => {
            let reason = "`timeframe` is reserved and cannot be the name of a selection";
            Refusal::invalid(reason, "give the selection another name")
        }
        _ => {
            let hint = "write a correlation document with `timespan`";
            Refusal::not_covered("`timeframe` is obsolete", hint)
        }
    };
    refusal.at(node.at)
}

fn read_conditions(node: &Node) -> Result<Vec<(Expr, Position)>, Refusal> {
    let items = match &node.value {
        Yaml::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let wrong = |n: &Node| {
        let reason = format!("the condition is {}", n.kind());
        Refusal::invalid(reason, "write text or a list of texts").at(n.at)
    };
    if items.is_empty() {
        return Err(wrong(node));
    }
    let each = |n: &Node| {
        let text = n.text().ok_or_else(|| wrong(n))?;
        Ok((condition::parse(&text).map_err(|r| r.at(n.at))?, n.at))
    };
    items.iter().map(each).collect()
}

impl Detection {
    /// Lowers it into one plan. Everything that cannot be honoured is noted in `problems`.
    pub fn lower(&self, lowering: &mut Lowering<'_>, problems: &mut Refusals) -> Option<Plan> {
        let lowered = self.selections.iter().map(|(name, selection)| {
            let plan = selection.as_ref().and_then(|s| s.lower(lowering, problems));
            (name.clone(), plan)
        });
        let selections: Vec<_> = lowered.collect();
        let mut plans = Vec::new();
        for (expr, at) in &self.conditions {
            plans.extend(condition::lower(expr, &selections, *at, problems));
        }
        // What could not be read is left out above: only what is whole is a plan.
        if !problems.is_empty() {
            return None;
        }
        let at = self.conditions.first().map_or(Position::default(), |c| c.1);
        if plans.is_empty() {
            let reason = "pipelines left nothing of the condition";
            problems.push(Refusal::not_covered(reason, "check drop_detection_item").at(at));
            return None;
        }
        let plan = Plan::or(plans);
        if plan.depth() > filter::plan::DEPTH_MAX {
            let reason = "the condition is nested too deeply";
            problems.push(Refusal::invalid(reason, "split the rule").at(at));
            return None;
        }
        Some(plan)
    }
}
