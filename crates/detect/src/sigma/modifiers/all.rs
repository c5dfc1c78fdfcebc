//! `all`: every value must hold, each by any member of the field.

use super::Modifier;
use crate::sigma::item::Item;
use crate::sigma::problem::Refusal;

pub(super) struct All;

impl Modifier for All {
    fn name(&self) -> &'static str {
        "all"
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        if !item.is_list {
            let hint = "remove `all` or give a list";
            return Err(Refusal::invalid("`all` needs a list of values", hint));
        }
        item.all = true;
        Ok(())
    }
}
