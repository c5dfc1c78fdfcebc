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

/// One sample for one rule.
#[derive(Clone, Debug, Default)]
pub struct RegressionCase {
    /// Id of the rule.
    pub rule: Box<str>,
    /// The folder's name, with that of the sample where there are several.
    pub name: Box<str>,
    /// How many of the events must fire it, where `info.yml` says so; 0: none may.
    pub matches: Option<u32>,
    /// The events as JSON, in the shape `evtx_dump` writes.
    pub events: Vec<Json>,
    /// Samples that are records in another form (`.raw`).
    pub raw: Vec<Box<str>>,
    /// Windows event log files (`.evtx`), to be read by whoever can.
    pub evtx: Vec<PathBuf>,
    /// What is missing or cannot be read: which, and why.
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
pub fn read_named(rule: &Rule) -> Option<Result<Vec<RegressionCase>, String>> {
    let text = &*rule.source.text;
    // Most rules name none: the text tells without being parsed.
    if !text.contains(PATH_KEY) {
        return None;
    }
    let document = yaml::Document { text, first_line: rule.source.line };
    let path = yaml::parse(&document).ok()?.get(PATH_KEY)?.text()?;
    Some(read_at(rule, &path))
}

fn read_at(rule: &Rule, path: &str) -> Result<Vec<RegressionCase>, String> {
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
    let about =
        Info::read(&text).ok_or_else(|| format!("{} names no rule in `rule_metadata`", shown()))?;
    if !about.rules.iter().any(|id| rule.answers_to(id)) {
        return Err(format!("{} is about the rule `{}`", shown(), about.rules.join("`, `")));
    }
    let mut cases = about.cases(folder, &paths_in(folder));
    cases.retain(|case| rule.answers_to(&case.rule));
    Ok(cases)
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
    if let Some(info) = Info::read(&info) {
        out.extend(info.cases(folder, &paths));
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

/// What `info.yml` says of the samples beside it.
struct Info {
    /// Ids of the rules that they are for, at least one.
    rules: Vec<String>,
    tests: Vec<Told>,
}

/// One of its tests.
struct Told {
    /// Name of the file. Its path goes from the root of the repository; it lies beside `info.yml`.
    file: Option<PathBuf>,
    /// How many events must match, or what stands there instead of a number.
    matches: Option<Result<u32, String>>,
}

impl Info {
    /// `None` if it is none, or names no rule.
    fn read(text: &str) -> Option<Self> {
        let documents = yaml::documents(text);
        let node = yaml::parse(documents.first()?).ok()?;
        let list = |key: &str| match node.get(key).map(|n| &n.value) {
            Some(Yaml::List(items)) => items.as_slice(),
            _ => &[],
        };
        let rules = list("rule_metadata").iter().filter_map(|rule| rule.get("id")?.text());
        let rules: Vec<String> = rules.collect();
        let tests = list("regression_tests_info").iter().map(Told::read).collect();
        (!rules.is_empty()).then_some(Self { rules, tests })
    }

    /// A case for each rule and sample. What is wrong with the rest is the first one's.
    fn cases(&self, folder: &Path, paths: &[PathBuf]) -> Vec<RegressionCase> {
        let samples: Vec<&PathBuf> = paths.iter().filter(|path| is_sample(path)).collect();
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let mut out: Vec<RegressionCase> = samples
            .iter()
            .map(|path| {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let name =
                    if samples.len() > 1 { format!("{name}/{stem}") } else { name.to_string() };
                let matches = self.matches_of(path, &samples);
                RegressionCase { name: name.into(), matches, ..read_sample(path) }
            })
            .collect();
        let unread = self.troubles(paths);
        match out.first_mut() {
            Some(first) => first.unread.extend(unread),
            None if unread.is_empty() => {}
            None => {
                out.push(RegressionCase {
                    name: name.as_ref().into(),
                    unread,
                    ..Default::default()
                });
            }
        }
        let mut all = Vec::new();
        for rule in &self.rules {
            all.extend(out.iter().cloned().map(|case| RegressionCase {
                rule: rule.as_str().into(),
                folder: folder.to_path_buf(),
                ..case
            }));
        }
        all
    }

    /// What is said of a sample: by its name, by that of its twin in another form, or by the only test
    /// if that names none of the samples.
    fn matches_of(&self, path: &Path, samples: &[&PathBuf]) -> Option<u32> {
        let is_twin =
            |test: &&Told, path: &Path| test.stem().is_some_and(|s| path.file_stem() == Some(s));
        let named =
            self.tests.iter().find(|t| t.file.as_deref().is_some_and(|f| path.ends_with(f)));
        let told = named.or_else(|| self.tests.iter().find(|t| is_twin(t, path)));
        let told = told.or_else(|| match self.tests.as_slice() {
            [only] => (!samples.iter().any(|path| is_twin(&only, path))).then_some(only),
            _ => None,
        })?;
        told.matches.as_ref()?.as_ref().ok().copied()
    }

    /// Samples that are not there, and numbers that are none.
    fn troubles(&self, paths: &[PathBuf]) -> Vec<String> {
        let files = self.tests.iter().filter_map(|test| test.file.as_deref());
        let missing = files.filter(|file| !paths.iter().any(|path| path.ends_with(file)));
        let missing = missing.map(|file| format!("{} is not there", file.display()));
        let counts = self.tests.iter().filter_map(|test| test.matches.as_ref()?.as_ref().err());
        missing.chain(counts.map(|n| format!("`match_count: {n}` is no number"))).collect()
    }
}

impl Told {
    fn read(test: &Node) -> Self {
        let path = test.get("path").and_then(Node::text);
        // Written on Windows, or elsewhere.
        let file = path.and_then(|p| Some(PathBuf::from(p.rsplit(['/', '\\']).next()?)));
        let matches = test.get("match_count").and_then(Node::text);
        Self { file, matches: matches.map(|n| n.parse().map_err(|_| n)) }
    }

    fn stem(&self) -> Option<&std::ffi::OsStr> {
        self.file.as_deref()?.file_stem()
    }
}

fn is_sample(path: &Path) -> bool {
    matches!(path.extension().and_then(|e| e.to_str()), Some("evtx" | "json" | "raw"))
}

fn read_sample(path: &Path) -> RegressionCase {
    let mut case = RegressionCase::default();
    if path.extension().is_some_and(|e| e == "evtx") {
        case.evtx.push(path.to_path_buf());
        return case;
    }
    let read = read_small(path).and_then(|text| {
        if path.extension().is_some_and(|e| e == "raw") {
            case.raw.extend(text.lines().map(Box::from));
            return Ok(());
        }
        add_events(text.strip_prefix('\u{feff}').unwrap_or(&text), &mut case.events)
    });
    let is_empty = case.events.is_empty() && case.raw.is_empty();
    let read = if is_empty { read.and(Err("has no events".into())) } else { read };
    case.unread.extend(read.err().map(|why| format!("{}: {why}", path.display())));
    case
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

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "rule_metadata: [{id: one}, {id: two}]\nregression_tests_info:\n";

    fn cases_of(info: &str, files: &[(&str, &str)]) -> Vec<RegressionCase> {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("rules/proc_x");
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in files.iter().chain([&(INFO_FILE, info)]) {
            fs::write(folder.join(name), text).unwrap();
        }
        read_regression(root.path())
    }

    fn told(cases: &[RegressionCase]) -> Vec<(&str, &str, Option<u32>, usize)> {
        let records = |c: &RegressionCase| c.events.len() + c.raw.len() + c.evtx.len();
        cases.iter().map(|c| (&*c.rule, &*c.name, c.matches, records(c))).collect()
    }

    /// Scenario: a folder with a positive and a negative sample, for two rules.
    /// Guarantees: every sample is judged by its own count, for every rule; a sample that fires more
    /// often makes good for none that does not.
    #[test]
    fn every_sample_has_its_own_count() {
        let info = "rule_metadata: [{id: one}, {id: two}]\nregression_tests_info:\n\
                    - {type: evtx, path: regression_data/rules/proc_x/bad.evtx, match_count: 2}\n\
                    - {type: json, path: 'regression_data\\rules\\proc_x\\good.json', match_count: 0}\n";
        let files =
            [("bad.evtx", ""), ("bad.json", "{}\n{}\n"), ("good.json", "[{}]"), ("x.txt", "")];
        let cases = cases_of(info, &files);
        let each = |rule| {
            [
                (rule, "proc_x/bad", Some(2), 1),
                (rule, "proc_x/bad", Some(2), 2),
                (rule, "proc_x/good", Some(0), 1),
            ]
        };
        assert_eq!(told(&cases), [each("one"), each("two")].concat());
        assert!(cases.iter().all(|c| c.unread.is_empty()), "{cases:?}");
    }

    /// Scenario: one test whose file has another name, or another form, than the sample beside it.
    #[test]
    fn the_only_test_is_about_the_only_sample() {
        let info = format!("{BOTH}- {{path: a/events.evtx, match_count: 3}}\n");
        let cases = cases_of(&info, &[("other.json", "{}")]);
        assert_eq!(told(&cases)[0], ("one", "proc_x", Some(3), 1));
        assert!(cases[0].unread[0].contains("events.evtx is not there"), "{cases:?}");
    }

    /// Guarantees: what cannot be tested is told, not taken for a test that passed.
    #[test]
    fn samples_without_events_and_counts_that_are_none_are_told() {
        let info = format!("{BOTH}- {{path: a/x.json, match_count: many}}\n");
        let cases = cases_of(&info, &[("x.json", ""), ("y.raw", ""), ("z.json", "{\"a\":")]);
        let unread: Vec<&str> = cases
            .iter()
            .filter(|c| &*c.rule == "one")
            .flat_map(|c| c.unread.iter().map(|u| &**u))
            .collect();
        let wanted = ["no events", "`match_count: many`", "no events", "EOF"];
        for (told, wanted) in unread.iter().zip(wanted) {
            assert!(told.contains(wanted), "{told}");
        }
        assert_eq!(unread.len(), 4, "{unread:?}");
    }
}
