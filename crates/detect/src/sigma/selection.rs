//! A selection as its author wrote it: items under `all of` (a map) and `any of` (a list).

use crate::sigma::item::{self, Item};
use crate::sigma::lowering::Lowering;
use crate::sigma::problem::{Refusal, Refusals};
use crate::sigma::yaml::{Node, Yaml};
use filter::Plan;

/// Deepest nesting of lists within a selection.
pub const DEPTH_MAX: usize = 8;

/// A selection, or a part of one.
#[derive(Clone, Debug)]
pub enum Selection {
    /// One line.
    Item(Box<Item>),
    /// All parts hold.
    All(Vec<Selection>),
    /// One part holds.
    Any(Vec<Selection>),
}

/// Reads a selection: a map is all of its lines, a list is any of its parts, a scalar is a keyword.
/// Every line that is wrong is noted in `problems` and left out; `None` if nothing is left.
pub fn read(node: &Node, problems: &mut Refusals) -> Option<Selection> {
    read_part(node, problems, 0)
}

fn read_part(node: &Node, problems: &mut Refusals, depth: usize) -> Option<Selection> {
    if depth > DEPTH_MAX {
        let reason = "lists nested too deeply";
        problems.push(Refusal::invalid(reason, "flatten the selection").at(node.at));
        return None;
    }
    let empty = match &node.value {
        Yaml::Map(lines) => lines.is_empty(),
        Yaml::List(parts) => parts.is_empty(),
        Yaml::Null => true,
        _ => false,
    };
    if empty {
        let hint = "remove it or give values";
        problems.push(Refusal::invalid("an empty selection", hint).at(node.at));
        return None;
    }
    match &node.value {
        Yaml::Map(lines) => {
            let parts = lines.iter().filter_map(|(key, value)| line(key, value, problems));
            some(parts.collect()).map(Selection::All)
        }
        Yaml::List(parts) => {
            let parts = parts.iter().filter_map(|part| read_part(part, problems, depth + 1));
            some(parts.collect()).map(Selection::Any)
        }
        _ => line("", node, problems),
    }
}

fn some(parts: Vec<Selection>) -> Option<Vec<Selection>> {
    (!parts.is_empty()).then_some(parts)
}

fn line(key: &str, value: &Node, problems: &mut Refusals) -> Option<Selection> {
    let item = item::read(key, value).map_err(|refusal| about(key, refusal).at(value.key_at));
    problems.ok(item).map(|item| Selection::Item(Box::new(item)))
}

fn about(key: &str, mut refusal: Refusal) -> Refusal {
    if !key.is_empty() {
        refusal.reason = format!("{key}: {}", refusal.reason);
    }
    refusal
}

impl Selection {
    /// Lowers it; every line that cannot be honoured is noted in `problems`.
    pub fn lower(&self, lowering: &mut Lowering<'_>, problems: &mut Refusals) -> Option<Plan> {
        match self {
            Selection::Item(item) => {
                let mut refused = Vec::new();
                let plan = item.lower(lowering, &mut refused);
                let place = |r| about(&item.key(), r).at(item.at);
                refused.into_iter().map(place).for_each(|r| problems.push(r));
                plan
            }
            Selection::All(parts) => lower_all(parts, lowering, problems).map(Plan::and),
            Selection::Any(parts) => lower_all(parts, lowering, problems).map(Plan::or),
        }
    }

    /// Calls `f` with every item.
    pub fn visit<'s>(&'s self, f: &mut impl FnMut(&'s Item)) {
        match self {
            Selection::Item(item) => f(item),
            Selection::All(parts) | Selection::Any(parts) => {
                parts.iter().for_each(|part| part.visit(f));
            }
        }
    }

    /// Replaces every item by what `f` makes of it; parts that lose all their items are dropped.
    /// `None` if nothing is left.
    ///
    /// # Errors
    /// The first of `f`.
    pub fn replace<E>(
        self,
        f: &mut impl FnMut(Box<Item>) -> Result<Option<Selection>, E>,
    ) -> Result<Option<Selection>, E> {
        let (parts, node): (_, fn(Vec<Selection>) -> Selection) = match self {
            Selection::Item(item) => return f(item),
            Selection::All(parts) => (parts, Selection::All),
            Selection::Any(parts) => (parts, Selection::Any),
        };
        let mut left = Vec::with_capacity(parts.len());
        for part in parts {
            left.extend(part.replace(f)?);
        }
        Ok((!left.is_empty()).then(|| node(left)))
    }
}

fn lower_all(
    parts: &[Selection],
    lowering: &mut Lowering<'_>,
    problems: &mut Refusals,
) -> Option<Vec<Plan>> {
    let plans: Vec<_> = parts.iter().map(|part| part.lower(lowering, problems)).collect();
    plans.into_iter().collect()
}
