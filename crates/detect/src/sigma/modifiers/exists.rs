//! `exists`: the field is there, whatever its value (null included), or it is not.

use super::Modifier;
use crate::sigma::item::{Item, Val};
use crate::sigma::problem::Refusal;

pub(super) struct Exists;

impl Modifier for Exists {
    fn name(&self) -> &'static str {
        "exists"
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        item.must_be_first("exists")?;
        if item.field.is_none() || item.is_list {
            let hint = "write `field|exists: true`";
            return Err(Refusal::invalid("`exists` needs one field and one boolean", hint));
        }
        item.map(|value| match value {
            Val::Bool(present) => Ok(Val::Exists(present)),
            _ => Err(Refusal::invalid("`exists` needs true or false", "give true or false")),
        })
    }
}
