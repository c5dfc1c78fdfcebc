//! What matches what: our own cases, and a larger set of the same form where it is at hand.

use detect::ruletest::push_event;
use detect::{RuleSet, Scratch, load_text};
use event::EventBatch;
use serde_json::Value as Json;
use std::process::Command;

/// `None` if the rule was refused. All evaluators must agree.
pub(crate) fn verdict(rule: &str, event: &Json, raw: &str) -> Option<bool> {
    let (rules, problems) = load_text(rule);
    if rules.is_empty() {
        assert!(!problems.is_empty(), "neither a rule nor a problem: {rule}");
        return None;
    }
    let set = RuleSet::standalone(rules);
    let mut batch = EventBatch::new(set.dict().clone());
    push_event(&mut batch, event, raw.as_bytes());
    let mut found = Vec::new();
    set.match_batch(&batch, &mut Scratch::new(), &mut found);
    let plan = set.rule(0).plan().unwrap();
    let alone = plan.matches(&plan.bind(&**set.dict()), &batch.row(0));
    assert_eq!(!found.is_empty(), alone, "batch matcher and evaluator differ: {rule}\n{event}");
    assert_eq!(set.explain(0, &batch, 0).matched, alone, "explanation differs: {rule}");
    Some(alone)
}

/// `name <TAB> detection as flow YAML <TAB> event as JSON <TAB> yes|no|refused` a line.
#[test]
fn our_own_cases() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in include_str!("../data/cases.tsv").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let [name, detection, event, expected] =
            line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let rule = format!("title: {name}\nlogsource: {{product: test}}\ndetection: {detection}\n");
        let got = match verdict(&rule, &serde_json::from_str(event).unwrap(), "") {
            None => "refused",
            Some(true) => "yes",
            Some(false) => "no",
        };
        count += 1;
        if got != expected {
            wrong.push(format!("{name}: {got} instead of {expected}"));
        }
    }
    assert!(count >= 40, "{count}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_case_the_specification_decides() {
    let Some(data) = testkit::corpus("sigma") else { return };
    let script = data.join("../../bench/sigma_cases.py");
    let Ok(output) = Command::new("python3").arg(&script).output() else {
        println!("skipped: no python3");
        return;
    };
    if !script.exists() {
        println!("skipped: no cases");
        return;
    }
    let (mut decided, mut wrong, mut open) = (0, Vec::new(), 0);
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let case: Json = serde_json::from_str(line).unwrap();
        let got = verdict(case["rule"].as_str().unwrap(), &case["event"], "");
        let name = &case["name"];
        match case["expect"].as_bool() {
            None => {
                open += 1;
                println!("open: {name} -> {got:?}");
            }
            Some(expected) => {
                decided += 1;
                if got != Some(expected) {
                    wrong.push(format!("{name}: {got:?} instead of {expected}"));
                }
            }
        }
    }
    println!("{decided} decided by the specification, {open} open");
    assert!(decided >= 100, "{decided}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
