//! Events a second on one core, pack by pack, as lines of JSON:
//! `cargo run --release -p shape --example shape_bench`. Reads each built-in pack's samples.

use event::{DictionaryBuilder, Envelope, EventBatch, EventId, Protocol, RowHead};
use shape::{PackSet, Scratch, Shaper, packs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Records in one batch, as the feeder cuts them.
const BATCH_ROWS: usize = 1_024;
/// How long a pack is measured.
const ROUND: Duration = Duration::from_millis(150);

fn main() {
    let Ok(set) = PackSet::builtin() else { return println!("the built-in packs are wrong") };
    let mut names = DictionaryBuilder::new();
    set.register(&mut names);
    let dict = names.build();
    let shaper = Shaper::new(Arc::new(set), dict.clone(), Default::default(), Default::default());
    let envelope = Arc::new(Envelope::of("bench", Protocol::File));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs");
    for pack in packs::ALL {
        let records = records(&root.join(pack.name).join("samples"));
        if records.is_empty() {
            continue;
        }
        let bytes: usize = records.iter().map(Vec::len).sum();
        let mut scratch = Scratch::default();
        let (mut events, started) = (0usize, Instant::now());
        while started.elapsed() < ROUND {
            let mut batch = EventBatch::new(dict.clone());
            for at in 0..BATCH_ROWS {
                let head = RowHead {
                    id: EventId::at((events + at) as u64),
                    received_ns: shape::testing::RECEIVED_NS,
                    stream_ns: 0,
                    envelope: envelope.clone(),
                };
                shaper.shape(head, &records[at % records.len()], &mut batch, &mut scratch);
            }
            std::hint::black_box(&batch);
            events += BATCH_ROWS;
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{{\"pack\":\"{}\",\"events_per_s\":{:.0},\"ns_per_event\":{:.0},\"bytes_per_event\":{}}}",
            pack.name,
            events as f64 / seconds,
            seconds / events as f64 * 1e9,
            bytes / records.len()
        );
    }
}

fn records(samples: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(samples) else { return Vec::new() };
    let texts = entries.filter_map(|e| std::fs::read(e.ok()?.path()).ok());
    let lines = |text: Vec<u8>| -> Vec<Vec<u8>> {
        text.split(|c| *c == b'\n').filter(|l| !l.is_empty()).map(<[u8]>::to_vec).collect()
    };
    texts.flat_map(lines).collect()
}
