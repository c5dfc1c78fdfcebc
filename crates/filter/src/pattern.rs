//! Text with wildcards becomes the cheapest primitive test that says the same.

use crate::expression::Expression;
use crate::test::{Test, TextOp};

/// A piece of a wildcard pattern, after its language's escapes have been resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Exactly this text.
    Text(String),
    /// Any number of characters, newlines included (`*`).
    Any,
    /// Exactly one character, newlines included (`?`).
    One,
}

/// The pattern cannot become a test.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Too many wildcards or too long for a bounded automaton.
    #[error("pattern `{shown}` needs an automaton over the size limit; use fewer wildcards")]
    TooLarge {
        /// The first characters of the pattern.
        shown: String,
    },
}

/// Size limit of one compiled expression: 1 MiB holds every SigmaHQ regex with room to spare.
pub const REGEX_SIZE_BYTES_MAX: usize = 1 << 20;

/// The test for a whole value against `parts`. Wildcards only at the ends become prefix, suffix,
/// contains or equals; inner ones become a linear-time expression; `*` alone holds for any value
/// that is not null.
pub fn text_test(parts: &[Part], cased: bool) -> Result<Test, PatternError> {
    let parts = merged(parts);
    let middle_is_text = |inner: &[Part]| match inner {
        [] => Some(String::new()),
        [Part::Text(text)] => Some(text.clone()),
        _ => None,
    };
    let simple = match parts.as_slice() {
        [Part::Any, inner @ .., Part::Any] => middle_is_text(inner).map(|t| (TextOp::Contains, t)),
        [Part::Any] => Some((TextOp::Contains, String::new())),
        [Part::Any, inner @ ..] => middle_is_text(inner).map(|t| (TextOp::Suffix, t)),
        [inner @ .., Part::Any] => middle_is_text(inner).map(|t| (TextOp::Prefix, t)),
        inner => middle_is_text(inner).map(|t| (TextOp::Equals, t)),
    };
    match simple {
        Some((op, text)) => Ok(Test::text(op, &text, cased)),
        None => glob(&parts, cased),
    }
}

/// Joins neighbouring texts and neighbouring `*`.
fn merged(parts: &[Part]) -> Vec<Part> {
    let mut out: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts {
        match (out.last_mut(), part) {
            (_, Part::Text(text)) if text.is_empty() => {}
            (Some(Part::Text(before)), Part::Text(text)) => before.push_str(text),
            (Some(Part::Any), Part::Any) => {}
            _ => out.push(part.clone()),
        }
    }
    out
}

fn glob(parts: &[Part], cased: bool) -> Result<Test, PatternError> {
    let mut source = String::from(if cased { "(?s)" } else { "(?si)" });
    let mut shown = String::new();
    let anchored_start = parts.first() != Some(&Part::Any);
    let anchored_end = parts.last() != Some(&Part::Any);
    if anchored_start {
        source.push('^');
    }
    for (at, part) in parts.iter().enumerate() {
        match part {
            Part::Text(text) => {
                source.push_str(&regex::escape(text));
                shown.push_str(text);
            }
            Part::Any => {
                let outer = at == 0 || at + 1 == parts.len();
                source.push_str(if outer { "" } else { "(?-u:.)*" });
                shown.push('*');
            }
            Part::One => {
                source.push('.');
                shown.push('?');
            }
        }
    }
    if anchored_end {
        source.push('$');
    }
    Expression::new(&source, REGEX_SIZE_BYTES_MAX)
        .map(|regex| Test::Regex {
            shown: shown.as_str().into(),
            regex,
            by_character: parts.contains(&Part::One),
        })
        .map_err(|_| PatternError::TooLarge { shown: shown.chars().take(80).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{Kind, Value};

    fn holds(parts: &[Part], value: &[u8]) -> bool {
        text_test(parts, false).unwrap().holds(Value { kind: Kind::Str, bytes: value })
    }
    fn t(text: &str) -> Part {
        Part::Text(text.into())
    }

    #[test]
    fn wildcards_at_the_ends_need_no_expression() {
        let op = |parts: &[Part]| match text_test(parts, false).unwrap() {
            Test::Text { op, .. } => Some(op),
            _ => None,
        };
        assert_eq!(op(&[t("a"), t("b")]), Some(TextOp::Equals));
        assert_eq!(op(&[Part::Any, t("a")]), Some(TextOp::Suffix));
        assert_eq!(op(&[t("a"), Part::Any, Part::Any]), Some(TextOp::Prefix));
        assert_eq!(op(&[Part::Any, t("a"), Part::Any]), Some(TextOp::Contains));
        assert_eq!(op(&[Part::Any]), Some(TextOp::Contains));
        assert_eq!(op(&[t("a"), Part::Any, t("b")]), None);
    }

    #[test]
    fn inner_wildcards_cross_lines_and_count_characters() {
        assert!(holds(&[t("a"), Part::Any, t("c")], b"A\nb\nc"));
        assert!(holds(&[t("a"), Part::Any, t("c")], b"ac"));
        assert!(holds(&[t("a"), Part::Any, t("c")], b"a\xff\xfec"));
        assert!(holds(&[t("a"), Part::One, t("c")], "aäc".as_bytes()));
        assert!(holds(&[t("a"), Part::One, t("c")], b"a\nc"));
        assert!(holds(&[t("a"), Part::One, t("c")], b"a\xffc"));
        assert!(!holds(&[t("a"), Part::One, t("c")], b"ac"));
        let two = [Part::Any, Part::One, Part::One, Part::Any];
        assert!(!holds(&two, "\u{212a}".as_bytes()) && holds(&two, b"\xff\xfe"));
        assert!(holds(&two, "\u{212a}x".as_bytes()));
        assert!(holds(&[Part::Any, t("\\a"), Part::One, t(".exe")], b"C:\\x\\a1.exe"));
        assert!(holds(&[Part::Any, t("a"), Part::Any, t("c"), Part::Any], b"xxabcxx"));
        assert!(!holds(&[t("a"), Part::Any, t("c")], b"xac"));
    }
}
