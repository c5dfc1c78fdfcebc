//! Sigma's strings: `*` and `?` are wildcards, a backslash makes them plain.

use filter::Part;

/// Splits a Sigma string into text and wildcards.
///
/// `\*` and `\?` are the characters themselves, `\\` is one backslash (so `\\*` is a backslash and
/// a wildcard, `\\\*` a backslash and a star), and a backslash before anything else, or at the end,
/// is itself (Sigma rules specification, "Escaping").
pub fn parse(text: &str) -> Vec<Part> {
    let mut out = Vec::new();
    let mut plain = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let wildcard = match c {
            '\\' => {
                let escaped = chars.next_if(|n| matches!(n, '*' | '?' | '\\'));
                plain.push(escaped.unwrap_or('\\'));
                continue;
            }
            '*' => Part::Any,
            '?' => Part::One,
            c => {
                plain.push(c);
                continue;
            }
        };
        if !plain.is_empty() {
            out.push(Part::Text(std::mem::take(&mut plain)));
        }
        out.push(wildcard);
    }
    if !plain.is_empty() {
        out.push(Part::Text(plain));
    }
    out
}

/// The plain text of `parts`; `None` if there is a wildcard among them.
pub fn plain(parts: &[Part]) -> Option<String> {
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Any | Part::One => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_follow_the_specification() {
        let t = |s: &str| Part::Text(s.into());
        for (text, parts) in [
            (r"a\*c", vec![t("a*c")]),
            (r"C:\\*", vec![t(r"C:\"), Part::Any]),
            (r"a\\\*c", vec![t(r"a\*c")]),
            (r"a\c", vec![t(r"a\c")]),
            (r"a\\c", vec![t(r"a\c")]),
            (r"\\\\srv", vec![t(r"\\srv")]),
            (r"Temp\", vec![t(r"Temp\")]),
            (r"\?x?", vec![t("?x"), Part::One]),
            ("**", vec![Part::Any, Part::Any]),
            ("", vec![]),
        ] {
            assert_eq!(parse(text), parts, "{text}");
        }
    }
}
