//! `expand`: `%name%` is a placeholder for each of the values that a site gives it.

use super::Modifier;
use crate::sigma::item::{Item, Val};
use crate::sigma::problem::Refusal;
use crate::sigma::string::{self, Piece};

pub(super) struct Expand;

impl Modifier for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        item.map(|value| match value {
            Val::Text { raw, parts } => {
                // What an encoding has changed is no longer as written.
                let is_as_written = string::parse(&raw) == parts;
                let pieces = match is_as_written {
                    true => string::template(&raw),
                    false => string::with_placeholders(parts),
                };
                Ok(template(raw, pieces))
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
