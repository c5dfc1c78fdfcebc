//! `lt`, `lte`, `gt`, `gte`: order of numbers, exact for integers.

use super::Modifier;
use crate::sigma::item::Item;
use crate::sigma::problem::Refusal;
use filter::CompareOp;

pub(super) struct Compare(&'static str, CompareOp);

pub(super) const LT: Compare = Compare("lt", CompareOp::Lt);
pub(super) const LTE: Compare = Compare("lte", CompareOp::Le);
pub(super) const GT: Compare = Compare("gt", CompareOp::Gt);
pub(super) const GTE: Compare = Compare("gte", CompareOp::Ge);

impl Modifier for Compare {
    fn name(&self) -> &'static str {
        self.0
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        if item.compare.is_some() || item.field.is_none() {
            let reason = format!("`{}` needs a field and no other comparison", self.0);
            return Err(Refusal::invalid(reason, "write a range as two lines of the selection"));
        }
        item.compare = Some(self.1);
        Ok(())
    }
}
