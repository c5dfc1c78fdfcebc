//! Nothing is lost, nothing depends on when a snapshot was taken.

use alert::desk::DeskState;
use alert::{Desk, Firing, Folded, Limits, Offered};
use event::{Alert, EventId, Evidence, Explanation, Level};
use proptest::prelude::*;
use std::collections::BTreeMap;

const LIMITS: Limits = Limits { episodes: 4, evidence: 5, pending_evidence: 12 };

#[derive(Clone, Debug)]
enum Step {
    Fire { key: u8, level: usize, times: u64, after_ns: i64, suppress_ns: i64, backfill: bool },
    Tick { after_ns: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let fire = (0u8..9, 0usize..5, 1u64..6, -3i64..20, prop::sample::select(vec![0i64, 10, 60]));
    prop_oneof![
        6 => (fire, any::<bool>()).prop_map(|((key, level, times, after_ns, suppress_ns), backfill)| {
            Step::Fire { key, level, times, after_ns, suppress_ns, backfill }
        }),
        1 => (0i64..50).prop_map(|after_ns| Step::Tick { after_ns }),
    ]
}

fn blank(id: String, evidence: Vec<Evidence>) -> Alert {
    Alert {
        id,
        rule_id: "r".into(),
        title: String::new(),
        rule_type: "detection".into(),
        author: String::new(),
        level: Level::Low,
        tags: vec![],
        rule_hash: String::new(),
        generation: 0,
        reason: String::new(),
        entity: BTreeMap::new(),
        event_ns: 0,
        stream_ns: 0,
        fired_by: EventId::default(),
        evidence,
        count: 0,
        explanation: Explanation::default(),
        backfill: false,
    }
}

/// Plays the steps; `restart_at` replaces the desk by one restored from its serialised state.
fn play(steps: &[Step], restart_at: Option<usize>) -> (Vec<Alert>, Vec<Folded>, Desk) {
    let mut desk = Desk::new(LIMITS);
    let (mut alerts, mut told, mut now_ns) = (Vec::new(), Vec::new(), 0i64);
    for (index, step) in steps.iter().enumerate() {
        if restart_at == Some(index) {
            let text = serde_json::to_string(&desk.snapshot()).unwrap();
            let state: DeskState = serde_json::from_str(&text).unwrap();
            desk = Desk::restore(state, LIMITS);
        }
        match step {
            Step::Tick { after_ns } => {
                now_ns += after_ns;
                told.extend(desk.tick(now_ns));
            }
            Step::Fire { key, level, times, after_ns, suppress_ns, backfill } => {
                now_ns += after_ns;
                let id = EventId::at(index as u64);
                let evidence = [Evidence::new(id, now_ns, "r".into(), 1)];
                let firing = Firing {
                    rule_id: "r",
                    key: &[*key],
                    level: Level::ALL[*level].0,
                    event_ns: now_ns,
                    stream_ns: now_ns,
                    fired_by: id,
                    times: *times,
                    evidence: &evidence,
                    events: 1,
                    revision: None,
                    suppress_ns: *suppress_ns,
                    backfill: *backfill,
                };
                if let Offered::Fired(alert) =
                    desk.offer(&firing, |id| blank(id, evidence.to_vec()))
                {
                    alerts.push(*alert);
                }
            }
        }
    }
    told.extend(desk.tick(i64::MAX));
    (alerts, told, desk)
}

fn offered(steps: &[Step]) -> u64 {
    steps.iter().map(|s| if let Step::Fire { times, .. } = s { *times } else { 0 }).sum()
}

proptest! {
    #[test]
    fn what_went_out_and_what_was_folded_adds_up_to_what_was_offered(
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let (alerts, told, desk) = play(&steps, None);
        let mut count: BTreeMap<&str, u64> = BTreeMap::new();
        let mut evidence: BTreeMap<&str, usize> = BTreeMap::new();
        for alert in &alerts {
            prop_assert!(count.insert(&alert.id, alert.count).is_none(), "ids are unique");
            evidence.insert(&alert.id, alert.evidence.len());
        }
        for news in &told {
            let known = count.get_mut(news.id.as_str());
            prop_assert!(known.is_some(), "an update for an alert that never went out");
            let known = known.unwrap();
            prop_assert!(news.count >= *known, "counts only grow");
            *known = news.count;
            let kept = evidence.get_mut(news.id.as_str()).unwrap();
            *kept += news.evidence.len();
            prop_assert!(*kept <= LIMITS.evidence && *kept as u64 <= news.evidence_total);
        }
        prop_assert_eq!(count.values().sum::<u64>(), offered(&steps));
        let c = desk.counters();
        prop_assert_eq!(c.offered, c.fired + c.folded);
        prop_assert_eq!(c.offered, offered(&steps));
        prop_assert_eq!(desk.open(), 0, "every window ends");
    }

    #[test]
    fn a_restart_changes_nothing(
        steps in prop::collection::vec(step(), 1..120),
        at in any::<prop::sample::Index>(),
    ) {
        let (alerts, told, desk) = play(&steps, None);
        let (alerts2, told2, desk2) = play(&steps, Some(at.index(steps.len())));
        prop_assert_eq!(alerts, alerts2);
        prop_assert_eq!(told, told2);
        prop_assert_eq!(desk.counters(), desk2.counters());
    }

    #[test]
    fn memory_stays_within_the_limits_whatever_is_offered(
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut desk = Desk::new(LIMITS);
        for (index, step) in steps.iter().enumerate() {
            let Step::Fire { key, .. } = step else { continue };
            let firing = Firing {
                rule_id: "r", key: &[*key], level: Level::Low, event_ns: 0, stream_ns: 0,
                fired_by: EventId::at(index as u64), times: 1, evidence: &[], events: 0,
                revision: None, suppress_ns: 1, backfill: false,
            };
            desk.offer(&firing, |id| blank(id, vec![]));
            // One more than the limit: the episode that entities share once the desk is full.
            prop_assert!(desk.open() <= LIMITS.episodes + 1);
        }
    }
}
