//! `alcedo parse`: each record as the event it becomes, one JSON object per line.

use crate::cli::{Framing, ParseFiles};
use crate::config::Detection;
use crate::exit::{Exit, Failure, Outcome};
use crate::{files, generation::Parts};
use event::{Envelope, EventBatch, EventId, Protocol, RowHead};
use pipeline::Generation;
use std::io::{BufWriter, Write};
use std::sync::Arc;

/// Rows of a batch before it is printed and started afresh.
const BATCH_ROWS: usize = 256;

/// Runs the verb. Exactly one object per record, in order; parse failures are part of the answer.
pub fn run(args: &ParseFiles) -> Outcome {
    let generation = Parts::of_files(&[], None, &Detection::default())?.compile(0, [0; 16])?;
    let mut out = Printer::new(generation, args.pack.as_deref());
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
        self.generation.shaper.shape_whole(head, bytes, &mut self.batch, &mut self.scratch);
        if self.batch.len() >= BATCH_ROWS {
            self.print()?;
        }
        Ok(())
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
