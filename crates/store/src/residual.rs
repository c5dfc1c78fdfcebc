//! Cells without a column of their own: one JSON text per row, `[["name","s","text"],...]`.
//!
//! The second element is the value's kind: `n`ull, `b`ool, `i`nt, `f`loat, `s`tring. An upper-case
//! letter says that the bytes are not UTF-8 and stand there in hexadecimal. Cells of one field keep
//! their order.

use event::Kind;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

/// One cell as stored.
pub(crate) struct Cell {
    /// Field name.
    pub(crate) name: Arc<str>,
    /// What it was in the source.
    pub(crate) kind: Kind,
    /// Its text.
    pub(crate) bytes: Box<[u8]>,
}

/// Letter and kind.
const KINDS: &[(char, Kind)] =
    &[('n', Kind::Null), ('b', Kind::Bool), ('i', Kind::Int), ('f', Kind::Float), ('s', Kind::Str)];

/// Letter of a kind.
pub(crate) fn letter(kind: Kind) -> char {
    KINDS.iter().find(|(_, k)| *k == kind).map_or('s', |(c, _)| *c)
}

/// Kind of a letter.
pub(crate) fn kind(letter: char) -> Option<Kind> {
    KINDS.iter().find(|(c, _)| *c == letter).map(|(_, k)| *k)
}

/// Appends one cell to `out`, which starts empty; [`finish`] closes it.
pub(crate) fn push(out: &mut String, name: &str, value_kind: Kind, bytes: &[u8]) {
    out.push(if out.is_empty() { '[' } else { ',' });
    let mut tag = letter(value_kind);
    let text: Cow<'_, str> = match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            tag = tag.to_ascii_uppercase();
            let mut hex = String::with_capacity(bytes.len() * 2);
            for byte in bytes {
                let _ = write!(hex, "{byte:02x}");
            }
            hex.into()
        }
    };
    let _ = write!(out, "[{},\"{tag}\",{}]", quoted(name), quoted(&text));
}

/// Closes what [`push`] opened.
pub(crate) fn finish(out: &mut String) {
    out.push(']');
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The cells of one residual text; `None` if it is not one.
pub(crate) fn parse(text: &str) -> Option<Vec<Cell>> {
    let list: Vec<(String, String, String)> = serde_json::from_str(text).ok()?;
    list.into_iter()
        .map(|(name, tag, text)| {
            let tag = tag.chars().next()?;
            let bytes = match tag.is_ascii_uppercase() {
                true => unhex(&text)?,
                false => text.into_bytes(),
            };
            let kind = kind(tag.to_ascii_lowercase())?;
            Some(Cell { name: name.into(), kind, bytes: bytes.into() })
        })
        .collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_any_bytes_round_trip_in_order() {
        let cells: &[(&str, Kind, &[u8])] = &[
            ("a", Kind::Str, b"x"),
            ("a", Kind::Int, b"12"),
            ("q\"\n\u{0}", Kind::Null, b""),
            ("f", Kind::Float, b"1.50"),
            ("b", Kind::Bool, b"true"),
            ("raw", Kind::Str, b"\xff\x00\xfe"),
        ];
        let mut text = String::new();
        for (name, kind, bytes) in cells {
            push(&mut text, name, *kind, bytes);
        }
        finish(&mut text);
        let back = parse(&text).unwrap();
        assert_eq!(back.len(), cells.len());
        for (cell, (name, kind, bytes)) in back.iter().zip(cells) {
            assert_eq!((&*cell.name, cell.kind, &*cell.bytes), (*name, *kind, *bytes));
        }
    }

    #[test]
    fn what_is_no_residual_is_refused() {
        for wrong in
            ["", "{}", "[[1]]", r#"[["a","z","x"]]"#, r#"[["a","S","f"]]"#, r#"[["a","S","zz"]]"#]
        {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }
}
