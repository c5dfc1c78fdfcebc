//! ArcSight Common Event Format.

use crate::ParseError;
use std::borrow::Cow;

/// A CEF message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cef<'a> {
    /// What stands before `CEF:` (a syslog header nobody took off), usually empty.
    pub prefix: &'a [u8],
    /// CEF version (`0`, `1`).
    pub version: &'a [u8],
    /// Device vendor.
    pub vendor: Cow<'a, [u8]>,
    /// Device product.
    pub product: Cow<'a, [u8]>,
    /// Device version.
    pub device_version: Cow<'a, [u8]>,
    /// Device event class id (signature id).
    pub class_id: Cow<'a, [u8]>,
    /// Name of the event.
    pub name: Cow<'a, [u8]>,
    /// Severity, `0..=10` or a word.
    pub severity: Cow<'a, [u8]>,
    /// Everything behind the header; see [`Cef::pairs`].
    pub extension: &'a [u8],
    /// What is wrong with the header, if it is cut short.
    pub problem: Option<ParseError>,
}

impl<'a> Cef<'a> {
    /// The extension's pairs in order, escapes resolved.
    pub fn pairs(&self) -> Pairs<'a> {
        Pairs { text: self.extension, at: 0 }
    }
}

/// Iterator of [`Cef::pairs`]: key and value.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], Cow<'a, [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, from) = next_key(self.text, self.at)?;
        let (end, after) = match next_key(self.text, from) {
            Some((next, _)) => {
                let start = next.as_ptr() as usize - self.text.as_ptr() as usize;
                (start, start)
            }
            None => (self.text.len(), self.text.len()),
        };
        self.at = after;
        Some((key, unescape(self.text[from..end].trim_ascii())))
    }
}

/// The next key at or behind `at`, and where its value starts.
fn next_key(text: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let mut from = at;
    loop {
        let equals = from + memchr::memchr(b'=', text.get(from..)?)?;
        let word = text[at..equals].iter().rev().take_while(|c| is_key_byte(**c)).count();
        let start = equals - word;
        let before_ok = start == at || text[start - 1].is_ascii_whitespace();
        if word > 0 && before_ok && text.get(equals.wrapping_sub(1)) != Some(&b'\\') {
            return Some((&text[start..equals], equals + 1));
        }
        from = equals + 1;
    }
}

fn is_key_byte(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-' | b'[' | b']')
}

fn unescape(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while at < value.len() {
        let (byte, used) = match (value[at], value.get(at + 1)) {
            (b'\\', Some(c @ (b'=' | b'|' | b'\\'))) => (*c, 2),
            (b'\\', Some(b'n')) => (b'\n', 2),
            (b'\\', Some(b'r')) => (b'\r', 2),
            (c, _) => (c, 1),
        };
        out.push(byte);
        at += used;
    }
    Cow::Owned(out)
}

/// Reads a CEF message. Errors: `Expected` when there is no `CEF:` followed by a version.
pub fn parse(text: &[u8]) -> Result<Cef<'_>, ParseError> {
    let missing = ParseError::Expected { format: "CEF", at: 0, expected: "CEF: and a version" };
    let start = memchr::memmem::find(text, b"CEF:").ok_or(missing)?;
    let mut body = &text[start + 4..];
    body = body.strip_prefix(b"CEF:").unwrap_or(body);
    let mut parts: [Cow<'_, [u8]>; 7] = Default::default();
    let mut problem = None;
    let mut rest = body;
    for part in &mut parts {
        let mut at = 0;
        while at < rest.len() && rest[at] != b'|' {
            at += 1 + usize::from(rest[at] == b'\\');
        }
        let end = at.min(rest.len());
        *part = unescape(&rest[..end]);
        if end == rest.len() {
            rest = &rest[end..];
            problem.get_or_insert(ParseError::Expected {
                format: "CEF",
                at: text.len(),
                expected: "'|'",
            });
        } else {
            rest = &rest[end + 1..];
        }
    }
    let [_, vendor, product, device_version, class_id, name, severity] = parts;
    let version_len = body.iter().position(|c| *c == b'|').ok_or(missing)?;
    let version = body[..version_len].trim_ascii();
    Ok(Cef {
        prefix: &text[..start],
        version,
        vendor,
        product,
        device_version,
        class_id,
        name,
        severity,
        extension: rest,
        problem,
    })
}

/// Among `pairs`, the label that belongs to custom field `key` (`cs1` -> value of `cs1Label`).
pub fn label_of<'p>(pairs: &'p [(&[u8], Cow<'_, [u8]>)], key: &[u8]) -> Option<&'p [u8]> {
    let found = pairs.iter().find(|(name, _)| {
        name.strip_prefix(key).is_some_and(|tail| tail == b"Label") && name.len() == key.len() + 5
    });
    found.map(|(_, value)| &**value).filter(|label| !label.is_empty())
}
