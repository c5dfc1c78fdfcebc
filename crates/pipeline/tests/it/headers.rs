//! Columns that a header line names, and what a source usually sends: both over restarts.

use super::stage::Stage;

const RULE: &str = "
title: Nothing
id: 00000000-0000-4000-8000-000000000001
logsource: {category: test}
detection: {s: {what: never}, condition: s}
";

/// Scenario: three sources send W3C lines whose columns change every now and then; header lines are
/// often in another request than the lines below them. Restarts from every snapshot, the store behind.
/// Guarantees: each line is read by the header in force for its source, and every restart reads it so.
#[test]
fn header_lines_survive_restarts() {
    let stage = Stage::new(RULE, &[]);
    let line = |order: usize, n: u32| match order {
        0 => format!("2026-11-24 00:00:{:02} 203.0.113.{} /page{n} GET", n % 60, n % 250),
        _ => format!("GET 203.0.113.{} 2026-11-24 00:00:{:02} /page{n}", n % 250, n % 60),
    };
    let header = |order: usize| match order {
        0 => "#Fields: date time c-ip cs-uri-stem cs-method",
        _ => "#Fields: cs-method c-ip date time cs-uri-stem",
    };
    let mut orders = [0, 1, 0];
    let sources = ["a", "b", "c"];
    let mut sent: Vec<(u64, String)> = Vec::new();
    for n in 0..240 {
        let source = (n * n % 3) as usize;
        if n < 3 || n % 17 == 0 {
            for (name, order) in sources.iter().zip(&mut orders) {
                *order = 1 - *order;
                stage.send(name, &["#Software: test".to_owned(), header(*order).to_owned()]);
            }
        }
        let lines: Vec<String> = (0..3).map(|i| line(orders[source], n * 3 + i)).collect();
        let last = stage.send(sources[source], &lines);
        let addresses =
            (0..3).map(|i| format!("\"source.ip\":\"203.0.113.{}\"", (n * 3 + i) % 250));
        sent.extend((last - 2..=last).zip(addresses));
        stage.tick();
    }
    let reference = stage.run(2, None, 0);
    for (offset, address) in &sent {
        let (_, event) = reference.events.iter().find(|e| e.0 == *offset).unwrap();
        assert!(event.contains(address), "{address} in {event}");
    }
    assert!(reference.snapshots.len() > 4);
    // A snapshot of the very end has nothing to do, and a run from it ends before it has read again.
    let last = sent.last().unwrap().0;
    let snapshots = reference.snapshots.iter().filter(|(offset, _)| *offset <= last);
    for (number, (offset, bytes)) in snapshots.enumerate() {
        for behind in [0, 1, 37, 400] {
            let stored = offset.saturating_sub(behind);
            let again = stage.run(1 + number % 3, Some(bytes), stored);
            let rest: Vec<_> = reference.events.iter().filter(|e| e.0 >= stored).cloned().collect();
            let other = again.events.iter().zip(&rest).find(|(a, b)| a != b);
            assert!(again.events == rest, "snapshot at {offset}, store {behind} behind: {other:?}");
        }
    }
}

/// Scenario: a source sends one product, then another, then the first again.
/// Guarantees: it is decided once each time, later and later, and a restart decides the same.
#[test]
fn what_a_source_sends_is_decided_alike_after_a_restart() {
    let stage = Stage::new(RULE, &[]);
    let ssh = "<86>Nov 23 00:00:00 h sshd[7]: Failed password for root from 10.0.0.1 port 22 ssh2";
    let cef = "CEF:0|V|P|1|7|n|3|src=10.0.0.1";
    for (line, seconds) in [(ssh, 40), (cef, 40), (ssh, 40), (cef, 40)] {
        for _ in 0..seconds {
            stage.send("mixed", &vec![line.to_owned(); 10]);
            stage.tick();
        }
    }
    let reference = stage.run(2, None, 0);
    let packs: Vec<Option<&str>> =
        reference.decisions.iter().map(|(_, d)| d.pack.as_deref()).collect();
    assert_eq!(packs[..2], [Some("linux-auth"), None], "{packs:?}");
    assert!(packs.len() > 2 && packs.len() < 8, "{packs:?}");
    for (offset, bytes) in &reference.snapshots {
        let again = stage.run(1, Some(bytes), *offset);
        let rest: Vec<_> = reference.decisions.iter().filter(|d| d.0 >= *offset).cloned().collect();
        assert_eq!(again.decisions, rest, "from {offset}");
    }
}
