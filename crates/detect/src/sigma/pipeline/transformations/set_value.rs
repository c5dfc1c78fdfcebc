//! `set_value`: every value becomes this one.

use super::{Made, Transformation};
use crate::sigma::item::Val;
use crate::sigma::pipeline::conditions::value;
use crate::sigma::pipeline::draft::Draft;
use crate::sigma::pipeline::params::Params;
use crate::sigma::pipeline::reading::Reader;
use crate::sigma::pipeline::step::Step;
use crate::sigma::problem::Refusal;
use filter::Number;

#[derive(Debug)]
struct SetValue(Val);

pub(super) fn read(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    let node = params.required("value")?;
    let made = value(node)?;
    let force = params.optional_text("force_type")?;
    let made = match (force.as_deref(), made) {
        (None, made) | (Some("str"), made @ Val::Text { .. }) => made,
        (Some("str"), made @ (Val::Number(..) | Val::Bool(_))) => made.into_text(),
        (Some("num"), made @ Val::Number(..)) => made,
        (Some("num"), Val::Text { raw, .. }) => match Number::parse(raw.as_bytes()) {
            Some(number) => Val::Number(number, raw),
            None => {
                let reason = format!("`{raw}` is not a number");
                return Err(Refusal::invalid(reason, "correct it").at(node.at));
            }
        },
        _ => {
            let reason = "`force_type` is str or num, for text and numbers";
            return Err(Refusal::invalid(reason, "correct it").at(node.at));
        }
    };
    Ok(Box::new(SetValue(made)))
}

impl Transformation for SetValue {
    fn apply(&self, draft: &mut Draft<'_>, step: &Step) -> Result<(), Refusal> {
        step.replace_values(draft, |_| Ok(self.0.clone()))
    }
}
