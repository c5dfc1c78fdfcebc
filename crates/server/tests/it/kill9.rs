//! The plug is pulled at any moment, again and again.

use super::harness::{Server, alcedo, run};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Kills of the default run; `ALCEDO_KILLS` sets another number.
const KILLS_DEFAULT: u64 = 40;
/// One kill of so many comes while the one before is still being recovered from.
const KILL_IN_RECOVERY_EVERY: u64 = 5;
/// Clients that post all the time.
const CLIENTS: usize = 4;
/// Senders to the event collector, who post all the time and repeat nothing.
const HEC_CLIENTS: usize = 2;
/// One body of theirs in so many has a wrong event behind the good ones.
const HEC_WRONG_EVERY: u64 = 7;
/// Marked records of one group: the correlation fires when all of them are there.
const GROUP: u64 = 20;

/// One alert for each marked record, and one for each whole group of them.
const RULES: &str = "\
title: Marked record
id: 90000000-0000-4000-8000-000000000001
name: marked
logsource: {category: test}
detection:
  sel: {user.name|startswith: 'marked-'}
  condition: sel
level: high
---
title: Marked group
id: 90000000-0000-4000-8000-000000000002
correlation:
  type: event_count
  rules: [marked]
  group-by: [labels.group]
  timespan: 1d
  condition: {gte: 20}
  generate: true
level: high
";

/// What clients saw.
#[derive(Default)]
struct Told {
    acked: Mutex<Vec<String>>,
    acked_hec: Mutex<Vec<String>>,
    serial: AtomicU64,
    serial_hec: AtomicU64,
    stop: AtomicBool,
    http: Mutex<Option<SocketAddr>>,
    tcp: Mutex<Option<SocketAddr>>,
}

/// Scenario: clients post batches and note what was acknowledged, others post to the event collector, one
/// sends syslog over TCP, an agent ships a growing file, while the binary is killed with SIGKILL 100 times,
/// also during recovery.
/// Guarantees: every acknowledged record is in the journal and in the store, whole; what carries an
/// idempotency key and every line of the agent is there exactly once; so is what the event collector said
/// yes to, and what it told to stand before a wrong event, and nothing else of it is there twice; the
/// alerts are those of a run without a crash; the structure is sound.
#[test]
fn kill9_loses_nothing_that_was_acknowledged() {
    let kills = std::env::var("ALCEDO_KILLS").ok().and_then(|n| n.parse().ok());
    let kills: u64 = kills.unwrap_or(KILLS_DEFAULT);
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yml");
    std::fs::write(&rules, RULES).unwrap();
    let agents = free_port();
    let mut server = Server::start(&format!(
        "rules: ['{}']\nnotify: []\nsources:\n  http: {{type: http}}\n  \
         syslog: {{type: syslog, listen: ['tcp://127.0.0.1:0']}}\n  \
         agents: {{type: agent, listen: '{agents}'}}\n",
        rules.display()
    ));
    let told = Told::default();
    told.moved_to(&server);
    let token = server.admin_token.clone();
    let log = folder.path().join("shipped.log");
    let mut agent = start_agent(&server, agents, folder.path(), &log);
    let mut shipped = 0;
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| post_all_the_time(&told, &token));
        }
        for _ in 0..HEC_CLIENTS {
            scope.spawn(|| post_to_the_collector(&told, &token));
        }
        scope.spawn(|| syslog_all_the_time(&told));
        let writer = scope.spawn(|| write_lines(&told, &log));
        for kill in 0..kills {
            // From right after the start up to a few group commits later.
            std::thread::sleep(Duration::from_millis(kill * 7 % 60));
            server.kill();
            if kill % KILL_IN_RECOVERY_EVERY == 0 {
                server.start_and_kill_after(Duration::from_millis(kill * 3 % 40));
            }
            server.start_again();
            told.moved_to(&server);
        }
        std::thread::sleep(Duration::from_millis(300));
        told.stop.store(true, Ordering::SeqCst);
        shipped = writer.join().unwrap();
    });
    let acked = told.acked.into_inner().unwrap();
    assert!(acked.len() as u64 > kills, "only {} records were acknowledged", acked.len());
    server.eventually_within(Duration::from_secs(90), "the agent ships every line", |s| {
        let rows = s.search("agent-line-* | stats count() as n");
        (rows.first()?["n"].as_u64()? >= shipped).then_some(())
    });
    agent.kill().unwrap();
    agent.wait().unwrap();
    server.eventually("detection catches up", |s| {
        (s.get("/api/v1/overview")["lag"]["detect_ms"] == 0).then_some(())
    });
    let posted = told.serial.into_inner();
    let stored: Vec<Value> = parts("kill9", posted).flat_map(|q| server.search(&q)).collect();
    assert_each_once(&acked, &stored);
    let acked_hec = told.acked_hec.into_inner().unwrap();
    assert!(acked_hec.len() as u64 > kills, "{} over the event collector", acked_hec.len());
    let posted = told.serial_hec.into_inner();
    let stored_hec: Vec<Value> =
        parts("hec-line", posted).flat_map(|q| server.search(&q)).collect();
    assert_each_once(&acked_hec, &stored_hec);
    let lines = distinct_lines(&server, shipped);
    let rows = server.search("agent-line-* | stats count() as n");
    assert_eq!((lines.len() as u64, rows[0]["n"].as_u64()), (shipped, Some(shipped)));
    let alerts = assert_alerts_of_a_run_without_a_crash(&server, &stored);
    server.stop();
    let dir = server.data_dir.to_str().unwrap().to_owned();
    let out = run(&["journal", "dump", "--data-dir", &dir]);
    let dumped = String::from_utf8_lossy(&out.stdout);
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let dumped: HashSet<&str> = dumped.split(|c| !is_part(c)).collect();
    assert!(acked.iter().chain(&acked_hec).all(|id| dumped.contains(id.as_str())));
    let out = run(&["verify", "--data-dir", &dir]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stdout));
    println!(
        "{kills} kills, {} acknowledged over HTTP, {} by the event collector ({} stored), {shipped} lines \
         of the agent: 0 lost, 0 twice; {alerts} alerts, each once",
        acked.len(),
        acked_hec.len(),
        stored_hec.len(),
    );
}

/// Searches for what is numbered up to `end`, ten thousand numbers each: one answer has 100,000 rows at
/// most.
fn parts(name: &'static str, end: u64) -> impl Iterator<Item = String> {
    (0..=end / 10_000).map(move |part| format!("{name}-{part:04}*"))
}

fn distinct_lines(server: &Server, shipped: u64) -> HashSet<String> {
    let rows = |query: String| messages(&server.search(&query)).collect::<Vec<_>>();
    parts("agent-line", shipped).flat_map(rows).collect()
}

/// Every acknowledged record is stored, and no record is stored twice.
fn assert_each_once(acked: &[String], stored: &[Value]) {
    let mut seen: HashMap<String, u32> = HashMap::new();
    for message in messages(stored) {
        *seen.entry(message).or_default() += 1;
    }
    let missing = acked.iter().filter(|id| !seen.contains_key(id.as_str())).count();
    let twice = seen.values().filter(|n| **n > 1).count();
    assert_eq!(
        (missing, twice),
        (0, 0),
        "of {} acknowledged, {} stored",
        acked.len(),
        stored.len()
    );
}

/// The stored records say which alerts a run without a crash would have: one for each marked
/// record, with a count of one, and one for each whole group, with all its records.
fn assert_alerts_of_a_run_without_a_crash(server: &Server, stored: &[Value]) -> usize {
    let mut groups: BTreeMap<String, u64> = BTreeMap::new();
    let mut users: Vec<String> = Vec::new();
    for row in stored.iter().filter(|r| r["user.name"].is_string()) {
        users.push(row["user.name"].as_str().unwrap().to_owned());
        *groups.entry(row["labels.group"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    users.sort();
    let alerts = all_alerts(server);
    let of = |rule: &'static str| alerts.iter().filter(move |a| a["title"] == rule);
    let mut alerted: Vec<String> = of("Marked record")
        .map(|a| {
            assert_eq!(a["count"], 1, "{a}");
            a["entity"]["user.name"].as_str().unwrap_or_else(|| panic!("{a}")).to_owned()
        })
        .collect();
    alerted.sort();
    assert_eq!(alerted, users);
    let whole: Vec<&String> = groups.iter().filter(|(_, n)| **n >= GROUP).map(|(g, _)| g).collect();
    let mut fired: Vec<&str> = of("Marked group")
        .map(|a| a["entity"]["labels.group"].as_str().unwrap_or_else(|| panic!("{a}")))
        .collect();
    fired.sort_unstable();
    assert_eq!(fired, whole);
    alerts.len()
}

fn all_alerts(server: &Server) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/api/v1/alerts?state=all&limit=500{cursor}"));
        all.extend(page["alerts"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    all.retain(|a| a["title"].as_str().is_some_and(|t| t.starts_with("Marked")));
    all
}

fn messages(rows: &[Value]) -> impl Iterator<Item = String> {
    rows.iter().map(|r| r["message"].as_str().unwrap().to_owned())
}

impl Told {
    fn moved_to(&self, server: &Server) {
        *self.http.lock().unwrap() = Some(server.http);
        *self.tcp.lock().unwrap() = Some(server.syslog_at("tcp"));
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// Posts batches under idempotency keys; repeats a batch until it is acknowledged or the end.
fn post_all_the_time(told: &Told, token: &str) {
    while !told.is_over() {
        let number = told.serial.fetch_add(1, Ordering::SeqCst);
        // Fixed width: no id is a part of another.
        let ids: Vec<String> = (0..5).map(|i| format!("kill9-{number:08}-{i}")).collect();
        let mut records: Vec<Value> = ids.iter().map(|id| json!({"message": id})).collect();
        records[0]["user.name"] = format!("marked-{number:08}").into();
        records[0]["labels.group"] = format!("group-{:08}", number / GROUP).into();
        let body: String = records.iter().map(|r| format!("{r}\n")).collect();
        while !told.is_over() {
            let to = told.http.lock().unwrap().unwrap();
            if post(to, token, number, &body) == Some(200) {
                told.acked.lock().unwrap().extend(ids);
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn post(address: SocketAddr, token: &str, key: u64, body: &str) -> Option<u16> {
    let head = format!(
        "POST /api/v1/ingest HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\
         Idempotency-Key: {key}\r\nContent-Type: application/x-ndjson"
    );
    answer_to(address, &head, body).map(|(status, _)| status)
}

/// Status and body of the answer to a request, if one comes.
fn answer_to(address: SocketAddr, head: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let length = body.len();
    let request =
        format!("{head}\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, text.split_once("\r\n\r\n")?.1.to_owned()))
}

/// Posts texts and objects to the event collector, each once: what was not answered is not repeated, and
/// may be there or not.
fn post_to_the_collector(told: &Told, token: &str) {
    let head = format!(
        "POST /services/collector/event?channel=kills HTTP/1.1\r\nAuthorization: Splunk {token}"
    );
    while !told.is_over() {
        let number = told.serial_hec.fetch_add(1, Ordering::SeqCst);
        let ids: Vec<String> = (0..4).map(|i| format!("hec-line-{number:08}-{i}")).collect();
        let mut body: String = ids[..2]
            .iter()
            .map(|id| json!({"host": "h", "sourcetype": "t", "event": id}).to_string())
            .collect();
        body.extend(ids[2..].iter().map(|id| json!({"event": {"message": id}}).to_string()));
        let is_wrong = number.is_multiple_of(HEC_WRONG_EVERY);
        body.push_str(if is_wrong { "{\"event\":\"\"}" } else { "" });
        let to = told.http.lock().unwrap().unwrap();
        let expected =
            if is_wrong { (400, "\"invalid-event-number\":4") } else { (200, "\"ackId\":") };
        // An answer that a kill has cut says nothing.
        let answer = answer_to(to, &head, &body).filter(|(_, answer)| answer.ends_with('}'));
        match answer {
            Some((status, answer))
                if (status, answer.contains(expected.1)) == (expected.0, true) =>
            {
                told.acked_hec.lock().unwrap().extend(ids);
            }
            Some((status, answer)) => assert_eq!(status, 503, "{answer}"),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Syslog over TCP: load without acks, over connections that break at every kill.
fn syslog_all_the_time(told: &Told) {
    let mut number = 0u64;
    while !told.is_over() {
        let to = told.tcp.lock().unwrap().unwrap();
        let Ok(mut stream) = TcpStream::connect_timeout(&to, Duration::from_millis(500)) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        while !told.is_over() {
            let line = format!("<13>Nov 24 02:14:00 h app: tcp-line-{number:08}\n");
            if stream.write_all(line.as_bytes()).is_err() {
                break;
            }
            number += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Appends lines to the file that the agent follows; how many there are in the end.
fn write_lines(told: &Told, log: &Path) -> u64 {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
    let mut lines = 0;
    while !told.is_over() {
        for _ in 0..3 {
            writeln!(file, "{{\"message\":\"agent-line-{lines:08}\"}}").unwrap();
            lines += 1;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    lines
}

fn start_agent(server: &Server, to: SocketAddr, folder: &Path, log: &Path) -> Child {
    let wish = json!({"name": "shipper", "role": "ingest", "sources": ["agents"]}).to_string();
    let (status, made) = server.ask("POST", "/api/v1/tokens", &server.admin_token, &wish);
    assert_eq!(status, 200, "{made}");
    let token = folder.join("agent.token");
    std::fs::write(&token, made["token"].as_str().unwrap()).unwrap();
    std::fs::write(log, "").unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    alcedo()
        .args(["agent", "--plain", "--to", &to.to_string(), "--token-file", &text(&token)])
        .args(["--state", &text(&folder.join("state")), &text(log)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
