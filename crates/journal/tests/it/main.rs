//! The journal against models, damage and a faulty disk.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests")]

mod damage;
mod faults;
mod model;
mod promises;
mod sim;
mod tools;

use event::{Envelope, Protocol, RawBatch};
use journal::{Journal, JournalError, Options, OsClock, OsFs, Recovery};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Small segments, so that every test crosses several.
fn small() -> Options {
    Options { segment_size_bytes: 256 << 10, disk_reserve_bytes: 0, ..Options::default() }
}

fn open(dir: &Path) -> (Journal, Recovery) {
    open_with(dir, small())
}

fn open_with(dir: &Path, options: Options) -> (Journal, Recovery) {
    Journal::open(dir, options, Arc::new(OsFs), Arc::new(OsClock)).unwrap()
}

fn batch(records: &[&[u8]]) -> RawBatch {
    let mut batch = RawBatch::of(Arc::new(Envelope::of("test", Protocol::Http)));
    for (i, bytes) in records.iter().enumerate() {
        batch.push(1_000 + i as i64, bytes);
    }
    batch
}

/// All readable records by offset, and the errors met on the way.
fn read_all(journal: &Journal, from: u64) -> (Vec<(u64, Vec<u8>)>, Vec<JournalError>) {
    let (mut records, mut errors) = (Vec::new(), Vec::new());
    let mut reader = journal.reader(from);
    loop {
        match reader.next(Duration::ZERO) {
            Ok(Some(block)) => {
                records.extend(block.records().map(|r| (r.offset, r.bytes.to_vec())));
            }
            Ok(None) => return (records, errors),
            Err(error) => errors.push(error),
        }
    }
}
