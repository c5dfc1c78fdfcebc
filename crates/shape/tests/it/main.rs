//! Shaping as a whole: packs and their samples, real corpora, tables, the steps that remember.
#![allow(clippy::unwrap_used, reason = "tests")]

mod cloud;
mod corpora;
mod coverage;
mod expand;
mod hard_cases;
mod joined;
mod logsources;
mod mmdb;
mod network;
mod packs;
mod redact;
mod remember;
mod sigma;
mod steps;
mod tables;
mod warm;
mod windows_shapes;
mod wrapped;

use event::{Dictionary, DictionaryBuilder, Envelope, EventBatch, EventId, Protocol, RowHead};
use shape::{PackSet, Scratch, Settings, Shaped, Shaper, Tables};
use std::sync::Arc;

/// 2026-11-24T00:00:00Z, when every test record was received.
pub(crate) const RECEIVED_NS: i64 = 1_795_478_400_000_000_000;

/// A shaper with its dictionary, and a batch to fill.
pub(crate) struct Bench {
    pub(crate) dict: Arc<Dictionary>,
    pub(crate) shaper: Shaper,
    pub(crate) batch: EventBatch,
    pub(crate) scratch: Scratch,
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) headers: shape::Headers,
    offset: u64,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Tables::default(), Settings::default())
    }

    pub(crate) fn with(tables: Tables, settings: Settings) -> Self {
        let packs = Arc::new(PackSet::builtin().unwrap());
        let mut names = DictionaryBuilder::new();
        packs.register(&mut names);
        let dict = names.build();
        let (tables, settings) = (Arc::new(tables), Arc::new(settings));
        Self {
            shaper: Shaper::new(packs, dict.clone(), tables, settings),
            batch: EventBatch::new(dict.clone()),
            dict,
            scratch: Scratch::default(),
            envelope: Arc::new(Envelope::of("test", Protocol::File)),
            headers: shape::Headers::default(),
            offset: 0,
        }
    }

    pub(crate) fn head(&self) -> RowHead {
        RowHead {
            id: EventId::at(self.offset),
            received_ns: RECEIVED_NS,
            stream_ns: self.offset as i64 * event::time::SECOND_NS,
            envelope: self.envelope.clone(),
        }
    }

    pub(crate) fn shape(&mut self, raw: &[u8]) -> Shaped {
        let mut head = self.head();
        if let Some(with_header) = self.headers.take(&self.envelope, raw) {
            head.envelope = with_header;
        }
        self.offset += 1;
        self.shaper.shape(head, raw, &mut self.batch, &mut self.scratch)
    }

    /// Starts over, as for a first record.
    pub(crate) fn start(&mut self) -> &mut Self {
        self.offset = 0;
        self.headers = shape::Headers::default();
        self.clear();
        self
    }

    /// Starts over with an empty batch.
    pub(crate) fn clear(&mut self) {
        self.batch = EventBatch::new(self.dict.clone());
    }

    /// First value of a name in a row, as rules see it.
    pub(crate) fn text(&self, row: usize, name: &str) -> Option<String> {
        self.batch.row(row).text(name).map(|t| t.into_owned())
    }

    /// All values of a field of a row.
    pub(crate) fn all(&self, row: usize, name: &str) -> Vec<String> {
        let Some(id) = self.batch.id(name) else { return Vec::new() };
        self.batch.row(row).all(id).map(|v| v.text().into_owned()).collect()
    }
}
