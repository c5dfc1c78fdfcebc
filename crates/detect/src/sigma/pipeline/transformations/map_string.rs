//! `map_string`: whole values become others; several are alternatives.

use super::{Made, Transformation};
use crate::sigma::item::Val;
use crate::sigma::pipeline::conditions::shown;
use crate::sigma::pipeline::draft::Draft;
use crate::sigma::pipeline::params::Params;
use crate::sigma::pipeline::reading::Reader;
use crate::sigma::pipeline::step::Step;
use crate::sigma::problem::Refusal;
use std::collections::BTreeMap;

#[derive(Debug)]
struct MapString(BTreeMap<String, Vec<String>>);

pub(super) fn read(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    Ok(Box::new(MapString(params.mapping("mapping")?)))
}

impl Transformation for MapString {
    fn apply(&self, draft: &mut Draft<'_>, step: &Step) -> Result<(), Refusal> {
        step.replace_values(draft, |value| {
            let mapped = shown(&value).and_then(|text| self.0.get(&text));
            Ok(match mapped.map(Vec::as_slice) {
                None => value,
                Some([one]) => Val::sigma(one),
                Some(several) => Val::AnyOf(several.iter().map(|v| Val::sigma(v)).collect()),
            })
        })
    }
}
