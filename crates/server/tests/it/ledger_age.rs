//! The ledger's oldest part, in the real binary: what is past its time goes, what lives on stays.

use super::harness::{Server, alcedo, run};
use ledger::{Actor, Audit, Ledger, LedgerRecord, journal_options};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const RULE: &str = "title: Marker seen\nid: 44444444-4444-4444-8444-444444444444\nlogsource: {product: linux}\ndetection:\n  sel:\n    - xyzzy\n  condition: sel\nlevel: high\n";

/// Audit that fills three segments of the ledger's stream.
const AUDIT: (usize, usize) = (2_700, 4_000);

/// Writes audit records into the ledger of a server that is stopped.
fn fill(data_dir: &Path) {
    let (fs, clock) = (Arc::new(journal::OsFs), Arc::new(journal::OsClock));
    let opened = journal::Journal::open(data_dir.join("ledger"), journal_options(), fs, clock);
    let stream = Arc::new(opened.unwrap().0);
    let ledger = Ledger::open(&data_dir.join("ledger-index"), stream.clone()).unwrap();
    let at_ns = io::intake::wall_ns();
    let one = |n: usize| LedgerRecord::Audit {
        audit: Audit {
            action: "old.thing".into(),
            target: n.to_string(),
            detail: "d".repeat(AUDIT.1),
        },
        actor: Actor { who: "user:kim".into(), at_ns, client: String::new() },
    };
    for part in 0..3 {
        let third = AUDIT.0 / 3;
        ledger.submit((part * third..(part + 1) * third).map(one).collect(), at_ns).unwrap();
    }
    // The server looks only once an hour: all must be sealed when it does.
    let began = Instant::now();
    while stream.sealed_before(i64::MAX).unwrap().len() as u64 + 1 < stream.stats().segments {
        assert!(began.elapsed() < Duration::from_secs(60), "segments are not sealed");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn alerts(server: &Server) -> Vec<Value> {
    let mut found =
        server.get("/api/v1/alerts?state=all&limit=500")["alerts"].as_array().unwrap().clone();
    found.retain(|alert| alert["title"] == "Marker seen");
    found
}

fn segments(server: &Server) -> Vec<PathBuf> {
    let names = std::fs::read_dir(server.data_dir.join("ledger")).unwrap();
    let mut found: Vec<PathBuf> = names.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|e| e == "wal"));
    found.sort();
    found
}

/// Scenario: an open alert with a note, a closed one and twelve megabytes of audit become older than
/// the ledger is kept for; the index is thrown away; a segment is removed by hand.
/// Guarantees: the closed alert and the audit go, which is an audit record and an event; the open alert
/// has its note, the administrator's token is good; `verify` takes what went for gone in order, before
/// and after the index is made again, and a segment that was removed by hand for a loss.
#[test]
fn the_ledgers_oldest_part_goes_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let rule = folder.path().join("marker.yml");
    std::fs::write(&rule, RULE).unwrap();
    let settings = format!("rules: ['{}']\nnotify: []\n", rule.display());
    let mut server = Server::start_as(&settings, Some(&folder.path().join("data")), alcedo);
    for user in ["open", "closed"] {
        let event = json!({"message": "xyzzy", "user": {"name": user}});
        server.ingest(&format!("{event}\n"));
    }
    server.eventually("the alerts", |s| (alerts(s).len() == 2).then_some(()));
    let of = |s: &Server, user: &str| {
        alerts(s).into_iter().find(|alert| alert["entity"].to_string().contains(user))
    };
    let id = |s: &Server, user: &str| of(s, user).unwrap()["id"].as_str().unwrap().to_owned();
    let change = |path: &str, body: Value| {
        let (status, told) = server.ask("POST", path, &server.admin_token, &body.to_string());
        assert_eq!(status, 200, "{told}");
    };
    let (open, closed) = (id(&server, "open"), id(&server, "closed"));
    change(&format!("/api/v1/alerts/{open}/note"), json!({"text": "still looking"}));
    let closing = json!({"to": "closed", "disposition": "false_positive", "why": "a test"});
    change(&format!("/api/v1/alerts/{closed}/triage"), closing);
    server.stop();
    fill(&server.data_dir);
    server.configure("retention: {age: 2s, ledger: 2s}\n");
    std::thread::sleep(Duration::from_secs(2));
    server.start_again();
    let first = segments(&server)[0].clone();
    let audit = |s: &Server, action: &str| {
        let path = format!("/api/v1/audit?action={action}&limit=1000");
        s.get(&path)["records"].as_array().unwrap().len()
    };
    server.eventually("the retirement", |s| (audit(s, "ledger.retire") == 1).then_some(()));
    server.eventually("the event", |s| {
        (s.search("event.action:ledger.retire").len() == 1).then_some(())
    });
    server.eventually("the space", |s| (segments(s)[0] != first).then_some(()));
    let stands = |s: &Server| {
        assert_eq!(of(s, "closed"), None);
        let detail = s.get(&format!("/api/v1/alerts/{open}")).to_string();
        assert!(detail.contains("still looking"), "{detail}");
        // What is in the segment that is being written stays.
        assert!(audit(s, "old.thing") < 1_000);
    };
    stands(&server);
    server.stop();
    let dir = server.data_dir.to_str().unwrap().to_owned();
    let verify = || {
        let out = run(&["verify", "--data-dir", &dir]);
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let (code, text) = verify();
    assert!(code == Some(0) && text.contains("went in order, 1 of its alerts live on"), "{text}");
    std::fs::remove_dir_all(server.data_dir.join("ledger-index")).unwrap();
    server.start_again();
    stands(&server);
    server.stop();
    assert_eq!(verify().0, Some(0));
    std::fs::remove_file(&segments(&server)[0]).unwrap();
    let (code, text) = verify();
    assert!(code == Some(4) && text.contains("ledger: DAMAGED"), "{text}");
}
