//! Any bytes as an OTLP request, in either form: no panic, no record beyond the limits, and none that is no JSON.
#![no_main]

use event::{Dictionary, Envelope, EventBatch, EventId, RawBatch, RowHead};
use libfuzzer_sys::fuzz_target;
use parse::otlp::{Form, Limits, read};
use std::sync::Arc;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { record_bytes_max: 8 << 10, batch_bytes_max: 64 << 10, records_max: 64 };
    for form in [Form::Protobuf, Form::Json] {
        let envelope = Arc::new(Envelope::internal());
        let mut batch = RawBatch::of(envelope.clone());
        if read(form, bytes, &limits, 0, &mut batch).is_err() {
            continue;
        }
        assert!(batch.bytes.len() <= limits.batch_bytes_max);
        assert!(batch.records.len() <= limits.records_max);
        let mut rows = EventBatch::new(Dictionary::ecs());
        for record in &batch.records {
            assert!(record.len as usize <= limits.record_bytes_max);
            let envelope = envelope.clone();
            let head = RowHead { id: EventId::default(), received_ns: 0, stream_ns: 0, envelope };
            let mut row = rows.begin(head, batch.record_bytes(record));
            let raw = row.raw();
            parse::json::flatten(raw, "", &mut row, &parse::Limits::default()).expect("JSON");
            row.finish();
        }
    }
});
