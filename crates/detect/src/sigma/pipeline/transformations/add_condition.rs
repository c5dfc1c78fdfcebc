//! `add_condition`: a further selection that must hold (or must not). Filters are left alone, since
//! the rules they narrow have the condition already.

use super::{Made, Transformation};
use crate::sigma::condition::Expr;
use crate::sigma::pipeline::draft::{Body, Draft};
use crate::sigma::pipeline::params::Params;
use crate::sigma::pipeline::reading::Reader;
use crate::sigma::pipeline::step::Step;
use crate::sigma::problem::{Refusal, Refusals};
use crate::sigma::rule::LogSource;
use crate::sigma::selection::{self, Selection};
use crate::sigma::yaml::{Node, Yaml};

#[derive(Debug)]
struct AddCondition {
    conditions: Node,
    name: String,
    template: bool,
    negated: bool,
}

pub(super) fn read(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    let conditions = params.required("conditions")?.clone();
    let made = AddCondition {
        name: params.optional_text("name")?.unwrap_or_else(|| "_cond".into()),
        template: params.flag("template")?,
        negated: params.flag("negated")?,
        conditions,
    };
    // Without a template, what it says can be checked once and for all.
    if !made.template {
        made.selection(&made.conditions)?;
    }
    Ok(Box::new(made))
}

impl AddCondition {
    fn selection(&self, node: &Node) -> Result<Selection, Refusal> {
        let mut problems = Refusals::default();
        match (selection::read(node, &mut problems), problems.into_vec().pop()) {
            (Some(selection), None) => Ok(selection),
            (_, Some(refusal)) => Err(refusal),
            (None, None) => Err(Refusal::invalid("no condition", "give fields").at(node.at)),
        }
    }
}

impl Transformation for AddCondition {
    fn apply(&self, draft: &mut Draft<'_>, step: &Step) -> Result<(), Refusal> {
        let logsource = draft.logsources.first().cloned().unwrap_or_default();
        let Body::Detection(detection) = &mut draft.body else { return Ok(()) };
        let mut selection = match self.template {
            true => self.selection(&filled(&self.conditions, &logsource)?)?,
            false => self.selection(&self.conditions)?,
        };
        step.mark(&mut selection);
        // A name that `them` and patterns of the rule do not take in.
        let mut name = format!("_{}", self.name.trim_start_matches('_'));
        while detection.selections.iter().any(|(n, _)| *n == name) {
            name.push('_');
        }
        for (expr, _) in &mut detection.conditions {
            let own = match self.negated {
                true => Expr::Not(Box::new(Expr::Name(name.clone()))),
                false => Expr::Name(name.clone()),
            };
            let rule = std::mem::replace(expr, Expr::And(Vec::new()));
            *expr = Expr::And(vec![own, rule]);
        }
        detection.selections.push((name, Some(selection)));
        Ok(())
    }
}

/// `$category`, `$product` and `$service` replaced by those of the rule.
fn filled(node: &Node, logsource: &LogSource) -> Result<Node, Refusal> {
    let value = match &node.value {
        Yaml::Text(text) => Yaml::Text(filled_text(text, logsource).map_err(|r| r.at(node.at))?),
        Yaml::List(items) => {
            Yaml::List(items.iter().map(|n| filled(n, logsource)).collect::<Result<_, _>>()?)
        }
        Yaml::Map(entries) => Yaml::Map(
            entries
                .iter()
                .map(|(k, n)| Ok((k.clone(), filled(n, logsource)?)))
                .collect::<Result<_, Refusal>>()?,
        ),
        other => other.clone(),
    };
    Ok(Node { value, ..node.clone() })
}

fn filled_text(text: &str, logsource: &LogSource) -> Result<String, Refusal> {
    let mut out = text.to_owned();
    let [product, category, service] = logsource.parts();
    for (name, value) in [("category", category), ("product", product), ("service", service)] {
        for form in [format!("${{{name}}}"), format!("${name}")] {
            if !out.contains(&form) {
                continue;
            }
            let Some(value) = value else {
                let reason = format!("`{form}` but the rule names no {name}");
                return Err(Refusal::not_covered(reason, "limit the step by rule_conditions"));
            };
            out = out.replace(&form, value);
        }
    }
    Ok(out)
}
