//! Where alerts go: what became of each, what a crash may repeat, and what is left of a destination that
//! is not configured any more.

use super::harness::{Server, json_lines, run};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

const RULE: &str = "title: Marker seen\nid: 44444444-4444-4444-8444-444444444444\nlogsource: {product: linux}\ndetection:\n  sel:\n    - xyzzy\n  condition: sel\nlevel: high\n";

/// An address where nobody listens yet.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A receiver that answers one request after the other with the next of `answers`, then with 200, and
/// remembers the idempotency keys of what it took.
pub(crate) fn receive(at: SocketAddr, answers: Vec<u16>) -> Arc<Mutex<Vec<String>>> {
    let listener = TcpListener::bind(at).unwrap();
    let keys: Arc<Mutex<Vec<String>>> = Arc::default();
    let taken = keys.clone();
    std::thread::spawn(move || {
        let mut answers = answers.into_iter();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            while let Some(key) = key_of_request(&mut stream) {
                let code = answers.next().unwrap_or(200);
                if code == 200 {
                    taken.lock().unwrap().push(key);
                }
                let answer = format!("HTTP/1.1 {code} X\r\ncontent-length: 0\r\n\r\n");
                if stream.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    keys
}

/// Reads one request; `None` when the connection ended.
fn key_of_request(stream: &mut TcpStream) -> Option<String> {
    let (mut got, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(end) = got.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&got[..end]).to_lowercase();
            let value = |name: &str| {
                let line = head.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
                line.map(|v| v.trim().to_owned())
            };
            let length: usize = value("content-length")?.parse().ok()?;
            if got.len() >= end + 4 + length {
                return value("idempotency-key");
            }
        }
        let n = stream.read(&mut piece).ok().filter(|n| *n > 0)?;
        got.extend_from_slice(&piece[..n]);
    }
}

fn marked(server: &Server, user: &str) -> String {
    server.ingest(&format!("{{\"message\":\"xyzzy\",\"user\":{{\"name\":\"{user}\"}}}}\n"));
    server.eventually("the alert", |s| {
        let alerts = s.get("/api/v1/alerts?state=all")["alerts"].clone();
        let found = alerts.as_array()?.iter().find(|a| a.to_string().contains(user))?.clone();
        Some(found["id"].as_str()?.to_owned())
    })
}

fn delivery(server: &Server, alert: &str, to: &str) -> Value {
    server.get(&format!("/api/v1/alerts/{alert}"))["deliveries"][to].clone()
}

/// Scenario: a webhook that is not there, then answers with an error, then takes what it gets, beside a
/// file; the server is killed while the webhook is away, and again right after a delivery.
/// Guarantees: each alert says of each destination whether it was delivered, when, after how many tries
/// and what failed last, also after the restarts; what was delivered is not sent again.
#[test]
fn an_alert_tells_where_it_was_delivered() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("marker.yml"), RULE).unwrap();
    let (at, out) = (free_address(), folder.path().join("alerts.ndjson"));
    // Without syslog: after a crash its listeners would be alerts, too.
    let mut server = Server::start(&format!(
        "sources: {{http: {{type: http}}}}\nrules: ['{}']\nnotify:\n  - {{to: webhook, name: siem, url: 'http://{at}/'}}\n  \
         - {{to: file, path: '{}'}}\n  - {{to: webhook, name: pager, url: 'http://{at}/', \
         min_level: critical}}\n",
        folder.path().join("marker.yml").display(),
        out.display()
    ));
    let (first, second) = (marked(&server, "first"), marked(&server, "second"));
    let file = server.eventually("the file", |s| {
        Some(delivery(s, &first, "file")).filter(|d| d["status"] == "delivered")
    });
    assert_eq!((&file["attempts"], &file["last_error"]), (&json!(1), &Value::Null), "{file}");
    let at_ns = event::time::parse_rfc3339(file["at"].as_str().unwrap()).unwrap();
    assert!((io::intake::wall_ns() - at_ns).abs() < 60_000_000_000, "{file}");
    let failing = server.eventually("two tries", |s| {
        let failing = delivery(s, &first, "siem");
        (failing["attempts"].as_u64()? >= 2).then_some(failing)
    });
    assert_eq!(failing["status"], "retrying");
    assert!(failing["last_error"].as_str().unwrap().contains("refused"), "{failing}");
    assert_eq!(delivery(&server, &second, "siem")["status"], "waiting");
    assert_eq!(delivery(&server, &first, "pager"), Value::Null, "it does not want this level");
    server.kill();
    let keys = receive(at, vec![503]);
    server.start_again();
    let done =
        |s: &Server, id: &str| Some(delivery(s, id, "siem")).filter(|d| d["status"] == "delivered");
    let told = server.eventually("the first", |s| done(s, &first));
    assert!(told["attempts"].as_u64().unwrap() >= 2, "{told}");
    assert!(told["last_error"].as_str().unwrap().contains("503"), "{told}");
    server.eventually("the second", |s| done(s, &second));
    // Cursors are on the disk within a second; what was delivered is so at once.
    server.kill();
    server.start_again();
    let third = marked(&server, "third");
    server.eventually("the third", |s| done(s, &third));
    assert_eq!(*keys.lock().unwrap(), [first.as_str(), &second, &third]);
    assert_eq!(delivery(&server, &first, "siem"), told);
    let lines = std::fs::read_to_string(&out).unwrap();
    assert_eq!(lines.matches(first.as_str()).count(), 2, "id and link, in one line: {lines}");
    let dir = server.data_dir.to_str().unwrap().to_owned();
    let shown = run(&["alerts", "show", &first, "--data-dir", &dir]);
    let shown = json_lines(&shown)[0].clone();
    assert_eq!(shown["deliveries"]["siem"], told);
    let history = shown["history"].to_string();
    assert!(history.contains("delivered after 1 try") && history.contains("503"), "{history}");
}

/// Scenario: alerts come one by one, each when the delivery of the one before is on record.
/// Guarantees: no record of the ledger but an alert, the destination's own least of all, makes its outbox
/// sleep while the next alert may come.
#[test]
fn an_outbox_waits_for_alerts_and_sleeps_through_none() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("marker.yml"), RULE).unwrap();
    let at = free_address();
    let keys = receive(at, vec![]);
    let server = Server::start(&format!(
        "rules: ['{}']\nnotify:\n  - {{to: webhook, name: siem, url: 'http://{at}/'}}\n",
        folder.path().join("marker.yml").display(),
    ));
    let alerts = ["first", "second", "third"].map(|user| {
        let alert = marked(&server, user);
        server.eventually("the record", |s| {
            (delivery(s, &alert, "siem")["status"] == "delivered").then_some(())
        });
        // It looks at the feed again after its own record.
        server.ingest("{\"message\":\"nothing of note\"}\n");
        alert
    });
    assert_eq!(*keys.lock().unwrap(), alerts);
    let one = server.get("/api/v1/destinations")["destinations"][0].clone();
    assert_eq!((&one["delivered"], &one["early_ends"]), (&json!(3), &json!(0)), "{one}");
}

/// Scenario: a destination that nobody answers at is taken out of the configuration.
/// Guarantees: it is told as a problem with how far it is behind and how to drop it, the server is ready
/// all the same; what is configured is not dropped, what is not goes, on record, and stays away.
#[test]
fn a_destination_that_is_left_over_is_told_and_dropped() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("marker.yml"), RULE).unwrap();
    let mut server = Server::start(&format!(
        "rules: ['{}']\nnotify:\n  - {{to: webhook, name: old-siem, url: 'http://{}/'}}\n",
        folder.path().join("marker.yml").display(),
        free_address()
    ));
    marked(&server, "somebody");
    let list = |s: &Server| s.get("/api/v1/destinations")["destinations"].clone();
    let failing = server.eventually("the failure", |s| {
        let one = list(s)[0].clone();
        (one["state"] == "failing").then_some(one)
    });
    assert_eq!((&failing["name"], &failing["kind"]), (&json!("old-siem"), &json!("webhook")));
    let path = "/api/v1/destinations/old-siem";
    let token = server.admin_token.clone();
    let (status, answer) = server.ask("DELETE", path, &token, "");
    assert!(status == 409 && answer["detail"].as_str().unwrap().contains("configuration"));
    server.stop();
    let text = std::fs::read_to_string(&server.config).unwrap();
    let before = text.find("notify:").unwrap();
    std::fs::write(&server.config, format!("{}notify: []\n", &text[..before])).unwrap();
    server.start_again();
    let problems = server.get("/api/v1/overview")["problems"].clone();
    let told = problems.to_string();
    assert!(
        told.contains("old-siem") && told.contains("alcedo destinations drop old-siem"),
        "{told}"
    );
    assert_eq!(server.ask("GET", "/readyz", "", "").0, 200);
    let left = list(&server)[0].clone();
    assert_eq!(left["state"], "left_over");
    assert!(left["records_behind"].as_u64().unwrap() > 0, "{left}");
    let dir = server.data_dir.to_str().unwrap().to_owned();
    let verb = |args: &[&str]| run(&[&["destinations"], args, &["--data-dir", &dir]].concat());
    assert_eq!(json_lines(&verb(&["list"]))[0]["name"], "old-siem");
    assert_eq!(verb(&["drop", "old-siem"]).status.code(), Some(0));
    assert_ne!(verb(&["drop", "old-siem"]).status.code(), Some(0), "it is gone");
    assert_eq!(list(&server), json!([]));
    server.kill();
    server.start_again();
    assert_eq!(list(&server), json!([]));
    assert!(!server.get("/api/v1/overview")["problems"].to_string().contains("old-siem"));
    let audit = server.get("/api/v1/audit")["records"].clone();
    let dropped: Vec<&Value> =
        audit.as_array().unwrap().iter().filter(|r| r["action"] == "destination.drop").collect();
    assert_eq!(dropped.len(), 1, "{audit:#}");
    assert_eq!(dropped[0]["target"], "old-siem");
    server.eventually("the event", |s| {
        (s.search("event.action:destination.drop").len() == 1).then_some(())
    });
}
