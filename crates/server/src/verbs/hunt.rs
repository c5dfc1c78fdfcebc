//! `alcedo hunt`: rules and correlations over log files, without a server.
//!
//! One line per (rule, event). Event time is taken as it is: the hits of all files are put in the
//! order of their events before they are correlated, so the order of files and records does not
//! matter.

use crate::cli::{Global, Hunt, Output};
use crate::exit::{Exit, Failure, Outcome};
use crate::{files, generation::Parts};
use detect::correlate::{Engine, Firing, FiringKind, Hit};
use event::{Envelope, EventBatch, EventId, Protocol, RowHead, text, time};
use pipeline::Generation;
use serde_json::{Map, Value, json};
use std::io::{BufWriter, IsTerminal, Write};
use std::sync::Arc;

/// Records worked on at a time.
const BATCH_RECORDS: usize = 256;

/// Runs the verb. Rules and files that cannot be read are named on stderr and the run goes on.
pub fn run(args: &Hunt, global: &Global) -> Outcome {
    let parts = Parts::of_files(&args.rules, None)?;
    for problem in &parts.problems {
        super::complain(&problem.to_string());
    }
    let generation = parts.compile(0, [0; 16])?;
    let mut hunter = Hunter::new(generation, super::output(global));
    let bar = progress(args.files.len() as u64, global.quiet);
    for (index, path) in args.files.iter().enumerate() {
        hunter.names.push(path.display().to_string());
        match files::read(path) {
            Ok(bytes) => {
                let read = files::records(&bytes, &mut |number, record| {
                    hunter.record(index as u32, number, record)
                });
                if let Err(failure) = read {
                    super::complain(&format!("{}: {failure}", path.display()));
                }
            }
            Err(error) => super::complain(&format!("{} {error}", path.display())),
        }
        hunter.work()?;
        bar.inc(1);
        bar.set_message(format!("{} records, {} matches", hunter.records, hunter.found));
    }
    hunter.correlate()?;
    bar.finish_and_clear();
    super::written(hunter.out.flush())?;
    if !global.quiet && std::io::stderr().is_terminal() {
        super::complain(&format!("{} records, {} matches", hunter.records, hunter.found));
    }
    Ok(Exit::Ok)
}

fn progress(files: u64, quiet: bool) -> indicatif::ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let bar = indicatif::ProgressBar::new(files);
    let style = "{bar:30} {pos}/{len} files, eta {eta}  {msg}";
    bar.set_style(indicatif::ProgressStyle::with_template(style).expect("a fixed template"));
    bar
}

struct Hunter {
    generation: Generation,
    names: Vec<String>,
    /// File and record number of each record, by offset.
    places: Vec<(u32, u64)>,
    batch: EventBatch,
    shaping: shape::Scratch,
    matching: detect::Scratch,
    hits: Vec<Hit>,
    records: u64,
    found: u64,
    now_ns: i64,
    envelope: Arc<Envelope>,
    form: Output,
    out: BufWriter<std::io::Stdout>,
}

impl Hunter {
    fn new(generation: Generation, form: Output) -> Self {
        Self {
            batch: EventBatch::new(generation.dict.clone()),
            generation,
            names: Vec::new(),
            places: Vec::new(),
            shaping: shape::Scratch::default(),
            matching: detect::Scratch::new(),
            hits: Vec::new(),
            records: 0,
            found: 0,
            now_ns: io::intake::wall_ns(),
            envelope: Arc::new(Envelope::of("file", Protocol::File)),
            form,
            out: BufWriter::with_capacity(1 << 16, std::io::stdout()),
        }
    }

    fn record(&mut self, file: u32, number: u64, bytes: &[u8]) -> Result<(), Failure> {
        let head = RowHead {
            id: EventId::at(self.places.len() as u64),
            received_ns: self.now_ns,
            stream_ns: self.now_ns,
            envelope: self.envelope.clone(),
        };
        self.places.push((file, number));
        self.records += 1;
        self.generation.shaper.shape(head, bytes, &mut self.batch, &mut self.shaping);
        if self.batch.len() >= BATCH_RECORDS {
            self.work()?;
        }
        Ok(())
    }

    /// Matches the batch, prints what plain rules found, keeps what correlations count.
    fn work(&mut self) -> Result<(), Failure> {
        let empty = EventBatch::new(self.generation.dict.clone());
        let batch = std::mem::replace(&mut self.batch, empty);
        let mut matches = Vec::new();
        self.generation.rules.match_batch(&batch, &mut self.matching, &mut matches);
        self.generation.extractor.extract(&batch, &matches, &mut self.hits);
        matches.sort_by_key(|m| (m.row, m.rule));
        for found in &matches {
            let alerts = self.generation.rules.rule(found.rule).generate;
            if !alerts || !self.generation.specs.speaks(found.rule) {
                continue;
            }
            let row = batch.row(found.row as usize);
            let line = self.line(found.rule, row.id(), row.event_ns(), Map::new());
            self.print(line)?;
        }
        Ok(())
    }

    fn correlate(&mut self) -> Result<(), Failure> {
        let mut hits = std::mem::take(&mut self.hits);
        hits.sort_by_key(|h| (h.event_ns, h.id));
        let mut engine =
            Engine::new(self.generation.specs.clone(), detect::correlate::Settings::default());
        let mut firings: Vec<Firing> = Vec::new();
        for hit in hits {
            // Event time is stream time here.
            let now = hit.event_ns;
            engine.process(vec![Hit { stream_ns: now, ..hit }], now, &mut firings);
        }
        engine.finish(&mut firings);
        for firing in self.final_firings(firings) {
            let mut more = Map::new();
            for (name, value) in &firing.group {
                more.insert(name.to_string(), Value::String(value.clone()));
            }
            let lines = firing.evidence.iter().map(|e| self.place(e.id));
            let lines: Vec<Value> =
                lines.map(|(file, line)| json!({"file": file, "line": line})).collect();
            more.insert("contributing".into(), lines.into());
            more.insert("events".into(), firing.weight.into());
            let line = self.line(firing.rule, firing.fired_by, firing.event_ns, more);
            self.print(line)?;
        }
        Ok(())
    }

    /// The last word on each episode: an update replaces what went out before.
    fn final_firings(&self, firings: Vec<Firing>) -> Vec<Firing> {
        let mut out: Vec<Firing> = Vec::new();
        for firing in firings {
            let known = out.iter_mut().rev().find(|f| {
                f.rule == firing.rule && f.key == firing.key && f.fired_by == firing.fired_by
            });
            match (known, firing.kind) {
                (Some(known), _) => *known = firing,
                (None, FiringKind::New) => out.push(firing),
                (None, _) => {}
            }
        }
        out
    }

    fn place(&self, id: EventId) -> (&str, u64) {
        let (file, number) = self.places.get(id.offset as usize).copied().unwrap_or_default();
        (self.names.get(file as usize).map_or("", String::as_str), number)
    }

    fn line(&self, rule: u32, id: EventId, event_ns: i64, more: Map<String, Value>) -> Value {
        let rule = self.generation.rules.rule(rule);
        let (file, number) = self.place(id);
        let mut line = Map::new();
        line.insert("rule.id".into(), rule.id.to_string().into());
        line.insert("rule.title".into(), rule.title.to_string().into());
        line.insert("rule.level".into(), rule.level.name().into());
        line.insert("rule.type".into(), rule.type_name().into());
        line.insert("file".into(), file.into());
        line.insert("line".into(), number.into());
        line.insert("@timestamp".into(), time::rfc3339(event_ns).into());
        if !rule.author.is_empty() {
            line.insert("rule.author".into(), rule.author.to_string().into());
        }
        line.extend(more);
        Value::Object(line)
    }

    fn print(&mut self, line: Value) -> Result<(), Failure> {
        self.found += 1;
        let printed = match self.form {
            Output::Table => {
                let part = |name: &str| text::render(line[name].as_str().unwrap_or("").as_bytes());
                writeln!(
                    self.out,
                    "{:<24} {:<13} {}  {}:{}",
                    part("@timestamp"),
                    part("rule.level"),
                    part("rule.title"),
                    part("file"),
                    line["line"]
                )
            }
            _ => writeln!(self.out, "{line}"),
        };
        super::written(printed)
    }
}
