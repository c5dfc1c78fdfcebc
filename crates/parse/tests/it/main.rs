//! Integration tests of the parsers.
#![allow(clippy::unwrap_used, reason = "tests")]

mod corpora;
mod formats;
mod otlp;
mod syslog_vectors;
mod totality;

use event::{Dictionary, Envelope, EventBatch, EventId, RowHead};
use std::sync::Arc;

/// An empty batch and a head for its rows.
fn batch() -> (EventBatch, RowHead) {
    let head = RowHead {
        id: EventId::default(),
        received_ns: 1_795_479_240_000_000_000,
        stream_ns: 0,
        envelope: Arc::new(Envelope::internal()),
    };
    (EventBatch::new(Dictionary::ecs()), head)
}
