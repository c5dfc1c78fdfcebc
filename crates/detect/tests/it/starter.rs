//! The rules that ship: all live, all with tests that pass behind the packs.

use crate::live::Live;
use detect::{RuleSet, load_paths};
use std::collections::HashMap;

/// Words of tactics in both generations of ATT&CK.
const TACTICS: &[&str] = &[
    "reconnaissance",
    "resource-development",
    "initial-access",
    "execution",
    "persistence",
    "privilege-escalation",
    "defense-evasion",
    "stealth",
    "defense-impairment",
    "credential-access",
    "discovery",
    "lateral-movement",
    "collection",
    "command-and-control",
    "exfiltration",
    "impact",
];

#[test]
fn every_rule_that_ships_is_live_and_passes_its_own_tests() {
    let folder = testkit::workspace_root().join("rules");
    let (rules, problems) = load_paths(&[folder]);
    assert_eq!(problems, []);
    assert!(rules.len() >= 60, "{}", rules.len());
    let mut live = Live::new(rules.clone());
    let mut wrong = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let results = live.tests(number as u32);
        for result in results.iter().filter(|r| !r.passed) {
            let outcome = serde_json::to_string(&result.outcome).unwrap();
            wrong.push(format!("{}: {}: {} {outcome}", rule.title, result.name, result.why));
        }
        let both = [true, false].map(|e| rule.tests.iter().any(|t| t.expected == e));
        if both != [true, true] {
            wrong.push(format!("{}: needs a test that matches and one that does not", rule.title));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_that_ships_says_what_an_analyst_needs() {
    let (rules, _) = load_paths(&[testkit::workspace_root().join("rules")]);
    let mut titles = HashMap::new();
    for rule in &rules {
        let title = &*rule.title;
        assert_eq!((&*rule.author, &*rule.license), ("Alcedo", "Apache-2.0"), "{title}");
        assert!(rule.description.len() >= 30, "{title}: say what it finds and why that matters");
        assert!(!rule.date.is_empty() && rule.name.is_some(), "{title}: date, name");
        assert!(
            rule.id.len() == 36 && rule.id.bytes().filter(|b| *b == b'-').count() == 4,
            "{title}"
        );
        assert!(rule.source.text.contains("\nlevel: "), "{title}: level");
        // A rule that never alerts by itself needs no advice on what else it may be.
        if rule.generate {
            assert!(rule.source.text.contains("\nfalsepositives:"), "{title}: falsepositives");
        }
        assert_eq!(titles.insert(title.to_owned(), ()), None, "{title} stands twice");
        let own = rule.tags.iter().filter_map(|t| t.strip_prefix("attack."));
        let (techniques, tactics): (Vec<&str>, Vec<&str>) =
            own.partition(|t| t.starts_with('t') && t.as_bytes()[1].is_ascii_digit());
        assert!(tactics.iter().all(|t| TACTICS.contains(t)), "{title}: {tactics:?}");
        let about_us = rule.tags.iter().any(|t| t.starts_with("alcedo."));
        assert!(!techniques.is_empty() && !tactics.is_empty() || about_us, "{title}: tags");
    }
}

#[test]
fn rules_that_only_feed_a_correlation_do_not_alert() {
    let set = RuleSet::standalone(load_paths(&[testkit::workspace_root().join("rules")]).0);
    let generates = |name: &str| set.rule(set.find(name).unwrap()).generate;
    for silent in ["ssh_failed_login", "ssh_successful_login", "ssh_many_failed_logins"] {
        assert!(!generates(silent), "{silent}");
    }
    assert!(generates("ssh_guessed_password") && generates("windows_security_log_cleared"));
}

#[test]
fn a_failing_test_says_why() {
    let text = "title: t\nid: t\nlogsource: {product: linux, service: sshd}\n\
                detection: {s: {F: x}, condition: s}\n\
                alcedo_tests: [{name: wrong, event: {F: y}, match: true}, \
                {name: raw, raw: text, match: false}, {name: twice, count: 3, match: true, \
                stream: [{event: {F: x}, repeat: 2}]}]\n---\n\
                title: u\nid: u\nlogsource: {product: linux, service: sshd}\n\
                detection: {s: [oops], condition: s}\n\
                alcedo_tests: [{name: elsewhere, raw: 'Nov 23 22:16:00 h sudo: oops', match: true}]\n";
    let (rules, problems) = detect::load_text(text);
    assert_eq!(problems, []);
    let mut live = Live::new(rules);
    let results = live.tests(0);
    assert!(!results[0].passed && results[0].outcome.is_some());
    assert!(results[1].passed);
    assert_eq!((results[2].found, &*results[2].why), (2, "expected 3 matches, found 2"));
    let results = live.tests(1);
    assert!(results[0].why.contains("not of linux/-/sshd"), "{}", results[0].why);
}
