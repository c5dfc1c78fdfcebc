//! Samples as SigmaHQ lays them out: `regression_data/<path of the rule>/info.yml` and its files.

use crate::sigma::yaml::{self, Node, Yaml};
use serde_json::Value as Json;
use std::fs;
use std::path::{Path, PathBuf};

/// Most folders below each other that are searched for samples.
const FOLDER_DEPTH_MAX: usize = 32;
/// Largest JSON or raw sample that is read: SigmaHQ's largest has 20 KB.
const SAMPLE_BYTES_MAX: u64 = 64 << 20;

/// Samples that must fire one rule.
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
    /// Windows event log files (`.evtx`), to be read by whoever can.
    pub evtx: Vec<PathBuf>,
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
    let Some(info) = read_small(&folder.join("info.yml")) else { return };
    if let Some(case) = read_case(folder, &info, &paths) {
        out.push(case);
    }
}

fn read_small(path: &Path) -> Option<String> {
    let size = fs::metadata(path).ok()?.len();
    if size > SAMPLE_BYTES_MAX {
        return None;
    }
    fs::read_to_string(path).ok()
}

fn read_case(folder: &Path, info: &str, paths: &[PathBuf]) -> Option<RegressionCase> {
    let documents = yaml::documents(info);
    let node = yaml::parse(documents.first()?).ok()?;
    let list = |key: &str| -> Vec<Node> {
        match node.get(key).map(|n| &n.value) {
            Some(Yaml::List(items)) => items.clone(),
            _ => Vec::new(),
        }
    };
    let rule = list("rule_metadata").first()?.get("id")?.text()?;
    let counts = list("regression_tests_info");
    let counts = counts.iter().filter_map(|t| t.get("match_count")?.text()?.parse::<u32>().ok());
    let matches = counts.reduce(|a, b| a + b);
    let mut case = RegressionCase {
        rule: rule.into(),
        matches,
        events: Vec::new(),
        raw: Vec::new(),
        evtx: Vec::new(),
        folder: folder.to_path_buf(),
    };
    for path in paths {
        match path.extension().and_then(|e| e.to_str()) {
            Some("evtx") => case.evtx.push(path.clone()),
            Some("json") => {
                let Some(text) = read_small(path) else { continue };
                add_events(text.strip_prefix('\u{feff}').unwrap_or(&text), &mut case.events);
            }
            Some("raw") => {
                let Some(text) = read_small(path) else { continue };
                case.raw.extend(text.lines().map(Box::from));
            }
            _ => {}
        }
    }
    Some(case)
}

/// Objects one after another, or arrays of them.
fn add_events(text: &str, out: &mut Vec<Json>) {
    for value in serde_json::Deserializer::from_str(text).into_iter::<Json>() {
        match value {
            Ok(Json::Array(list)) => out.extend(list),
            Ok(value) => out.push(value),
            Err(_) => break,
        }
    }
}
