//! The batch matcher and the single-event evaluator give the same verdicts.

use crate::corpus;
use detect::ruletest::push_event;
use detect::{RuleSet, Scratch, load_paths, load_text, read_regression};
use event::{DictionaryBuilder, EventBatch, Match};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// By the single-event evaluator: what every other way has to agree with.
fn one_by_one(set: &RuleSet, batch: &EventBatch) -> Vec<Match> {
    let mut out = Vec::new();
    for row in batch.rows() {
        let matches = set.match_exactly(&row).into_iter();
        out.extend(matches.map(|rule| Match { rule, row: row.index() as u32 }));
    }
    out
}

/// Rows of one kind after which the matcher has a sample to learn from.
const SAMPLE_ROWS: usize = 64;

/// By the batch matcher: at first, with what it remembers, and after it has learned.
fn batched(set: &RuleSet, batch: &EventBatch) -> Vec<Match> {
    let mut scratch = Scratch::new();
    let once = |scratch: &mut Scratch| {
        let mut out = Vec::new();
        set.match_batch(batch, scratch, &mut out);
        out
    };
    let out = once(&mut scratch);
    for _ in 0..SAMPLE_ROWS.div_ceil(batch.len().max(1)) {
        assert_eq!(out, once(&mut scratch), "the memo changes verdicts");
    }
    set.retrain();
    assert_eq!(out, once(&mut scratch), "learning changes verdicts");
    assert_eq!(out, once(&mut Scratch::new()), "learning changes verdicts");
    out
}

/// The Kelvin sign folds to a letter of ASCII: neither the folded text nor the literal that stands for an
/// expression tells that it was there. A byte that is no UTF-8 is no border between values.
#[test]
fn expressions_see_letters_that_folding_takes_away() {
    let rule = |id: &str, detection: &str| {
        format!(
            "title: {id}\nid: {id}\nlogsource: {{product: test}}\n\
             detection: {{s: {detection}, condition: s}}\n---\n"
        )
    };
    let text =
        rule("field", r"{F|re: '[^\x00-\x7e]abc'}") + &rule("raw", r"{'|re': '[^\x00-\x7e]abc'}");
    let (rules, problems) = load_text(text.trim_end_matches("---\n"));
    assert!(problems.is_empty(), "{problems:?}");
    let set = RuleSet::standalone(rules);
    let mut batch = EventBatch::new(set.dict().clone());
    for value in ["\u{212a}abc", "éabc", "kabc", "abc"] {
        push_event(&mut batch, &json!({"F": value}), b"");
        push_event(&mut batch, &json!({"G": value}), b"");
        push_event(&mut batch, &json!({}), value.as_bytes());
    }
    let expected = one_by_one(&set, &batch);
    assert_eq!(expected.len(), 2 * (2 + 1 + 1));
    assert_eq!(batched(&set, &batch), expected);
}

#[test]
fn on_sigmahq_rules_and_samples() {
    let (Some(folder), Some(samples)) =
        (corpus::sigmahq(), testkit::corpus("sigma/regression_data"))
    else {
        return;
    };
    let set = RuleSet::standalone(load_paths(&corpus::rule_folders(folder.path())).0);
    let mut batch = EventBatch::new(set.dict().clone());
    for case in read_regression(&samples).into_iter().step_by(4) {
        for event in &case.events {
            let mut flat = event["Event"]["EventData"].clone();
            flat["EventID"] = event["Event"]["System"]["EventID"].clone();
            push_event(&mut batch, &flat, event.to_string().as_bytes());
        }
    }
    let found = batched(&set, &batch);
    assert!(found.len() > 20, "{}", found.len());
    assert_eq!(found, one_by_one(&set, &batch));
    let stats = set.matcher_stats();
    assert!(stats.trained > 0, "{stats:?}");
    let costs = set.costs();
    let matched: u64 = costs.iter().map(|c| c.matched).sum();
    assert_eq!(matched % found.len() as u64, 0);
    let fired = set.rule(found[0].rule);
    let cost = costs.iter().find(|c| set.rule(c.rule).id == fired.id).unwrap();
    assert!(cost.candidates >= cost.matched && cost.work > 0, "{cost:?}");
    // An edit keeps all other rules as they are compiled, and their verdicts.
    let mut rules = set.rules().to_vec();
    let dropped = rules.remove(found[0].rule as usize);
    let mut edited = (*rules[10]).clone();
    edited.hash = "edited".into();
    rules[10] = Arc::new(edited);
    let updated = set.update(rules, set.dict());
    assert_eq!(updated.matcher_stats().added, 1);
    assert!(updated.find(&dropped.id).is_none());
    assert_eq!(batched(&updated, &batch), one_by_one(&updated, &batch));
}

#[test]
fn a_name_is_answered_by_the_first_field_that_is_present() {
    let text = "title: a\nid: a\ndetection: {s: {Image|endswith: x.exe}, condition: s}\n---\n\
                title: b\nid: b\ndetection: {s: {Image: null}, condition: s}\n---\n\
                title: c\nid: c\ndetection: {s: {event.count|gte: 1}, condition: s}\n";
    let (rules, problems) = load_text(text);
    assert_eq!(problems, []);
    let mut builder = DictionaryBuilder::new();
    builder.alias("Image", "process.executable");
    builder.alias("Image", "file.path");
    RuleSet::register(&rules, &mut builder);
    let set = RuleSet::build(rules, &builder.build());
    let mut batch = EventBatch::new(set.dict().clone());
    for event in [
        json!({"process.executable": "x.exe"}),
        json!({"process.executable": "y.exe", "file.path": "x.exe"}),
        json!({"file.path": "/x.exe"}),
        json!({"Image": "y", "process.executable": "x.exe"}),
        json!({}),
    ] {
        push_event(&mut batch, &event, b"");
    }
    let found = batched(&set, &batch);
    assert_eq!(found, one_by_one(&set, &batch));
    let rows = |id: &str| {
        let rule = set.find(id).unwrap();
        found.iter().filter(|m| m.rule == rule).map(|m| m.row).collect::<Vec<_>>()
    };
    assert_eq!((rows("a"), rows("b"), rows("c")), (vec![0, 2], vec![4], vec![0, 1, 2, 3, 4]));
}

fn rule_of(id: &str, logsource: &str) -> String {
    format!(
        "title: {id}\nid: {id}\nlogsource: {logsource}\n\
         detection: {{s: {{F: x}}, condition: s}}\n---\n"
    )
}

#[test]
fn events_go_only_to_rules_of_their_logsource() {
    let text = rule_of("w", "{product: windows, category: process_creation}")
        + &rule_of("l", "{product: linux}")
        + &rule_of("a", "{category: process_creation}")
        + "title: n\nid: n\nlogsource: {product: linux}\n\
           detection: {s: {F|cidr: 10.0.0.0/8}, condition: not s}\n---\n\
           title: o\nid: o\nlogsource: {product: own}\n\
           detection: {s: {F: y}, condition: not s}\n---\n\
           title: e\nid: e\ndetection: {s: {F: y}, condition: not s}\n";
    let rules = load_text(&text).0;
    let mut names = event::DictionaryBuilder::new();
    names.product("linux");
    RuleSet::register(&rules, &mut names);
    let set = RuleSet::build(rules, &names.build());
    let mut batch = EventBatch::new(set.dict().clone());
    for logsource in [
        json!(["windows/process_creation/sysmon", "windows//sysmon"]),
        json!("linux//sshd"),
        json!("linux/*/"),
        json!([]),
        json!("*/webserver/*"),
    ] {
        push_event(&mut batch, &json!({"F": "X", "alcedo.logsource": logsource}), b"");
    }
    let pairs: Vec<_> =
        batched(&set, &batch).iter().map(|m| (m.row, set.rule(m.rule).id.to_string())).collect();
    // What asks for absences alone, of a product that packs read, would match all that they leave, and
    // all of a product that is not known.
    let expected = "0w 0a 0e 1l 1n 1e 2l 2a 2n 2e 3w 3l 3a 3o 3e 4l 4o 4e".split(' ');
    let expected: Vec<_> =
        expected.map(|pair| (pair[..1].parse().unwrap(), pair[1..].to_owned())).collect();
    assert_eq!(pairs, expected);
}

/// Scenario: events of twelve kinds reach a set that was warmed, before anything ran in the background
/// and after.
/// Guarantees: the same matches both times; each kind has a route of its own in the end.
#[test]
fn a_warm_set_serves_new_kinds_at_once() {
    let rules: String =
        (0..12).map(|n| rule_of(&format!("r{n}"), &format!("{{product: p{n}}}"))).collect();
    let set = RuleSet::standalone(load_text(&rules).0);
    set.warm();
    let mut batch = EventBatch::new(set.dict().clone());
    for n in 0..12 {
        let event = json!({"F": "X", "alcedo.logsource": format!("p{n}//")});
        push_event(&mut batch, &event, b"");
    }
    assert_eq!(set.matcher_stats().routes, 1);
    let mut first = Vec::new();
    set.match_batch(&batch, &mut Scratch::new(), &mut first);
    assert_eq!((first.len(), set.matcher_stats().routes), (12, 1));
    assert!(set.wants_training());
    assert_eq!(set.retrain(), 12);
    assert_eq!(set.matcher_stats().routes, 13);
    assert_eq!(batched(&set, &batch), first);
    assert_eq!(first, one_by_one(&set, &batch));
}

/// Scenario: one kind of event comes again and again, and what was sampled of it is learned after each
/// batch.
/// Guarantees: learning comes to rest; replaced routes do not start the sampling anew.
#[test]
fn learning_comes_to_rest() {
    let rules: String =
        (0..3).map(|n| rule_of(&format!("r{n}"), &format!("{{product: p{n}}}"))).collect();
    let set = RuleSet::standalone(load_text(&rules).0);
    let mut batch = EventBatch::new(set.dict().clone());
    for n in 0..3 * SAMPLE_ROWS {
        let event = json!({"F": "X", "alcedo.logsource": format!("p{}//", n % 3)});
        push_event(&mut batch, &event, b"");
    }
    let (mut scratch, mut learned) = (Scratch::new(), 0);
    for _ in 0..100 {
        set.match_batch(&batch, &mut scratch, &mut Vec::new());
        learned += set.retrain();
    }
    // Two rounds for each of three kinds; the third takes 262,144 rows.
    assert_eq!(learned, 6);
}

#[test]
fn more_kinds_of_events_than_there_are_routes() {
    const KINDS: usize = 300;
    let rules: String = (0..KINDS)
        .map(|n| {
            format!(
                "title: t\nid: r{n}\nlogsource: {{product: p{n}}}\n\
                 detection: {{s: {{F|contains: x}}, condition: s}}\n---\n"
            )
        })
        .collect();
    let set = RuleSet::standalone(load_text(&rules).0);
    let mut batch = EventBatch::new(set.dict().clone());
    for n in 0..KINDS {
        let event = json!({"F": "axa", "alcedo.logsource": format!("p{n}//")});
        push_event(&mut batch, &event, b"");
    }
    let found = batched(&set, &batch);
    assert_eq!(found, one_by_one(&set, &batch));
    assert_eq!(found.len(), KINDS);
    assert!(set.matcher_stats().routes < KINDS);
}

#[test]
fn workers_match_while_another_thread_learns() {
    let rules = "title: a\nid: a\ndetection: {s: {F|contains: ab, G: x}, condition: s}\n---\n\
                 title: b\nid: b\ndetection: {s: {F|re: 'a[bc]+d'}, t: {G: y}, \
                 condition: s or t}\n";
    let set = RuleSet::standalone(load_text(rules).0);
    let mut batch = EventBatch::new(set.dict().clone());
    for n in 0..50 {
        let (f, g) = (["ab", "abd", "acd", "zz"][n % 4], ["x", "y", "z"][n % 3]);
        push_event(&mut batch, &json!({"F": f, "G": g}), b"");
    }
    let expected = one_by_one(&set, &batch);
    assert!(expected.len() > 10);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut scratch = Scratch::new();
                    for _ in 0..300 {
                        let mut out = Vec::new();
                        set.match_batch(&batch, &mut scratch, &mut out);
                        assert_eq!(out, expected);
                    }
                })
            })
            .collect();
        let mut learned = 0;
        while workers.iter().any(|w| !w.is_finished()) {
            learned += set.retrain();
        }
        learned += set.retrain();
        assert!(learned > 0);
    });
}

const TEXTS: &[&str] =
    &["", "a", "b", "ab", "AB", "aab", "xaby", "a*b", "\u{e4}b", "\u{212a}", "k", "10.1.2.3", "5"];
const MODIFIERS: &[&str] = &[
    "",
    "|contains",
    "|startswith",
    "|endswith",
    "|cased",
    "|contains|cased",
    "|neq",
    "|re",
    "|re|i",
    "|fieldref",
    "|contains|windash",
    "|base64|contains",
];
const CONDITIONS: &[&str] = &[
    "s",
    "not s",
    "s and not t",
    "s or t",
    "1 of *",
    "2 of *",
    "3 of *",
    "not (s and t)",
    "u or t",
];

fn line() -> impl Strategy<Value = String> {
    let field = prop::sample::select(vec!["F", "G", "H", ""]);
    let modifier = prop::sample::select(MODIFIERS.to_vec());
    let texts = prop::collection::vec(prop::sample::select(TEXTS.to_vec()), 1..3);
    (field, modifier, texts).prop_map(|(field, modifier, texts)| {
        format!("{{'{field}{modifier}': {}}}", serde_json::to_string(&texts).unwrap())
    })
}

const LOGSOURCES: &[&str] = &["{}", "{product: p}", "{product: q}", "{product: p, category: c}"];

fn rule() -> impl Strategy<Value = String> {
    let extra = prop::sample::select(vec!["{F: null}", "{G|exists: true}", "{H|cidr: 10.0.0.0/8}"]);
    let condition = prop::sample::select(CONDITIONS.to_vec());
    let logsource = prop::sample::select(LOGSOURCES.to_vec());
    (line(), line(), extra, condition, logsource).prop_map(|(s, t, u, condition, logsource)| {
        format!(
            "logsource: {logsource}\n\
             detection: {{s: {s}, t: {t}, u: {u}, condition: '{condition}'}}\n"
        )
    })
}

fn event() -> impl Strategy<Value = Json> {
    let text = prop::sample::select(TEXTS.to_vec()).prop_map(|t| json!(t));
    let value = prop_oneof![
        text.clone(),
        prop::collection::vec(text, 0..3).prop_map(Json::from),
        Just(Json::Null),
        Just(json!(5)),
    ];
    let field = prop::sample::select(vec!["F", "G", "H", "I"]);
    let cells = prop::sample::select(vec![
        json!([]),
        json!("p/c/"),
        json!("q//"),
        json!(["p//", "q/*/"]),
        json!("r//"),
    ]);
    (prop::collection::btree_map(field, value, 0..4), cells).prop_map(|(map, cells)| {
        let mut event = json!(map);
        event["alcedo.logsource"] = cells;
        event
    })
}

proptest! {
    #[test]
    fn on_any_rules_and_events(
        texts in prop::collection::vec(rule(), 1..12),
        events in prop::collection::vec((event(), prop::sample::select(TEXTS.to_vec())), 1..8),
    ) {
        let documents: Vec<_> =
            texts.iter().enumerate().map(|(i, t)| format!("title: t\nid: r{i}\n{t}")).collect();
        let (rules, _) = load_text(&documents.join("---\n"));
        let set = RuleSet::standalone(rules);
        let mut batch = EventBatch::new(set.dict().clone());
        for (event, raw) in &events {
            push_event(&mut batch, event, raw.as_bytes());
        }
        prop_assert_eq!(batched(&set, &batch), one_by_one(&set, &batch));
        // The same rules, with every other one compiled later and one taken out.
        let rules = set.rules().to_vec();
        let early = rules.iter().step_by(2).cloned().collect();
        let updated = RuleSet::build_shared(early, set.dict()).update(rules.clone(), set.dict());
        prop_assert_eq!(updated.hash(), set.hash());
        prop_assert_eq!(batched(&updated, &batch), one_by_one(&set, &batch));
        let fewer: Vec<_> = rules.into_iter().skip(1).collect();
        let fewer = updated.update(fewer, set.dict());
        prop_assert_eq!(batched(&fewer, &batch), one_by_one(&fewer, &batch));
    }
}
