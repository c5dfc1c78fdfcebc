//! `alcedo journal fsck|dump|export|salvage`: the journal, looked into offline.

use super::{complain, output, report, say};
use crate::cli::{Global, Journal, Output};
use crate::exit::{Exit, Failure, Outcome};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use journal::inspect::{Exported, Progress, Report, SegmentReport};
use journal::{Hole, JournalError};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The streams of a data folder.
pub const STREAMS: [&str; 2] = ["data", "ledger"];

/// Runs the verb.
pub fn run(verb: &Journal, data_dir: &Path, global: &Global) -> Outcome {
    match verb {
        Journal::Fsck => fsck(data_dir, output(global)),
        Journal::Dump { from, to, stream } => dump(data_dir, stream, *from, *to),
        Journal::Export { from, to, stream } => export(data_dir, stream, *from, *to),
        Journal::Salvage { out, stream } => salvage(data_dir, stream, out),
    }
}

/// What an offline look at a stream failed with.
pub(super) fn failed(error: journal::JournalError) -> Failure {
    let hint = match &error {
        JournalError::InUse { .. } => "a copy of the folder can be looked at while the server runs",
        _ => "is --data-dir the folder of an Alcedo installation?",
    };
    Failure::new(Exit::Integrity, error, hint)
}

fn fsck(data_dir: &Path, form: Output) -> Outcome {
    let mut sound = true;
    for stream in STREAMS {
        let mut meter = Meter::new(stream);
        let report = journal::inspect::fsck(&data_dir.join(stream), &mut |p| meter.tell(p));
        let report = report.map_err(failed)?;
        sound &= report.is_sound();
        match form {
            Output::Table => lines_of(stream, &report).iter().for_each(|line| say(line)),
            _ => say(&report_json(stream, &report).to_string()),
        }
    }
    Ok(if sound { Exit::Ok } else { Exit::Integrity })
}

/// A report for people: what is wrong in full, what is right in short.
fn lines_of(stream: &str, report: &Report) -> Vec<String> {
    let verdict = if report.is_sound() { "sound" } else { "DAMAGED" };
    let records: u64 = report.segments.iter().map(|s| s.records).sum();
    let mut out = vec![format!(
        "{stream}: {verdict}, {} segments, {records} records from {}",
        report.segments.len(),
        report.first_offset
    )];
    if report.is_manifest_lost() {
        out.push(
            "  both copies of the manifest are gone: cursors are lost, and what is missing in front or at \
             the end cannot be told; a start goes on with the segments that are there"
                .into(),
        );
    } else if !report.clean {
        out.push("  it was not closed: the next start repairs its end".into());
    }
    for one in &report.segments {
        out.extend(fault_of(one).map(|what| format!("  {}: {what}", one.name)));
        if one.torn_bytes > 0 {
            out.push(format!(
                "  {}: {} bytes of a write that never finished at the end, of nothing acknowledged",
                one.name, one.torn_bytes
            ));
        }
    }
    for hole in &report.holes {
        let (first, next) = (hole.from_offset, hole.to_offset);
        out.push(match next - first.min(next) {
            0 => format!("  {}: the chain of blocks is broken before record {first}", hole.segment),
            n => format!("  {}: {n} records are missing, {first} to {}", hole.segment, next - 1),
        });
    }
    out.extend(
        report.set_aside.iter().map(|name| format!("  {name}: set aside by an earlier start")),
    );
    for (name, next) in &report.cursors {
        out.push(format!("  cursor {}: {next}", event::text::render(name.as_bytes())));
    }
    out
}

/// What is wrong with a segment's header.
fn fault_of(segment: &SegmentReport) -> Option<&'static str> {
    match (segment.header_valid, segment.header_damaged) {
        (false, _) => Some("its header cannot be read, nothing of it can"),
        (true, true) => Some("one of the two copies of its header is damaged"),
        (true, false) => None,
    }
}

fn report_json(stream: &str, report: &Report) -> Value {
    let hex = |root: [u8; 32]| root.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let segments = report.segments.iter().map(|s| {
        json!({
            "name": s.name, "fault": fault_of(s), "sealed": s.sealed, "root": s.root.map(hex),
            "blocks": s.blocks, "records": s.records, "first": s.first_offset, "next": s.next_offset,
            "torn_bytes": s.torn_bytes,
        })
    });
    let cursors: serde_json::Map<_, _> =
        report.cursors.iter().map(|(name, next)| (name.clone(), json!(next))).collect();
    json!({
        "stream": stream,
        "sound": report.is_sound(),
        "manifest_lost": report.is_manifest_lost(),
        "closed": report.clean,
        "first": report.first_offset,
        "synced_next": report.durable_next,
        "cursors": cursors,
        "missing": report.holes.iter().map(hole_json).collect::<Vec<_>>(),
        "set_aside": report.set_aside,
        "segments": segments.collect::<Vec<_>>(),
    })
}

fn hole_json(hole: &Hole) -> Value {
    json!({"first": hole.from_offset, "next": hole.to_offset, "segment": hole.segment})
}

fn dump(data_dir: &Path, stream: &str, from: u64, to: Option<u64>) -> Outcome {
    let dir = stream_dir(data_dir, stream)?;
    let end = to.map_or(u64::MAX, |to| to.saturating_add(1));
    let holes = journal::inspect::dump(&dir, from, end, |record| {
        let mut line = head(record);
        line["continued"] = record.continued.into();
        line["bytes"] = String::from_utf8_lossy(record.bytes).into();
        say(&line.to_string());
    })
    .map_err(failed)?;
    holes.iter().for_each(|hole| say(&json!({"missing": hole_json(hole)}).to_string()));
    complain("end of the stream");
    Ok(told_missing(holes.iter().map(records_in).sum()))
}

fn records_in(hole: &Hole) -> u64 {
    hole.to_offset.saturating_sub(hole.from_offset)
}

/// Says that records are missing, if any are.
fn told_missing(records: u64) -> Exit {
    if records == 0 {
        return Exit::Ok;
    }
    complain(&format!("{records} records are missing; the lines `missing` say where"));
    Exit::Integrity
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
            missing += records_in(hole);
            say(&json!({"missing": hole_json(hole)}).to_string());
        }
    })
    .map_err(failed)?;
    Ok(told_missing(missing))
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
