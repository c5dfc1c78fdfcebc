//! ArcSight Common Event Format.
//!
//! ```text
//! CEF:0|vendor|product|version|class id|name|severity|key=value with blanks key2=value
//!        `|` and `\` escaped by `\` in the header, `=` and `\` in the values, `\n` is a line end
//! ```
//!
//! Products do not escape as they should: a value ends where a blank, a word and `=` follow, so an
//! unescaped `=` inside a URL or a distinguished name stays in its value.
//! Source: ArcSight CEF implementation standard, rev. 26.

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

/// `key=value with blanks key2=value`: the pairs of an extension that stands alone.
pub fn pairs(text: &[u8]) -> Pairs<'_> {
    Pairs { text, at: 0 }
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
        let before_ok = start == 0 || text[start - 1].is_ascii_whitespace();
        if word > 0 && before_ok {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(cef: &Cef<'_>) -> Vec<String> {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        cef.pairs().map(|(k, v)| format!("{}={}", text(k), text(&v))).collect()
    }

    #[test]
    fn header_and_values_with_their_escapes() {
        let line = br"CEF: 0|Sec\|urity|threat\\manager|1.0|100|worm stopped|10|src=10.0.0.1 msg=a \= b\nc cs1Label=Rule name cs1=x y=z request=https://h/?a=b&c=d dn=CN=bob,OU=x spt=1232 ";
        let cef = parse(line).unwrap();
        assert_eq!(
            (cef.version, &*cef.vendor, &*cef.product),
            (&b"0"[..], &b"Sec|urity"[..], &br"threat\manager"[..])
        );
        assert_eq!(
            (&*cef.name, &*cef.severity, cef.problem),
            (&b"worm stopped"[..], &b"10"[..], None)
        );
        let want = [
            "src=10.0.0.1",
            "msg=a = b\nc",
            "cs1Label=Rule name",
            "cs1=x",
            "y=z",
            "request=https://h/?a=b&c=d",
            "dn=CN=bob,OU=x",
            "spt=1232",
        ];
        assert_eq!(shown(&cef), want);
        let pairs: Vec<_> = cef.pairs().collect();
        assert_eq!(label_of(&pairs, b"cs1"), Some(&b"Rule name"[..]));
        assert_eq!(label_of(&pairs, b"cs"), None);
    }

    #[test]
    fn doubled_prefix_short_header_and_none_at_all() {
        let f5 = parse(b"x CEF:CEF:0|F5|ASM|1|2|3|4|a=b").unwrap();
        assert_eq!((f5.prefix, f5.version, &*f5.vendor), (&b"x "[..], &b"0"[..], &b"F5"[..]));
        let short = parse(b"CEF:0|V|P|1").unwrap();
        assert_eq!((&*short.product, short.problem.is_some()), (&b"P"[..], true));
        assert!(parse(b"CEF is nice").is_err());
    }
}
