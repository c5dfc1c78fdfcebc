//! IBM QRadar Log Event Extended Format, versions 1 and 2.
//!
//! ```text
//! LEEF:1.0|vendor|product|version|event id|key=value TAB key=value
//! LEEF:2.0|vendor|product|version|event id|^|key=value^key=value
//! ```
//!
//! A LEEF 1 sender that uses `|` between attributes is told by the absence of tabs.
//! Source: IBM QRadar LEEF 2.0 reference.

use crate::ParseError;

/// A LEEF message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leef<'a> {
    /// What stands before `LEEF:`, usually empty.
    pub prefix: &'a [u8],
    /// LEEF version (`1.0`, `2.0`).
    pub version: &'a [u8],
    /// Vendor.
    pub vendor: &'a [u8],
    /// Product.
    pub product: &'a [u8],
    /// Product version.
    pub product_version: &'a [u8],
    /// Event id.
    pub event_id: &'a [u8],
    /// Stands between attributes.
    pub delimiter: u8,
    /// Everything behind the header; see [`Leef::pairs`].
    pub attributes: &'a [u8],
}

impl<'a> Leef<'a> {
    /// The attributes in order: key and value, both pieces of the input.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let delimiter = self.delimiter;
        // A delimiter beyond ASCII is declared by its Latin-1 number, and written as UTF-8 often.
        let lead: &[u8] = if (0x80..=0xbf).contains(&delimiter) { &[0xc2] } else { &[] };
        self.attributes.split(move |c| *c == delimiter).filter_map(move |pair| {
            let pair = pair.strip_suffix(lead).unwrap_or(pair);
            let equals = memchr::memchr(b'=', pair)?;
            let key = pair[..equals].trim_ascii();
            (!key.is_empty()).then(|| (key, pair[equals + 1..].trim_ascii()))
        })
    }
}

/// Reads a LEEF message. Errors: `Expected` when `LEEF:` or one of the header's parts is missing.
pub fn parse(text: &[u8]) -> Result<Leef<'_>, ParseError> {
    let missing = |at, expected| ParseError::Expected { format: "LEEF", at, expected };
    let start = memchr::memmem::find(text, b"LEEF:").ok_or(missing(0, "LEEF: and a version"))?;
    let mut at = start + 5;
    let mut parts: [&[u8]; 5] = [&[]; 5];
    for part in &mut parts {
        let len = memchr::memchr(b'|', &text[at..]).ok_or(missing(text.len(), "'|'"))?;
        *part = text[at..at + len].trim_ascii();
        at += len + 1;
    }
    let [version, vendor, product, product_version, event_id] = parts;
    let mut attributes = &text[at..];
    let mut delimiter = b'\t';
    if version.starts_with(b"2")
        && let Some(bar) = attributes.iter().take(6).position(|c| *c == b'|')
        && let Some(declared) = declared_delimiter(&attributes[..bar])
    {
        delimiter = declared;
        attributes = &attributes[bar + 1..];
    }
    if delimiter == b'\t' && !attributes.contains(&b'\t') {
        delimiter = fallback_delimiter(attributes);
    }
    Ok(Leef {
        prefix: &text[..start],
        version,
        vendor,
        product,
        product_version,
        event_id,
        delimiter,
        attributes,
    })
}

/// What stands between attributes of a sender that uses no tabs: the first of `|` and `^` that has a
/// `key=` behind it, else tab.
fn fallback_delimiter(attributes: &[u8]) -> u8 {
    let is_between = |delimiter: &u8| {
        attributes.split(|c| c == delimiter).skip(1).any(|part| {
            let key = part.iter().take_while(|c| c.is_ascii_alphanumeric()).count();
            key > 0 && part.get(key) == Some(&b'=')
        })
    };
    [b'|', b'^'].into_iter().find(is_between).unwrap_or(b'\t')
}

/// One character, or `x5E` / `0x5E`; nothing and the letters `\t` stand for tab.
fn declared_delimiter(text: &[u8]) -> Option<u8> {
    match text {
        [] | br"\t" => Some(b'\t'),
        [one] => Some(*one),
        _ => {
            let hex = text.strip_prefix(b"0").unwrap_or(text);
            let hex = hex.strip_prefix(b"x").or_else(|| hex.strip_prefix(b"X"))?;
            u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> Vec<String> {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        parse(line.as_bytes())
            .unwrap()
            .pairs()
            .map(|(k, v)| format!("{}={}", text(k), text(v)))
            .collect()
    }

    #[test]
    fn every_delimiter() {
        for line in [
            "LEEF:1.0|V|P|1|login|src=10.0.0.1\turl=/a?b=c",
            "LEEF:2.0|V|P|1|login|^|src=10.0.0.1^url=/a?b=c",
            "LEEF:2.0|V|P|1|login|x5E|src=10.0.0.1^url=/a?b=c",
            "LEEF:2.0|V|P|1|login|0x09|src=10.0.0.1\turl=/a?b=c",
            "LEEF:2.0|V|P|1|login|\\t|src=10.0.0.1\turl=/a?b=c",
            "<13>Jan 1 00:00:00 h LEEF:2.0|V|P|1|login||src=10.0.0.1\turl=/a?b=c",
            "LEEF:1.0|V|P|1|login|src=10.0.0.1|url=/a?b=c",
        ] {
            assert_eq!(shown(line), ["src=10.0.0.1", "url=/a?b=c"], "{line}");
        }
        assert!(parse(b"LEEF:1.0|V|P").is_err());
    }
}
