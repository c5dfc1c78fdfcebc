//! Rules that carry their own tests, and SigmaHQ's regression samples.
//!
//! How a test's input becomes a row (flattening, parsing, packs) is the caller's: it passes a
//! *shaper*. [`flatten_event`] is the plainest one for inputs that are events already.

use crate::ruleset::RuleSet;
use crate::sigma::yaml::{self, Yaml};
use crate::sigma::{Rule, TestInput, TestResult};
use event::{Dictionary, Envelope, EventBatch, EventId, Kind, Protocol, RowHead, RowWriter};
use serde_json::Value as Json;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Deepest nesting of an event that is flattened.
pub const DEPTH_MAX: usize = 64;
/// Most folders below each other that are searched for samples.
const FOLDER_DEPTH_MAX: usize = 32;

/// Runs the tests of a rule. `shaper` turns an input into a batch of one row with the dictionary it
/// is given, or `None` if it cannot; that fails the test.
pub fn run_tests(
    rule: &Rule,
    mut shaper: impl FnMut(&TestInput, &Arc<Dictionary>) -> Option<EventBatch>,
) -> Vec<TestResult> {
    let set = RuleSet::standalone(vec![rule.clone()]);
    let results = rule.tests.iter().map(|test| {
        let batch = shaper(&test.input, set.dict()).filter(|b| !b.is_empty());
        let outcome = batch.map(|batch| set.explain(0, &batch, 0));
        let passed = outcome.as_ref().is_some_and(|o| o.matched == test.expected);
        TestResult { name: test.name.clone(), passed, outcome: outcome.filter(|_| !passed) }
    });
    results.collect()
}

/// A shaper without parsers: events are flattened into dotted names, raw text is only raw bytes.
pub fn flatten_event(input: &TestInput, dict: &Arc<Dictionary>) -> Option<EventBatch> {
    let mut batch = EventBatch::new(dict.clone());
    match input {
        TestInput::Event(event) => push_event(&mut batch, event, b""),
        TestInput::Raw(raw) => {
            batch.begin(head(0), raw.as_bytes()).finish();
        }
    }
    Some(batch)
}

/// Appends a JSON event as a row: nested objects become dotted names, arrays several values.
pub fn push_event(batch: &mut EventBatch, event: &Json, raw: &[u8]) {
    let number = batch.len() as u64;
    let mut row = batch.begin(head(number), raw);
    let mut name = String::new();
    push_value(&mut row, &mut name, event, 0);
    row.finish();
}

fn head(number: u64) -> RowHead {
    let envelope = Arc::new(Envelope::of("test", Protocol::File));
    RowHead { id: EventId::at(number), received_ns: 0, stream_ns: 0, envelope }
}

fn push_value(row: &mut RowWriter<'_>, name: &mut String, value: &Json, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    let (kind, text) = match value {
        Json::Object(map) => {
            let length = name.len();
            for (key, value) in map {
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(key);
                push_value(row, name, value, depth + 1);
                name.truncate(length);
            }
            return;
        }
        Json::Array(items) => {
            for item in items {
                push_value(row, name, item, depth + 1);
            }
            return;
        }
        Json::Null => (Kind::Null, String::new()),
        Json::Bool(b) => (Kind::Bool, b.to_string()),
        Json::Number(n) if n.is_f64() => (Kind::Float, n.to_string()),
        Json::Number(n) => (Kind::Int, n.to_string()),
        Json::String(text) => (Kind::Str, text.clone()),
    };
    let field = row.field(name);
    row.push(field, kind, text.as_bytes());
}

/// Samples that must fire one rule, from a `regression_data` folder as SigmaHQ lays it out.
#[derive(Clone, Debug)]
pub struct RegressionCase {
    /// Id of the rule.
    pub rule: Box<str>,
    /// How many of the events must fire it, where `info.yml` says so.
    pub matches: Option<u32>,
    /// The events as JSON, in the shape `evtx_dump` writes.
    pub events: Vec<Json>,
    /// Samples that are records in another form (`.raw`).
    pub raw: Vec<Box<str>>,
    /// The folder.
    pub folder: PathBuf,
}

/// Reads all samples below a folder, in the order of their paths. Files that cannot be read or are
/// no samples are passed over.
pub fn read_regression(root: &Path) -> Vec<RegressionCase> {
    let mut out = Vec::new();
    visit(root, 0, &mut out);
    out
}

fn visit(folder: &Path, depth: usize, out: &mut Vec<RegressionCase>) {
    let Ok(listing) = fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = listing.flatten().map(|e| e.path()).collect();
    paths.sort();
    if depth < FOLDER_DEPTH_MAX {
        for path in paths.iter().filter(|p| p.is_dir()) {
            visit(path, depth + 1, out);
        }
    }
    let Ok(info) = fs::read_to_string(folder.join("info.yml")) else { return };
    if let Some(case) = read_case(folder, &info, &paths) {
        out.push(case);
    }
}

fn read_case(folder: &Path, info: &str, paths: &[PathBuf]) -> Option<RegressionCase> {
    let documents = yaml::documents(info);
    let node = yaml::parse(documents.first()?).ok()?;
    let first = |key: &str| match &node.get(key)?.value {
        Yaml::List(items) => items.first(),
        _ => None,
    };
    let rule = first("rule_metadata")?.get("id")?.text()?;
    let matches =
        first("regression_tests_info").and_then(|t| t.get("match_count")?.text()?.parse().ok());
    let mut case = RegressionCase {
        rule: rule.into(),
        matches,
        events: Vec::new(),
        raw: Vec::new(),
        folder: folder.to_path_buf(),
    };
    for path in paths {
        let Ok(text) = fs::read_to_string(path) else { continue };
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        match path.extension().and_then(|e| e.to_str()) {
            Some("json") => {
                for value in serde_json::Deserializer::from_str(text).into_iter::<Json>() {
                    match value {
                        Ok(Json::Array(list)) => case.events.extend(list),
                        Ok(value) => case.events.push(value),
                        Err(_) => break,
                    }
                }
            }
            Some("raw") => case.raw.extend(text.lines().map(Box::from)),
            _ => {}
        }
    }
    Some(case)
}
