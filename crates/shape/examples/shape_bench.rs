//! Events a second on one core, pack by pack, as lines of JSON:
//! `cargo run --release -p shape --example shape_bench`. Reads each built-in pack's samples.
//!
//! With a pack's name and a number it shapes so many events of it and says nothing: run under a heap
//! profiler, two numbers of events tell what one event allocates (`cargo xtask bench shape`).

use event::{Dictionary, DictionaryBuilder, Envelope, EventBatch, EventId, Protocol, RowHead};
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
    let mut bench = Bench { shaper, dict, envelope, scratch: Scratch::default() };
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [pack, events] = &args[..] {
        let records = records(pack);
        for _ in 0..events.parse::<usize>().unwrap_or(0) / BATCH_ROWS {
            bench.batch(&records);
        }
        return;
    }
    for pack in packs::ALL {
        let records = records(pack.name);
        if records.is_empty() {
            continue;
        }
        let bytes: usize = records.iter().map(Vec::len).sum();
        let (mut events, started) = (0usize, Instant::now());
        while started.elapsed() < ROUND {
            bench.batch(&records);
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

struct Bench {
    shaper: Shaper,
    dict: Arc<Dictionary>,
    envelope: Arc<Envelope>,
    scratch: Scratch,
}

impl Bench {
    fn batch(&mut self, records: &[Vec<u8>]) {
        let mut batch = EventBatch::new(self.dict.clone());
        for at in 0..BATCH_ROWS {
            let head = RowHead {
                id: EventId::at(at as u64),
                received_ns: shape::testing::RECEIVED_NS,
                stream_ns: 0,
                envelope: self.envelope.clone(),
            };
            let record = &records[at % records.len()];
            self.shaper.shape(head, record, &mut batch, &mut self.scratch);
        }
        std::hint::black_box(&batch);
    }
}

/// The lines of a pack's samples.
fn records(pack: &str) -> Vec<Vec<u8>> {
    let packs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs");
    shape::testing::lines(&packs.join(pack)).unwrap_or_default()
}
