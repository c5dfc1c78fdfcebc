//! Samples as SigmaHQ lays them out: `regression_data/<path of the rule>/info.yml` and its files.

use crate::sigma::Rule;
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
    /// Samples that `info.yml` names, or that lie beside it, and cannot be read: which, and why.
    pub unread: Vec<String>,
    /// The folder.
    pub folder: PathBuf,
}

/// The key by which a rule names its samples.
const PATH_KEY: &str = "regression_tests_path";

/// The samples that a rule names as its own; none if it names none. The path goes from a folder above
/// the rule's file, as in SigmaHQ's repository.
///
/// # Errors
/// Why there are no samples where the rule says.
pub fn read_named(rule: &Rule) -> Option<Result<RegressionCase, String>> {
    let text = &*rule.source.text;
    // Most rules name none: the text tells without being parsed.
    if !text.contains(PATH_KEY) {
        return None;
    }
    let document = yaml::Document { text, first_line: rule.source.line };
    let path = yaml::parse(&document).ok()?.get(PATH_KEY)?.text()?;
    Some(read_at(rule, &path))
}

fn read_at(rule: &Rule, path: &str) -> Result<RegressionCase, String> {
    let missing = || format!("`{PATH_KEY}: {path}` is not there, from no folder above the rule");
    // A relative file name has no folder above it but the one that the process is in.
    let file = std::path::absolute(&*rule.source.file).map_err(|e| e.to_string())?;
    let info = file.ancestors().skip(1).map(|above| above.join(path)).find(|p| p.exists());
    let mut info = info.ok_or_else(missing)?;
    if info.is_dir() {
        info.push(INFO_FILE);
    }
    let shown = || info.display();
    let text = read_small(&info).map_err(|why| format!("{}: {why}", shown()))?;
    let folder = info.parent().unwrap_or(&info);
    let paths = paths_in(folder);
    let case = read_case(folder, &text, &paths)
        .ok_or_else(|| format!("{} names no rule in `rule_metadata`", shown()))?;
    match rule.answers_to(&case.rule) {
        true => Ok(case),
        false => Err(format!("{} is about the rule `{}`", shown(), case.rule)),
    }
}

/// What says which rule the samples of a folder are for.
const INFO_FILE: &str = "info.yml";

/// Reads all samples below a folder, in the order of their paths. Folders without a readable `info.yml`
/// and files that are no samples are passed over.
pub fn read_regression(root: &Path) -> Vec<RegressionCase> {
    let mut out = Vec::new();
    visit(root, 0, &mut out);
    out
}

fn visit(folder: &Path, depth: usize, out: &mut Vec<RegressionCase>) {
    let paths = paths_in(folder);
    if depth < FOLDER_DEPTH_MAX {
        for path in paths.iter().filter(|p| p.is_dir()) {
            visit(path, depth + 1, out);
        }
    }
    let Ok(info) = read_small(&folder.join(INFO_FILE)) else { return };
    if let Some(case) = read_case(folder, &info, &paths) {
        out.push(case);
    }
}

fn paths_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = listing.flatten().map(|e| e.path()).collect();
    paths.sort();
    paths
}

fn read_small(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > SAMPLE_BYTES_MAX {
        return Err(format!("larger than {SAMPLE_BYTES_MAX} bytes"));
    }
    fs::read_to_string(path).map_err(|e| e.to_string())
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
        unread: Vec::new(),
        folder: folder.to_path_buf(),
    };
    for path in paths {
        let read = match path.extension().and_then(|e| e.to_str()) {
            Some("evtx") => {
                case.evtx.push(path.clone());
                Ok(())
            }
            Some("json") => read_small(path).and_then(|text| {
                add_events(text.strip_prefix('\u{feff}').unwrap_or(&text), &mut case.events)
            }),
            Some("raw") => {
                read_small(path).map(|text| case.raw.extend(text.lines().map(Box::from)))
            }
            _ => Ok(()),
        };
        case.unread.extend(read.err().map(|why| format!("{}: {why}", path.display())));
    }
    for named in list("regression_tests_info").iter().filter_map(|t| t.get("path")?.text()) {
        // The path goes from the root of the repository; its file lies in this folder.
        let there = |path: &PathBuf| path.file_name() == Path::new(&named).file_name();
        if !paths.iter().any(there) {
            case.unread.push(format!("{named} is not there"));
        }
    }
    Some(case)
}

/// Objects one after another, or arrays of them.
fn add_events(text: &str, out: &mut Vec<Json>) -> Result<(), String> {
    for value in serde_json::Deserializer::from_str(text).into_iter::<Json>() {
        match value.map_err(|e| e.to_string())? {
            Json::Array(list) => out.extend(list),
            value => out.push(value),
        }
    }
    Ok(())
}
