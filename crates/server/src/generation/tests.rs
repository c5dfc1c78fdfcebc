//! A change of few rules costs those rules, and gives what a build from nothing gives.

use super::*;
use event::{Envelope, EventBatch, EventId, Match, Protocol, RowHead};

fn rule(id: u32, logsource: &str, field: &str, value: &str) -> String {
    format!(
        "title: rule {id}\nid: 00000000-0000-4000-8000-{id:012}\nlogsource: {{{logsource}}}\ndetection:\n  sel: {{{field}: '{value}'}}\n  condition: sel\n"
    )
}

fn parts(ground: &Ground, texts: &[String]) -> Parts {
    let sigma = Arc::<SigmaSettings>::default();
    let (rules, problems) = detect::load_documents(texts.iter().map(String::as_str), &sigma);
    assert_eq!(problems, []);
    let rules = rules.into_iter().map(Arc::new).collect();
    Parts {
        ground: ground.clone(),
        sigma,
        rules,
        problems,
        kept: Vec::new(),
        broken_pipelines: Vec::new(),
    }
}

fn ground() -> Ground {
    Ground { fingerprint: "f00d".into(), ..Ground::of_packs(None).unwrap() }
}

fn matches(generation: &Generation, records: &[&str]) -> Vec<(Arc<str>, u32)> {
    let mut batch = EventBatch::new(generation.dict.clone());
    let envelope = Arc::new(Envelope::of("test", Protocol::File));
    for (number, record) in records.iter().enumerate() {
        let id = EventId::at(number as u64);
        let head = RowHead { id, received_ns: 1, stream_ns: 1, envelope: envelope.clone() };
        let scratch = &mut shape::Scratch::default();
        generation.shaper.shape(head, record.as_bytes(), &mut batch, scratch);
    }
    let mut found: Vec<Match> = Vec::new();
    generation.rules.match_batch(&batch, &mut detect::Scratch::new(), &mut found);
    found.iter().map(|m| (generation.rules.rule(m.rule).id.clone(), m.row)).collect()
}

/// Scenario: to forty rules one is added, then it is edited, then it goes; with and without a field
/// that no rule has read before.
/// Guarantees: only that rule is compiled; names, and with them the shaper, are shared while no new
/// one is needed; what matches is what a build from nothing matches.
#[test]
fn a_change_of_one_rule_costs_that_rule() {
    let ground = ground();
    let windows = "product: windows, category: process_creation";
    let old: Vec<String> =
        (0..40).map(|id| rule(id, windows, "CommandLine", &format!("cmd{id}"))).collect();
    let first = parts(&ground, &old).compile(1, [0; 16]).unwrap();
    assert_eq!(first.rules.matcher_stats().added, 0);
    let event = r#"{"EventID":1,"Channel":"Microsoft-Windows-Sysmon/Operational","CommandLine":"cmd7","Brandnew":"b"}"#;
    let mut before = first;
    for (number, (field, value, shares)) in
        [("CommandLine", "cmd7", true), ("Brandnew", "b", false), ("Brandnew", "other", true)]
            .into_iter()
            .enumerate()
    {
        let texts: Vec<String> =
            old.iter().cloned().chain([rule(99, windows, field, value)]).collect();
        let next = parts(&ground, &texts).compile_after(Some(&before), 2, [0; 16]).unwrap();
        assert_eq!(next.rules.matcher_stats().added, 1, "{number}");
        assert_eq!(Arc::ptr_eq(&next.dict, &before.dict), shares, "{number}");
        assert_eq!(Arc::ptr_eq(&next.shaper, &before.shaper), shares, "{number}");
        let anew = parts(&ground, &texts).compile(2, [0; 16]).unwrap();
        assert_eq!(matches(&next, &[event]), matches(&anew, &[event]), "{number}");
        assert_eq!(next.hash, anew.hash);
        before = next;
    }
    let gone = parts(&ground, &old).compile_after(Some(&before), 3, [0; 16]).unwrap();
    assert_eq!(gone.rules.matcher_stats().added, 0);
    assert_eq!(matches(&gone, &[event]).len(), 1);
}

/// Scenario: packs or tables have changed; or a rule goes that made a name mean more.
/// Guarantees: everything is compiled anew, because what is kept would mean something else.
#[test]
fn what_would_mean_something_else_is_not_kept() {
    let ground = ground();
    let texts: Vec<String> = vec![
        rule(1, "product: windows, service: security", "Strange", "x"),
        rule(2, "product: windows, service: sysmon", "CommandLine", "x"),
        rule(3, "product: test", "Strange", "x"),
    ];
    let first = parts(&ground, &texts).compile(1, [0; 16]).unwrap();
    let other = Ground { fingerprint: "beef".into(), ..ground.clone() };
    let next = parts(&other, &texts).compile_after(Some(&first), 2, [0; 16]).unwrap();
    assert!(!Arc::ptr_eq(&next.dict, &first.dict));
    let names = |g: &Generation| -> Vec<String> {
        g.dict.answers("Strange").into_iter().map(|id| g.dict.name(id).to_owned()).collect()
    };
    assert!(names(&first).len() > 1, "{:?}", names(&first));
    let next = parts(&ground, &texts[1..]).compile_after(Some(&first), 2, [0; 16]).unwrap();
    let anew = parts(&ground, &texts[1..]).compile(2, [0; 16]).unwrap();
    assert_eq!(names(&next), names(&anew));
    assert_ne!(names(&next), names(&first));
}

/// Scenario: rules of several logsources come, go, are edited and change places in eighty steps, each
/// step after the one before.
/// Guarantees: whatever was kept, every name means after each step what it means when everything is
/// built from nothing, answers in the same order.
#[test]
fn names_mean_after_any_steps_what_they_mean_built_anew() {
    let ground = ground();
    let logsources = [
        "product: windows, category: process_creation",
        "product: windows, service: security",
        "product: linux",
        "category: webserver",
        "service: cloudtrail, product: aws",
    ];
    let fields = ["CommandLine", "EventID", "Strange", "c-uri", "eventName", "Other"];
    let mut random = testkit::Rng::new(7);
    let mut pick = |n: usize| random.below(n as u64) as usize;
    let mut texts: Vec<String> = Vec::new();
    let mut before = parts(&ground, &texts).compile(1, [0; 16]).unwrap();
    let mut kept = 0;
    for step in 0..80 {
        let (logsource, field) = (logsources[pick(5)], fields[pick(6)]);
        let text = rule(step, logsource, field, "x");
        match (pick(10), texts.len()) {
            (0..3, n) if n > 0 => drop(texts.remove(pick(n))),
            (3..6, n) if n > 0 => {
                let at = pick(n);
                let id = texts[at].lines().nth(1).unwrap().to_owned();
                texts[at] = text.replace(text.lines().nth(1).unwrap(), &id);
            }
            (6, n) if n > 1 => texts.swap(0, n - 1),
            (_, n) => texts.insert(pick(n + 1), text),
        }
        let next = parts(&ground, &texts).compile_after(Some(&before), 2, [0; 16]).unwrap();
        let anew = parts(&ground, &texts).names();
        let names = |dict: &Dictionary, name: &str| -> Vec<String> {
            dict.answers(name).into_iter().map(|id| dict.name(id).to_owned()).collect()
        };
        for rule in &parts(&ground, &texts).rules {
            for field in detect::fields_of(rule) {
                assert_eq!(names(&next.dict, field), names(&anew, field), "step {step}: {field}");
            }
        }
        kept += usize::from(Arc::ptr_eq(&next.dict, &before.dict));
        before = next;
    }
    assert!(kept > 20, "names were kept {kept} times");
}
