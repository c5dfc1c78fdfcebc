//! A gap record as an event: what is missing is found by searches and stands on the timeline of an alert,
//! like what is not.

use event::{Certainty, Dictionary, Envelope, EventBatch, Gap, Kind, Marks, RowHead, time};
use std::sync::Arc;

/// The event's `event.action`.
const ACTION: &str = "gap";

/// A batch with the one event of a gap record. It is an event besides those that came in, and counted as
/// such.
pub(crate) fn event_of(gap: &Gap, raw: &[u8], head: RowHead, dict: &Arc<Dictionary>) -> EventBatch {
    let mut batch = EventBatch::new(dict.clone());
    let mut row = batch.begin(head, raw);
    let (cause, certainty) = (gap.cause.name().to_owned(), gap.certainty.name().to_owned());
    let protocol = gap.protocol.map(|p| format!("{p:?}").to_lowercase()).unwrap_or_default();
    let lost = gap.known_count().map_or_else(|| "some".to_owned(), |n| n.to_string());
    let verb = match gap.certainty {
        Certainty::Known => "are",
        Certainty::Possible => "may be",
    };
    let message = format!("{lost} events of {} {verb} missing: {cause}, {certainty}", gap.source);
    let number = |n: u64| if n == 0 { String::new() } else { n.to_string() };
    let optional = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
    for (name, kind, text) in [
        ("message", Kind::Str, message),
        ("event.kind", Kind::Str, "event".to_owned()),
        ("event.action", Kind::Str, ACTION.to_owned()),
        ("event.outcome", Kind::Str, "failure".to_owned()),
        ("event.reason", Kind::Str, cause.clone()),
        ("event.start", Kind::Str, time::rfc3339(gap.from_ns)),
        ("event.end", Kind::Str, time::rfc3339(gap.to_ns)),
        ("alcedo.gap.cause", Kind::Str, cause),
        ("alcedo.gap.certainty", Kind::Str, certainty),
        ("alcedo.gap.source", Kind::Str, gap.source.clone()),
        ("alcedo.gap.protocol", Kind::Str, protocol),
        ("alcedo.gap.connection", Kind::Int, number(gap.connection)),
        ("alcedo.gap.count", Kind::Int, number(gap.count)),
        ("alcedo.gap.bytes", Kind::Int, number(gap.bytes)),
        ("alcedo.gap.seq_from", Kind::Int, optional(gap.seq_from)),
        ("alcedo.gap.seq_to", Kind::Int, optional(gap.seq_to)),
    ] {
        if !text.is_empty() {
            let field = row.own_field(name);
            row.push(field, kind, text.as_bytes());
        }
    }
    row.mark(Marks::EXPANDED);
    row.finish();
    batch.settle();
    batch
}

/// Where the event of a gap record at `offset` stands.
pub(crate) fn head(envelope: &Arc<Envelope>, offset: u64, stream_ns: i64, wall_ns: i64) -> RowHead {
    RowHead {
        id: event::EventId::at(offset),
        received_ns: wall_ns,
        stream_ns,
        envelope: envelope.clone(),
    }
}
