//! `expand`: `%name%` placeholders. None are configured yet, so a rule that has one is not covered.

use super::Modifier;
use crate::sigma::item::{Item, Val};
use crate::sigma::problem::Refusal;

pub(super) struct Expand;

impl Modifier for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        item.map(|value| match &value {
            Val::Text { raw, .. } => match placeholder(raw) {
                None => Ok(value),
                Some(name) => Err(Refusal::not_covered(
                    format!("the placeholder %{name}% has no values here"),
                    "copy the rule and write the values of your site in place of it",
                )),
            },
            _ => Ok(value),
        })
    }
}

/// The first `%name%` in the text.
fn placeholder(text: &str) -> Option<&str> {
    let mut pieces = text.split('%').skip(1);
    let name = pieces.next()?;
    pieces.next()?;
    let wordy = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    (wordy && !name.is_empty()).then_some(name)
}
