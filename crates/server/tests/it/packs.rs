//! Packs of one's own, what is remembered of streams, and how records come to their fields.

use super::harness::{Server, json_lines, run, run_with_input};
use std::fs;

/// Scenario: a new pack from the skeleton; its tests; a change that breaks them; accepting it.
/// Guarantees: the skeleton passes; what differs is named and ends with 1; accepted passes again.
#[test]
fn a_pack_is_made_tested_and_changed() {
    let dir = tempfile::tempdir().unwrap();
    let packs = dir.path().to_str().unwrap();
    let made = run(&["packs", "new", "acme-gate", "--packs", packs]);
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    assert_eq!(run(&["packs", "new", "acme-gate", "--packs", packs]).status.code(), Some(3));
    let test = |more: &[&str]| run(&[&["packs", "test", packs, "-o", "ndjson"], more].concat());
    let out = test(&[]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(json_lines(&out)[0]["failed"], 0);
    let spec = dir.path().join("acme-gate/pack.yaml");
    let text = fs::read_to_string(&spec).unwrap();
    fs::write(&spec, text.replace("event.action: .act", "event.reason: .act")).unwrap();
    let out = test(&[]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("first.json:1"));
    assert_eq!(test(&["--accept"]).status.code(), Some(0));
    let list = json_lines(&run(&["packs", "list", "--packs", packs, "-o", "ndjson"]));
    assert_eq!(list[0]["pack"], "acme-gate", "one's own are asked first");
    assert!(list.len() > 50);
    fs::write(&spec, "pack: acme-gate\nnonsense: 1\n").unwrap();
    let out = run(&["packs", "list", "--packs", packs]);
    assert_eq!(out.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&out.stderr).contains("pack.yaml"));
}

/// Scenario: lines of two products explained.
/// Guarantees: pack and reason are named; a field's bytes are its bytes in the record.
#[test]
fn explain_says_which_bytes_became_which_field() {
    let line = "<38>Mar 30 16:01:36 web-01 sshd[7]: Failed password for root from 203.0.113.9 port 22 ssh2";
    let input = format!("{line}\n{{\"a\":1}}\n");
    let out = run_with_input(&["parse", "--explain", "-", "-o", "ndjson"], input.as_bytes());
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let rows = json_lines(&out);
    assert_eq!(rows.len(), 2);
    assert_eq!((&rows[0]["pack"], &rows[0]["syslog_header"]), (&"linux-auth".into(), &true.into()));
    assert!(!rows[0]["why"].as_str().unwrap().is_empty());
    let stages = rows[0]["events"][0]["stages"].as_array().unwrap();
    let mut fields = stages.iter().flat_map(|s| s["fields"].as_array().unwrap());
    let ip = fields.find(|f| f["name"] == "source.ip").unwrap();
    let at = |n: usize| ip["bytes"][n].as_u64().unwrap() as usize;
    assert_eq!(&line[at(0)..at(1)], "203.0.113.9");
    let out = run_with_input(&["parse", "--explain", "-", "-o", "table"], input.as_bytes());
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(text.contains("source.ip = 203.0.113.9  ["), "{text}");
}

const ORDERED: &str = "#Software: test\n#Fields: date time c-ip cs-method cs-uri-stem sc-status\n2026-11-24 01:00:00 203.0.113.7 GET /x 404\n";
const SWAPPED: &str = "#Software: test\n#Fields: cs-method c-ip date time sc-status cs-uri-stem\nGET 203.0.113.8 2026-11-24 01:00:00 404 /y\n";

const MISSING: &str = "title: Missing page\nid: 55555555-5555-4555-8555-555555555555\nlogsource: {category: webserver}\ndetection:\n  sel: {http.response.status_code: 404, source.ip: ['203.0.113.7', '203.0.113.8']}\n  condition: sel\nlevel: low\n";

/// Scenario: two files whose header lines name other orders of columns, hunted through.
/// Guarantees: each line is read by its own file's header.
#[test]
fn hunt_reads_lines_by_the_header_of_their_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for (name, text) in [("a.log", ORDERED), ("b.log", SWAPPED), ("r.yml", MISSING)] {
        fs::write(path(name), text).unwrap();
    }
    let out =
        run(&["hunt", "--rules", &path("r.yml"), &path("a.log"), &path("b.log"), "-o", "ndjson"]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let found: Vec<(String, u64)> = json_lines(&out)
        .iter()
        .map(|r| (r["file"].as_str().unwrap().to_owned(), r["line"].as_u64().unwrap()))
        .collect();
    assert_eq!(found, [(path("a.log"), 3), (path("b.log"), 3)]);
}

/// Scenario: a header line, a restart by kill, then lines below it; twice with other columns.
/// Guarantees: the running server and the one after the crash read the lines by the header.
#[test]
fn a_server_remembers_header_lines_over_a_crash() {
    let mut server = Server::start("");
    let token = server.admin_token.clone();
    let kind = [("Content-Type", "text/plain")];
    let send = |s: &Server, text: &str| {
        let (status, answer) = s.send("POST", "/api/v1/ingest", &token, &kind, text.as_bytes());
        assert_eq!(status, 200, "{answer}");
    };
    let found = |s: &Server, ip: &str, status: u64| {
        s.eventually(ip, |s| {
            let rows = s.search(&format!("source.ip:{ip}"));
            let row = rows.first()?;
            assert_eq!(row["http.response.status_code"], status, "{row}");
            Some(())
        });
    };
    send(&server, SWAPPED);
    found(&server, "203.0.113.8", 404);
    server.kill();
    server.start_again();
    send(&server, "POST 203.0.113.9 2026-11-24 01:00:00 500 /z\n");
    found(&server, "203.0.113.9", 500);
    server.stop();
    server.start_again();
    send(&server, "POST 203.0.113.10 2026-11-24 01:00:00 501 /z\n");
    found(&server, "203.0.113.10", 501);
}

/// Scenario: a pack is added to the configured folder while the server runs, then broken.
/// Guarantees: it reads what comes after; a broken one changes nothing and the server goes on.
#[test]
fn packs_are_read_again_while_running() {
    let packs = tempfile::tempdir().unwrap();
    let server = Server::start(&format!("packs: '{}'\n", packs.path().display()));
    let token = server.admin_token.clone();
    let kind = [("Content-Type", "text/plain")];
    let line = "NEW user=alice src=10.0.0.1 act=login";
    let send = || server.send("POST", "/api/v1/ingest", &token, &kind, line.as_bytes()).0;
    assert_eq!(send(), 200);
    server.eventually("the line", |s| (s.search("\"user=alice\"").len() == 1).then_some(()));
    let made = run(&["packs", "new", "acme-gate", "--packs", packs.path().to_str().unwrap()]);
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    server.eventually("the pack", |s| {
        assert_eq!(send(), 200);
        let rows = s.search("alcedo.pack:acme-gate");
        let row = rows.first()?;
        assert_eq!((&row["user.name"], &row["source.ip"]), (&"alice".into(), &"10.0.0.1".into()));
        Some(())
    });
    fs::write(packs.path().join("acme-gate/pack.yaml"), "pack: 1\nx: 2\n").unwrap();
    let (status, answer) = server.ask("POST", "/api/v1/rules/reload", &token, "{}");
    assert_eq!(status, 400, "{answer}");
    let before = server.search("alcedo.pack:acme-gate").len();
    assert_eq!(send(), 200);
    server.eventually("the next line", |s| {
        (s.search("alcedo.pack:acme-gate").len() > before).then_some(())
    });
}

/// Scenario: a source sends one product for a while; the server restarts in between.
/// Guarantees: what it sends is remembered as a record of the journal, once, and survives.
#[test]
fn what_a_source_sends_is_remembered() {
    let mut server = Server::start("");
    let token = server.admin_token.clone();
    let line =
        "<86>Nov 23 00:00:00 h sshd[7]: Failed password for root from 10.0.0.1 port 22 ssh2\n";
    let kind = [("Content-Type", "text/plain")];
    let send = |s: &Server| {
        let body = line.repeat(150);
        assert_eq!(s.send("POST", "/api/v1/ingest", &token, &kind, body.as_bytes()).0, 200);
    };
    let file = server.data_dir.join("generations/remembered.json");
    send(&server);
    server.eventually("half", |s| {
        (s.search("sshd | stats count() as n")[0]["n"] == 150).then_some(())
    });
    server.stop();
    server.start_again();
    send(&server);
    let remembered = |s: &Server| {
        s.eventually("the decision", |_| {
            let text = fs::read_to_string(&file).ok()?;
            let all: serde_json::Value = serde_json::from_str(&text).ok()?;
            let http = all.as_array()?.iter().filter(|d| d[1]["source"] == "http").cloned();
            let http: Vec<serde_json::Value> = http.collect();
            (!http.is_empty()).then_some(http)
        })
    };
    let first = remembered(&server);
    assert_eq!(first[0][1]["pack"], "linux-auth");
    server.kill();
    server.start_again();
    send(&server);
    server.eventually("all", |s| {
        (s.search("sshd | stats count() as n")[0]["n"] == 450).then_some(())
    });
    assert_eq!(remembered(&server), first);
}
