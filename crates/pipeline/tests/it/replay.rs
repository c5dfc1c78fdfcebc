//! The same journal gives the same alerts, byte for byte.

use super::stage::{S, Said, Stage};

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
title: Odd
id: 00000000-0000-4000-8000-000000000003
logsource: {category: test}
detection: {s: {what: odd}, condition: s}
level: medium
---
title: Many
id: 00000000-0000-4000-8000-000000000004
name: many
correlation: {type: event_count, rules: [failed], group-by: [who], timespan: 15s, condition: {gte: 4}}
level: high
---
title: Guessed
id: 00000000-0000-4000-8000-000000000005
correlation: {type: temporal_ordered, rules: [many, accepted], group-by: [who], timespan: 20s, generate: true}
level: critical
---
title: Spread
id: 00000000-0000-4000-8000-000000000006
correlation: {type: value_count, rules: [failed], group-by: [who], timespan: 30s, condition: {gte: 3, field: [where, size]}}
---
title: Silent
id: 00000000-0000-4000-8000-000000000007
correlation: {type: absence, rules: [failed, accepted], group-by: [who], timespan: 5s}
---
title: Sizes
id: 00000000-0000-4000-8000-000000000008
correlation: {type: value_median, rules: [failed, accepted], group-by: [who], timespan: 10s, window: session, gap: 3s, condition: {gt: 60, field: size}}
---
title: First
id: 00000000-0000-4000-8000-000000000009
correlation: {type: first_seen, rules: [accepted], group-by: [who], timespan: 1d, learn-for: 5s, condition: {field: where}}
---
title: Beat
id: 00000000-0000-4000-8000-000000000010
correlation: {type: regular_interval, rules: [failed, accepted], group-by: [who], timespan: 1m, condition: {gte: 4, jitter: 50, share: 60, burst: 1s}}
";

fn next(x: &mut u64, below: u64) -> u64 {
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    *x % below
}

/// Two sources, one of them thirteen minutes behind, repeats, late events, and ticks.
fn story() -> Stage {
    let stage = Stage::new(RULES, &[("vpn", 3 * S)]);
    let mut x = 0x2545_f491_4f6c_dd1d;
    for second in 0..300 {
        for _ in 0..next(&mut x, 3) {
            let vpn = next(&mut x, 3) == 0;
            let lag = if vpn { 780 } else { next(&mut x, 8) as i64 };
            let records: Vec<String> = (0..=next(&mut x, 6))
                .map(|_| {
                    let what = ["failed", "failed", "failed", "accepted", "odd"];
                    let time = event::time::rfc3339(stage.now_ns() - lag * S);
                    format!(
                        r#"{{"@timestamp":"{time}","what":"{}","who":"u{}","where":"h{}","size":{}}}"#,
                        what[next(&mut x, 5) as usize],
                        next(&mut x, 6),
                        next(&mut x, 4),
                        next(&mut x, 100),
                    )
                })
                .collect();
            stage.send(if vpn { "vpn" } else { "web" }, &records);
            if vpn && next(&mut x, 2) == 0 {
                stage.send("vpn", &records);
            }
        }
        if second % 97 != 0 {
            stage.tick();
        }
    }
    (0..900).for_each(|_| stage.tick());
    stage
}

fn kinds(said: &Said) -> Vec<(&str, usize)> {
    ["Fired", "Folded", "Grew", "Merged"]
        .map(|kind| (kind, said.iter().filter(|s| s.1.starts_with(kind)).count()))
        .to_vec()
}

#[test]
fn workers_and_restarts_change_no_alert() {
    let stage = story();
    let reference = stage.run(1, None, 0);
    let counts = kinds(&reference.said);
    assert!(counts[0].1 > 50 && counts[1].1 > 20, "too quiet a story: {counts:?}");
    for rule in 3..=10 {
        let id = format!("00000000-0000-4000-8000-0000000000{rule:02}");
        assert!(reference.said.iter().any(|s| s.1.contains(&id)), "rule {rule} said nothing");
    }
    assert!(reference.rows.iter().any(|r| !r.1), "nothing was a repeat");
    for workers in [2, 4] {
        let other = stage.run(workers, None, 0);
        assert!(other.said == reference.said, "{workers} workers");
        assert!(other.rows == reference.rows, "{workers} workers");
        assert!(other.snapshots == reference.snapshots, "the same state, the same bytes");
    }
    let mut restarted = std::collections::BTreeSet::new();
    for (number, (offset, bytes)) in reference.snapshots.iter().enumerate().skip(1).step_by(13) {
        // The store needs some of what detection has behind it.
        let stored = offset.saturating_sub(40);
        let workers = [1, 2, 4][number % 3];
        restarted.insert(workers);
        let again = stage.run(workers, Some(bytes), stored);
        let rest: Said = reference.said.iter().filter(|s| s.0 >= *offset).cloned().collect();
        assert!(again.said == rest, "restart at {offset} with {workers} workers");
        let rows: Vec<_> = reference.rows.iter().filter(|r| r.0 >= stored).copied().collect();
        let kept = |rows: &[(u64, bool)]| rows.iter().filter(|r| r.1).count();
        // A repeat whose window straddles both ends may be kept twice, never lost.
        assert_eq!(again.rows.len(), rows.len());
        assert!(again.rows.iter().zip(&rows).all(|(a, b)| a.1 || !b.1), "a row was lost");
        assert!(kept(&again.rows) <= kept(&rows) + 8);
    }
    assert_eq!(restarted.len(), 3, "three snapshots, and each number of workers");
}
