//! `key=value` text: firewalls, logfmt, and whatever resembles them.
//!
//! ```text
//! date=2024-03-05 devname="FG 100" msg="said \"no\"" word dup=1 dup=2
//!   -> (date, 2024-03-05) (devname, FG 100) (msg, said "no") (dup, 1) (dup, 2)
//! ```

use std::borrow::Cow;

/// How pairs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvOptions {
    /// Stands between pairs; a blank also stands for tabs and runs of blanks.
    pub pair_separator: u8,
    /// Stands between key and value.
    pub value_separator: u8,
}

impl Default for KvOptions {
    fn default() -> Self {
        Self { pair_separator: b' ', value_separator: b'=' }
    }
}

/// The pairs of `text` in order.
///
/// Out: key and value; quotes around a value are removed, a backslash in front of a quote or a
/// backslash inside quotes too (only then the value is a copy). Words without separator are passed
/// over. A quote that never closes is dropped and its value is bare.
pub fn pairs<'a>(text: &'a [u8], options: &KvOptions) -> Pairs<'a> {
    Pairs { text, at: 0, options: *options }
}

/// Fewest pairs that tell what stands between them.
const GUESS_PAIRS_MIN: usize = 3;
/// Most bytes of a text that are looked at.
const GUESS_BYTES_MAX: usize = 4_096;

/// How the pairs of a text of no known product are written: with `|`, `;`, `,` or tabs between them
/// if every piece between those is one pair, else with blanks.
pub fn guess(text: &[u8]) -> KvOptions {
    let text = &text[..text.len().min(GUESS_BYTES_MAX)];
    let separators = [b'|', b';', b',', b'\t'];
    let found =
        separators.into_iter().find(|c| memchr::memchr(*c, text).is_some() && are_pairs(text, *c));
    KvOptions { pair_separator: found.unwrap_or(b' '), ..KvOptions::default() }
}

fn are_pairs(text: &[u8], separator: u8) -> bool {
    let mut in_quotes = false;
    let between = |c: &u8| {
        in_quotes ^= *c == b'"';
        *c == separator && !in_quotes
    };
    let parts = text.split(between).map(<[u8]>::trim_ascii).filter(|part| !part.is_empty());
    let mut count = 0;
    for part in parts {
        if !is_one_pair(part) {
            return false;
        }
        count += 1;
    }
    count >= GUESS_PAIRS_MIN
}

/// Whether a text is one pair, not several with blanks between.
fn is_one_pair(part: &[u8]) -> bool {
    let is_key = |key: &[u8]| {
        !key.is_empty() && key.iter().all(|c| c.is_ascii_alphanumeric() || b"_-.".contains(c))
    };
    let mut pieces = part.split(|c| *c == b'=');
    let Some(mut before) = pieces.next().filter(|key| is_key(key)) else { return false };
    let mut pairs = 0;
    for piece in pieces {
        let key = before.iter().rposition(|c| *c == b' ').map_or(before, |at| &before[at + 1..]);
        pairs += usize::from((pairs == 0 || key.len() < before.len()) && is_key(key));
        before = piece;
    }
    pairs == 1
}

/// Iterator of [`pairs`].
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    text: &'a [u8],
    at: usize,
    options: KvOptions,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], Cow<'a, [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.text.len() {
            if self.is_separator(self.text[self.at]) {
                self.at += 1;
                continue;
            }
            let from = self.at;
            let Some(key) = self.key() else { continue };
            debug_assert!(self.at > from);
            return Some((key, self.value()));
        }
        None
    }
}

impl<'a> Pairs<'a> {
    fn is_separator(&self, c: u8) -> bool {
        c == self.options.pair_separator
            || (self.options.pair_separator == b' ' && matches!(c, b'\t' | b'\r' | b'\n'))
    }

    /// The word up to the value separator; `None` when a pair separator comes first (moves past it).
    fn key(&mut self) -> Option<&'a [u8]> {
        let rest = &self.text[self.at..];
        let stop = |c: &u8| *c == self.options.value_separator || self.is_separator(*c);
        let len = rest.iter().position(stop).unwrap_or(rest.len());
        let found = rest.get(len) == Some(&self.options.value_separator);
        self.at += len + 1;
        let key = unquote(rest[..len].trim_ascii());
        (found && !key.is_empty()).then_some(key)
    }

    fn value(&mut self) -> Cow<'a, [u8]> {
        if self.options.pair_separator != b' ' {
            // "key: value, key: value": the blank belongs to neither.
            let rest = self.text.get(self.at..).unwrap_or(&[]);
            self.at += rest.iter().take_while(|c| **c == b' ').count();
        }
        let rest = self.text.get(self.at..).unwrap_or(&[]);
        if let Some(quote @ (b'"' | b'\'')) = rest.first().copied()
            && let Some((value, used)) = quoted(rest, quote)
        {
            self.at += used;
            return value;
        }
        let len = rest.iter().position(|c| self.is_separator(*c)).unwrap_or(rest.len());
        self.at += len + 1;
        let value = rest[..len].trim_ascii();
        // A quote that nothing closes is noise in front of a bare value.
        Cow::Borrowed(value.strip_prefix(b"\"").unwrap_or(value))
    }
}

fn unquote(key: &[u8]) -> &[u8] {
    match key {
        [b'"', inner @ .., b'"'] => inner,
        key => key,
    }
}

/// A quoted value at the start of `text`: its content and the bytes it takes with its quotes.
fn quoted(text: &[u8], quote: u8) -> Option<(Cow<'_, [u8]>, usize)> {
    let mut at = 1;
    let mut escaped = false;
    loop {
        match text.get(at)? {
            b'\\' if matches!(text.get(at + 1), Some(b'"' | b'\'' | b'\\')) => {
                escaped = true;
                at += 2;
            }
            c if *c == quote => break,
            _ => at += 1,
        }
    }
    let body = &text[1..at];
    if !escaped {
        return Some((Cow::Borrowed(body), at + 1));
    }
    let mut out = Vec::with_capacity(body.len());
    let mut i = 0;
    while i < body.len() {
        if body[i] == b'\\' && matches!(body.get(i + 1), Some(b'"' | b'\'' | b'\\')) {
            i += 1;
        }
        out.push(body[i]);
        i += 1;
    }
    Some((Cow::Owned(out), at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_pairs() {
        let separator = |text: &str| guess(text.as_bytes()).pair_separator;
        for (text, want) in [
            ("a=1|b=2|c=x y", b'|'),
            ("a=1, b=two words, c=3,", b','),
            ("a=1; b=\"x; y\"; c=http://h/?q=1", b';'),
            ("a=1\tb=x y\tc=3", b'\t'),
            ("a=1 b=2 c=3", b' '),
            ("a=1,2 b=3,4 c=5,6", b' '),
            ("a=1 b=2,c=3 d=4,e=5 f=6", b' '),
            ("a=1,b=2", b' '),
            ("", b' '),
            ("=,=,=", b' '),
            ("\",a=1,b=2,c=3", b' '),
        ] {
            assert_eq!(separator(text) as char, want as char, "{text}");
        }
    }

    fn shown(text: &str, pair_separator: u8, value_separator: u8) -> Vec<String> {
        let options = KvOptions { pair_separator, value_separator };
        let text_of = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        pairs(text.as_bytes(), &options)
            .map(|(k, v)| format!("{}={}", text_of(k), text_of(&v)))
            .collect()
    }

    #[test]
    fn spellings() {
        for (text, pair, value, want) in [
            ("a=1  b=\"x y\" c='z' d=", b' ', b'=', &["a=1", "b=x y", "c=z", "d="][..]),
            ("m=\"said \\\"no\\\"\" n=C:\\dir", b' ', b'=', &["m=said \"no\"", "n=C:\\dir"]),
            ("word a=1 word b=\"x\"tail c=3", b' ', b'=', &["a=1", "b=x", "c=3"]),
            ("a=\"open b=2", b' ', b'=', &["a=open", "b=2"]),
            ("url=/x?y=z dup=1 dup=2", b' ', b'=', &["url=/x?y=z", "dup=1", "dup=2"]),
            (
                "Device IP Address=10.0.0.1, Step=1, Step=2",
                b',',
                b'=',
                &["Device IP Address=10.0.0.1", "Step=1", "Step=2"],
            ),
            ("a: 1; b: \"x; y\"", b';', b':', &["a=1", "b=x; y"]),
            ("\"k\"=v =x", b' ', b'=', &["k=v"]),
        ] {
            assert_eq!(shown(text, pair, value), want, "{text}");
        }
    }

    #[test]
    fn plain_values_are_pieces_of_the_text() {
        let all: Vec<_> = pairs(b"a=1 b=\"x y\"", &KvOptions::default()).collect();
        assert!(all.iter().all(|(_, v)| matches!(v, Cow::Borrowed(_))));
    }
}
