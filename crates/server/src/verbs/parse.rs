//! `alcedo parse`: each record as the event it becomes, one JSON object per line.

use crate::cli::{Framing, Global, Output, ParseFiles};
use crate::config::Detection;
use crate::exit::{Exit, Failure, Outcome};
use crate::{files, generation::Parts};
use event::{Envelope, EventBatch, EventId, Protocol, RowHead};
use pipeline::Generation;
use serde_json::{Value, json};
use shape::{Detected, Explanation, StageField};
use std::io::{BufWriter, Write};
use std::sync::Arc;

/// Rows of a batch before it is printed and started afresh.
const BATCH_ROWS: usize = 256;

/// Runs the verb. Exactly one object per record, in order; parse failures are part of the answer.
pub fn run(args: &ParseFiles, global: &Global) -> Outcome {
    let config = super::check::config_of(global)?;
    let packs = args.packs.as_ref().or(config.packs.as_ref());
    let mut parts = Parts::of_files(&[], packs, &Detection::default())?;
    parts.ground = parts.ground.redacting_as(&config)?;
    super::note_other_key(&config);
    parts.complaints().iter().for_each(|complaint| super::complain(complaint));
    let generation = parts.compile(0, [0; 16])?;
    let mut out = Printer::new(generation, args.pack.as_deref());
    out.explain = args.explain.then(|| super::output(global));
    let mut exit = Exit::Ok;
    for path in &args.files {
        let shown = path.display().to_string();
        out.file(&shown);
        let bytes = match files::read(path) {
            Ok((bytes, None)) => bytes,
            Ok((bytes, Some(problem))) => {
                super::complain(&format!("{shown} {problem}"));
                exit = Exit::Partial;
                bytes
            }
            Err(error) => {
                super::complain(&format!("{shown} {error}"));
                exit = Exit::Partial;
                continue;
            }
        };
        match args.framing {
            Framing::Whole => out.record(&bytes)?,
            Framing::Lines => {
                for line in parse::records::split_lines(&bytes, true) {
                    out.record(line.bytes)?;
                }
            }
            Framing::JsonMessage => {
                for line in parse::records::split_lines(&bytes, true) {
                    out.record(message_of(line.bytes).as_deref().unwrap_or(line.bytes))?;
                }
            }
        }
        out.flush()?;
    }
    Ok(exit)
}

/// The `message` string of a JSON object.
fn message_of(line: &[u8]) -> Option<Vec<u8>> {
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    Some(value.get("message")?.as_str()?.as_bytes().to_vec())
}

struct Printer {
    generation: Generation,
    batch: EventBatch,
    scratch: shape::Scratch,
    headers: shape::Headers,
    envelope: Arc<Envelope>,
    pack: Arc<str>,
    received_ns: i64,
    offset: u64,
    out: BufWriter<std::io::Stdout>,
    line: String,
    /// Print how records come to their fields instead, in this form.
    explain: Option<Output>,
}

impl Printer {
    fn new(generation: Generation, pack: Option<&str>) -> Self {
        Self {
            batch: EventBatch::new(generation.dict.clone()),
            generation,
            scratch: shape::Scratch::default(),
            headers: shape::Headers::default(),
            envelope: Arc::new(Envelope::of("file", Protocol::File)),
            pack: pack.unwrap_or_default().into(),
            received_ns: io::intake::wall_ns(),
            offset: 0,
            out: BufWriter::with_capacity(1 << 16, std::io::stdout()),
            line: String::new(),
            explain: None,
        }
    }

    fn file(&mut self, path: &str) {
        let own = Envelope::of("file", Protocol::File);
        self.envelope = Arc::new(Envelope { path: path.into(), pack: self.pack.clone(), ..own });
    }

    fn record(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let with_header = self.headers.take(&self.envelope, bytes);
        let head = RowHead {
            id: EventId::at(self.offset),
            received_ns: self.received_ns,
            stream_ns: self.received_ns,
            envelope: with_header.unwrap_or_else(|| self.envelope.clone()),
        };
        self.offset += 1;
        if let Some(form) = self.explain {
            return self.explained(head, bytes, form);
        }
        self.generation.shaper.shape_whole(head, bytes, &mut self.batch, &mut self.scratch);
        if self.batch.len() >= BATCH_ROWS {
            self.print()?;
        }
        Ok(())
    }

    /// Which pack takes the record and why, and which step wrote what from which bytes.
    fn explained(&mut self, head: RowHead, bytes: &[u8], form: Output) -> Result<(), Failure> {
        let (shaper, dict) = (&self.generation.shaper, &self.generation.dict);
        let detected = shaper.detect(head.clone(), bytes, dict);
        let events = shaper.explain(head.clone(), bytes, dict);
        let text = match form {
            Output::Table => as_text(&head, &detected, &events),
            _ => as_json(&head, &detected, &events).to_string(),
        };
        super::written(writeln!(self.out, "{text}"))
    }

    fn print(&mut self) -> Result<(), Failure> {
        for row in self.batch.rows() {
            self.line.clear();
            shape::to_json(&row, &mut self.line);
            self.line.push('\n');
            super::written(self.out.write_all(self.line.as_bytes()))?;
        }
        self.batch = EventBatch::new(self.generation.dict.clone());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.print()?;
        super::written(self.out.flush())
    }
}

fn as_json(head: &RowHead, detected: &Detected, events: &[Explanation]) -> Value {
    let field = |f: &StageField| {
        let bytes = f.bytes.as_ref().map(|b| [b.start, b.end]);
        json!({"name": f.name, "value": f.value, "bytes": bytes})
    };
    let event = |event: &Explanation| {
        let stages = event.stages.iter().map(|stage| {
            json!({"stage": stage.name, "fields": stage.fields.iter().map(field).collect::<Vec<_>>()})
        });
        json!({
            "original": String::from_utf8_lossy(&event.raw),
            "stages": stages.collect::<Vec<_>>(),
        })
    };
    json!({
        "file": &*head.envelope.path,
        "record": head.id.offset + 1,
        "pack": detected.pack,
        "why": detected.why,
        "syslog_header": detected.has_syslog_header,
        "events": events.iter().map(event).collect::<Vec<_>>(),
    })
}

fn as_text(head: &RowHead, detected: &Detected, events: &[Explanation]) -> String {
    let header = if detected.has_syslog_header { ", behind a syslog header" } else { "" };
    let mut lines = vec![format!(
        "record {}: {} ({}){header}",
        head.id.offset + 1,
        detected.pack,
        detected.why
    )];
    for event in events {
        lines.push(format!("  {}", event::text::render(&event.raw)));
        for stage in &event.stages {
            lines.push(format!("  {}", stage.name));
            for field in &stage.fields {
                let place = field.bytes.as_ref();
                let place = place.map(|b| format!("  [{}..{}]", b.start, b.end));
                let place = place.unwrap_or_default();
                lines.push(format!("    {} = {}{place}", field.name, field.value));
            }
        }
    }
    lines.join("\n")
}
