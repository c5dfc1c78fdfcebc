//! `contains`, `startswith`, `endswith`: where in the value the text stands.

use super::Modifier;
use crate::sigma::item::{Item, Val};
use crate::sigma::problem::Refusal;
use crate::sigma::string::Piece;
use filter::{Part, TextOp};

/// A position modifier.
pub(super) struct Position(&'static str, TextOp);

pub(super) const CONTAINS: Position = Position("contains", TextOp::Contains);
pub(super) const STARTSWITH: Position = Position("startswith", TextOp::Prefix);
pub(super) const ENDSWITH: Position = Position("endswith", TextOp::Suffix);

impl Modifier for Position {
    fn name(&self) -> &'static str {
        self.0
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        let Position(name, op) = *self;
        item.anchored |= op != TextOp::Contains;
        item.map(|value| match value.into_text() {
            Val::Text { raw, parts } => Ok(Val::Text { raw, parts: widened(op, parts, Part::Any) }),
            Val::Template { pieces } => {
                Ok(Val::Template { pieces: widened(op, pieces, Piece::Part(Part::Any)) })
            }
            Val::DashClasses { parts } => {
                Ok(Val::DashClasses { parts: widened(op, parts, Part::Any) })
            }
            // A search is unanchored already; the others bind it to one end of the value.
            Val::Regex { source, flags } => Ok(Val::Regex {
                source: match op {
                    TextOp::Prefix => format!("\\A(?:{source})"),
                    TextOp::Suffix => format!("(?:{source})\\z"),
                    _ => source,
                },
                flags,
            }),
            Val::RegexTemplate { pieces, flags } => {
                let text = |text: &str| Piece::Part(Part::Text(text.to_owned()));
                let bound = match op {
                    TextOp::Prefix => [vec![text("\\A(?:")], pieces, vec![text(")")]].concat(),
                    TextOp::Suffix => [vec![text("(?:")], pieces, vec![text(")\\z")]].concat(),
                    _ => pieces,
                };
                Ok(Val::RegexTemplate { pieces: bound, flags })
            }
            Val::FieldRef { name, .. } => Ok(Val::FieldRef { name, op }),
            other => {
                let reason = format!("`{name}` needs text, not {}", other.kind());
                Err(Refusal::invalid(reason, "remove the modifier or give text"))
            }
        })
    }
}

/// Adds the wildcards that the modifier stands for.
pub(super) fn widened<P: Clone>(op: TextOp, mut parts: Vec<P>, any: P) -> Vec<P> {
    if matches!(op, TextOp::Contains | TextOp::Suffix) {
        parts.insert(0, any.clone());
    }
    if matches!(op, TextOp::Contains | TextOp::Prefix) {
        parts.push(any);
    }
    parts
}
