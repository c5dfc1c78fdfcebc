//! How many records a second one core shapes: `cargo run --release --example shape -p shape`.
//! Reads the shared corpora; a missing one is skipped.

use event::{DictionaryBuilder, Envelope, EventBatch, EventId, Protocol, RowHead};
use shape::{PackSet, Scratch, Shaper};
use std::sync::Arc;
use std::time::Instant;

/// Records in one batch, as the feeder cuts them.
const BATCH_ROWS: usize = 1_024;
/// Records read from a corpus: enough to leave every cache.
const RECORDS_MAX: usize = 60_000;
const ROUNDS: usize = 5;

fn main() {
    let Ok(packs) = PackSet::builtin() else { return println!("the built-in packs are wrong") };
    let mut names = DictionaryBuilder::new();
    packs.register(&mut names);
    let dict = names.build();
    let packs = Arc::new(packs);
    let shaper = Shaper::new(packs, dict.clone(), Default::default(), Default::default());
    for (name, folder, needle) in [
        ("sshd", "auth", Some(" sshd[")),
        ("auth, all", "auth", None),
        ("web", "web", None),
        ("windows", "windows/otrf", None),
        ("cloudtrail", "cloud/cloudtrail-invictus", None),
    ] {
        let records = records(folder, needle);
        if records.is_empty() {
            continue;
        }
        let bytes: usize = records.iter().map(Vec::len).sum();
        let best = (0..ROUNDS).map(|_| round(&shaper, &dict, &records)).fold(f64::MAX, f64::min);
        let n = records.len() as f64;
        println!(
            "{name:12} {:8} records, {:5} bytes each: {:9.0} records/s, {:6.0} ns, {:5.0} MB/s",
            records.len(),
            bytes / records.len(),
            n / best,
            best / n * 1e9,
            bytes as f64 / best / 1e6
        );
    }
}

/// Seconds for all records.
fn round(shaper: &Shaper, dict: &Arc<event::Dictionary>, records: &[Vec<u8>]) -> f64 {
    let envelope = Arc::new(Envelope::of("bench", Protocol::File));
    let mut scratch = Scratch::default();
    let started = Instant::now();
    for (n, chunk) in records.chunks(BATCH_ROWS).enumerate() {
        let mut batch = EventBatch::new(dict.clone());
        for (at, raw) in chunk.iter().enumerate() {
            let head = RowHead {
                id: EventId::at((n * BATCH_ROWS + at) as u64),
                received_ns: 1_795_478_400_000_000_000,
                stream_ns: 0,
                envelope: envelope.clone(),
            };
            shaper.shape(head, raw, &mut batch, &mut scratch);
        }
        std::hint::black_box(&batch);
    }
    started.elapsed().as_secs_f64()
}

fn records(folder: &str, needle: Option<&str>) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    let Some(dir) = testkit::corpus(folder) else { return out };
    let Ok(entries) = std::fs::read_dir(dir) else { return out };
    for path in entries.filter_map(|e| e.ok().map(|e| e.path())) {
        if path.extension().is_none_or(|e| e != "zst") || out.len() >= RECORDS_MAX {
            continue;
        }
        let Ok(file) = std::fs::File::open(&path) else { continue };
        let Ok(text) = zstd::decode_all(file) else { continue };
        for line in text.split(|c| *c == b'\n').filter(|l| !l.is_empty()) {
            let fits = needle.is_none_or(|n| memchr::memmem::find(line, n.as_bytes()).is_some());
            if fits && out.len() < RECORDS_MAX {
                out.push(line.to_vec());
            }
        }
    }
    // Small corpora are repeated so that a round lasts long enough to be measured.
    let once = out.len();
    while once > 0 && out.len() < RECORDS_MAX {
        out.push(out[out.len() - once].clone());
    }
    out
}
