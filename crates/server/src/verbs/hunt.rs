//! `alcedo hunt`: rules and correlations over log files, without a server.
//!
//! One line per (rule, event). Event time is taken as it is: the hits of all files are put in the
//! order of their events before they are correlated, so the order of files and records does not
//! matter.

mod stored;

use crate::cli::{Global, Hunt, Output};
use crate::exit::{Exit, Failure, Outcome};
use crate::files::{self, Chunk, CountedBytes, Trouble};
use crate::generation::Parts;
use crate::verbs::check::{config_of, reading};
use detect::correlate::{Hit, in_event_time};
use event::{Envelope, EventId, Marks, Protocol, text, time};
use indicatif::{ProgressBar, ProgressStyle};
use pipeline::feeder::{Instead, WithHeader};
use pipeline::worker::Done;
use pipeline::{Generation, Loose};
use serde_json::{Map, Value, json};
use shape::Headers;
use shape::joins::{Joins, Part};
use std::collections::BTreeMap;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The offset of a record is its file's number and its own, so nothing has to be remembered of each
/// record: 2^40 records of each of 2^20 files.
const NUMBER_BITS: u32 = 40;

/// Files whose records could not be parsed are named, so many; the others are counted.
const UNREAD_FILES_TOLD: usize = 20;

/// Runs the verb. Rules and files that cannot be read are named on stderr and the run goes on; it ends
/// as incomplete if a file was among them.
pub fn run(args: &Hunt, global: &Global) -> Outcome {
    if args.files.is_empty() {
        return stored::run(args, global);
    }
    let config = config_of(global)?;
    let reading = reading(global, &args.pipelines)?;
    let parts = Parts::of_files(&args.rules, config.packs.as_ref(), &reading)?;
    for complaint in parts.complaints() {
        super::complain(&complaint);
    }
    let generation = Arc::new(parts.compile(0, [0; 16])?);
    if generation.rules.rules().is_empty() {
        let hint =
            "give rule files or folders with `--rules`; `alcedo rules check` tells what is wrong";
        return Err(Failure::invalid("no rule could be loaded: nothing was looked for", hint));
    }
    let mut is_complete = true;
    let files = files::expand(&args.files, &mut |problem| {
        is_complete = false;
        super::complain(&problem);
    });
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut hunt = pipeline::Hunt::start(generation.clone(), threads)?;
    let mut finds = Finds::new(generation, &files, super::output(global));
    let progress = Progress::new(&files, global.quiet);
    let envelope = Arc::new(Envelope::of("file", Protocol::File));
    let wall_ns = io::intake::wall_ns();
    for (file, path) in files.iter().enumerate() {
        let (mut headers, mut joins) = (Headers::default(), Joins::default());
        let read = files::chunks(path, &progress.read, &mut |chunk| {
            let records = placed(&chunk, file);
            let loose = Loose {
                instead: joined(&mut joins, &chunk, &records, (wall_ns, &envelope)),
                with: headed(&mut headers, &chunk, &envelope),
                records,
                bytes: chunk.bytes,
                wall_ns,
                envelope: envelope.clone(),
            };
            progress.show(&finds);
            hunt.push(loose, &mut |done| finds.take(done))
        });
        let rest = left(&mut joins, (wall_ns, &envelope));
        hunt.push(rest, &mut |done| finds.take(done))?;
        match read {
            Ok(()) => {}
            Err(Trouble::File(what)) => {
                is_complete = false;
                progress.complain(&format!("{} {what}", path.display()));
            }
            Err(Trouble::Verb(failure)) => return Err(failure),
        }
    }
    hunt.finish(&mut |done| finds.take(done))?;
    finds.correlate()?;
    super::written(finds.out.flush())?;
    progress.finish(&finds);
    finds.tell_unread();
    finds.tell_undated();
    Ok(if is_complete { Exit::Ok } else { Exit::Partial })
}

/// The chunk's records with the offsets that name their places.
fn placed(chunk: &Chunk, file: usize) -> Vec<(u64, std::ops::Range<usize>)> {
    let base = (file as u64) << NUMBER_BITS;
    chunk.records.iter().map(|(number, range)| (base + number, range.clone())).collect()
}

/// The chunk's records below a header line of their file, in the order in which they are read.
fn headed(headers: &mut Headers, chunk: &Chunk, envelope: &Arc<Envelope>) -> WithHeader {
    let records = chunk.records.iter().enumerate();
    let taken = records.map(|(at, (_, range))| {
        let bytes = chunk.bytes.get(range.clone()).unwrap_or_default();
        headers.take(envelope, bytes).map(|with| (at, with))
    });
    taken.flatten().collect()
}

/// The chunk's records that are one event with others. No clock runs over a finished log: what lacks
/// its end waits until the file's.
fn joined(
    joins: &mut Joins,
    chunk: &Chunk,
    records: &[(u64, std::ops::Range<usize>)],
    (wall_ns, envelope): (i64, &Arc<Envelope>),
) -> Instead {
    let taken = records.iter().enumerate().map(|(at, (offset, range))| {
        let bytes = chunk.bytes.get(range.clone()).unwrap_or_default();
        let part = Part { offset: *offset, wall_ns, stream_ns: wall_ns, envelope, bytes };
        let mut wholes = Vec::new();
        joins.push(&part, None, &mut wholes).map(|_| (at, wholes))
    });
    let taken = taken.flatten().collect();
    joins.changes();
    taken
}

/// What still waits at the end of a file.
fn left(joins: &mut Joins, (wall_ns, envelope): (i64, &Arc<Envelope>)) -> Loose {
    let mut wholes = Vec::new();
    joins.finish(&mut wholes);
    joins.changes();
    Loose {
        bytes: Arc::default(),
        records: Vec::new(),
        wall_ns,
        envelope: envelope.clone(),
        with: Vec::new(),
        instead: vec![(0, wholes)],
    }
}

/// Number of the file and of the record in it that an offset names.
fn place_of(id: EventId) -> (usize, u64) {
    ((id.offset >> NUMBER_BITS) as usize, id.offset & ((1 << NUMBER_BITS) - 1))
}

/// A bar with rate and time left, on a terminal's standard error only.
struct Progress {
    bar: ProgressBar,
    read: CountedBytes,
    begin: Instant,
    is_shown: bool,
}

impl Progress {
    fn new(files: &[PathBuf], quiet: bool) -> Self {
        let is_shown = !quiet && std::io::stderr().is_terminal();
        let bar = match is_shown {
            true => {
                let sizes = files.iter().filter_map(|f| Some(std::fs::metadata(f).ok()?.len()));
                let bar = ProgressBar::new(sizes.sum());
                let style = "{bar:24} {percent:>3} %  {bytes_per_sec}  eta {eta}  {msg}";
                bar.set_style(ProgressStyle::with_template(style).expect("a fixed template"));
                bar.enable_steady_tick(Duration::from_millis(200));
                bar
            }
            false => ProgressBar::hidden(),
        };
        Self { bar, read: CountedBytes::default(), begin: Instant::now(), is_shown }
    }

    fn show(&self, finds: &Finds) {
        if self.is_shown {
            self.bar.set_position(self.read.get());
            self.bar.set_message(self.counts(finds));
        }
    }

    fn counts(&self, finds: &Finds) -> String {
        let rate = finds.events as f64 / self.begin.elapsed().as_secs_f64().max(0.001);
        format!("{} events  {:.0}/s  {} matches", finds.events, rate, finds.found)
    }

    fn complain(&self, text: &str) {
        self.bar.suspend(|| super::complain(text));
    }

    fn finish(&self, finds: &Finds) {
        self.bar.finish_and_clear();
        if self.is_shown {
            super::complain(&self.counts(finds));
        }
    }
}

/// What was found, and where it is said.
struct Finds {
    generation: Arc<Generation>,
    names: Vec<String>,
    hits: Vec<Hit>,
    events: u64,
    found: u64,
    /// By file: records that were matched as the bytes they are.
    unread: BTreeMap<usize, Unread>,
    /// By file: how many records have no time that is recognised, and the first of them.
    undated: BTreeMap<usize, (u64, u64)>,
    form: Output,
    /// `json`: everything at the end, as one array.
    all: Vec<Value>,
    out: BufWriter<std::io::Stdout>,
}

/// Records of a file that could not be parsed.
struct Unread {
    count: u64,
    /// The first of them.
    number: u64,
    /// What is wrong with it.
    why: String,
}

impl Finds {
    fn new(generation: Arc<Generation>, files: &[PathBuf], form: Output) -> Self {
        Self {
            generation,
            names: files.iter().map(|f| f.display().to_string()).collect(),
            hits: Vec::new(),
            events: 0,
            found: 0,
            unread: BTreeMap::new(),
            undated: BTreeMap::new(),
            form,
            all: Vec::new(),
            out: BufWriter::with_capacity(1 << 16, std::io::stdout()),
        }
    }

    /// Prints what plain rules found, keeps what correlations count.
    fn take(&mut self, mut done: Done) -> Result<(), Failure> {
        self.events += done.batch.len() as u64;
        self.hits.append(&mut done.hits);
        for row in done.batch.rows().filter(|row| row.marks().has(Marks::PARSE_FAILED)) {
            let (file, number) = place_of(row.id());
            let why = || row.text("error.message").unwrap_or_default().into_owned();
            let unread = self.unread.entry(file);
            unread.or_insert_with(|| Unread { count: 0, number, why: why() }).count += 1;
        }
        // What has no time of its own was given that of the hunt.
        for row in done.batch.rows().filter(|row| row.event_ns() == row.received_ns()) {
            let (file, number) = place_of(row.id());
            self.undated.entry(file).or_insert((0, number)).0 += 1;
        }
        for found in &done.matches {
            let alerts = self.generation.rules.rule(found.rule).generate;
            if !alerts || !self.generation.specs.speaks(found.rule) {
                continue;
            }
            let row = done.batch.row(found.row as usize);
            let line = self.line(found.rule, row.id(), row.event_ns(), Map::new());
            self.print(line)?;
        }
        Ok(())
    }

    fn correlate(&mut self) -> Result<(), Failure> {
        let hits = std::mem::take(&mut self.hits);
        for firing in in_event_time(&self.generation.specs, hits) {
            let mut more = Map::new();
            for (name, value) in &firing.group {
                more.insert(name.to_string(), Value::String(value.clone()));
            }
            let ids = firing.evidence_ids();
            let lines = ids.iter().map(|id| self.place(*id));
            let lines: Vec<Value> =
                lines.map(|(file, line)| json!({"file": file, "line": line})).collect();
            more.insert("contributing".into(), lines.into());
            more.insert("events".into(), firing.weight.into());
            let line = self.line(firing.rule, firing.fired_by, firing.event_ns, more);
            self.print(line)?;
        }
        if self.form == Output::Json {
            let all = Value::from(std::mem::take(&mut self.all));
            let text = serde_json::to_string_pretty(&all).unwrap_or_default();
            super::written(writeln!(self.out, "{text}"))?;
        }
        Ok(())
    }

    fn place(&self, id: EventId) -> (&str, u64) {
        let (file, number) = place_of(id);
        (self.name(file), number)
    }

    fn name(&self, file: usize) -> &str {
        self.names.get(file).map_or("", String::as_str)
    }

    /// Says which records could not be parsed: rules saw their bytes only.
    fn tell_unread(&self) {
        for (file, Unread { count, number, why }) in self.unread.iter().take(UNREAD_FILES_TOLD) {
            let (name, why) = (self.name(*file), text::render(why.as_bytes()));
            super::complain(&format!(
                "{name}:{number}: {count} of its records cannot be parsed, this is the first: {why}; \
                 rules saw their text only"
            ));
        }
        let others = self.unread.values().skip(UNREAD_FILES_TOLD);
        let (files, records) = others.fold((0u64, 0), |(f, r), unread| (f + 1, r + unread.count));
        if files > 0 {
            super::complain(&format!("{records} records of {files} more files cannot be parsed"));
        }
    }

    /// Says which records have no time: correlations see them as of one moment.
    fn tell_undated(&self) {
        for (file, (count, number)) in self.undated.iter().take(UNREAD_FILES_TOLD) {
            super::complain(&format!(
                "{}:{number}: {count} of its records have no time that is recognised, this is the first; \
                 they count as of now, all at once in correlations",
                self.name(*file)
            ));
        }
        let others = self.undated.values().skip(UNREAD_FILES_TOLD);
        let (files, records) = others.fold((0u64, 0), |(f, r), (count, _)| (f + 1, r + count));
        if files > 0 {
            super::complain(&format!("{records} records of {files} more files have no time"));
        }
    }

    fn line(&self, rule: u32, id: EventId, event_ns: i64, more: Map<String, Value>) -> Value {
        let (file, number) = self.place(id);
        let mut line = crate::history::rule_json(self.generation.rules.rule(rule));
        line.insert("file".into(), file.into());
        line.insert("line".into(), number.into());
        line.insert("@timestamp".into(), time::rfc3339(event_ns).into());
        for (name, value) in more {
            line.entry(name).or_insert(value);
        }
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
            Output::Json => {
                self.all.push(line);
                Ok(())
            }
            Output::Ndjson => writeln!(self.out, "{line}"),
        };
        super::written(printed)
    }
}
