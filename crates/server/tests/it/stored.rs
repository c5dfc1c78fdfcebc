//! What is stored, through the real binary: SQL, exports, holds, deletions, retention, backups.

use super::harness::{Server, alcedo, json_lines, run};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;

const EVENTS: &str = "{\"message\":\"plugh one\",\"user\":{\"name\":\"ana\"},\"n\":1}\n{\"message\":\"plugh two\",\"user\":{\"name\":\"bo\"},\"n\":2}\n{\"message\":\"plugh three\",\"user\":{\"name\":\"bo\"},\"n\":3}\n";

/// A server with three events in it.
fn server(settings: &str) -> Server {
    let server = Server::start(settings);
    server.ingest(EVENTS);
    server.eventually("the events", |s| (s.search("message:plugh").len() == 3).then_some(()));
    server
}

fn token(server: &Server, role: &str) -> String {
    let body = json!({"name": role, "role": role}).to_string();
    let (status, made) = server.ask("POST", "/api/v1/tokens", &server.admin_token, &body);
    assert_eq!(status, 200, "{made}");
    made["token"].as_str().unwrap().to_owned()
}

/// Runs a verb on the server's folder.
fn verb(server: &Server, token: &str, args: &[&str]) -> Output {
    let mut command = alcedo();
    command.args(args).args(["--data-dir", server.data_dir.to_str().unwrap()]);
    if !token.is_empty() {
        command.env("ALCEDO_TOKEN", token);
    }
    command.output().unwrap()
}

fn code(output: &Output) -> Option<i32> {
    if output.status.code() != Some(0) {
        println!("{}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.code()
}

fn audit(server: &Server) -> Vec<(String, String, String)> {
    let (status, found) = server.ask("GET", "/api/v1/audit?limit=1000", &server.admin_token, "");
    assert_eq!(status, 200, "{found}");
    let text = |r: &Value, name: &str| r[name].as_str().unwrap_or_default().to_owned();
    let rows = found["records"].as_array().unwrap().iter();
    rows.map(|r| (text(r, "action"), text(r, "who"), text(r, "target"))).collect()
}

/// Scenario: SQL through the verb and the API; statements that write or are wrong.
/// Guarantees: rows come back; nothing but SELECT is done; mistakes end with 3.
#[test]
fn sql_reads_and_only_reads() {
    let server = server("");
    let select = "select \"user.name\" as who, count(*) as n from events where \"message\" like 'plugh%' group by 1 order by 2 desc";
    let out = verb(&server, "", &["sql", select, "-o", "ndjson"]);
    assert_eq!(code(&out), Some(0));
    assert_eq!(json_lines(&out), [json!({"who": "bo", "n": 2}), json!({"who": "ana", "n": 1})]);
    for wrong in ["drop table events", "select nothing from events", "copy events to '/tmp/x'"] {
        let out = verb(&server, "", &["sql", wrong]);
        assert_eq!(out.status.code(), Some(3), "{wrong}: {}", String::from_utf8_lossy(&out.stderr));
    }
    let body = json!({"sql": "select 1"}).to_string();
    let ingest = token(&server, "ingest");
    assert_eq!(server.ask("POST", "/api/v1/sql", &ingest, &body).0, 403);
    let body = json!({"sql": "select \"n\" from events order by 1", "limit": 2}).to_string();
    let (status, found) = server.ask("POST", "/api/v1/sql", &server.admin_token, &body);
    assert_eq!((status, found["summary"]["why_partial"].as_str()), (200, Some("limit")), "{found}");
}

/// Scenario: exports in all forms through the server and from the folder of a stopped one.
/// Guarantees: every row is there, files are what the manifest says, both ways give the same.
#[test]
fn exports_are_whole_online_and_offline() {
    let mut server = server("");
    let folder = tempfile::tempdir().unwrap();
    let to = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (format, file) in [("ndjson", "part-00000.ndjson"), ("csv", "part-00000.csv")] {
        let out = verb(
            &server,
            "",
            &["export", "message:plugh", "--to", &to(format), "--format", format],
        );
        assert_eq!(code(&out), Some(0));
        let text = std::fs::read_to_string(Path::new(&to(format)).join(file)).unwrap();
        let header = usize::from(format == "csv");
        assert_eq!(text.lines().count() - header, 3, "{text}");
        assert_eq!(json_lines(&out)[0]["rows"], 3);
    }
    let out =
        verb(&server, "", &["export", "message:plugh", "--to", &to("pq"), "--format", "parquet"]);
    assert_eq!(code(&out), Some(0));
    let listed = json_lines(&out)[0]["files"][0].clone();
    let parquet =
        std::fs::read(Path::new(&to("pq")).join(listed["path"].as_str().unwrap())).unwrap();
    assert!(
        parquet.starts_with(b"PAR1") && parquet.len() as u64 == listed["bytes"].as_u64().unwrap()
    );
    let again = verb(&server, "", &["export", "message:plugh", "--to", &to("pq")]);
    assert_eq!(again.status.code(), Some(3), "never over something");
    let (_, kept) = server.ask("GET", "/api/v1/exports", &server.admin_token, "");
    assert_eq!(kept["exports"], json!([]), "what was fetched is removed");
    let reader = token(&server, "reader");
    assert_eq!(server.ask("POST", "/api/v1/exports", &reader, "{}").0, 403);
    assert!(audit(&server).iter().any(|a| a.0 == "search.export" && a.2 == "message:plugh"));
    server.stop();
    let out = verb(
        &server,
        "",
        &["export", "message:plugh | stats count() as n by user.name", "--to", &to("off")],
    );
    assert_eq!(code(&out), Some(0));
    let text = std::fs::read_to_string(Path::new(&to("off")).join("part-00000.ndjson")).unwrap();
    assert!(text.contains(r#""n":2"#) && text.lines().count() == 2, "{text}");
}

/// Scenario: an export is asked for, watched and fetched in two pieces over the API.
/// Guarantees: the second piece goes on where the first ended; nobody else sees it.
#[test]
fn a_download_goes_on_where_it_broke_off() {
    let server = server("");
    let body = json!({"query": "message:plugh"}).to_string();
    let (status, job) = server.ask("POST", "/api/v1/exports", &server.admin_token, &body);
    assert_eq!(status, 200, "{job}");
    let path = format!("/api/v1/exports/{}", job["id"].as_str().unwrap());
    let job =
        server.eventually("its end", |s| Some(s.get(&path)).filter(|job| job["state"] == "done"));
    let bearer = format!("Bearer {}", server.admin_token);
    let get = |range: &str| {
        let mut headers = vec![("Authorization", &*bearer)];
        if !range.is_empty() {
            headers.push(("Range", range));
        }
        super::browser::http(server.http, "GET", &format!("{path}/files/0"), &headers, b"")
    };
    let (status, whole) = get("");
    assert_eq!(
        (status, whole.len() as u64),
        (200, job["manifest"]["files"][0]["bytes"].as_u64().unwrap())
    );
    let (status, rest) = get("bytes=10-");
    assert_eq!(status, 206);
    assert_eq!(rest, whole[10..]);
    let analyst = token(&server, "analyst");
    assert_eq!(server.ask("GET", &path, &analyst, "").0, 404);
    assert_eq!(server.ask("DELETE", &path, &server.admin_token, "").0, 200);
    assert_eq!(server.ask("GET", &path, &server.admin_token, "").0, 404);
}

/// Scenario: a hold, a deletion that it forbids, its release, the deletion, a restart.
/// Guarantees: only a custodian deletes and releases; the hold wins; deleted events stay gone; all of
/// it is in the audit list under who did it.
#[test]
fn holds_win_over_deletions_and_both_are_audited() {
    let mut server = server("");
    let custodian = token(&server, "custodian");
    let out =
        verb(&server, "", &["hold", "add", "user.name:bo", "--reason", "case 7", "-o", "json"]);
    assert_eq!(code(&out), Some(0));
    let id = json_lines(&out)[0]["id"].to_string();
    let why = ["--reason", "erasure 12"];
    let delete = |token: &str, filter: &str| {
        verb(&server, token, &["delete", filter, why[0], why[1], "-o", "json"])
    };
    assert_eq!(delete("", "plugh").status.code(), Some(5), "an administrator may not");
    let body = json!({"filter": "plugh", "reason": "x"}).to_string();
    let (status, held) = server.ask("POST", "/api/v1/deletions", &custodian, &body);
    assert_eq!(status, 409, "{held}");
    assert!(held["detail"].as_str().unwrap().contains("case 7"));
    assert_eq!(delete(&custodian, "plugh").status.code(), Some(3));
    let dry = verb(&server, &custodian, &["delete", "user.name:ana", "--dry-run", "-o", "json"]);
    let dry = &json_lines(&dry)[0];
    let told = (&dry["rows"], &dry["deleted"], &dry["held_rows"], &dry["holds"]);
    assert_eq!(told, (&json!(1), &json!(false), &json!(0), &json!([])), "{dry}");
    assert!(dry["bytes"].as_u64() > Some(0) && dry["oldest"].is_string(), "{dry}");
    let held = verb(&server, &custodian, &["delete", "message:plugh", "--dry-run", "-o", "json"]);
    let told = &json_lines(&held)[0];
    assert_eq!((&told["rows"], &told["held_rows"]), (&json!(3), &json!(2)), "{told}");
    assert_eq!(told["holds"][0]["reason"], "case 7", "{told}");
    assert!(String::from_utf8_lossy(&held.stderr).contains("it would be refused: hold"));
    assert_eq!(server.search("message:plugh").len(), 3);
    assert_eq!(json_lines(&delete(&custodian, "user.name:ana"))[0]["rows"], 1);
    assert_eq!(server.search("message:plugh").len(), 2);
    let release = ["hold", "release", &id, "--reason", "case closed"];
    assert_eq!(verb(&server, "", &release).status.code(), Some(5), "an administrator may not");
    assert_eq!(code(&verb(&server, &custodian, &release)), Some(0));
    let list = verb(&server, "", &["hold", "list", "-o", "ndjson"]);
    assert_eq!((code(&list), json_lines(&list).len()), (Some(0), 0));
    assert_eq!(json_lines(&delete(&custodian, "message:two"))[0]["rows"], 1);
    server.stop();
    server.start_again();
    assert_eq!(server.search("message:plugh").len(), 1, "gone after a restart too");
    server.eventually("the rewrites", |s| {
        let (_, waiting) = s.ask("GET", "/api/v1/deletions", &custodian, "");
        (waiting["deletions"] == json!([])).then_some(())
    });
    let done = audit(&server);
    for (action, target) in [
        ("hold.set", "user.name:bo"),
        ("hold.release", "user.name:bo"),
        ("delete.refused", "plugh"),
        ("delete.hide", "user.name:ana"),
        ("delete.hide", "message:two"),
    ] {
        let found = done.iter().find(|a| a.0 == action && a.2 == target);
        assert!(found.is_some_and(|a| a.1.starts_with("token:")), "{action} {target}: {done:?}");
    }
    assert!(done.iter().any(|a| a.0 == "delete.rewrite"), "{done:?}");
}

/// Scenario: a rule that removes at once what one source sent; the plan before, the audit after.
/// Guarantees: the plan changes nothing and says how much; then only those rows go, on record.
#[test]
fn retention_says_what_it_would_do_and_records_what_it_did() {
    let mut server = server("");
    server.stop();
    let folder = server.data_dir.parent().unwrap().to_path_buf();
    let other = folder.join("other.yaml");
    let rules =
        "retention:\n  age: 30d\n  rules:\n    - {name: short, when: 'user.name:bo', age: 1ms}\n";
    std::fs::write(&other, format!("data_dir: {}\n{rules}", server.data_dir.display())).unwrap();
    let dry =
        |form: &str| run(&["retention", "--dry-run", "-c", other.to_str().unwrap(), "-o", form]);
    let out = dry("ndjson");
    assert_eq!(code(&out), Some(0));
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("rule `short` keeps 1ms: PCI DSS 10.5.1")
    );
    let plan = &json_lines(&out)[0];
    let short = plan["rules"].as_array().unwrap().iter().find(|r| r["rule"] == "short").unwrap();
    assert_eq!(short["rows"], 2, "{plan}");
    assert!(plan["forecast"]["bytes"].as_u64().unwrap() > 0);
    assert!(String::from_utf8_lossy(&dry("table").stdout).contains("would go"));
    server.configure(rules);
    server.start_again();
    server.eventually("retention", |s| (s.search("message:plugh").len() == 1).then_some(()));
    let (status, plan) = server.ask("GET", "/api/v1/retention", &server.admin_token, "");
    assert_eq!((status, plan["warnings"].as_array().unwrap().len()), (200, 2), "{plan}");
    let hidden =
        server.eventually("the record", |s| audit(s).into_iter().find(|a| a.0 == "delete.hide"));
    assert_eq!((&*hidden.1, &*hidden.2), ("short", "user.name:bo"));
}

/// Scenario: a backup of the running server, more events, a second one; then a new folder of it.
/// Guarantees: the new folder's server has the events, the alerts' journal, the rules' history and
/// takes further events; a changed byte is found.
#[test]
fn a_backup_becomes_a_server_that_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("backups");
    let mut server = server(&format!("backup: {{to: '{}'}}\n", target.display()));
    let create = ["backup", "create", "-o", "ndjson"];
    let out = verb(&server, "", &create);
    assert_eq!(code(&out), Some(0));
    server.ingest("{\"message\":\"plugh four\"}\n");
    server.eventually("the fourth", |s| (s.search("message:plugh").len() == 4).then_some(()));
    let second = json_lines(&verb(&server, "", &create))[0].clone();
    assert!(second["copied_bytes"].as_u64() < second["bytes"].as_u64(), "{second}");
    let refused = verb(&server, "", &["backup", "create", "--to", "/tmp/elsewhere"]);
    assert_eq!(refused.status.code(), Some(3));
    let from = target.to_str().unwrap();
    assert_eq!(code(&run(&["backup", "verify", "--from", from])), Some(0));
    assert_eq!(json_lines(&run(&["backup", "list", "--from", from, "-o", "ndjson"])).len(), 2);
    let analyst = token(&server, "analyst");
    assert_eq!(server.ask("POST", "/api/v1/backups", &analyst, "{}").0, 403);
    assert!(audit(&server).iter().any(|a| a.0 == "backup.create"));
    let old_dir = server.data_dir.clone();
    server.kill();
    std::fs::rename(&old_dir, folder.path().join("lost")).unwrap();
    let dir = old_dir.to_str().unwrap();
    let out = run(&["restore", "--from", from, "--data-dir", dir]);
    assert_eq!(code(&out), Some(0));
    assert_eq!(run(&["restore", "--from", from, "--data-dir", dir]).status.code(), Some(3));
    assert_eq!(code(&run(&["verify", "--data-dir", dir])), Some(0));
    server.start_again();
    assert_eq!(server.search("message:plugh").len(), 4);
    server.ingest("{\"message\":\"plugh five\"}\n");
    server.eventually("the fifth", |s| (s.search("message:plugh").len() == 5).then_some(()));
    assert!(audit(&server).iter().any(|a| a.0 == "token.create"), "the ledger came along");
    server.stop();
    assert_eq!(code(&verb(&server, "", &["backup", "create", "--to", from])), Some(0));
    for object in walk(&target.join("objects")) {
        let mut bytes = std::fs::read(&object).unwrap();
        // A file of the state may be empty.
        let Some(first) = bytes.first_mut() else { continue };
        *first ^= 1;
        std::fs::write(object, bytes).unwrap();
    }
    assert_eq!(run(&["backup", "verify", "--from", from]).status.code(), Some(4));
}

/// Scenario: several small files, the index of one of them damaged; the verbs for a stopped server's
/// store.
/// Guarantees: they refuse while a server runs; joining keeps every event; a damaged index is found,
/// made anew, and all is well again.
#[test]
fn files_are_joined_and_indexes_made_anew_offline() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("backups");
    let mut server = server(&format!("backup: {{to: '{}'}}\n", target.display()));
    for n in 0..3 {
        server.ingest(&format!("{{\"message\":\"plugh more {n}\"}}\n"));
        server.eventually("it", |s| (s.search("message:plugh").len() == 4 + n).then_some(()));
        // A backup writes what is in memory first: a file each time.
        assert_eq!(code(&verb(&server, "", &["backup", "create"])), Some(0));
    }
    assert_eq!(verb(&server, "", &["store", "join"]).status.code(), Some(3));
    server.stop();
    let told = verb(&server, "", &["store", "join"]);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success() && text.contains("files joined; 1 files"), "{text}");
    let files = walk(&server.data_dir.join("store/events"));
    let index = files.iter().find(|path| path.extension().is_some_and(|e| e == "idx")).unwrap();
    let mut bytes = std::fs::read(index).unwrap();
    bytes[100] ^= 1;
    std::fs::write(index, bytes).unwrap();
    assert_eq!(verb(&server, "", &["verify"]).status.code(), Some(4));
    assert_eq!(code(&verb(&server, "", &["store", "reindex"])), Some(0));
    assert_eq!(code(&verb(&server, "", &["verify"])), Some(0));
    server.start_again();
    assert_eq!(server.search("message:plugh").len(), 6);
}

/// Scenario: a folder as far tier; the files are moved there as if days had passed; then the folder is
/// away for a while.
/// Guarantees: the server finds the events as before, and `verify` checks them; without the folder
/// an answer says that it is partial, the server tells a problem, and nothing is lost.
#[test]
fn old_events_are_found_in_a_far_tier_and_missed_aloud() {
    let folder = tempfile::tempdir().unwrap();
    let far = folder.path().join("far");
    let to = format!("file://{}", far.display());
    let mut server = server(&format!("tier: {{to: '{to}', hot: 1h}}\n"));
    let config = server.config.to_str().unwrap().to_owned();
    server.stop();
    let told = verb(&server, "", &["store", "tier", "--dry-run", "-c", &config]);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success() && text.starts_with("0 files of 0 rows would move"), "{text}");
    assert_eq!(code(&verb(&server, "", &["store", "tier", "-c", &config])), Some(0));
    assert_eq!(verb(&server, "", &["store", "tier"]).status.code(), Some(3), "none is configured");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let later_ns = now.as_nanos() as i64 + 48 * 3_600_000_000_000;
    let tier = store::TierOptions::new(&*to);
    let tier = store::TierOptions { hot_age_ns: 3_600_000_000_000, ..tier };
    let options =
        store::Options { tier: Some(tier), retention_age_ns: None, ..store::Options::default() };
    let (stored, _) = store::Store::open(&server.data_dir.join("store"), options).unwrap();
    while stored.move_old(later_ns, &|| true).unwrap().has_more {}
    drop(stored);
    assert_eq!(code(&verb(&server, "", &["verify", "-c", &config])), Some(0));
    assert_eq!(code(&verb(&server, "", &["verify", "--far", "-c", &config])), Some(0));
    server.start_again();
    assert_eq!(server.search("message:plugh").len(), 3);
    assert!(server.metric("alcedo_tier_far_files").unwrap() >= 1.0);
    assert!(server.get("/api/v1/overview")["tier"]["far_bytes"].as_u64().unwrap() > 0);
    server.stop();
    let away = folder.path().join("away");
    std::fs::rename(&far, &away).unwrap();
    assert_eq!(verb(&server, "", &["verify", "-c", &config]).status.code(), Some(4));
    server.start_again();
    let told = verb(&server, &server.admin_token, &["search", "message:plugh"]);
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.status.code() == Some(6) && text.contains("far tier"), "{told:?}");
    server.stop();
    assert!(!far.exists(), "asking makes nothing");
    std::fs::rename(&away, &far).unwrap();
    server.start_again();
    assert_eq!(server.search("message:plugh").len(), 3);
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => out.extend(walk(&path)),
            false => out.push(path),
        }
    }
    out
}

/// Scenario: the histogram of a search with pipes.
/// Guarantees: a `where` over the table of `stats` does not filter the events that are counted.
#[test]
fn the_histogram_counts_events_whatever_the_table_filters() {
    let server = server("");
    let query = "message:plugh | stats count() as n by user.name | where n > 1";
    let encoded: String = query
        .bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'0'..=b'9' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect();
    let found = server.get(&format!("/api/v1/search/histogram?query={encoded}"));
    let total: u64 = found["counts"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
    assert_eq!(total, 3, "{found}");
    let (status, metrics) = {
        let bearer = format!("Bearer {}", server.admin_token);
        let headers = [("Authorization", &*bearer)];
        super::browser::http(server.http, "GET", "/metrics", &headers, b"")
    };
    let text = String::from_utf8(metrics).unwrap();
    assert!(status == 200 && text.contains("\nalcedo_store_index_bytes "), "{text}");
}

const HISTORY: &str = "title: Plugh\nid: 66666666-6666-4666-8666-666666666661\nname: plugh\nlogsource: {product: any}\ndetection:\n  sel: {message|startswith: plugh}\n  condition: sel\nlevel: low\n---\ntitle: Much plugh\nid: 66666666-6666-4666-8666-666666666662\ncorrelation:\n  type: event_count\n  rules: [plugh]\n  group-by: [user.name]\n  timespan: 1h\n  condition: {gte: 2}\n  generate: true\nlevel: high\n";

/// Scenario: a rule and a correlation over stored events that came before there was a rule, through
/// the server and from the folder of the stopped one.
/// Guarantees: both ways find the same; a time range is kept to; a broken rule is told and no more.
#[test]
fn a_hunt_over_history_finds_what_the_rules_would_have_found() {
    let mut server = server("");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("a.yml"), HISTORY.replace("product: any", "category: test")).unwrap();
    std::fs::write(path("broken.yml"), "title: Broken\nlogsource: {}\ndetection: {condition: x}\n")
        .unwrap();
    let rules = folder.path().to_str().unwrap();
    let hunt = |server: &Server, since: &str| {
        let out = verb(server, "", &["hunt", "--rules", rules, "--since", since, "-o", "ndjson"]);
        assert_eq!(code(&out), Some(0));
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(said.contains("broken.yml"), "{said}");
        let mut found: Vec<(String, String)> = json_lines(&out)
            .iter()
            .map(|l| {
                (l["rule.title"].as_str().unwrap().into(), l["event.id"].as_str().unwrap().into())
            })
            .collect();
        found.sort();
        found
    };
    let online = hunt(&server, "1h");
    let titles: Vec<&str> = online.iter().map(|(title, _)| &**title).collect();
    assert_eq!(titles, ["Much plugh", "Plugh", "Plugh", "Plugh"]);
    // A second rule finds in one of the events what the first one finds in all.
    let twice = "title: Once\nid: 66666666-6666-4666-8666-666666666663\nlogsource: {category: test}\ndetection:\n  sel: {message|startswith: plugh, event.id: IT}\n  condition: sel\n";
    let twice = twice.replace("IT", &online[1].1).replace("plugh, event.id", "plugh, 'event.id'");
    std::fs::write(path("b.yml"), twice).unwrap();
    let counts = |server: &Server| {
        let out = verb(server, "", &["hunt", "--rules", rules, "--since", "1h", "-o", "ndjson"]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        let told = said.lines().find(|line| line.contains(" found: ")).unwrap_or_default();
        let told = told.split("; ").next().unwrap_or_default().to_owned();
        assert!(told.starts_with(&format!("{} found", json_lines(&out).len())), "{said}");
        told
    };
    let told = "5 found: 4 matches in 3 events, 1 correlations";
    assert_eq!(counts(&server), told);
    assert_eq!(hunt(&server, "2099-01-01T00:00:00Z"), []);
    let out = verb(&server, "", &["hunt", "--rules", rules]);
    assert_eq!(out.status.code(), Some(2), "neither files nor a time");
    server.stop();
    assert_eq!(counts(&server), told);
    std::fs::remove_file(path("b.yml")).unwrap();
    assert_eq!(hunt(&server, "1h"), online);
}

/// Scenario: a search is saved, listed, run, followed, replaced and removed, by the verbs and the API,
/// over a restart.
/// Guarantees: it finds what its filter finds, further pipes come after it, a tail takes it if it has no
/// pipes; what is wrong is refused; who only reads saves nothing; each change is on record.
#[test]
fn a_saved_search_is_run_and_followed_under_its_name() {
    let mut server = server("");
    let analyst = token(&server, "analyst");
    let save =
        |args: &[&str]| code(&verb(&server, &analyst, &[&["searches", "save"], args].concat()));
    assert_eq!(
        save(&["bo.1", "message:plugh user.name:bo", "--since", "24h", "--note", "case 7"]),
        Some(0)
    );
    assert_eq!(save(&["table", "message:plugh | stats count() by user.name"]), Some(0));
    assert_eq!(save(&["wrong", "a:("]), Some(3));
    assert_eq!(save(&["wrong", "*", "--since", "soon"]), Some(3));
    assert_eq!(save(&["no name", "*"]), Some(3));
    let reader = token(&server, "reader");
    assert_eq!(verb(&server, &reader, &["searches", "save", "x", "*"]).status.code(), Some(5));
    let ran = |args: &[&str]| {
        let out = verb(&server, &reader, &[&["searches", "run"], args, &["-o", "ndjson"]].concat());
        (code(&out), json_lines(&out))
    };
    let (exit, rows) = ran(&["bo.1"]);
    assert_eq!((exit, rows.len()), (Some(0), 2), "{rows:?}");
    let (_, rows) = ran(&["bo.1", "| stats count() as n"]);
    assert_eq!(rows, [json!({"n": 2})]);
    let (_, rows) = ran(&["bo.1", "--until", "2020-01-01T00:00:00Z"]);
    assert_eq!(rows.len(), 0, "other times win");
    assert_eq!(ran(&["bo.1", "user.name:ana"]).0, Some(3), "further filters are no pipes");
    assert_eq!(ran(&["nobody"]).0, Some(3));

    let mut tail = alcedo()
        .args(["searches", "tail", "bo.1", "-o", "ndjson"])
        .args(["--data-dir", server.data_dir.to_str().unwrap()])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let sent = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Whoever follows sees what comes after, so it has to come until it is seen.
            while !sent.load(std::sync::atomic::Ordering::Relaxed) {
                server.ingest("{\"message\":\"plugh new\",\"user\":{\"name\":\"ana\"}}\n");
                server.ingest("{\"message\":\"plugh new\",\"user\":{\"name\":\"bo\"}}\n");
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        });
        let out = tail.stdout.as_mut().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
        sent.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    tail.kill().unwrap();
    tail.wait().unwrap();
    let seen: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&seen["user.name"], &seen["message"]), (&json!("bo"), &json!("plugh new")));
    assert_eq!(verb(&server, &reader, &["searches", "tail", "table"]).status.code(), Some(3));

    assert_eq!(save(&["bo.1", "user.name:ana"]), Some(0));
    server.kill();
    server.start_again();
    let (status, listed) = server.ask("GET", "/api/v1/searches", &reader, "");
    assert_eq!(status, 200);
    let names = |v: &Value| {
        let rows = v["searches"].as_array().unwrap().iter();
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        rows.map(|r| (text(r, "name"), text(r, "query"))).collect::<Vec<_>>()
    };
    let table = ("table".to_owned(), "message:plugh | stats count() by user.name".to_owned());
    assert_eq!(names(&listed), [("bo.1".into(), "user.name:ana".into()), table.clone()]);
    assert_eq!(listed["searches"][1]["can_tail"], false);
    let delete = ["searches", "delete", "bo.1"];
    assert_eq!(verb(&server, &reader, &delete).status.code(), Some(5));
    assert_eq!(code(&verb(&server, &analyst, &delete)), Some(0));
    assert_eq!(code(&verb(&server, &analyst, &delete)), Some(3));
    assert_eq!(names(&server.ask("GET", "/api/v1/searches", &reader, "").1), [table]);
    let done: Vec<_> = audit(&server).into_iter().filter(|a| a.0.starts_with("search.")).collect();
    let expected = ["search.remove", "search.save", "search.save", "search.save"];
    assert_eq!(done.iter().map(|a| &*a.0).collect::<Vec<_>>(), expected);
    assert!(done.iter().all(|a| a.1.starts_with("token:")), "{done:?}");
}

/// Scenario: a saved search is told to raise alerts, events come, the server is killed and comes back;
/// then the search is changed, told to raise none, and removed. Others try without the right.
/// Guarantees: every event that it finds is evidence of an alert of its rule and level, and no other one
/// is; after a restart and replay there is no alert more or less; what it was does not go on; who may not
/// change rules can neither make one of a search nor change one; what cannot be a rule is refused.
#[test]
fn a_saved_search_raises_alerts_while_it_says_so() {
    let mut server = server("");
    let (analyst, engineer) = (token(&server, "analyst"), token(&server, "engineer"));
    let put = |server: &Server, token: &str, path: &str, body: Value| {
        server.ask("PUT", &format!("/api/v1/searches/{path}"), token, &body.to_string())
    };
    let query = json!({"query": "message:xyzzy and not user.name:bo", "note": "a \"case\": 7"});
    assert_eq!(put(&server, &analyst, "odd", query.clone()).0, 200);
    assert_eq!(put(&server, &analyst, "odd/alert", json!({"level": "high"})).0, 403);
    let with_alert = json!({"query": "message:xyzzy", "alert": {"level": "low"}});
    assert_eq!(put(&server, &analyst, "odd", with_alert).0, 403);
    assert_eq!(put(&server, &engineer, "none/alert", json!({"level": "high"})).0, 404);
    assert_eq!(put(&server, &engineer, "odd/alert", json!({"level": "loud"})).0, 400);
    let saved = put(&server, &engineer, "odd/alert", json!({"level": "high"}));
    assert_eq!(saved.1["alert"], json!({"level": "high", "rule_id": "search.odd"}), "{saved:?}");
    for (name, query) in [("piped", "message:a | head 1"), ("timed", "@timestamp:>now-1h")] {
        assert_eq!(put(&server, &analyst, name, json!({"query": query})).0, 200);
        let refused = put(&server, &engineer, &format!("{name}/alert"), json!({"level": "low"}));
        assert_eq!(refused.0, 400, "{refused:?}");
    }
    let raised = |server: &Server| {
        let all = server.get("/api/v1/alerts?state=all&limit=500");
        let ours =
            all["alerts"].as_array().unwrap().iter().filter(|a| a["rule_id"] == "search.odd");
        let mut ours: Vec<(String, String)> = ours
            .map(|a| (a["level"].as_str().unwrap().into(), a["id"].as_str().unwrap().into()))
            .collect();
        ours.sort();
        ours
    };
    let event = |user: &str, host: &str| {
        format!(
            "{{\"message\":\"xyzzy {user}\",\"user\":{{\"name\":\"{user}\"}},\"host\":{{\"name\":\"{host}\"}}}}\n"
        )
    };
    server.ingest(&(event("bo", "h1") + &event("ana", "h1") + &event("kim", "h2")));
    let first = server.eventually("the alerts", |s| Some(raised(s)).filter(|r| !r.is_empty()));
    server.eventually("the events", |s| (s.search("message:xyzzy").len() == 3).then_some(()));
    std::thread::sleep(std::time::Duration::from_secs(2));
    let first = if raised(&server) == first { first } else { raised(&server) };
    assert!(first.iter().all(|(level, _)| level == "high"), "{first:?}");
    let ids = |rows: Vec<Value>, name: &str| {
        let ids = rows.iter().filter_map(|row| row[name].as_str().map(str::to_owned));
        ids.collect::<std::collections::BTreeSet<_>>()
    };
    let evidence = first.iter().flat_map(|(_, id)| {
        let shown = server.get(&format!("/api/v1/alerts/{id}"));
        shown["alert"]["evidence"].as_array().unwrap().clone()
    });
    let evidence = ids(evidence.collect(), "id");
    assert_eq!(evidence, ids(server.search("message:xyzzy and not user.name:bo"), "event.id"));
    assert_eq!(evidence.len(), 2);
    server.kill();
    server.start_again();
    assert_eq!(raised(&server), first);
    let rule = server.get("/api/v1/rules");
    let rule = rule["rules"].as_array().unwrap().iter().find(|r| r["id"] == "search.odd").cloned();
    assert_eq!(rule.unwrap()["title"], "odd");

    assert_eq!(put(&server, &analyst, "odd", query.clone()).0, 403, "it is a rule");
    // Saved again, it goes on; what cannot be a rule is not saved in its place.
    let both = token(&server, "analyst,engineer");
    let again = put(&server, &both, "odd", query);
    assert_eq!(again.1["alert"]["level"], "high", "{again:?}");
    let piped = put(&server, &both, "odd", json!({"query": "message:xyzzy | head 1"}));
    assert_eq!(piped.0, 400, "{piped:?}");
    assert_eq!(
        put(&server, &engineer, "odd/alert", json!({"level": null})).1["alert"],
        Value::Null
    );
    server.ingest(&event("eve", "h3"));
    server.eventually("the event", |s| (s.search("message:xyzzy").len() == 4).then_some(()));
    assert_eq!(raised(&server), first);
    assert_eq!(code(&verb(&server, &engineer, &["searches", "alert", "odd", "low"])), Some(0));
    server.ingest(&event("joe", "h4"));
    server.eventually("an alert of its level", |s| {
        raised(s).iter().any(|(level, _)| level == "low").then_some(())
    });
    let now = raised(&server);
    assert_eq!(code(&verb(&server, &engineer, &["searches", "alert", "odd", "off"])), Some(0));
    assert_eq!(code(&verb(&server, &analyst, &["searches", "delete", "odd"])), Some(0));
    server.ingest(&event("zoe", "h5"));
    server.eventually("the event", |s| (s.search("message:xyzzy").len() == 6).then_some(()));
    assert_eq!(raised(&server), now);
}

/// Scenario: backups by schedule, of which two stay; later ones by hand; the place goes away.
/// Guarantees: one is made at once and not again before its time; pruning needs the custodian and leaves
/// whole ones; a backup that fails is a problem that is told and on record.
#[test]
fn backups_are_made_when_due_and_old_ones_go() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("backups");
    let from = target.to_str().unwrap().to_owned();
    let settings = format!("backup: {{to: '{from}', every: 1h, keep: 2}}\n");
    let mut server = server(&settings);
    let names = || {
        let out = run(&["backup", "list", "--from", &from, "-o", "ndjson"]);
        json_lines(&out).iter().map(|b| b["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    server.eventually("the first backup", |_| (names().len() == 1).then_some(()));
    server.eventually("the record of it", |s| {
        audit(s).iter().any(|a| a.0 == "backup.create" && a.1 == "alcedo").then_some(())
    });
    for _ in 0..3 {
        assert_eq!(code(&verb(&server, "", &["backup", "create"])), Some(0));
    }
    assert_eq!(names().len(), 4, "nothing is due, and what is made by hand removes nothing");
    // The last one was made more than an hour ago.
    server.stop();
    let last = server.data_dir.join("backup.json");
    assert!(std::fs::read_to_string(&last).unwrap().contains(&names()[3]));
    std::fs::write(&last, "{\"at_ns\": 1}").unwrap();
    let before = names();
    server.start_again();
    server.eventually("the pruned list", |_| (names().len() == 2).then_some(()));
    assert_eq!(names()[0], before[3], "the newest stay");
    // The record follows what it tells of.
    server.eventually("the record of pruning", |s| {
        let is_it =
            |a: &(String, String, String)| a.0 == "backup.prune" && a.2.contains(&before[0]);
        audit(s).iter().any(is_it).then_some(())
    });
    assert_eq!(code(&run(&["backup", "verify", "--from", &from])), Some(0));
    let prune = ["backup", "prune", "--keep", "1", "-o", "ndjson"];
    assert_eq!(
        verb(&server, "", &prune).status.code(),
        Some(5),
        "the host's token is no custodian's"
    );
    let custodian = token(&server, "custodian");
    let plan = verb(&server, &custodian, &[&prune[..], &["--dry-run"]].concat());
    assert_eq!((code(&plan), names().len()), (Some(0), 2));
    let pruned = verb(&server, &custodian, &prune);
    assert_eq!((code(&pruned), names().len()), (Some(0), 1));
    assert_eq!(json_lines(&pruned)[0]["removed"], json_lines(&plan)[0]["removed"]);
    assert_eq!(
        verb(&server, &custodian, &["backup", "prune", "--keep", "0"]).status.code(),
        Some(2)
    );
    assert_eq!(code(&run(&["backup", "verify", "--from", &from])), Some(0));
    server.stop();
    std::fs::write(&last, "{\"at_ns\": 1}").unwrap();
    std::fs::rename(&target, folder.path().join("moved")).unwrap();
    std::fs::write(&target, "no folder").unwrap();
    server.start_again();
    server.eventually("the failure", |s| {
        audit(s).iter().any(|a| a.0 == "backup.failed" && a.1 == "alcedo").then_some(())
    });
    let (_, overview) = server.ask("GET", "/api/v1/overview", &server.admin_token, "");
    assert!(overview["problems"].to_string().contains("the backup that was due failed"));
}

/// Every file below a folder with its bytes, but those that a look may touch.
fn contents(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut out: Vec<_> =
        walk(dir).into_iter().map(|p| (p.clone(), std::fs::read(p).unwrap())).collect();
    out.sort();
    out
}

/// Scenario: a data folder whose store a later version wrote; one that an earlier version wrote.
/// Guarantees: the server and `check` refuse the former by its format and change no byte of it; the
/// latter opens with what is in it.
#[test]
fn a_folder_of_a_later_version_is_refused_untouched() {
    let mut server = server("");
    server.stop();
    let logs = walk(&server.data_dir.join("store/manifest"));
    let log = logs.iter().max().unwrap();
    let bytes = std::fs::read(log).unwrap();
    let len = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
    let (first, rest) = bytes[8..].split_at(len);
    let first: Value = serde_json::from_slice(first).unwrap();
    let of_format = |format: u32| {
        let mut record = first.clone();
        record["Full"]["format"] = format.into();
        let text = record.to_string();
        let mut out = (text.len() as u32).to_le_bytes().to_vec();
        out.extend(crc32c(text.as_bytes()).to_le_bytes());
        out.extend(text.as_bytes());
        out.extend(rest);
        std::fs::write(log, out).unwrap();
    };
    of_format(99);
    let before = contents(&server.data_dir);
    let dir = server.data_dir.to_str().unwrap();
    let config = server.config.to_str().unwrap();
    for args in
        [["run", "-c", config, "--data-dir", dir], ["check", "-c", config, "--data-dir", dir]]
    {
        let out = run(&args);
        assert_eq!(code(&out), Some(4), "{args:?}");
        let told = String::from_utf8(out.stderr).unwrap().replace("\n  │ ", " ");
        assert!(told.contains("newer version") && !told.contains("damaged"), "{told}");
        assert!(contents(&server.data_dir) == before, "{args:?} changed something");
    }
    of_format(1);
    server.start_again();
    assert_eq!(server.search("message:plugh").len(), 3);
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Scenario: a table of hosts, a search that looks owners up in it, the table edited, a table that nobody
/// named, a table that is broken.
/// Guarantees: columns come from the file as it is now; errors point at the name; `check` refuses a broken
/// table.
#[test]
fn searches_look_up_what_a_table_of_the_configuration_says() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("hosts.csv");
    std::fs::write(&table, "host,owner,site\nweb-1,\"M\u{fc}ller, J\u{f6}rg\",K\nWEB-2,eve,B\n")
        .unwrap();
    let server = Server::start(&format!("lookups: {{ hosts: '{}' }}\n", table.display()));
    let line = |host: &str| format!("{{\"host.name\":\"{host}\",\"message\":\"x\"}}\n");
    server.ingest(&["web-1", "web-2", "web-2", "web-3"].map(line).concat());
    server.eventually("events", |s| (s.search("host.name:web-*").len() == 4).then_some(()));
    let query =
        "host.name:web-* | stats count() as n by host.name | lookup hosts host.name output owner";
    let owners = || -> Vec<String> {
        server.search(query).iter().map(|row| row["owner"].to_string()).collect()
    };
    assert_eq!(owners(), ["\"M\u{fc}ller, J\u{f6}rg\"", "\"eve\"", "null"]);
    std::fs::write(&table, "host,owner\nweb-3,mallory\n").unwrap();
    assert_eq!(owners(), ["null", "null", "\"mallory\""]);
    let refused = |query: &str| {
        let body = serde_json::json!({ "query": query }).to_string();
        server.ask("POST", "/api/v1/search", &server.admin_token, &body)
    };
    let (status, told) = refused("* | stats count() by host.name | lookup people host.name");
    let detail = told["detail"].as_str().unwrap();
    assert_eq!(status, 400, "{told}");
    assert!(detail.contains("no table `people`; there are: hosts"), "{told}");
    std::fs::write(&table, "host,owner\nweb-3,a,b\n").unwrap();
    let (status, told) = refused(query);
    assert!(status == 400 && told["detail"].as_str().unwrap().contains("row 2"), "{told}");
    let checked = run(&["check", "-c", server.config.to_str().unwrap()]);
    assert_eq!(code(&checked), Some(3));
    assert!(String::from_utf8_lossy(&checked.stderr).contains("hosts.csv"));
}

/// Scenario: a search that counts by user is run every ten seconds while events come in all the time; the
/// server is killed and comes back meanwhile; then it is turned off. Others try without the right, and what
/// cannot be scheduled.
/// Guarantees: the counts of all alerts of a user add up to the events that came from the start to the last
/// run, so none is missed and none counted twice; alerts tell the row; each run is on record; what is off
/// raises nothing more.
#[test]
fn a_search_on_a_schedule_counts_every_event_once() {
    let mut server = server("");
    let (analyst, engineer) = (token(&server, "analyst"), token(&server, "analyst,engineer"));
    let put = |server: &Server, token: &str, name: &str, body: Value| {
        server.ask("PUT", &format!("/api/v1/searches/{name}"), token, &body.to_string())
    };
    let query = "message:frotz | stats count() as n by user.name | where n > 0";
    let wish = json!({"query": query, "alert": {"level": "high", "every": "10s"}});
    assert_eq!(put(&server, &analyst, "often", wish.clone()).0, 403);
    for (query, every, what) in [
        (query, "1s", "from 10s to"),
        (query, "soon", "from 10s to"),
        ("message:frotz", "10s", "gives a table"),
        ("message:frotz | head 3", "10s", "gives a table"),
    ] {
        let wish = json!({"query": query, "alert": {"level": "high", "every": every}});
        let (status, told) = put(&server, &engineer, "often", wish);
        assert_eq!(status, 400, "{told}");
        assert!(told["detail"].as_str().unwrap().contains(what), "{told}");
    }
    let timed = json!({"query": query, "since": "1h", "alert": {"level": "high", "every": "10s"}});
    assert_eq!(put(&server, &engineer, "often", timed).0, 400);
    let (status, saved) = put(&server, &engineer, "often", wish);
    assert_eq!(status, 200, "{saved}");
    assert_eq!(saved["alert"]["every"], "10s");
    let run = |server: &Server| {
        let all = server.get("/api/v1/searches");
        all["searches"].as_array().unwrap()[0]["alert"]["last_run"].clone()
    };
    server.eventually("its beginning", |s| run(s).is_object().then_some(()));

    let send = |server: &Server| {
        let event =
            |user: &str| format!("{{\"message\":\"frotz\",\"user\":{{\"name\":\"{user}\"}}}}\n");
        server.ingest(&(event("ana").repeat(3) + &event("bo")));
    };
    let raised = |server: &Server| -> Vec<Value> {
        let all = server.get("/api/v1/alerts?state=all&limit=500");
        let ours = all["alerts"].as_array().unwrap().iter();
        ours.filter(|a| a["rule_id"] == "search.often").cloned().collect()
    };
    let begun = std::time::Instant::now();
    let (mut sent, mut killed) = (0, false);
    while begun.elapsed() < std::time::Duration::from_secs(32) {
        send(&server);
        sent += 3;
        std::thread::sleep(std::time::Duration::from_millis(150));
        if !killed && begun.elapsed() > std::time::Duration::from_secs(14) {
            server.kill();
            server.start_again();
            killed = true;
        }
    }
    let through = server.get("/api/v1/searches");
    assert!(through["searches"][0]["can_tail"] == false);
    // The last run is one that has seen everything.
    let counted = |server: &Server| -> u64 {
        raised(server)
            .iter()
            .filter(|a| a["entity"]["user.name"] == "ana")
            .map(|a| {
                let shown = server.get(&format!("/api/v1/alerts/{}", a["id"].as_str().unwrap()));
                let facts = &shown["alert"]["explanation"]["correlation"];
                facts["n"].as_str().unwrap().parse::<u64>().unwrap()
            })
            .sum()
    };
    server.eventually("all are counted", |s| (counted(s) >= sent).then_some(()));
    assert_eq!(counted(&server), sent);
    let alerts = raised(&server);
    assert!(alerts.len() >= 3, "{alerts:?}");
    let first = alerts.iter().find(|a| a["entity"]["user.name"] == "ana").unwrap();
    assert_eq!((&first["level"], &first["title"]), (&json!("high"), &json!("often")));
    assert!(first["reason"].as_str().unwrap().starts_with("often: user.name: ana, n: "), "{first}");
    let runs = audit(&server).iter().filter(|a| a.0 == "search.run" && a.2 == "often").count();
    assert!(runs >= 3, "{runs} runs");

    assert_eq!(code(&verb(&server, &engineer, &["searches", "alert", "often", "off"])), Some(0));
    let before = raised(&server).len();
    send(&server);
    std::thread::sleep(std::time::Duration::from_secs(12));
    assert_eq!(raised(&server).len(), before);
    let again = ["searches", "alert", "often", "low", "--every", "1m"];
    assert_eq!(code(&verb(&server, &engineer, &again)), Some(0));
    server.eventually("a new beginning", |s| {
        let run = run(s);
        (run.is_object() && run["from"] == run["until"]).then_some(())
    });
}
