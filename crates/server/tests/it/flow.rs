//! Events through the doors of a running server, to alerts and searches.

use super::harness::{Server, alcedo, run};
use serde_json::json;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::process::Stdio;

const RULE: &str = "title: Marker seen\nid: 44444444-4444-4444-8444-444444444444\nlogsource: {product: linux}\ndetection:\n  sel:\n    - xyzzy\n  condition: sel\nlevel: high\nauthor: Tests\n";

/// Scenario: syslog over UDP and TCP (both framings), HTTP as NDJSON, array, text and gzip.
/// Guarantees: every record is found by search, with its source and its bytes.
#[test]
fn every_door_leads_to_search() {
    let server = Server::start("");
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.send_to(b"<13>Nov 24 02:14:00 h1 app: marker-udp", server.syslog_at("udp")).unwrap();
    let mut tcp = TcpStream::connect(server.syslog_at("tcp")).unwrap();
    tcp.write_all(b"<13>Nov 24 02:14:00 h2 app: marker-line\n").unwrap();
    let counted = "<13>1 2026-11-24T02:14:00Z h3 app - - - marker-counted";
    tcp.write_all(format!("{} {counted}", counted.len()).as_bytes()).unwrap();
    server.ingest("{\"message\":\"marker-ndjson\"}\n{broken marker-broken\n");
    let token = server.admin_token.clone();
    let json = [("Content-Type", "application/json")];
    let body = br#"[{"m":"marker-array"},{"m":"x"}]"#;
    let (status, answer) = server.send("POST", "/api/v1/ingest", &token, &json, body);
    assert_eq!((status, answer["accepted"].as_u64()), (200, Some(2)), "{answer}");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"marker-text one\nmarker-text two\n").unwrap();
    let headers = [("Content-Type", "text/plain"), ("Content-Encoding", "gzip")];
    let (status, _) =
        server.send("POST", "/api/v1/ingest", &token, &headers, &gzip.finish().unwrap());
    assert_eq!(status, 200);
    for (marker, count) in [
        ("marker-udp", 1),
        ("marker-line", 1),
        ("marker-counted", 1),
        ("marker-ndjson", 1),
        ("marker-broken", 1),
        ("marker-array", 1),
        ("marker-text", 2),
    ] {
        server.eventually(marker, |s| (s.search(marker).len() == count).then_some(()));
    }
    assert_eq!(server.search("marker-udp and alcedo.source:syslog").len(), 1);
    assert_eq!(server.search("tags:parse_failed and marker-broken").len(), 1);
    let rows = server.search("marker* | stats count() as n by alcedo.source | sort -n");
    assert_eq!(rows[0]["n"], 5, "{rows:?}");
}

/// Scenario: tokens of every kind against routes.
/// Guarantees: nothing without a token; an ingest token cannot read, and writes to its source only.
#[test]
fn tokens_open_what_they_are_for_and_nothing_else() {
    let server = Server::start("sources:\n  http: {type: http}\n  other: {type: http}\n");
    for path in ["/api/v1/alerts", "/api/v1/overview", "/metrics", "/api/v1/tokens"] {
        assert_eq!(server.ask("GET", path, "", "").0, 401, "{path}");
        assert_eq!(server.ask("GET", path, "alc_api_nonsense", "").0, 401, "{path}");
    }
    assert_eq!(server.ask("GET", "/nothing", &server.admin_token, "").0, 404);
    let wish = json!({"name": "t", "role": "ingest", "sources": ["other"]}).to_string();
    let (status, made) = server.ask("POST", "/api/v1/tokens", &server.admin_token, &wish);
    assert_eq!(status, 200, "{made}");
    let token = made["token"].as_str().unwrap();
    assert_eq!(server.ask("POST", "/api/v1/search", token, "{\"query\":\"*\"}").0, 403);
    assert_eq!(server.ask("POST", "/api/v1/ingest?source=http", token, "{\"a\":1}").0, 403);
    assert_eq!(server.ask("POST", "/api/v1/ingest?source=other", token, "{\"a\":1}").0, 200);
    let id = made["id"].as_str().unwrap();
    let gone = server.ask("DELETE", &format!("/api/v1/tokens/{id}"), &server.admin_token, "");
    assert_eq!(gone.0, 200);
    assert_eq!(server.ask("POST", "/api/v1/ingest?source=other", token, "{\"a\":1}").0, 401);
    let audit = server.get("/api/v1/audit");
    let actions: Vec<&str> =
        audit["records"].as_array().unwrap().iter().filter_map(|r| r["action"].as_str()).collect();
    assert!(actions.iter().any(|a| a.starts_with("token")), "{actions:?}");
}

/// Scenario: a decompression bomb, a body of nothing, a broken query.
/// Guarantees: each is refused with a sentence, and the server goes on.
#[test]
fn hostile_requests_are_refused_with_a_reason() {
    let server = Server::start("");
    let token = server.admin_token.clone();
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..100 {
        bomb.write_all(&vec![b'a'; 1 << 20]).unwrap();
    }
    let headers = [("Content-Encoding", "gzip")];
    let (status, answer) =
        server.send("POST", "/api/v1/ingest", &token, &headers, &bomb.finish().unwrap());
    assert_eq!(status, 413, "{answer}");
    assert_eq!(server.ask("POST", "/api/v1/ingest", &token, "").0, 400);
    let (status, answer) = server.ask("POST", "/api/v1/search", &token, r#"{"query":"a:(b"}"#);
    assert_eq!((status, answer["column"].as_u64()), (400, Some(5)), "{answer}");
    assert_eq!(server.ask("GET", "/healthz", "", "").0, 200);
}

/// Scenario: a rule file appears while the server runs; then an event that it matches.
/// Guarantees: the rule is in force without a restart; the alert has its reason, event and history.
#[test]
fn a_new_rule_is_in_force_without_a_restart_and_its_alert_can_be_worked() {
    let rules = tempfile::tempdir().unwrap();
    let server = Server::start(&format!("rules: ['{}']\n", rules.path().display()));
    server.ingest("{\"message\":\"xyzzy before the rule\"}\n");
    std::fs::write(rules.path().join("marker.yml"), RULE).unwrap();
    server.eventually("the rule", |s| {
        let rules = s.get("/api/v1/rules");
        rules["rules"].as_array()?.iter().find(|r| r["state"] == "live").map(|_| ())
    });
    server.ingest("{\"message\":\"xyzzy after the rule\"}\n");
    let alert = server.eventually("the alert", |s| {
        s.get("/api/v1/alerts")["alerts"].as_array()?.first().cloned()
    });
    assert_eq!(alert["title"], "Marker seen");
    assert_eq!(alert["author"], "Tests");
    let id = alert["id"].as_str().unwrap();
    let detail = server.get(&format!("/api/v1/alerts/{id}"));
    assert_eq!(detail["events"][0]["message"], "xyzzy after the rule", "{detail:#}");
    assert_eq!(detail["alert"]["explanation"]["condition"]["matched"], true);
    let token = server.admin_token.clone();
    let path = format!("/api/v1/alerts/{id}/triage");
    assert_eq!(server.ask("POST", &path, &token, r#"{"to":"acknowledged"}"#).0, 200);
    let close = r#"{"to":"closed","disposition":"benign_true_positive","why":"a test"}"#;
    assert_eq!(server.ask("POST", &path, &token, close).0, 200);
    assert_eq!(server.ask("POST", &path, &token, r#"{"to":"acknowledged"}"#).0, 409);
    let history = server.get(&format!("/api/v1/alerts/{id}"))["history"].clone();
    assert_eq!(history.as_array().unwrap().len(), 2, "{history}");
    let around = server.get(&format!("/api/v1/alerts/{id}/around?minutes=15"));
    // What the server says of itself is around, too.
    let sent = |row: &&serde_json::Value| row["alcedo.source"] != "alcedo";
    assert_eq!(around["rows"].as_array().unwrap().iter().filter(sent).count(), 2, "{around}");
}

/// Scenario: an alert for a webhook that is not there yet; the server restarts in between.
/// Guarantees: the alert arrives once the receiver is there, with its key.
#[test]
fn an_alert_waits_for_its_receiver_across_a_restart() {
    let rules = tempfile::tempdir().unwrap();
    std::fs::write(rules.path().join("marker.yml"), RULE).unwrap();
    let place = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let mut server = Server::start(&format!(
        "rules: ['{}']\nnotify:\n  - {{to: webhook, url: 'http://{address}/hook'}}\n",
        rules.path().display()
    ));
    server.ingest("{\"message\":\"xyzzy\"}\n");
    server.eventually("the alert", |s| {
        s.get("/api/v1/alerts")["alerts"].as_array()?.first().map(|_| ())
    });
    server.kill();
    server.start_again();
    let listener = std::net::TcpListener::bind(address).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut got = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&got).contains("Marker seen") {
        let n = std::io::Read::read(&mut stream, &mut piece).unwrap();
        assert!(n > 0, "the connection ended early");
        got.extend_from_slice(&piece[..n]);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&got).to_lowercase();
    assert!(head.starts_with("post /hook") && head.contains("idempotency-key:"), "{head}");
}

/// Scenario: verbs against a running server, then offline checks after it ended.
/// Guarantees: search and tokens work from the data folder alone; fsck and verify are clean.
#[test]
fn verbs_find_the_local_server_and_the_store_verifies_offline() {
    let mut server = Server::start("");
    server.ingest("{\"message\":\"plugh\",\"n\":1}\n{\"message\":\"plugh\",\"n\":2}\n");
    server.eventually("both", |s| (s.search("plugh").len() == 2).then_some(()));
    let dir = server.data_dir.to_str().unwrap().to_owned();
    let out =
        run(&["search", "plugh and n>=2", "--since", "1h", "-o", "ndjson", "--data-dir", &dir]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(String::from_utf8_lossy(&out.stdout).lines().count(), 1);
    let mut tail = alcedo()
        .args(["tail", "message:frotz", "-o", "ndjson", "--data-dir", &dir])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(tail.stdout.take().unwrap()));
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                server.ingest("{\"message\":\"frotz\"}\n{\"message\":\"other\"}\n");
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        });
        let line = lines.next().unwrap().unwrap();
        assert!(line.contains("frotz"), "{line}");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    tail.kill().unwrap();
    tail.wait().unwrap();
    server.stop();
    let out = run(&["journal", "fsck", "--data-dir", &dir]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stdout));
    let out = run(&["verify", "--data-dir", &dir]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stdout));
    assert_eq!(run(&["search", "x", "--data-dir", &dir]).status.code(), Some(5));
}

/// Scenario: an indicator list changes while the server runs, then a reload.
/// Guarantees: events after it are marked, those before are not; a corrupt table changes nothing.
#[test]
fn enrichment_tables_are_reloaded_while_running() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("bad.txt");
    std::fs::write(&list, "203.0.113.1\n").unwrap();
    let server = Server::start(&format!("enrich: {{indicators: ['{}']}}\n", list.display()));
    let line =
        "<38>Nov 24 02:14:00 h sshd[1]: Failed password for bob from 203.0.113.77 port 22 ssh2";
    let token = server.admin_token.clone();
    let text = [("Content-Type", "text/plain")];
    let send = || server.send("POST", "/api/v1/ingest", &token, &text, line.as_bytes()).0;
    assert_eq!(send(), 200);
    server.eventually("the first", |s| (s.search("203.0.113.77").len() == 1).then_some(()));
    std::fs::write(&list, "203.0.113.77\n").unwrap();
    let (status, answer) = server.ask("POST", "/api/v1/rules/reload", &token, "{}");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(send(), 200);
    server.eventually("the mark", |s| (s.search("tags:indicator_match").len() == 1).then_some(()));
    assert_eq!(server.search("203.0.113.77").len(), 2);
}

/// Scenario: the server starts again with another retention and another destination.
/// Guarantees: the change is an audit record that names the sections, and none of their values.
#[test]
fn a_change_of_the_configuration_is_audited_without_its_secrets() {
    let mut server = Server::start("");
    server.stop();
    server.configure(
        "retention: {age: 500d}\nnotify: [{to: webhook, url: 'http://127.0.0.1:9/s3cret'}]\n",
    );
    server.start_again();
    let records = server.get("/api/v1/audit")["records"].clone();
    let changed: Vec<&serde_json::Value> =
        records.as_array().unwrap().iter().filter(|r| r["action"] == "config.changed").collect();
    assert_eq!(changed.len(), 1, "{records:#}");
    assert_eq!(changed[0]["detail"], "notify, retention");
    assert!(!records.to_string().contains("s3cret"));
}

/// Scenario: a rule file changes; the running server is told by SIGHUP, by the verb, and by neither.
/// Guarantees: each way leads to the new rule being live.
#[test]
fn rules_are_read_again_on_a_signal_and_by_the_verb() {
    let rules = tempfile::tempdir().unwrap();
    let server = Server::start(&format!("rules: ['{}']\n", rules.path().display()));
    let live = |s: &Server, id: &str| {
        let rules = s.get("/api/v1/rules");
        let found = rules["rules"].as_array()?.iter().any(|r| r["id"] == id);
        found.then_some(())
    };
    let rule = |n: u32| {
        RULE.replace(
            "44444444-4444-4444-8444-44444444444",
            &format!("44444444-4444-4444-8444-4444444444{n}"),
        )
    };
    std::fs::write(rules.path().join("a.yml"), rule(1)).unwrap();
    server.signal("HUP");
    server.eventually("the rule after SIGHUP", |s| live(s, "44444444-4444-4444-8444-444444444414"));
    std::fs::write(rules.path().join("b.yml"), rule(2)).unwrap();
    let dir = server.data_dir.to_str().unwrap().to_owned();
    let out = run(&["rules", "reload", "--data-dir", &dir]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(live(&server, "44444444-4444-4444-8444-444444444424").is_some());
}

/// Scenario: Ctrl-C in the demo.
/// Guarantees: it ends cleanly, by itself, and deletes its folder.
#[test]
fn ctrl_c_ends_the_demo_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = alcedo()
        .args(["demo", "--rate", "50"])
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = std::io::BufReader::new(demo.stdout.take().unwrap());
    let first = std::io::BufRead::lines(out).next().unwrap().unwrap();
    assert!(first.contains("http://127.0.0.1:") && first.contains("#setup="), "{first}");
    let pid = demo.id().to_string();
    let sent = std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(sent.success());
    assert_eq!(demo.wait().unwrap().code(), Some(0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Scenario: a demo that keeps its folder, started twice.
/// Guarantees: its senders may send again; the folder is whole afterwards.
#[test]
fn a_kept_demo_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("demo");
    let dir = dir.to_str().unwrap();
    for start in 1..=2 {
        let out = run(&["demo", "--keep", dir, "--rate", "50", "--stop-after", "8"]);
        let told = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(0), "start {start}: {told}");
        assert!(!told.contains("failed:") && told.contains("the time is over"), "{start}: {told}");
    }
    let listed = run(&["verify", "--data-dir", dir]);
    assert_eq!(listed.status.code(), Some(0), "{}", String::from_utf8_lossy(&listed.stderr));
}

/// Scenario: the auth.log of a real brute force is replayed over syslog to a running server.
/// Guarantees: exactly one alert of the shipped rule, within a second of the last line, with every
/// failed attempt and the success as its evidence.
#[test]
fn a_real_brute_force_replayed_live_is_one_alert_with_all_its_events() {
    let Some(packed) = testkit::corpus("auth/ssh-bruteforce-auth.log.zst") else { return };
    let log = zstd::decode_all(std::fs::File::open(packed).unwrap()).unwrap();
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../rules/linux/ssh_guessed_password.yml");
    let server = Server::start(&format!("rules: ['{rules}']\n"));
    let mut tcp = TcpStream::connect(server.syslog_at("tcp")).unwrap();
    tcp.write_all(&log).unwrap();
    drop(tcp);
    let sent = std::time::Instant::now();
    let alert = server.eventually("the alert", |s| {
        s.get("/api/v1/alerts")["alerts"].as_array()?.first().cloned()
    });
    println!("last line to alert: {} ms", sent.elapsed().as_millis());
    let lines = log.split(|b| *b == b'\n').filter(|l| !l.is_empty()).count();
    server.eventually("every line is stored", |s| {
        let rows = s.search("* | stats count() as n");
        (rows.first()?["n"].as_u64()? >= lines as u64).then_some(())
    });
    let alerts = server.get("/api/v1/alerts?state=all")["alerts"].clone();
    assert_eq!(alerts.as_array().unwrap().len(), 1, "{alerts:#}");
    let detail = server.get(&format!("/api/v1/alerts/{}", alert["id"].as_str().unwrap()));
    let evidence = detail["alert"]["evidence"].as_array().unwrap();
    let weight: u64 = evidence.iter().map(|e| e["weight"].as_u64().unwrap()).sum();
    // 147 failures, some of them in "message repeated N times" lines, and the success.
    assert_eq!(weight, 148, "{:#}", detail["alert"]);
    assert_eq!(detail["alert"]["entity"]["source.ip"], "24.151.103.17");
}
