//! `alcedo journal fsck|dump`: the journal, looked into offline.

use super::{complain, say};
use crate::cli::Journal;
use crate::exit::{Exit, Failure, Outcome};
use serde_json::json;
use std::path::Path;

/// The streams of a data folder.
pub const STREAMS: [&str; 2] = ["data", "ledger"];

/// Runs the verb.
pub fn run(verb: &Journal, data_dir: &Path) -> Outcome {
    match verb {
        Journal::Fsck => fsck(data_dir),
        Journal::Dump { from, to, stream } => dump(data_dir, stream, *from, *to),
    }
}

fn failed(error: journal::JournalError) -> Failure {
    Failure::new(Exit::Integrity, error, "is --data-dir the folder of an Alcedo installation?")
}

fn fsck(data_dir: &Path) -> Outcome {
    let mut sound = true;
    for stream in STREAMS {
        let report = journal::inspect::fsck(&data_dir.join(stream)).map_err(failed)?;
        sound &= report.is_sound();
        say(&format!("{stream}: {}", if report.is_sound() { "sound" } else { "DAMAGED" }));
        say(&format!("{report:#?}"));
    }
    Ok(if sound { Exit::Ok } else { Exit::Integrity })
}

fn dump(data_dir: &Path, stream: &str, from: u64, to: Option<u64>) -> Outcome {
    if !STREAMS.contains(&stream) {
        return Err(Failure::invalid(format!("no stream is called `{stream}`"), "data or ledger"));
    }
    let end = to.map_or(u64::MAX, |to| to.saturating_add(1));
    journal::inspect::dump(&data_dir.join(stream), from, end, |record| {
        let envelope = &record.envelope;
        say(&json!({
            "offset": record.offset,
            "kind": format!("{:?}", record.kind).to_lowercase(),
            "source": &*envelope.source,
            "identity": &*envelope.identity,
            "peer": &*envelope.peer,
            "protocol": envelope.protocol.name(),
            "received": event::time::rfc3339(record.wall_ns),
            "stream_ns": record.stream_ns,
            "continued": record.continued,
            "bytes": String::from_utf8_lossy(record.bytes),
        })
        .to_string());
    })
    .map_err(failed)?;
    complain("end of the stream");
    Ok(Exit::Ok)
}
