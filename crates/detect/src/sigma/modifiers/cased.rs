//! `cased`: text is compared exactly.

use super::Modifier;
use crate::sigma::item::{Item, Val};
use crate::sigma::problem::Refusal;

pub(super) struct Cased;

impl Modifier for Cased {
    fn name(&self) -> &'static str {
        "cased"
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        item.cased = true;
        item.map(|value| match value {
            Val::Regex { .. } | Val::Cidr(_) => {
                let reason = format!("`cased` needs text, not {}", value.kind());
                Err(Refusal::invalid(reason, "remove it; `re` is case-sensitive without `i`"))
            }
            value => Ok(value),
        })
    }
}
