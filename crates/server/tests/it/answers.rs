//! What senders and operators are told: answers of ingest, what a crash may have cost, and what the
//! offline verbs make of a damaged folder.

use super::harness::{PATIENCE, Server, run};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Scenario: a body under a key, again, and another body under that key.
/// Guarantees: the answer says how many records of it are durable and where; the same body is said to be
/// stored already and is stored once; another one is refused with 409.
#[test]
fn a_key_stands_for_one_body() {
    let server = Server::start("");
    let send = |body: &str| {
        let headers = [("Content-Type", "application/x-ndjson"), ("Idempotency-Key", "k-1")];
        server.send("POST", "/api/v1/ingest", &server.admin_token, &headers, body.as_bytes())
    };
    let body = "{\"message\":\"keyed-1\"}\n{\"message\":\"keyed-2\"}\n";
    let (status, first) = send(body);
    assert_eq!((status, &first["accepted"], &first["repeats"]), (200, &json!(2), &json!(0)));
    assert_eq!(first["last"].as_u64(), first["first"].as_u64().map(|n| n + 1), "{first}");
    let (status, again) = send(body);
    assert_eq!((status, &again["accepted"], &again["repeats"]), (200, &json!(2), &json!(2)));
    let (status, other) = send("{\"message\":\"keyed-3\"}\n");
    assert_eq!(status, 409, "{other}");
    server.eventually("both", |s| (s.search("keyed*").len() == 2).then_some(()));
}

/// Guarantees: a data folder that was not there is its user's alone: the store's files in it have the rights
/// that the system gives them.
#[test]
fn a_data_folder_is_its_users_alone() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start("");
    let rights = std::fs::metadata(&server.data_dir).unwrap().permissions();
    assert_eq!(rights.mode() & 0o777, 0o700);
}

/// Scenario: the bodies of a source that are under way fill what it may hold of them.
/// Guarantees: a further long body is told 429, and when to come again; short ones get through.
#[test]
fn a_source_above_its_share_is_told_429() {
    let server = Server::start("limits: {memory: 4GiB}\n");
    let halves = [40, 24].map(|mib| server.half_a_body("http", mib << 20));
    // The halves are to be there before anything competes with them.
    server.eventually("the halves", |s| {
        let held = s.metric("alcedo_source_held_bytes{source=\"http\"}")?;
        (held > f64::from(63 << 20)).then_some(())
    });
    let long = format!("{{\"message\":\"{}\"}}\n", "y".repeat(4 << 20));
    assert_eq!(server.post(&long), (429, Some(1)));
    let refused = server.metric("alcedo_source_refused_requests{source=\"http\"}");
    assert!(refused.is_some_and(|n| n >= 1.0), "{refused:?}");
    assert_eq!(server.post("{\"message\":\"short\"}\n").0, 200);
    drop(halves);
    server.eventually("room again", |s| (s.post(&long).0 == 200).then_some(()));
}

/// Scenario: the plug is pulled while a sender has a syslog connection open and another one has sent
/// datagrams; a third has closed its connection before, a fourth has one open of which nothing is stored.
/// Guarantees: the next start says that it was a crash; for the open connection, for those of which nothing
/// was stored yet and for the datagrams' source there is a possible gap that searches find, for the closed one
/// there is none.
#[test]
fn a_crash_tells_what_open_connections_may_have_lost() {
    let mut server = Server::start("");
    let line = |text: &str| format!("<13>Nov 24 02:14:00 h app: {text}\n");
    let mut closed = TcpStream::connect(server.syslog_at("tcp")).unwrap();
    closed.write_all(line("crash-closed").as_bytes()).unwrap();
    drop(closed);
    server.eventually("the line", |s| (s.search("crash-closed").len() == 1).then_some(()));
    let mut open = TcpStream::connect(server.syslog_at("tcp")).unwrap();
    open.write_all(line("crash-open").as_bytes()).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.send_to(line("crash-udp").as_bytes(), server.syslog_at("udp")).unwrap();
    let all = |s: &Server| (s.search("crash-*").len() == 3).then_some(());
    server.eventually("the lines", all);
    let mut unheard = TcpStream::connect(server.syslog_at("tcp")).unwrap();
    unheard.write_all(b"<13>Nov 24 02:14:00 h app: the beginning of a line").unwrap();
    // What was heard of senders is on the disk with the group that it came in.
    server.kill();
    server.start_again();
    let gaps = server.eventually("the gaps", |s| {
        let gaps = s.search("event.action:gap and alcedo.gap.cause:crash_unacked");
        (gaps.len() >= 3).then_some(gaps)
    });
    assert_eq!(gaps.len(), 3, "{gaps:#?}");
    assert!(gaps.iter().all(|g| g["alcedo.gap.certainty"] == "possible"), "{gaps:#?}");
    let of = |protocol: &str, has_connection: bool| {
        let fits = |g: &&Value| {
            g["alcedo.gap.protocol"] == protocol
                && g["alcedo.gap.connection"].is_u64() == has_connection
        };
        gaps.iter().filter(fits).count()
    };
    let counts = [of("syslogtcp", true), of("syslogtcp", false), of("syslogudp", false)];
    assert_eq!(counts, [1, 1, 1], "{gaps:#?}");
    all(&server).unwrap();
    let dir = server.data_dir.to_str().unwrap().to_owned();
    server.stop();
    let dump = run(&["journal", "dump", "--data-dir", &dir]);
    assert!(String::from_utf8_lossy(&dump.stdout).contains("journal.crashed"));
}

/// Flips a byte of the first block's payload of the only segment.
fn damage(stream: &Path) {
    let names = std::fs::read_dir(stream).unwrap().map(|entry| entry.unwrap().path());
    let segment = names.filter(|p| p.extension().is_some_and(|e| e == "wal")).min().unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(segment).unwrap();
    let (at, mut byte) = (4096 + 64 + 8, [0]);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Scenario: a bit of the first block of a stopped server's stream is turned.
/// Guarantees: `fsck` calls the stream damaged and says what is missing, `dump` and `export` give the
/// rest and a line for what is missing, `salvage` saves the rest into a folder that is sound; all end
/// with 4. A start writes a gap with the cause `corruption`, and takes events.
#[test]
fn offline_verbs_tell_damage_and_save_the_rest() {
    let mut server = Server::start("");
    for n in 0..20 {
        server.ingest(&format!("{{\"message\":\"kept-{n:02}\"}}\n"));
    }
    server.stop();
    let dir = server.data_dir.to_str().unwrap().to_owned();
    damage(&server.data_dir.join("data"));
    let out = |args: &[&str]| {
        let out = run(&[args, &["--data-dir", &dir]].concat());
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let (code, text) = out(&["journal", "fsck", "-o", "ndjson"]);
    let of = |name: &str| {
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.find(|report| report["stream"] == name).unwrap()
    };
    assert_eq!(
        (code, &of("data")["sound"], &of("ledger")["sound"]),
        (Some(4), &json!(false), &json!(true))
    );
    let missing = &of("data")["missing"][0];
    assert_eq!((&missing["first"], &missing["next"]), (&json!(0), &json!(1)));
    for verb in ["dump", "export"] {
        let (code, text) = out(&["journal", verb]);
        assert_eq!(code, Some(4), "{verb}");
        assert!(text.lines().any(|line| line.starts_with("{\"missing\":")), "{verb}");
    }
    let (_, dumped) = out(&["journal", "dump"]);
    assert!(dumped.contains("kept-19"));
    let saved = server.data_dir.with_file_name("saved");
    let (code, text) = out(&["journal", "salvage", saved.to_str().unwrap()]);
    assert!(code == Some(4) && text.contains("records"), "{text}");
    server.start_again();
    let gap = server.eventually("the gap", |s| {
        s.search("event.action:gap and alcedo.gap.cause:corruption").into_iter().next()
    });
    assert_eq!(gap["alcedo.gap.certainty"], "known", "{gap:#}");
    server.ingest("{\"message\":\"kept-after\"}\n");
    server.eventually("the event", |s| (s.search("kept-after").len() == 1).then_some(()));
    server.eventually("the finding", |s| {
        let alerts = s.get("/api/v1/alerts?state=all&limit=500")["alerts"].clone();
        let is_gap = |alert: &Value| alert["rule_id"] == "alcedo.gap";
        alerts.as_array()?.iter().any(is_gap).then_some(())
    });
}

/// Scenario: a client sends a whole request, shuts its sending half, and reads; another shuts it in the
/// midst of a body.
/// Guarantees: whatever the first is told, a 200 stands for a stored record; nothing of the second is
/// stored.
#[test]
fn half_closed_connections_are_told_the_truth() {
    let server = Server::start("");
    let ask = |message: &str, missing: usize| {
        let body = format!("{{\"message\":\"{message}\"}}\n");
        let head = format!(
            "POST /api/v1/ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            server.admin_token,
            body.len() + missing
        );
        let mut stream = TcpStream::connect(server.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer.starts_with("HTTP/1.1 200")
    };
    let told: Vec<bool> = (0..50).map(|n| ask(&format!("half-{n:02}"), 0)).collect();
    assert!(!ask("cut-short", 10));
    server.ingest("{\"message\":\"half-end\"}\n");
    server.eventually("the last", |s| (s.search("half-end").len() == 1).then_some(()));
    for (n, _) in told.iter().enumerate().filter(|(_, told)| **told) {
        assert_eq!(server.search(&format!("half-{n:02}")).len(), 1, "{n}");
    }
    assert!(server.search("cut-short").is_empty());
}
