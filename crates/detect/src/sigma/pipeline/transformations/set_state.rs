//! `set_state`: a note for the conditions of later steps.

use super::{Made, Transformation};
use crate::sigma::pipeline::draft::Draft;
use crate::sigma::pipeline::params::Params;
use crate::sigma::pipeline::reading::Reader;
use crate::sigma::pipeline::step::Step;
use crate::sigma::problem::Refusal;

#[derive(Debug)]
struct SetState(String, String);

pub(super) fn read(params: &mut Params<'_>, reader: &mut Reader<'_>, _: usize) -> Made {
    let (key, value) = (params.text("key")?, params.text("val")?);
    let note = format!("set_state `{key}` has no effect but on the conditions of later steps");
    reader.notes.push(note);
    Ok(Box::new(SetState(key, value)))
}

impl Transformation for SetState {
    fn apply(&self, draft: &mut Draft<'_>, _: &Step) -> Result<(), Refusal> {
        draft.state.insert(self.0.clone(), self.1.clone());
        Ok(())
    }
}
