//! `re` and its flags: an unanchored, case-sensitive, linear-time regular expression.

use super::Modifier;
use crate::sigma::item::{Item, Val};
use crate::sigma::problem::Refusal;

pub(super) struct Re;

impl Modifier for Re {
    fn name(&self) -> &'static str {
        "re"
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        item.must_be_first("re")?;
        item.map(|value| match value {
            Val::Text { raw, .. } | Val::Number(_, raw) => {
                Ok(Val::Regex { source: raw, flags: String::new() })
            }
            other => {
                let reason = format!("`re` needs text, not {}", other.kind());
                Err(Refusal::invalid(reason, "give a regular expression"))
            }
        })
    }
}

/// A flag of `re`, under one of its names.
pub(super) struct Flag(&'static str, char);

pub(super) const IGNORECASE: Flag = Flag("ignorecase", 'i');
pub(super) const I: Flag = Flag("i", 'i');
pub(super) const MULTILINE: Flag = Flag("multiline", 'm');
pub(super) const M: Flag = Flag("m", 'm');
pub(super) const DOTALL: Flag = Flag("dotall", 's');
pub(super) const S: Flag = Flag("s", 's');

impl Modifier for Flag {
    fn name(&self) -> &'static str {
        self.0
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        let Flag(name, flag) = *self;
        item.map(|value| match value {
            Val::Regex { source, mut flags } => {
                if !flags.contains(flag) {
                    flags.push(flag);
                }
                Ok(Val::Regex { source, flags })
            }
            Val::RegexTemplate { .. } => {
                let hint = "write the flags before `expand`";
                Err(Refusal::invalid(format!("`{name}` is a flag of `re`"), hint))
            }
            _ => Err(Refusal::invalid(format!("`{name}` is a flag of `re`"), "write `re` first")),
        })
    }
}
