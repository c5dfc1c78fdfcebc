//! A store that cannot write for a while, in the real binary.

use super::harness::{Server, alcedo};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const RULE: &str = "title: Marker seen\nid: 44444444-4444-4444-8444-444444444444\nlogsource: {product: linux}\ndetection:\n  sel:\n    - xyzzy\n  condition: sel\nlevel: high\n";

/// Memory of rows that are in no file yet, MiB: the least that can be set.
const HOT_MIB: u64 = 1;
/// Events of one request.
const EVENTS: u64 = 300;
/// How long anything may take on a machine that builds other things.
const WAIT: Duration = Duration::from_secs(120);

/// A server whose store cannot make a folder for its files: a file stands in its place.
fn start(folder: &Path) -> Server {
    std::fs::write(folder.join("marker.yml"), RULE).unwrap();
    let data = folder.join("data");
    std::fs::create_dir_all(data.join("store")).unwrap();
    std::fs::write(data.join("store/events"), b"").unwrap();
    // Without syslog: after a crash its listeners would be alerts, too.
    let settings = format!(
        "sources: {{http: {{type: http}}}}\nrules: ['{}']\nnotify: []\nlimits: {{hot_rows: {HOT_MIB}MiB}}\n",
        folder.join("marker.yml").display()
    );
    Server::start_as(&settings, Some(&data), alcedo)
}

/// Several requests of numbered events; one of each makes an alert.
fn send(server: &Server, requests: std::ops::Range<u64>) {
    for request in requests {
        let line = |n: u64| {
            let id = request * EVENTS + n;
            let word = if n == 7 { "xyzzy" } else { "plain" };
            let user = json!({"name": format!("u{request}")});
            let event =
                json!({"message": format!("{word} {}", "x".repeat(500)), "user": user, "n": id});
            format!("{event}\n")
        };
        server.ingest(&(0..EVENTS).map(line).collect::<String>());
    }
}

/// How often each numbered event is found.
fn found(server: &Server) -> BTreeMap<u64, u64> {
    let mut times = BTreeMap::new();
    for row in server.search("n:*") {
        let n = row["n"].as_u64().or_else(|| row["n"].as_str()?.parse().ok());
        *times.entry(n.unwrap_or_else(|| panic!("{row}"))).or_insert(0) += 1;
    }
    times
}

/// What a search says that it could not find yet.
fn waiting(server: &Server) -> u64 {
    let body = "{\"query\": \"n:*\", \"limit\": 1}";
    let (status, answer) = server.ask("POST", "/api/v1/search", &server.admin_token, body);
    assert_eq!(status, 200, "{answer}");
    answer["summary"]["waiting_records"].as_u64().unwrap_or(0)
}

fn alerts(server: &Server) -> u64 {
    server.get("/api/v1/alerts?state=all&limit=500")["alerts"].as_array().unwrap().len() as u64
}

fn consumer(server: &Server, name: &str) -> Value {
    let lag = server.get("/api/v1/overview")["lag"]["consumers"].clone();
    lag.as_array().unwrap().iter().find(|c| c["name"] == name).cloned().unwrap()
}

fn has_detected_all(server: &Server, requests: u64) {
    server.eventually_within(WAIT, "the alerts", |s| (alerts(s) >= requests).then_some(()));
    server.eventually_within(WAIT, "detection", |s| {
        (consumer(s, "detect")["records"] == 0).then_some(())
    });
}

fn has_all_once(server: &Server, requests: u64) {
    let all: BTreeMap<u64, u64> = (0..requests * EVENTS).map(|n| (n, 1)).collect();
    server.eventually_within(WAIT, "the events", |s| {
        (found(s).len() as u64 == requests * EVENTS).then_some(())
    });
    assert!(found(server) == all, "an event is there twice");
}

/// Scenario: the store's folder cannot be written, and several times as many events come as it may
/// hold in memory; then it can be written, and more events come at once; then a restart.
/// Guarantees: detection and alerts go on and only the store lags; rows in memory stay below their
/// limit; people are told; afterwards every event is found once, and so after the restart.
#[test]
fn a_store_that_cannot_write_lags_alone_and_catches_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(folder.path());
    send(&server, 0..12);
    has_detected_all(&server, 12);
    let told = server.eventually_within(WAIT, "what people are told", |s| {
        let problems = s.get("/api/v1/overview")["problems"].to_string();
        (problems.contains("the store cannot write") && problems.contains("in the journal only"))
            .then_some(problems)
    });
    let in_memory = server.metric("alcedo_store_hot_bytes").unwrap();
    // A batch more than the limit, as it is looked at between batches.
    assert!(in_memory > 0.0 && in_memory < ((HOT_MIB * 2) << 20) as f64, "{in_memory}: {told}");
    let searchable = found(&server).len() as u64;
    assert!(searchable > 0 && searchable < 12 * EVENTS, "{searchable} of {}", 12 * EVENTS);
    assert!(waiting(&server) >= 12 * EVENTS - searchable, "{}", waiting(&server));
    assert!(consumer(&server, "store")["bytes"].as_u64().unwrap() > 12 * EVENTS * 500);
    std::fs::remove_file(server.data_dir.join("store/events")).unwrap();
    send(&server, 12..18);
    has_detected_all(&server, 18);
    has_all_once(&server, 18);
    server.eventually_within(WAIT, "whole answers", |s| (waiting(s) == 0).then_some(()));
    server.eventually_within(WAIT, "the all-clear", |s| {
        // The disk of the machine may be a problem of its own.
        let problems = s.get("/api/v1/overview")["problems"].to_string();
        let is_over = |what: &str| !problems.contains(what);
        (is_over("the store cannot write") && is_over("in the journal only")).then_some(())
    });
    server.eventually_within(WAIT, "the word of it", |s| {
        (s.search("event.action:store.caught_up").len() == 1).then_some(())
    });
    send(&server, 18..20);
    has_all_once(&server, 20);
    server.stop();
    server.start_again();
    has_all_once(&server, 20);
    assert_eq!(alerts(&server), 20);
}

/// Scenario: the same, killed while events are left in the journal, and again while they are taken.
/// Guarantees: every event is found once, every alert is there once.
#[test]
fn what_a_store_was_not_given_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(folder.path());
    send(&server, 0..8);
    has_detected_all(&server, 8);
    server.kill();
    server.start_again();
    send(&server, 8..10);
    has_detected_all(&server, 10);
    std::fs::remove_file(server.data_dir.join("store/events")).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    server.kill();
    server.start_again();
    has_all_once(&server, 10);
    assert_eq!(alerts(&server), 10);
}
