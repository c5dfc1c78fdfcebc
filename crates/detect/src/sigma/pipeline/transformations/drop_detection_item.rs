//! `drop_detection_item`: items go, and with the last of them their selection.

use super::{Made, Transformation};
use crate::sigma::pipeline::draft::Draft;
use crate::sigma::pipeline::params::Params;
use crate::sigma::pipeline::reading::Reader;
use crate::sigma::pipeline::step::{Replaced, Step};
use crate::sigma::problem::Refusal;

#[derive(Debug)]
struct DropItem;

pub(super) fn read(_: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    Ok(Box::new(DropItem))
}

impl Transformation for DropItem {
    fn apply(&self, draft: &mut Draft<'_>, step: &Step) -> Result<(), Refusal> {
        step.replace_items(draft, |_, _| Ok(Replaced::Nothing))
    }
}
