//! Rules that cost more than they may are told, paused, and tried again.

use detect::ruletest::push_event;
use detect::{PAUSE_NS, RuleSet, Scratch, load_text};
use event::EventBatch;
use serde_json::json;

/// Expressions of the costly rule: each reads the whole value of every event.
const EXPRESSIONS: usize = 400;
const ROWS: usize = 256;
/// Batches in which the costly rule is overdrawn, and some more.
const ROUNDS_MAX: usize = 32;

fn set(expressions: usize, more: &str) -> RuleSet {
    let list: String = (1..=expressions).map(|n| format!("'^[0-9]{{{n}}}', ")).collect();
    let text = format!(
        "title: costly\nid: costly\ndetection: {{s: {{Data|re: [{list}'^a']}}, condition: s}}\n---\n\
         title: plain\nid: plain\ndetection: {{s: {{Data|startswith: aa}}, condition: s}}\n{more}"
    );
    let (rules, problems) = load_text(&text);
    assert_eq!(problems, []);
    RuleSet::standalone(rules)
}

/// Events whose field has so many letters.
fn events(set: &RuleSet, letters: usize) -> EventBatch {
    let mut batch = EventBatch::new(set.dict().clone());
    let event = json!({"Data": "a".repeat(letters)});
    (0..ROWS).for_each(|_| push_event(&mut batch, &event, event.to_string().as_bytes()));
    batch
}

/// Ids of the rules that match the last row, by both ways.
fn matched(set: &RuleSet, batch: &EventBatch, scratch: &mut Scratch) -> Vec<String> {
    let mut out = Vec::new();
    set.match_batch(batch, scratch, &mut out);
    let last = batch.len() - 1;
    out.retain(|m| m.row as usize == last);
    let found: Vec<u32> = out.iter().map(|m| m.rule).collect();
    assert_eq!(found, set.match_exactly(&batch.row(last)));
    found.iter().map(|rule| set.rule(*rule).id.to_string()).collect()
}

/// Events until a rule is overdrawn, and what is told then.
fn until_overdrawn(set: &RuleSet, batch: &EventBatch) -> (usize, Vec<detect::Pausing>) {
    let mut scratch = Scratch::new();
    for rounds in 1..=ROUNDS_MAX {
        matched(set, batch, &mut scratch);
        let told = set.pausing(0);
        if !told.is_empty() {
            return (rounds * ROWS, told);
        }
    }
    (0, Vec::new())
}

/// Scenario: a rule does ten times the work it may for every event; another costs next to nothing.
/// Guarantees: the costly one, and it alone, is told after a second's worth of work, once per debt;
/// paused, it neither matches nor costs anything, in both ways of matching, and the other goes on;
/// when the pause has ended it is told to be in force again; what it says now is not paused.
#[test]
fn a_rule_that_costs_too_much_is_paused_for_a_while() {
    let set = set(EXPRESSIONS, "");
    let batch = events(&set, 1_000);
    let (after, told) = until_overdrawn(&set, &batch);
    assert!((2_000..12_000).contains(&after), "{after}");
    assert_eq!(told.len(), 1);
    assert_eq!((&*told[0].rule, told[0].until_ns), ("costly", Some(PAUSE_NS)));
    assert!(told[0].work_per_event > 10.0 * told[0].allowed, "{told:?}");
    assert_eq!(set.pausing(0), []);

    let mut scratch = Scratch::new();
    assert_eq!(matched(&set, &batch, &mut scratch), ["costly", "plain"]);
    let paused = set.with_paused(told.clone());
    assert_eq!(matched(&paused, &batch, &mut scratch), ["plain"]);
    assert!(paused.costs().iter().all(|c| &*paused.rule(c.rule).id != "costly"));
    assert_eq!(paused.find("costly"), set.find("costly"));
    assert_eq!(
        (paused.pausing(PAUSE_NS - 1), paused.pausing(PAUSE_NS)),
        (vec![], vec![told[0].lifted()])
    );

    let again = paused.with_paused(vec![told[0].lifted()]);
    assert_eq!(matched(&again, &batch, &mut scratch), ["costly", "plain"]);
    let mut edited = told[0].clone();
    edited.hash = "of what it said before".into();
    assert_eq!(matched(&set.with_paused(vec![edited]), &batch, &mut scratch), ["costly", "plain"]);
}

/// Scenario: a rule of twelve expressions reads values of 4 KB.
/// Guarantees: it is within its budget, which grows with the event: large events pause no sane rule.
#[test]
fn large_events_bring_no_sane_rule_over_its_budget() {
    let set = set(11, "");
    let batch = events(&set, 4 << 10);
    assert_eq!(until_overdrawn(&set, &batch), (0, vec![]));
    let most = &set.costs()[0];
    assert!(most.work_per_event() > 3_000.0 && most.work_per_event() < most.allowed, "{most:?}");
}

/// Scenario: the costly rule is what must follow in an `absence`, directly or through a correlation, or
/// is counted up to a bound from below.
/// Guarantees: it is paused in the last case only: elsewhere its silence would make alerts.
#[test]
fn a_rule_whose_silence_would_alert_stays_in_force() {
    let correlation = |id: &str, kind: &str, rules: &str, more: &str| {
        format!(
            "---\ntitle: {id}\nid: {id}\ncorrelation: {{type: {kind}, rules: [{rules}], \
             group-by: [Data], timespan: 5m{more}}}\n"
        )
    };
    let many = correlation("many", "event_count", "costly", ", condition: {gte: 5}");
    let few = correlation("few", "event_count", "costly", ", condition: {lt: 5}");
    let direct = correlation("direct", "absence", "plain, costly", "");
    let chained = format!("{many}{}", correlation("chained", "absence", "plain, many", ""));
    let negated = ", condition: 'plain and not costly'";
    let negated = correlation("negated", "temporal", "plain, costly", negated);
    let cases = [(&many, 1), (&few, 0), (&direct, 0), (&chained, 0), (&negated, 0)];
    for (more, told) in cases {
        let set = set(EXPRESSIONS, more);
        let batch = events(&set, 1_000);
        assert_eq!(until_overdrawn(&set, &batch).1.len(), told, "{more}");
    }
}
