//! The `detection` section: named selections and a condition become one plan.

use crate::sigma::condition::{self, Expr};
use crate::sigma::lowering::Lowering;
use crate::sigma::problem::{Position, Refusal, Refusals};
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
    /// Selections by name, in order. `None` is one that a pipeline took away: it is left out of the
    /// conditions that name it.
    pub selections: Vec<(String, Option<Selection>)>,
    /// Conditions with their places; any of them.
    pub conditions: Vec<(Expr, Position)>,
}

/// Reads a section. Everything wrong in it is noted in `problems`.
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
    let Some(condition) = section.get("condition") else {
        let hint = "add `condition:`";
        problems.push(Refusal::invalid("there is no condition", hint).at(section.at));
        return None;
    };
    // The condition first: obsolete rules are told apart by it, whatever their selections hold.
    let conditions = problems.ok(read_conditions(condition))?;
    if entries.len() > SELECTIONS_MAX {
        let reason = format!("more than {SELECTIONS_MAX} selections");
        problems.push(Refusal::invalid(reason, "split the rule").at(section.at));
        return None;
    }
    let mut selections = Vec::new();
    let mut complete = true;
    for (name, node) in entries.iter().filter(|(name, _)| !kind.is_reserved(name)) {
        match selection::read(node, problems) {
            Some(selection) => selections.push((name.clone(), Some(selection))),
            None => complete = false,
        }
    }
    complete.then_some(Detection { selections, conditions })
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
        let mut selections = Vec::with_capacity(self.selections.len());
        let mut complete = true;
        for (name, selection) in &self.selections {
            let Some(selection) = selection else {
                selections.push((name.clone(), None));
                continue;
            };
            match selection.lower(lowering, problems) {
                Some(plan) => selections.push((name.clone(), Some(plan))),
                None => complete = false,
            }
        }
        if !complete {
            return None;
        }
        let mut plans = Vec::new();
        for (expr, at) in &self.conditions {
            plans.extend(problems.ok(condition::lower(expr, &selections).map_err(|r| r.at(*at)))?);
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
