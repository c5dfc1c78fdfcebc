//! One line of separated values, with quotes.
//!
//! ```text
//! 1,,"a, b","said ""no""",x  ->  1 | (empty) | a, b | said "no" | x
//! ```
//! Source: RFC 4180; a quote inside a bare value is a character like any other, and a quote that
//! never closes makes its value bare.

use std::borrow::Cow;

/// Most values of one line.
pub const VALUES_MAX: usize = 1_024;

/// The values of `text` in order. Values are pieces of the text unless quotes were doubled.
pub fn values(text: &[u8], separator: u8) -> Values<'_> {
    Values { text, at: Some(0), separator, left: VALUES_MAX }
}

/// Iterator of [`values`].
#[derive(Clone, Debug)]
pub struct Values<'a> {
    text: &'a [u8],
    at: Option<usize>,
    separator: u8,
    left: usize,
}

impl<'a> Iterator for Values<'a> {
    type Item = Cow<'a, [u8]>;

    fn next(&mut self) -> Option<Cow<'a, [u8]>> {
        let at = self.at?;
        self.left = self.left.checked_sub(1)?;
        let rest = self.text.get(at..)?;
        let blanks = match self.separator {
            b' ' => 0,
            _ => rest.iter().take_while(|c| **c == b' ').count(),
        };
        if rest.get(blanks) == Some(&b'"')
            && let Some((value, used)) = self.quoted(&rest[blanks..])
        {
            let next = at + blanks + used;
            self.at = (next < self.text.len()).then_some(next + 1);
            return Some(value);
        }
        let len = memchr::memchr(self.separator, rest).unwrap_or(rest.len());
        self.at = (len < rest.len()).then_some(at + len + 1);
        Some(Cow::Borrowed(&rest[..len]))
    }
}

impl Values<'_> {
    /// A quoted value at the start of `text`, if a separator or the end follows it: the value and
    /// the bytes up to there.
    fn quoted<'t>(&self, text: &'t [u8]) -> Option<(Cow<'t, [u8]>, usize)> {
        let mut at = 1;
        let mut doubled = false;
        loop {
            at += memchr::memchr(b'"', text.get(at..)?)?;
            if text.get(at + 1) != Some(&b'"') {
                break;
            }
            doubled = true;
            at += 2;
        }
        let behind = text[at + 1..].iter().take_while(|c| **c == b' ' && self.separator != b' ');
        let end = at + 1 + behind.count();
        if text.get(end).is_some_and(|c| *c != self.separator) {
            return None;
        }
        let body = &text[1..at];
        if !doubled {
            return Some((Cow::Borrowed(body), end));
        }
        let mut out = Vec::with_capacity(body.len());
        let mut i = 0;
        while i < body.len() {
            out.push(body[i]);
            i += 1 + usize::from(body[i] == b'"');
        }
        Some((Cow::Owned(out), end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, separator: u8) -> Vec<String> {
        values(text.as_bytes(), separator).map(|v| String::from_utf8_lossy(&v).into()).collect()
    }

    #[test]
    fn quotes_and_blanks() {
        assert_eq!(
            shown("1,,\"a, b\",\"said \"\"no\"\"\",x", b','),
            ["1", "", "a, b", "said \"no\"", "x"]
        );
        assert_eq!(shown("a, \"b\" ,c", b','), ["a", "b", "c"]);
        assert_eq!(shown("\"open,b", b','), ["\"open", "b"]);
        assert_eq!(shown("\"x\"y,b", b','), ["\"x\"y", "b"]);
        assert_eq!(shown("a,", b','), ["a", ""]);
        assert_eq!(shown("", b','), [""]);
        assert_eq!(shown("a\tb c", b'\t'), ["a", "b c"]);
        assert_eq!(shown("a \"b c\" d", b' '), ["a", "b c", "d"]);
        assert_eq!(shown("\"a\",\"\"", b','), ["a", ""]);
    }

    #[test]
    fn plain_values_are_pieces_and_their_number_is_bounded() {
        assert!(values(b"a,\"b\"", b',').all(|v| matches!(v, Cow::Borrowed(_))));
        assert_eq!(values(&[b','; 5_000], b',').count(), VALUES_MAX);
    }
}
