//! Sigma's strings: `*` and `?` are wildcards, a backslash makes them plain.

use filter::Part;

/// A piece of a string in which placeholders may stand.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Text or a wildcard.
    Part(Part),
    /// `%name%`, to be replaced by each of its values.
    Placeholder(String),
}

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

/// The texts of `parts` one behind the other.
pub fn texts(parts: &[Part]) -> String {
    let text = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Any | Part::One => String::new(),
    };
    parts.iter().map(text).collect()
}

/// The value of a placeholder as part of an expression: an expression itself, held together.
pub fn in_expression(value: &str) -> Vec<Part> {
    vec![Part::Text(format!("(?:{value})"))]
}

/// `parts` as a Sigma string that [`parse`] reads back: backslashes, stars and question marks of the
/// text are escaped where they would be read otherwise.
pub fn written(parts: &[Part]) -> String {
    let mut out = String::new();
    for (at, part) in parts.iter().enumerate() {
        match part {
            Part::Any => out.push('*'),
            Part::One => out.push('?'),
            Part::Text(text) => {
                let mut chars = text.chars().peekable();
                while let Some(c) = chars.next() {
                    let before_wildcard = match chars.peek() {
                        Some(next) => matches!(next, '*' | '?' | '\\'),
                        None => at + 1 < parts.len(),
                    };
                    if matches!(c, '*' | '?') || (c == '\\' && before_wildcard) {
                        out.push('\\');
                    }
                    out.push(c);
                }
            }
        }
    }
    out
}

/// As [`parse`], with placeholders: `%name%`, and `\%` for a plain percent sign. So `\\%name%` is a
/// backslash and a placeholder.
pub fn template(text: &str) -> Vec<Piece> {
    let mut out = Vec::new();
    let (mut from, mut at) = (0, 0);
    while let Some(found) = text[at..].find('\\') {
        at += found;
        // The second of two is escaped by the first, so it escapes nothing.
        let is_pair = text[at + 1..].starts_with('\\');
        at += 1 + usize::from(is_pair);
        if is_pair && placeholder(&text[at..]).is_some() {
            out.extend(with_placeholders(parse(&text[from..at])));
            from = at;
        }
    }
    out.extend(with_placeholders(parse(&text[from..])));
    out
}

/// Finds the placeholders in the text of `parts`: `%name%`, and `\%` for a plain percent sign.
pub fn with_placeholders(parts: Vec<Part>) -> Vec<Piece> {
    let mut out = Vec::new();
    for part in parts {
        match part {
            Part::Text(text) => split_placeholders(&text, false, &mut out),
            other => out.push(Piece::Part(other)),
        }
    }
    out
}

/// The placeholders of an expression, in which `\\\\` stays what it is: a backslash that escapes nothing.
pub fn expression_template(source: &str) -> Vec<Piece> {
    let mut out = Vec::new();
    split_placeholders(source, true, &mut out);
    out
}

fn split_placeholders(text: &str, has_escapes: bool, out: &mut Vec<Piece>) {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if has_escapes && let Some(after) = rest.strip_prefix(r"\\") {
            plain.push_str(r"\\");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("\\%") {
            plain.push('%');
            rest = after;
        } else if let Some((name, after)) = placeholder(rest) {
            if !plain.is_empty() {
                out.push(Piece::Part(Part::Text(std::mem::take(&mut plain))));
            }
            out.push(Piece::Placeholder(name.to_owned()));
            rest = after;
        } else {
            plain.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    if !plain.is_empty() {
        out.push(Piece::Part(Part::Text(plain)));
    }
}

/// The name of a placeholder at the very start of `text`, and what follows it.
fn placeholder(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('%')?.split_once('%')?;
    let wordy = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    (wordy && !name.is_empty()).then_some((name, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(text: &str) -> Part {
        Part::Text(text.into())
    }

    #[test]
    fn escapes_follow_the_specification() {
        for (text, parts) in [
            (r"a\*c", vec![t("a*c")]),
            (r"C:\\*", vec![t(r"C:\"), Part::Any]),
            (r"a\\\*c", vec![t(r"a\*c")]),
            (r"a\c", vec![t(r"a\c")]),
            (r"a\\c", vec![t(r"a\c")]),
            (r"\\\srv", vec![t(r"\\srv")]),
            (r"\\\\srv", vec![t(r"\\srv")]),
            (r"Temp\", vec![t(r"Temp\")]),
            (r"\?x?", vec![t("?x"), Part::One]),
            ("**", vec![Part::Any, Part::Any]),
            ("", vec![]),
        ] {
            assert_eq!(parse(text), parts, "{text}");
            assert_eq!(parse(&written(&parts)), parts, "{text} written as {}", written(&parts));
        }
        assert_eq!(written(&[Part::Any, t(r"\cmd.exe")]), r"*\cmd.exe");
    }

    #[test]
    fn placeholders_are_words_between_percent_signs() {
        let name = |n: &str| Piece::Placeholder(n.into());
        let text = |n: &str| Piece::Part(t(n));
        let of = |s: &str| with_placeholders(parse(s));
        assert_eq!(of("%Servers%"), [name("Servers")]);
        assert_eq!(of(r"\%plain%name%"), [text("%plain"), name("name")]);
        assert_eq!(of("a%b% c%*"), [text("a"), name("b"), text(" c%"), Piece::Part(Part::Any)]);
        assert_eq!(of("100% of %x y%"), [text("100% of %x y%")]);

        assert_eq!(
            template(r"CORP\\%Servers%*"),
            [text(r"CORP\"), name("Servers"), Piece::Part(Part::Any)]
        );
        assert_eq!(template(r"CORP\%Servers%"), [text("CORP%Servers%")]);
        assert_eq!(template(r"a\\\%b%"), [text(r"a\%b%")]);
        for same in
            ["%Servers%", r"\%plain%name%", "a%b% c%*", "100% of %x y%", r"\*\\*", r"a\\%b c", "\\"]
        {
            assert_eq!(template(same), of(same), "{same}");
        }
    }
}
