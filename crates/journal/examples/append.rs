//! How fast appends become durable: 64 in flight, 300 bytes per record, one or more per batch.
//!
//! `cargo run --release --example append -p journal -- [seconds] [records per batch] [folder]`

use event::{Envelope, Protocol, RawBatch};
use journal::{Journal, Options, OsClock, OsFs};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let seconds: u64 = args.get(1).map_or(Ok(5), |a| a.parse())?;
    let per_batch: usize = args.get(2).map_or(Ok(1), |a| a.parse())?;
    let dir = args.get(3).cloned().unwrap_or_else(|| "append-example".into());
    let options = Options { disk_reserve_bytes: 0, ..Options::default() };
    let (journal, _) = Journal::open(&dir, options, Arc::new(OsFs), Arc::new(OsClock))?;
    journal.set_cursor("none", 0)?;
    let appender = journal.appender();
    let (back, landed) = std::sync::mpsc::channel();
    let envelope = Arc::new(Envelope::of("bench", Protocol::Http));
    let mut batch = RawBatch::of(envelope);
    for i in 0..per_batch {
        batch.push(i as i64, &[b'x'; 300]);
    }
    for _ in 0..64 {
        back.send(())?;
    }
    let start = Instant::now();
    let mut batches = 0u64;
    while start.elapsed() < Duration::from_secs(seconds) {
        landed.recv()?;
        let back = back.clone();
        appender.append(batch.clone(), move |result| {
            result.expect("durable");
            let _ = back.send(());
        })?;
        batches += 1;
        if batches.is_multiple_of(4096) {
            journal.set_cursor("none", journal.durable().unwrap_or(0))?;
            journal.retire()?;
        }
    }
    let passed = start.elapsed().as_secs_f64();
    let stats = journal.stats();
    println!(
        "{:.0} events/s, {:.1} MB/s of event bytes; {} groups of {:.1} KiB; sync mean {:.3} ms max {:.1} ms",
        stats.records as f64 / passed,
        stats.records as f64 * 300.0 / passed / 1e6,
        stats.groups,
        stats.group_bytes as f64 / stats.groups.max(1) as f64 / 1024.0,
        stats.sync_ns_sum as f64 / stats.syncs.max(1) as f64 / 1e6,
        stats.sync_ns_max as f64 / 1e6,
    );
    journal.close()?;
    Ok(())
}
