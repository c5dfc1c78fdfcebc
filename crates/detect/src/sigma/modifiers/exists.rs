//! `exists`: the field is there, whatever its value (null included), or it is not.

use super::Modifier;
use crate::sigma::item::{Item, Val};
use crate::sigma::problem::Refusal;

pub(super) struct Exists;

const YES: [&str; 3] = ["yes", "on", "true"];
const NO: [&str; 3] = ["no", "off", "false"];

fn is_word(text: &str, words: [&str; 3]) -> bool {
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

impl Modifier for Exists {
    fn name(&self) -> &'static str {
        "exists"
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        item.must_be_first("exists")?;
        if item.field.is_none() || item.is_list {
            let hint = "write `field|exists: true`";
            return Err(Refusal::invalid("`exists` needs one field and one boolean", hint));
        }
        item.map(|value| match value {
            Val::Bool(present) => Ok(Val::Exists(present)),
            // Words of YAML 1.1, by which the reference implementation reads; nothing else can be meant.
            Val::Text { raw, .. } if is_word(&raw, YES) => Ok(Val::Exists(true)),
            Val::Text { raw, .. } if is_word(&raw, NO) => Ok(Val::Exists(false)),
            _ => Err(Refusal::invalid("`exists` needs true or false", "give true or false")),
        })
    }
}
