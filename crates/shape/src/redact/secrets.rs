//! Secrets inside text: what stands behind `password=`, tokens and keys that are known by their
//! form, numbers of payment cards.
//!
//! A value that holds `${`, `$(`, `../`, `<`, a bar or a backtick is an attack more often than a
//! password, and stays: a sender must not hide one from rules by calling it `password`.

use super::effort::{Effort, TooMuch};
use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use regex_automata::Input;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::meta::Regex;
use regex_automata::nfa::thompson;
use regex_automata::util::captures::Captures;
use regex_automata::util::pool::Pool;
use std::ops::Range;
use std::panic::{RefUnwindSafe, UnwindSafe};

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

/// A quote, also escaped as JSON or XML have it.
const QUOTE: &str = r#"(?:\\*["']|\\+u002[27]|&(?:quot|apos|#0*3[49]|#x0*2[27]);)"#;
/// What parts a name from its value, also escaped as CEF and JSON have it.
const IS: &str = r"(?:\\*[:=]|\\+u003[ad])";
/// A word may begin here, also behind the letter of `\n`.
const EDGE: &str = r"(?:(?-u:\b)|\\[nrt])";

/// A value in quotes of any spelling.
fn quoted() -> String {
    let of = |open: &str, inner: &str| format!("{open}({inner}){open}");
    let entity = |names: &str, others: &str| {
        let inner = format!(r#"(?:[^<>"'&]|&(?:amp|lt|gt|{others});)+?"#);
        of(&format!("&(?:{names});"), &inner)
    };
    [
        of("\"", r#"(?:[^"\\]|\\.)+"#),
        of("'", r"(?:[^'\\]|\\.)+"),
        of(r#"\\+""#, r#"[^"\\]+"#),
        of(r"\\+'", r"[^'\\]+"),
        of(r"\\+u002[27]", r#"[^"\\]+"#),
        entity("quot|#0*34|#x0*22", "apos"),
        entity("apos|#0*39|#x0*27", "quot"),
    ]
    .join("|")
}

fn expressions(kind: Kind) -> Vec<String> {
    let (names, quoted) = (NAMES, quoted());
    match kind {
        Kind::Passwords => vec![
            // JSON; the same as a string within a string; other quotes, none, and one that nothing ends; options; XML.
            format!(r#"(?i){names}"\s*:\s*"((?:[^"\\]|\\.)+)""#),
            format!(r#"(?i){names}\\+"\s*:\s*\\+"([^"\\]+)"#),
            format!(
                r#"(?i){names}{QUOTE}?\s*{IS}\s*(?:{quoted}|{QUOTE}?([^\s"'\\&;,<>()\[\]{{}}|]+))"#
            ),
            format!(r#"(?i)--?{names}\s+(?:{quoted}|{QUOTE}?([^\s"'\\&;,<>|-][^\s"'\\&;,<>|]*))"#),
            format!(
                r"(?i)(?:<|&lt;|\\+u003c)(?:\w+:)?{names}(?:>|&gt;|\\+u003e)([^<]+?)(?:<|&lt;|\\+u003c)\\*/"
            ),
        ],
        Kind::Tokens => vec![
            format!(
                r#"(?i)authorization{QUOTE}?\s*{IS}\s*{QUOTE}?(?:basic|bearer|digest|negotiate|ntlm|token|apikey)\s+([^\s"'\\,;<>&]{{8,}})"#
            ),
            format!(r"(?i){EDGE}bearer\s+([a-z0-9._~+/=-]{{16,}})"),
            format!(r"{EDGE}(eyJ[A-Za-z0-9_-]{{8,}}\.[A-Za-z0-9_-]{{8,}}\.[A-Za-z0-9_-]*)"),
            format!(
                r"{EDGE}(gh[pousr]_[A-Za-z0-9]{{36,}}|github_pat_[A-Za-z0-9_]{{22,}}|glpat-[A-Za-z0-9_-]{{20,}})"
            ),
            format!(r"{EDGE}(xox[abeoprs]-[A-Za-z0-9-]{{10,}})"),
            format!(r"{EDGE}(alc_[a-z]+_[A-Za-z0-9_]{{20,}})"),
            format!(
                r#"{EDGE}[A-Za-z][A-Za-z0-9+.-]{{1,20}}:\\*/\\*/[^\s/:@"'\\]*:([^\s/@"'\\]+)@"#
            ),
        ],
        Kind::Keys => vec![
            format!(r"{EDGE}((?:AKIA|ASIA)[A-Z0-9]{{16}})(?-u:\b)"),
            format!(r"{EDGE}(AIza[A-Za-z0-9_-]{{35}})"),
            format!(r"{EDGE}([rs]k_live_[A-Za-z0-9]{{16,}})"),
            r"(?i)AccountKey\\*=([A-Za-z0-9+/=]{40,})".to_owned(),
            r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----([A-Za-z0-9+/=\s\\]{16,})".to_owned(),
        ],
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

/// A secret in a text.
#[derive(Clone, Debug)]
pub(super) struct Secret {
    pub(super) range: Range<usize>,
    /// Where what tells it from other text begins: the name in front of it.
    pub(super) lead: usize,
}

/// Where looking through a text stopped: what lies before was looked through, what lies behind was not.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) at: usize,
}

impl From<Stopped> for TooMuch {
    fn from(_: Stopped) -> Self {
        Self
    }
}

/// Most bytes that expressions may become, and those that a worker remembers of searches with them.
const NFA_BYTES_MAX: usize = 16 << 20;
const CACHE_BYTES: usize = 4 << 20;

/// What to look for in text.
pub(crate) struct Finder {
    regex: Option<Regex>,
    /// Tells what a search has cost.
    reach: Option<Reach>,
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
                        .nfa_size_limit(Some(NFA_BYTES_MAX))
                        .hybrid_cache_capacity(CACHE_BYTES),
                )
                .syntax(syntax())
                .build_many(all)
                .map_err(|e| e.syntax_error().map_or_else(|| e.to_string(), ToString::to_string))
        };
        let names = kinds.contains(&Kind::Passwords);
        let regex = (!all.is_empty()).then(|| build(&all)).transpose()?;
        Ok(Self {
            reach: regex.is_some().then(|| Reach::of(&all)).transpose()?,
            regex,
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

    /// Where secrets stand in `text`, in order, without overlaps of what expressions find.
    ///
    /// # Errors
    /// It takes longer than one row may ask for. What was found up to there is in `out`.
    pub(super) fn all(
        &self,
        text: &[u8],
        effort: &mut Effort,
        out: &mut Vec<Secret>,
    ) -> Result<(), Stopped> {
        let before = out.len();
        if self.cards {
            cards(text, out);
        }
        let looked = self.expressions(text, effort, out);
        out[before..].sort_by_key(|secret| secret.range.start);
        looked
    }

    fn expressions(
        &self,
        text: &[u8],
        effort: &mut Effort,
        out: &mut Vec<Secret>,
    ) -> Result<(), Stopped> {
        let (Some(regex), Some(reach)) = (&self.regex, &self.reach) else { return Ok(()) };
        if !regex.is_match(text) {
            return Ok(());
        }
        let mut caps = regex.create_captures();
        let mut at = 0;
        while at <= text.len() {
            let near = text.len().min(at.saturating_add(NEAR_BYTES));
            regex.search_captures(&input(text, at..near), &mut caps);
            let mut searched = reach.bytes(input(text, at..near));
            // One that ends where the near text does may go on, and one that ends behind it is not seen.
            if near < text.len() && caps.get_match().is_none_or(|found| found.end() == near) {
                regex.search_captures(&input(text, at..text.len()), &mut caps);
                searched += reach.bytes(input(text, at..text.len()));
            }
            let Some(whole) = caps.get_match() else { break };
            let range = last_group(&caps).unwrap_or(whole.range());
            at = range.end.max(whole.start() + 1);
            let is_payload = is_attack(&text[range.clone()]) || begins_attack(text, &range);
            if !range.is_empty() && !is_payload && !is_between_values(&text[range.clone()]) {
                out.push(Secret { range, lead: whole.start() });
            }
            effort.search_on(searched).map_err(|TooMuch| Stopped { at: at.min(text.len()) })?;
        }
        Ok(())
    }
}

/// How far searches look: which secret is next may be known only long behind it, and nothing else tells what a
/// search has cost.
struct Reach {
    dfa: DFA,
    caches: Pool<Cache, NewCache>,
}

type NewCache = Box<dyn Fn() -> Cache + Send + Sync + UnwindSafe + RefUnwindSafe>;

impl Reach {
    fn of(expressions: &[String]) -> Result<Self, String> {
        let dfa = DFA::builder()
            .configure(
                DFA::config()
                    .cache_capacity(CACHE_BYTES)
                    .skip_cache_capacity_check(true)
                    .unicode_word_boundary(true),
            )
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(NFA_BYTES_MAX)))
            .syntax(syntax())
            .build_many(expressions)
            .map_err(|e| e.to_string())?;
        let of = dfa.clone();
        Ok(Self { dfa, caches: Pool::new(Box::new(move || of.create_cache())) })
    }

    /// The bytes at the input's start after which a search there knows what it finds: all, if it finds nothing.
    fn bytes(&self, input: Input<'_>) -> usize {
        let all = input.get_span().len();
        let mut cache = self.caches.get();
        let Ok(mut state) = self.dfa.start_state_forward(&mut cache, &input) else {
            return all * SLOW;
        };
        for (at, byte) in input.haystack()[input.get_range()].iter().enumerate() {
            state = match self.dfa.next_state(&mut cache, state, *byte) {
                Ok(state) if state.is_dead() => return at + 1,
                Ok(state) if !state.is_quit() => state,
                _ => return all * SLOW,
            };
        }
        all
    }
}

/// What a search costs, times so many, where no automaton does it: expressions of one's own that ask for the edge of a
/// word in any script.
const SLOW: usize = 16;

fn syntax() -> regex_automata::util::syntax::Config {
    regex_automata::util::syntax::Config::new().utf8(false)
}

/// Whether a text is what stands between two values of JSON: the quote in front of it ended a text, and the one
/// behind it begins the next.
fn is_between_values(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    matches!(text.first(), Some(b',' | b':' | b'}' | b']'))
        && matches!(text.last(), Some(b',' | b':' | b'{' | b'['))
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

fn input(text: &[u8], span: Range<usize>) -> Input<'_> {
    Input::new(text).span(span)
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
fn cards(text: &[u8], out: &mut Vec<Secret>) {
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
            out.push(Secret { range: start..end, lead: start });
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
        out.into_iter().map(|secret| &text[secret.range]).collect()
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
            (r#"PASSWORD = \"two words\" x"#, &["two words"]),
            (r#"--password "two words" --token x"#, &["two words", "x"]),
            (r#"password="hun\"ter2" x"#, &[r#"hun\"ter2"#]),
            ("password=&quot;hun&amp;ter2&quot; x", &["hun&amp;ter2"]),
            ("token=&quot;&quot; x=&quot;y&quot;", &[]),
            (r#"{"m":"password:","token":"","x":"y"}"#, &[]),
            (r"pwd\=hunter2 pwd\u003dhunter3", &["hunter2", "hunter3"]),
            ("&lt;Password&gt;hunter2&lt;/Password&gt;", &["hunter2"]),
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

    /// Guarantees: a search costs what it looks at: to the end of the word for words, to the end of the text where
    /// only that tells what comes first.
    #[test]
    fn searches_cost_what_they_look_at() {
        let finder = Finder::new(&[Kind::Passwords, Kind::Tokens, Kind::Keys], &[]).unwrap();
        let reach = finder.reach.as_ref().unwrap();
        let words = "\u{e9} password=hunter2&x=1 ".repeat(300);
        let bytes = reach.bytes(input(words.as_bytes(), 0..words.len()));
        assert!((20..40).contains(&bytes), "{bytes}");
        let keys = "eyJ-AKIA0123456789ABCDEF-".repeat(300);
        assert_eq!(reach.bytes(input(keys.as_bytes(), 0..keys.len())), keys.len());
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
