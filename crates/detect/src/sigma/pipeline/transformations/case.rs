//! `case`: values in lower, upper or snake case. The first two matter only where case does.

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
    Snake,
}

pub(super) fn read(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    let node = params.required("method")?;
    match node.text().as_deref() {
        Some("lower") => Ok(Box::new(Case::Lower)),
        Some("upper") => Ok(Box::new(Case::Upper)),
        Some("snake_case") => Ok(Box::new(Case::Snake)),
        _ => {
            let reason = "`method` is lower, upper or snake_case";
            Err(Refusal::not_covered(reason, "correct it").at(node.at))
        }
    }
}

/// `FooBar` is `foo_bar`: each upper-case letter of ASCII but a first one begins a word.
fn snake(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for (at, letter) in text.char_indices() {
        if at > 0 && letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

impl Transformation for Case {
    fn apply(&self, draft: &mut Draft<'_>, step: &Step) -> Result<(), Refusal> {
        let changed = |text: &str| match self {
            Case::Lower => text.to_lowercase(),
            Case::Upper => text.to_uppercase(),
            Case::Snake => snake(text),
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
