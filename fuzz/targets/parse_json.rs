//! Any bytes as JSON.
#![no_main]

use event::{Dictionary, Envelope, EventBatch, EventId, RowHead};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

fuzz_target!(|bytes: &[u8]| {
    let mut batch = EventBatch::new(Dictionary::ecs());
    let envelope = Arc::new(Envelope::internal());
    let head = RowHead { id: EventId::default(), received_ns: 0, stream_ns: 0, envelope };
    let mut row = batch.begin(head, bytes);
    let raw = row.raw();
    let _ = parse::json::flatten(raw, "", &mut row, &parse::Limits::default());
    let _ = parse::json::value_end(raw, 0);
});
