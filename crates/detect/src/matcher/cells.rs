//! Where the fields of the current row stand: one pass over its cells, then every look-up is one
//! array access.

use event::{EventView, FieldId, Value};
use filter::Values;
use std::ops::Range;

/// First and last cell of every field of a row. Rows are told apart by a stamp, so that nothing is
/// cleared between them.
#[derive(Default)]
pub(crate) struct CellIndex {
    stamp: u32,
    places: Vec<Place>,
}

#[derive(Clone, Copy, Default)]
struct Place {
    stamp: u32,
    first: u16,
    last: u16,
}

// Cells of a row are numbered in 16 bits.
const _: () = assert!(event::batch::CELLS_PER_ROW_MAX <= u16::MAX as usize);

impl CellIndex {
    /// Takes in a row of a batch whose dictionary has `fields` names.
    pub(crate) fn read(&mut self, row: &EventView<'_>, fields: usize) {
        if self.places.len() != fields || self.stamp == u32::MAX {
            self.places.clear();
            self.places.resize(fields, Place::default());
            self.stamp = 0;
        }
        self.stamp += 1;
        for (at, (field, _)) in row.cells().enumerate() {
            // Names of one batch have no place: no rule knows them.
            let Some(place) = self.places.get_mut(field.0 as usize) else { continue };
            let at = at as u16;
            let first = if place.stamp == self.stamp { place.first } else { at };
            *place = Place { stamp: self.stamp, first, last: at };
        }
    }

    /// Whether the row has the field.
    pub(crate) fn has(&self, field: FieldId) -> bool {
        self.places.get(field.0 as usize).is_some_and(|p| p.stamp == self.stamp)
    }

    fn range(&self, field: FieldId) -> Range<usize> {
        match self.places.get(field.0 as usize) {
            Some(place) if place.stamp == self.stamp => {
                usize::from(place.first)..usize::from(place.last) + 1
            }
            _ => 0..0,
        }
    }
}

/// A row with its index.
pub(crate) struct IndexedRow<'i, 'a> {
    pub(crate) row: EventView<'a>,
    pub(crate) cells: &'i CellIndex,
}

impl<'a> Values<'a> for IndexedRow<'_, 'a> {
    fn view(&self) -> EventView<'a> {
        self.row
    }

    fn values(&self, field: FieldId) -> impl Iterator<Item = Value<'a>> {
        match field.is_intrinsic() || field.is_local() {
            true => Found::Walked(self.row.all(field)),
            false => Found::Indexed { row: self.row, field, range: self.cells.range(field) },
        }
    }
}

/// The values of a field: one iterator of two kinds, so that the common one stays short.
enum Found<'a, W> {
    /// No index has the field.
    Walked(W),
    /// Cells from the field's first to its last.
    Indexed { row: EventView<'a>, field: FieldId, range: Range<usize> },
}

impl<'a, W: Iterator<Item = Value<'a>>> Iterator for Found<'a, W> {
    type Item = Value<'a>;

    #[inline]
    fn next(&mut self) -> Option<Value<'a>> {
        match self {
            Self::Walked(values) => values.next(),
            Self::Indexed { row, field, range } => range.find_map(|at| {
                let (own, value) = row.cell(at);
                (own == *field).then_some(value)
            }),
        }
    }
}
