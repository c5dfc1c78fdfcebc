//! A body of bytes to records: JSON in its many packings, lines, and what else it may be.

use crate::{ParseError, json};
use memchr::memchr;
use thiserror::Error;

/// What a body holds, told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// JSON values one after another.
    Json,
    /// One JSON array whose elements are the records.
    JsonArray,
    /// Text, one record a line.
    Lines,
    /// A Windows event log file.
    Evtx,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// UTF-16 text with byte order mark.
    Utf16,
    /// Nothing but white space.
    Empty,
}

/// One record of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it starts in the body.
    pub at: usize,
    /// Its bytes, without separators and white space around it.
    pub bytes: &'a [u8],
}

/// A piece of a body that is no JSON value. Nothing is lost: the bytes are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a JSON record: {reason}")]
pub struct SplitError<'a> {
    /// The piece, up to the next line that starts a value.
    pub piece: Record<'a>,
    /// What is wrong; its offset counts from the start of the body.
    pub reason: ParseError,
}

/// Tells what a body holds.
pub fn looks_like(body: &[u8]) -> Content {
    match body {
        [0x1f, 0x8b, ..] => return Content::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => return Content::Zstd,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Content::Utf16,
        _ if body.starts_with(b"ElfFile\0") => return Content::Evtx,
        _ => {}
    }
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    match text.get(json::skip_space(text, 0)) {
        None => Content::Empty,
        Some(b'{') => Content::Json,
        Some(b'[') => Content::JsonArray,
        Some(_) => Content::Lines,
    }
}

/// Splits a body of JSON values.
pub fn split_json(body: &[u8]) -> impl Iterator<Item = Result<Record<'_>, SplitError<'_>>> {
    split_lines(body, false).map(Ok)
}

/// Splits a body at line ends (LF or CRLF; the last line may have none). With `keep_empty` empty
/// lines are records too.
pub fn split_lines(body: &[u8], keep_empty: bool) -> impl Iterator<Item = Record<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < body.len() {
            let from = at;
            let len = memchr(b'\n', &body[from..]).unwrap_or(body.len() - from);
            at = from + len + 1;
            let line = &body[from..from + len];
            let bytes = line.strip_suffix(b"\r").unwrap_or(line);
            if keep_empty || !bytes.is_empty() {
                return Some(Record { at: from, bytes });
            }
        }
        None
    })
}
