//! What is typed by mistake or in the manner of other languages, would be understood as a text to look
//! for, and then finds nothing: told instead, at its column, with what to write.

use super::SearchError;
use super::cursor::Cursor;
use std::net::IpAddr;

/// Comparisons of other languages, as words, and what to write.
const WORDS: [(&str, &str); 7] = [
    ("like", "write FIELD:prefix* or FIELD:*middle*"),
    ("contains", "write FIELD:*middle*"),
    ("startswith", "write FIELD:prefix*"),
    ("endswith", "write FIELD:*suffix"),
    ("matches", "write FIELD:/expression/"),
    ("between", "write FIELD:[1 to 9]"),
    ("exists", "write FIELD:*"),
];
const QUOTES: [char; 6] = ['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{ab}'];
const QUOTE_HINT: &str = "write the straight quote \"";
const OR_HINT: &str = "join values by `or`: FIELD:(a or b)";

/// Where a term begins.
pub(super) fn of_term(cursor: &mut Cursor<'_>) -> Result<(), SearchError> {
    cursor.skip_spaces();
    let rest = cursor.rest();
    let told = |message: &str, hint: &str| Err(cursor.error(message, Some(hint)));
    let word = rest.split(|c| cursor.ends_word(c)).next().unwrap_or_default();
    let named = word.chars().nth(1).is_some_and(|c| c.is_alphanumeric() || c == '@');
    match rest.chars().next() {
        _ if is_word(word, "and") || is_word(word, "or") => {
            return told(&format!("nothing before `{word}`"), "to look for the word, quote it");
        }
        Some('&') if word == "&&" || word == "&" => {
            return told("`&` combines nothing", "write `and`, or nothing between the terms");
        }
        Some('!') if named || rest.starts_with("!(") => {
            return told("`!` negates nothing", "write `not`; to look for the text, quote it");
        }
        Some('-') if named && word.contains([':', '=', '>', '<']) => {
            return told("`-` leaves nothing out", "write `not`; to look for the text, quote it");
        }
        Some('+') if named && word.contains(':') => {
            return told("`+` demands nothing", "all terms must hold anyway: leave it out");
        }
        Some(':') => {
            return told(
                "a field name is missing before `:`",
                "no space before `:`, no quotes around names but '...' for those with spaces",
            );
        }
        _ => {}
    }
    if let Some(name) = word.strip_prefix("_exists_:").or(word.strip_prefix("_missing_:")) {
        let hint = format!("write {name}:* or not {name}:*");
        return told("`_exists_` and `_missing_` are no fields", &hint);
    }
    operator(cursor, word)
}

fn is_word(word: &str, wanted: &str) -> bool {
    word.eq_ignore_ascii_case(wanted)
}

/// `user.name in (a, b)`, `user.name like ...`, `user.name is null`.
fn operator(cursor: &Cursor<'_>, word: &str) -> Result<(), SearchError> {
    let is_name = word.starts_with(|c: char| c.is_alphabetic() || c == '@')
        && (word.contains('.') || word.starts_with('@'))
        && word.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '@' | '-'));
    if !is_name {
        return Ok(());
    }
    let after = &cursor.rest()[word.len()..];
    let mut words = after.split_whitespace();
    let (next, then) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let at = cursor.place() + word.len() + after.len() - after.trim_start().len();
    let told = |hint: &str| {
        let verb = next.split('(').next().unwrap_or_default();
        Err(cursor.error_at(
            at,
            format!("`{verb}` compares nothing"),
            Some(&format!("{}; to look for the words, quote them", hint.replace("FIELD", word))),
        ))
    };
    let head = next.split('(').next().unwrap_or_default();
    if is_word(head, "in") && (next.contains('(') || then.starts_with('(')) {
        return told("write FIELD:(a or b)");
    }
    if is_word(next, "is") && ["null", "not", "empty", "missing"].iter().any(|w| is_word(then, w)) {
        return told("write FIELD:* or not FIELD:*");
    }
    match WORDS.iter().find(|(name, _)| is_word(head, name)) {
        Some((name, hint)) if !then.is_empty() || *name == "exists" || next.contains('(') => {
            told(hint)
        }
        _ => Ok(()),
    }
}

/// After a sign of comparison.
pub(super) fn of_comparison(cursor: &Cursor<'_>, sign: &str) -> Result<(), SearchError> {
    let rest = cursor.rest();
    let hint = match rest.chars().next() {
        Some('~') => "write FIELD:/expression/",
        Some('=') => "write one `=`, or `:`",
        Some('>' | '<') if sign == "<" => "write != or `not`",
        Some('>' | '<') => "write >= or <=",
        Some('(') => "write FIELD:(a or b)",
        Some(c) if QUOTES.contains(&c) => {
            return Err(cursor.error(format!("`{c}` quotes nothing"), Some(QUOTE_HINT)));
        }
        _ => return Ok(()),
    };
    let next = rest.chars().next().unwrap_or_default();
    Err(cursor.error(format!("`{sign}{next}` is no comparison"), Some(hint)))
}

/// A value without quotes that begins at `place`.
pub(super) fn of_value(
    cursor: &Cursor<'_>,
    place: usize,
    word: &str,
    field: Option<&str>,
) -> Result<(), SearchError> {
    let told = |message: String, hint: &str| Err(cursor.error_at(place, message, Some(hint)));
    if let Some(c) = word.chars().next().filter(|c| QUOTES.contains(c)) {
        return told(format!("`{c}` quotes nothing"), QUOTE_HINT);
    }
    if field.is_none() {
        return Ok(());
    }
    if word.starts_with('\'') {
        return told("`'` quotes names, not values".into(), "write FIELD:\"two words\"");
    }
    if let Some(values) = word.strip_suffix(',') {
        let hint = format!("{OR_HINT}; if the comma belongs to it, quote it");
        return told(format!("`,` after `{values}` separates nothing"), &hint);
    }
    if is_address_and_slash(word) {
        return told(format!("`{word}` is no network"), &network_hint(word));
    }
    let range = word.split_once('-').and_then(|(a, b)| Some((address(a)?, address(b)?)));
    if range.is_some() {
        let hint = "write networks, 10.0.0.0/28, or several addresses, (10.0.0.1 or 10.0.0.2)";
        return told(format!("`{word}`: ranges of addresses are not known"), hint);
    }
    Ok(())
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// Whether the text is an address, or numbers that could be meant as one, and something after a slash.
pub(super) fn is_address_and_slash(word: &str) -> bool {
    let Some((low, _)) = word.split_once('/') else { return false };
    let parts = low.split('.').count();
    let numbers = low.split('.').all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    address(low).is_some() || numbers && (3..=4).contains(&parts)
}

fn network_hint(word: &str) -> String {
    let (low, length) = word.split_once('/').unwrap_or((word, ""));
    if length.contains(',') || word.contains(';') {
        return OR_HINT.into();
    }
    match address(low) {
        Some(IpAddr::V6(_)) => "write 2001:db8::/32; at most 128 bits".into(),
        Some(IpAddr::V4(_)) if length.contains('.') => {
            "write the number of bits, not the mask: 10.0.0.0/8".into()
        }
        Some(IpAddr::V4(_)) => "write 10.0.0.0/8; at most 32 bits".into(),
        None => "write four numbers up to 255: 10.0.0.0/8; to compare the text, quote it".into(),
    }
}

/// What stands where a query has to end.
pub(super) fn unexpected(cursor: &mut Cursor<'_>) -> SearchError {
    let hint = match cursor.peek() {
        Some(')') => "no group is open: leave it out, or quote it",
        Some(']') => "no list is open: leave it out, or quote it",
        _ => "close or quote it",
    };
    let word = cursor.rest().split(|c: char| c.is_whitespace() || c == '|').next();
    let word = word.unwrap_or_default().chars().take(32).collect::<String>();
    cursor.error(format!("unexpected `{word}`"), Some(hint))
}
