//! What pySigma, the reference implementation, makes of the published suite.

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
    let different = ours.iter().filter_map(|(case, own)| {
        let verdict = theirs.get(case).map_or("missing", String::as_str);
        (verdict != own).then(|| format!("{}\t{}\t{own}\t{verdict}", case.0, case.1))
    });
    let different: BTreeSet<String> = different.collect();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pysigma_differences.tsv");
    let text = std::fs::read_to_string(data).unwrap();
    let mut listed = BTreeSet::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (difference, why) = line.rsplit_once('\t').unwrap();
        assert!(!why.is_empty(), "{line} has no reason");
        listed.insert(difference.to_owned());
    }
    println!("{} cases, {} differences", ours.len(), different.len());
    let new: Vec<_> = different.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&different).collect();
    assert!(new.is_empty() && gone.is_empty(), "not explained: {new:#?}\nnot there: {gone:#?}");
    assert!(ours.len() >= 560, "{}", ours.len());
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

/// Their verdicts; `None` where pySigma is not installed. `ALCEDO_PYTHON` names an interpreter that
/// has it.
fn verdicts(script: &Path, files: &[PathBuf]) -> Option<BTreeMap<Case, String>> {
    let python = std::env::var_os("ALCEDO_PYTHON").unwrap_or_else(|| "python3".into());
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
