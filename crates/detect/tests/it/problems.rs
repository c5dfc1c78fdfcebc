//! Documents that give no rule say why and where, and hide nothing else.

use detect::sigma::modifiers::MODIFIERS;
use detect::{
    BoundOp, CorrelationCondition, CorrelationType, ProblemKind, RefusedRule, RuleSet, load_paths,
    load_text,
};
use filter::Number;
use std::fs;

const GOOD: &str = "title: good\nid: good\ndetection: {s: {F: x}, condition: s}\n";

#[test]
fn a_problem_names_its_place_and_leaves_the_neighbours_alone() {
    let text = format!(
        "{GOOD}---\ntitle: bad\nid: bad\ndetection:\n  s:\n    F|sounds: x\n  condition: s\n---\n\
         detection: [\n---\ntitle: good\nid: two\ndetection: {{s: {{F: y}}, condition: s}}\n"
    );
    let (rules, problems) = load_text(&text);
    let ids: Vec<_> = rules.iter().map(|r| &*r.id).collect();
    assert_eq!(ids, ["good", "two"]);
    assert_eq!(rules[1].source.line, 14);
    let bad = &problems[0];
    assert_eq!((bad.line, bad.column, &*bad.rule), (9, 7, "bad"));
    assert_eq!(bad.kind, ProblemKind::NotCovered);
    assert!(bad.reason.contains("sounds") && !bad.hint.is_empty(), "{bad}");
    assert_eq!(problems[1].kind, ProblemKind::Invalid);
}

#[test]
fn doubles_dangling_references_and_circles_are_found() {
    let correlation = |id: &str, rule: &str| {
        format!(
            "title: {id}\nid: {id}\ncorrelation: {{type: event_count, rules: [{rule}], \
                 timespan: 5m, condition: {{gte: 3}}}}\n---\n"
        )
    };
    let text = format!(
        "{GOOD}---\n{GOOD}---\n{}{}{}{}{}",
        correlation("fine", "good"),
        correlation("lost", "nowhere"),
        correlation("above", "lost"),
        correlation("ping", "pong"),
        correlation("pong", "ping"),
    );
    let (rules, problems) = load_text(&text);
    let ids: Vec<_> = rules.iter().map(|r| &*r.id).collect();
    assert_eq!(ids, ["good", "fine"]);
    assert!(!rules[0].generate && rules[1].generate);
    let about: Vec<_> = problems.iter().map(|p| &*p.rule).collect();
    assert_eq!(about, ["good", "lost", "above", "ping", "pong"]);
}

#[test]
fn correlations_are_read_whole() {
    let text = format!(
        "{GOOD}---\ntitle: c\nid: c\ncorrelation:\n  type: value_percentile\n  rules: [good]\n  \
         group-by: [user.name, addr]\n  aliases: {{addr: {{good: source.ip}}}}\n  timespan: 2M\n  \
         generate: true\n  condition: {{gt: 1.5, lte: 200, field: bytes, percentile: 95}}\n---\n\
         title: t\nid: t\ncorrelation: {{type: temporal, rules: [good, c], timespan: 1w, \
         group-by: [user.name, addr], condition: good and not c}}\n---\n\
         title: f\nid: f\ncorrelation: {{type: first_seen, rules: [good], group-by: [user.name], \
         timespan: 30d, learn-for: 7d, condition: {{field: source.ip}}}}\n"
    );
    let (rules, problems) = load_text(&text);
    assert_eq!(problems, []);
    let c = rules[1].correlation().unwrap();
    assert_eq!(c.kind, CorrelationType::ValuePercentile);
    assert_eq!(c.timespan.to_string(), "2M");
    assert!(c.generate);
    assert_eq!(&*c.aliases[0].fields[0].1, "source.ip");
    let CorrelationCondition::Bounds { bounds, fields, percentile } = &c.condition else {
        panic!()
    };
    let expected = [(BoundOp::Gt, Number::Float(1.5)), (BoundOp::Lte, Number::Int(200))];
    assert_eq!(bounds[..], expected);
    assert_eq!((&*fields[0], *percentile), ("bytes", Some(95.0)));
    let CorrelationCondition::Expression(expr) = &rules[2].correlation().unwrap().condition else {
        panic!()
    };
    assert!(expr.holds(&|r| r == "good") && !expr.holds(&|_| true));
    assert_eq!(rules[3].correlation().unwrap().learn_for.unwrap().to_string(), "7d");
    for wrong in [
        "type: nothing, rules: [good], timespan: 5m, condition: {gte: 1}",
        "type: event_count, rules: [good], timespan: 5x, condition: {gte: 1}",
        "type: event_count, rules: [good], timespan: 5m",
        "type: event_count, rules: [good], timespan: 5m, condition: {near: 1}",
        "type: value_count, rules: [good], timespan: 5m, condition: {gte: 1}",
        "type: temporal, rules: [good], timespan: 5m, condition: good and other",
        "type: event_count, rules: [], timespan: 5m, condition: {gte: 1}",
        "type: event_count, rules: [good], timespan: 5m, condition: {gte: 1}, other: 1",
    ] {
        let text = format!("{GOOD}---\ntitle: c\ncorrelation: {{{wrong}}}\n");
        assert_eq!(load_text(&text).1.len(), 1, "{wrong}");
    }
}

#[test]
fn filters_narrow_the_rules_they_name_and_change_their_hash() {
    let filter = "---\ntitle: no service accounts\nid: f\nlogsource: {product: windows}\n\
                  filter: {rules: [good], s: {User|startswith: svc_}, condition: not s}\n";
    let good = "title: good\nid: good\nlogsource: {product: windows}\n\
                detection: {s: {F: x}, condition: s}\n";
    let (plain, _) = load_text(good);
    let (rules, problems) = load_text(&format!("{good}{filter}"));
    assert_eq!((rules.len(), problems.len()), (1, 0));
    assert_ne!(rules[0].hash, plain[0].hash);
    assert!(rules[0].plan().unwrap().fields().contains(&"User"));
    let lost = format!("{GOOD}{filter}");
    assert_eq!(load_text(&lost).1[0].kind, ProblemKind::NotCovered);
}

#[test]
fn folders_are_read_in_order_and_other_files_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("b/one.yml", &GOOD.replace("good", "one"));
    write("a/two.yaml", &GOOD.replace("good", "two"));
    write("a/notes.txt", "detection: [");
    write("a/settings.yml", "listen: 127.0.0.1\n");
    write(".hidden/three.yml", GOOD);
    let (rules, problems) = load_paths(&[folder.path().to_path_buf()]);
    assert_eq!(problems, []);
    let ids: Vec<_> = rules.iter().map(|r| r.id.to_string()).collect();
    assert_eq!(ids, ["two", "one"]);
    let set = RuleSet::standalone(rules);
    assert_eq!(set.find("one"), Some(1));
    let missing = folder.path().join("missing.yml");
    assert_eq!(load_paths(&[missing]).1.len(), 1);
}

#[test]
fn the_table_of_modifiers_has_no_doubles_and_every_one_is_documented() {
    let page = fs::read_to_string(testkit::workspace_root().join("docs/sigma.md")).unwrap();
    for (at, modifier) in MODIFIERS.iter().enumerate() {
        let name = modifier.name();
        assert!(MODIFIERS[..at].iter().all(|m| m.name() != name), "{name} twice");
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/sigma.md");
    }
}

/// Scenario: a correlation over two rules that is whole, misspelt in several ways, over a rule that is
/// not there, and of a kind that the engine refuses.
/// Guarantees: the rules do not alert by themselves in any of these states; they do where the broken
/// correlation says so, and where nothing names them.
#[test]
fn rules_of_a_broken_correlation_do_not_alert() {
    let rule =
        |id: &str| format!("title: {id}\nid: {id}\ndetection: {{s: {{F: x}}, condition: s}}\n");
    let alerting = |correlation: &str| {
        let text = format!(
            "{}---\n{}---\ntitle: c\nid: c\ncorrelation: {{{correlation}}}\n",
            rule("one"),
            rule("two")
        );
        let (rules, _) = load_text(&text);
        let speaking = rules.iter().filter(|r| r.generate && r.correlation().is_none());
        speaking.map(|r| r.id.to_string()).collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    for correlation in [
        "type: temporal, rules: [one, two], timespan: 5m",
        "type: temporal, rules: [one, two], timespan: 5x",
        "type: temporall, rules: [one, two], timespan: 5m",
        "type: temporal, rules: [one, two], timespan: 5m, group_by: [u]",
        "type: temporal, rules: [one, two], timespan: 5m, generate: ja",
        "type: temporal, rules: [one, two, [three]], timespan: 5m",
        "type: temporal, rules: [one, two, missing], timespan: 5m",
        "type: temporal, condition: one and two, timespan: 5x",
        "type: event_count, rules: [one, two], timespan: 5m",
        "type: value_percentile, rules: [one, two], timespan: 5m, \
         condition: {gte: 1, field: b, percentile: 101}",
    ] {
        assert_eq!(alerting(correlation), none, "{correlation}");
    }
    let loud = "type: temporal, rules: [one, two], timespan: 5x, generate: true";
    assert_eq!(alerting(loud), ["one", "two"]);
    assert_eq!(alerting("type: temporal, rules: [one], timespan: 5x"), ["two"]);
}

/// Scenario: documents in a file of rules that are a list of rules, a text, a rule whose keys are all
/// misspelt, and a rule without a detection; and others that lie in such folders and are no rules.
/// Guarantees: the former are problems of their authors with their places, the latter are passed over.
#[test]
fn what_was_meant_to_be_a_rule_is_not_passed_over() {
    for (text, words, line) in [
        ("- title: a\n  detection: {s: {F: 1}, condition: s}\n", "a list of rules", 1),
        ("just text\n", "where a rule should stand", 1),
        ("titel: a\ndetction: {s: {F: 1}, condition: s}\n", "`detction` means nothing here", 2),
        ("title: a\nid: b\n", "there is no detection", 1),
        ("title: a\nlevel: high\n", "there is no detection", 1),
        ("logsource: {product: test}\n", "there is no detection", 1),
    ] {
        let (rules, problems) = load_text(text);
        assert!(rules.is_empty(), "{text}");
        let found = problems.iter().find(|p| p.reason.contains(words));
        let found = found.unwrap_or_else(|| panic!("{text}: {problems:?}"));
        assert!(found.mistake && !found.hint.is_empty() && found.line == line, "{found}");
    }
    for text in [
        "",
        "# only a comment\n",
        "foo: bar\n",
        "- one\n- two: 2\n",
        "name: p\npriority: 20\ntransformations: []\n",
        "id: x\ndescription: y\nrule_metadata: [{id: a, title: b}]\nregression_tests_info: []\n",
        "title: old\norder: 20\nbackends: [x]\nlogsources: {a: {product: b}}\n",
    ] {
        let (rules, problems) = load_text(text);
        assert!(rules.is_empty() && problems.is_empty(), "{text}: {problems:?}");
    }
}

/// Scenario: a document in which items cannot be read, others cannot be honoured, and the condition names
/// selections that are not there; the same with a condition that cannot be read.
/// Guarantees: all of it is told at once, in the order of its lines; it is one rule that failed, with its
/// title and level.
#[test]
fn everything_wrong_with_a_document_is_told_at_once() {
    let text = |condition: &str| {
        format!(
            "title: many\nlevel: high\nlogsource: {{product: test}}\ndetection:\n  sel:\n    \
             F: {{x: 1}}\n    G|re: ['(?<!a)b', '(?=c)d', 'fine']\n    I|hour: 99\n    \
             L|contians: x\n    M|gt: abc\n  other: []\n  condition: {condition}\n"
        )
    };
    let lines = |condition: &str| -> Vec<u32> {
        let (rules, problems) = load_text(&text(condition));
        assert!(rules.is_empty());
        let refused = RefusedRule::of(&problems);
        assert_eq!((refused.len(), refused[0].state()), (1, "failed"), "{problems:#?}");
        assert_eq!(RefusedRule::counts(&refused), (1, 0));
        assert_eq!(refused[0].first().level, Some(event::Level::High));
        assert_eq!(&*refused[0].first().title, "many");
        problems.iter().map(|p| p.line).collect()
    };
    let of_items = [6, 7, 7, 8, 9, 10, 11];
    let all = |more: &[u32]| [&of_items[..], more].concat();
    assert_eq!(lines("sel and nosuch and 1 of zz* and other"), all(&[12, 12]));
    assert_eq!(lines("sel and (other"), all(&[12]));
    assert_eq!(lines("sel"), all(&[]));
    // An obsolete condition says all there is to say.
    let (_, problems) = load_text(&text("sel | count() > 5"));
    assert_eq!((problems.len(), problems[0].kind), (1, ProblemKind::NotCovered));
    // Selections of which nothing could be read are there.
    let few = "title: few\ndetection: {a: {F|cidr: x}, b: {F: y}, condition: 2 of them}\n";
    assert_eq!(load_text(few).1.len(), 1);
}

/// Scenario: a misspelt modifier, an expression that no linear-time engine has, and both in one rule.
/// Guarantees: the first and the last failed, the second is not covered.
#[test]
fn a_slip_makes_a_rule_fail_and_what_is_not_supported_does_not() {
    let state = |items: &str| {
        let text = format!("title: t\ndetection: {{s: {{{items}}}, condition: s}}\n");
        let (_, problems) = load_text(&text);
        let refused = RefusedRule::of(&problems);
        assert_eq!(refused.len(), 1, "{problems:?}");
        refused[0].state()
    };
    assert_eq!(state("F|contians: x"), "failed");
    assert_eq!(state("G|re: '(?=a)b'"), "not_covered");
    assert_eq!(state("F|contians: x, G|re: '(?=a)b'"), "failed");
}

#[test]
fn slips_in_names_and_titles_are_told_as_what_they_are() {
    for (text, words) in [
        ("title: t\ndetection: {s: {F |contains: x}, condition: s}\n", "white space"),
        ("title: t\ndetection: {s: {'F ': x}, condition: s}\n", "white space"),
        ("title: [a]\ndetection: {s: {F: x}, condition: s}\n", "`title` is a list"),
        ("title: t\nlevel: [low]\ndetection: {s: {F: x}, condition: s}\n", "`level` is a list"),
        ("title: t\ndetection: {sel: {F: x}, condition: sle}\n", "there is no selection `sle`"),
    ] {
        let (_, problems) = load_text(text);
        assert!(problems.len() == 1 && problems[0].reason.contains(words), "{text}: {problems:?}");
    }
    for value in ["!foo bar", "[a, !foo bar]", "!foo 'bar'", "!foo 12", "!foo"] {
        let text = format!("title: t\ndetection: {{s: {{F: {value}}}, condition: s}}\n");
        let (rules, problems) = load_text(&text);
        assert!(rules.is_empty() && problems[0].reason.contains("names of YAML"), "{problems:?}");
    }
    for value in ["'!foo bar'", "a !foo", "!!str 12", "['!a', b]", "\"x !y\""] {
        let text = format!("title: t\ndetection: {{s: {{F: {value}}}, condition: s}}\n");
        assert_eq!(load_text(&text).1, [], "{value}");
    }
    let tagged = "title: t\ntags: attack.t1059\ndetection: {s: {F: x}, condition: s}\n";
    let tags: Vec<String> = load_text(tagged).0[0].tags.iter().map(|t| t.to_string()).collect();
    assert_eq!(tags, ["attack.t1059"], "one tag as text is not lost");
}
