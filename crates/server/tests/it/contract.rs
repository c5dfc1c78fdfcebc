//! What CONTRACT.md says of loss, overload and consumers, against the real binary.

use super::destinations::receive;
use super::harness::{Server, alcedo, run};
use event::RecordKind;
use io::agent_protocol::{Batch, Frame, VERSION, decode, encode};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const RULE: &str = "title: Marker seen\nid: 44444444-4444-4444-8444-444444444444\nlogsource: {product: linux}\ndetection:\n  sel:\n    - xyzzy\n  condition: sel\nlevel: high\n";

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn alerts(server: &Server) -> Vec<Value> {
    server.get("/api/v1/alerts?state=all&limit=500")["alerts"].as_array().unwrap().clone()
}

fn token(server: &Server, source: &str) -> String {
    let wish = json!({"name": "t", "role": "ingest", "sources": [source]}).to_string();
    let (status, made) = server.ask("POST", "/api/v1/tokens", &server.admin_token, &wish);
    assert_eq!(status, 200, "{made}");
    made["token"].as_str().unwrap().to_owned()
}

fn losing() -> Command {
    let mut command = alcedo();
    command.env("ALCEDO_FAULT_LOSE", "lose-this-one");
    command
}

/// An agent in a few lines: records as they were read ten minutes ago, acknowledged.
fn send_old_records(server: &Server, agents: SocketAddr, records: &[&str]) {
    let mut stream = TcpStream::connect(agents).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let token = token(server, "agents");
    let hello = Frame::Hello { version: VERSION, agent: "old".into(), token };
    let mut batch = Batch { producer: 1, epoch: 2, path: "/x".into(), ..Batch::default() };
    let now_ns = io::intake::wall_ns();
    for record in records {
        batch.push(RecordKind::Data, now_ns - 600_000_000_000, record.as_bytes());
    }
    let resume = Frame::Resume { producer: 1, epoch: 2, next_seq: 0 };
    let mut bytes = Vec::new();
    [hello, resume, Frame::Batch(batch)].iter().for_each(|frame| encode(frame, &mut bytes));
    stream.write_all(&bytes).unwrap();
    let mut got = Vec::new();
    loop {
        match decode(&got).unwrap() {
            Some((Frame::Ack { .. }, _)) => return,
            Some((_, used)) => drop(got.drain(..used)),
            None => {
                let mut piece = [0; 4096];
                let n = stream.read(&mut piece).unwrap();
                assert!(n > 0, "no ack");
                got.extend_from_slice(&piece[..n]);
            }
        }
    }
}

/// Scenario: a batch is lost on its way from detection to the store.
/// Guarantees: the minute it was received in does not add up, which is a critical alert with the
/// source and the numbers; without a loss there is none.
#[test]
fn a_batch_lost_before_the_store_is_a_critical_alert() {
    let agents = free_port();
    let settings = format!(
        "sources:\n  http: {{type: http}}\n  agents: {{type: agent, listen: '{agents}'}}\n"
    );
    let server = Server::start_as(&settings, None, losing);
    send_old_records(&server, agents, &["all is well", "lose-this-one", "all is well again"]);
    let alert = server.eventually("the alert", |s| {
        alerts(s).into_iter().find(|a| a["rule_id"] == "alcedo.imbalance")
    });
    assert_eq!(alert["level"], "critical", "{alert:#}");
    let reason = alert["reason"].as_str().unwrap();
    assert!(reason.starts_with("agents: of 3 events received"), "{reason}");
    assert_eq!(server.search("lose-this-one").len(), 0);
    drop(server);
    let server = Server::start(&settings);
    send_old_records(&server, agents, &["all is well", "lose-this-one", "all is well again"]);
    server.eventually("the record", |s| (s.search("lose-this-one").len() == 1).then_some(()));
    // Several ticks: each one judges what is over.
    std::thread::sleep(Duration::from_secs(4));
    assert!(alerts(&server).iter().all(|a| a["rule_id"] != "alcedo.imbalance"));
}

/// Scenario: the server is stopped and started again several times, then killed.
/// Guarantees: who ends in order is not told as one who crashed; a crash is.
#[test]
fn a_stop_in_order_is_not_told_as_a_crash() {
    let mut server = Server::start("sources:\n  http: {type: http}\n");
    let folder = server.data_dir.to_str().unwrap().to_owned();
    let told = |word: &str| -> usize {
        let dump = run(&["journal", "dump", "--data-dir", &folder]);
        String::from_utf8_lossy(&dump.stdout).matches(word).count()
    };
    for _ in 0..4 {
        server.stop();
        server.start_again();
    }
    server.stop();
    assert_eq!((told("journal.crashed"), told("journal.opened")), (0, 4));
    server.start_again();
    server.kill();
    server.start_again();
    server.stop();
    assert_eq!((told("journal.crashed"), told("journal.opened")), (1, 5));
}

/// Scenario: a ceiling of memory far below what the program needs: the order of giving up is gone
/// through down to streams that are not read.
/// Guarantees: each step is an event and a journal record, in order, and the gauge says how far; HTTP
/// is told 503 with a time to come again; streams wait, datagrams still come in; searching and
/// triage work; with memory again all of it is taken back.
#[test]
fn overload_gives_up_in_order_and_says_so() {
    let mut server = Server::start("limits: {memory: 64KiB}\n");
    let wait = Duration::from_secs(60);
    server.eventually_within(wait, "level 6", |s| {
        (s.metric("alcedo_degraded_level")? == 6.0).then_some(())
    });
    let degraded = server.get("/api/v1/overview")["degraded"].clone();
    assert_eq!((&degraded["level"], &degraded["step"]), (&json!(6), &json!("stall")));
    let (status, retry) = server.post("{\"message\":\"not-now\"}\n");
    assert_eq!((status, retry), (503, Some(1)));
    assert_eq!(degraded["why"], "memory is scarce");
    let (_, answer) = server.send("POST", "/api/v1/ingest", &server.admin_token, &[], b"not-now\n");
    let detail = answer["detail"].as_str().unwrap();
    assert!(detail.contains("memory limit") && !detail.contains("journal"), "{detail}");
    // It cannot get better by itself, and that is said at once.
    let problems = server.get("/api/v1/overview")["problems"].to_string();
    assert!(problems.contains("too small") && problems.contains("at least"), "{problems}");
    let mut tail = alcedo()
        .args(["tail", "--data-dir", server.data_dir.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = std::io::BufReader::new(tail.stderr.take().unwrap());
    let said = std::io::BufRead::lines(said).next().unwrap().unwrap();
    assert!(said.contains("sample"), "{said}");
    tail.kill().unwrap();
    tail.wait().unwrap();
    let mut tcp = TcpStream::connect(server.syslog_at("tcp")).unwrap();
    tcp.write_all(b"<13>Nov 24 02:14:00 h2 app: marker-stream\n").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.send_to(b"<13>Nov 24 02:14:00 h1 app: marker-udp", server.syslog_at("udp")).unwrap();
    server.eventually_within(wait, "the datagram", |s| {
        (s.search("marker-udp").len() == 1).then_some(())
    });
    let expected = ["tail", "queries", "background", "quotas", "push_back", "stall"];
    let told = server.eventually_within(wait, "the events", |s| {
        let rows = s.search("event.action:overload.entered");
        (rows.len() >= expected.len()).then_some(rows)
    });
    let targets: HashSet<&str> = told.iter().filter_map(|r| r["alcedo.target"].as_str()).collect();
    assert_eq!(targets, HashSet::from(expected));
    assert_eq!(server.search("marker-stream").len(), 0, "a stream was read");
    assert_eq!(server.search("not-now").len(), 0);
    server.stop();
    let dir = server.data_dir.to_str().unwrap().to_owned();
    let dump = run(&["journal", "dump", "--data-dir", &dir]);
    let dumped = String::from_utf8_lossy(&dump.stdout).into_owned();
    let mut at = 0;
    for (level, step) in (1..).zip(&expected) {
        let plain = format!(r#""step":"{step}","level":{level}"#);
        let record = plain.replace('"', "\\\"");
        let found = dumped[at..].find(&record).or_else(|| dumped[at..].find(&plain));
        at += found.unwrap_or_else(|| panic!("no record of {step} in order: {}", &dumped[at..]));
    }
    drop(tcp);
    let server = Server::start("limits: {memory: 64GiB}\n");
    server.ingest("{\"message\":\"welcome\"}\n");
    // A busy machine may lag for a moment, which is a step of its own.
    server.eventually_within(wait, "level 0", |s| {
        (s.metric("alcedo_degraded_level")? == 0.0).then_some(())
    });
    assert_eq!(server.post("{\"message\":\"again\"}\n"), (200, None));
    let problems = server.get("/api/v1/overview")["problems"].to_string();
    assert!(!problems.contains("too small"), "{problems}");
}

/// Scenario: a record of twenty megabytes over HTTP, and a body above what a record may have.
/// Guarantees: the first is stored whole and given back byte for byte; the second is refused with 413,
/// as what can never be taken; so is the first where memory is small.
#[test]
fn a_record_may_have_64_mib_over_http() {
    let mut server = Server::start("limits: {memory: 4GiB}\n");
    let long: String =
        (0..20u64 << 20).map(|n| char::from(b'a' + (n * n / 7 % 26) as u8)).collect();
    let text = [("Content-Type", "text/plain")];
    let token = server.admin_token.clone();
    let (status, answer) = server.send("POST", "/api/v1/ingest", &token, &text, long.as_bytes());
    assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "{answer}");
    let (first, last) = (answer["first"].as_u64().unwrap(), answer["last"].as_u64().unwrap());
    assert!(last - first > 15, "it is stored in parts: {answer}");
    let (status, retry) = server.post(&"x".repeat((64 << 20) + 1));
    assert_eq!((status, retry), (413, None));
    server.stop();
    let dir = server.data_dir.to_str().unwrap().to_owned();
    let (from, to) = (first.to_string(), last.to_string());
    let out = run(&["journal", "export", "--data-dir", &dir, "--from", &from, "--to", &to]);
    let line: Value = serde_json::from_slice(&out.stdout).unwrap();
    let stored = line["bytes_base64"].as_str().unwrap();
    use base64::Engine as _;
    assert!(base64::engine::general_purpose::STANDARD.decode(stored).unwrap() == long.as_bytes());
    server.configure("limits: {memory: 432MiB}\n");
    let text = std::fs::read_to_string(&server.config).unwrap();
    std::fs::write(&server.config, text.replace("limits: {memory: 4GiB}\n", "")).unwrap();
    server.start_again();
    let (status, retry) = server.post(&long);
    assert_eq!((status, retry), (413, None), "18 MiB are its twenty-fourth");
}

/// Scenario: a webhook that nobody answers, beside a file; events go on.
/// Guarantees: only the webhook's cursor is behind, in seconds, bytes and records, on the overview
/// and in the metrics; the file has the alerts, and detection and search go on.
#[test]
fn a_dead_webhook_lags_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("marker.yml"), RULE).unwrap();
    let (dead, out) = (free_port(), folder.path().join("alerts.ndjson"));
    let server = Server::start(&format!(
        "rules: ['{}']\nnotify:\n  - {{to: webhook, name: siem, url: 'http://{dead}/'}}\n  \
         - {{to: file, path: '{}'}}\n",
        folder.path().join("marker.yml").display(),
        out.display()
    ));
    for n in 0..30 {
        server.ingest(&format!("{{\"message\":\"xyzzy\",\"user\":{{\"name\":\"u{n}\"}}}}\n"));
    }
    server.eventually("the alerts in the file", |_| {
        let text = std::fs::read_to_string(&out).unwrap_or_default();
        (text.lines().count() >= 30).then_some(())
    });
    let consumer = |s: &Server, name: &str| {
        let lag = s.get("/api/v1/overview")["lag"]["consumers"].clone();
        let found = lag.as_array().unwrap().iter().find(|c| c["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("{name} is not in {lag}"))
    };
    let siem = server.eventually("the webhook's lag", |s| {
        let siem = consumer(s, "notify:siem");
        (siem["seconds"].as_f64()? > 2.0).then_some(siem)
    });
    assert!(siem["records"].as_u64().unwrap() >= 30, "{siem}");
    assert!(siem["bytes"].as_u64().unwrap() > 30 * 300, "{siem}");
    let file = server.eventually("the file's cursor", |s| {
        let file = consumer(s, "notify:file");
        (file["records"] == 0).then_some(file)
    });
    assert_eq!((&file["seconds"], &file["bytes"]), (&json!(0.0), &json!(0)));
    let seconds = |name: &str| format!("alcedo_consumer_lag_seconds{{consumer=\"{name}\"}}");
    assert!(server.metric(&seconds("notify:siem")).unwrap() > 2.0);
    assert_eq!(server.metric(&seconds("notify:file")), Some(0.0));
    assert!(server.metric("alcedo_consumer_lag_bytes{consumer=\"notify:siem\"}").unwrap() > 9000.0);
    server.ingest("{\"message\":\"goes-on\"}\n");
    server.eventually("the event", |s| (s.search("goes-on").len() == 1).then_some(()));
    server.eventually("detection", |s| (consumer(s, "detect")["records"] == 0).then_some(()));
    // The store has its events in memory for up to a minute: its own lag, and nobody else's.
    assert!(consumer(&server, "store")["bytes"].as_u64().unwrap() > 0);
    // Who is late for a minute is told, once, until he takes what waits.
    let told = |s: &Server, action: &str| {
        let events = s.search(&format!("event.action:destination.{action}"));
        events.iter().filter(|event| event["alcedo.target"] == "siem").count()
    };
    let is_problem =
        |s: &Server| s.get("/api/v1/overview")["problems"].to_string().contains("`siem` is ");
    assert_eq!((told(&server, "behind"), is_problem(&server)), (0, false));
    server.eventually("the event", |s| (told(s, "behind") == 1).then_some(()));
    server.eventually("the problem", |s| is_problem(s).then_some(()));
    let taken = receive(dead, Vec::new());
    server.eventually("the end", |s| (told(s, "caught_up") == 1).then_some(()));
    assert_eq!((told(&server, "behind"), is_problem(&server)), (1, false));
    assert!(taken.lock().unwrap().len() >= 30);
}

fn agent(to: SocketAddr, machine: &Path) -> Child {
    let text = |name: &str| machine.join(name).to_str().unwrap().to_owned();
    alcedo()
        .args(["agent", "--plain", "--to", &to.to_string(), "--token-file", &text("token")])
        .args(["--name", "twin", "--state", &text("state"), &text("app.log")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn append(machine: &Path, text: &str) {
    let open = std::fs::OpenOptions::new().append(true).create(true).open(machine.join("app.log"));
    open.unwrap().write_all(text.as_bytes()).unwrap();
}

/// A copy of a machine with its agent's state folder; to the agent its files have the same numbers.
fn image(machine: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("state")).unwrap();
    for name in ["token", "app.log"] {
        std::fs::copy(machine.join(name), to.join(name)).unwrap();
    }
    let meta = std::fs::metadata(to.join("app.log")).unwrap();
    let from = machine.join("state/checkpoints.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(from).unwrap()).unwrap();
    for file in state.as_array_mut().unwrap() {
        (file["dev"], file["ino"]) = (meta.dev().into(), meta.ino().into());
        file["path"] = to.join("app.log").to_str().unwrap().into();
    }
    std::fs::write(to.join("state/checkpoints.json"), state.to_string()).unwrap();
}

/// Scenario: a machine with an agent is cloned with the agent's state; both ship other lines.
/// Guarantees: all lines of both are stored, what they share is stored once, and people are told by
/// an alert, by searches and on the timeline.
#[test]
fn a_cloned_agent_is_an_alert_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    std::fs::create_dir_all(&one).unwrap();
    let agents = free_port();
    let server = Server::start(&format!(
        "sources:\n  http: {{type: http}}\n  agents: {{type: agent, listen: '{agents}'}}\n"
    ));
    std::fs::write(one.join("token"), token(&server, "agents")).unwrap();
    append(&one, "twin-shared-1\ntwin-shared-2\n");
    let found = |s: &Server, what: &str, count: usize| {
        (s.search(&format!("{what}*")).len() >= count).then_some(())
    };
    let mut first = agent(agents, &one);
    server.eventually("the shared lines", |s| found(s, "twin-shared", 2));
    // Acks are kept on disk within a second.
    std::thread::sleep(Duration::from_millis(2500));
    first.kill().unwrap();
    first.wait().unwrap();
    image(&one, &two);
    let mut twins = [agent(agents, &one), agent(agents, &two)];
    for n in 0..8 {
        append(&one, &format!("twin-one-{n}\n"));
        append(&two, &format!("twin-two-{n}\n"));
        std::thread::sleep(Duration::from_millis(100));
    }
    let wait = Duration::from_secs(60);
    server.eventually_within(wait, "the lines of the first", |s| found(s, "twin-one", 8));
    server.eventually_within(wait, "the lines of the second", |s| found(s, "twin-two", 8));
    let alert = server
        .eventually("the alert", |s| alerts(s).into_iter().find(|a| a["rule_id"] == "alcedo.gap"));
    assert!(alert["reason"].as_str().unwrap().contains("an agent exists twice"), "{alert:#}");
    assert_eq!(alert["level"], "high");
    // What may be missing is found like what is there, and stands on the alert's timeline.
    let gaps = server.search("event.action:gap and alcedo.gap.cause:agent_fork");
    assert!(!gaps.is_empty() && gaps[0]["alcedo.gap.certainty"] != serde_json::Value::Null);
    let path = format!("/api/v1/alerts/{}/around?minutes=60", alert["id"].as_str().unwrap());
    let (status, timeline) = server.ask("GET", &path, &server.admin_token, "");
    let rows = timeline["rows"].as_array().unwrap();
    assert!(status == 200 && rows.iter().any(|row| row["event.action"] == "gap"), "{timeline:#}");
    assert_eq!(server.search("twin-shared*").len(), 2);
    for twin in &mut twins {
        twin.kill().unwrap();
        twin.wait().unwrap();
    }
}
