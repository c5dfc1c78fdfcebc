//! Measures the hot readers on one core over real logs.
//!
//! Usage: `cargo run --release --example flatten -p parse -- OTRF_FOLDER AUTH_LOG.zst`
//! (zstd-compressed files). Prints events a second, best of five passes; decompression and splitting
//! are outside the clock, the batch's writing is inside.

use event::{Dictionary, Envelope, EventBatch, EventId, RowHead};
use parse::{auth, json, records, syslog};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows in a batch: what a few milliseconds of a busy stream bring.
const ROWS: usize = 512;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| "../shared/data/windows/otrf".into());
    let auth_log = arguments
        .next()
        .unwrap_or_else(|| "../shared/data/auth/ssh-bruteforce-auth.log.zst".into());
    windows(&folder)?;
    log_ins(&auth_log)
}

fn head(envelope: &Arc<Envelope>) -> RowHead {
    RowHead { id: EventId::default(), received_ns: 0, stream_ns: 0, envelope: Arc::clone(envelope) }
}

fn best(passes: usize, mut pass: impl FnMut()) -> Duration {
    let timed = (0..passes).map(|_| {
        let start = Instant::now();
        pass();
        start.elapsed()
    });
    timed.min().unwrap_or_default()
}

fn windows(folder: &str) -> std::io::Result<()> {
    // 64 MiB of events: well beyond the caches, a few seconds in all.
    const BYTES_MAX: usize = 64 << 20;
    let mut body = Vec::new();
    let mut paths: Vec<_> =
        std::fs::read_dir(folder)?.filter_map(|e| e.ok().map(|e| e.path())).collect();
    paths.sort();
    for path in paths.iter().filter(|p| p.extension().is_some_and(|e| e == "zst")) {
        if body.len() < BYTES_MAX {
            body.extend(zstd::decode_all(&std::fs::read(path)?[..])?);
            body.push(b'\n');
        }
    }
    let events: Vec<&[u8]> =
        records::split_json(&body).filter_map(|r| r.ok().map(|r| r.bytes)).collect();
    let bytes: usize = events.iter().map(|e| e.len()).sum();
    let (dict, envelope) = (Dictionary::ecs(), Arc::new(Envelope::internal()));
    let (limits, mut flattener, mut cells) = (json::Limits::default(), json::Flattener::new(), 0);
    let took = best(5, || {
        cells = 0;
        for chunk in events.chunks(ROWS) {
            let mut batch = EventBatch::new(Arc::clone(&dict));
            for event in chunk {
                let mut row = batch.begin(head(&envelope), event);
                let raw = row.raw();
                if let Ok(shape) = flattener.flatten(raw, "", &mut row, &limits) {
                    cells += shape.cells;
                }
                row.finish();
            }
        }
    });
    let seconds = took.as_secs_f64();
    println!(
        "json: {} events of {} bytes, {} cells: {:.0} events/s, {:.0} MB/s, {:.0} ns/event, {:.1} ns/cell",
        events.len(),
        bytes / events.len().max(1),
        cells / events.len().max(1),
        events.len() as f64 / seconds,
        bytes as f64 / seconds / 1e6,
        seconds * 1e9 / events.len() as f64,
        seconds * 1e9 / cells as f64,
    );
    let split = best(3, || assert!(records::split_json(&body).count() > 0));
    println!("split_json: {:.0} MB/s", body.len() as f64 / split.as_secs_f64() / 1e6);
    Ok(())
}

fn log_ins(path: &str) -> std::io::Result<()> {
    let body = zstd::decode_all(&std::fs::read(path)?[..])?;
    let lines: Vec<&[u8]> = records::split_lines(&body, false).map(|r| r.bytes).collect();
    let mut found = 0;
    let took = best(20, || {
        found = lines
            .iter()
            .filter_map(|line| syslog::header(line).ok())
            .filter(|h| h.app.is_some_and(|app| auth::parse(app, h.message).is_some()))
            .count();
    });
    println!(
        "syslog header + auth: {} lines, {found} log-in events: {:.0} lines/s, {:.0} ns/line",
        lines.len(),
        lines.len() as f64 / took.as_secs_f64(),
        took.as_secs_f64() * 1e9 / lines.len() as f64,
    );
    Ok(())
}
