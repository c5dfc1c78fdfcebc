//! Transformations that change nothing about what matches: noted, and passed over.

use super::{Made, Transformation};
use crate::sigma::pipeline::draft::Draft;
use crate::sigma::pipeline::params::Params;
use crate::sigma::pipeline::reading::Reader;
use crate::sigma::pipeline::step::Step;
use crate::sigma::problem::Refusal;

#[derive(Debug)]
struct NoEffect;

/// Text becomes an expression that ignores case: it does so anyway.
pub(super) fn regex(params: &mut Params<'_>, reader: &mut Reader<'_>, _: usize) -> Made {
    let node = params.take("method");
    match node.and_then(|n| n.text()).as_deref() {
        None | Some("ignore_case_flag" | "ignore_case_brackets") => {
            reader.notes.push("regex has no effect: text ignores case anyway".into());
            Ok(Box::new(NoEffect))
        }
        Some(_) => {
            let at = node.map_or(params.at, |n| n.at);
            let reason = "only the methods that ignore case are known";
            Err(Refusal::not_covered(reason, "write `cased` in the rules that need it").at(at))
        }
    }
}

/// The list of fields worth showing.
pub(super) fn display_fields(params: &mut Params<'_>, reader: &mut Reader<'_>, _: usize) -> Made {
    for name in ["field", "fields"] {
        params.take(name);
    }
    reader.notes.push("the list of fields to show has no effect".into());
    Ok(Box::new(NoEffect))
}

/// Attributes for backends.
pub(super) fn custom_attribute(params: &mut Params<'_>, reader: &mut Reader<'_>, _: usize) -> Made {
    for name in ["attribute", "value"] {
        params.take(name);
    }
    reader.notes.push("set_custom_attribute is for backends and has no effect".into());
    Ok(Box::new(NoEffect))
}

impl Transformation for NoEffect {
    fn apply(&self, _: &mut Draft<'_>, _: &Step) -> Result<(), Refusal> {
        Ok(())
    }
}
