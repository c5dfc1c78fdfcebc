//! The control records the journal writes about itself.

use crate::recovery::Recovery;
use crate::scan::Hole;
use event::{Certainty, Envelope, Gap, GapCause, RawBatch, RecordKind};
use std::fmt::Write;
use std::sync::Arc;

/// A `Lifecycle` record: `{"event":"...","name":value, ...}`. Values are numbers, booleans, or texts
/// that get quoted.
pub(crate) fn lifecycle(event: &str, wall_ns: i64, fields: &[(&str, String)]) -> RawBatch {
    let mut text = format!(r#"{{"event":"{event}""#);
    for (name, value) in fields {
        let plain = matches!(value.as_str(), "true" | "false") || value.parse::<i128>().is_ok();
        let _ = match plain {
            true => write!(text, r#","{name}":{value}"#),
            false => write!(text, r#","{name}":"{}""#, escaped(value)),
        };
    }
    text.push('}');
    let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
    batch.push_as(RecordKind::Lifecycle, 0, wall_ns, text.as_bytes());
    batch
}

/// Whether a `Lifecycle` record says that a run of the journal began. Others tell of faults, space
/// and overload in the midst of one.
pub(crate) fn is_opening(record: &[u8]) -> bool {
    record.starts_with(br#"{"event":"journal."#)
}

/// What a JSON text may not hold as it is.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A `Gap` record for a damaged range.
pub(crate) fn corruption(hole: &Hole, wall_ns: i64) -> RawBatch {
    let gap = Gap::at(GapCause::Corruption, Certainty::Known, "alcedo", wall_ns);
    let gap = Gap {
        bytes: hole.to_pos.saturating_sub(hole.from_pos),
        ..gap.over(hole.from_offset, hole.to_offset.saturating_sub(1))
    };
    let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
    gap.push_to(&mut batch, 0);
    batch
}

/// A gap of a sender, told by us: under its source's name, but not as something it sent.
pub(crate) fn about(sender: &Envelope, gap: &Gap) -> RawBatch {
    let envelope = Envelope { source: sender.source.clone(), ..Envelope::internal() };
    let mut batch = RawBatch::of(Arc::new(envelope));
    gap.push_to(&mut batch, 0);
    batch
}

/// All there is to tell after opening: the run's beginning, damage that was not told yet, and
/// connections that were open when the last run crashed, with what their senders may have lost.
pub(crate) fn opening(
    recovery: &Recovery,
    news: &[Hole],
    connections: &[(Arc<Envelope>, i64)],
    wall_ns: i64,
) -> Vec<RawBatch> {
    if recovery.created {
        return Vec::new();
    }
    let event = if recovery.clean { "journal.opened" } else { "journal.crashed" };
    let last = recovery.last_offset.map_or(-1, i128::from);
    let fields = [
        ("last_offset", last.to_string()),
        ("torn_bytes", recovery.torn_bytes.to_string()),
        ("holes", recovery.holes.len().to_string()),
        ("unreadable_segments", recovery.unreadable.len().to_string()),
        ("damaged_headers", recovery.damaged_headers.len().to_string()),
        ("damaged_footers", recovery.damaged_footers.len().to_string()),
        ("manifest_lost", recovery.manifest_lost.to_string()),
    ];
    let mut out = vec![lifecycle(event, wall_ns, &fields)];
    let news = news.iter().filter(|hole| hole.from_offset < hole.to_offset);
    out.extend(news.map(|hole| corruption(hole, wall_ns)));
    if !recovery.clean {
        out.extend(connections.iter().map(|(envelope, heard_ns)| {
            let (cause, certainty) = (GapCause::CrashUnacked, Certainty::Possible);
            let gap = Gap {
                protocol: Some(envelope.protocol),
                connection: envelope.connection,
                from_ns: *heard_ns,
                ..Gap::at(cause, certainty, &envelope.source, wall_ns)
            };
            about(envelope, &gap)
        }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_form_and_texts_are_escaped() {
        let fields = [("n", "-5".to_owned()), ("ok", "true".into()), ("why", "a \"b\"\n".into())];
        let batch = lifecycle("x", 9, &fields);
        let text = r#"{"event":"x","n":-5,"ok":true,"why":"a \"b\" "}"#;
        assert_eq!(batch.bytes, text.as_bytes());
        assert_eq!(batch.records[0].kind, RecordKind::Lifecycle);
        let crashed = opening(&Recovery::default(), &[], &[], 0);
        assert!(is_opening(&crashed[0].bytes) && !is_opening(&batch.bytes));
    }
}
