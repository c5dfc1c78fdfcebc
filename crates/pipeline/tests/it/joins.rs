//! Records that are one event: in the pipeline, over restarts, in the account.

use super::stage::Stage;

const RULES: &str = "
title: Truncated log
id: 00000000-0000-4000-8000-000000000001
logsource: {product: linux, service: auditd}
detection: {s: {type: EXECVE, a0: truncate, a1|startswith: '-s'}, condition: s}
level: high
---
title: Call and arguments together
id: 00000000-0000-4000-8000-000000000002
logsource: {product: linux, service: auditd}
detection: {a: {type: SYSCALL, key: exec}, b: {type: EXECVE, a1: '-s0'}, condition: a and b}
";

fn record(kind: &str, serial: u64, rest: &str) -> String {
    format!("type={kind} msg=audit(1795478400.{:03}:{serial}): {rest}", serial % 1_000)
}

/// Two machines whose audit events overlap each other and other records; every third never ends, and
/// some numbered parts in the wrong order.
fn story() -> Stage {
    let stage = Stage::new(RULES, &[]);
    let ise = |n: u64, index: u32| {
        format!(
            "<181>Nov 24 00:00:00 ise CISE_Failed_Attempts {n:010} 3 {index} UserName=u{index},"
        )
    };
    for n in 0..120u64 {
        let call =
            record("SYSCALL", n, "syscall=59 items=1 exe=\"/usr/bin/truncate\" key=\"exec\"");
        let exec = record("EXECVE", n, "argc=2 a0=\"truncate\" a1=2D7330");
        let path = record("PATH", n, "item=0 name=\"auth.log\" nametype=NORMAL");
        let end = record("PROCTITLE", n, "proctitle=7472756E63617465");
        stage.send("a", &[call.clone(), "between".into()]);
        stage.send("b", &[call, exec.clone()]);
        if n % 2 == 0 {
            stage.tick();
        }
        stage.send("a", &[exec, record("CWD", n, "cwd=\"/var/log\""), path.clone()]);
        if n % 3 != 0 {
            stage.send("b", &[path, end.clone()]);
            stage.send("a", &["between".into(), end]);
        }
        stage.send("net", &[ise(n, 2), ise(n, 0)]);
        if n % 5 != 0 {
            stage.send("net", &[ise(n, 1)]);
        }
    }
    (0..200).for_each(|_| stage.tick());
    stage
}

/// Scenario: the story above, with one, two and four workers.
/// Guarantees: every run gives the same events and alerts; joined events have the fields of all their
/// records, and rules see them; incomplete ones are marked and come within the limit; the account is
/// even.
#[test]
fn parts_become_one_event_whatever_the_number_of_workers() {
    let stage = story();
    let reference = stage.run(1, None, 0);
    let audit: Vec<&String> =
        reference.events.iter().map(|e| &e.1).filter(|e| e.contains("\"auditd.serial\"")).collect();
    assert_eq!(audit.len(), 240, "one event of each machine's call");
    let short = |e: &&&String| e.contains("join_incomplete");
    // Those of `b` that never end lack their path; those of `a` have all that was announced.
    assert_eq!(audit.iter().filter(short).count(), 40);
    let whole =
        audit.iter().find(|e| e.contains("/var/log/auth.log")).expect("a file by its folder");
    for part in [
        "\"process.args\":[\"truncate\",\"-s0\"]",
        "\"process.command_line\":\"truncate -s0\"",
        "\"process.executable\":\"/usr/bin/truncate\"",
        "\"process.working_directory\":\"/var/log\"",
    ] {
        assert!(whole.contains(part), "{part} in {whole}");
    }
    let ise: Vec<&String> =
        reference.events.iter().map(|e| &e.1).filter(|e| e.contains("cisco.ise.parts")).collect();
    assert_eq!(ise.len(), 120);
    assert_eq!(ise.iter().filter(|e| e.contains("join_incomplete")).count(), 24);
    let both = |rule: &str| reference.said.iter().filter(|s| s.1.contains(rule)).count();
    assert!(both("00000000-0000-4000-8000-000000000001") > 0);
    assert!(both("00000000-0000-4000-8000-000000000002") > 0);
    assert!(!reference.fired.iter().any(|f| f.0 == "alcedo.imbalance"), "{:?}", reference.fired);
    for workers in [2, 4] {
        let other = stage.run(workers, None, 0);
        assert!(other.events == reference.events, "{workers} workers");
        assert!(other.said == reference.said && other.snapshots == reference.snapshots);
    }
}

/// Scenario: restarts from every snapshot, the store behind by this and that.
/// Guarantees: the rest of the events and alerts comes out the same, joined alike.
#[test]
fn what_waits_survives_a_restart() {
    let stage = story();
    let reference = stage.run(2, None, 0);
    assert!(reference.snapshots.len() > 2);
    let last = reference.events.last().unwrap().0;
    let mut waited = 0;
    for (number, (needed, bytes)) in reference.snapshots.iter().enumerate() {
        let next = pipeline::snapshot::next_offset(bytes).unwrap();
        if next > last {
            continue;
        }
        waited += usize::from(*needed < next);
        for behind in [0, 1, 2, 3, 5, 8, 13, 40, 400] {
            let stored = next.saturating_sub(behind);
            let again = stage.run(1 + number % 3, Some(bytes), stored);
            let rest: Vec<_> = reference.events.iter().filter(|e| e.0 >= stored).cloned().collect();
            let other = again.events.iter().zip(&rest).find(|(a, b)| a != b);
            assert!(again.events == rest, "snapshot at {next}, store {behind} behind: {other:?}");
            let said: Vec<_> = reference.said.iter().filter(|s| s.0 >= next).cloned().collect();
            assert!(again.said == said, "snapshot at {next}, store {behind} behind");
        }
    }
    assert!(waited > 0, "no snapshot had anything that waited");
}
