//! What pySigma, the reference implementation, makes of the published suite, and of rules and events
//! that are generated.

use crate::semantics;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Section and name of a case.
type Case = (String, String);

/// Scenario: every case of `conformance/` is read by pySigma, and the tree that it makes of the rule
/// is walked over the event.
/// Guarantees: the verdict is ours, or the difference is in the committed list with its reason; the
/// list names no difference that is not there.
#[test]
fn every_difference_to_pysigma_is_explained() {
    let folder = testkit::workspace_root().join("conformance");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "ndjson"));
    files.sort();
    let Some(theirs) = verdicts(&folder.join("pysigma_verdicts.py"), &files) else {
        println!("skipped: pySigma is not installed (pip install pysigma)");
        return;
    };
    let ours: BTreeMap<Case, String> = files.iter().flat_map(expected).collect();
    compare(&ours, &theirs, "pysigma_differences.tsv", |_| true);
    assert!(ours.len() >= 560, "{}", ours.len());
}

/// Generated cases that are tried; `ALCEDO_GENERATED` gives another number. Each is the same whatever
/// the number is.
const GENERATED: usize = 2_000;

/// Scenario: rules and events of `conformance/generate.py`, values of the events made from those of
/// the rules, are given to pySigma and to every evaluator of ours.
/// Guarantees: the verdicts are the same, or the case is in the committed list with its reason.
#[test]
fn every_difference_to_pysigma_on_generated_rules_is_explained() {
    let folder = testkit::workspace_root().join("conformance");
    let count = std::env::var("ALCEDO_GENERATED").ok().and_then(|n| n.parse().ok());
    let count = count.unwrap_or(GENERATED);
    let python = python();
    let mut generate = Command::new(&python);
    generate.arg("-B").arg(folder.join("generate.py")).args(["--count", &count.to_string()]);
    let Some(made) = generate.output().ok().filter(|o| o.status.success()) else {
        println!("skipped: no python3");
        return;
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &made.stdout).unwrap();
    let theirs = verdicts(&folder.join("pysigma_verdicts.py"), &[file.path().to_path_buf()]);
    let Some(theirs) = theirs else {
        println!("skipped: pySigma is not installed (pip install pysigma)");
        return;
    };
    let ours: BTreeMap<Case, String> =
        String::from_utf8(made.stdout).unwrap().lines().map(judged).collect();
    let holding = ours.values().filter(|v| *v == "true").count();
    compare(&ours, &theirs, "pysigma_generated.tsv", |case| {
        case.1.parse::<usize>().is_ok_and(|number| number < count)
    });
    // Cases that never hold would show nothing.
    assert!(ours.len() == count && holding > count / 5, "{holding} of {} hold", ours.len());
}

/// Our verdict on a case without `expect`.
fn judged(line: &str) -> (Case, String) {
    let case: Json = serde_json::from_str(line).unwrap();
    let text = |key: &str| case[key].as_str().unwrap().to_owned();
    let held = semantics::verdict(&text("rule"), &case["event"], "");
    let verdict = held.map_or_else(|| "refused".to_owned(), |held| held.to_string());
    ((text("section"), text("name")), verdict)
}

/// Fails for a difference that is not in the committed list, or one of the list that `is_tried` and
/// that is not there.
fn compare(
    ours: &BTreeMap<Case, String>,
    theirs: &BTreeMap<Case, String>,
    list: &str,
    is_tried: impl Fn(&Case) -> bool,
) {
    let different = ours.iter().filter_map(|(case, own)| {
        let verdict = theirs.get(case).map_or("missing", String::as_str);
        (verdict != own).then(|| format!("{}\t{}\t{own}\t{verdict}", case.0, case.1))
    });
    let different: BTreeSet<String> = different.collect();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(list);
    let text = std::fs::read_to_string(data).unwrap();
    let mut listed = BTreeSet::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (difference, why) = line.rsplit_once('\t').unwrap();
        assert!(!why.is_empty(), "{line} has no reason");
        let mut parts = difference.split('\t').map(str::to_owned);
        let case = (parts.next().unwrap(), parts.next().unwrap());
        if is_tried(&case) {
            listed.insert(difference.to_owned());
        }
    }
    println!("{} cases, {} differences", ours.len(), different.len());
    let new: Vec<_> = different.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&different).collect();
    assert!(new.is_empty() && gone.is_empty(), "not explained: {new:#?}\nnot there: {gone:#?}");
}

/// What the suite expects, which our evaluators are tested against case by case.
fn expected(file: &PathBuf) -> Vec<(Case, String)> {
    let text = std::fs::read_to_string(file).unwrap();
    let case = |line: &str| {
        let case: Json = serde_json::from_str(line).unwrap();
        let text = |key: &str| case[key].as_str().unwrap().to_owned();
        let expect =
            case["expect"].as_str().map_or_else(|| case["expect"].to_string(), str::to_owned);
        ((text("section"), text("name")), expect)
    };
    text.lines().map(case).collect()
}

/// `ALCEDO_PYTHON` names an interpreter that has pySigma, where `python3` has not.
fn python() -> std::ffi::OsString {
    std::env::var_os("ALCEDO_PYTHON").unwrap_or_else(|| "python3".into())
}

/// Their verdicts; `None` where pySigma is not installed.
fn verdicts(script: &Path, files: &[PathBuf]) -> Option<BTreeMap<Case, String>> {
    let python = python();
    let has = Command::new(&python).args(["-c", "import sigma.collection"]).output().ok()?;
    if !has.status.success() {
        return None;
    }
    let output = Command::new(&python).arg("-B").arg(script).args(files).output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let verdict = |line: &str| {
        let [section, name, verdict] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        // Why it is unclear is for people.
        let verdict = verdict.split(' ').next().unwrap_or_default();
        ((section.to_owned(), name.to_owned()), verdict.to_owned())
    };
    Some(String::from_utf8(output.stdout).unwrap().lines().map(verdict).collect())
}
