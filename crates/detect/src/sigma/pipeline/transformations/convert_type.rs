//! `convert_type`: numbers become text, or text becomes numbers.

use super::{Made, Transformation};
use crate::sigma::item::Val;
use crate::sigma::pipeline::draft::Draft;
use crate::sigma::pipeline::params::Params;
use crate::sigma::pipeline::reading::Reader;
use crate::sigma::pipeline::step::Step;
use crate::sigma::problem::Refusal;
use filter::Number;

#[derive(Clone, Copy, Debug)]
enum ConvertType {
    Text,
    Number,
}

pub(super) fn read(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    let node = params.required("target_type")?;
    match node.text().as_deref() {
        Some("str") => Ok(Box::new(ConvertType::Text)),
        Some("num") => Ok(Box::new(ConvertType::Number)),
        _ => Err(Refusal::invalid("`target_type` is str or num", "correct it").at(node.at)),
    }
}

impl Transformation for ConvertType {
    fn apply(&self, draft: &mut Draft<'_>, step: &Step) -> Result<(), Refusal> {
        step.replace_values(draft, |value| match (self, value) {
            (ConvertType::Text, value) => Ok(value.into_text()),
            (ConvertType::Number, Val::Text { raw, .. }) => match Number::parse(raw.as_bytes()) {
                Some(number) => Ok(Val::Number(number, raw)),
                None => {
                    let reason = format!("`{raw}` cannot become a number");
                    Err(Refusal::not_covered(reason, "limit the step by conditions"))
                }
            },
            (ConvertType::Number, value) => Ok(value),
        })
    }
}
