//! `windash`: a dash that starts an option may be any of the dashes Windows programs accept.

use super::Modifier;
use crate::sigma::item::{Item, Val};
use crate::sigma::problem::Refusal;
use filter::Part;

/// Hyphen, slash, en dash, em dash, horizontal bar.
const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];
/// Up to so many options a value is written out in all its forms (5, 25), which the rule index
/// finds by hash; beyond it one expression with a class per dash is used, so nothing blows up.
const WRITTEN_OUT_MAX: usize = 2;

pub(super) struct Windash;

impl Modifier for Windash {
    fn name(&self) -> &'static str {
        "windash"
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        item.map(|value| match value.into_text() {
            Val::Text { raw, parts } => Ok(match option_dashes(&parts) {
                0 => Val::Text { raw, parts },
                1..=WRITTEN_OUT_MAX => Val::AnyOf(written_out(&raw, &parts)),
                _ => Val::DashClasses { parts },
            }),
            other => {
                let reason = format!("`windash` needs text, not {}", other.kind());
                Err(Refusal::invalid(reason, "remove it or give text"))
            }
        })
    }
}

/// Byte positions in `text` of dashes that start an option: a word follows, none stands before.
pub(crate) fn dash_positions(text: &str) -> Vec<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut before = None;
    let mut out = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let starts_word = chars.peek().is_some_and(|(_, next)| is_word(*next));
        if DASHES.contains(&c) && starts_word && !before.is_some_and(is_word) {
            out.push(at);
        }
        before = Some(c);
    }
    out
}

fn option_dashes(parts: &[Part]) -> usize {
    let texts = parts.iter().filter_map(|p| match p {
        Part::Text(text) => Some(text),
        _ => None,
    });
    texts.map(|t| dash_positions(t).len()).sum()
}

fn written_out(raw: &str, parts: &[Part]) -> Vec<Val> {
    let mut forms: Vec<Vec<Part>> = vec![Vec::new()];
    for part in parts {
        let variants = match part {
            Part::Text(text) => text_variants(text).into_iter().map(Part::Text).collect(),
            other => vec![other.clone()],
        };
        forms = forms
            .iter()
            .flat_map(|form| {
                variants.iter().map(move |v| form.iter().cloned().chain([v.clone()]).collect())
            })
            .collect();
    }
    forms.into_iter().map(|parts| Val::Text { raw: raw.to_owned(), parts }).collect()
}

fn text_variants(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut from = 0;
    for at in dash_positions(text) {
        let width = text[at..].chars().next().map_or(1, char::len_utf8);
        let head = &text[from..at];
        out = out
            .iter()
            .flat_map(|before| DASHES.iter().map(move |dash| format!("{before}{head}{dash}")))
            .collect();
        from = at + width;
    }
    for form in &mut out {
        form.push_str(&text[from..]);
    }
    out
}

/// Source of an expression for `text` in which option dashes are classes.
pub(crate) fn class_source(text: &str) -> String {
    let mut out = String::new();
    let mut from = 0;
    for at in dash_positions(text) {
        out.push_str(&regex::escape(&text[from..at]));
        out.push_str("[-/\u{2013}\u{2014}\u{2015}]");
        from = at + text[at..].chars().next().map_or(1, char::len_utf8);
    }
    out.push_str(&regex::escape(&text[from..]));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dashes_that_start_an_option_vary() {
        assert_eq!(dash_positions(" -no-profile /c a/b --x"), [1, 13, 21]);
        assert_eq!(text_variants(" /f").len(), 5);
        assert_eq!(text_variants("-a -b").len(), 25);
        assert_eq!(text_variants("a-b"), ["a-b"]);
        assert_eq!(class_source("-a"), "[-/\u{2013}\u{2014}\u{2015}]a");
    }
}
