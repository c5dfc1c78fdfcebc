//! `field_name_mapping`, `field_name_prefix_mapping`, `field_name_prefix`, `field_name_suffix`: other
//! names for fields. Several names for one field mean any of them.

use super::{Made, Transformation};
use crate::sigma::correlation::CorrelationCondition;
use crate::sigma::item::{Item, Val};
use crate::sigma::pipeline::draft::{Body, Draft};
use crate::sigma::pipeline::params::Params;
use crate::sigma::pipeline::reading::Reader;
use crate::sigma::pipeline::step::{Known, Replaced, Step};
use crate::sigma::problem::Refusal;
use crate::sigma::selection::Selection;
use filter::Part;
use std::collections::BTreeMap;

#[derive(Debug)]
enum Names {
    Mapping(BTreeMap<String, Vec<String>>),
    PrefixMapping(BTreeMap<String, Vec<String>>),
    Prefix(String),
    Suffix(String),
}

pub(super) fn mapping(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    Ok(Box::new(Names::Mapping(params.mapping("mapping")?)))
}

pub(super) fn prefix_mapping(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    Ok(Box::new(Names::PrefixMapping(params.mapping("mapping")?)))
}

pub(super) fn prefix(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    Ok(Box::new(Names::Prefix(params.text("prefix")?)))
}

pub(super) fn suffix(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    Ok(Box::new(Names::Suffix(params.text("suffix")?)))
}

impl Names {
    /// The names that take the place of `field`; `None` if it keeps its own.
    fn of(&self, field: &str) -> Option<Vec<String>> {
        match self {
            Names::Mapping(mapping) => mapping.get(field).cloned(),
            Names::PrefixMapping(mapping) => mapping.iter().find_map(|(from, to)| {
                let rest = field.strip_prefix(from.as_str())?;
                Some(to.iter().map(|prefix| format!("{prefix}{rest}")).collect())
            }),
            Names::Prefix(prefix) => Some(vec![format!("{prefix}{field}")]),
            Names::Suffix(suffix) => Some(vec![format!("{field}{suffix}")]),
        }
    }

    fn item(&self, mut item: Box<Item>, step: &Step, known: &Known) -> Result<Replaced, Refusal> {
        let before = item.clone();
        item.map(|value| match value {
            Val::FieldRef { name, op } if step.acts_on_field(&name, Some(&before), known) => {
                Ok(match self.of(&name) {
                    None => Val::FieldRef { name, op },
                    Some(names) => Val::AnyOf(
                        names.into_iter().map(|name| Val::FieldRef { name, op }).collect(),
                    ),
                })
            }
            value => Ok(value),
        })?;
        let names = match &item.field {
            Some(field) => self.of(field),
            None => self.of_keyword(),
        };
        match names {
            Some(names) if item.field.is_some() => renamed(item, names),
            Some(names) => renamed(anywhere(item)?, names),
            None if item.values != before.values => Ok(Replaced::By(Selection::Item(item))),
            None => Ok(Replaced::Same(item)),
        }
    }

    /// A keyword may be given a field.
    fn of_keyword(&self) -> Option<Vec<String>> {
        match self {
            Names::Mapping(mapping) => mapping.get("").or(mapping.get("null")).cloned(),
            _ => None,
        }
    }
}

/// What was looked for anywhere in the event is looked for anywhere in the field.
fn anywhere(mut item: Box<Item>) -> Result<Box<Item>, Refusal> {
    if !item.anchored {
        item.map(|value| match value.into_text() {
            Val::Text { raw, mut parts } => {
                parts.insert(0, Part::Any);
                parts.push(Part::Any);
                Ok(Val::Text { raw, parts })
            }
            other => Ok(other),
        })?;
    }
    Ok(item)
}

fn renamed(mut item: Box<Item>, mut names: Vec<String>) -> Result<Replaced, Refusal> {
    if names.is_empty() {
        return Err(Refusal::not_covered("a mapping to no field", "give at least one name"));
    }
    if names.len() == 1 {
        item.field = Some(names.remove(0).into());
        return Ok(Replaced::By(Selection::Item(item)));
    }
    let each = names.into_iter().map(|name| {
        Selection::Item(Box::new(Item { field: Some(name.into()), ..(*item).clone() }))
    });
    // Negation stays with the item, so that `neq` means: none of the fields.
    Ok(Replaced::By(match item.negated {
        true => Selection::All(each.collect()),
        false => Selection::Any(each.collect()),
    }))
}

impl Transformation for Names {
    fn apply(&self, draft: &mut Draft<'_>, step: &Step) -> Result<(), Refusal> {
        let known = Known { state: draft.state.clone() };
        if let Body::Correlation(correlation) = &mut draft.body {
            let names_of = |field: &str| -> Vec<Box<str>> {
                let names = self.of(field).filter(|_| step.acts_on_field(field, None, &known));
                names.map_or_else(
                    || vec![field.into()],
                    |names| names.into_iter().map(String::into_boxed_str).collect(),
                )
            };
            let one = |field: &mut Box<str>| match names_of(field).as_mut_slice() {
                [name] => {
                    *field = std::mem::take(name);
                    Ok(())
                }
                _ => {
                    let reason = format!("`{field}` has several names, but one is needed");
                    Err(Refusal::not_covered(reason, "map it to one name for this rule"))
                }
            };
            for alias in &mut correlation.aliases {
                alias.fields.iter_mut().try_for_each(|(_, field)| one(field))?;
            }
            let aliases = &correlation.aliases;
            let is_alias = |name: &str| aliases.iter().any(|a| *a.name == *name);
            let group_by = correlation.group_by.iter().flat_map(|name| match is_alias(name) {
                true => vec![name.clone()],
                false => names_of(name),
            });
            correlation.group_by = group_by.collect();
            if let CorrelationCondition::Bounds { fields, .. } = &mut correlation.condition {
                fields.iter_mut().try_for_each(one)?;
            }
            return Ok(());
        }
        let mut mapped: Vec<String> = Vec::new();
        step.replace_items(draft, |item, known| {
            if let Some(field) = &item.field
                && let Some(names) = self.of(field)
            {
                mapped.extend(names);
                mapped.push(field.to_string());
            }
            self.item(item, step, known)
        })?;
        draft.mapped.extend(mapped);
        Ok(())
    }
}
