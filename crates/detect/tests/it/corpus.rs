//! Rules and samples other people wrote.

use detect::ruletest::{push_event, read_regression};
use detect::{ProblemKind, RuleSet, Scratch, load_paths};
use event::EventBatch;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Unpacks `rules.tar.zst` into a folder that is removed when dropped.
pub(crate) fn sigmahq() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    testkit::unpack("sigma/rules.tar.zst", folder.path()).then_some(folder)
}

pub(crate) fn rule_folders(root: &std::path::Path) -> Vec<PathBuf> {
    ["rules", "rules-emerging-threats", "rules-threat-hunting"].map(|f| root.join(f)).into()
}

#[test]
fn every_sigmahq_rule_is_live_or_listed_with_a_reason() {
    let Some(folder) = sigmahq() else { return };
    let (rules, problems) = load_paths(&[folder.path().to_path_buf()]);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for problem in &problems {
        *reasons.entry(format!("{:?}: {}", problem.kind, problem.reason)).or_default() += 1;
        assert!(problem.line >= 1 && problem.column >= 1 && !problem.reason.is_empty());
    }
    println!("all folders: {} live, {} listed", rules.len(), problems.len());
    for (reason, count) in &reasons {
        println!("{count:5} {reason}");
    }
    let files = rules.len() + problems.len();
    assert!(files >= 3_860, "{files} documents");
    let (live, listed) = load_paths(&rule_folders(folder.path()));
    println!("the three main folders: {} live, {} listed", live.len(), listed.len());
    for problem in &listed {
        println!("  {problem}");
        assert_eq!(problem.kind, ProblemKind::NotCovered, "{problem}");
    }
    assert!(live.len() >= 3_750, "{}", live.len());
}

#[test]
fn sigmahq_samples_fire_their_rules() {
    let (Some(folder), Some(samples)) = (sigmahq(), testkit::corpus("sigma/regression_data"))
    else {
        return;
    };
    let set = RuleSet::standalone(load_paths(&rule_folders(folder.path())).0);
    let mut scratch = Scratch::new();
    let (mut cases, mut missed) = (0, Vec::new());
    for case in read_regression(&samples) {
        let Some(wanted) = set.find(&case.rule) else { continue };
        if case.events.is_empty() {
            continue;
        }
        cases += 1;
        let mut batch = EventBatch::new(set.dict().clone());
        for event in &case.events {
            push_event(&mut batch, &flat_windows(event), b"");
        }
        let mut found = Vec::new();
        set.match_batch(&batch, &mut scratch, &mut found);
        let count = found.iter().filter(|m| m.rule == wanted).count();
        if count < case.matches.unwrap_or(1) as usize {
            missed.push(format!("{} {:?}", case.rule, case.folder.file_name()));
        }
    }
    println!("{:?}", set.matcher_stats());
    println!("{cases} rules with samples, missed: {missed:?}");
    assert!(cases >= 130, "{cases}");
    // One sample carries field names with spaces, which a pack has to map.
    assert!(missed.len() <= 1, "{missed:#?}");
}

/// System and event data of an `evtx_dump` event under their own names.
fn flat_windows(event: &Json) -> Json {
    let mut out = Map::new();
    let system = &event["Event"]["System"];
    let text = |v: &Json| v.get("#text").unwrap_or(v).clone();
    out.insert("EventID".into(), text(&system["EventID"]));
    out.insert("Channel".into(), system["Channel"].clone());
    out.insert("Computer".into(), system["Computer"].clone());
    out.insert("Provider_Name".into(), system["Provider"]["#attributes"]["Name"].clone());
    for part in ["EventData", "UserData"] {
        add(&mut out, &event["Event"][part]);
    }
    Json::Object(out)
}

fn add(out: &mut Map<String, Json>, data: &Json) {
    for (key, value) in data.as_object().into_iter().flatten() {
        match value {
            Json::Object(inner) if !inner.contains_key("#text") => add(out, value),
            Json::Object(inner) => {
                out.insert(key.clone(), inner["#text"].clone());
            }
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
}
