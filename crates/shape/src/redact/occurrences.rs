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
    let wanted = Wanted::of(value);
    scan(text, value, effort, out, |at, effort| {
        if !is_edge_before(text, at) {
            return Ok(None);
        }
        let end = wanted.end(text, at, effort)?;
        Ok(end.filter(|end| is_edge_after(text, *end)).map(|end| at..end))
    })
}

/// Every place where `value` stands behind `lead` in `text`, whatever stands around both.
///
/// # Errors
/// It takes longer than one row may ask for. What was found is in `out`.
pub(super) fn behind(
    text: &[u8],
    (lead, value): (&[u8], &[u8]),
    effort: &mut Effort,
    out: &mut Vec<Range<usize>>,
) -> Result<(), TooMuch> {
    let (wanted_lead, wanted) = (Wanted::of(lead), Wanted::of(value));
    scan(text, lead, effort, out, |at, effort| {
        let Some(start) = wanted_lead.end(text, at, effort)? else { return Ok(None) };
        Ok(wanted.end(text, start, effort)?.map(|end| start..end))
    })
}

/// Asks at every byte of `text` with which `wanted` may begin whether a place is there.
fn scan(
    text: &[u8],
    wanted: &[u8],
    effort: &mut Effort,
    out: &mut Vec<Range<usize>>,
    place: impl Fn(usize, &mut Effort) -> Result<Option<Range<usize>>, TooMuch>,
) -> Result<(), TooMuch> {
    let Some(start) = Start::of(wanted) else { return Ok(()) };
    effort.pass(text.len())?;
    let mut at = 0;
    while let Some(skip) = text[at..].iter().position(|byte| start.may_be(*byte)) {
        at += skip;
        match place(at, effort)? {
            Some(range) => {
                at = range.end;
                out.push(range);
            }
            None => at += 1,
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

/// The first letter of those that a letter is in its other case, or itself: `S` of `ß`.
fn first_of_several(c: char) -> char {
    if !may_be_several(c) {
        return c;
    }
    let (mut lower, mut upper) = (c.to_lowercase(), c.to_uppercase());
    let first = match (lower.len(), upper.len()) {
        (1, 1) => None,
        (1, _) => upper.next(),
        _ => lower.next(),
    };
    first.filter(char::is_ascii).unwrap_or(c)
}

/// What follows an `i` where a capital letter with a dot is written small.
const DOT_ABOVE: char = '\u{307}';

/// Bytes with which a value may begin, in whatever spelling.
struct Start {
    lower: u8,
    upper: u8,
    is_wide: bool,
}

impl Start {
    /// Of a value; `None` if it is empty.
    fn of(value: &[u8]) -> Option<Self> {
        let (c, len) = first_char(value)?;
        // The Kelvin sign is a `k`, in both directions; an `i` with a dot of its own may be one letter.
        let ascii = if c == '\u{212a}' { 'k' } else { first_of_several(c) };
        let is_dotted = matches!(first_char(&value[len..]), Some((DOT_ABOVE, _)));
        let is_ascii = ascii.is_ascii();
        let byte = if is_ascii { ascii as u8 } else { b'\\' };
        let (lower, upper) = (byte.to_ascii_lowercase(), byte.to_ascii_uppercase());
        Some(Self { lower, upper, is_wide: !c.is_ascii() || lower == b'k' || is_dotted })
    }

    fn may_be(&self, byte: u8) -> bool {
        byte == self.lower
            || byte == self.upper
            || matches!(byte, b'\\' | b'&' | b'%')
            || byte >= 0x80 && self.is_wide
    }
}

/// A value that is looked for.
struct Wanted<'v> {
    value: &'v [u8],
    /// Whether it holds signs that begin escapes.
    has_signs: bool,
}

impl<'v> Wanted<'v> {
    fn of(value: &'v [u8]) -> Self {
        Self { value, has_signs: memchr::memchr2(b'&', b'%', value).is_some() }
    }

    /// Where the value ends that begins at `at`, if it does.
    fn end(&self, text: &[u8], at: usize, effort: &mut Effort) -> Result<Option<usize>, TooMuch> {
        let end = end_as(text, (at, true), self.value, effort)?;
        // A text that escapes nothing may hold what looks like an escape, as the value does.
        match end.is_none() && self.has_signs {
            true => end_as(text, (at, false), self.value, effort),
            false => Ok(end),
        }
    }
}

/// Where the value ends that begins at `at`; `is_escaped`: `&` and `%` begin escapes wherever they can.
fn end_as(
    text: &[u8],
    (mut at, is_escaped): (usize, bool),
    mut value: &[u8],
    effort: &mut Effort,
) -> Result<Option<usize>, TooMuch> {
    while let Some((wanted, len)) = first_char(value) {
        effort.compare(1)?;
        let Some(rest) = text.get(at..) else { return Ok(None) };
        if wanted == '\\' {
            let run = value.iter().take_while(|b| **b == b'\\').count();
            let found = backslashes(rest, run);
            effort.compare(run + found)?;
            if found >= run {
                at += found;
                value = &value[run..];
                continue;
            }
        }
        let mut unit = unit(rest, wanted, is_escaped).map(|unit| (unit, len));
        if unit.is_none() {
            unit = unequal(rest, value, is_escaped);
        }
        let Some((unit, len)) = unit else { return Ok(None) };
        at += unit;
        value = &value[len..];
    }
    Ok(Some(at))
}

/// How many bytes at the start of `text` stand for the character, if they do.
fn unit(text: &[u8], wanted: char, is_escaped: bool) -> Option<usize> {
    let (found, len) = first_char(text)?;
    let plain = || is_same(found, wanted).then_some(len);
    match text[0] {
        b'&' | b'%' if is_escaped => encoded(text, wanted).or_else(plain),
        b'&' | b'%' => plain().or_else(|| encoded(text, wanted)),
        b'\\' => plain().or_else(|| escaped(text, wanted)),
        b'+' if wanted == ' ' => Some(1),
        _ => plain(),
    }
}

/// Letters that are several in the other case, on either side: `ß` and `SS`. Out: bytes of text and of value.
fn unequal(text: &[u8], value: &[u8], is_escaped: bool) -> Option<(usize, usize)> {
    let several = |c: char, as_one: &dyn Fn(usize, char) -> Option<usize>| {
        let add = |at: usize, c: char| Some(at + as_one(at, c)?);
        let (mut lower, mut upper) = (c.to_lowercase(), c.to_uppercase());
        let lower = (lower.len() > 1).then(|| lower.try_fold(0, add)).flatten();
        lower.or_else(|| (upper.len() > 1).then(|| upper.try_fold(0, add)).flatten())
    };
    let ((wanted, value_len), (found, text_len)) = (first_char(value)?, first_char(text)?);
    if may_be_several(wanted)
        && let Some(len) = several(wanted, &|at, c| unit(text.get(at..)?, c, is_escaped))
    {
        return Some((len, value_len));
    }
    let of_value = |at: usize, c| {
        first_char(value.get(at..)?).filter(|(own, _)| is_same(*own, c)).map(|(_, len)| len)
    };
    let len = may_be_several(found).then(|| several(found, &of_value)).flatten();
    len.map(|len| (text_len, len))
}

/// Where Unicode has letters that are several in the other case: most characters are asked for no more.
fn may_be_several(c: char) -> bool {
    matches!(c, '\u{df}' | '\u{130}' | '\u{149}' | '\u{1f0}' | '\u{390}' | '\u{3b0}' | '\u{587}'
        | '\u{1e96}'..='\u{1e9e}' | '\u{1f50}'..='\u{1ffc}' | '\u{fb00}'..='\u{fb17}')
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

/// Backslashes and what they escape: a sign, a letter for a control byte, digits.
fn escaped(text: &[u8], wanted: char) -> Option<usize> {
    let run = backslashes(text, 1);
    let rest = &text[run..];
    let sign = match wanted {
        '\n' => Some(b'n'),
        '\t' => Some(b't'),
        '\r' => Some(b'r'),
        '\u{8}' => Some(b'b'),
        '\u{c}' => Some(b'f'),
        ' ' => Some(b' '),
        sign if sign.is_ascii_punctuation() && sign != '\\' => Some(sign as u8),
        _ => None,
    };
    if sign.is_some() && rest.first() == sign.as_ref() {
        return Some(run + 1);
    }
    match rest.first()? {
        b'x' | b'X' => octets(text, &text[..=run], wanted),
        b'u' | b'U' => {
            let (code, len) = utf16(rest)?;
            is_same(code, wanted).then_some(run + len)
        }
        _ => None,
    }
}

/// `u00e9`, `ud83d\ude00`, `U0001f600`: the character and its length.
fn utf16(text: &[u8]) -> Option<(char, usize)> {
    let digits = |from: usize, len: usize| hex(text.get(from..from + len)?);
    if text[0] == b'U'
        && let Some(c) = digits(1, 8).and_then(char::from_u32)
    {
        return Some((c, 9));
    }
    let first = digits(1, 4)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, 5));
    }
    let run = backslashes(&text[5..], 1);
    let second = (text.get(5 + run) == Some(&b'u')).then(|| digits(6 + run, 4)).flatten()?;
    let second = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
    Some((char::from_u32(0x10000 + ((first - 0xd800) << 10) + second)?, 10 + run))
}

/// The bytes of a character as two digits each behind a sign: `%c3%a9`, `\xc3\xa9`.
fn octets(text: &[u8], sign: &[u8], wanted: char) -> Option<usize> {
    let mut utf8 = [0; 4];
    let bytes = wanted.encode_utf8(&mut utf8).as_bytes();
    let len = sign.len() + 2;
    let all = bytes.iter().enumerate().all(|(at, byte)| {
        let digits = text.get(at * len..(at + 1) * len).and_then(|piece| piece.strip_prefix(sign));
        let code = digits.and_then(hex);
        code.is_some_and(|code| code < 256 && (code as u8).eq_ignore_ascii_case(byte))
    });
    all.then_some(bytes.len() * len)
}

/// `&amp;`, `&#38;`, `&#x26;`, `%26`.
fn encoded(text: &[u8], wanted: char) -> Option<usize> {
    if text[0] == b'%' {
        return octets(text, b"%", wanted);
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
        [.., b'%', a, b] | [.., b'\\', b'x', a, b]
            if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() =>
        {
            true
        }
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
            ("smith&amp;sons smith&sons", "smith&sons", &["smith&amp;sons", "smith&sons"]),
            ("a&amp;b", "a&amp;b", &["a&amp;b"]),
            ("a%25b a%b", "a%b", &["a%25b", "a%b"]),
            (r"suser=zoe\=smith", "zoe=smith", &[r"zoe\=smith"]),
            (r#""\ud83d\ude00zoe""#, "\u{1f600}zoe", &[r"\ud83d\ude00zoe"]),
            (r#""\ud83d zoe \ude00""#, "\u{1f600}", &[]),
            (r"zo\xc3\xab", "zo\u{eb}", &[r"zo\xc3\xab"]),
            ("stra\u{df}e STRASSE", "Stra\u{df}e", &["stra\u{df}e", "STRASSE"]),
            ("stra\u{df}e", "STRASSE", &["stra\u{df}e"]),
            ("i\u{307}smail", "\u{130}smail", &["i\u{307}smail"]),
            ("\u{130}smail", "i\u{307}smail", &["\u{130}smail"]),
            ("", "alice", &[]),
            ("alice", "", &[]),
        ];
        for (text, value, wanted) in cases {
            assert_eq!(found(text, value), wanted, "{value} in {text}");
        }
    }

    #[test]
    fn all_letters_that_may_be_several_are_known() {
        let is_several = |c: &char| c.to_lowercase().len() > 1 || c.to_uppercase().len() > 1;
        let mut missed = ('\0'..=char::MAX).filter(is_several).filter(|c| !may_be_several(*c));
        assert_eq!(missed.next(), None);
    }

    #[test]
    fn what_stands_behind_a_name_is_found_without_edges() {
        let of = |text: &str, lead: &str, value: &str| {
            let (mut out, mut effort) = (Vec::new(), Effort::of(text.len()));
            let pair = (lead.as_bytes(), value.as_bytes());
            behind(text.as_bytes(), pair, &mut effort, &mut out).unwrap();
            out.into_iter().map(|range| text[range].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(of(r#"db_PASS = \"a\\b\"c a\b"#, r#"pass = ""#, r"a\b"), [r"a\\b"]);
        assert!(of("pass=x", "pass=", "y").is_empty());
    }

    #[test]
    fn latin_1_and_cut_escapes_do_no_harm() {
        let mut out = Vec::new();
        let mut effort = Effort::of(0);
        all(b"name=M\xfcller;", "M\u{fc}ller".as_bytes(), &mut effort, &mut out).unwrap();
        assert_eq!((out.len(), out[0].clone()), (1, 5..11));
        for text in [
            "a\\",
            "a\\u00",
            "&",
            "&#",
            "&#x;",
            "%",
            "%4",
            "\\u",
            "&amp",
            "%%%",
            "\\x",
            "\\xc3\\",
            "\\ud83d",
            "\\ud83d\\u",
            "\\U0001",
        ] {
            for value in ["a", "\u{e9}", "&", "\\", "\"", " ", "\u{1f600}", "\u{df}"] {
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
