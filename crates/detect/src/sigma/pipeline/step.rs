//! One step of a pipeline: when it acts, and what it does.

use super::conditions::{Conditions, FieldCondition, ItemCondition, RuleCondition};
use super::draft::{Body, Draft};
use super::transformations::Transformation;
use crate::sigma::item::{Item, Val};
use crate::sigma::problem::Refusal;
use crate::sigma::selection::Selection;
use std::sync::Arc;

/// A step.
#[derive(Debug)]
pub struct Step {
    /// Its `id`, or empty.
    pub id: Arc<str>,
    /// When it acts on a rule.
    pub rule: Conditions<RuleCondition>,
    /// When it acts on an item of a rule it acts on.
    pub item: Conditions<ItemCondition>,
    /// When it acts on a field name.
    pub field: Conditions<FieldCondition>,
    /// What it does.
    pub transformation: Box<dyn Transformation>,
}

impl Step {
    /// Applies it to a rule if its conditions hold.
    ///
    /// # Errors
    /// What the transformation says.
    pub fn apply(&self, draft: &mut Draft<'_>) -> Result<(), Refusal> {
        if !self.rule.hold(|condition| condition.holds(draft)) {
            return Ok(());
        }
        self.transformation.apply(draft, self)?;
        if !self.id.is_empty() {
            draft.applied.insert(self.id.clone());
        }
        Ok(())
    }

    /// Whether the conditions on field names hold for a name that stands in `item`, if in one.
    pub fn acts_on_field(&self, field: &str, item: Option<&Item>, state: &Known) -> bool {
        self.field.hold(|condition| condition.holds(Some(field), item, state))
    }

    /// Whether it acts on an item.
    pub fn acts_on(&self, item: &Item, state: &Known) -> bool {
        let field = item.field.as_deref();
        self.item.hold(|condition| condition.holds(item, state))
            && self.field.hold(|condition| condition.holds(field, Some(item), state))
    }

    /// Replaces the items it acts on by what `f` makes of them.
    ///
    /// # Errors
    /// The first of `f`.
    pub fn replace_items(
        &self,
        draft: &mut Draft<'_>,
        mut f: impl FnMut(Box<Item>, &Known) -> Result<Replaced, Refusal>,
    ) -> Result<(), Refusal> {
        let known = Known { state: draft.state.clone() };
        let (Body::Detection(detection) | Body::Filter(detection)) = &mut draft.body else {
            return Ok(());
        };
        for (_, slot) in &mut detection.selections {
            let Some(selection) = slot.take() else { continue };
            *slot = selection.replace(&mut |item| {
                if !self.acts_on(&item, &known) {
                    return Ok(Some(Selection::Item(item)));
                }
                let at = item.at;
                Ok(match f(item, &known).map_err(|r| r.at(at))? {
                    Replaced::Same(item) => Some(Selection::Item(item)),
                    Replaced::Nothing => None,
                    Replaced::By(mut selection) => {
                        self.mark(&mut selection);
                        Some(selection)
                    }
                })
            })?;
        }
        Ok(())
    }

    /// Replaces the values of the items it acts on; alternatives one by one.
    ///
    /// # Errors
    /// The first of `f`.
    pub fn replace_values(
        &self,
        draft: &mut Draft<'_>,
        mut f: impl FnMut(Val) -> Result<Val, Refusal>,
    ) -> Result<(), Refusal> {
        self.replace_items(draft, |mut item, _| {
            let before = item.values.clone();
            item.map(&mut f)?;
            Ok(match item.values == before {
                true => Replaced::Same(item),
                false => Replaced::By(Selection::Item(item)),
            })
        })
    }

    /// Notes on every item that this step made or changed it.
    pub fn mark(&self, selection: &mut Selection) {
        match selection {
            Selection::Item(item) if !self.id.is_empty() => item.steps.push(self.id.clone()),
            Selection::Item(_) => {}
            Selection::All(parts) | Selection::Any(parts) => {
                parts.iter_mut().for_each(|part| self.mark(part));
            }
        }
    }
}

/// What a step makes of an item.
#[derive(Debug)]
pub enum Replaced {
    /// Nothing has changed.
    Same(Box<Item>),
    /// It is this now.
    By(Selection),
    /// It is gone.
    Nothing,
}

/// What conditions on items know beside the item.
#[derive(Debug, Default)]
pub struct Known {
    /// What `set_state` set.
    pub state: std::collections::BTreeMap<String, String>,
}
