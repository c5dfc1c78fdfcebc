//! What is found out about one row, before anything is written.

use super::edits::is_overgrown;
use super::effort::TooMuch;
use super::pseudonym::MASK;
use super::{VALUES_MAX, occurrences};
use event::{Edit, FieldId, RowWriter};
use std::ops::Range;

/// Which bytes of a text are to read otherwise, and how.
pub(super) type Part = (Range<usize>, Box<str>);

/// A value that is to go.
pub(super) struct Found {
    pub(super) value: Box<[u8]>,
    /// What takes its place.
    pub(super) text: Box<str>,
    pub(super) everywhere: bool,
    /// It is looked for where its fields stand only.
    pub(super) in_place: bool,
}

/// What becomes of a cell that is no piece of the record.
pub(super) enum Change {
    Whole(Box<str>),
    Parts(Vec<u8>),
}

/// What is found out about one row.
#[derive(Default)]
pub(super) struct Plot {
    pub(super) found: Vec<Found>,
    /// How many of them are looked for everywhere.
    sought: usize,
    /// Cells whose whole value goes: index, which of `found`.
    pub(super) taken: Vec<(usize, usize)>,
    /// By cell, as far as one was taken.
    is_taken: Vec<bool>,
    /// Cells that go as a whole.
    pub(super) removed: Vec<usize>,
    pub(super) edits: Vec<Edit>,
    /// By cell, as far as one was changed.
    pub(super) changes: Vec<Option<Change>>,
    pub(super) fields: Vec<FieldId>,
    /// Rules that took something, a bit each.
    pub(super) rules: u64,
    /// The record is masked as a whole: cells keep what they have of it, but for values found in them.
    pub(super) is_withheld: bool,
    /// There are values that are not looked for: what could hold them goes as a whole.
    pub(super) is_blind: bool,
}

impl Plot {
    /// Starts over without looking at the record: it is masked.
    pub(super) fn withhold(self) -> Self {
        let Self { mut fields, rules, is_blind, .. } = self;
        if !fields.contains(&FieldId::ORIGINAL) {
            fields.push(FieldId::ORIGINAL);
        }
        Self { fields, rules, is_blind, is_withheld: true, ..Self::default() }
    }

    pub(super) fn note(&mut self, field: FieldId, rules: u64) {
        self.rules |= rules;
        if !self.fields.contains(&field) {
            self.fields.push(field);
        }
    }

    /// Where a cell stands in the record, if its place there is to be looked at.
    pub(super) fn span(&self, row: &RowWriter<'_>, at: usize) -> Option<Range<usize>> {
        row.raw_range(at).filter(|_| !self.is_withheld)
    }

    /// Which of the values in `found` this is, if it is known.
    pub(super) fn place_of(&self, value: &[u8], in_place: bool) -> Option<usize> {
        // Among too many it does not matter which.
        let few = &self.found[..self.found.len().min(VALUES_MAX)];
        few.iter().position(|f| f.in_place == in_place && occurrences::same(&f.value, value))
    }

    /// Adds a value. Out: which of `found` it is.
    pub(super) fn add(&mut self, found: Found) -> usize {
        self.sought += usize::from(!found.in_place);
        self.is_blind |= self.sought > VALUES_MAX;
        self.found.push(found);
        self.found.len() - 1
    }

    pub(super) fn take(&mut self, at: usize, place: usize) {
        self.taken.push((at, place));
        if self.is_taken.len() <= at {
            self.is_taken.resize(at + 1, false);
        }
        self.is_taken[at] = true;
    }

    pub(super) fn is_taken(&self, at: usize) -> bool {
        self.is_taken.get(at).copied().unwrap_or_default()
    }

    pub(super) fn is_changed(&self, at: usize) -> bool {
        self.changes.get(at).is_some_and(Option::is_some)
    }

    /// Puts texts in place of parts of a cell, which may have been changed before; one in place of all of it
    /// if there are too many.
    pub(super) fn change(&mut self, at: usize, bytes: &[u8], parts: Result<&[Part], TooMuch>) {
        let change = match parts {
            Err(TooMuch) => Change::Whole(MASK.into()),
            Ok([(range, text)]) if *range == (0..bytes.len()) => Change::Whole(text.clone()),
            Ok(parts) => match self.changes.get_mut(at).and_then(Option::take) {
                None => Change::Parts(with_parts(bytes, parts)),
                Some(before) => changed_again(before, bytes, parts),
            },
        };
        self.set(
            at,
            match change {
                Change::Parts(text) if is_overgrown(bytes.len(), text.len()) => {
                    Change::Whole(MASK.into())
                }
                change => change,
            },
        );
    }

    pub(super) fn set(&mut self, at: usize, change: Change) {
        if self.changes.len() <= at {
            self.changes.resize_with(at + 1, || None);
        }
        self.changes[at] = Some(change);
    }
}

fn with_parts(bytes: &[u8], parts: &[Part]) -> Vec<u8> {
    let (mut out, mut from) = (Vec::with_capacity(bytes.len()), 0);
    for (range, text) in parts {
        out.extend_from_slice(&bytes[from..range.start]);
        out.extend_from_slice(text.as_bytes());
        from = range.end;
    }
    out.extend_from_slice(&bytes[from..]);
    out
}

/// Places count in the cell as it was: what is left of the values is looked for anew.
fn changed_again(before: Change, bytes: &[u8], parts: &[Part]) -> Change {
    let mut pieces: Vec<_> =
        parts.iter().map(|(range, with)| (&bytes[range.clone()], with)).collect();
    pieces.sort_unstable();
    pieces.dedup();
    match before {
        Change::Parts(text) if pieces.len() <= PIECES_MAX => pieces
            .into_iter()
            .try_fold(text, |text, (piece, with)| replaced(&text, piece, with.as_bytes()))
            .map_or_else(|| Change::Whole(MASK.into()), Change::Parts),
        _ => Change::Whole(MASK.into()),
    }
}

/// Most different spellings of what goes from a cell that was changed before: each is looked for in all of it.
const PIECES_MAX: usize = 32;

/// The text with another piece wherever it has this one, unless it grew too much.
fn replaced(text: &[u8], piece: &[u8], with: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut from) = (Vec::with_capacity(text.len()), 0);
    for at in memchr::memmem::find_iter(text, piece) {
        out.extend_from_slice(&text[from..at]);
        out.extend_from_slice(with);
        from = at + piece.len();
        if is_overgrown(from, out.len()) {
            return None;
        }
    }
    out.extend_from_slice(&text[from..]);
    Some(out)
}
