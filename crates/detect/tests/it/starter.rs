//! The rules that ship: all live, all with tests that pass.

use detect::ruletest::flatten_event;
use detect::{RuleSet, load_paths, run_tests};

#[test]
fn every_rule_that_ships_is_live_and_passes_its_own_tests() {
    let folder = testkit::workspace_root().join("rules");
    let (rules, problems) = load_paths(&[folder]);
    assert_eq!(problems, []);
    assert!(rules.len() >= 15, "{}", rules.len());
    for rule in &rules {
        assert_eq!((&*rule.author, &*rule.license), ("Alcedo", "Apache-2.0"), "{}", rule.title);
        assert!(!rule.description.is_empty() && !rule.tags.is_empty(), "{}", rule.title);
        if rule.correlation().is_some() {
            continue;
        }
        let results = run_tests(rule, flatten_event);
        assert!(results.iter().any(|r| r.passed), "{} has no test", rule.title);
        for result in results {
            assert!(result.passed, "{}: {}: {:#?}", rule.title, result.name, result.outcome);
        }
        let both = [true, false].map(|e| rule.tests.iter().any(|t| t.expected == e));
        assert_eq!(both, [true, true], "{} needs a positive and a negative test", rule.title);
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
fn a_failing_test_is_reported_with_its_outcome() {
    let text = "title: t\nid: t\ndetection: {s: {F: x}, condition: s}\n\
                alcedo_tests: [{name: wrong, event: {F: y}, match: true}, \
                {name: raw, raw: text, match: false}]\n";
    let (rules, problems) = detect::load_text(text);
    assert_eq!(problems, []);
    let results = run_tests(&rules[0], flatten_event);
    assert!(!results[0].passed && results[0].outcome.is_some());
    assert!(results[1].passed);
    assert!(!run_tests(&rules[0], |_, _| None)[1].passed);
}
