//! Rows on their way into a file: borrowed from frozen batches, or read back from other files.

use crate::residual::Cell;
use event::{Envelope, EventBatch, EventId, EventView, Kind, Marks};
use std::sync::Arc;

/// A frozen batch and which of its rows are to be seen.
#[derive(Clone)]
pub(crate) struct HotBatch {
    pub(crate) batch: Arc<EventBatch>,
    /// Indices of kept rows, ascending.
    pub(crate) kept: Arc<[u32]>,
    pub(crate) event_min_ns: i64,
    pub(crate) event_max_ns: i64,
}

/// What every row has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) id: EventId,
    pub(crate) event_ns: i64,
    pub(crate) received_ns: i64,
    pub(crate) stream_ns: i64,
    pub(crate) weight: u32,
    pub(crate) marks: Marks,
    pub(crate) envelope: Arc<Envelope>,
}

/// A whole row read back.
pub(crate) struct FullRow {
    pub(crate) head: Head,
    pub(crate) raw: Box<[u8]>,
    pub(crate) cells: Vec<Cell>,
}

/// A row of either origin.
#[derive(Clone, Copy)]
pub(crate) enum RowRef<'a> {
    Hot(EventView<'a>),
    Full(&'a FullRow),
}

impl Head {
    pub(crate) fn of(row: &EventView<'_>) -> Self {
        Head {
            id: row.id(),
            event_ns: row.event_ns(),
            received_ns: row.received_ns(),
            stream_ns: row.stream_ns(),
            weight: row.weight(),
            marks: row.marks(),
            envelope: row.envelope().clone(),
        }
    }
}

impl FullRow {
    /// A copy of a hot row.
    pub(crate) fn of(row: &EventView<'_>) -> Self {
        let cells = row.cells().map(|(field, value)| Cell {
            name: row.batch().name(field).into(),
            kind: value.kind,
            bytes: value.bytes.into(),
        });
        FullRow { head: Head::of(row), raw: row.raw().into(), cells: cells.collect() }
    }
}

/// Memory of a cell beside its bytes.
const CELL_BYTES: usize = size_of::<Cell>() + 16;

impl FullRow {
    /// Memory that it takes, about.
    pub(crate) fn size_bytes(&self) -> usize {
        let cells: usize = self.cells.iter().map(|cell| cell.bytes.len() + CELL_BYTES).sum();
        size_of::<Self>() + self.raw.len() + cells
    }
}

impl<'a> RowRef<'a> {
    pub(crate) fn id(&self) -> EventId {
        match self {
            RowRef::Hot(row) => row.id(),
            RowRef::Full(row) => row.head.id,
        }
    }

    pub(crate) fn event_ns(&self) -> i64 {
        match self {
            RowRef::Hot(row) => row.event_ns(),
            RowRef::Full(row) => row.head.event_ns,
        }
    }

    pub(crate) fn received_ns(&self) -> i64 {
        match self {
            RowRef::Hot(row) => row.received_ns(),
            RowRef::Full(row) => row.head.received_ns,
        }
    }

    pub(crate) fn head(&self) -> Head {
        match self {
            RowRef::Hot(row) => Head::of(row),
            RowRef::Full(row) => row.head.clone(),
        }
    }

    pub(crate) fn raw(&self) -> &'a [u8] {
        match self {
            RowRef::Hot(row) => row.raw(),
            RowRef::Full(row) => &row.raw,
        }
    }

    /// Calls `each` with the names of the row's pack and source.
    pub(crate) fn envelope_texts(&self, each: &mut dyn FnMut(&str, &str)) {
        match self {
            RowRef::Hot(row) => each(&row.envelope().pack, &row.envelope().source),
            RowRef::Full(row) => each(&row.head.envelope.pack, &row.head.envelope.source),
        }
    }

    /// Bytes of the first cell of this name.
    pub(crate) fn first(&self, name: &str) -> Option<&'a [u8]> {
        match self {
            RowRef::Hot(row) => {
                let id = row.batch().id(name).filter(|id| !id.is_intrinsic())?;
                row.all(id).next().map(|value| value.bytes)
            }
            RowRef::Full(row) => {
                let row: &'a FullRow = row;
                row.cells.iter().find(|c| &*c.name == name).map(|c| &*c.bytes)
            }
        }
    }

    /// Calls `each` with name, kind and bytes of every cell, in order.
    pub(crate) fn cells(&self, each: &mut dyn FnMut(&'a str, Kind, &'a [u8])) {
        match self {
            RowRef::Hot(row) => {
                let row: &EventView<'a> = row;
                let batch: &'a EventBatch = row.batch();
                for (field, value) in row.cells() {
                    each(batch.name(field), value.kind, value.bytes);
                }
            }
            RowRef::Full(row) => {
                for cell in &row.cells {
                    each(&cell.name, cell.kind, &cell.bytes);
                }
            }
        }
    }
}
