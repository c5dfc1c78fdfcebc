//! The requests of Grafana's Loki data source, in the form in which it sends them.

use super::harness::{Server, big_events};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

fn encoded(text: &str) -> String {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    let one = |b: u8| if safe(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(one).collect()
}

fn ask(server: &Server, path: &str, parts: &[(&str, &str)]) -> (u16, Value, String) {
    let parts: Vec<String> = parts.iter().map(|(k, v)| format!("{k}={}", encoded(v))).collect();
    let bearer = format!("Bearer {}", server.admin_token);
    let headers = [("Authorization", &*bearer), ("X-Query-Tags", "Source=grafana")];
    let path = format!("/loki/api/v1/{path}?{}", parts.join("&"));
    let (status, body) = super::browser::http(server.http, "GET", &path, &headers, b"");
    let text = String::from_utf8_lossy(&body).into_owned();
    (status, serde_json::from_slice(&body).unwrap_or_default(), text)
}

fn data(server: &Server, path: &str, parts: &[(&str, &str)]) -> Value {
    let (status, answer, text) = ask(server, path, parts);
    assert_eq!((status, answer["status"].as_str()), (200, Some("success")), "{path}: {text}");
    answer["data"].clone()
}

/// Ten failures and two successes of sshd, at 01:00:00, 01:00:10, ...
fn server() -> Server {
    let server = Server::start("");
    let mut body = String::new();
    for n in 0..12 {
        let outcome = if n < 10 { "failure" } else { "success" };
        let time = format!("2026-11-24T01:{:02}:{:02}Z", n / 6, n % 6 * 10);
        body.push_str(&format!(
            "{{\"@timestamp\":\"{time}\",\"message\":\"login {n}\",\"event\":{{\"outcome\":\"{outcome}\"}},\"source\":{{\"port\":{}}}}}\n",
            1000 + n
        ));
    }
    server.ingest(&body);
    server.eventually("the events", |s| (s.search("message:login").len() == 12).then_some(()));
    server
}

const START: &str = "1795482000000000000";
const END: &str = "1795482120000000000";

/// Scenario: the health check, labels, values, series, as the data source's pages ask.
/// Guarantees: documented forms; values are those that occur; a token as password is enough.
#[test]
fn the_data_source_is_well_and_knows_its_labels() {
    let server = server();
    let health = data(
        &server,
        "query",
        &[("direction", "backward"), ("query", "vector(1)+vector(1)"), ("time", "4000000000")],
    );
    assert_eq!(health["resultType"], "vector");
    assert_eq!(health["result"][0]["value"][1], "2");
    let labels = data(&server, "labels", &[("start", START), ("end", END)]);
    assert!(labels.as_array().unwrap().contains(&json!("event_outcome")), "{labels}");
    let range = [("start", START), ("end", END)];
    assert_eq!(data(&server, "label/event_outcome/values", &range), json!(["failure", "success"]));
    let narrowed = [
        ("start", START),
        ("end", END),
        ("query", r#"{alcedo_source="http", event_outcome!="failure"}"#),
    ];
    assert_eq!(data(&server, "label/event_outcome/values", &narrowed), json!(["success"]));
    let series = data(
        &server,
        "series",
        &[("match[]", r#"{alcedo_source="http"}"#), ("start", START), ("end", END)],
    );
    assert_eq!(series.as_array().unwrap().len(), 2, "{series}");
    let basic = "alcedo:".to_owned() + &server.admin_token;
    let basic = format!("Basic {}", base64(basic.as_bytes()));
    let headers = [("Authorization", &*basic)];
    let path = "/loki/api/v1/labels";
    assert_eq!(super::browser::http(server.http, "GET", path, &headers, b"").0, 200);
    assert_eq!(super::browser::http(server.http, "GET", path, &[], b"").0, 401);
    assert_eq!(super::browser::http(server.http, "GET", "/ready", &[], b"").0, 200);
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for piece in bytes.chunks(3) {
        let n = piece.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - piece.len()));
        for at in 0..4 {
            let letter = LETTERS[(n >> (18 - 6 * at) & 63) as usize] as char;
            out.push(if at <= piece.len() { letter } else { '=' });
        }
    }
    out
}

/// Scenario: the log view's request with filters, forwards and backwards, with `| json`.
/// Guarantees: streams with nanosecond times as text and the record as line, in the asked order.
#[test]
fn lines_come_as_streams() {
    let server = server();
    let query = r#"{event_outcome="failure"} |= "login" != `login 3`"#;
    let found = data(
        &server,
        "query_range",
        &[
            ("direction", "backward"),
            ("start", START),
            ("end", END),
            ("limit", "1000"),
            ("query", query),
            ("step", "15000ms"),
        ],
    );
    assert_eq!(found["resultType"], "streams");
    assert_eq!(found["result"].as_array().unwrap().len(), 1, "one stream: {found}");
    let stream = &found["result"][0];
    assert_eq!(stream["stream"]["event_outcome"], "failure");
    let values = stream["values"].as_array().unwrap();
    assert_eq!(values.len(), 9);
    assert_eq!(values[0][0], "1795482090000000000");
    assert!(values[0][1].as_str().unwrap().contains("login 9"), "the record as it came");
    let forward = data(
        &server,
        "query_range",
        &[
            ("direction", "forward"),
            ("start", START),
            ("end", END),
            ("limit", "2"),
            ("query", r#"{alcedo_source="http"} | json | source_port > 1009"#),
        ],
    );
    let first = &forward["result"][0];
    assert_eq!(first["stream"]["source_port"], "1010", "{forward}");
    assert_eq!(first["values"][0][0], "1795482100000000000");
    let (status, _, text) = ask(&server, "query_range", &[("query", "{a=b}")]);
    assert_eq!(status, 400);
    assert!(text.starts_with("column 4:"), "{text}");
}

/// Scenario: the log volume histogram, a rate, an instant sum.
/// Guarantees: matrix and vector with the counts that were sent.
#[test]
fn lines_are_counted_over_time() {
    let server = server();
    let volume =
        r#"sum by (event_outcome) (count_over_time({alcedo_source="http"} |= `login` [1m]))"#;
    let range = [("start", START), ("end", END), ("step", "60s"), ("query", volume)];
    let found = data(&server, "query_range", &range);
    assert_eq!(found["resultType"], "matrix");
    let series: Vec<(&str, Vec<&str>)> = found["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| {
            let values = s["values"].as_array().unwrap().iter();
            (
                s["metric"]["event_outcome"].as_str().unwrap(),
                values.map(|v| v[1].as_str().unwrap()).collect(),
            )
        })
        .collect();
    assert_eq!(series, [("failure", vec!["6", "4"]), ("success", vec!["2"])], "{found}");
    let query = r#"topk(1, sum by (event_outcome) (count_over_time({alcedo_source="http"}[2m])))"#;
    let top = data(&server, "query", &[("query", query), ("time", END)]);
    assert_eq!(top["result"].as_array().unwrap().len(), 1, "{top}");
    assert_eq!(
        (&top["result"][0]["metric"]["event_outcome"], &top["result"][0]["value"][1]),
        (&json!("failure"), &json!("10"))
    );
    let rate = data(
        &server,
        "query",
        &[("query", r#"sum(rate({alcedo_source="http"}[2m]))"#), ("time", END)],
    );
    assert_eq!(rate["result"][0]["value"][1], "0.1");
}

/// Scenario: what a query would look at, asked before it is run.
/// Guarantees: the documented form; only what the index does not rule out, and nothing out of range.
#[test]
fn a_query_is_estimated_from_indexes() {
    let server = server();
    let stats = |query: &str, start: &str, end: &str| {
        let parts = [("query", query), ("start", start), ("end", end)];
        let (status, answer, text) = ask(&server, "index/stats", &parts);
        assert_eq!(status, 200, "{text}");
        answer
    };
    let all = stats(r#"{alcedo_source="http"}"#, START, END);
    assert!(all["entries"].as_u64().unwrap() >= 12, "{all}");
    assert!(all["bytes"].as_u64().unwrap() > 0 && all["chunks"].as_u64().unwrap() > 0, "{all}");
    assert!(all["streams"].is_u64(), "{all}");
    let later = stats(r#"{alcedo_source="http"}"#, "1500000000000000000", "1500000001000000000");
    assert_eq!(later, json!({"streams": 0, "chunks": 0, "entries": 0, "bytes": 0}));
    assert_eq!(ask(&server, "index/stats", &[("query", "{a=b}")]).0, 400);
}

/// Scenario: what is offered while a query is built: labels, fields, a field's values.
/// Guarantees: documented forms; only what occurs in the range is told, with how many values it has.
#[test]
fn labels_and_fields_are_detected() {
    let server = server();
    let range = [("start", START), ("end", END)];
    let ask_all = |path: &str, more: &[(&str, &str)]| {
        let (status, answer, text) = ask(&server, path, &[&range[..], more].concat());
        assert_eq!(status, 200, "{path}: {text}");
        answer
    };
    let labels = ask_all("detected_labels", &[]);
    let of = |answer: &Value, list: &str, label: &str| -> Value {
        let found = answer[list].as_array().unwrap().iter().find(|one| one["label"] == label);
        found.cloned().unwrap_or_default()
    };
    assert_eq!(of(&labels, "detectedLabels", "event_outcome")["cardinality"], 2);
    assert_eq!(of(&labels, "detectedLabels", "user_name"), Value::Null, "nothing has it");
    let query = [("query", r#"{event_outcome="failure"}"#)];
    let fields = ask_all("detected_fields", &query);
    let port = of(&fields, "fields", "source_port");
    assert_eq!((&port["type"], &port["cardinality"]), (&json!("int"), &json!(10)), "{fields}");
    assert_eq!(of(&fields, "fields", "message")["type"], "string");
    assert_eq!(fields["limit"], 1_000);
    let newest = ask_all("detected_fields", &[("line_limit", "3")]);
    assert_eq!(of(&newest, "fields", "source_port")["cardinality"], 3);
    let outcomes = ask_all("detected_field/event_outcome/values", &[]);
    assert_eq!(outcomes["values"], json!(["failure", "success"]));
    assert_eq!(ask(&server, "detected_fields", &[("line_limit", "x")]).0, 400);
}

/// Scenario: overload cuts searches down to one, and one that nobody reads has its turn.
/// Guarantees: questions of the data source wait for their turn like all searches, and are told to
/// come again; when the one before has gone they are answered.
#[test]
fn questions_take_turns_with_searches_under_overload() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    big_events(&data);
    let server = Server::start_as("limits: {memory: 64KiB}\n", Some(&data), super::harness::alcedo);
    server.eventually("overload", |s| (s.metric("alcedo_degraded_level")? >= 2.0).then_some(()));
    let unread = server.search_unread();
    for path in ["query_range", "index/stats"] {
        let parts = [("query", r#"{alcedo_source="http"}"#), ("start", START), ("end", END)];
        let (status, _, text) = ask(&server, path, &parts);
        assert_eq!(status, 503, "{path}: {text}");
        assert!(text.contains("one search runs at a time"), "{path}: {text}");
    }
    drop(unread);
    server.eventually("a turn", |s| {
        let parts = [("query", r#"{alcedo_source="http"}"#), ("limit", "1")];
        (ask(s, "query_range", &parts).0 == 200).then_some(())
    });
}

/// Scenario: a live view connects, then events arrive.
/// Guarantees: the upgrade happens, and matching lines come as a text frame of the documented form.
#[test]
fn a_live_view_gets_lines_as_they_arrive() {
    let server = Server::start("");
    let mut stream = TcpStream::connect(server.http).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let path =
        format!("/loki/api/v1/tail?query={}", encoded(r#"{alcedo_source="http"} |= "live""#));
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n",
        server.http, server.admin_token
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    server.ingest(
        "{\"message\":\"live one\"}\n{\"message\":\"other\"}\n{\"message\":\"live two\"}\n",
    );
    let mut texts = String::new();
    while texts.matches("live").count() < 2 {
        texts.push_str(&text_frame(&mut stream));
    }
    assert!(texts.contains("\"streams\"") && !texts.contains("other"), "{texts}");
}

/// The text of the next frame of a server (RFC 6455: not masked).
fn text_frame(stream: &mut TcpStream) -> String {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    let mut len = usize::from(head[1] & 127);
    if len == 126 {
        let mut more = [0; 2];
        stream.read_exact(&mut more).unwrap();
        len = usize::from(u16::from_be_bytes(more));
    }
    assert!(len < 127 || head[1] & 127 == 126, "a frame larger than this test sends");
    let mut payload = vec![0; len];
    stream.read_exact(&mut payload).unwrap();
    if head[0] & 15 == 1 { String::from_utf8(payload).unwrap() } else { String::new() }
}

/// Scenario: every query of the dashboard that is shipped, with Grafana's variables filled in.
/// Guarantees: each is answered.
#[test]
fn the_dashboard_asks_what_is_answered() {
    let server = server();
    let text = include_str!("../../../../docs/grafana-dashboard.json");
    let dashboard: Value = serde_json::from_str(text).unwrap();
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let query =
                query.replace("$from", ".*").replace("$__auto", "1m").replace("$__range", "1h");
            let instant = target["queryType"] == "instant";
            let found = match instant {
                true => data(&server, "query", &[("query", &query), ("time", END)]),
                false => data(
                    &server,
                    "query_range",
                    &[("query", &query), ("start", START), ("end", END)],
                ),
            };
            assert!(found["result"].is_array(), "{query}");
            asked += 1;
        }
    }
    assert_eq!(asked, 6);
}
