//! `alcedo journal fsck|dump|export|salvage`: the journal, looked into offline.

use super::{complain, report, say};
use crate::cli::Journal;
use crate::exit::{Exit, Failure, Outcome};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use journal::inspect::{Exported, Progress};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The streams of a data folder.
pub const STREAMS: [&str; 2] = ["data", "ledger"];

/// Runs the verb.
pub fn run(verb: &Journal, data_dir: &Path) -> Outcome {
    match verb {
        Journal::Fsck => fsck(data_dir),
        Journal::Dump { from, to, stream } => dump(data_dir, stream, *from, *to),
        Journal::Export { from, to, stream } => export(data_dir, stream, *from, *to),
        Journal::Salvage { out, stream } => salvage(data_dir, stream, out),
    }
}

fn failed(error: journal::JournalError) -> Failure {
    Failure::new(Exit::Integrity, error, "is --data-dir the folder of an Alcedo installation?")
}

fn fsck(data_dir: &Path) -> Outcome {
    let mut sound = true;
    for stream in STREAMS {
        let mut meter = Meter::new(stream);
        let report = journal::inspect::fsck(&data_dir.join(stream), &mut |p| meter.tell(p));
        let report = report.map_err(failed)?;
        sound &= report.is_sound();
        say(&format!("{stream}: {}", if report.is_sound() { "sound" } else { "DAMAGED" }));
        say(&format!("{report:#?}"));
    }
    Ok(if sound { Exit::Ok } else { Exit::Integrity })
}

fn dump(data_dir: &Path, stream: &str, from: u64, to: Option<u64>) -> Outcome {
    let dir = stream_dir(data_dir, stream)?;
    let end = to.map_or(u64::MAX, |to| to.saturating_add(1));
    journal::inspect::dump(&dir, from, end, |record| {
        let mut line = head(record);
        line["continued"] = record.continued.into();
        line["bytes"] = String::from_utf8_lossy(record.bytes).into();
        say(&line.to_string());
    })
    .map_err(failed)?;
    complain("end of the stream");
    Ok(Exit::Ok)
}

fn stream_dir(data_dir: &Path, stream: &str) -> Result<PathBuf, Failure> {
    match STREAMS.contains(&stream) {
        true => Ok(data_dir.join(stream)),
        false => Err(Failure::invalid(format!("no stream is called `{stream}`"), "data or ledger")),
    }
}

/// What both forms of output say of a record.
fn head(record: &journal::RecordView<'_>) -> serde_json::Value {
    let envelope = &record.envelope;
    json!({
        "offset": record.offset,
        "kind": format!("{:?}", record.kind).to_lowercase(),
        "source": &*envelope.source,
        "identity": &*envelope.identity,
        "peer": &*envelope.peer,
        "protocol": envelope.protocol.name(),
        "received": event::time::rfc3339(record.wall_ns),
        "stream_ns": record.stream_ns,
    })
}

fn export(data_dir: &Path, stream: &str, from: u64, to: Option<u64>) -> Outcome {
    let dir = stream_dir(data_dir, stream)?;
    let end = to.map_or(u64::MAX, |to| to.saturating_add(1));
    let (mut meter, mut missing) = (Meter::new(stream), 0u64);
    journal::inspect::export(&dir, from, end, &mut |p| meter.tell(p), |one| match one {
        Exported::Record(record, bytes) => {
            let mut line = head(record);
            line["connection"] = record.envelope.connection.into();
            line["path"] = (*record.envelope.path).into();
            line["received_ns"] = record.wall_ns.into();
            line["bytes_base64"] = STANDARD.encode(bytes).into();
            say(&line.to_string());
        }
        Exported::Missing(hole) => {
            missing += hole.to_offset.saturating_sub(hole.from_offset);
            let (first, next) = (hole.from_offset, hole.to_offset);
            let line = json!({"missing": {"first": first, "next": next, "segment": hole.segment}});
            say(&line.to_string());
        }
    })
    .map_err(failed)?;
    if missing > 0 {
        complain(&format!("{missing} records are missing; the lines `missing` say where"));
        return Ok(Exit::Integrity);
    }
    Ok(Exit::Ok)
}

fn salvage(data_dir: &Path, stream: &str, out: &Path) -> Outcome {
    let dir = stream_dir(data_dir, stream)?;
    let mut meter = Meter::new(stream);
    let rescue = journal::inspect::salvage(&dir, out, &mut |p| meter.tell(p)).map_err(failed)?;
    for name in &rescue.unreadable {
        complain(&format!("{name}: its header is gone, nothing of it can be trusted"));
    }
    for hole in &rescue.holes {
        complain(&format!("records {}..{} are gone", hole.from_offset, hole.to_offset));
    }
    say(&format!(
        "{}: {} records in {} blocks saved from {} files to {}",
        stream,
        rescue.records,
        rescue.blocks,
        rescue.files,
        out.display()
    ));
    let whole = rescue.holes.is_empty() && rescue.unreadable.is_empty();
    Ok(if whole { Exit::Ok } else { Exit::Integrity })
}

/// Says every few seconds how far long work has come.
struct Meter<'a> {
    stream: &'a str,
    told: Instant,
}

/// Short work says nothing.
const TELL_EVERY: Duration = Duration::from_secs(2);

impl<'a> Meter<'a> {
    fn new(stream: &'a str) -> Self {
        Self { stream, told: Instant::now() }
    }

    fn tell(&mut self, progress: Progress) {
        if self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.told = Instant::now();
        let Progress { done_bytes, total_bytes } = progress;
        let percent = done_bytes * 100 / total_bytes.max(1);
        report(&format!("{}: {percent} % of {} MiB", self.stream, total_bytes >> 20));
    }
}
