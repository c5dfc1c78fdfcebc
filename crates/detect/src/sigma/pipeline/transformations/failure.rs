//! `rule_failure` and `detection_item_failure`: rules that the pipeline's author refuses.

use super::{Made, Transformation};
use crate::sigma::pipeline::draft::Draft;
use crate::sigma::pipeline::params::Params;
use crate::sigma::pipeline::reading::Reader;
use crate::sigma::pipeline::step::Step;
use crate::sigma::problem::Refusal;

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
