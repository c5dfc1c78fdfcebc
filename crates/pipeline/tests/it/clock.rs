//! The wall clock is set while events come in.

use super::stage::{S, Stage};
use event::Level;

const RULES: &str = "
title: Failed
id: 00000000-0000-4000-8000-000000000001
name: failed
logsource: {category: test}
detection: {s: {what: failed}, condition: s}
level: low
---
title: Accepted
id: 00000000-0000-4000-8000-000000000002
name: accepted
logsource: {category: test}
detection: {s: {what: accepted}, condition: s}
---
title: Many
id: 00000000-0000-4000-8000-000000000004
name: many
correlation: {type: event_count, rules: [failed], group-by: [who], timespan: 20s, condition: {gte: 4}}
level: high
---
title: Guessed
id: 00000000-0000-4000-8000-000000000005
correlation: {type: temporal_ordered, rules: [many, accepted], group-by: [who], timespan: 30s, generate: true}
level: critical
";

const DAY: i64 = 86_400 * S;

/// Attacks on several accounts, told by senders whose own clocks are right; at the given seconds the
/// receiver's clock is set.
fn alerts(jumps: &[(i64, i64)]) -> (Vec<(String, Level, String)>, usize) {
    let stage = Stage::new(RULES, &[]);
    for second in 0..120 {
        for (_, by) in jumps.iter().filter(|(at, _)| *at == second) {
            stage.jump(*by);
        }
        let time = event::time::rfc3339(stage.true_ns());
        let who = format!("u{}", second / 12);
        let what = if second % 12 == 9 { "accepted" } else { "failed" };
        let record = format!(r#"{{"@timestamp":"{time}","what":"{what}","who":"{who}"}}"#);
        stage.send("web", &[record]);
        stage.tick();
    }
    (0..120).for_each(|_| stage.tick());
    let heard = stage.run(2, None, 0);
    let paged = heard.backfill.iter().filter(|(_, backfill)| !backfill).count();
    let ours = heard.fired.into_iter().filter(|(rule, ..)| !rule.starts_with("alcedo."));
    (ours.collect(), paged)
}

/// Scenario (R9): the clock is set by days and by an hour, forward and back, in the midst of
/// windows; once, and again and again.
/// Guarantees: the same alerts with the same reasons as under a clock that is right, and they page.
#[test]
fn clock_jumps_change_no_alert() {
    let (expected, paged) = alerts(&[]);
    assert!(expected.iter().filter(|a| a.1 == Level::Critical).count() >= 8, "{expected:?}");
    let stories: [&[(i64, i64)]; 5] = [
        &[(31, 3 * DAY)],
        &[(31, -3 * DAY)],
        &[(40, -3600 * S)],
        &[(20, 3600 * S), (25, -3600 * S), (70, -3600 * S), (90, 3600 * S)],
        &[(10, 2 * DAY), (30, -5 * DAY), (50, S), (71, 3 * DAY)],
    ];
    for jumps in stories {
        let (told, also_paged) = alerts(jumps);
        assert!(told == expected, "{jumps:?}: {told:#?} instead of {expected:#?}");
        assert!(also_paged >= expected.len().min(paged), "{jumps:?}: {also_paged} of {paged} page");
    }
}
