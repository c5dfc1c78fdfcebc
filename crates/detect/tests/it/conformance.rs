//! The published suite in `conformance/`: what matches what, case by case.

use crate::semantics::verdict;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fs;

/// Sections there are, in the order of docs/sigma.md.
const SECTIONS: &[&str] = &[
    "strings",
    "wildcards",
    "position",
    "numbers",
    "comparisons",
    "null-and-exists",
    "lists-and-maps",
    "keywords",
    "regular-expressions",
    "networks",
    "windash",
    "encodings",
    "fieldref",
    "neq",
    "dates",
    "conditions",
    "documents",
    "in-practice",
];

fn expected(case: &Json) -> Option<bool> {
    match &case["expect"] {
        Json::Bool(b) => Some(*b),
        Json::String(text) if text == "refused" => None,
        other => panic!("{}: expect is {other}", case["name"]),
    }
}

#[test]
fn every_case_of_the_published_suite() {
    let folder = testkit::workspace_root().join("conformance");
    let mut wrong = Vec::new();
    let mut decided: BTreeMap<String, usize> = BTreeMap::new();
    let mut count = 0;
    for section in SECTIONS {
        let text = fs::read_to_string(folder.join(format!("{section}.ndjson"))).unwrap();
        let mut names = Vec::new();
        for line in text.lines() {
            let case: Json = serde_json::from_str(line).unwrap();
            let name = case["name"].as_str().unwrap().to_owned();
            assert_eq!(case["section"], *section, "{name}");
            assert!(!names.contains(&name), "{section}: {name} twice");
            *decided.entry(case["decided_by"].as_str().unwrap().to_owned()).or_default() += 1;
            let raw = case["raw"].as_str().unwrap_or_default();
            let got = verdict(case["rule"].as_str().unwrap(), &case["event"], raw);
            if got != expected(&case) {
                wrong.push(format!("{section}: {name}: {got:?} instead of {}", case["expect"]));
            }
            names.push(name);
            count += 1;
        }
    }
    let files = fs::read_dir(&folder).unwrap().flatten();
    let files = files.filter(|f| f.path().extension().is_some_and(|e| e == "ndjson")).count();
    assert_eq!(files, SECTIONS.len(), "a file is not listed above");
    println!("{count} cases, decided by {decided:?}");
    assert!(count >= 300 && decided.keys().all(|k| ["alcedo", "pysigma", "spec"].contains(&&**k)));
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
}
