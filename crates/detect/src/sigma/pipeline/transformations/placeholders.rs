//! `value_placeholders`, `wildcard_placeholders`, `query_expression_placeholders`: what stands for
//! the `%name%` of values with `expand`.

use super::{Made, Transformation};
use crate::sigma::item::Val;
use crate::sigma::lowering;
use crate::sigma::pipeline::draft::Draft;
use crate::sigma::pipeline::params::Params;
use crate::sigma::pipeline::reading::Reader;
use crate::sigma::pipeline::step::Step;
use crate::sigma::problem::Refusal;
use crate::sigma::string::{self, Piece};
use filter::Part;

#[derive(Debug)]
struct Placeholders {
    with: With,
    include: Option<Vec<String>>,
    exclude: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum With {
    Variables,
    Wildcards,
    Refusal,
}

pub(super) fn values(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    read(With::Variables, params)
}

pub(super) fn wildcards(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    read(With::Wildcards, params)
}

pub(super) fn query_expression(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    for name in ["expression", "mapping"] {
        params.take(name);
    }
    read(With::Refusal, params)
}

fn read(with: With, params: &mut Params<'_>) -> Made {
    let (include, exclude) = (params.texts("include")?, params.texts("exclude")?);
    if include.is_some() && exclude.is_some() {
        let reason = "`include` and `exclude` exclude each other";
        return Err(Refusal::invalid(reason, "keep one").at(params.at));
    }
    Ok(Box::new(Placeholders { with, include, exclude }))
}

impl Placeholders {
    fn handles(&self, name: &str) -> bool {
        let has = |list: &Vec<String>| list.iter().any(|n| n == name);
        self.include.as_ref().is_none_or(has) && !self.exclude.as_ref().is_some_and(has)
    }

    /// The value with the handled placeholders replaced; the others stay for later steps.
    /// `flags` are those of an expression.
    fn replaced(
        &self,
        pieces: Vec<Piece>,
        flags: Option<String>,
        draft_vars: &Vars,
    ) -> Result<Val, Refusal> {
        let handled = |p: &Piece| matches!(p, Piece::Placeholder(name) if self.handles(name));
        if !pieces.iter().any(handled) {
            return Ok(Val::of_pieces(pieces, flags));
        }
        let mut values = |name: &str| match self.with {
            With::Wildcards if flags.is_some() => Ok(vec![string::in_expression(".*")]),
            With::Wildcards => Ok(vec![vec![Part::Any]]),
            With::Variables => match draft_vars.get(name) {
                Some(list) if flags.is_some() => {
                    Ok(list.iter().map(|v| string::in_expression(v)).collect())
                }
                Some(list) => Ok(list.iter().map(|v| string::parse(v)).collect()),
                None => {
                    let reason = format!("there is no variable `{name}` for %{name}%");
                    Err(Refusal::not_covered(reason, "add it to `vars` of the pipeline"))
                }
            },
            With::Refusal => {
                let reason = format!("%{name}% would become a query expression");
                Err(Refusal::not_covered(reason, "give it values with value_placeholders"))
            }
        };
        let mut done: Vec<Vec<Piece>> = vec![Vec::new()];
        for piece in pieces {
            let one = [piece];
            if !handled(&one[0]) {
                done.iter_mut().for_each(|p| p.push(one[0].clone()));
                continue;
            }
            let choices = lowering::resolve(&one, &mut values)?;
            if done.len().saturating_mul(choices.len()) > crate::sigma::item::VALUES_MAX {
                let reason = "placeholders make too many values";
                return Err(Refusal::not_covered(reason, "shorten their lists"));
            }
            let with = |before: &Vec<Piece>| -> Vec<Vec<Piece>> {
                let piece = |parts: &Vec<Part>| parts.iter().cloned().map(Piece::Part).collect();
                choices.iter().map(|c| [before.clone(), piece(c)].concat()).collect()
            };
            done = done.iter().flat_map(with).collect();
        }
        let values = done.into_iter().map(|pieces| Val::of_pieces(pieces, flags.clone()));
        Ok(Val::AnyOf(values.collect()))
    }
}

type Vars = std::collections::BTreeMap<String, Vec<String>>;

impl Transformation for Placeholders {
    fn apply(&self, draft: &mut Draft<'_>, step: &Step) -> Result<(), Refusal> {
        let vars = draft.vars.clone();
        step.replace_values(draft, |value| match value {
            Val::Template { pieces } => self.replaced(pieces, None, &vars),
            Val::RegexTemplate { pieces, flags } => self.replaced(pieces, Some(flags), &vars),
            value => Ok(value),
        })
    }
}
