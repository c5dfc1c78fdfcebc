//! `case`: values in lower or upper case. It matters only where case does.

use super::{Made, Transformation};
use crate::sigma::item::Val;
use crate::sigma::pipeline::draft::Draft;
use crate::sigma::pipeline::params::Params;
use crate::sigma::pipeline::reading::Reader;
use crate::sigma::pipeline::step::Step;
use crate::sigma::problem::Refusal;
use filter::Part;

#[derive(Clone, Copy, Debug)]
enum Case {
    Lower,
    Upper,
}

pub(super) fn read(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    let node = params.required("method")?;
    match node.text().as_deref() {
        Some("lower") => Ok(Box::new(Case::Lower)),
        Some("upper") => Ok(Box::new(Case::Upper)),
        _ => Err(Refusal::not_covered("`method` is lower or upper", "correct it").at(node.at)),
    }
}

impl Transformation for Case {
    fn apply(&self, draft: &mut Draft<'_>, step: &Step) -> Result<(), Refusal> {
        let changed = |text: &str| match self {
            Case::Lower => text.to_lowercase(),
            Case::Upper => text.to_uppercase(),
        };
        step.replace_values(draft, |value| match value {
            Val::Text { raw, parts } => {
                let parts = parts.into_iter().map(|part| match part {
                    Part::Text(text) => Part::Text(changed(&text)),
                    other => other,
                });
                Ok(Val::Text { raw: changed(&raw), parts: parts.collect() })
            }
            value => Ok(value),
        })
    }
}
