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

/// Scenario: two drop filters, events that one, the other, both or none of them hold for.
/// Guarantees: what is dropped is not found, all else is; the metrics say which filter took how many: the first
/// one that holds.
#[test]
fn drop_filters_tell_what_each_took() {
    let settings =
        "drop:\n  - {name: probes, when: 'path:/healthz'}\n  - {name: chatter, when: 'n<3'}\n";
    let server = Server::start(settings);
    let event = |n: u32| {
        let path = if n.is_multiple_of(2) { "/healthz" } else { "/login" };
        format!("{{\"kind\":\"dropped\",\"n\":{n},\"path\":\"{path}\"}}\n")
    };
    server.ingest(&(0..10).map(event).collect::<String>());
    let count = |s: &Server, filter: &str| {
        s.metric(&format!("alcedo_drop_filter_events_total{{filter=\"{filter}\"}}"))
    };
    server.eventually("both filters have counted", |s| {
        (count(s, "probes")? == 5.0 && count(s, "chatter")? == 1.0).then_some(())
    });
    server.eventually("the others are found", |s| {
        (s.search("kind:dropped").len() == 4).then_some(())
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

const TRUNCATE: &str = "title: Log truncated\nid: 66666666-6666-4666-8666-666666666666\nlogsource: {product: linux, service: auditd}\ndetection:\n  call: {type: SYSCALL, exe: /usr/bin/truncate}\n  args: {type: EXECVE, a0: truncate, a1: '-s0'}\n  condition: call and args\nlevel: high\n";

fn audit(serial: u32) -> [String; 4] {
    let head = |kind| format!("type={kind} msg=audit(1795471200.965:{serial}):");
    [
        format!("{} syscall=59 items=1 exe=\"/usr/bin/truncate\" key=\"exec\"", head("SYSCALL")),
        format!("{} argc=2 a0=\"truncate\" a1=2D7330", head("EXECVE")),
        format!("{} item=0 name=\"/var/log/auth.log\" nametype=NORMAL", head("PATH")),
        format!("{} proctitle=7472756E63617465", head("PROCTITLE")),
    ]
}

/// Scenario: a rule over two records of one audit event; a file with two such events in each other.
/// Guarantees: `hunt` joins and finds both, at the lines that complete them; `parse` never joins.
#[test]
fn hunt_joins_audit_records_and_parse_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (one, two) = (audit(7), audit(8));
    let lines = [&one[0], &two[0], &one[1], &two[1], &two[2], &two[3], &one[2]];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(path("audit.log"), text).unwrap();
    fs::write(path("r.yml"), TRUNCATE).unwrap();
    let out = run(&["hunt", "--rules", &path("r.yml"), &path("audit.log"), "-o", "ndjson"]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let lines: Vec<u64> = json_lines(&out).iter().map(|r| r["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [6, 7]);
    let parsed = json_lines(&run(&["parse", &path("audit.log"), "-o", "ndjson"]));
    assert_eq!(parsed.len(), 7);
    assert_eq!(parsed[2]["process.args"], serde_json::json!(["truncate", "-s0"]));
}

/// Scenario: parts of an audit event in two requests; parts of another, and the server is killed while
/// they wait for the rest, which never comes; lines of a trace by a setting.
/// Guarantees: one event of all parts; what waited at the crash is there afterwards, once and marked;
/// a trace is one event.
#[test]
fn a_server_joins_parts_within_the_limit_and_over_a_crash() {
    let mut server = Server::start(
        "sources:\n  http: {type: http}\n  app: {type: http, multiline: {continues: '^\\s'}}\n",
    );
    let token = server.admin_token.clone();
    let kind = [("Content-Type", "text/plain")];
    let send = |s: &Server, source: &str, lines: &[String]| {
        let path = format!("/api/v1/ingest?source={source}");
        let (status, answer) = s.send("POST", &path, &token, &kind, lines.join("\n").as_bytes());
        assert_eq!(status, 200, "{answer}");
    };
    let (whole, short) = (audit(7), audit(8));
    send(&server, "http", &whole[..2]);
    send(&server, "http", &["alone".into()]);
    send(&server, "http", &whole[2..]);
    let all = |s: &Server| s.search("process.executable:\"/usr/bin/truncate\"");
    let found = server.eventually("the whole", |s| all(s).pop());
    assert_eq!(found["file.path"], "/var/log/auth.log");
    assert_eq!(found["process.command_line"], "truncate -s0");
    assert_eq!(found["event.original"].as_str().unwrap().lines().count(), 4);
    assert!(found["tags"].is_null(), "{found}");
    send(&server, "http", &short[..2]);
    server.kill();
    server.start_again();
    let rows = server.eventually("the rest", |s| Some(all(s)).filter(|rows| rows.len() == 2));
    let marked = rows.iter().filter(|row| row["tags"].to_string().contains("join_incomplete"));
    assert_eq!(marked.count(), 1, "{rows:?}");
    let trace = ["E one".to_owned(), "  at x".into(), "  at y".into(), "E two".into()];
    send(&server, "app", &trace);
    let rows = server.eventually("the trace", |s| {
        let rows = s.search("alcedo.source:app");
        (rows.len() == 2).then_some(rows)
    });
    assert!(rows.iter().any(|r| r["event.original"] == "E one\n  at x\n  at y"), "{rows:?}");
}

fn by_id(mut rows: Vec<serde_json::Value>) -> Vec<serde_json::Value> {
    rows.sort_by_key(|row| row["event.id"].to_string());
    rows
}

/// Scenario: lines that no pack knows are stored; a pack for them is added; history is shaped anew,
/// first as a dry run.
/// Guarantees: the dry run changes nothing; then the fields are there, ids and bytes are kept, nothing
/// is found twice, no rule sees the events again, and it is on record who did it and why.
#[test]
fn stored_events_are_shaped_anew_with_the_packs_of_now() {
    let packs = tempfile::tempdir().unwrap();
    let server = Server::start(&format!("packs: '{}'\n", packs.path().display()));
    let token = server.admin_token.clone();
    let kind = [("Content-Type", "text/plain")];
    for n in 0..20 {
        let line = format!("NEW user=u{n} src=10.0.0.{n} act=login");
        assert_eq!(server.send("POST", "/api/v1/ingest", &token, &kind, line.as_bytes()).0, 200);
    }
    // What is asked is on record in this server's own events, too.
    let sent = "alcedo.source:http and act";
    let before = server.eventually("the lines", |s| {
        let rows = by_id(s.search(sent));
        (rows.len() == 20).then_some(rows)
    });
    let made = run(&["packs", "new", "acme-gate", "--packs", packs.path().to_str().unwrap()]);
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    let (status, answer) = server.ask("POST", "/api/v1/rules/reload", &token, "{}");
    assert_eq!(status, 200, "{answer}");
    let ask = |dry_run: bool, filter: &str| {
        let body = serde_json::json!({"filter": filter, "reason": "acme-gate", "dry_run": dry_run});
        let (status, _) = server.ask("POST", "/api/v1/reparse", &token, &body.to_string());
        assert_eq!(status, 202);
        server.eventually("the end", |s| {
            let (_, run) = s.ask("GET", "/api/v1/reparse", &token, "");
            (!run["reparse"]["ended_at"].is_null()).then(|| run["reparse"].clone())
        })
    };
    let plan = ask(true, sent);
    assert_eq!((&plan["matched"], &plan["changed"]), (&20.into(), &20.into()), "{plan}");
    assert_eq!(server.search("alcedo.pack:acme-gate").len(), 0);
    let done = ask(false, sent);
    assert_eq!((&done["changed"], &done["error"]), (&20.into(), &serde_json::Value::Null));
    let rows = by_id(server.search("alcedo.pack:acme-gate"));
    assert_eq!((rows.len(), server.search(sent).len()), (20, 20));
    for (old, new) in before.iter().zip(&rows) {
        for name in ["event.id", "event.original", "event.ingested", "alcedo.source"] {
            assert_eq!(old[name], new[name], "{name}");
        }
    }
    assert_eq!(server.search("source.ip:10.0.0.7 and user.name:u7").len(), 1);
    assert_eq!(ask(false, sent)["changed"], 0, "asked again");
    let (_, audit) = server.ask("GET", "/api/v1/audit?limit=1000", &token, "");
    for action in ["reparse.begin", "reparse.rewrite", "reparse.end"] {
        assert!(audit.to_string().contains(action), "{action}: {audit}");
    }
}

/// Scenario: a server to which one source sends one product; a rule for it and one for another.
/// Guarantees: the first is fed; of the second it is said which packs' events would feed it.
#[test]
fn live_coverage_says_what_is_missing() {
    let server = Server::start("");
    let kind = [("Content-Type", "text/plain")];
    let line = "<86>Nov 23 00:00:00 h sshd[7]: Failed password for root from 10.0.0.1 port 22 ssh2";
    let token = server.admin_token.clone();
    assert_eq!(server.send("POST", "/api/v1/ingest", &token, &kind, line.as_bytes()).0, 200);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.yml");
    let rules = "title: A\nid: a\nlogsource: {product: linux, service: sshd}\ndetection: {s: {user.name: root}, condition: s}\n---\ntitle: B\nid: b\nlogsource: {product: zeek, service: dns}\ndetection: {s: {query: x}, condition: s}\n";
    fs::write(&path, rules).unwrap();
    let url = format!("http://{}", server.http);
    let rows = server.eventually("the source's pack", |_| {
        let args = [
            "rules",
            "coverage",
            path.to_str().unwrap(),
            "--live",
            "-o",
            "ndjson",
            "--server",
            &url,
        ];
        let out = super::harness::alcedo().args(args).env("ALCEDO_TOKEN", &token).output().unwrap();
        let rows = json_lines(&out);
        (rows.len() == 2 && rows[0]["state"] == "fed").then_some(rows)
    });
    assert_eq!((&rows[1]["state"], &rows[1]["needs"]), (&"not_fed".into(), &"zeek/-/dns".into()));
    assert!(rows[1]["would_feed"].to_string().contains("zeek"), "{}", rows[1]);
}

/// Scenario: a pack with a program, in a build with VRL and in one without.
/// Guarantees: with it the program's fields are there and explained; without it the pack is left out
/// with file, line and the build that is needed, records are parsed by the others, `check` fails.
#[test]
fn programs_in_packs_run_or_are_told_to_be_missing() {
    let root = testkit::workspace_root();
    let packs = root.join("crates/remap/tests/packs");
    let packs = packs.to_str().unwrap();
    let line = "ACMEPROXY {\"ts\":1795474800123,\"client\":\"10.0.0.7\",\"status\":200}\n";
    let out = run_with_input(&["parse", "--packs", packs, "-"], line.as_bytes());
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let event = &json_lines(&out)[0];
    let tested = run(&["packs", "test", packs]);
    let explained = run_with_input(&["parse", "--explain", "--packs", packs, "-"], line.as_bytes());
    let explained = String::from_utf8_lossy(&explained.stdout).into_owned();
    if cfg!(feature = "vrl") {
        assert_eq!(
            (&event["source.ip"], &event["event.outcome"]),
            (&"10.0.0.7".into(), &"success".into())
        );
        assert_eq!(tested.status.code(), Some(0), "{}", String::from_utf8_lossy(&tested.stderr));
        assert!(explained.contains("step 1 vrl"), "{explained}");
        assert_eq!(said, "");
    } else {
        assert_eq!(event["alcedo.pack"], "text");
        assert!(
            said.contains("acme-proxy/pack.yaml:") && said.contains("--features vrl"),
            "{said}"
        );
        assert_eq!(tested.status.code(), Some(1), "its samples were not tried");
        assert!(!explained.contains("vrl"), "{explained}");
    }
}
