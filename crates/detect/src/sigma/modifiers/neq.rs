//! `neq`: none of the values holds; so also where the field is absent.

use super::Modifier;
use crate::sigma::item::Item;
use crate::sigma::problem::Refusal;

pub(super) struct Neq;

impl Modifier for Neq {
    fn name(&self) -> &'static str {
        "neq"
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        item.negated = true;
        Ok(())
    }
}
