//! Where a value stands in a text, in whatever spelling: other case, escaped as JSON (also within a
//! string within a string), XML, URL or Latin-1 have it.

use super::effort::{Effort, TooMuch};
use std::ops::Range;

/// Every place where `value` stands in `text` as a word of its own, in order, without overlaps.
///
/// # Errors
/// It takes longer than one row may ask for. What was found is in `out`.
pub(super) fn all(
    text: &[u8],
    value: &[u8],
    effort: &mut Effort,
    out: &mut Vec<Range<usize>>,
) -> Result<(), TooMuch> {
    let Some((first, _)) = first_char(value) else { return Ok(()) };
    effort.pass(text.len())?;
    let start = Start::of(first);
    let mut at = 0;
    while let Some(skip) = text[at..].iter().position(|byte| start.may_be(*byte)) {
        at += skip;
        if is_edge_before(text, at)
            && let Some(end) = end_of_match(text, at, value, effort)?
            && is_edge_after(text, end)
        {
            out.push(at..end);
            at = end;
        } else {
            at += 1;
        }
    }
    Ok(())
}

/// Whether two values are equal but for the case of letters.
///
/// # Errors
/// It takes longer than one row may ask for.
pub(super) fn same(a: &[u8], b: &[u8], effort: &mut Effort) -> Result<bool, TooMuch> {
    effort.compare(1)?;
    // Letters of other scripts may change their length with their case, but not by much.
    if a.len() > 2 * b.len() || b.len() > 2 * a.len() {
        return Ok(false);
    }
    if a.len() == b.len() {
        effort.pass(a.len())?;
        if a.eq_ignore_ascii_case(b) {
            return Ok(true);
        }
    }
    // The first letters tell of most that they differ: only what goes on is asked for its script.
    let (mut a, mut b) = (folded(a), folded(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ok(true),
            (Some(a), Some(b)) if a == b => effort.compare(1)?,
            _ => return Ok(false),
        }
    }
}

/// The characters of a value in lower case.
fn folded(mut value: &[u8]) -> impl Iterator<Item = char> {
    let chars = std::iter::from_fn(move || {
        let (found, len) = first_char(value)?;
        value = &value[len..];
        Some(found)
    });
    chars.flat_map(lower)
}

/// A character in lower case; a sigma is one wherever in a word it stands.
fn lower(c: char) -> impl Iterator<Item = char> {
    c.to_lowercase().map(|c| if c == '\u{3c2}' { '\u{3c3}' } else { c })
}

/// A character of a value; bytes that are no UTF-8 stand for themselves.
fn first_char(value: &[u8]) -> Option<(char, usize)> {
    if value.first()?.is_ascii() {
        return Some((char::from(value[0]), 1));
    }
    // No more than one character is looked at: this is asked at every byte of a record.
    let chunk = value[..value.len().min(4)].utf8_chunks().next()?;
    match chunk.valid().chars().next() {
        Some(c) => Some((c, c.len_utf8())),
        None => Some((char::from(*value.first()?), 1)),
    }
}

/// Bytes with which a character may begin, in whatever spelling.
struct Start {
    lower: u8,
    upper: u8,
    is_wide: bool,
}

impl Start {
    fn of(c: char) -> Self {
        // The Kelvin sign is a `k`, in both directions.
        let ascii = if c == '\u{212a}' { 'k' } else { c };
        let is_ascii = ascii.is_ascii();
        let byte = if is_ascii { ascii as u8 } else { b'\\' };
        let (lower, upper) = (byte.to_ascii_lowercase(), byte.to_ascii_uppercase());
        Self { lower, upper, is_wide: !is_ascii || lower == b'k' }
    }

    fn may_be(&self, byte: u8) -> bool {
        byte == self.lower
            || byte == self.upper
            || matches!(byte, b'\\' | b'&' | b'%')
            || byte >= 0x80 && self.is_wide
    }
}

/// Where the value ends that begins at `at`, if it does.
fn end_of_match(
    text: &[u8],
    mut at: usize,
    mut value: &[u8],
    effort: &mut Effort,
) -> Result<Option<usize>, TooMuch> {
    while let Some((wanted, len)) = first_char(value) {
        effort.compare(1)?;
        if wanted == '\\' {
            let run = value.iter().take_while(|b| **b == b'\\').count();
            let found = backslashes(&text[at.min(text.len())..], run);
            effort.compare(run + found)?;
            if found >= run {
                at += found;
                value = &value[run..];
                continue;
            }
        }
        let Some(unit) = text.get(at..).and_then(|text| unit(text, wanted)) else {
            return Ok(None);
        };
        at += unit;
        value = &value[len..];
    }
    Ok(Some(at))
}

/// How many bytes at the start of `text` stand for the character, if they do.
fn unit(text: &[u8], wanted: char) -> Option<usize> {
    let (found, len) = first_char(text)?;
    if is_same(found, wanted) {
        return Some(len);
    }
    match text[0] {
        b'\\' => escaped(text, wanted),
        b'+' if wanted == ' ' => Some(1),
        b'&' | b'%' => encoded(text, wanted),
        _ => None,
    }
}

fn is_same(a: char, b: char) -> bool {
    a == b || a.eq_ignore_ascii_case(&b) || lower(a).eq(lower(b))
}

/// Each string within a string doubles backslashes: four deep.
const BACKSLASHES_MAX: usize = 16;

/// Backslashes at the start of a text that may stand for so many.
fn backslashes(text: &[u8], of: usize) -> usize {
    text.iter().take(of.saturating_mul(BACKSLASHES_MAX)).take_while(|b| **b == b'\\').count()
}

/// Backslashes and what they escape: a quote, a slash, a letter for a control byte, four digits.
fn escaped(text: &[u8], wanted: char) -> Option<usize> {
    let run = backslashes(text, 1);
    let rest = &text[run..];
    let letter = match wanted {
        '\n' => b'n',
        '\t' => b't',
        '\r' => b'r',
        '"' | '\'' | '/' => wanted as u8,
        _ => {
            let digits = rest.strip_prefix(b"u").or_else(|| rest.strip_prefix(b"U"))?;
            let code = hex(digits.get(..4)?)?;
            return is_same(char::from_u32(code)?, wanted).then_some(run + 5);
        }
    };
    (rest.first() == Some(&letter)).then_some(run + 1)
}

/// `&amp;`, `&#38;`, `&#x26;`, `%26`.
fn encoded(text: &[u8], wanted: char) -> Option<usize> {
    if text[0] == b'%' {
        let mut utf8 = [0; 4];
        let bytes = wanted.encode_utf8(&mut utf8).as_bytes();
        let all = bytes.iter().enumerate().all(|(at, byte)| {
            let piece = text.get(at * 3..at * 3 + 3);
            let code = piece.filter(|p| p[0] == b'%').and_then(|p| hex(&p[1..]));
            code.is_some_and(|code| code < 256 && (code as u8).eq_ignore_ascii_case(byte))
        });
        return all.then_some(bytes.len() * 3);
    }
    let name = text.strip_prefix(b"&")?;
    // The longest is `&#x10ffff;`.
    let end = name.iter().take(9).position(|b| *b == b';')?;
    let code = match &name[..end] {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        [b'#', b'x' | b'X', digits @ ..] => char::from_u32(hex(digits)?)?,
        [b'#', digits @ ..] => char::from_u32(std::str::from_utf8(digits).ok()?.parse().ok()?)?,
        _ => return None,
    };
    is_same(code, wanted).then_some(end + 2)
}

fn hex(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(text, 16).ok())?
}

/// Letters of Latin scripts, digits and `_`: other scripts write names without blanks around them.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || ('\u{c0}'..='\u{24f}').contains(&c)
}

/// The character that ends at `at`; a byte that is no UTF-8 is taken for Latin-1.
fn char_before(text: &[u8], at: usize) -> Option<char> {
    let before = &text[..at];
    if let Some(byte) = before.last().filter(|byte| byte.is_ascii()) {
        return Some(char::from(*byte));
    }
    let whole = (1..=4.min(at)).find_map(|len| {
        let mut chars = std::str::from_utf8(&before[at - len..]).ok()?.chars();
        chars.next()
    });
    whole.or_else(|| before.last().map(|byte| char::from(*byte)))
}

/// A word may begin here: what stands before is no part of one, or the end of an escape.
fn is_edge_before(text: &[u8], at: usize) -> bool {
    let before = &text[..at];
    match before {
        [] => true,
        _ if !char_before(text, at).is_some_and(is_word) => true,
        [.., b'\\', b'n' | b't' | b'r'] => true,
        [.., b'%', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => true,
        [.., b'#', a, b, c] => [a, b, c].iter().all(|d| matches!(d, b'0'..=b'7')),
        [.., b'\\', b'u', b'0', b'0', a, b] => a.is_ascii_hexdigit() && b.is_ascii_hexdigit(),
        _ => false,
    }
}

fn is_edge_after(text: &[u8], end: usize) -> bool {
    !text.get(end..).and_then(first_char).is_some_and(|(c, _)| is_word(c))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn found(text: &str, value: &str) -> Vec<String> {
        let mut out = Vec::new();
        all(text.as_bytes(), value.as_bytes(), &mut Effort::of(text.len()), &mut out).unwrap();
        out.into_iter().map(|range| text[range].to_owned()).collect()
    }

    #[test]
    fn a_value_is_found_in_every_spelling() {
        let cases = [
            ("user alice, ALICE and (Alice)", "alice", &["alice", "ALICE", "Alice"][..]),
            (r#"{"a":"CORP\\alice"}"#, r"CORP\alice", &[r"CORP\\alice"]),
            (r#"{"a":"{\"b\":\"CORP\\\\alice\"}"}"#, r"CORP\alice", &[r"CORP\\\\alice"]),
            (r"x \\srv\c$ y", r"\\srv\c$", &[r"\\srv\c$"]),
            (r#"{"p":"\\\\srv\\c$"}"#, r"\\srv\c$", &[r"\\\\srv\\c$"]),
            (r#"{"m":"Name:\t\talice\nDomain"}"#, "alice", &["alice"]),
            (r#""Mu\u0308ller" "M\u00fcller""#, "M\u{fc}ller", &[r"M\u00fcller"]),
            ("<a>O&apos;Neil</a><b>O&#39;Neil</b>", "O'Neil", &["O&apos;Neil", "O&#39;Neil"]),
            ("/x?u=a%40b.example&v=%61lice", "a@b.example", &["a%40b.example"]),
            ("/x?v=%61lice+smith", "alice smith", &["%61lice+smith"]),
            ("by%20alice, #011alice", "alice", &["alice", "alice"]),
            ("M\u{fc}ller m\u{dc}LLER", "m\u{fc}ller", &["M\u{fc}ller", "m\u{dc}LLER"]),
            ("malice alice2 alice_b \u{e9}alice", "alice", &[]),
            ("\u{ab}alice\u{bb} \u{7528}alice\u{767b}", "alice", &["alice", "alice"]),
            ("10.0.0.12 110.0.0.1 10.0.0.1:22", "10.0.0.1", &["10.0.0.1"]),
            ("", "alice", &[]),
            ("alice", "", &[]),
        ];
        for (text, value, wanted) in cases {
            assert_eq!(found(text, value), wanted, "{value} in {text}");
        }
    }

    #[test]
    fn latin_1_and_cut_escapes_do_no_harm() {
        let mut out = Vec::new();
        let mut effort = Effort::of(0);
        all(b"name=M\xfcller;", "M\u{fc}ller".as_bytes(), &mut effort, &mut out).unwrap();
        assert_eq!((out.len(), out[0].clone()), (1, 5..11));
        for text in ["a\\", "a\\u00", "&", "&#", "&#x;", "%", "%4", "\\u", "&amp", "%%%"] {
            for value in ["a", "\u{e9}", "&", "\\", "\"", " "] {
                all(text.as_bytes(), value.as_bytes(), &mut effort, &mut out).unwrap();
            }
        }
    }

    /// Scenario: values whose beginning stands at every other byte of the text, also in escapes; one that
    /// stands there all the time.
    /// Guarantees: looking ends soon, even unoptimised: with the word that it is too much, or with all places.
    #[test]
    fn looking_ends_when_it_is_too_much() {
        for (unit, last) in [("a ", "b"), ("\\\\ ", "b"), ("a%20", "b"), ("a ", "")] {
            let text = unit.repeat(100_000);
            let value = unit.repeat(if last.is_empty() { 1 } else { 50_000 }) + last;
            let (mut effort, mut out) = (Effort::of(text.len()), Vec::new());
            let began = std::time::Instant::now();
            let looked = all(text.as_bytes(), value.trim().as_bytes(), &mut effort, &mut out);
            assert_eq!(looked.is_err(), !last.is_empty(), "{unit}: {} places", out.len());
            assert!(looked.is_err() || out.len() == 100_000, "{unit}: {} places", out.len());
            assert!(began.elapsed().as_secs() < 10, "{unit}: {:?}", began.elapsed());
        }
    }

    /// Guarantees: what is long and stands there is found, however long.
    #[test]
    fn a_long_value_is_found() {
        let value = "run this and that; ".repeat(5_000);
        let text = format!("x {value} y {value} z");
        assert_eq!(found(&text, value.trim()).len(), 2);
    }
}
