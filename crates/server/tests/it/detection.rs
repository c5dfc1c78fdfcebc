//! How rules are read, reloaded and accounted for, with the real binary.

use super::harness::{Server, json_lines, run};
use serde_json::Value;
use std::fs;
use std::path::Path;

const FAILED: &str = "title: Failed\nid: 22222222-2222-4222-8222-222222222222\nname: failed\nlogsource: {product: test}\ndetection:\n  sel: {outcome: bad}\n  condition: sel\nlevel: low\n";
const MANY: &str = "title: Many failed\nid: 33333333-3333-4333-8333-333333333333\ncorrelation:\n  type: event_count\n  rules: [failed]\n  group-by: [who]\n  timespan: 1h\n  condition: {gte: 3}\nlevel: high\n";
const PIPELINE: &str =
    "name: names\ntransformations:\n  - type: field_name_mapping\n    mapping: {Result: outcome}\n";
const MAPPED: &str = "title: Mapped\nid: 44444444-4444-4444-8444-444444444444\nlogsource: {product: test}\ndetection:\n  sel: {Result: bad}\n  condition: sel\nlevel: low\n";

fn rule(value: &str) -> String {
    format!(
        "title: Other\nid: 55555555-5555-4555-8555-555555555555\nlogsource: {{product: test}}\ndetection:\n  sel: {{thing: {value}}}\n  condition: sel\nlevel: low\n"
    )
}

fn path(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Scenario: a correlation has two of three events; another rule is added, edited and taken away; the
/// server restarts; the third event comes.
/// Guarantees: the correlation fires on all three: its state outlives every change of other rules.
/// Between the edits events of the other rule alert as it says at that time.
#[test]
fn state_of_a_correlation_survives_changes_of_other_rules() {
    let rules = tempfile::tempdir().unwrap();
    path(rules.path(), "a.yml", &format!("{FAILED}---\n{MANY}"));
    let mut server = Server::start(&format!("rules: ['{}']\n", rules.path().display()));
    let failed = "{\"outcome\":\"bad\",\"who\":\"eve\"}\n";
    server.ingest(&failed.repeat(2));
    let titles = |s: &Server| -> Vec<String> {
        let alerts = s.get("/api/v1/alerts");
        let mut out: Vec<String> = alerts["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a["title"].as_str().unwrap().to_owned())
            .collect();
        out.sort();
        out
    };
    let generation = |s: &Server| s.get("/api/v1/rules")["generation"].as_u64().unwrap();
    let changes: [Option<&str>; 3] = [Some("one"), Some("two"), None];
    for change in changes {
        let before = generation(&server);
        match change {
            Some(value) => drop(path(rules.path(), "b.yml", &rule(value))),
            None => fs::remove_file(rules.path().join("b.yml")).unwrap(),
        }
        let token = server.admin_token.clone();
        let (status, done) = server.ask("POST", "/api/v1/rules/reload", &token, "{}");
        assert_eq!((status, done["failed"].as_u64()), (200, Some(0)), "{done}");
        assert!(generation(&server) > before && done["compiled_ms"].is_number(), "{done}");
        server.ingest("{\"thing\":\"two\"}\n");
    }
    server.eventually("the other rule's alert", |s| (titles(s) == ["Other"]).then_some(()));
    server.stop();
    server.start_again();
    server.ingest(failed);
    server.eventually("the correlation", |s| (titles(s) == ["Many failed", "Other"]).then_some(()));
    let alert = server.get("/api/v1/alerts")["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|a| a["title"] == "Many failed")
        .cloned()
        .unwrap();
    let id = alert["id"].as_str().unwrap();
    let detail = server.get(&format!("/api/v1/alerts/{id}"));
    assert_eq!(detail["alert"]["explanation"]["correlation"]["measured"], "3", "{detail:#}");
}

/// Scenario: fifty failures of one user, three of which fire a correlation; then the server restarts and
/// reads them again.
/// Guarantees: the alert, its place in the list and its explanation say fifty, each event is listed once,
/// the history tells what was said in between; the restart changes nothing of it.
#[test]
fn an_alert_says_how_its_burst_stands() {
    let rules = tempfile::tempdir().unwrap();
    path(rules.path(), "a.yml", &format!("{FAILED}---\n{MANY}"));
    let mut server = Server::start(&format!("rules: ['{}']\n", rules.path().display()));
    let failed = "{\"outcome\":\"bad\",\"who\":\"eve\"}\n";
    server.ingest(&failed.repeat(10));
    let row = |s: &Server, count: usize| -> Option<Value> {
        let alerts = s.get("/api/v1/alerts");
        let row = alerts["alerts"].as_array()?.first()?.clone();
        let reason = row["reason"].as_str()?;
        reason.contains(&format!(" {count} events within")).then_some(row)
    };
    server.eventually("ten in the reason", |s| row(s, 10));
    server.ingest(&failed.repeat(40));
    let found = server.eventually("fifty in the reason", |s| row(s, 50));
    let address = format!("/api/v1/alerts/{}", found["id"].as_str().unwrap());
    let detail = server.get(&address);
    let alert = &detail["alert"];
    assert_eq!(alert["reason"], found["reason"]);
    assert_eq!(alert["explanation"]["correlation"]["measured"], "50");
    assert_eq!((&alert["evidence_count"], &alert["count"]), (&50.into(), &1.into()));
    let ids: std::collections::BTreeSet<String> =
        alert["evidence"].as_array().unwrap().iter().map(|e| e["id"].to_string()).collect();
    assert_eq!((ids.len(), alert["evidence"].as_array().unwrap().len()), (50, 50));
    let history = detail["history"].as_array().unwrap();
    let mut revised = history.iter().filter(|h| h["action"] == "revised" && h["at"].is_string());
    assert!(revised.clone().count() >= 2, "{history:#?}");
    assert_eq!(revised.next_back().unwrap()["why"], found["reason"]);
    server.stop();
    server.start_again();
    assert_eq!(server.get(&address)["alert"], detail["alert"]);
}

/// Scenario: below a folder of three hundred rules one file is edited, replaced, added and removed, and
/// nobody asks for a reload; then the server restarts, and its first events are read again by the rules
/// of their time.
/// Guarantees: each change is in force by itself; it costs the archive its own text and not all texts.
#[test]
fn an_edited_file_is_in_force_by_itself_and_costs_its_own_text() {
    let rules = tempfile::tempdir().unwrap();
    for n in 0..300 {
        let text = rule("never").replace("55555555-5555", &format!("{n:08}-0000"));
        path(rules.path(), &format!("{n:03}.yml"), &text);
    }
    path(rules.path(), "zz.yml", &rule("v0"));
    let mut server = Server::start(&format!("rules: ['{}']\n", rules.path().display()));
    let archive = server.data_dir.join("generations/archive.ndjson");
    let bytes = || fs::metadata(&archive).unwrap().len();
    let generation = |s: &Server| s.get("/api/v1/rules")["generation"].as_u64().unwrap();
    let count = |s: &Server| s.get("/api/v1/alerts")["alerts"].as_array().unwrap().len();
    let whole = bytes();
    for change in 1..=3 {
        let before = generation(&server);
        let text = rule(&format!("v{change}"));
        match change {
            1 => drop(path(rules.path(), "zz.yml", &text)),
            2 => {
                path(rules.path(), "zz.new", &text);
                fs::rename(rules.path().join("zz.new"), rules.path().join("zz.yml")).unwrap();
            }
            _ => {
                let text = text.replace("55555555", "66666666").replace("Other", "Further");
                path(rules.path(), "zzz.yml", &text);
                fs::remove_file(rules.path().join("zz.yml")).unwrap();
            }
        }
        server.eventually("a new generation", |s| (generation(s) > before).then_some(()));
        server.ingest("{\"thing\":\"v1\"}\n{\"thing\":\"v2\"}\n{\"thing\":\"v3\"}\n");
    }
    server.eventually("both rules' alerts", |s| (count(s) == 2).then_some(()));
    assert!(bytes() - whole < whole / 20, "{} bytes after {whole}", bytes());
    server.stop();
    server.start_again();
    assert!(bytes() - whole < whole / 20, "{} bytes after {whole}", bytes());
    assert_eq!(count(&server), 2);
}

/// Scenario: rules have run on some events, a correlation among them.
/// Guarantees: what they cost and hold can be asked for, from the API, the verb and the metrics.
#[test]
fn costs_and_state_are_visible() {
    let rules = tempfile::tempdir().unwrap();
    path(rules.path(), "a.yml", &format!("{FAILED}---\n{MANY}"));
    let server = Server::start(&format!(
        "rules: ['{}']\ndetection: {{correlation: {{bytes_per_rule: 2MiB}}}}\n",
        rules.path().display()
    ));
    let events: String =
        (0..20).map(|i| format!("{{\"outcome\":\"bad\",\"who\":\"user{i}\"}}\n")).collect();
    server.ingest(&events);
    let shown = |s: &Server| -> Option<(Value, Value)> {
        let rules = s.get("/api/v1/rules");
        let of =
            |title: &str| rules["rules"].as_array()?.iter().find(|r| r["title"] == title).cloned();
        let (base, many) = (of("Failed")?, of("Many failed")?);
        (many["correlation"]["groups"] == 20).then_some((base, many))
    };
    let (base, many) =
        server.eventually_within(std::time::Duration::from_secs(40), "the report", shown);
    assert_eq!((&base["matches"], &many["matches"]), (&20.into(), &0.into()));
    assert_eq!(
        (&many["correlation"]["hits"], &many["correlation"]["degraded"]),
        (&20.into(), &false.into())
    );
    let headers = [("Authorization", &*format!("Bearer {}", server.admin_token))];
    let (_, metrics) = super::browser::http(server.http, "GET", "/metrics", &headers, b"");
    let metrics = String::from_utf8(metrics).unwrap();
    for line in [
        "alcedo_correlation_groups{rule=\"33333333-3333-4333-8333-333333333333\"} 20",
        "alcedo_correlation_hits_total{rule=\"33333333-3333-4333-8333-333333333333\"} 20",
        "alcedo_correlation_over_budget{rule=\"33333333-3333-4333-8333-333333333333\"} 0",
        "alcedo_events_match_failed_total 0",
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
    let data_dir = server.data_dir.to_str().unwrap();
    let out = run(&["rules", "cost", "--data-dir", data_dir, "-o", "ndjson"]);
    let rows = json_lines(&out);
    assert_eq!(rows.len(), 1, "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!((&rows[0]["title"], &rows[0]["matched"]), (&"Failed".into(), &20.into()));
    assert!(rows[0]["work"].as_u64() > Some(0) && rows[0]["over_budget"] == false, "{rows:?}");
    let out = run(&["rules", "cost", "--data-dir", data_dir, "--over-budget", "-o", "ndjson"]);
    assert!(json_lines(&out).is_empty());
}

/// Scenario: a rule in another vocabulary, with and without the pipeline that translates it; by flag
/// and by configuration.
/// Guarantees: it is found exactly when the pipeline is applied.
#[test]
fn pipelines_apply_in_hunts_and_tests_of_rules() {
    let dir = tempfile::tempdir().unwrap();
    let rules = path(dir.path(), "mapped.yml", MAPPED);
    let pipeline = path(dir.path(), "names.yml", PIPELINE);
    let config = path(dir.path(), "alcedo.yaml", "detection: {pipelines: names.yml}\n");
    let events = path(dir.path(), "events.json", "{\"outcome\":\"bad\"}\n");
    let found = |more: &[&str]| {
        let mut args = vec!["hunt", "--rules", &*rules, &*events, "-o", "ndjson"];
        args.extend_from_slice(more);
        let out = run(&args);
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
        json_lines(&out).len()
    };
    assert_eq!(found(&[]), 0);
    assert_eq!(found(&["--pipeline", &pipeline]), 1);
    assert_eq!(found(&["-c", &config]), 1);
    let out = run(&["rules", "fields", &rules, "--pipeline", &pipeline, "-o", "ndjson"]);
    assert_eq!(json_lines(&out)[0]["field"], "outcome");
}

/// Scenario: a configuration names a pipeline with mistakes, beside a broken rule.
/// Guarantees: `check` tells both with file and line and ends with 3; nothing runs without the
/// pipeline.
#[test]
fn a_broken_pipeline_is_told_with_its_line_and_stops_everything() {
    let dir = tempfile::tempdir().unwrap();
    let broken = "name: x\ntransformations:\n  - type: field_name_mapping\n    mapping: {a: b}\n  - type: no_such_thing\n";
    let pipeline = path(dir.path(), "broken.yml", broken);
    path(dir.path(), "rule.yml", "title: x\ndetection: {condition: s}\n");
    let config = path(
        dir.path(),
        "alcedo.yaml",
        &format!(
            "data_dir: {}\nrules: rule.yml\ndetection: {{pipelines: broken.yml}}\n",
            dir.path().join("data").display()
        ),
    );
    let out = run(&["check", "-c", &config]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(3), "{said}");
    assert!(said.contains("broken.yml:5:") && said.contains("no_such_thing"), "{said}");
    assert!(said.contains("rule.yml:2:"), "{said}");
    let out = run(&["run", "-c", &config]);
    assert_eq!(out.status.code(), Some(3));
    let rules = path(dir.path(), "mapped.yml", MAPPED);
    let events = path(dir.path(), "events.json", "{\"outcome\":\"bad\"}\n");
    let out = run(&["hunt", "--rules", &rules, "--pipeline", &pipeline, &events]);
    assert_eq!(out.status.code(), Some(3));
}

/// Scenario: a count of failures by user, and an order built on it, over a file in which eve is
/// found, mallory is one event short, trent's events are too far apart, and one event has no user.
/// Guarantees: each group says what it has and lacks, with the numbers of its records; what fires is
/// what a hunt finds.
#[test]
fn a_correlation_says_what_its_groups_have_and_lack() {
    let dir = tempfile::tempdir().unwrap();
    let order = "title: Then good\nid: 66666666-6666-4666-8666-666666666666\ncorrelation:\n  type: temporal_ordered\n  rules: [33333333-3333-4333-8333-333333333333, good]\n  group-by: [who]\n  timespan: 1h\nlevel: high\n---\ntitle: Good\nid: 77777777-7777-4777-8777-777777777777\nname: good\nlogsource: {product: test}\ndetection:\n  sel: {outcome: good}\n  condition: sel\n";
    let rules = path(dir.path(), "rules.yml", &format!("{FAILED}---\n{MANY}---\n{order}"));
    let event = |minute: u32, outcome: &str, who: &str| {
        format!(
            "{{\"@timestamp\":\"2026-11-24T{:02}:{:02}:00Z\",\"outcome\":\"{outcome}\"{who}}}\n",
            minute / 60,
            minute % 60
        )
    };
    let who = |name: &str| format!(",\"who\":\"{name}\"");
    let mut events = String::new();
    (0..3).for_each(|m| events += &event(m, "bad", &who("eve")));
    events += &event(4, "good", &who("eve"));
    (0..2).for_each(|m| events += &event(m, "bad", &who("mallory")));
    events += &event(5, "good", &who("mallory"));
    (0..3).for_each(|m| events += &event(m * 50, "bad", &who("trent")));
    events += &event(9, "bad", "");
    let events = path(dir.path(), "events.json", &events);
    let explain = |rule: &str| {
        let out = run(&["rules", "explain", rule, &events, "--rules", &rules, "-o", "ndjson"]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        (json_lines(&out), said, out.status.code())
    };
    let (rows, said, code) = explain("33333333-3333-4333-8333-333333333333");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 of 9 matches lack one of who"), "{said}");
    let groups: Vec<_> = rows
        .iter()
        .map(|r| (r["group"]["who"].as_str().unwrap(), r["matched"].as_bool().unwrap()))
        .collect();
    assert_eq!(groups, [("eve", true), ("mallory", false), ("trent", false)]);
    assert_eq!(rows[0]["firings"][0]["contributing"], serde_json::json!([1, 2, 3]));
    assert_eq!(rows[0]["lacks"], "");
    assert_eq!(rows[1]["closest"]["events"], serde_json::json!([5, 6]));
    assert_eq!(rows[2]["closest"]["measured"], 2.0);
    assert_eq!(rows[2]["occurred"][0]["times"], 3);
    let lacks = rows[2]["lacks"].as_str().unwrap();
    assert!(lacks.contains("gte 3") && lacks.contains("has 2"), "{lacks}");
    let (rows, said, code) = explain("66666666-6666-4666-8666-666666666666");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((&rows[0]["group"]["who"], &rows[0]["matched"]), (&"eve".into(), &true.into()));
    let mallory = rows.iter().find(|r| r["group"]["who"] == "mallory").unwrap();
    assert!(
        mallory["lacks"].as_str().unwrap().contains("`Many failed`, the first step"),
        "{mallory}"
    );
    let found = json_lines(&run(&["hunt", "--rules", &rules, &events, "-o", "ndjson"]));
    let titles: Vec<_> = found
        .iter()
        .map(|r| (r["rule.title"].as_str().unwrap(), r["who"].as_str().unwrap()))
        .collect();
    assert_eq!(titles, [("Then good", "eve")]);
    let quiet = path(dir.path(), "quiet.json", &event(1, "good", &who("eve")));
    let out = run(&[
        "rules",
        "explain",
        "33333333-3333-4333-8333-333333333333",
        &quiet,
        "--rules",
        &rules,
    ]);
    assert_eq!(out.status.code(), Some(1));
}

/// Scenario: one rule tries 400 expressions on every event of a kilobyte, another looks for the same
/// events cheaply; the server is killed.
/// Guarantees: the costly rule is paused, shown so with the reason, and told of as an own event, once;
/// the other goes on; a pause outlives a crash.
#[test]
fn a_rule_that_costs_too_much_is_paused() {
    let rules = tempfile::tempdir().unwrap();
    let costly = |expressions: usize| {
        let list: String = (1..=expressions).map(|n| format!("'^[0-9]{{{n}}}', ")).collect();
        let text = format!(
            "title: Costly\nid: 66666666-6666-4666-8666-666666666666\nlogsource: {{product: test}}\ndetection:\n  sel:\n    thing|re: [{list}'^z']\n  condition: sel\n"
        );
        path(rules.path(), "costly.yml", &text);
    };
    costly(400);
    path(rules.path(), "b.yml", &rule("a*"));
    let mut server = Server::start(&format!("rules: ['{}']\n", rules.path().display()));
    let event = format!("{{\"thing\":\"{}\"}}\n", "a".repeat(1_000));
    let state = |s: &Server| -> Option<Value> {
        let all = s.get("/api/v1/rules");
        let found = all["rules"].as_array()?.iter().find(|r| r["title"] == "Costly")?;
        Some(found.clone())
    };
    let matches = |s: &Server| {
        let all = s.get("/api/v1/rules");
        let found = all["rules"].as_array().unwrap().iter().find(|r| r["title"] == "Other");
        found.unwrap()["matches"].as_u64().unwrap()
    };
    assert_eq!(state(&server).unwrap()["state"], "live");
    (0..10).for_each(|_| server.ingest(&event.repeat(1_000)));
    let paused = |s: &Server| state(s).filter(|rule| rule["state"] == "paused");
    let shown = server.eventually("a pause", paused);
    let reason = shown["reason"].as_str().unwrap();
    assert!(reason.contains("units of work per event") && shown["until"].is_string(), "{shown}");
    let told = "event.action:rule.paused | stats count() as n";
    server.eventually("it is told", |s| (s.search(told)[0]["n"] == 1).then_some(()));
    let before = matches(&server);
    server.ingest(&event.repeat(10));
    server.eventually("the other goes on", |s| (matches(s) == before + 10).then_some(()));

    server.kill();
    server.start_again();
    server.eventually("still paused", paused);
    server.eventually("told once", |s| (s.search(told)[0]["n"] == 1).then_some(()));
}

/// Scenario: two bursts of one user give two alerts; the younger is closed as a true positive, then
/// late events make one burst of the two; it is opened again, and the server is killed and started.
/// Guarantees: a merge takes back nothing that people decided, and is told once, restart or not; the
/// alert that carries on has all events and is open.
#[test]
fn a_merge_leaves_what_people_decided() {
    const BURSTS: &str = "title: Burst\nid: 66666666-6666-4666-8666-666666666666\ncorrelation:\n  type: event_count\n  rules: [failed]\n  group-by: [who]\n  timespan: 15s\n  condition: {gte: 4}\nlevel: high\nalcedo_suppression: 1s\n";
    let rules = tempfile::tempdir().unwrap();
    path(rules.path(), "a.yml", &format!("{FAILED}---\n{BURSTS}"));
    let mut server = Server::start(&format!("rules: ['{}']\n", rules.path().display()));
    let begun = jiff::Timestamp::now();
    let burst = |server: &Server, ago_s: i64| {
        let line = |n: i64| {
            let time = begun - jiff::SignedDuration::from_secs(ago_s + n % 3);
            format!("{{\"@timestamp\":\"{time}\",\"outcome\":\"bad\",\"who\":\"eve\"}}\n")
        };
        server.ingest(&(0..6).map(line).collect::<String>());
    };
    let alerts =
        |s: &Server| s.get("/api/v1/alerts?state=all")["alerts"].as_array().unwrap().clone();
    let wait_for = |s: &Server, n: usize| {
        let all = s.eventually("an alert per burst", |s| Some(alerts(s)).filter(|a| a.len() == n));
        // What comes within a second of an alert is folded into it.
        std::thread::sleep(std::time::Duration::from_millis(2_500));
        all
    };
    burst(&server, 60);
    let older = wait_for(&server, 1)[0]["id"].as_str().unwrap().to_owned();
    burst(&server, 39);
    let both = wait_for(&server, 2);
    let younger = both.iter().find_map(|a| a["id"].as_str().filter(|id| *id != older)).unwrap();
    let step = |server: &Server, body: &str| {
        let path = format!("/api/v1/alerts/{younger}/triage");
        let (status, answer) = server.ask("POST", &path, &server.admin_token, body);
        assert_eq!(status, 200, "{answer}");
    };
    let show = |server: &Server, id: &str| server.get(&format!("/api/v1/alerts/{id}"));
    let merges = |shown: &Value| {
        let history = shown["history"].as_array().unwrap();
        history.iter().filter(|r| r["action"] == "merge").count()
    };
    let verdict = |shown: &Value| {
        let alert = &shown["alert"];
        (alert["state"].as_str().unwrap().to_owned(), alert["disposition"].clone())
    };

    step(&server, r#"{"to": "closed", "disposition": "true_positive", "why": "phished"}"#);
    burst(&server, 54);
    let merged = server
        .eventually("the merge", |s| Some(show(s, younger)).filter(|shown| merges(shown) > 0));
    assert_eq!(verdict(&merged), ("closed".into(), "true_positive".into()));
    // What it grew by is told with the next ticks.
    let carries_on = server.eventually("all events", |s| {
        Some(show(s, &older)).filter(|shown| shown["alert"]["evidence_count"] == 18)
    });
    assert_eq!((merges(&carries_on), verdict(&carries_on).0), (1, "new".into()));

    step(&server, r#"{"to": "new", "why": "it goes on"}"#);
    server.kill();
    server.start_again();
    server.ingest("{\"message\":\"behind all of it\"}\n");
    server.eventually("the replay", |s| (!s.search("message:behind").is_empty()).then_some(()));
    std::thread::sleep(std::time::Duration::from_secs(1));
    let replayed = show(&server, younger);
    assert_eq!((verdict(&replayed).0.as_str(), merges(&replayed)), ("new", 1));
}

/// Scenario: hunts with a file that is missing, one that is cut off, one that is whole, and with rules
/// that are missing, broken, or none.
/// Guarantees: 6 if a file could not be read, whatever was found in others; 3 without a rule; else 0.
#[test]
fn the_exit_code_of_a_hunt_tells_what_was_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let rules = path(
        dir.path(),
        "r.yml",
        "title: T\nlogsource: {product: test}\ndetection: {s: {F: 1}, condition: s}\n",
    );
    let broken = path(dir.path(), "bad.yml", "title: T\ndetection: {s: {F|no: 1}, condition: s}\n");
    let whole = path(dir.path(), "e.ndjson", "{\"F\":1}\n");
    let gone = dir.path().join("gone").display().to_string();
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let empty = empty.display().to_string();
    let packed = dir.path().join("e.xz");
    std::fs::write(&packed, b"\xfd7zXZ\0\0\0").unwrap();
    let packed = packed.display().to_string();
    let code = |rules: &str, files: &[&str]| {
        let args = [&["hunt", "--rules", rules, "-o", "ndjson"], files].concat();
        let out = run(&args);
        (out.status.code(), json_lines(&out).len())
    };
    assert_eq!(code(&rules, &[&whole]), (Some(0), 1));
    assert_eq!(code(&rules, &[&gone, &whole]), (Some(6), 1));
    assert_eq!(code(&rules, &[&packed, &whole]), (Some(6), 1));
    assert_eq!(code(&gone, &[&whole]), (Some(3), 0));
    assert_eq!(code(&empty, &[&whole]), (Some(3), 0));
    assert_eq!(code(&broken, &[&whole]), (Some(3), 0));
}

/// Scenario: on a running server a rule is edited so that it cannot be read; then the server restarts; then
/// the rule is mended.
/// Guarantees: the version before the edit stays in force, through the restart too, and alerts; the list
/// has it as live and the edit as failed, with title and level; the answer to the reload and the audit
/// record say so; the mended rule takes its place.
#[test]
fn a_broken_edit_leaves_the_rule_in_force() {
    let rules = tempfile::tempdir().unwrap();
    path(rules.path(), "b.yml", &rule("zz"));
    let mut server = Server::start(&format!("rules: ['{}']\n", rules.path().display()));
    let states = |s: &Server| -> Vec<(String, String, String)> {
        let rows = s.get("/api/v1/rules")["rules"].as_array().unwrap().clone();
        let own = rows.iter().filter(|r| r["title"] == "Other");
        let text = |r: &Value, name: &str| r[name].as_str().unwrap_or("-").to_owned();
        own.map(|r| (text(r, "state"), text(r, "level"), text(r, "edit"))).collect()
    };
    let row = |state: &str, edit: &str| (state.to_owned(), "low".to_owned(), edit.to_owned());
    assert_eq!(states(&server), [row("live", "-")]);
    path(rules.path(), "b.yml", &rule("zz").replace("thing:", "thing|contians:"));
    let token = server.admin_token.clone();
    let (status, done) = server.ask("POST", "/api/v1/rules/reload", &token, "{}");
    let counts = ["live", "failed", "not_covered", "kept"].map(|name| done[name].as_u64().unwrap());
    assert_eq!((status, counts), (200, [1, 1, 0, 1]), "{done}");
    let both = [row("live", "failed"), row("failed", "-")];
    assert_eq!(states(&server), both);
    let audit = server.get("/api/v1/audit?limit=100").to_string();
    assert!(audit.contains("in force as before an edit that failed"), "{audit}");
    server.stop();
    server.start_again();
    assert_eq!(states(&server), both, "a restart forgets nothing");
    server.ingest("{\"thing\":\"zz\"}\n");
    server.eventually("the alert of the version before", |s| {
        let alerts = s.get("/api/v1/alerts");
        alerts["alerts"].as_array()?.iter().any(|a| a["title"] == "Other").then_some(())
    });
    path(rules.path(), "b.yml", &rule("mended"));
    let (_, done) = server.ask("POST", "/api/v1/rules/reload", &token, "{}");
    assert_eq!((&done["failed"], &done["kept"]), (&0.into(), &0.into()), "{done}");
    assert_eq!(states(&server), [row("live", "-")]);

    // No YAML any more, and a correlation before it that names the rule.
    let id = server.get("/api/v1/rules")["rules"][0]["id"].as_str().unwrap().to_owned();
    let over = format!(
        "title: Over\nid: 00000000-0000-4000-8000-0000000000c1\n\
         correlation: {{type: event_count, rules: ['{id}'], timespan: 5m, generate: true, condition: {{gte: 2}}}}\n"
    );
    path(rules.path(), "a.yml", &over);
    path(rules.path(), "b.yml", &rule("mended"));
    server.ask("POST", "/api/v1/rules/reload", &token, "{}");
    path(rules.path(), "b.yml", &rule("mended").replacen("title: ", "title: a: ", 1));
    let kept = |server: &Server| -> Vec<String> {
        let rows = server.get("/api/v1/rules")["rules"].as_array().unwrap().clone();
        let live = rows.iter().filter(|row| row["state"] == "live");
        live.map(|row| format!("{} {}", row["title"], row["edit"])).collect()
    };
    let (_, done) = server.ask("POST", "/api/v1/rules/reload", &token, "{}");
    assert_eq!((&done["live"], &done["kept"]), (&2.into(), &1.into()), "{done}");
    let before = kept(&server);
    assert!(before.contains(&"\"Other\" \"failed\"".to_owned()), "{before:?}");
    server.stop();
    server.start_again();
    assert_eq!(kept(&server), before);
}
