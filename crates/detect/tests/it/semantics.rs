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

/// Guarantees: an expression means the same in a rule and in a search, and what one refuses the other does.
#[test]
fn an_expression_means_the_same_in_a_rule_and_in_a_search() {
    let values = [
        "1", "٣", "é", "k", "\u{212a}", "a", "A", "a\n", "a\nb", "a&b", "&", "b", "\u{a0}", " ",
        "\u{17f}", "x<y", "cmdA", "cmda", "a{b}", "[b", "",
    ];
    let expressions = [
        r"^\d$",
        r"^\w$",
        r"^\s$",
        r"\bk\b",
        "a$",
        r"a\Z",
        "[a&&b]",
        r"(?i)\p{Lu}",
        r"(?i)cmd\p{Lu}",
        r"(?i)\pL",
        r"^[\W]$",
        "(?i)[[:upper:]]",
        r"\<y",
        "a{b}",
        r"^\x41",
        "^[[a]b",
        "(?m)a$",
        "(*UCP)^\\w$",
        "a++b",
        r"a$\n",
        r"(?=a)b",
        r"a\Rb",
        "(a",
    ];
    for expression in expressions {
        let of_rule = |value: &str| {
            let rule = format!(
                "title: t\nlogsource: {{product: test}}\ndetection:\n  s:\n    F|re: '{expression}'\n  condition: s\n"
            );
            verdict(&rule, &serde_json::json!({ "F": value }), "")
        };
        let of_search = |value: &str| {
            let plan = filter::search::parse_filter(&format!("F:/{expression}/"), 0).ok()?;
            let any =
                "title: t\nlogsource: {product: test}\ndetection: {s: {F: x}, condition: s}\n";
            let set = RuleSet::standalone(load_text(any).0);
            let mut batch = EventBatch::new(set.dict().clone());
            push_event(&mut batch, &serde_json::json!({ "F": value }), b"");
            Some(plan.matches(&plan.bind(&**set.dict()), &batch.row(0)))
        };
        for value in values {
            assert_eq!(of_search(value), of_rule(value), "{expression} in {value:?}");
        }
    }
}
