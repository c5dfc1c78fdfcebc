//! `rule_failure`, `detection_item_failure` and `strict_field_mapping_failure`: rules that the pipeline's
//! author refuses.

use super::{Made, Transformation};
use crate::sigma::pipeline::draft::{Body, Draft};
use crate::sigma::pipeline::params::Params;
use crate::sigma::pipeline::reading::Reader;
use crate::sigma::pipeline::step::Step;
use crate::sigma::problem::Refusal;
use std::cell::RefCell;
use std::collections::BTreeSet;

#[derive(Debug)]
struct Failure {
    message: String,
    of_items: bool,
}

pub(super) fn rule(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    Ok(Box::new(Failure { message: params.text("message")?, of_items: false }))
}

pub(super) fn item(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    Ok(Box::new(Failure { message: params.text("message")?, of_items: true }))
}

/// Refuses rules with a field that no step before has mapped.
#[derive(Debug)]
struct Strict;

pub(super) fn strict(_: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    Ok(Box::new(Strict))
}

impl Transformation for Strict {
    fn apply(&self, draft: &mut Draft<'_>, _: &Step) -> Result<(), Refusal> {
        if !matches!(draft.body, Body::Detection(_)) {
            return Ok(());
        }
        let unmapped = RefCell::new(BTreeSet::new());
        draft.any_item(|item| {
            let own = item.field.as_deref().filter(|field| !draft.mapped.contains(*field));
            unmapped.borrow_mut().extend(own.map(str::to_owned));
            false
        });
        let unmapped = unmapped.into_inner();
        if unmapped.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = unmapped.into_iter().map(|name| format!("`{name}`")).collect();
        let reason = format!("no step has mapped {}", names.join(", "));
        Err(Refusal::not_covered(reason, "map them, or take strict_field_mapping_failure out"))
    }
}

impl Transformation for Failure {
    fn apply(&self, draft: &mut Draft<'_>, step: &Step) -> Result<(), Refusal> {
        let refusal =
            || Refusal::not_covered(self.message.clone(), "the pipeline refuses the rule");
        if !self.of_items {
            return Err(refusal());
        }
        step.replace_items(draft, |_, _| Err(refusal()))
    }
}
