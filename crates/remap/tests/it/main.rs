//! `vrl` steps, through packs of a user: shaped, explained, refused, under any bytes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod hostile;
mod load;
mod steps;

use event::{DictionaryBuilder, Envelope, EventBatch, EventId, Protocol, RowHead};
use shape::{Explanation, PackError, PackSet, Scratch, Shaper};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// 2026-11-24T00:00:00Z, when every test record was received.
const RECEIVED_NS: i64 = 1_795_478_400_000_000_000;

/// The packs of `dir` with their programs.
fn load(dir: &Path) -> Result<PackSet, PackError> {
    PackSet::load_with(dir, Some(remap::compiler()))
}

/// The text of a pack named `mine` for lines that start with `MINE `; `steps` begin at line 7.
fn pack_text(steps: &str) -> String {
    format!(
        "pack: mine\ntitle: A pack of a user\nformat: [https://example.com/format]\n\
         parser: text\nprefix: mine\nrecognise: {{ starts: ['MINE '] }}\nsteps:\n{steps}"
    )
}

/// A set that holds the pack with these steps.
fn set_of(steps: &str) -> Result<PackSet, PackError> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("mine")).unwrap();
    fs::write(dir.path().join("mine/pack.yaml"), pack_text(steps)).unwrap();
    load(dir.path())
}

/// One program as a step.
fn step(program: &str) -> String {
    let lines: Vec<String> = program.lines().map(|l| format!("      {l}\n")).collect();
    format!("  - vrl: |\n{}", lines.concat())
}

/// A shaper of such a pack, and one row at a time.
struct Bench {
    shaper: Shaper,
    dict: Arc<event::Dictionary>,
    batch: EventBatch,
    scratch: Scratch,
}

impl Bench {
    fn new(steps: &str) -> Self {
        let set = set_of(steps).unwrap_or_else(|e| panic!("{e}"));
        let mut names = DictionaryBuilder::new();
        set.register(&mut names);
        let dict = names.build();
        let (tables, settings) = Default::default();
        let shaper = Shaper::new(Arc::new(set), dict.clone(), tables, settings);
        let batch = EventBatch::new(dict.clone());
        Self { shaper, dict, batch, scratch: Scratch::default() }
    }

    fn head() -> RowHead {
        let envelope = Arc::new(Envelope::of("test", Protocol::File));
        RowHead { id: EventId::at(0), received_ns: RECEIVED_NS, stream_ns: 0, envelope }
    }

    /// Shapes one record. Out: whether it failed.
    fn shape(&mut self, raw: &[u8]) -> bool {
        self.batch = EventBatch::new(self.dict.clone());
        self.shaper.shape(Self::head(), raw, &mut self.batch, &mut self.scratch).failed > 0
    }

    /// The values of a field with their kinds, `|` between them; `-` = absent.
    fn text(&self, name: &str) -> String {
        let row = self.batch.row(0);
        let cells = row.cells().filter(|(field, _)| self.batch.name(*field) == name);
        let values: Vec<String> = cells.map(|(_, value)| value.text().into_owned()).collect();
        if values.is_empty() { "-".into() } else { values.join("|") }
    }

    fn kind(&self, name: &str) -> Option<event::Kind> {
        let row = self.batch.row(0);
        row.cells().find(|(field, _)| self.batch.name(*field) == name).map(|(_, value)| value.kind)
    }

    fn explain(&self, raw: &[u8]) -> Explanation {
        self.shaper.explain(Self::head(), raw, &self.dict).remove(0)
    }
}
