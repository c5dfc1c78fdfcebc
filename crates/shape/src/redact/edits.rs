//! Edits of a record: JSON stays JSON, and nothing grows without bound.

use super::effort::TooMuch;
use event::Edit;
use std::cmp::Reverse;
use std::ops::Range;

/// So many bytes may be added to any text: what takes a name's place may be longer than a short record.
const GROWTH_BYTES_FREE: usize = 4 << 10;

/// Whether so many bytes are too many for a text that had `before`: more than twice as many. Senders could fill
/// a disk with names of three letters.
pub(super) fn is_overgrown(before: usize, after: usize) -> bool {
    after.saturating_sub(before) > before.max(GROWTH_BYTES_FREE)
}

/// A record as it came.
pub(super) struct Record<'a> {
    pub(super) bytes: &'a [u8],
    is_json: bool,
}

impl<'a> Record<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let start = bytes.iter().find(|b| !b.is_ascii_whitespace());
        Self { bytes, is_json: matches!(start, Some(b'{' | b'[')) }
    }

    /// An edit; within JSON what stood for a number gets quotes, so that it stays JSON.
    pub(super) fn edit(&self, range: Range<usize>, text: &str) -> Edit {
        match self.is_json && self.is_number(&range) {
            true => Edit { range, text: format!("\"{text}\"").into_bytes().into(), quotes: 1 },
            false => Edit { range, text: text.as_bytes().into(), quotes: 0 },
        }
    }

    /// One text in place of all of it.
    pub(super) fn whole(&self, text: &str) -> Edit {
        Edit { range: 0..self.bytes.len(), text: text.as_bytes().into(), quotes: 0 }
    }

    fn is_number(&self, range: &Range<usize>) -> bool {
        let is_digit = |b: &u8| b.is_ascii_digit() || matches!(b, b'-' | b'.');
        let before = || self.bytes[..range.start].iter().rev().find(|b| !b.is_ascii_whitespace());
        let after = || self.bytes[range.end..].iter().find(|b| !b.is_ascii_whitespace());
        self.bytes[range.clone()].iter().all(is_digit)
            && matches!(before(), Some(b':' | b',' | b'['))
            && matches!(after(), Some(b',' | b'}' | b']'))
    }
}

/// Puts edits in order; of those that overlap, the first takes the place of all.
///
/// # Errors
/// The record would grow too much.
pub(super) fn settle(edits: &mut Vec<Edit>, record_bytes: usize) -> Result<(), TooMuch> {
    edits.sort_by_key(|edit| (edit.range.start, Reverse(edit.range.end)));
    edits.dedup_by(|next, kept| {
        let overlaps = next.range.start < kept.range.end;
        if overlaps {
            kept.range.end = kept.range.end.max(next.range.end);
        }
        overlaps
    });
    let taken: usize = edits.iter().map(|edit| edit.range.len()).sum();
    let put: usize = edits.iter().map(|edit| edit.text.len()).sum();
    match is_overgrown(record_bytes, record_bytes - taken + put) {
        true => Err(TooMuch),
        false => Ok(()),
    }
}
