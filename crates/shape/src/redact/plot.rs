//! What is found out about one row, before anything is written.

use super::edits::is_overgrown;
use super::effort::Effort;
use super::pseudonym::MASK;
use super::{VALUES_MAX, occurrences};
use event::{Edit, FieldId, RowWriter};
use std::cmp::Reverse;
use std::ops::Range;

/// Bytes of a cell that are to read otherwise; the text is one of [`Plot::texts`].
#[derive(Clone, Copy)]
pub(super) struct Place {
    start: u32,
    end: u32,
    text: u32,
}

/// A value that is to go.
pub(super) struct Found {
    pub(super) value: Box<[u8]>,
    /// What takes its place.
    pub(super) text: Box<str>,
    pub(super) everywhere: bool,
    /// It is looked for where its fields stand only.
    pub(super) in_place: bool,
}

/// Stands where a longer text would make a cell grow too much: never longer than what it replaces.
const SHORT: &str = "*";
/// Most different texts in the cells of a row; other places have the short mask. Pseudonyms of secrets differ.
const TEXTS_MAX: usize = 4_096;

/// What becomes of a cell that is no piece of the record.
#[derive(Clone)]
pub(super) enum Change {
    Whole(Box<str>),
    Parts(Vec<Place>),
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
    /// What stands in place of parts of cells.
    texts: Vec<Box<str>>,
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
    pub(super) fn place_of(
        &self,
        value: &[u8],
        in_place: bool,
        effort: &mut Effort,
    ) -> Option<usize> {
        // Among too many it does not matter which, and one that took long to compare may stand there twice.
        let few = &self.found[..self.found.len().min(VALUES_MAX)];
        few.iter().position(|f| {
            f.in_place == in_place && occurrences::same(&f.value, value, effort).unwrap_or(false)
        })
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

    /// Puts a text in place of a part of a cell, which has `len` bytes.
    pub(super) fn put(&mut self, at: usize, len: usize, part: &Range<usize>, text: &str) {
        if *part == (0..len) {
            return self.set(at, Change::Whole(text.into()));
        }
        let text = self.text_of(text);
        let place = Place { start: part.start as u32, end: part.end as u32, text };
        match self.changes.get_mut(at).and_then(Option::as_mut) {
            Some(Change::Whole(_)) => {}
            Some(Change::Parts(places)) => places.push(place),
            None => self.set(at, Change::Parts(vec![place])),
        }
    }

    /// A cell that cannot be looked through reads as a mask.
    pub(super) fn mask(&mut self, at: usize) {
        self.set(at, Change::Whole(MASK.into()));
    }

    /// What is found in one cell is found in another that is the same piece of memory.
    pub(super) fn change_like(&mut self, at: usize, like: usize) {
        if let Some(change) = self.changes.get(like).cloned().flatten() {
            self.set(at, change);
        }
    }

    fn text_of(&mut self, text: &str) -> u32 {
        if self.texts.is_empty() {
            self.texts.push(SHORT.into());
        }
        if self.texts.last().is_some_and(|last| **last == *text) {
            return self.texts.len() as u32 - 1;
        }
        if self.texts.len() > TEXTS_MAX {
            return 0;
        }
        self.texts.push(text.into());
        self.texts.len() as u32 - 1
    }

    /// The new texts of cells that were changed, by their index.
    pub(super) fn texts_of_cells(&self, row: &RowWriter<'_>) -> Vec<(usize, Vec<u8>)> {
        let text = |at, change: &Change| match change {
            Change::Whole(text) => text.as_bytes().to_vec(),
            Change::Parts(places) => self.rendered(row.cell(at).1.bytes, places),
        };
        let changes = self.changes.iter().enumerate();
        changes.filter_map(|(at, change)| Some((at, text(at, change.as_ref()?)))).collect()
    }

    /// A cell's text with parts of it changed. Of places that overlap the first goes for all. The text does not
    /// become more than twice as long: places for which there is no room have the short mask, and all between them
    /// stays what it is, so that nobody hides a deed behind many secrets.
    fn rendered(&self, bytes: &[u8], places: &[Place]) -> Vec<u8> {
        let mut places = places.to_vec();
        places.sort_unstable_by_key(|place| (place.start, Reverse(place.end)));
        let (mut out, mut from) = (Vec::with_capacity(bytes.len()), 0);
        for place in places {
            let (start, end) = (place.start as usize, place.end as usize);
            if start >= from {
                out.extend_from_slice(&bytes[from..start]);
                let text = self.texts[place.text as usize].as_bytes();
                let grown = (out.len() + text.len()).saturating_sub(end);
                let fits = !is_overgrown(bytes.len(), bytes.len() + grown);
                out.extend_from_slice(if fits { text } else { SHORT.as_bytes() });
            }
            from = from.max(end);
        }
        out.extend_from_slice(&bytes[from..]);
        out
    }

    pub(super) fn set(&mut self, at: usize, change: Change) {
        if self.changes.len() <= at {
            self.changes.resize_with(at + 1, || None);
        }
        self.changes[at] = Some(change);
    }
}
