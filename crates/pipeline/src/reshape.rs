//! Stored events shaped anew with the packs of a generation: one row for each, nothing is matched.

use crate::generation::Generation;
use crate::worker::{CRASHED, keep_raw};
use event::{EventBatch, RowHead};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A stored event as shaping needs it.
pub struct Again<'a> {
    /// Id, times of receipt, sender.
    pub head: RowHead,
    /// The event's bytes.
    pub raw: &'a [u8],
    /// It is several records, of which some never came.
    pub is_short: bool,
}

/// Shapes stored events; it keeps its buffers.
pub struct Reshaper {
    generation: Arc<Generation>,
    scratch: shape::Scratch,
}

impl Reshaper {
    /// With the packs, tables and settings of a generation.
    pub fn new(generation: Arc<Generation>) -> Self {
        Self { generation, scratch: shape::Scratch::default() }
    }

    /// One row for each event, in order. One that crashes its parser fails and says so.
    pub fn shape<'a>(&mut self, events: impl Iterator<Item = Again<'a>>) -> EventBatch {
        let mut batch = EventBatch::new(self.generation.dict.clone());
        for event in events {
            let before = batch.len();
            let (generation, scratch) = (&self.generation, &mut self.scratch);
            let (head, raw) = (event.head.clone(), (event.raw, event.is_short));
            let shaped = catch_unwind(AssertUnwindSafe(|| {
                generation.shaper.shape_again(head, raw, &mut batch, scratch);
            }));
            if shaped.is_err() {
                self.scratch = shape::Scratch::default();
            }
            if batch.len() == before {
                keep_raw(&self.generation, event.head, event.raw, (CRASHED, false), &mut batch);
            }
        }
        batch.settle();
        batch
    }
}
