//! `alcedo hunt --since`: rules and correlations over what a server has stored, or a data folder.

use super::super::ask::{ask, told_as};
use super::super::check::config_of;
use super::super::{complain, is_running, output, say};
use crate::api::events::time_of;
use crate::api::hunt::hunted_json;
use crate::cli::{Global, Hunt, Output};
use crate::exit::{Exit, Failure, Outcome};
use crate::generation::Parts;
use crate::history::{self, Told};
use event::text::render;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use store::{SearchRequest, Store};

/// Runs the verb.
pub(super) fn run(args: &Hunt, global: &Global) -> Outcome {
    let config = config_of(global)?;
    let mut printer = Printer::new(global);
    let online = !args.offline && (global.server.is_some() || is_running(&config.data_dir));
    let summary = match online {
        true => through_server(args, global, &mut printer)?,
        false => from_folder(args, &config, &mut printer)?,
    };
    printer.finish();
    let counts = format!(
        "{} found: {} matches in {} events, {} correlations; {} rows read, {} ms",
        summary["returned"],
        summary["matches"],
        summary["matched"],
        summary["correlations"],
        summary["scanned_rows"],
        summary["elapsed_ms"]
    );
    Ok(told_as(&summary, &counts, global.quiet))
}

fn through_server(args: &Hunt, global: &Global, printer: &mut Printer) -> Result<Value, Failure> {
    // What is wrong is told with the names of the files, which the server does not know.
    let (_, problems) = detect::load_paths(&args.rules);
    problems.iter().for_each(|problem| printer.complain(&problem.to_string()));
    let body = json!({
        "rules": detect::texts_of(&args.rules), "since": args.since, "until": args.until,
    });
    let mut summary = Value::Null;
    let mut failed = None;
    ask(global, async |client| {
        client
            .lines("POST", "/api/v1/hunt", Some(body), &mut |line| {
                let Ok(row) = serde_json::from_str::<Value>(line) else { return true };
                if let Some(done) = row.get("alcedo.progress") {
                    let number = |name: &str| done[name].as_u64().unwrap_or(0);
                    printer.passed(number("rows"), number("of"), number("found"));
                } else if row.get("alcedo.problem").is_some() {
                    // Told already.
                } else if let Some(error) = row["alcedo.error"].as_str() {
                    failed = Some(error.to_owned());
                } else if let Some(done) = row.get("alcedo.summary") {
                    summary = done.clone();
                } else {
                    printer.found(row);
                }
                true
            })
            .await
    })?;
    match failed {
        Some(error) => Err(Failure::new(Exit::Partial, error, "")),
        None if summary.is_null() => {
            Err(Failure::new(Exit::Partial, "the server ended in the middle", "see its log"))
        }
        None => Ok(summary),
    }
}

fn from_folder(
    args: &Hunt,
    config: &crate::config::Config,
    printer: &mut Printer,
) -> Result<Value, Failure> {
    let mut hunted = config.clone();
    hunted.rules.clone_from(&args.rules);
    hunted.detection.pipelines.extend_from_slice(&args.pipelines.pipeline);
    let parts = Parts::of_config(&hunted)?;
    parts.complaints().iter().for_each(|complaint| printer.complain(complaint));
    let generation = Arc::new(parts.compile(0, [0; 16])?);
    let failed = |e: store::StoreError| Failure::new(Exit::Integrity, e, "is --data-dir right?");
    let dir = config.data_dir.join("store");
    let (store, _) = Store::open_read_only_with(&dir, config.tier.clone()).map_err(failed)?;
    store.set_dictionary(generation.dict.clone());
    let now_ns = io::intake::wall_ns();
    let query = filter::search::parse("", now_ns).map_err(|e| Failure::invalid(e, ""))?;
    let mut request = SearchRequest::new(query, generation.dict.clone());
    let time = |text: &Option<String>| {
        time_of(text.as_deref(), now_ns).map_err(|e| Failure::invalid(e.detail, ""))
    };
    (request.since_ns, request.until_ns) = (time(&args.since)?, time(&args.until)?);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let done = history::hunt(&store, &generation, request, threads, &mut |told| {
        match told {
            Told::Found(line) => printer.found(line),
            Told::Passed { rows, of, found } => printer.passed(rows, of, found),
        }
        ControlFlow::Continue(())
    });
    done.map(|hunted| hunted_json(&hunted)).map_err(|e| Failure::new(Exit::Partial, e, ""))
}

/// Where lines and progress go.
struct Printer {
    form: Output,
    bar: ProgressBar,
    all: Vec<Value>,
}

impl Printer {
    fn new(global: &Global) -> Self {
        let bar = match !global.quiet && std::io::stderr().is_terminal() {
            true => {
                let bar = ProgressBar::new(0);
                let style = "{bar:24} {percent:>3} %  {rate} rows  eta {eta}  {msg}";
                let style = ProgressStyle::with_template(style).expect("a fixed template");
                bar.set_style(style.with_key("rate", crate::verbs::rate));
                bar.enable_steady_tick(Duration::from_millis(200));
                bar
            }
            false => ProgressBar::hidden(),
        };
        Self { form: output(global), bar, all: Vec::new() }
    }

    fn passed(&self, rows: u64, of: u64, found: u64) {
        self.bar.set_length(of);
        self.bar.set_position(rows);
        self.bar.set_message(format!("{found} matches"));
    }

    fn complain(&self, text: &str) {
        self.bar.suspend(|| complain(text));
    }

    fn found(&mut self, line: Value) {
        match self.form {
            Output::Json => self.all.push(line),
            Output::Ndjson => self.bar.suspend(|| say(&line.to_string())),
            Output::Table => {
                let part = |name: &str| render(line[name].as_str().unwrap_or("").as_bytes());
                let text = format!(
                    "{:<24} {:<13} {}  {}",
                    part("@timestamp"),
                    part("rule.level"),
                    part("rule.title"),
                    part("event.id")
                );
                self.bar.suspend(|| say(&text));
            }
        }
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
        if self.form == Output::Json {
            let all = Value::from(std::mem::take(&mut self.all));
            say(&serde_json::to_string_pretty(&all).unwrap_or_default());
        }
    }
}
