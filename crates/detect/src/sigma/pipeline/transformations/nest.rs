//! `nest`: steps within a step, for a common condition.

use super::{Made, Transformation};
use crate::sigma::pipeline::draft::Draft;
use crate::sigma::pipeline::params::Params;
use crate::sigma::pipeline::reading::Reader;
use crate::sigma::pipeline::step::Step;
use crate::sigma::problem::Refusal;

#[derive(Debug)]
struct Nest(Vec<Step>);

pub(super) fn read(params: &mut Params<'_>, reader: &mut Reader<'_>, depth: usize) -> Made {
    let items = params.required("items")?;
    Ok(Box::new(Nest(reader.steps(items, depth + 1))))
}

impl Transformation for Nest {
    fn apply(&self, draft: &mut Draft<'_>, _: &Step) -> Result<(), Refusal> {
        self.0.iter().try_for_each(|step| step.apply(draft))
    }
}
