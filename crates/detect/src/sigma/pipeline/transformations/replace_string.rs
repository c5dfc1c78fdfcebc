//! `replace_string`: parts of values that match an expression become other text.

use super::{Made, Transformation};
use crate::sigma::item::Val;
use crate::sigma::pipeline::conditions::{regex, shown};
use crate::sigma::pipeline::draft::Draft;
use crate::sigma::pipeline::params::Params;
use crate::sigma::pipeline::reading::Reader;
use crate::sigma::pipeline::step::Step;
use crate::sigma::problem::Refusal;
use crate::sigma::string;
use filter::Part;
use regex::Regex;

#[derive(Debug)]
struct ReplaceString {
    regex: Regex,
    replacement: String,
    skip_special: bool,
    interpret_special: bool,
}

pub(super) fn read(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    let source = params.required("regex")?;
    Ok(Box::new(ReplaceString {
        regex: regex(&crate::sigma::pipeline::params::text(source)?)
            .map_err(|r| r.at(source.at))?,
        replacement: replacement(&params.text("replacement")?),
        skip_special: params.flag("skip_special")?,
        interpret_special: params.flag("interpret_special")?,
    }))
}

/// `\1` and `\g<name>` of the reference implementation's language, in the form of our engine.
fn replacement(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let group = rest.strip_prefix("\\g<").and_then(|r| r.split_once('>'));
        let digits = rest
            .strip_prefix('\\')
            .map_or(0, |r| r.bytes().take(2).take_while(u8::is_ascii_digit).count());
        if let Some((name, after)) = group {
            out.push_str(&format!("${{{name}}}"));
            rest = after;
        } else if digits > 0 {
            out.push_str(&format!("${{{}}}", &rest[1..=digits]));
            rest = &rest[1 + digits..];
        } else if let Some(after) = rest.strip_prefix("\\\\") {
            out.push('\\');
            rest = after;
        } else {
            out.push_str(if c == '$' { "$$" } else { "" });
            if c != '$' {
                out.push(c);
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

impl ReplaceString {
    fn value(&self, value: Val) -> Result<Val, Refusal> {
        let value = match value {
            Val::Number(_, text) => Val::plain(text),
            value => value,
        };
        match &value {
            Val::Text { parts, .. } if self.skip_special => Ok(text(self.in_parts(parts))),
            Val::Text { .. } => {
                let plain = shown(&value).unwrap_or_default();
                let replaced = self.regex.replace_all(&plain, self.replacement.as_str());
                Ok(text(reread(&replaced)))
            }
            Val::DashClasses { .. } | Val::Template { .. } | Val::RegexTemplate { .. } => {
                let reason = format!("cannot replace within {}", value.kind());
                Err(Refusal::not_covered(reason, "resolve placeholders before"))
            }
            _ => Ok(value),
        }
    }

    fn in_parts(&self, parts: &[Part]) -> Vec<Part> {
        let mut out = Vec::new();
        for part in parts {
            match part {
                Part::Text(text) => {
                    let replaced = self.regex.replace_all(text, self.replacement.as_str());
                    match self.interpret_special {
                        true => out.extend(string::parse(&replaced)),
                        false => out.push(Part::Text(replaced.into_owned())),
                    }
                }
                other => out.push(other.clone()),
            }
        }
        out
    }
}

fn text(parts: Vec<Part>) -> Val {
    Val::Text { raw: string::written(&parts), parts }
}

/// Wildcards are wildcards again, and a backslash is itself unless it stands before one.
fn reread(text: &str) -> Vec<Part> {
    let mut doubled = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        doubled.push(c);
        if c == '\\' && !matches!(chars.peek(), Some('*' | '?')) {
            doubled.push('\\');
        }
    }
    string::parse(&doubled)
}

impl Transformation for ReplaceString {
    fn apply(&self, draft: &mut Draft<'_>, step: &Step) -> Result<(), Refusal> {
        step.replace_values(draft, |value| self.value(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_referred_to_in_our_form() {
        assert_eq!(replacement(r"\1-\g<name>$\\x"), r"${1}-${name}$$\x");
    }
}
