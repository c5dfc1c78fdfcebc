//! `change_logsource`: the rule is about other events. Filters keep theirs.

use super::{Made, Transformation};
use crate::sigma::pipeline::conditions::logsource;
use crate::sigma::pipeline::draft::{Body, Draft};
use crate::sigma::pipeline::params::Params;
use crate::sigma::pipeline::reading::Reader;
use crate::sigma::pipeline::step::Step;
use crate::sigma::problem::Refusal;
use crate::sigma::rule::LogSource;

#[derive(Debug)]
struct ChangeLogsource(LogSource);

pub(super) fn read(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    let made = logsource(params)?;
    if made.parts().iter().all(Option::is_none) {
        let reason = "a logsource without a component";
        return Err(Refusal::invalid(reason, "give category, product or service").at(params.at));
    }
    Ok(Box::new(ChangeLogsource(made)))
}

impl Transformation for ChangeLogsource {
    fn apply(&self, draft: &mut Draft<'_>, _: &Step) -> Result<(), Refusal> {
        if matches!(draft.body, Body::Detection(_)) {
            let definition = draft.logsources.first().and_then(|l| l.definition.clone());
            draft.logsources = vec![LogSource { definition, ..self.0.clone() }];
        }
        Ok(())
    }
}
