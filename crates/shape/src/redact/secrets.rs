//! Secrets inside text: what stands behind `password=`, tokens and keys that are known by their
//! form, numbers of payment cards.
//!
//! A value that holds `${`, `$(`, `../`, `<`, a bar or a backtick is an attack more often than a
//! password, and stays: a sender must not hide one from rules by calling it `password`.

use super::effort::{Effort, TooMuch};
use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures;
use std::ops::Range;

/// Kinds of secrets, by the names that settings give them.
pub(crate) const KINDS: &[(&str, Kind)] = &[
    ("passwords", Kind::Passwords),
    ("tokens", Kind::Tokens),
    ("keys", Kind::Keys),
    ("cards", Kind::Cards),
];

/// A kind of secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What stands behind a name such as `password`, `client_secret` or `api_key`.
    Passwords,
    /// `Authorization`, bearer and session tokens, JWT, tokens of GitHub and Slack, passwords in
    /// URLs.
    Tokens,
    /// Keys of clouds and private keys.
    Keys,
    /// Numbers of payment cards.
    Cards,
}

/// Names behind which a secret stands, as one alternative of an expression.
const NAMES: &str = "(?:pass(?:word|wd|phrase|code)|pwd|(?:client|api|app|shared|consumer)?[_-]?secret|\
    (?:secret|private|api|access|account|auth|shared)[_-]?(?:access[_-]?)?key|\
    (?:access|auth|refresh|session|id|api|bearer|csrf|xsrf|sas)?[_-]?token|credentials?|passwort|mot[_-]de[_-]passe)";

fn expressions(kind: Kind) -> Vec<String> {
    let names = NAMES;
    match kind {
        Kind::Passwords => vec![
            // JSON; the same as a string within a string; other quotes and none; options; XML.
            format!(r#"(?i){names}"\s*:\s*"((?:[^"\\]|\\.)+)""#),
            format!(r#"(?i){names}\\+"\s*:\s*\\+"([^"\\]+)"#),
            format!(r#"(?i){names}['"]?\s*[:=]\s*(?:"([^"\\]+)"|'([^'\\]+)'|([^\s"'\\&;,<>()\[\]{{}}|]+))"#),
            format!(r#"(?i)--?{names}\s+([^\s"'\\&;,<>|-][^\s"'\\&;,<>|]*)"#),
            format!(r"(?i)<(?:\w+:)?{names}>([^<]+)</"),
        ],
        Kind::Tokens => [
            r#"(?i)authorization\\*["']?\s*[:=]\s*\\*["']?(?:basic|bearer|digest|negotiate|ntlm|token|apikey)\s+([^\s"'\\,;]{8,})"#,
            r"(?i)\bbearer\s+([a-z0-9._~+/=-]{16,})",
            r"\b(eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)",
            r"\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}|glpat-[A-Za-z0-9_-]{20,})",
            r"\b(xox[abeoprs]-[A-Za-z0-9-]{10,})",
            r"\b(alc_[a-z]+_[A-Za-z0-9_]{20,})",
            r#"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@"'\\]*:([^\s/@"'\\]+)@"#,
        ]
        .map(str::to_owned)
        .to_vec(),
        Kind::Keys => [
            r"\b((?:AKIA|ASIA)[A-Z0-9]{16})\b",
            r"\b(AIza[A-Za-z0-9_-]{35})",
            r"\b([rs]k_live_[A-Za-z0-9]{16,})",
            r"(?i)AccountKey=([A-Za-z0-9+/=]{40,})",
            r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----([A-Za-z0-9+/=\s\\]{16,})",
        ]
        .map(str::to_owned)
        .to_vec(),
        Kind::Cards => Vec::new(),
    }
}

/// The next secret is looked for in so many bytes first: which is next may be known at the end of a text only, and
/// that is asked for once only where many are near each other. Of a secret that is longer and holds others, these
/// are taken.
const NEAR_BYTES: usize = 8 << 10;

/// Lengths of values that are tried as base64: fewer bytes hold no name with a secret behind it, more are
/// files.
const CODED_BYTES: std::ops::RangeInclusive<usize> = 16..=16_384;

/// Base64 of either alphabet, with its padding or without.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// What to look for in text.
pub(crate) struct Finder {
    regex: Option<Regex>,
    cards: bool,
    /// Whether fields with such names are secrets as they are.
    pub(crate) names: Option<Regex>,
}

impl Finder {
    /// For kinds of secrets and expressions of one's own, of which the last group that takes part,
    /// or the whole, is the secret.
    ///
    /// # Errors
    /// What is wrong with an expression.
    pub(crate) fn new(kinds: &[Kind], own: &[String]) -> Result<Self, String> {
        let mut all: Vec<String> = kinds.iter().flat_map(|kind| expressions(*kind)).collect();
        all.extend_from_slice(own);
        let build = |all: &[String]| {
            Regex::builder()
                .configure(
                    Regex::config()
                        .utf8_empty(false)
                        .nfa_size_limit(Some(16 << 20))
                        .hybrid_cache_capacity(4 << 20),
                )
                .syntax(regex_automata::util::syntax::Config::new().utf8(false))
                .build_many(all)
                .map_err(|e| e.syntax_error().map_or_else(|| e.to_string(), ToString::to_string))
        };
        let names = kinds.contains(&Kind::Passwords);
        Ok(Self {
            regex: (!all.is_empty()).then(|| build(&all)).transpose()?,
            cards: kinds.contains(&Kind::Cards),
            names: names.then(|| build(&[format!(r"(?i)(?:^|[._-])\w*{NAMES}$")])).transpose()?,
        })
    }

    /// Whether `value` is base64 of text that holds a secret. `buffer` is for the decoded text.
    pub(super) fn holds_coded(
        &self,
        value: &[u8],
        effort: &mut Effort,
        buffer: &mut Vec<u8>,
    ) -> bool {
        buffer.clear();
        let is_code =
            |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'-' | b'_' | b'=');
        if !CODED_BYTES.contains(&value.len()) || !value.iter().all(is_code) {
            return false;
        }
        let is_url = value.iter().any(|c| matches!(c, b'-' | b'_'));
        let engine = if is_url { &BASE64_URL } else { &BASE64 };
        if engine.decode_vec(value, buffer).is_err() || !is_text(buffer) || is_attack(buffer) {
            return false;
        }
        let mut spans = Vec::new();
        // What cannot be looked through may hold one.
        self.all(buffer, effort, &mut spans).is_err() || !spans.is_empty()
    }

    /// Where secrets stand in `text`, in order, without overlaps.
    ///
    /// # Errors
    /// It takes longer than one row may ask for. What was found is in `out`.
    pub(super) fn all(
        &self,
        text: &[u8],
        effort: &mut Effort,
        out: &mut Vec<Range<usize>>,
    ) -> Result<(), TooMuch> {
        let before = out.len();
        if let Some(regex) = &self.regex
            && regex.is_match(text)
        {
            let mut caps = regex.create_captures();
            let mut at = 0;
            while at <= text.len() {
                let near = text.len().min(at.saturating_add(NEAR_BYTES));
                regex.search_captures(&input(text, at..near), &mut caps);
                let mut searched = near - at;
                // One that ends where the near text does may go on, and one that ends behind it is not seen.
                if near < text.len() && caps.get_match().is_none_or(|found| found.end() == near) {
                    searched += text.len() - at;
                    regex.search_captures(&input(text, at..text.len()), &mut caps);
                }
                let Some(whole) = caps.get_match() else { break };
                let secret = last_group(&caps).unwrap_or(whole.range());
                at = secret.end.max(whole.start() + 1);
                let is_payload = is_attack(&text[secret.clone()]) || begins_attack(text, &secret);
                if !secret.is_empty() && !is_payload {
                    out.push(secret);
                }
                effort.search_on(searched)?;
            }
        }
        if self.cards {
            cards(text, out);
            out[before..].sort_by_key(|range| range.start);
        }
        Ok(())
    }
}

/// Whether decoded bytes are text: words of the alphabet of base64 decode to bytes that are none.
fn is_text(bytes: &[u8]) -> bool {
    let is_control = |c: &u8| c.is_ascii_control() && !matches!(c, b'\t' | b'\n' | b'\r');
    std::str::from_utf8(bytes).is_ok() && !bytes.iter().any(is_control)
}

/// Whether a secret is the beginning of `${..}` or `$(..)`, where expressions for bare values stop.
fn begins_attack(text: &[u8], secret: &Range<usize>) -> bool {
    text[secret.clone()].ends_with(b"$") && matches!(text.get(secret.end), Some(b'{' | b'('))
}

fn input(text: &[u8], span: Range<usize>) -> regex_automata::Input<'_> {
    regex_automata::Input::new(text).span(span)
}

fn last_group(caps: &Captures) -> Option<Range<usize>> {
    (1..caps.group_len()).rev().find_map(|group| caps.get_group(group)).map(|span| span.range())
}

/// See the head of this file.
pub(crate) fn is_attack(value: &[u8]) -> bool {
    let has = |piece: &[u8]| memchr::memmem::find(value, piece).is_some();
    memchr::memchr3(b'<', b'|', b'`', value).is_some()
        || has(b"${")
        || has(b"$(")
        || has(b"../")
        || has(b"..\\")
}

/// Shortest and longest number of a card.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// Numbers of payment cards: digits, with blanks or dashes between groups of them, that begin as an
/// issuer's do and whose last digit checks the others.
fn cards(text: &[u8], out: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while let Some(skip) = text.get(at..).and_then(|t| t.iter().position(u8::is_ascii_digit)) {
        let start = at + skip;
        let (mut end, mut digits, mut count) = (start, [0_u8; 20], 0);
        let mut separator = None;
        while let Some(&byte) = text.get(end) {
            if byte.is_ascii_digit() {
                if let Some(place) = digits.get_mut(count) {
                    *place = byte - b'0';
                }
                count += 1;
                end += 1;
            } else if matches!(byte, b' ' | b'-')
                && separator.is_none_or(|known| known == byte)
                && text.get(end + 1).is_some_and(u8::is_ascii_digit)
            {
                separator = Some(byte);
                end += 1;
            } else {
                break;
            }
        }
        let is_alone = start.checked_sub(1).is_none_or(|b| !is_number_part(text[b]))
            && text.get(end).is_none_or(|b| !b.is_ascii_alphanumeric());
        if is_alone && CARD_DIGITS.contains(&count) && is_card(&digits[..count]) {
            out.push(start..end);
        }
        at = end;
    }
}

fn is_number_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

fn is_card(digits: &[u8]) -> bool {
    let first = digits[..4].iter().fold(0_u32, |n, d| n * 10 + u32::from(*d));
    let is_issued = matches!(
        (first, digits.len()),
        (4000..=4999, 13 | 16 | 19)
            | (5100..=5599 | 2221..=2720 | 6011 | 6440..=6599 | 3528..=3589, 16)
            | (3400..=3499 | 3700..=3799, 15)
            | (3000..=3059 | 3600..=3699 | 3800..=3999, 14)
            | (6200..=6299, 16..=19)
    );
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, u32::from(*digit) * 2) {
            (0, _) => u32::from(*digit),
            (_, double) => double / 10 + double % 10,
        })
        .sum();
    is_issued && sum.is_multiple_of(10) && digits.iter().any(|d| *d != digits[0])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn found(kind: Kind, text: &str) -> Vec<&str> {
        let mut out = Vec::new();
        let finder = Finder::new(&[kind], &[]).unwrap();
        finder.all(text.as_bytes(), &mut Effort::of(text.len()), &mut out).unwrap();
        out.into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn passwords_are_found_by_the_names_in_front_of_them() {
        for (text, wanted) in [
            ("GET /login?user=a&password=hunter2&x=1", &["hunter2"][..]),
            (r#"{"db_password":"hun\"ter2","n":1}"#, &[r#"hun\"ter2"#]),
            (r#"{"m":"{\"clientSecret\":\"hunter2\"}"}"#, &["hunter2"]),
            (
                "mysql --password hunter2 -h db; PGPASSWORD='two words' psql",
                &["hunter2", "two words"],
            ),
            ("<wsse:Password>hunter2</wsse:Password>", &["hunter2"]),
            ("api_key: abc123, secret=x", &["abc123", "x"]),
            ("accessToken=a.b-c", &["a.b-c"]),
            // What only speaks of passwords, and attacks.
            ("Failed password for root from 10.0.0.1 port 22 ssh2", &[]),
            ("sudo: 3 incorrect password attempts", &[]),
            ("PasswordLastSet: 1/2/2026 TokenElevationType=%%1936 token_type=x", &[]),
            ("/?password=${jndi:ldap://x}&token=../../etc/passwd", &[]),
            ("", &[]),
        ] {
            assert_eq!(found(Kind::Passwords, text), wanted, "{text}");
        }
    }

    #[test]
    fn tokens_and_keys_are_found_by_their_form() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl";
        for (kind, text, wanted) in [
            (Kind::Tokens, "Authorization: Basic YWxpY2U6aHVudGVyMg==", "YWxpY2U6aHVudGVyMg=="),
            (Kind::Tokens, r#"{"authorization":"Bearer 0123456789abcdef"}"#, "0123456789abcdef"),
            (Kind::Tokens, &format!("cookie {jwt};"), jwt),
            (Kind::Tokens, "git clone https://bob:hunter2@git.example/x", "hunter2"),
            (Kind::Tokens, "xoxb-0123456789-abc", "xoxb-0123456789-abc"),
            (Kind::Keys, "id AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE"),
            (
                Kind::Keys,
                "-----BEGIN RSA PRIVATE KEY-----MIIEowIBAAKCAQEA-----END",
                "MIIEowIBAAKCAQEA",
            ),
        ] {
            assert_eq!(found(kind, text), [wanted], "{text}");
        }
        for text in
            ["basic authentication failed", "bearer token missing", "https://a.example:8443/x"]
        {
            assert!(found(Kind::Tokens, text).is_empty(), "{text}");
        }
    }

    #[test]
    fn cards_are_numbers_that_check() {
        for (text, wanted) in [
            ("pan=4111111111111111;", &["4111111111111111"][..]),
            (
                "4111 1111 1111 1111 and 3782-822463-10005",
                &["4111 1111 1111 1111", "3782-822463-10005"],
            ),
            // A digit off, a time in ns, a serial number, one digit repeated, part of a longer one.
            ("4111111111111112 1795478400000000000 A4111111111111111 4444444444444444", &[]),
            ("41111111111111110000 1.4111111111111111", &[]),
        ] {
            assert_eq!(found(Kind::Cards, text), wanted, "{text}");
        }
    }

    /// Scenario: keys in a text which up to its end could be one token, so that each is known at the end only; an
    /// own expression that looks far ahead; thousands of secrets.
    /// Guarantees: searching ends soon, even unoptimised: with the word that it is too much, or with all secrets.
    #[test]
    fn searching_ends_when_it_is_too_much() {
        let all = [Kind::Passwords, Kind::Tokens, Kind::Keys, Kind::Cards];
        for (kinds, own, text) in [
            (&all[..], "", "eyJ-AKIA0123456789ABCDEF-".repeat(1 << 15)),
            (&[], "a[^z]*z|a", "ab".repeat(1 << 18)),
            (&all, "", "password=hunter2&".repeat(1 << 13)),
        ] {
            let own: Vec<String> =
                Some(own.to_owned()).filter(|o| !o.is_empty()).into_iter().collect();
            let finder = Finder::new(kinds, &own).unwrap();
            let (mut effort, mut out) = (Effort::of(text.len()), Vec::new());
            let began = std::time::Instant::now();
            let looked = finder.all(text.as_bytes(), &mut effort, &mut out);
            let are_near = text.starts_with("password");
            assert_eq!(looked.is_ok(), are_near, "{own:?}: {}", out.len());
            assert!(!are_near || out.len() == 1 << 13, "{own:?}: {}", out.len());
            assert!(began.elapsed().as_secs() < 20, "{own:?}: {:?}", began.elapsed());
        }
    }

    #[test]
    fn names_of_fields_that_are_secrets() {
        let finder = Finder::new(&[Kind::Passwords], &[]).unwrap();
        let names = finder.names.unwrap();
        for (name, is_one) in [
            ("password", true),
            ("acme.db_password", true),
            ("aws.requestParameters.masterUserPassword", true),
            ("url.query", false),
            ("password.changed", false),
            ("tokens.count", false),
        ] {
            assert_eq!(names.is_match(name), is_one, "{name}");
        }
    }
}
