//! The monitors over real event batches.
#![allow(clippy::unwrap_used, reason = "tests")]

mod accounts;
mod sources;

use event::{Dictionary, Envelope, EventBatch, EventId, Marks, Protocol, RowHead};
use std::sync::Arc;

/// One event as the tests write it: source, host, stream (and wall) time, marks.
#[derive(Clone, Debug)]
struct Row {
    source: &'static str,
    host: String,
    at_ns: i64,
    marks: Marks,
}

fn batch(rows: &[Row]) -> EventBatch {
    let mut batch = EventBatch::new(Dictionary::ecs());
    for (offset, row) in rows.iter().enumerate() {
        let head = RowHead {
            id: EventId::at(offset as u64),
            received_ns: row.at_ns,
            stream_ns: row.at_ns,
            envelope: Arc::new(Envelope::of(row.source, Protocol::Http)),
        };
        let mut writer = batch.begin(head, b"0123456789");
        writer.push_str("host.name", &row.host);
        writer.set_event_ns(row.at_ns - 1_500_000_000);
        writer.mark(row.marks);
        writer.finish();
    }
    batch
}
