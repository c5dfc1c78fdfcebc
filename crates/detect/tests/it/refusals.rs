//! Every kind of problem names its place, its reason and what to do; hostile documents are refused
//! quickly.

use detect::ProblemKind::{self, Invalid, NotCovered};
use detect::{RuleProblem, load_text};
use std::time::{Duration, Instant};

/// (what, the selection's key and value, kind, words of the reason). All stand at line 5, column
/// `4 + key + 2`.
const LINES: &[(&str, &str, ProblemKind, &str)] = &[
    ("F|sounds", "x", NotCovered, "unknown modifier `sounds`"),
    ("F|all", "x", Invalid, "needs a list"),
    ("F", "[]", Invalid, "empty list"),
    ("F", "{a: b}", Invalid, "a map cannot be the value"),
    ("F", "[a, [b]]", Invalid, "a list cannot be the value"),
    ("F|contains", "null", Invalid, "needs text, not null"),
    ("F|re", "a(", NotCovered, "regular expression"),
    ("F|re", "a(?=b)", NotCovered, "look-around"),
    ("F|re", "'(a)\\1'", NotCovered, "backreferences"),
    ("F|contains|re", "a", Invalid, "`re` cannot follow `contains`"),
    ("F|i", "a", Invalid, "flag of `re`"),
    ("F|re|cased", "a", Invalid, "`cased` needs text"),
    ("F|cidr", "ten", Invalid, "`ten` is not a network"),
    ("F|cidr", "5", Invalid, "`cidr` needs text"),
    ("F|contains|cidr", "10.0.0.0/8", Invalid, "`cidr` cannot follow"),
    ("F|exists", "maybe", Invalid, "needs true or false"),
    ("F|exists|all", "[true]", Invalid, "one boolean"),
    ("F|exists|neq", "true", Invalid, "cannot follow `exists`"),
    ("F|gt", "many", Invalid, "`gt` needs a number, not text"),
    ("F|gt", "'5*'", Invalid, "`gt` needs a number"),
    ("F|gt|lt", "5", Invalid, "no other comparison"),
    ("F|hour|minute", "5", Invalid, "no other part of a date"),
    ("F|hour", "1.5", Invalid, "whole number"),
    ("F|hour", "25", Invalid, "goes from 0 to 23"),
    ("F|hour|gte", "24", Invalid, "goes from 0 to 23"),
    ("F|minute", "[5, 61]", Invalid, "goes from 0 to 59"),
    ("F|day", "0", Invalid, "goes from 1 to 31"),
    ("F|week", "54", Invalid, "goes from 1 to 53"),
    ("F|month", "13", Invalid, "goes from 1 to 12"),
    ("F|hour", "18446744073709551615", Invalid, "out of range"),
    ("F|base64", "'a*'", Invalid, "without wildcards"),
    ("F|base64offset", "a", Invalid, "too short"),
    ("F|wide", "a", Invalid, "UTF-16 text never occurs"),
    ("F|wide|base64", "'a?'", Invalid, "without wildcards"),
    ("F|re|windash", "a", Invalid, "`windash` needs text"),
    ("F|fieldref", "5", Invalid, "needs a field name"),
    ("F|expand", "'%Servers%'", NotCovered, "%Servers% has no values"),
    ("F|re|expand", "'^%Servers%$'", NotCovered, "%Servers% has no values"),
    ("F|re|expand|i", "'%Servers%'", Invalid, "`i` is a flag of `re`"),
    ("'|exists'", "true", Invalid, "one field"),
    ("'|gt'", "5", Invalid, "needs a field"),
    ("'|fieldref'", "G", Invalid, "needs a field"),
    ("'|contains'", "''", Invalid, "found in every event"),
    ("''", "null", Invalid, "null is not a keyword"),
];

/// The one problem of a text, which has these words and says what to do; and how many rules are left.
fn refused(text: &str, reason: &str) -> (usize, RuleProblem) {
    let (rules, problems) = load_text(text);
    let [problem] = problems.as_slice() else { panic!("{text}: {problems:?}") };
    assert!(problem.reason.contains(reason) && !problem.hint.is_empty(), "{text}: {problem}");
    (rules.len(), problem.clone())
}

#[test]
fn every_line_that_is_wrong_is_named() {
    for (key, value, kind, reason) in LINES {
        let text = format!(
            "title: t\nid: t\ndetection:\n  s:\n    {key}: {value}\n    G: fine\n  condition: s\n"
        );
        let (left, problem) = refused(&text, reason);
        assert_eq!((left, problem.kind, problem.line), (0, *kind, 5), "{key}: {problem}");
        assert!(problem.column >= 5 && &*problem.rule == "t", "{key}: {problem}");
    }
}

/// (document after the title, line, kind, words of the reason).
const DOCUMENTS: &[(&str, u32, ProblemKind, &str)] = &[
    ("detection: 5\n", 2, Invalid, "`detection` is a number"),
    ("detection: {s: {F: x}}\n", 2, Invalid, "no condition"),
    ("detection: {s: {}, condition: s}\n", 2, Invalid, "empty selection"),
    ("detection: {s: null, condition: s}\n", 2, Invalid, "empty selection"),
    ("detection: {s: {F: x}, condition: []}\n", 2, Invalid, "the condition is a list"),
    ("detection: {s: {F: x}, condition: {a: b}}\n", 2, Invalid, "the condition is a map"),
    ("detection: {s: {F: x}, condition: s and}\n", 2, Invalid, "found the end"),
    ("detection: {s: {F: x}, condition: (s}\n", 2, Invalid, "where `)` should stand"),
    ("detection: {s: {F: x}, condition: s t}\n", 2, Invalid, "found `t`"),
    ("detection: {s: {F: x}, condition: s & s}\n", 2, Invalid, "`&` does not belong"),
    ("detection: {s: {F: x}, condition: t}\n", 2, Invalid, "no selection `t`"),
    ("detection: {s: {F: x}, condition: 1 of t*}\n", 2, Invalid, "named like `t*`"),
    ("detection: {s: {F: x}, condition: 5 of s}\n", 2, Invalid, "only 1 selections"),
    ("detection: {s: {F: x}, condition: s | count() > 5}\n", 2, NotCovered, "obsolete"),
    ("detection: {s: {F: x}, condition: s, timeframe: 5m}\n", 2, NotCovered, "`timeframe`"),
    (
        "detection: {timeframe: {F: x}, condition: timeframe}\n",
        2,
        Invalid,
        "`timeframe` is reserved",
    ),
    (
        "detection: {s: {F: x}, timeframe: [y], condition: s}\n",
        2,
        Invalid,
        "`timeframe` is reserved",
    ),
    ("logsource: {product: a}\n", 1, Invalid, "no detection"),
    ("logsource: windows\ndetection: {s: {F: x}, condition: s}\n", 2, Invalid, "`logsource`"),
    ("level: loud\ndetection: {s: {F: x}, condition: s}\n", 2, Invalid, "unknown level"),
    ("action: global\ndetection: {s: {F: x}, condition: s}\n", 2, NotCovered, "`action`"),
    ("generate: 5\ndetection: {s: {F: x}, condition: s}\n", 2, Invalid, "`generate`"),
    ("alcedo_tests: 5\ndetection: {s: {F: x}, condition: s}\n", 2, Invalid, "`alcedo_tests`"),
    ("alcedo_suppression: x\ndetection: {s: {F: x}, condition: s}\n", 2, Invalid, "length of time"),
    ("filter: {s: {F: x}, condition: not s}\n", 2, Invalid, "names no rules"),
    ("filter: {rules: {a: b}, s: {F: x}, condition: s}\n", 2, Invalid, "id or a name"),
    ("filter: {rules: any, s: {F: x}, condition: not s}\n", 2, NotCovered, "no loaded rule"),
    ("detection: {s: {F: x, F: y}, condition: s}\n", 2, Invalid, "not valid YAML"),
    ("detection: {s: [x, condition: s}\n", 2, Invalid, "not valid YAML"),
    ("detection: {s: {F: .inf}, condition: s}\n", 2, Invalid, "`.inf` is no finite number"),
    ("correlation: 5\n", 2, Invalid, "`correlation` is a number"),
];

/// Guarantees: what a rule takes in all is told once, not for every expression that came too late.
#[test]
fn a_rule_of_too_many_expressions_is_told_so_once() {
    let values: Vec<String> =
        (0..1_400).map(|n| format!("'[a-z]+.*x{n:04}{{2}}.*[0-9a-f]'")).collect();
    let text = format!(
        "title: t\nid: t\ndetection:\n  s:\n    F|re: [{}]\n    G|re: [{}]\n  condition: s\n",
        values.join(", "),
        values.join(", "),
    );
    let (rules, problems) = load_text(&text);
    assert!(rules.is_empty());
    let reasons: Vec<&str> = problems.iter().map(|p| p.reason.as_str()).collect();
    assert_eq!(reasons, ["F|re: the rule's expressions take more than 32 MiB"]);
}

/// Guarantees: no time at all is a length where it means *none*, and nowhere else.
#[test]
fn nought_is_a_length_where_it_means_none() {
    let loud = "title: t\nid: t\nalcedo_suppression: 0s\ndetection: {s: {F: x}, condition: s}\n";
    let (rules, problems) = load_text(loud);
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(rules[0].suppression_ns, Some(0));
    let first = |learn: &str, span: &str| {
        let text = format!(
            "{loud}---\ntitle: f\nid: f\ncorrelation: {{type: first_seen, rules: [t], \
             timespan: {span}, learn-for: {learn}, condition: {{field: F}}}}\n"
        );
        load_text(&text)
    };
    let (rules, problems) = first("0s", "30d");
    assert!(problems.is_empty(), "{problems:?}");
    let learns = rules[1].correlation().and_then(|c| c.learn_for).map(|span| span.ns());
    assert_eq!(learns, Some(0));
    assert!(first("0s", "0s").1[0].reason.contains("length of time"));
}

#[test]
fn every_document_that_is_wrong_is_named() {
    for (body, line, kind, reason) in DOCUMENTS {
        let text = format!("title: t\n{body}");
        let (left, problem) = refused(&text, reason);
        assert_eq!((left, problem.kind, problem.line), (0, *kind, *line), "{body}: {problem}");
        assert!(problem.column >= 1, "{body}: {problem}");
    }
    let untitled = "id: t\ndetection: {s: {F: x}, condition: s}\n";
    assert!(load_text(untitled).1[0].reason.contains("no title"));
}

/// (lines of a correlation over the rule `a`, words of the reason).
const CORRELATIONS: &[(&str, &str)] = &[
    ("rules: [a], timespan: 5m, condition: {gte: 1}", "no `type`"),
    ("type: nothing, rules: [a], timespan: 5m, condition: {gte: 1}", "unknown correlation type"),
    ("type: event_count, timespan: 5m, condition: {gte: 1}", "no `rules`"),
    ("type: event_count, rules: [], timespan: 5m, condition: {gte: 1}", "no rules are named"),
    ("type: event_count, rules: [{b: c}], timespan: 5m, condition: {gte: 1}", "a map where text"),
    ("type: event_count, rules: [a], condition: {gte: 1}", "no `timespan`"),
    ("type: event_count, rules: [a], timespan: 5x, condition: {gte: 1}", "not a length of time"),
    ("type: event_count, rules: [a], timespan: 900y, condition: {gte: 1}", "not a length of time"),
    ("type: event_count, rules: [a], timespan: 5m", "no `condition`"),
    ("type: event_count, rules: [a], timespan: 5m, condition: a", "the condition of event_count"),
    ("type: event_count, rules: [a], timespan: 5m, condition: {near: 1}", "unknown condition"),
    ("type: event_count, rules: [a], timespan: 5m, condition: {gte: many}", "needs a number"),
    ("type: event_count, rules: [a], timespan: 5m, condition: {field: F, gte: 1}", "no `field`"),
    ("type: value_count, rules: [a], timespan: 5m, condition: {gte: 1}", "needs a `field`"),
    ("type: value_sum, rules: [a], timespan: 5m, condition: {field: F}", "no threshold"),
    (
        "type: value_percentile, rules: [a], timespan: 5m, condition: {field: F, gte: 1}",
        "which percentile",
    ),
    (
        "type: value_sum, rules: [a], timespan: 5m, condition: {field: F, gte: 1, percentile: 5}",
        "belongs to value_percentile",
    ),
    (
        "type: value_percentile, rules: [a], timespan: 5m, condition: {field: F, gte: 1, \
         percentile: 101}",
        "0 to 100",
    ),
    ("type: regular_interval, rules: [a], timespan: 5m", "no `condition`"),
    ("type: regular_interval, rules: [a], timespan: 5m, condition: {gte: 9}", "what is regular"),
    ("type: regular_interval, rules: [a], timespan: 5m, condition: {jitter: 9}", "always equal"),
    (
        "type: regular_interval, rules: [a], timespan: 5m, condition: {gte: 2, jitter: 9}",
        "always equal",
    ),
    (
        "type: regular_interval, rules: [a], timespan: 5m, condition: {gte: 9, jitter: 51}",
        "`jitter` is a percentage, 0 to 50",
    ),
    (
        "type: regular_interval, rules: [a], timespan: 5m, condition: {gte: 9, jitter: 5, share: 49}",
        "`share` is a percentage, 50 to 100",
    ),
    (
        "type: regular_interval, rules: [a], timespan: 5m, condition: {gte: 9, jitter: 5, burst: 2}",
        "not a length of time",
    ),
    (
        "type: regular_interval, rules: [a], timespan: 5m, condition: {gte: 9, jitter: 5, field: F}",
        "unknown condition `field`",
    ),
    (
        "type: regular_interval, rules: [a], timespan: 5m, condition: {gte: 9, lt: 9, jitter: 5}",
        "ever satisfy",
    ),
    ("type: event_count, rules: [a], timespan: 5m, condition: {gte: 9, jitter: 5}", "`jitter`"),
    ("type: temporal, rules: [a], timespan: 5m, condition: a and b", "not in `rules`"),
    ("type: temporal, rules: [a, b], timespan: 5m, condition: a", "does not use `b`"),
    ("type: temporal, rules: [a], timespan: 5m, condition: 1 of a", "`of` has no meaning"),
    ("type: temporal_ordered, rules: [a, b], timespan: 5m, condition: a or b", "no order"),
    ("type: event_count, rules: [a], timespan: 5m, condition: {gte: 1}, other: 1", "`other`"),
    ("type: event_count, rules: [a], timespan: 5m, condition: {gte: 1}, aliases: 5", "aliases"),
    (
        "type: event_count, rules: [a], timespan: 5m, condition: {gte: 1}, aliases: {x: {b: F}}",
        "not in `rules`",
    ),
    ("type: event_count, rules: [a], timespan: 5m, condition: {gte: 1}, generate: 5", "`generate`"),
    (
        "type: event_count, rules: [a], timespan: 5m, condition: {gte: 1}, learn-for: 1d",
        "first_seen",
    ),
    ("type: event_count, rules: [a], timespan: 5m, condition: {gte: 1}, window: round", "window"),
    ("type: event_count, rules: [a], timespan: 5m, condition: {gte: 1}, window: session", "`gap`"),
    ("type: event_count, rules: [a], timespan: 5m, condition: {gte: 1}, gap: 5s", "`gap`"),
    ("type: absence, rules: [a], timespan: 5m", "one that should follow"),
    ("type: absence, rules: [a, b], timespan: 5m, condition: {gte: 1}", "no condition"),
    ("type: absence, rules: [a, b], timespan: 5m, window: tumbling", "window of its own"),
    ("type: event_count, rules: [a], timespan: 5m, condition: {gte: 5, lt: 3}", "ever satisfy"),
    ("type: event_count, rules: [a], timespan: 5m, condition: {gt: 4, lt: 5}", "ever satisfy"),
    ("type: event_count, rules: [a], timespan: 5m, condition: {eq: 0}", "ever satisfy"),
    ("type: event_count, rules: [a], timespan: 5m, condition: {lt: 0}", "ever satisfy"),
    ("type: event_count, rules: [a], timespan: 5m, condition: {lt: 1, neq: 7}", "ever satisfy"),
    ("type: event_count, rules: [a], timespan: 5m, condition: {gte: 2.5}", "whole numbers"),
    (
        "type: value_count, rules: [a], timespan: 5m, condition: {lte: 0, eq: 0, field: F}",
        "satisfy",
    ),
    ("type: value_sum, rules: [a], timespan: 5m, condition: {gt: 5, lte: 5, field: F}", "satisfy"),
    ("type: value_avg, rules: [a], timespan: 5m, condition: {eq: 5, neq: 5, field: F}", "satisfy"),
    ("type: temporal, rules: [a, b], timespan: 5m, condition: {gte: 3}", "ever satisfy"),
    ("type: event_count, rules: [a], timespan: 401d, condition: {gte: 2}", "longer than 400 days"),
    (
        "type: event_count, rules: [a], timespan: 5m, group-by: [adress], condition: {gte: 2}, \
         aliases: {address: {a: F}}",
        "nothing uses the alias `address`",
    ),
    ("type: event_count, rules: [zz], timespan: 5m, condition: {gte: 1}", "not loaded"),
    ("type: event_count, rules: [c], timespan: 5m, condition: {gte: 1}", "depends on itself"),
];

#[test]
fn every_correlation_that_is_wrong_is_named() {
    let base =
        |id: &str| format!("title: t\nid: {id}\ndetection: {{s: {{F: x}}, condition: s}}\n---\n");
    for (body, reason) in CORRELATIONS {
        let text = format!("{}{}title: c\nid: c\ncorrelation: {{{body}}}\n", base("a"), base("b"));
        let (left, problem) = refused(&text, reason);
        assert_eq!((left, &*problem.rule), (2, "c"), "{body}: {problem}");
        assert!(problem.line >= 9 && problem.line <= 11, "{body}: {problem}");
    }
}

/// Conditions at the edge of what can be.
#[test]
fn conditions_that_can_hold_are_live() {
    for condition in [
        "type: event_count, condition: {lt: 1}",
        "type: event_count, condition: {lte: 0}",
        "type: event_count, condition: {gte: 0}",
        "type: event_count, condition: {gt: 100, lte: 200}",
        "type: event_count, condition: {gt: 1, lt: 3, neq: 3}",
        "type: event_count, condition: {eq: 1}",
        "type: value_count, condition: {eq: 1, field: F}",
        "type: value_sum, condition: {gt: 4.5, lt: 4.6, field: F}",
        "type: value_median, condition: {gte: 5, lte: 5, field: F}",
        "type: temporal, condition: {gte: 1}",
        "type: regular_interval, condition: {gt: 2, jitter: 0, share: 100, burst: 5s}",
        "type: regular_interval, condition: {gte: 3, lte: 90, jitter: 12.5}",
        "type: value_count, condition: {gte: 2, field: x}, aliases: {x: {a: F}}",
    ] {
        let text = format!(
            "title: t\nid: a\ndetection: {{s: {{F: x}}, condition: s}}\n---\n\
             title: c\nid: c\ncorrelation: {{rules: [a], timespan: 5m, {condition}}}\n"
        );
        let (rules, problems) = load_text(&text);
        assert_eq!((rules.len(), problems), (2, Vec::new()), "{condition}");
    }
}

/// Scenario: what does not load is a slip of its author, or something this engine cannot do.
/// Guarantees: the former fails a check of rules, at the place of the word; the latter is listed only.
#[test]
fn slips_are_told_from_what_cannot_be_done() {
    let line =
        |line: &str| format!("title: t\nid: t\ndetection:\n  s:\n    {line}\n  condition: s\n");
    let correlation = |body: &str| {
        format!(
            "title: t\nid: base\ndetection: {{s: {{F: x}}, condition: s}}\n---\n\
             title: c\nid: c\ncorrelation:\n  timespan: 5m\n  {body}\n"
        )
    };
    let counted = |type_name: &str, rule: &str| {
        let condition = "condition: {gte: 2}";
        correlation(&format!("type: {type_name}\n  rules: [{rule}]\n  {condition}"))
    };
    let condition =
        |text: &str| format!("title: t\ndetection:\n  s:\n    F: x\n  condition: {text}\n");
    // (document, line, column, slip, words of the hint)
    for (text, place, slip, hint) in [
        (line("F|startwith: x"), (5, 7), true, "`startswith`"),
        (line("F|contains|al: [x]"), (5, 16), true, "`all`"),
        (line("F|re: 'a(b'"), (5, 11), true, "close it"),
        (line("F|re: 'a[b'"), (5, 11), true, "close it"),
        (line("F|re: '*a'"), (5, 11), true, "character"),
        (line("F|re: 'a(?=b)'"), (5, 11), false, "look-around"),
        (line("F|re: '(a)\\1'"), (5, 11), false, "back-references"),
        (line("F|expand: '%x%'"), (5, 15), false, "values"),
        (counted("event_counts", "base"), (9, 9), true, "`event_count`"),
        (counted("event_count", "bas"), (10, 11), true, "`base`"),
        (correlation("tpye: event_count\n  rules: [base]"), (9, 3), true, "`type`"),
        (
            correlation("type: event_count\n  rules: [base]\n  condition: {gt3: 2}"),
            (11, 15),
            true,
            "`gt",
        ),
        (
            "title: t\nlevel: hihg\ndetection: {s: {F: x}, condition: s}\n".into(),
            (2, 8),
            true,
            "`high`",
        ),
        (
            "title: t\nlogsource:\n  prodcut: a\ndetection: {s: {F: x}, condition: s}\n".into(),
            (3, 3),
            true,
            "`product`",
        ),
        ("title: t\nlogsource: {product: a}\ndetecton: {}\n".into(), (3, 1), true, "`detection`"),
        (
            format!("{}detection: {{s: {{F: x}}, condition: s}}\n", counted("event_count", "base")),
            (12, 1),
            true,
            "two documents",
        ),
        (
            "title: t\ndetection:\n  s:\n    F: a: b\n  condition: s\n".into(),
            (4, 9),
            true,
            "quotes",
        ),
        ("title: t\ndetection:\n\ts:\n    F: a\n".into(), (3, 2), true, "spaces"),
        (line("Größe|contians: ü"), (5, 11), true, "`contains`"),
        (condition("s and not filter"), (5, 24), true, "selections are"),
        (condition("'s and 1 of flt_*'"), (5, 26), true, "pattern"),
        (condition("s or s or or s"), (5, 24), true, "words"),
        (condition("s and (s or s))"), (5, 28), true, "words"),
        (condition("s & s"), (5, 16), true, "parentheses"),
        (condition("(s and s"), (5, 14), true, "parentheses"),
        (condition("s | count() > 5"), (5, 16), false, "correlation"),
        (condition(">\n    s and\n    not (s or nope)"), (7, 15), true, "selections are"),
        (condition("[s, s and s_]"), (5, 24), true, "`s`"),
        (
            "title: t\ndetection:\n  s:\n    F: *.exe\n  condition: s\n".into(),
            (4, 8),
            true,
            "quotes",
        ),
    ] {
        let (_, problems) = load_text(&text);
        let is_there = |p: &&RuleProblem| (p.line, p.column) == place;
        let problem = problems.iter().find(is_there);
        let problem = problem.unwrap_or_else(|| panic!("{text}{problems:?}"));
        assert_eq!(problem.mistake, slip, "{problem}");
        assert!(problem.hint.contains(hint), "{problem}");
        for word in ["saphyr", "serde", "anchor_id", "block mapping", "simple key"] {
            assert!(!problem.reason.contains(word), "{problem}");
        }
    }
}

/// Authors may add keys of their own.
#[test]
fn keys_of_ones_own_are_no_slips() {
    for own in [
        "related: []\n",
        "fields: [a]\n",
        "label: x\nlevel: low\n",
        "reference: x\n",
        "logsource: {product: a, device: firewall, vendor: b}\n",
    ] {
        let text = format!("title: t\n{own}detection: {{s: {{F: x}}, condition: s}}\n");
        let (rules, problems) = load_text(&text);
        assert_eq!((rules.len(), problems), (1, Vec::new()), "{own}");
    }
}

#[test]
fn a_rule_that_is_listed_itself_is_no_slip_of_those_that_name_it() {
    let text = "title: a\nid: x\nname: a\ndetection: {s: {F|expand: '%v%'}, condition: s}\n---\n\
                title: c\nid: c\ncorrelation: {type: event_count, rules: [a], timespan: 5m, \
                condition: {gte: 2}}\n";
    let (_, problems) = load_text(text);
    let slips: Vec<_> = problems.iter().map(|p| (&*p.rule, p.mistake)).collect();
    assert_eq!(slips, [("x", false), ("c", false)]);
}

#[test]
fn all_problems_of_a_document_are_listed_at_once() {
    let text = "level: loud\nid: t\ndetection:\n  s:\n    F|sounds: x\n    G|re: a(\n  t:\n    \
                - H|cidr: ten\n    - I: []\n  condition: s or t\n";
    let (rules, problems) = load_text(text);
    assert!(rules.is_empty());
    let lines: Vec<_> = problems.iter().map(|p| p.line).collect();
    assert_eq!(lines, [1, 1, 5, 6, 8, 9], "{problems:#?}");
    let many = "- {F|cidr: ten}\n".repeat(500);
    let text =
        format!("title: t\ndetection:\n s:\n{}\n condition: s\n", many.replace("- ", "  - "));
    assert_eq!(load_text(&text).1.len(), 64);
}

/// Far more than any of them takes on a slow machine in a debug build; without limits they would
/// take minutes, or all memory.
const QUICKLY: Duration = Duration::from_secs(30);

#[test]
fn hostile_documents_are_refused_quickly() {
    let rule = |selections: &str, condition: &str| {
        format!("title: t\nid: t\ndetection:\n{selections}  condition: {condition}\n")
    };
    let mut laughs = String::from("  a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..9 {
        let refs = vec![format!("*a{}", i - 1); 9].join(", ");
        laughs.push_str(&format!("  a{i}: &a{i} [{refs}]\n"));
    }
    let alternatives = vec!["abc"; 1_000_000].join("|");
    let values = |n: usize| {
        let list: Vec<_> = (0..n).map(|i| format!("v{i}")).collect();
        format!("  s:\n    F: [{}]\n", list.join(", "))
    };
    let large_classes = (0..400)
        .map(|i| format!("    - F|re: '\\p{{L}}{{{}}}'\n", 200 + i % 50))
        .collect::<String>();
    let globs: String =
        (0..200).map(|i| format!("    - F: 'a*{}*b'\n", "é".repeat(900 + i))).collect();
    let many = (0..3_000).map(|i| format!("  s{i}:\n    F{i}: [a, b, c]\n")).collect::<String>();
    let ofs = vec!["1 of s*"; 1_000].join(" and ");
    let cases = [
        ("laughs", rule(&laughs, "a8")),
        ("cycle", rule("  s: &a [*a]\n", "s")),
        ("deep", rule(&format!("  s: {}x{}\n", "[".repeat(5_000), "]".repeat(5_000)), "s")),
        ("huge scalar", rule(&format!("  s:\n    F: {}\n", "x".repeat(5 << 20)), "s")),
        ("alternatives", rule(&format!("  s:\n    F|re: {alternatives}\n"), "s")),
        ("values", rule(&values(70_000), "s")),
        ("large classes", rule(&format!("  s:\n{large_classes}"), "s")),
        ("globs", rule(&format!("  s:\n{globs}"), "s")),
        ("one of many, often", rule(&many, &ofs)),
        (
            "parentheses",
            rule("  s: {F: x}\n", &format!("{}s{}", "(".repeat(9_999), ")".repeat(9_999))),
        ),
        ("not", rule("  s: {F: x}\n", &format!("{}s", "not ".repeat(9_999)))),
        ("long condition", rule("  s: {F: x}\n", &vec!["s"; 9_999].join(" or "))),
        ("repetition of repetition", rule("  s: {F|re: '((a{1000}){1000}){1000}'}\n", "s")),
    ];
    for (name, text) in cases {
        let begun = Instant::now();
        let (rules, problems) = load_text(&text);
        assert!(
            rules.is_empty() && !problems.is_empty(),
            "{name}: {} rules, {problems:?}",
            rules.len()
        );
        assert!(begun.elapsed() < QUICKLY, "{name}: {:?}", begun.elapsed());
        println!("{name}: {:?}: {}", begun.elapsed(), problems[0].reason);
    }
}

#[test]
fn large_but_honest_rules_are_live() {
    let values: Vec<_> = (0..5_000).map(|i| format!("v{i}")).collect();
    let many = (0..1_000).map(|i| format!("  s{i}:\n    F: x{i}\n")).collect::<String>();
    let text = format!(
        "title: a\nid: a\ndetection:\n  s:\n    F: [{}]\n  condition: s\n---\ntitle: b\nid: b\n\
         detection:\n{many}  condition: 1 of *\n---\ntitle: c\nid: c\ndetection:\n  s:\n    \
         F|contains|windash: '-a -b -c -d -e -f -g -h -i -j -k -l -m -n -o -p'\n  condition: s\n",
        values.join(", ")
    );
    let (rules, problems) = load_text(&text);
    assert_eq!((rules.len(), problems), (3, Vec::new()));
}

/// Scenario: rules that are filters of the search language, right and wrong ones, and other documents
/// that happen to have a `search`.
/// Guarantees: the rule holds for the events that the filter finds; what is no filter, or depends on
/// the time of asking, is refused with its place; what is no rule is passed over.
#[test]
fn a_filter_of_the_search_language_is_a_rule() {
    let text = |search: &str| format!("title: T\nid: t\nlevel: high\nsearch: {search}\n");
    let (rules, problems) = load_text(&text("'user.name:ro* and not source.ip:10.0.0.0/8'"));
    assert!(problems.is_empty(), "{problems:?}");
    let wanted = filter::search::parse_filter("user.name:ro* and not source.ip:10.0.0.0/8", 7);
    assert_eq!(rules[0].plan(), Some(&wanted.unwrap()));
    for (search, words) in [
        ("'a:('", "`search`: "),
        ("'a:1 | head 5'", "pipes are not possible"),
        ("''", "holds no filter"),
        ("[a]", "holds no filter"),
        ("'@timestamp:>now-1h'", "depends on now"),
    ] {
        let (rules, problems) = load_text(&text(search));
        assert!(rules.is_empty() && problems.len() == 1, "{search}: {problems:?}");
        let problem = &problems[0];
        assert_eq!((problem.kind, problem.line), (Invalid, 4), "{search}: {problem}");
        assert!(problem.reason.contains(words) && !problem.hint.is_empty(), "{search}: {problem}");
    }
    assert_eq!(load_text("search: everything\nname: x\n").0.len(), 0);
    assert_eq!(load_text("search: everything\nname: x\n").1.len(), 0);
}
