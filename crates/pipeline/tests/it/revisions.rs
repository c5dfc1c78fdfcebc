//! An alert of a correlation says how it stands, and each event once.

use super::stage::{S, Stage};
use event::{Alert, Evidence};
use pipeline::AlertChange;
use std::collections::BTreeMap;

const RULES: &str = "
title: Failed
id: 00000000-0000-4000-8000-000000000001
name: failed
logsource: {category: test}
detection: {s: {what: failed}, condition: s}
---
title: Odd
id: 00000000-0000-4000-8000-000000000002
name: odd
logsource: {category: test}
detection: {s: {odd: 'yes'}, condition: s}
---
title: Many
id: 00000000-0000-4000-8000-000000000003
correlation: {type: event_count, rules: [failed], group-by: [who], timespan: 15s, condition: {gte: 4}}
level: high
alcedo_suppression: 1h
---
title: Both
id: 00000000-0000-4000-8000-000000000004
correlation: {type: temporal, rules: [failed, odd], group-by: [who], timespan: 15s}
alcedo_suppression: 1h
";

/// An alert as the ledger would show it.
struct Shown {
    alert: Alert,
    evidence: Vec<Evidence>,
    listed: usize,
    total: u64,
    reasons: Vec<String>,
    /// The alert that carries on in its place.
    into: Option<String>,
}

fn shown(changes: &[AlertChange]) -> BTreeMap<String, Shown> {
    let mut out: BTreeMap<String, Shown> = BTreeMap::new();
    for change in changes {
        match change {
            AlertChange::Fired(alert, _) => {
                let shown = Shown {
                    evidence: alert.evidence.clone(),
                    listed: alert.evidence.len(),
                    total: alert.evidence.len() as u64,
                    reasons: vec![alert.reason.clone()],
                    into: None,
                    alert: (**alert).clone(),
                };
                out.insert(alert.id.clone(), shown);
            }
            AlertChange::Folded(news) | AlertChange::Grew(news) => {
                let shown = out.get_mut(&news.id).expect("it fired before");
                Evidence::join(&mut shown.evidence, news.evidence.clone());
                shown.listed += news.evidence.len();
                shown.total = shown.total.max(news.evidence_total);
                shown.reasons.extend(news.revision.iter().map(|r| r.reason.clone()));
            }
            AlertChange::Merged { id, into } => {
                assert!(out.contains_key(into), "what carries on fired before");
                let ends = out.get_mut(id).expect("what ends fired before");
                assert_eq!(ends.into.replace(into.clone()), None, "it ends once");
            }
        }
    }
    out
}

fn failed(stage: &Stage, who: &str, ago_s: i64, odd: bool) -> String {
    let time = event::time::rfc3339(stage.now_ns() - ago_s * S);
    let odd = if odd { "yes" } else { "no" };
    format!(r#"{{"@timestamp":"{time}","what":"failed","who":"{who}","odd":"{odd}"}}"#)
}

/// Scenario: fifty failed log-ins within five seconds.
/// Guarantees: the alert goes out at the fourth; in the end it says fifty, lists each event once, and
/// a replay from any snapshot says the same.
#[test]
fn the_reason_grows_with_the_burst() {
    let stage = Stage::new(RULES, &[]);
    for _ in 0..5 {
        let records: Vec<String> = (0..10).map(|_| failed(&stage, "u1", 0, false)).collect();
        stage.send("web", &records);
        stage.tick();
    }
    (0..120).for_each(|_| stage.tick());
    let run = stage.run(1, None, 0);
    let alerts = shown(&run.changes);
    assert_eq!(alerts.len(), 1);
    let one = alerts.values().next().unwrap();
    let of = |n: u32| format!("Many: {n} events within 15 s for who u1 ({n} events in all)");
    assert_eq!((one.reasons[0].clone(), one.reasons.last().unwrap().clone()), (of(4), of(50)));
    assert_eq!((one.evidence.len(), one.listed, one.total), (50, 50, 50));
    assert_eq!(one.alert.count, 1);
    for (offset, snapshot) in &run.snapshots {
        let rest: Vec<_> = run.said.iter().filter(|s| s.0 >= *offset).cloned().collect();
        assert_eq!(stage.run(2, Some(snapshot), 0).said, rest, "restart at {offset}");
    }
}

/// Two bursts of one user, then late events between them, until all windows are over.
fn two_bursts_and_one_between(stage: &Stage) {
    let burst = |ago_s: i64| {
        let records: Vec<String> =
            (0..6).map(|n| failed(stage, "u1", ago_s + n % 3, false)).collect();
        stage.send("web", &records);
    };
    burst(60);
    (0..3).for_each(|_| stage.tick());
    burst(39);
    (0..3).for_each(|_| stage.tick());
    burst(54);
    (0..120).for_each(|_| stage.tick());
}

/// Scenario: two bursts of one user, folded into one alert, and late events between them.
/// Guarantees: each event is told once, and the total is their number.
#[test]
fn joined_bursts_tell_each_event_once() {
    let stage = Stage::new(RULES, &[]);
    two_bursts_and_one_between(&stage);
    let run = stage.run(1, None, 0);
    let alerts = shown(&run.changes);
    assert_eq!(alerts.len(), 1, "{:?}", run.said);
    let one = alerts.values().next().unwrap();
    assert_eq!((one.evidence.len(), one.listed, one.total), (18, 18, 18));
    assert!(one.reasons.last().unwrap().ends_with("(18 events in all)"), "{:?}", one.reasons);
}

/// Scenario: two bursts of one user, an alert each, and late events between them.
/// Guarantees: the younger ends once, in favour of the older, which then has every event; a replay from
/// any snapshot says the same.
#[test]
fn joined_alerts_end_in_the_older_one() {
    let stage = Stage::new(&RULES.replace("suppression: 1h", "suppression: 1s"), &[]);
    two_bursts_and_one_between(&stage);
    let run = stage.run(1, None, 0);
    let alerts = shown(&run.changes);
    assert_eq!(alerts.len(), 2, "{:?}", run.said);
    let older = alerts.values().find(|one| one.into.is_none()).expect("one carries on");
    let younger = alerts.values().find(|one| one.into.is_some()).expect("one ends");
    assert_eq!(younger.into.as_ref(), Some(&older.alert.id));
    assert!(older.alert.stream_ns < younger.alert.stream_ns);
    assert_eq!((older.evidence.len(), older.listed, older.total), (18, 18, 18));
    for (offset, snapshot) in &run.snapshots {
        let rest: Vec<_> = run.said.iter().filter(|s| s.0 >= *offset).cloned().collect();
        assert_eq!(stage.run(2, Some(snapshot), 0).said, rest, "restart at {offset}");
    }
}

#[test]
fn an_event_of_two_rules_is_evidence_once() {
    let stage = Stage::new(RULES, &[]);
    stage.send("web", &[failed(&stage, "u1", 0, true)]);
    (0..5).for_each(|_| stage.tick());
    let run = stage.run(1, None, 0);
    let alerts = shown(&run.changes);
    let one = alerts.values().next().expect("it fires");
    assert_eq!((one.evidence.len(), one.listed, one.total), (1, 1, 1));
    assert_eq!(one.evidence[0].also.len(), 1);
    assert!(one.reasons[0].ends_with("(1 events in all)"), "{:?}", one.reasons);
}
