//! Text that an attacker wrote: how it is compared and how it is shown.

/// Folds `bytes` for case-insensitive comparison and appends the result to `out`.
///
/// ASCII letters become lower case; other characters take Unicode's lower case where that is one
/// character (a fold that changes the number of characters would break suffix tests). Bytes that
/// are not UTF-8 are kept as they are.
pub fn fold_into(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.is_ascii() {
        out.extend(bytes.iter().map(u8::to_ascii_lowercase));
        return;
    }
    for chunk in bytes.utf8_chunks() {
        fold_text(chunk.valid(), out);
        out.extend_from_slice(chunk.invalid());
    }
}

/// Text with a few characters beyond ASCII: what lies between them is taken as a whole.
fn fold_text(mut text: &str, out: &mut Vec<u8>) {
    while !text.is_empty() {
        let (plain, rest) = text.split_at(ascii_prefix(text.as_bytes()));
        out.extend(plain.bytes().map(|b| b.to_ascii_lowercase()));
        let mut rest = rest.chars();
        if let Some(c) = rest.next() {
            out.extend_from_slice(fold_char(c).encode_utf8(&mut [0; 4]).as_bytes());
        }
        text = rest.as_str();
    }
}

/// How many bytes there are before the first one that is not ASCII.
fn ascii_prefix(bytes: &[u8]) -> usize {
    const WORD: usize = 8;
    let words = bytes.chunks_exact(WORD).take_while(|word| word.is_ascii()).count() * WORD;
    words + bytes[words..].iter().take_while(|b| b.is_ascii()).count()
}

/// The folded form of `text`, see [`fold_into`].
pub fn fold(text: &str) -> String {
    text.chars().map(fold_char).collect()
}

/// One character folded; see [`fold_into`].
pub fn fold_char(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// Whether two byte strings are equal after folding.
pub fn eq_folded(a: &[u8], b: &[u8]) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(b);
    }
    let (mut x, mut y) = (Vec::with_capacity(a.len()), Vec::with_capacity(b.len()));
    fold_into(a, &mut x);
    fold_into(b, &mut y);
    x == y
}

/// Bytes as text that is safe to show on a terminal, in a page or in a message.
///
/// C0 and C1 control characters, bidirectional overrides, zero-width characters and bytes that are
/// not UTF-8 become visible escapes (`\x1b`, `\u{202e}`, `\xff`). Newline and tab become `\n` and
/// `\t`. Everything else is unchanged; the stored bytes are never altered.
pub fn render(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                c if c.is_ascii_control() => {
                    let _ = write!(out, "\\x{:02x}", c as u32);
                }
                c if is_deceptive(c) => {
                    let _ = write!(out, "\\u{{{:x}}}", c as u32);
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// The word of `known` that `word` was probably meant to be: few letters differ. For hints.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest_within(word, known, 2.max(word.len() / 3).min(word.len().saturating_sub(1)))
}

/// As [`nearest`], of which at most `most` letters differ.
pub fn nearest_within<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
    most: usize,
) -> Option<&'a str> {
    let closest = known.into_iter().map(|k| (distance(word, k), k)).min()?;
    (closest.0 <= most).then_some(closest.1)
}

/// Levenshtein distance, on words of bounded length.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let here = row[j + 1];
            row[j + 1] = (before + usize::from(x != *y)).min(here + 1).min(row[j] + 1);
            before = here;
        }
    }
    row[b.len()]
}

/// Characters that change how their neighbours are shown, or are not shown at all.
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{2028}' | '\u{2029}'
        | '\u{61c}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_letters_make_a_slip() {
        let known = ["contains", "all", "i"];
        for (word, meant) in [
            ("contians", Some("contains")),
            ("al", Some("all")),
            ("x", None),
            ("", None),
            ("sounds", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }

    #[test]
    fn folding_keeps_the_number_of_characters() {
        assert_eq!(fold("ÄÖ\u{212a}İ"), "äökİ");
        for text in ["Äa", "ABCDEFGHIJÄKLMNOPQ\u{1f600}RSTÜ", "É", "ABCDEFGHÉÈ", ""] {
            let mut out = b"x".to_vec();
            fold_into(text.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!("x{}", fold(text)));
        }
        let mut out = Vec::new();
        fold_into(b"A\xffB", &mut out);
        assert_eq!(out, b"a\xffb");
        assert!(eq_folded("ÄB".as_bytes(), "äb".as_bytes()));
        assert!(!eq_folded(b"a", b"ab"));
    }

    #[test]
    fn rendering_leaves_nothing_that_acts() {
        let hostile = b"a\x1b[2J\x07\x9b\xe2\x80\xae\n\0\xc2\x9bz";
        let shown = render(hostile);
        assert_eq!(shown, "a\\x1b[2J\\x07\\x9b\\u{202e}\\n\\x00\\u{9b}z");
        assert!(shown.chars().all(|c| !c.is_control()));
    }
}
