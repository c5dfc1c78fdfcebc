//! Splunk's HTTP event collector against the real binary: senders, answers, acknowledgements.

use super::browser::http;
use super::harness::Server;
use base64::Engine;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::Command;

const EVENT: &str = "/services/collector/event";

/// A token of this role for the source `http`, and its id.
fn token(server: &Server, role: &str) -> (String, String) {
    let wish = json!({"name": role, "role": role, "sources": ["http"]}).to_string();
    let (status, made) = server.ask("POST", "/api/v1/tokens", &server.admin_token, &wish);
    assert_eq!(status, 200, "{made}");
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("token"), text("id"))
}

/// Posts as senders for Splunk do. Out: status, code, the whole answer.
fn post(server: &Server, path: &str, token: &str, body: &[u8]) -> (u16, u64, Value) {
    post_with(server, path, &[("Authorization", &format!("Splunk {token}"))], body)
}

fn post_with(
    server: &Server,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, u64, Value) {
    let (status, answer) = http(server.http, "POST", path, headers, body);
    let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
    (status, answer["code"].as_u64().unwrap_or(99), answer)
}

fn found(server: &Server, query: &str, rows: usize) -> Vec<Value> {
    server.eventually(query, |s| {
        let found = s.search(query);
        (found.len() == rows).then_some(found)
    })
}

/// Scenario: every way to send a token, and tokens of every kind, none, a broken one, one that was taken
/// back, to each route; then everything that the server has written is searched for the token.
/// Guarantees: the codes are Splunk's; who may not write writes nothing; a token in the query is nowhere.
#[test]
fn who_may_write_and_who_may_not() {
    let mut server = Server::start("sources:\n  http: {type: http}\n  other: {type: http}\n");
    let (good, _) = token(&server, "ingest");
    let body = br#"{"event":"hec-auth"}"#;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("x:{good}"));
    for header in [format!("Splunk {good}"), format!("splunk  {good}"), format!("Basic {basic}")] {
        let answer = post_with(&server, EVENT, &[("Authorization", &header)], body);
        assert_eq!((answer.0, answer.1), (200, 0), "{header}: {answer:?}");
    }
    let (status, answer) =
        http(server.http, "POST", &format!("{EVENT}?token={good}&channel=c"), &[], body);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    let (gone, id) = token(&server, "ingest");
    let revoked = server.ask("DELETE", &format!("/api/v1/tokens/{id}"), &server.admin_token, "");
    assert_eq!(revoked.0, 200);
    let (reader, _) = token(&server, "reader");
    let wrong = format!("{}0", &good[..good.len() - 1]);
    let cases: [(Option<String>, u16, u64); 8] = [
        (None, 401, 2),
        (Some("Splunk".into()), 401, 3),
        (Some("Digest abc".into()), 401, 3),
        (Some("Basic !!!".into()), 401, 3),
        (Some("Splunk 11111111-2222-3333-4444-555555555555".into()), 403, 4),
        (Some(format!("Splunk {wrong}")), 403, 4),
        (Some(format!("Splunk {reader}")), 403, 4),
        (Some(format!("Splunk {gone}")), 403, 1),
    ];
    let below = |rest: &str| format!("/services/collector{rest}");
    let routes = ["", "/event", "/event/1.0", "/raw", "/raw/1.0", "/ack"].map(below);
    for route in &routes {
        for (header, status, code) in &cases {
            let headers: Vec<_> = header.iter().map(|h| ("Authorization", h.as_str())).collect();
            let answer = post_with(&server, route, &headers, br#"{"event":"hec-denied"}"#);
            assert_eq!((answer.0, answer.1), (*status, *code), "{route} {header:?}: {answer:?}");
            assert!(answer.2["text"].is_string(), "{answer:?}");
        }
        let denied = post_with(&server, &format!("{route}?token={wrong}"), &[], body);
        assert_eq!((denied.0, denied.1), (403, 4));
    }
    // A session's cookie is none of the collector's business, and other routes know no `Splunk`.
    let cookie = post_with(&server, EVENT, &[("Cookie", "alcedo_sid=x"), ("X-Alcedo", "1")], body);
    assert_eq!((cookie.0, cookie.1), (401, 2));
    let splunk = format!("Splunk {}", server.admin_token);
    let (status, _) =
        http(server.http, "GET", "/api/v1/alerts", &[("Authorization", &splunk)], b"");
    assert_eq!(status, 401);
    assert_eq!(http(server.http, "GET", EVENT, &[], b"").0, 404);
    found(&server, "hec-auth and alcedo.source:http", 4);
    assert_eq!(server.search("hec-denied").len(), 0);
    server.stop();
    for secret in [&good, &wrong] {
        assert!(!holds(&server.data_dir, &secret[secret.len() - 60..]), "a token was written down");
    }
    assert!(holds(&server.data_dir, "hec-auth"), "the search for it finds nothing");
}

/// Whether a file below the folder has these bytes.
fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => holds(&path, text),
            false => {
                memchr::memmem::find(&std::fs::read(&path).unwrap(), text.as_bytes()).is_some()
            }
        }
    })
}

/// Scenario: objects with and without something between them, gzip, what one says and the next does not,
/// lines over the raw route, texts and objects of known products.
/// Guarantees: one event each, shaped by what it is, with all that was said of it and its own time.
#[test]
fn events_are_what_they_are_with_all_that_was_said_of_them() {
    let server = Server::start("");
    let (token, _) = token(&server, "ingest");
    let body = concat!(
        r#"{"time":1795424400.25,"host":"web1","source":"/var/log/auth.log","sourcetype":"linux_secure","#,
        r#""index":"os","fields":{"env":"prod"},"event":"Nov 23 09:00:00 web1 sshd[7]: Failed password for kim from 203.0.113.9 port 1 ssh2"}"#,
        r#"{"event":{"message":"hec-object","user":{"name":"eve"}}}"#,
        "\n",
        r#"{"time":"1795424401","event":"hec-text","host":"web2"}"#,
    );
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(body.as_bytes()).unwrap();
    let auth = format!("Splunk {token}");
    let headers = [("Authorization", auth.as_str()), ("Content-Encoding", "gzip")];
    let answer = post_with(&server, "/services/collector", &headers, &gzip.finish().unwrap());
    assert_eq!(answer.2, json!({"text": "Success", "code": 0}));
    let login = &found(&server, "splunk.hec.fields.env:prod", 1)[0];
    assert_eq!(login["alcedo.pack"], "linux-auth", "{login:#}");
    assert_eq!((&login["source.ip"], &login["user.name"]), (&json!("203.0.113.9"), &json!("kim")));
    assert!(login["@timestamp"].as_str().unwrap().starts_with("2026-11-23T09:00:00.25"));
    assert!(body.starts_with(login["event.original"].as_str().unwrap()), "{login:#}");
    let object = &found(&server, "hec-object", 1)[0];
    assert_eq!((&object["user.name"], &object["host.name"]), (&json!("eve"), &json!("web1")));
    assert_eq!(object["splunk.hec.index"], "os");
    assert_eq!(object["splunk.hec.fields.env"], Value::Null);
    let text = &found(&server, "hec-text", 1)[0];
    assert_eq!((&text["message"], &text["host.name"]), (&json!("hec-text"), &json!("web2")));
    assert!(text["@timestamp"].as_str().unwrap().starts_with("2026-11-23T09:00:01"));
    let raw = "/services/collector/raw/1.0?host=fw%201&sourcetype=app&channel=0aeeac95-ac74-4aa9-b30d-6c4c0ac581ba";
    let answer = post(&server, raw, &token, b"hec-raw \"one\"\r\n\nhec-raw \\two\n");
    assert_eq!((answer.0, answer.1, &answer.2["ackId"]), (200, 0, &json!(0)));
    let rows = found(&server, "splunk.hec.sourcetype:app", 2);
    let mut lines: Vec<&str> = rows.iter().map(|r| r["message"].as_str().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["hec-raw \"one\"", "hec-raw \\two"]);
    assert!(rows.iter().all(|r| r["host.name"] == "fw 1"), "{rows:?}");
    let plain = b"<38>Nov 23 09:00:00 web1 sshd[7]: Failed password for hec-plain from 203.0.113.9 port 1 ssh2";
    assert_eq!(post(&server, "/services/collector/raw", &token, plain).0, 200);
    let row = &found(&server, "user.name:hec-plain", 1)[0];
    assert_eq!(row["event.original"].as_str().unwrap().as_bytes(), plain);
}

/// Scenario: bodies that are wrong from some event on, that are empty, broken, too large, bombs, or say
/// much of many small events.
/// Guarantees: Splunk's code and the number of the first wrong event; what stands before and behind is stored
/// and found; a wrong one is found by its bytes, marked where it cannot be parsed; nothing makes the server
/// hold more than a body may have.
#[test]
fn what_is_wrong_is_told_with_its_event() {
    let server = Server::start("limits: {memory: 432MiB}\n");
    let (token, _) = token(&server, "ingest");
    let cases = [
        (r#"{"host":"h"}"#, 12),
        (r#"{"event":""}"#, 13),
        (r#"{"event":"x","index":1}"#, 7),
        (r#"{"event":"x","fields":[]}"#, 15),
        (r#"{"event":"x""#, 6),
        ("nonsense", 6),
    ];
    for (n, (wrong, code)) in cases.iter().enumerate() {
        let body = format!(
            "{{\"event\":\"hec-kept {n} a\"}}{{\"event\":\"hec-kept {n} b\"}}\n{wrong}\n{{\"event\":\"hec-behind {n}\"}}"
        );
        let (status, got, answer) =
            post(&server, &format!("{EVENT}?channel=c"), &token, body.as_bytes());
        assert_eq!(
            (status, got, &answer["invalid-event-number"]),
            (400, *code, &json!(2)),
            "{answer}"
        );
        assert_eq!(answer["ackId"], Value::Null);
    }
    found(&server, "hec-kept", 2 * cases.len());
    found(&server, "hec-behind", cases.len());
    let failed = &found(&server, "tags:parse_failed", 1)[0];
    assert_eq!(failed["event.original"], r#"{"event":"x""#, "{failed:#}");
    found(&server, "message:nonsense", 1);
    found(&server, "splunk.hec.host:h", 1);
    let (raw, query) = ("/services/collector/raw", "?host=hec-late&time=");
    for (time, code) in [("soon", 6), ("1795424400.5", 0)] {
        let answer = post(&server, &format!("{raw}{query}{time}"), &token, b"hec-timed\n");
        assert_eq!(answer.1, code, "{answer:?}");
    }
    found(&server, "hec-timed and host.name:hec-late", 2);
    for (path, body, status, code) in [
        (EVENT, &b""[..], 400, 5),
        (EVENT, b" \n", 400, 5),
        ("/services/collector/raw", b"\n\n", 400, 5),
        ("/services/collector/event?channel=%20", b"{\"event\":1}", 400, 11),
        ("/services/collector/ack", b"{\"acks\":[0]}", 400, 10),
        ("/services/collector/ack?channel=c", b"{\"acks\":7}", 400, 6),
        ("/services/collector/ack?channel=c", b"{\"acks\":[-1]}", 400, 6),
    ] {
        let answer = post(&server, path, &token, body);
        assert_eq!((answer.0, answer.1), (status, code), "{path}: {answer:?}");
    }
    let auth = format!("Splunk {token}");
    let encoded = |encoding: &str, body: &[u8]| {
        let headers = [("Authorization", auth.as_str()), ("Content-Encoding", encoding)];
        post_with(&server, EVENT, &headers, body).0
    };
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..64 {
        bomb.write_all(&vec![b' '; 1 << 20]).unwrap();
    }
    assert_eq!(encoded("gzip", &bomb.finish().unwrap()), 413);
    assert_eq!(encoded("gzip", b"no gzip"), 400);
    assert_eq!(encoded("br", b"{}"), 415);
    // One host of a megabyte, said once for sixty thousand events.
    let mut much = format!(r#"{{"host":"{}","event":"hec-lost"}}"#, "h".repeat(1 << 20));
    much.push_str(&r#"{"event":1}"#.repeat(60_000));
    let answer = post(&server, EVENT, &token, much.as_bytes());
    assert_eq!(answer.0, 413, "{answer:?}");
    let deep = format!(r#"{{"event":{}"#, "[".repeat(1 << 20));
    assert_eq!(post(&server, EVENT, &token, deep.as_bytes()).1, 6);
    let deep = format!(r#"{{"event":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(post(&server, EVENT, &token, deep.as_bytes()).1, 0);
    assert_eq!(server.search("hec-lost").len(), 0);
    server.ingest("{\"message\":\"well\"}\n");
}

/// Scenario: an event that is a list of objects; the records of one audit event, each in an event of its own,
/// with another host's of the same number between them.
/// Guarantees: each object of the list is an event with all that is said; the records are one event, which is
/// the same when it is shaped anew.
#[test]
fn lists_are_taken_apart_and_audit_records_put_together() {
    let server = Server::start("");
    let (token, _) = token(&server, "ingest");
    let list = br#"{"host":"hec-list","fields":{"k":"v"},"event":[{"message":"hec-one"},{"message":"hec-two"}]}"#;
    assert_eq!(post(&server, EVENT, &token, list).1, 0);
    let rows = found(&server, "host.name:hec-list and splunk.hec.fields.k:v", 2);
    let mut said: Vec<&str> = rows.iter().filter_map(|r| r["message"].as_str()).collect();
    said.sort_unstable();
    assert_eq!(said, ["hec-one", "hec-two"], "{rows:#?}");
    let audit = |host: &str, kind: &str, rest: &str| {
        let line = format!("type={kind} msg=audit(1795424400.125:77): {rest}");
        json!({"host": host, "sourcetype": "linux:audit", "event": line}).to_string()
    };
    let call = "arch=c000003e syscall=59 success=yes exit=0 items=0 ppid=1 pid=4242 auid=1000 uid=0 comm=\"id\" exe=\"/usr/bin/id\" key=\"hec\"";
    let body = [
        audit("hec-a", "SYSCALL", call),
        audit("hec-b", "SYSCALL", call),
        audit("hec-a", "EXECVE", "argc=2 a0=\"id\" a1=\"-u\""),
        audit("hec-a", "PROCTITLE", "proctitle=6964002D75"),
    ]
    .join("\n");
    assert_eq!(post(&server, EVENT, &token, body.as_bytes()).1, 0);
    let event = &found(&server, "host.name:hec-a and process.pid:4242", 1)[0];
    assert_eq!(
        (&event["alcedo.pack"], &event["process.executable"], &event["process.args"]),
        (&json!("auditd"), &json!("/usr/bin/id"), &json!(["id", "-u"])),
        "{event:#}"
    );
    assert_eq!(event["event.original"].as_str().unwrap().lines().count(), 3, "{event:#}");
    assert_eq!(event["splunk.hec.sourcetype"], "linux:audit");
    found(&server, "host.name:hec-b and process.pid:4242", 1);
}

/// Scenario: two senders with a channel of the same name, another channel, a restart.
/// Guarantees: an id is true once, for whoever was given it; what is forgotten reads false.
#[test]
fn acknowledgements_are_for_their_sender_and_told_once() {
    let mut server = Server::start("");
    let ((kim, _), (eve, _)) = (token(&server, "ingest"), token(&server, "ingest"));
    let guid = "0aeeac95-ac74-4aa9-b30d-6c4c0ac581ba";
    let send = |server: &Server, token: &str, channel: &str| {
        let auth = format!("Splunk {token}");
        let headers = [("Authorization", auth.as_str()), ("X-Splunk-Request-Channel", channel)];
        post_with(server, EVENT, &headers, br#"{"event":"acked"}"#).2["ackId"].clone()
    };
    let ask = |server: &Server, token: &str, ids: &str| {
        let path = format!("/services/collector/ack?channel={guid}");
        post(server, &path, token, format!("{{\"acks\":[{ids}]}}").as_bytes()).2["acks"].clone()
    };
    let given = [&kim, &kim, &eve].map(|token| send(&server, token, guid));
    assert_eq!(given, [0, 1, 0]);
    assert_eq!(send(&server, &kim, "other"), 0);
    assert_eq!(ask(&server, &eve, "1"), json!({"1": false}), "another's id");
    assert_eq!(ask(&server, &kim, "1,0,7"), json!({"0": true, "1": true, "7": false}));
    assert_eq!(ask(&server, &kim, "0,1"), json!({"0": false, "1": false}), "told before");
    assert_eq!(ask(&server, &eve, "0"), json!({"0": true}));
    assert_eq!(send(&server, &kim, guid), 2);
    server.stop();
    server.start_again();
    assert_eq!(ask(&server, &kim, "2"), json!({"2": false}));
    found(&server, "acked", 5);
}

/// Scenario: a ceiling of memory that the server exceeds with nothing to do.
/// Guarantees: 503 with code 9 and a time to come again, before and as health; 17 where all is well.
#[test]
fn overload_is_told_as_busy() {
    let server = Server::start("limits: {memory: 64KiB}\n");
    let (status, retry, answer) = server.eventually("a refusal", |s| {
        let answer = s.post_to(EVENT, "application/json", r#"{"event":"not-now"}"#);
        (answer.0 != 200).then_some(answer)
    });
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, retry, &answer["code"]), (503, Some(1), &json!(9)), "{answer}");
    for path in ["/services/collector/health", "/services/collector/health/1.0"] {
        let (status, answer) = server.ask("GET", path, "", "");
        assert_eq!((status, &answer["code"]), (503, &json!(9)), "{answer}");
    }
    drop(server);
    let (status, answer) = Server::start("").ask("GET", "/services/collector/health", "", "");
    assert_eq!((status, answer), (200, json!({"text": "HEC is healthy", "code": 17})));
}

/// Two log handlers of Python, as their users set them up.
const HANDLERS: &str = r#"
import logging, sys
port, token = int(sys.argv[1]), sys.argv[2]
from splunk_hec_handler import SplunkHecHandler
from splunk_handler import SplunkHandler
one = logging.getLogger('one'); one.setLevel(logging.DEBUG); one.propagate = False
one.addHandler(SplunkHecHandler('127.0.0.1', token, port=port, proto='http', source='py', sourcetype='_json', hostname='py1'))
one.warning('hec-handler plain')
one.error({'message': 'hec-handler dict', 'user': {'name': 'eve'}, 'time': 1795424400, 'fields': {'color': 'yellow'}})
two = logging.getLogger('two'); two.setLevel(logging.DEBUG); two.propagate = False
handler = SplunkHandler(host='127.0.0.1', port=port, token=token, index='main', protocol='http', verify=False, hostname='py2', source='py', flush_interval=0.2)
two.addHandler(handler)
for n in range(50):
    two.info('splunk-handler %d', n)
logging.shutdown()
"#;

/// Scenario: `splunk-hec-handler` and `splunk-handler` from PyPI log to the server.
/// Guarantees: every record is an event with host, level and fields.
#[test]
fn log_handlers_of_python_are_taken() {
    let server = Server::start("");
    let (token, _) = token(&server, "ingest");
    let port = server.http.port().to_string();
    let ran = Command::new("python3").args(["-c", HANDLERS, &port, &token]).output();
    let Ok(ran) = ran else {
        println!("skipped: python3 is missing");
        return;
    };
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    if said.contains("ModuleNotFoundError") {
        println!("skipped: pip install splunk-hec-handler splunk-handler");
        return;
    }
    assert!(ran.status.success(), "{said}");
    let rows = found(&server, "hec-handler", 2);
    assert!(rows.iter().all(|r| r["host.name"] == "py1"), "{rows:#?}");
    let dict = rows.iter().find(|r| r["message"] == "hec-handler dict").unwrap();
    assert_eq!(
        (&dict["user.name"], &dict["splunk.hec.fields.color"]),
        (&json!("eve"), &json!("yellow"))
    );
    let rows = found(&server, "splunk-handler", 50);
    assert!(rows.iter().all(|r| r["host.name"] == "py2" && r["splunk.hec.index"] == "main"));
}
