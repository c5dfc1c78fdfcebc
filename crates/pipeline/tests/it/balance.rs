//! What is lost between the journal and the store is found by counting.

use super::stage::{S, Stage};
use event::Level;

const RULES: &str = "
title: Failed
id: 00000000-0000-4000-8000-000000000001
logsource: {category: test}
detection: {s: {what: failed}, condition: s}
";

/// A minute of two sources, records of all sorts among them, and the minutes until it is judged.
fn story() -> Stage {
    let stage = Stage::new(RULES, &[("vpn", 3 * S)]);
    for second in 0..30 {
        let record = format!(r#"{{"what":"{}","n":{second}}}"#, ["failed", "fine"][second % 2]);
        stage.send("web", &[record.clone(), format!("no JSON {second}")]);
        stage.send("vpn", &[record.clone(), record]);
        stage.tick();
    }
    // Several events in one record, and one record in several parts.
    stage.send("web", &[r#"{"Records":[{"a":1},{"a":2},{"a":3}]}"#.to_owned()]);
    stage.send("web", &[format!(r#"{{"long":"{}"}}"#, "x".repeat(3 << 20))]);
    (0..200).for_each(|_| stage.tick());
    stage
}

fn imbalances(stage: &Stage, workers: usize, loses: fn(&[u8]) -> bool) -> Vec<(Level, String)> {
    let heard = stage.run_losing(workers, None, 0, loses);
    let told = heard.fired.into_iter().filter(|(rule, ..)| rule == "alcedo.imbalance");
    told.map(|(_, level, reason)| (level, reason)).collect()
}

/// Scenario: a store that loses nothing; one record; a whole batch; the record in several parts.
/// Guarantees: a critical alert for each minute and source with a loss, with the numbers; no other.
#[test]
fn a_loss_between_journal_and_store_is_a_critical_alert() {
    let stage = story();
    for workers in [1, 3] {
        assert_eq!(imbalances(&stage, workers, |_| false), []);
    }
    let one = imbalances(&stage, 2, |raw| raw == b"no JSON 17");
    let [(Level::Critical, reason)] = &one[..] else { panic!("{one:?}") };
    // 60 records, 3 events in one, 1 in parts: 65 events and the parts of the long one.
    assert!(reason.starts_with("web: of "), "{reason}");
    let all = imbalances(&stage, 2, |raw| raw.starts_with(b"{\"what\":\"fine\""));
    assert_eq!(all.len(), 2, "both sources lost some: {all:?}");
    let long = imbalances(&stage, 2, |raw| raw.len() > 1 << 20);
    assert_eq!(long.len(), 1, "{long:?}");
}

/// Scenario: the same, stopped at every snapshot and read again with and without the loss.
/// Guarantees: a restart neither invents nor hides an imbalance.
#[test]
fn a_restart_keeps_the_account() {
    let stage = story();
    let snapshots = stage.run(2, None, 0).snapshots;
    assert!(snapshots.len() > 3);
    for (offset, bytes) in &snapshots {
        for stored in [*offset, offset.saturating_sub(25)] {
            let again = stage.run(2, Some(bytes), stored);
            let told = again.fired.iter().filter(|f| f.0 == "alcedo.imbalance").count();
            assert_eq!(told, 0, "restart at {offset}, store at {stored}: {:?}", again.fired);
        }
    }
    let (offset, bytes) = &snapshots[0];
    let lost = stage.run_losing(2, Some(bytes), *offset, |raw| raw.len() > 1 << 20);
    assert_eq!(lost.fired.iter().filter(|f| f.0 == "alcedo.imbalance").count(), 1);
}
