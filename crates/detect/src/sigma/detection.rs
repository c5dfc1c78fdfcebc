//! The `detection` section: named selections and a condition become one plan.

use crate::sigma::problem::Refusal;
use crate::sigma::yaml::{Node, Yaml};
use crate::sigma::{condition, item};
use filter::Plan;

/// Deepest nesting of lists within a selection.
pub const DEPTH_MAX: usize = 8;

/// Keys of the section that are no selections.
const RESERVED: &[&str] = &["condition", "timeframe", "rules"];

/// Lowers a `detection:` (or `filter:`) section.
///
/// # Errors
/// The first thing in it that is wrong or cannot be honoured, with its place.
pub fn lower(section: &Node) -> Result<Plan, Refusal> {
    let Yaml::Map(entries) = &section.value else {
        let reason = format!("`detection` is {}", section.kind());
        return Err(Refusal::invalid(reason, "write selections and a condition").at(section.at));
    };
    if let Some(timeframe) = section.get("timeframe") {
        let hint = "write a correlation document with `timespan`";
        return Err(Refusal::not_covered("`timeframe` is obsolete", hint).at(timeframe.at));
    }
    let Some(condition) = section.get("condition") else {
        return Err(Refusal::invalid("there is no condition", "add `condition:`").at(section.at));
    };
    // The condition first: obsolete rules are told apart by it, whatever their selections hold.
    let texts = condition_texts(condition)?;
    let exprs = texts
        .iter()
        .map(|(text, node)| condition::parse(text).map_err(|r| r.at(node.at)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut selections = Vec::new();
    for (name, node) in entries {
        if !RESERVED.contains(&name.as_str()) {
            selections.push((name.clone(), selection(node, 0).map_err(|r| r.at(node.at))?));
        }
    }
    let plans = exprs
        .iter()
        .map(|e| condition::lower(e, &selections).map_err(|r| r.at(condition.at)))
        .collect::<Result<Vec<_>, _>>()?;
    let plan = Plan::or(plans);
    if plan.depth() > filter::plan::DEPTH_MAX {
        let reason = "the condition is nested too deeply";
        return Err(Refusal::invalid(reason, "split the rule").at(condition.at));
    }
    Ok(plan)
}

fn condition_texts(node: &Node) -> Result<Vec<(String, &Node)>, Refusal> {
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
    items.iter().map(|n| Ok((n.text().ok_or_else(|| wrong(n))?, n))).collect()
}

/// A map is all of its lines, a list is any of its parts, a scalar is a keyword.
fn selection(node: &Node, depth: usize) -> Result<Plan, Refusal> {
    if depth > DEPTH_MAX {
        return Err(Refusal::invalid("lists nested too deeply", "flatten the selection"));
    }
    let empty = || Refusal::invalid("an empty selection", "remove it or give values").at(node.at);
    match &node.value {
        Yaml::Map(lines) if lines.is_empty() => Err(empty()),
        Yaml::List(parts) if parts.is_empty() => Err(empty()),
        Yaml::Null => Err(empty()),
        Yaml::Map(lines) => {
            let plans = lines.iter().map(|(key, value)| {
                item::lower(key, value).map_err(|mut refusal| {
                    refusal.reason = format!("{key}: {}", refusal.reason);
                    refusal.at(value.at)
                })
            });
            Ok(Plan::and(plans.collect::<Result<Vec<_>, _>>()?))
        }
        Yaml::List(parts) => {
            let plans = parts.iter().map(|part| selection(part, depth + 1));
            Ok(Plan::or(plans.collect::<Result<Vec<_>, _>>()?))
        }
        _ => item::lower("", node).map_err(|r| r.at(node.at)),
    }
}
