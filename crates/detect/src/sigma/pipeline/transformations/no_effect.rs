//! Transformations that change nothing about what matches, or little: noted, and passed over.

use super::{Made, Transformation};
use crate::sigma::item::Val;
use crate::sigma::pipeline::draft::Draft;
use crate::sigma::pipeline::params::Params;
use crate::sigma::pipeline::reading::Reader;
use crate::sigma::pipeline::step::{Replaced, Step};
use crate::sigma::problem::Refusal;
use crate::sigma::selection::Selection;

#[derive(Debug)]
struct NoEffect;

/// Text that is compared with exact case from now on.
#[derive(Debug)]
struct Cased;

impl Transformation for Cased {
    fn apply(&self, draft: &mut Draft<'_>, step: &Step) -> Result<(), Refusal> {
        step.replace_items(draft, |mut item, _| {
            let is_text = |value: &Val| matches!(value, Val::Text { .. });
            if item.cased || !item.values.iter().any(|(value, _)| is_text(value)) {
                return Ok(Replaced::Same(item));
            }
            item.cased = true;
            Ok(Replaced::By(Selection::Item(item)))
        })
    }
}

/// Text becomes an expression for the same text. That it ignores case, it does anyway; `plain` says that
/// it does not.
pub(super) fn regex(params: &mut Params<'_>, reader: &mut Reader<'_>, _: usize) -> Made {
    let node = params.take("method");
    match node.and_then(|n| n.text()).as_deref() {
        None | Some("ignore_case_flag" | "ignore_case_brackets") => {
            reader.notes.push("regex has no effect: text ignores case anyway".into());
            Ok(Box::new(NoEffect))
        }
        Some("plain") => Ok(Box::new(Cased)),
        Some(_) => {
            let at = node.map_or(params.at, |n| n.at);
            let reason = "`method` is plain, ignore_case_flag or ignore_case_brackets";
            Err(Refusal::not_covered(reason, "correct it").at(at))
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
