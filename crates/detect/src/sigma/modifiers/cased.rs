//! `cased`: text is compared exactly.

use super::Modifier;
use crate::sigma::item::Item;
use crate::sigma::problem::Refusal;

pub(super) struct Cased;

impl Modifier for Cased {
    fn name(&self) -> &'static str {
        "cased"
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        item.cased = true;
        Ok(())
    }
}
