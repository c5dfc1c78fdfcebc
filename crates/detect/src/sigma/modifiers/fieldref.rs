//! `fieldref`: compared with the value of another field of the same event.

use super::Modifier;
use crate::sigma::item::{Item, Val};
use crate::sigma::problem::Refusal;
use filter::TextOp;

pub(super) struct Fieldref;

impl Modifier for Fieldref {
    fn name(&self) -> &'static str {
        "fieldref"
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        if item.field.is_none() {
            return Err(Refusal::invalid("`fieldref` needs a field", "name a field before it"));
        }
        // A position modifier written before `fieldref` says the same as one written after it.
        let op = match item.applied.last() {
            Some(&"contains") => TextOp::Contains,
            Some(&"startswith") => TextOp::Prefix,
            Some(&"endswith") => TextOp::Suffix,
            _ => TextOp::Equals,
        };
        item.map(|value| match value {
            Val::Text { raw, .. } if !raw.is_empty() => Ok(Val::FieldRef { name: raw, op }),
            _ => Err(Refusal::invalid("`fieldref` needs a field name", "give a field name")),
        })
    }
}
