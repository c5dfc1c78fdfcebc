//! Text as senders encode it, to UTF-8: what parsers read. The record's own bytes stay as they are.
//!
//! ```text
//! UTF-16 with a byte order mark, bytes that are not UTF-8 (taken for Windows-1252, a superset of
//! Latin-1), `#011` and its like (rsyslog's way to write control bytes)  ->  UTF-8
//! ```

/// The bytes 0x80..=0x9f of Windows-1252; those that it leaves free are the C1 controls.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// A whole record in UTF-16 with a byte order mark, as UTF-8 in `out`. Out: whether it was one.
pub(crate) fn from_utf16(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let (bytes, is_big) = match raw {
        [0xff, 0xfe, rest @ ..] => (rest, false),
        [0xfe, 0xff, rest @ ..] => (rest, true),
        _ => return false,
    };
    out.clear();
    let units = bytes.chunks_exact(2).map(|pair| match is_big {
        true => u16::from_be_bytes([pair[0], pair[1]]),
        false => u16::from_le_bytes([pair[0], pair[1]]),
    });
    for c in char::decode_utf16(units) {
        let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    true
}

/// The text of a message where it has to be decoded, in `out`. Out: whether it had to be.
///
/// `has_header`: rsyslog's escapes occur only behind a syslog header.
pub(crate) fn decode(text: &[u8], has_header: bool, out: &mut Vec<u8>) -> bool {
    if (has_header && is_plain(text)) || (!has_header && text.is_ascii()) {
        return false;
    }
    let escaped = has_header && next_escape(text, 0, false).is_some();
    let valid = std::str::from_utf8(text).is_ok();
    if valid && !escaped {
        return false;
    }
    out.clear();
    if valid {
        out.extend_from_slice(text);
    } else {
        for chunk in text.utf8_chunks() {
            out.extend_from_slice(chunk.valid().as_bytes());
            for byte in chunk.invalid() {
                let c = match byte {
                    0x80..=0x9f => WINDOWS_1252[usize::from(byte - 0x80)],
                    other => char::from(*other),
                };
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
    if escaped {
        unescape(out);
    }
    true
}

/// Whether all is ASCII without `#`, as nearly all messages are: told eight bytes at a time.
fn is_plain(text: &[u8]) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = text.as_chunks::<8>();
    let found = words.iter().fold(0, |found, word| {
        let word = u64::from_le_bytes(*word);
        // Of ASCII only: a byte that is zero now was `#`.
        let other = word ^ (LOW * u64::from(b'#'));
        found | word | other.wrapping_sub(LOW)
    });
    found & HIGH == 0 && rest.iter().all(|c| c.is_ascii() && *c != b'#')
}

/// Where the next `#000` to `#037` or `#177` stands, and its byte. With a digit behind it is a number,
/// but for the tab of a sender that `escapes_tabs`.
fn next_escape(text: &[u8], from: usize, escapes_tabs: bool) -> Option<(usize, u8)> {
    memchr::memchr_iter(b'#', text.get(from..)?).find_map(|at| {
        let at = from + at;
        let [a, b, c] = text.get(at + 1..at + 4)? else { return None };
        let byte = match (a, b, c) {
            (b'0', b'0'..=b'3', b'0'..=b'7') => (b - b'0') * 8 + (c - b'0'),
            (b'1', b'7', b'7') => 0x7f,
            _ => return None,
        };
        let is_tab = escapes_tabs && byte == b'\t';
        (is_tab || !text.get(at + 4).is_some_and(u8::is_ascii_digit)).then_some((at, byte))
    })
}

/// Replaces the escapes in place; the text only gets shorter. Columns between tabs may be numbers:
/// where one tab stands for certain, all others are tabs too.
fn unescape(text: &mut Vec<u8>) {
    let mut certain = std::iter::successors(next_escape(text, 0, false), |(at, _)| {
        next_escape(text, at + 4, false)
    });
    let escapes_tabs = certain.any(|(_, byte)| byte == b'\t');
    let (mut from, mut to) = (0, 0);
    while let Some((at, byte)) = next_escape(text, from, escapes_tabs) {
        text.copy_within(from..at, to);
        to += at - from;
        text[to] = byte;
        to += 1;
        from = at + 4;
    }
    let end = text.len();
    text.copy_within(from..end, to);
    text.truncate(to + end - from);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &[u8], has_header: bool) -> Option<String> {
        let mut out = Vec::new();
        decode(text, has_header, &mut out).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn escapes_and_single_byte_text_become_utf8() {
        assert_eq!(decoded(b"keep-alive#011#011x#012y", true).unwrap(), "keep-alive\t\tx\ny");
        assert_eq!(decoded(b"a#011b", false), None);
        assert_eq!(decoded(b"case #0123, #4, #099", true), None);
        assert_eq!(decoded(b"x#0111#011y#01244", true).unwrap(), "x\t1\ty#01244");
        assert_eq!(decoded(b"M\xfcller \x80", false).unwrap(), "Müller €");
        assert_eq!(decoded("Müller".as_bytes(), true), None);
    }

    #[test]
    fn utf16_is_read_in_both_orders() {
        let mut out = Vec::new();
        assert!(from_utf16(b"\xff\xfea\0\xe4\0", &mut out) && out == "aä".as_bytes());
        assert!(from_utf16(b"\xfe\xff\0a\xd8\0x", &mut out));
        assert!(!from_utf16(b"plain", &mut out));
    }
}
