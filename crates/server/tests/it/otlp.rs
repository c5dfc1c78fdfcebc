//! OTLP logs against the real binary, sent by OpenTelemetry's own SDK, and by hand where a client would not.

use super::browser::http;
use super::harness::{Server, run};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Times that the plug is pulled.
const KILLS: u64 = 6;
/// A sender prints what it was told within this time.
const PRINTED_WAIT: Duration = Duration::from_millis(300);
/// A body that never ends: more than a body may have without being charged, less than an export of
/// [`FILLER_BYTES`] records, so that in the end there is no room for one.
const PIECE_BYTES: usize = 300 << 10;
/// What makes a batch of five records too long for the room that is left.
const FILLER_BYTES: usize = 100_000;
/// What bodies of a source may hold together.
const HOLDING_BYTES: usize = 64 << 20;
/// Transports with and without compression.
const WAYS: [&[&str]; 4] = [&["http"], &["grpc"], &["http", "--gzip"], &["grpc", "--gzip"]];

/// A script of `tests/data` under way; `None` without OpenTelemetry's packages.
fn python(script: &str, args: &[&str]) -> Option<Child> {
    let modules = "import opentelemetry.exporter.otlp.proto.grpc._log_exporter, \
                   opentelemetry.exporter.otlp.proto.http._log_exporter";
    let mut probe = Command::new("python3");
    let probe = probe.args(["-c", modules]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("skipped: OpenTelemetry's SDK (pip install opentelemetry-exporter-otlp)");
        return None;
    }
    let path = testkit::workspace_root().join("crates/server/tests/data").join(script);
    let mut command = Command::new("python3");
    command.arg("-B").arg(path).args(args).stdin(Stdio::null());
    Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// What a script printed, line by line, if it ended well.
fn lines(child: Child) -> Vec<String> {
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().map(str::to_owned).filter(|line| line != "ready").collect()
}

/// The ids of stored records, with how often each is there.
fn stored(server: &Server, prefix: &str) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    for row in server.search(&format!("otel.attributes.id:{prefix}*")) {
        let id = row["otel.attributes.id"].as_str().unwrap().to_owned();
        *found.entry(id).or_default() += 1;
    }
    found
}

fn token(server: &Server, source: &str) -> String {
    let wish = json!({"name": source, "role": "ingest", "sources": [source]}).to_string();
    let (status, made) = server.ask("POST", "/api/v1/tokens", &server.admin_token, &wish);
    assert_eq!(status, 200, "{made}");
    made["token"].as_str().unwrap().to_owned()
}

/// Scenario: the SDK exports over both transports, plain and compressed; one of its records is a line of
/// sshd.
/// Guarantees: every record is there once, with the fields of resource, scope and record; the line is sshd's.
#[test]
fn the_sdk_exports_over_both_transports() {
    let server = Server::start("notify: []\n");
    let endpoint = server.http.to_string();
    for (number, way) in WAYS.iter().enumerate() {
        let prefix = format!("sdk{number}");
        let given = [&endpoint, &server.admin_token, &prefix, "--batches", "3"];
        let args = [&way[..1], &given, &way[1..]].concat();
        let Some(sender) = python("otlp_export.py", &args) else { return };
        let told: BTreeSet<String> = lines(sender).into_iter().collect();
        assert_eq!(told.len(), 15);
        server.eventually("the records", |s| (stored(s, &prefix).len() == 15).then_some(()));
        let found = stored(&server, &prefix);
        assert!(found.values().all(|n| *n == 1) && found.keys().eq(&told), "{found:?}");
    }
    let row = &server.search("otel.attributes.id:sdk1-000002-4")[0];
    for (field, value) in [
        ("@timestamp", json!("2026-11-23T09:00:00.123456789Z")),
        ("message", json!("sdk1-000002-4")),
        ("alcedo.pack", json!("otlp")),
        ("event.action", json!("app.login")),
        ("host.name", json!("web1")),
        ("log.level", json!("WARN")),
        ("log.logger", json!("app.auth")),
        ("orchestrator.resource.name", json!("web-0")),
        ("otel.attributes.big", json!(i64::MAX)),
        ("service.name", json!("shop")),
        ("source.ip", json!("203.0.113.9")),
        ("span.id", json!("eee19b7ec3c1b174")),
        ("trace.id", json!("5b8efff798038103d269b633813fc60c")),
        ("user.name", json!("eve")),
    ] {
        assert_eq!(row[field], value, "{field}: {row:#}");
    }
    let line = "Nov 23 09:00:00 gate sshd[7]: Failed password for invalid user {id} from 198.51.100.7 port 51234 ssh2";
    let args = ["grpc", &endpoint, &server.admin_token, "line", "--records", "1", "--body", line];
    lines(python("otlp_export.py", &args).unwrap());
    let row = server.eventually("the line", |s| s.search("user.name:line-000000-0").pop());
    for (field, value) in [
        ("alcedo.pack", "linux-auth"),
        ("event.outcome", "failure"),
        ("source.ip", "198.51.100.7"),
        ("service.name", "shop"),
    ] {
        assert_eq!(row[field], value, "{row:#}");
    }
}

/// Bodies that hold all that the source's bodies may, and what a sender is told then.
fn full(server: &Server) -> (Vec<TcpStream>, (u16, Option<u32>, String)) {
    let body = || server.half_a_body("http", PIECE_BYTES);
    let mut bodies: Vec<TcpStream> = (0..HOLDING_BYTES / PIECE_BYTES).map(|_| body()).collect();
    let told = server.eventually("the refusal", |s| {
        // Some were refused when others, or what others gave back, had the room.
        bodies.push(body());
        let told = s.post_to("/v1/logs", "application/json", &"x".repeat(4 * FILLER_BYTES));
        (told.0 == 429).then_some(told)
    });
    (bodies, told)
}

/// Scenario: the source's bodies hold all they may; the SDK exports, over one transport and then the other;
/// when it was refused there is room.
/// Guarantees: it is told when to come again and does, over both; every record is there once.
#[test]
fn the_sdk_comes_again_when_it_is_refused() {
    let server = Server::start("sources:\n  http: {type: http}\nnotify: []\n");
    let endpoint = server.http.to_string();
    for transport in ["http", "grpc"] {
        let (bodies, (_, retry, body)) = full(&server);
        let status: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((retry, &status["code"]), (Some(1), &json!(8)), "{status}");
        assert_eq!(status["details"][0]["retryDelay"], "1s", "{status}");
        let filler = FILLER_BYTES.to_string();
        let args = [transport, &endpoint, &server.admin_token, transport];
        let more = ["--batches", "2", "--filler-bytes", &filler];
        let Some(mut sender) = python("otlp_export.py", &[&args[..], &more].concat()) else {
            return;
        };
        // What it says when it is going to try again.
        let mut errors = BufReader::new(sender.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("Transient error") {
            said.clear();
            assert!(errors.read_line(&mut said).unwrap() > 0, "{transport} was not refused");
        }
        drop(bodies);
        let rest = std::thread::spawn(move || errors.read_to_string(&mut String::new()));
        assert_eq!(lines(sender).len(), 10);
        rest.join().unwrap().unwrap();
        server.eventually("the records", |s| (stored(s, transport).len() == 10).then_some(()));
        assert!(stored(&server, transport).values().all(|n| *n == 1));
    }
}

/// Scenario: the binary is killed with SIGKILL while SDKs export over both transports, again and again.
/// Guarantees: every record that was acknowledged is found; the structure is sound.
#[test]
fn kill9_loses_nothing_that_an_sdk_was_told() {
    let mut server = Server::start("notify: []\n");
    let mut acked: Vec<String> = Vec::new();
    for kill in 0..KILLS {
        let endpoint = server.http.to_string();
        let mut senders = Vec::new();
        for transport in ["http", "grpc"] {
            let prefix = format!("{transport}{kill}");
            let args = [transport, &endpoint, &server.admin_token, &prefix];
            let more = ["--batches", "100000"];
            let Some(mut sender) = python("otlp_export.py", &[&args[..], &more].concat()) else {
                return;
            };
            let told = BufReader::new(sender.stdout.take().unwrap());
            let errors = sender.stderr.take().unwrap();
            std::thread::spawn(move || BufReader::new(errors).read_to_string(&mut String::new()));
            senders.push((sender, told));
        }
        for (_, told) in &mut senders {
            // Ready, and its first batch.
            for _ in 0..6 {
                let mut line = String::new();
                assert!(told.read_line(&mut line).unwrap() > 0, "it sends nothing");
                acked.extend(Some(line.trim().to_owned()).filter(|l| l != "ready"));
            }
        }
        std::thread::sleep(Duration::from_millis(40 + kill * 23));
        server.kill();
        // What was on its way to a sender is printed; from then on it tries again.
        std::thread::sleep(PRINTED_WAIT);
        for (mut sender, told) in senders {
            sender.kill().unwrap();
            acked.extend(told.lines().map(Result::unwrap));
            sender.wait().unwrap();
        }
        server.start_again();
    }
    server.eventually("detection catches up", |s| {
        (s.get("/api/v1/overview")["lag"]["detect_ms"] == 0).then_some(())
    });
    let mut found: HashMap<String, u32> = HashMap::new();
    for kill in 0..KILLS {
        found.extend(stored(&server, &format!("http{kill}")));
        found.extend(stored(&server, &format!("grpc{kill}")));
    }
    let missing: Vec<&String> = acked.iter().filter(|id| !found.contains_key(*id)).collect();
    assert!(missing.is_empty(), "{} of {}: {missing:?}", missing.len(), acked.len());
    assert!(acked.len() as u64 > KILLS * 20, "only {} were acknowledged", acked.len());
    server.stop();
    let out = run(&["verify", "--data-dir", server.data_dir.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stdout));
    println!(
        "{KILLS} kills, {} acknowledged over OTLP: 0 lost, {} there twice",
        acked.len(),
        found.values().filter(|n| **n > 1).count()
    );
}

/// Scenario: calls of gRPC that succeed and that fail, over one connection.
/// Guarantees: the code, the reason, and a time only where trying again can help; what had no room is
/// counted, told to the sender, and is a gap in the stream; all else is kept.
#[test]
fn calls_of_grpc_are_answered_in_its_words() {
    // A request may become 10 MiB here.
    let server = Server::start("notify: []\nlimits: {memory: 256MiB}\n");
    let narrow = token(&server, "syslog");
    let args = [&server.http.to_string(), &server.admin_token, &narrow];
    let Some(calls) = python("otlp_calls.py", &args.map(|a| a.as_str())) else { return };
    let mut told: HashMap<String, Value> = HashMap::new();
    for line in lines(calls) {
        let call: Value = serde_json::from_str(&line).unwrap();
        told.insert(call["call"].as_str().unwrap().to_owned(), call);
    }
    for ok in ["empty", "plain", "gzip", "after"] {
        assert_eq!((&told[ok]["code"], &told[ok]["rejected"]), (&json!("OK"), &json!(0)), "{ok}");
    }
    for (call, code, number, part) in [
        ("no token", "UNAUTHENTICATED", 16, "send a token"),
        ("wrong token", "UNAUTHENTICATED", 16, ""),
        ("other source", "PERMISSION_DENIED", 7, "may not write"),
        ("no request", "INVALID_ARGUMENT", 3, "send an ExportLogsServiceRequest"),
        ("deflate", "UNIMPLEMENTED", 12, "gzip"),
        ("traces", "UNIMPLEMENTED", 12, "only logs are taken"),
        ("unknown", "UNIMPLEMENTED", 12, "only logs are taken"),
        ("too large", "RESOURCE_EXHAUSTED", 8, "send smaller batches"),
    ] {
        let call = &told[call];
        assert_eq!((&call["code"], &call["status"]), (&json!(code), &json!(number)), "{call}");
        assert!(call["details"].as_str().unwrap().contains(part), "{call}");
        assert_eq!(call["retry_after_s"], Value::Null, "{call}");
    }
    let much = &told["too much"];
    let rejected = much["rejected"].as_u64().unwrap();
    assert!(much["code"] == "OK" && (15..30).contains(&rejected), "{much}");
    assert!(much["details"].as_str().unwrap().contains("send smaller batches"), "{much}");
    let kept = 2 + 2 + 1 + 30 - rejected;
    server.eventually("the records", |s| {
        let rows = s.search("message:called-* | stats count() as n");
        (rows[0]["n"] == kept).then_some(())
    });
    let gap = server.eventually("the gap", |s| {
        s.search("event.action:gap and alcedo.gap.cause:oversize").pop()
    });
    assert_eq!(gap["alcedo.gap.count"], rejected, "{gap:#}");
    assert_eq!(gap["alcedo.gap.protocol"], "otlp", "{gap:#}");
}

/// Scenario: requests over HTTP that succeed and that fail, in both encodings.
/// Guarantees: each is answered in its own encoding with the status that OTLP wants.
#[test]
fn requests_over_http_are_answered_in_their_encoding() {
    let server = Server::start("notify: []\n");
    let (json_kind, protobuf_kind) = ("application/json", "application/x-protobuf");
    let post = |path: &str, token: &str, headers: &[(&str, &str)], body: &[u8]| {
        let bearer = format!("Bearer {token}");
        let mut all = headers.to_vec();
        all.extend((!token.is_empty()).then_some(("Authorization", bearer.as_str())));
        http(server.http, "POST", path, &all, body)
    };
    let admin = server.admin_token.as_str();
    let log = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"by-hand"}}]}]}]}"#;
    let kind = |kind| [("Content-Type", kind)];
    let charset = kind("application/json; charset=utf-8");
    assert_eq!(post("/v1/logs", admin, &charset, log), (200, b"{}".to_vec()));
    assert_eq!(post("/v1/logs?source=http", admin, &kind(json_kind), log), (200, b"{}".to_vec()));
    let packed = gzip(log);
    let zipped = [("Content-Type", json_kind), ("Content-Encoding", "gzip")];
    assert_eq!(post("/v1/logs", admin, &zipped, &packed), (200, b"{}".to_vec()));
    assert_eq!(post("/v1/logs", admin, &kind(json_kind), b"{}"), (200, b"{}".to_vec()));
    assert_eq!(post("/v1/logs", admin, &kind(protobuf_kind), b""), (200, Vec::new()));
    server.eventually("the records", |s| (s.search("by-hand").len() == 3).then_some(()));

    let narrow = token(&server, "syslog");
    for (path, token, sent, status, code, part) in [
        ("/v1/logs", "", json_kind, 401, 16, "send a token"),
        ("/v1/logs", "alc_no", json_kind, 401, 16, ""),
        ("/v1/logs", &narrow, json_kind, 403, 7, "may not write"),
        ("/v1/logs?source=none", admin, json_kind, 403, 7, "may not write"),
        ("/v1/logs", admin, "text/plain", 415, 12, "application/x-protobuf"),
        ("/v1/logs", admin, protobuf_kind, 400, 3, "not valid OTLP protobuf"),
        ("/v1/traces", admin, json_kind, 404, 12, "only logs are taken"),
        ("/v1/metrics", admin, protobuf_kind, 404, 12, "only logs are taken"),
    ] {
        let (got, body) = post(path, token, &kind(sent), log);
        assert_eq!(got, status, "{path} {sent}");
        if sent == protobuf_kind {
            // `Status` begins with its code.
            assert_eq!(body[..2], [8, code]);
            assert!(String::from_utf8_lossy(&body).contains(part));
        } else {
            let told: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(told["code"], code, "{told}");
            assert!(told["message"].as_str().unwrap().contains(part), "{told}");
        }
    }
    let (status, body) = post("/v1/logs", admin, &kind(json_kind), b"{\"resourceLogs\":7}");
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &told["code"]), (400, &json!(3)));
    assert!(told["message"].as_str().unwrap().contains("an array at byte 16"), "{told}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap().stdout
}
