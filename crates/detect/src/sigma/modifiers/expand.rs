//! `expand`: `%name%` is a placeholder for each of the values that a site gives it.

use super::Modifier;
use super::position::widened;
use crate::sigma::item::{Item, Val};
use crate::sigma::problem::Refusal;
use crate::sigma::string::{self, Piece};
use filter::{Part, TextOp};

pub(super) struct Expand;

impl Modifier for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        item.map(|value| match value {
            Val::Text { raw, parts } => {
                let pieces = as_written(&raw, &parts);
                Ok(template(raw, pieces.unwrap_or_else(|| string::with_placeholders(parts))))
            }
            Val::Regex { source, flags } => {
                Ok(Val::of_pieces(string::expression_template(&source), Some(flags)))
            }
            Val::Number(..) | Val::Bool(_) | Val::Null => Ok(value),
            other => {
                let reason = format!("`expand` needs text, not {}", other.kind());
                let hint = "write `expand` before what changes the text, or copy the rule";
                Err(Refusal::not_covered(reason, hint))
            }
        })
    }
}

/// The pieces of what is written, between the wildcards of a position in front. None where an encoding has
/// changed it: it is no longer as written.
fn as_written(raw: &str, parts: &[Part]) -> Option<Vec<Piece>> {
    let plain = string::parse(raw);
    let positions = [TextOp::Equals, TextOp::Contains, TextOp::Prefix, TextOp::Suffix];
    let op = positions.into_iter().find(|op| widened(*op, plain.clone(), Part::Any) == parts)?;
    Some(widened(op, string::template(raw), Piece::Part(Part::Any)))
}

/// Text again where there is no placeholder.
fn template(raw: String, pieces: Vec<Piece>) -> Val {
    let parts = pieces.iter().map(|piece| match piece {
        Piece::Part(part) => Some(part.clone()),
        Piece::Placeholder(_) => None,
    });
    match parts.collect() {
        Some(parts) => Val::Text { raw, parts },
        None => Val::Template { pieces },
    }
}
