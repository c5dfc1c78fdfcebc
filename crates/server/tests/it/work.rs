//! Working on alerts over the API: taking, giving, noting, many at once, and who may do what.

use super::harness::{PATIENCE, Server};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier};
use std::time::Duration;

const RULE: &str = "title: Marker seen\nid: 55555555-5555-4555-8555-555555555555\nlogsource: {product: linux}\ndetection:\n  sel:\n    - xyzzy\n  condition: sel\nlevel: high\n";

/// A server with a rule, and an alert per user.
struct Desk {
    server: Server,
    _rules: tempfile::TempDir,
}

impl Desk {
    fn with(users: &[&str]) -> Self {
        let rules = tempfile::tempdir().unwrap();
        std::fs::write(rules.path().join("marker.yml"), RULE).unwrap();
        let server = Server::start(&format!("rules: ['{}']\n", rules.path().display()));
        let desk = Self { server, _rules: rules };
        if users.is_empty() {
            return desk;
        }
        let lines: Vec<String> = users
            .iter()
            .map(|user| json!({"message": "xyzzy", "user": {"name": user}}).to_string() + "\n")
            .collect();
        desk.server.ingest(&lines.concat());
        desk.server.eventually("the alerts", |_| {
            (desk.alerts("state=all").len() == users.len()).then_some(())
        });
        desk
    }

    fn alerts(&self, filter: &str) -> Vec<Value> {
        let found = self.server.get(&format!("/api/v1/alerts?limit=500&{filter}"));
        found["alerts"].as_array().unwrap().clone()
    }

    /// A new token of that role: its text and its identity.
    fn token(&self, name: &str, role: &str) -> (String, String) {
        let wish = json!({"name": name, "role": role, "expires_in": "1h"}).to_string();
        let (status, made) =
            self.server.ask("POST", "/api/v1/tokens", &self.server.admin_token, &wish);
        assert_eq!(status, 200, "{made}");
        let id = made["id"].as_str().unwrap();
        (made["token"].as_str().unwrap().to_owned(), format!("token:{id}"))
    }

    fn post(&self, token: &str, path: &str, body: &Value) -> (u16, Value) {
        self.server.ask("POST", &format!("/api/v1{path}"), token, &body.to_string())
    }

    /// Lines of an event stream as they come; the channel closes with the stream.
    fn follow(&self, path: &str, token: &str) -> Receiver<String> {
        let mut stream = TcpStream::connect(self.server.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET /api/v1{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            // A chunked body ends with a chunk of nothing.
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if line == "0" || tell.send(line).is_err() {
                    return;
                }
            }
        });
        told
    }
}

fn wait_for(told: &Receiver<String>, what: &str) {
    loop {
        let line = told.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|_| panic!("no `{what}` on the stream"));
        if line.contains(what) {
            return;
        }
    }
}

/// Scenario: two analysts work on an alert: take it, give it to each other, write notes, close it.
/// Guarantees: each step is in the history with who did it; an alert goes to nobody who cannot work on
/// it, and a note has words.
#[test]
fn an_alert_is_taken_given_noted_and_closed_by_people_with_names() {
    let desk = Desk::with(&["eve"]);
    let (kim, kim_is) = desk.token("kim", "analyst");
    let (_, lee_is) = desk.token("lee", "analyst");
    let (_, reader_is) = desk.token("rea", "reader");
    let id = desk.alerts("")[0]["id"].as_str().unwrap().to_owned();
    let step = |path: &str, body: Value| desk.post(&kim, &format!("/alerts/{id}/{path}"), &body);

    let (status, taken) = step("triage", json!({"to": "acknowledged", "take": true}));
    assert_eq!((status, taken["assignee"].as_str()), (200, Some(kim_is.as_str())), "{taken}");
    assert_eq!(step("assign", json!({"assignee": lee_is})).1["assignee"], json!(lee_is));
    for nobody in [reader_is.as_str(), "token:0000000000000000", "user:root", ""] {
        let (status, refused) = step("assign", json!({ "assignee": nobody }));
        assert_eq!(status, 400, "{nobody}: {refused}");
    }
    assert_eq!(step("assign", json!({})).0, 422, "nobody has to be said");
    assert_eq!(step("note", json!({"text": "  "})).0, 400);
    assert_eq!(step("note", json!({"text": "x".repeat(9_000)})).0, 400);
    assert_eq!(step("note", json!({"text": "seen <b>before</b>"})).0, 200);
    assert_eq!(step("assign", json!({"assignee": null})).1["assignee"], Value::Null);
    assert_eq!(step("assign", json!({"assignee": "me"})).1["assignee"], json!(kim_is));
    let close = json!({"to": "closed", "disposition": "true_positive", "why": "phished"});
    assert_eq!(step("triage", close).1["state"], "closed");
    assert_eq!(desk.post(&kim, "/alerts/none/note", &json!({"text": "x"})).0, 404);

    let history = desk.server.get(&format!("/api/v1/alerts/{id}"))["history"].clone();
    let history = history.as_array().unwrap();
    let actions: Vec<&str> = history
        .iter()
        .map(|r| r["action"].as_str().unwrap())
        .filter(|a| *a != "delivery")
        .collect();
    let expected = ["triage", "assign", "assign", "note", "assign", "assign", "triage"];
    assert_eq!(actions, expected, "{history:#?}");
    assert!(history.iter().all(|r| r["action"] == "delivery" || r["who"] == kim_is.as_str()));

    let people = desk.server.get("/api/v1/people")["people"].clone();
    let lee = people.as_array().unwrap().iter().find(|p| p["identity"] == lee_is.as_str());
    assert_eq!(lee.unwrap()["name"], "lee");
    let can: Vec<bool> = people
        .as_array()
        .unwrap()
        .iter()
        .filter(|p| p["identity"] == reader_is.as_str())
        .map(|p| p["can_triage"].as_bool().unwrap())
        .collect();
    assert_eq!(can, [false]);
}

/// Scenario: changes of many alerts: of exactly some, of all that match, and with mistakes in the filter.
/// Guarantees: what is named or matches is changed and nothing else; a mistake changes nothing; open
/// pages are told once.
#[test]
fn many_alerts_are_changed_as_asked_and_no_mistake_widens_it() {
    let desk = Desk::with(&["u1", "u2", "u3", "u4", "u5"]);
    let (kim, kim_is) = desk.token("kim", "analyst");
    let ids: Vec<Value> = desk.alerts("")[..2].iter().map(|a| a["id"].clone()).collect();
    let news = desk.follow("/stream", &kim);
    wait_for(&news, "event: overview");

    let close = |filter: Value| {
        let step = json!({"filter": filter, "to": "closed", "disposition": "false_positive",
                          "why": "a test"});
        desk.post(&kim, "/alerts/triage", &step)
    };
    for mistake in [
        json!({"ids": []}),
        json!({"idz": ids}),
        json!({"order": 7}),
        json!({"order": "severity"}),
        json!({"limit": 2}),
        json!({"cursor": "1.x"}),
        json!({"until": "soon"}),
    ] {
        let (status, refused) = close(mistake.clone());
        assert!(status == 400 || status == 422, "{mistake}: {status} {refused}");
    }
    assert_eq!(desk.alerts("").len(), 5, "no mistake changed anything");

    let (status, changed) = desk.post(
        &kim,
        "/alerts/triage",
        &json!({"filter": {"ids": ids, "state": "all"}, "to": "acknowledged", "take": true}),
    );
    assert_eq!((status, &changed), (200, &json!({"changed": 2, "left_alone": 0})));
    wait_for(&news, "event: reload");
    assert_eq!(desk.alerts("state=acknowledged").len(), 2);
    let count = |filter: &str| desk.alerts(filter).len();
    assert_eq!([count(&format!("assignee={kim_is}")), count("assignee=none")], [2, 3]);
    let mine = desk.server.ask("GET", "/api/v1/alerts?assignee=me", &kim, "").1;
    assert_eq!(mine["matching"], 2);
    let give = json!({"filter": {"q": "u"}, "assignee": "me"});
    assert_eq!(desk.post(&kim, "/alerts/assign", &give).1, json!({"changed": 3, "left_alone": 2}));
    let times = desk.alerts("");
    let times: Vec<&str> = times.iter().filter_map(|a| a["stream_time"].as_str()).collect();
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    let newest = desk.server.get("/api/v1/alerts")["newest"].clone();
    assert_eq!(newest.as_str(), Some(*last));
    let nothing = json!({"changed": 0, "left_alone": 0});
    assert_eq!(close(json!({"until": first})).1, nothing, "none fired before the first");
    assert_eq!(close(json!({"level": "high"})).1, json!({"changed": 5, "left_alone": 0}));
    assert_eq!((count(""), count("order=severity&state=all")), (0, 5));
    // Who is named is meant, closed or not, unless a state is asked for.
    let reopen = |filter: Value| {
        desk.post(&kim, "/alerts/triage", &json!({"filter": filter, "to": "new", "why": "again"})).1
    };
    assert_eq!(reopen(json!({"ids": ids, "state": "open"})), nothing);
    assert_eq!(reopen(json!({"ids": ids})), json!({"changed": 2, "left_alone": 0}));
    let unknown = desk.server.ask("GET", "/api/v1/alerts?order=best", &kim, "");
    assert_eq!(unknown.0, 400, "{}", unknown.1);
}

/// Scenario: each step by somebody who may read alerts but not work on them; the audit log by somebody
/// who is no auditor.
/// Guarantees: all steps are refused; what one did oneself can be read, what others did cannot.
#[test]
fn who_may_only_read_changes_nothing_and_sees_only_own_records() {
    let desk = Desk::with(&["eve"]);
    let (reader, _) = desk.token("rea", "reader");
    let (kim, kim_is) = desk.token("kim", "analyst");
    let id = desk.alerts("")[0]["id"].as_str().unwrap().to_owned();
    for (path, body) in [
        (format!("/alerts/{id}/triage"), json!({"to": "acknowledged"})),
        (format!("/alerts/{id}/assign"), json!({"assignee": "me"})),
        (format!("/alerts/{id}/note"), json!({"text": "x"})),
        ("/alerts/triage".into(), json!({"filter": {}, "to": "acknowledged"})),
        ("/alerts/assign".into(), json!({"filter": {}, "assignee": "me"})),
        ("/exports".into(), json!({"query": "*"})),
        ("/tokens".into(), json!({"name": "x", "role": "admin"})),
    ] {
        assert_eq!(desk.post(&reader, &path, &body).0, 403, "{path}");
    }
    assert_eq!(desk.alerts("")[0]["state"], "new");
    assert_eq!(desk.post(&kim, &format!("/alerts/{id}/note"), &json!({"text": "x"})).0, 200);
    let audit = |token: &str, query: &str| {
        let (status, found) =
            desk.server.ask("GET", &format!("/api/v1/audit?limit=500&{query}"), token, "");
        assert_eq!(status, 200, "{found}");
        found
    };
    let own = audit(&kim, "");
    assert_eq!(own["own_only"], true);
    assert!(own["records"].as_array().unwrap().iter().all(|r| r["who"] == kim_is.as_str()));
    assert_eq!(audit(&reader, &format!("who={kim_is}"))["records"], json!([]), "asked for another");
    let whole = audit(&desk.server.admin_token, "action=alert&since=1h");
    assert_eq!(whole["records"][0]["action"], "alert.note", "{whole}");
    assert_eq!(whole["records"][0]["who_name"], "kim");
    assert_eq!(audit(&desk.server.admin_token, "until=1h")["records"], json!([]));
    let (ingest, _) = desk.token("sender", "ingest");
    assert_eq!(desk.server.ask("GET", "/api/v1/audit", &ingest, "").0, 403);
}

/// The table of routes, for what has to hold for all of a kind.
const ROUTES: &str = include_str!("../../src/api/routes.rs");

/// An answer that goes on: true once it has ended, however.
type Ended = Arc<AtomicBool>;

/// Opens every route that answers for as long as somebody listens. Out: their paths, and whether each
/// has ended.
fn open_streams(server: &Server, token: &str) -> Vec<(String, Ended)> {
    let gets = ROUTES.lines().filter_map(|l| l.trim().strip_prefix("(\"GET\", \""));
    let paths = gets.filter_map(|l| l.split_once('"')).map(|(path, _)| path);
    let mut out = Vec::new();
    for path in paths.filter(|path| !path.contains('{')) {
        let query = match path.starts_with("/loki") {
            true => "?query=%7Balcedo_source%3D%22http%22%7D",
            false => "",
        };
        let mut stream = TcpStream::connect(server.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET {path}{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let (mut reader, mut head) = (BufReader::new(stream), String::new());
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{path}: {head}");
        }
        if !head.starts_with("HTTP/1.1 101") && !head.contains("text/event-stream") {
            continue;
        }
        let ended = Ended::default();
        out.push((path.to_owned(), ended.clone()));
        std::thread::spawn(move || {
            // A chunked body ends with a chunk of nothing, everything else with the connection.
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) && line != b"0\r\n" {
                line.clear();
            }
            ended.store(true, Relaxed);
        });
    }
    out
}

/// Scenario: somebody signs in with a token, follows every stream there is, and the token is revoked.
/// Guarantees: the session says who it is and what it may; it is over at once, and so are streams.
#[test]
fn a_revoked_token_ends_its_sessions_and_streams() {
    let desk = Desk::with(&["eve"]);
    let (kim, kim_is) = desk.token("kim", "analyst");
    let body = json!({"token": kim}).to_string();
    let (status, head, who) = sign_in(&desk.server, &body);
    assert_eq!(status, 200, "{who}");
    assert_eq!((who["name"].as_str(), who["display_name"].as_str()), (Some(&*kim_is), Some("kim")));
    let may: Vec<&str> = who["may"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(may.contains(&"alerts_triage") && !may.contains(&"tokens_manage"), "{may:?}");
    let cookie = head.lines().find_map(|l| l.strip_prefix("set-cookie: ")).unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let with_cookie =
        || desk.server.send("GET", "/api/v1/alerts", "", &[("Cookie", &cookie)], b"").0;
    assert_eq!(with_cookie(), 200);
    let news = desk.follow("/stream", &kim);
    wait_for(&news, "event: overview");
    let streams = open_streams(&desk.server, &kim);
    let paths: Vec<&str> = streams.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/api/v1/stream", "/api/v1/tail", "/loki/api/v1/tail"]);
    std::thread::sleep(Duration::from_secs(2));
    assert!(streams.iter().all(|(_, ended)| !ended.load(Relaxed)), "they go on while it is good");

    let id = kim_is.strip_prefix("token:").unwrap();
    let path = format!("/api/v1/tokens/{id}");
    assert_eq!(desk.server.ask("DELETE", &path, &desk.server.admin_token, "").0, 200);
    assert_eq!(with_cookie(), 401);
    for (path, ended) in &streams {
        desk.server.eventually(path, |_| ended.load(Relaxed).then_some(()));
    }
    for name in ["", "  ", &"x".repeat(101)] {
        let wish = json!({"name": name, "role": "reader"});
        let (status, refused) = desk.post(&desk.server.admin_token, "/tokens", &wish);
        assert_eq!(status, 400, "a token for `{name}`: {refused}");
    }
    let tokens = desk.server.get("/api/v1/tokens")["tokens"].clone();
    let record = tokens.as_array().unwrap().iter().find(|t| t["id"] == id).unwrap();
    assert_eq!((&record["is_good"], &record["created_by_name"]), (&json!(false), &json!("local")));
}

/// Scenario: somebody reads the beginning of a long answer, of a search, of SQL and of a hunt, and no more; the token is
/// revoked, then the reader goes on.
/// Guarantees: the answers end there, unfinished, and the place of the hunt is free again.
#[test]
fn a_revoked_token_ends_long_answers() {
    let desk = Desk::with(&[]);
    let text = format!("xyzzy {}", "a long line ".repeat(300));
    // More than the buffers between server and reader take, and more than a hunt goes through in a moment.
    for _ in 0..20 {
        let line = |n| json!({"message": text, "n": n}).to_string() + "\n";
        desk.server.ingest(&(0..500).map(line).collect::<String>());
    }
    desk.server.eventually("all rows", |server| {
        // With a limit, files that are older than what it takes are not looked at.
        let asked = json!({"query": "xyzzy | stats count() as n"}).to_string();
        let (_, found) = server.ask("POST", "/api/v1/search", &server.admin_token, &asked);
        (found["rows"][0]["n"] == 10_000).then_some(())
    });
    // A server that is behind answers one search at a time.
    desk.server.eventually("no lag", |s| (s.metric("alcedo_degraded_level")? == 0.0).then_some(()));
    let (kim, kim_is) = desk.token("kim", "analyst");
    // A line of a hunt names rule and event only: one rule's are soon said.
    let rules: Vec<_> =
        (10..50).map(|n| RULE.replacen("55555555", &format!("555555{n}"), 1)).collect();
    let answers: Vec<_> = [
        ("/api/v1/search", json!({"query": "xyzzy", "limit": 0})),
        ("/api/v1/sql", json!({"sql": "select * from events", "limit": 0})),
        ("/api/v1/hunt", json!({"rules": rules})),
    ]
    .map(|(path, body)| (path, begin(&desk.server, &kim, path, &body.to_string())))
    .into();
    let id = kim_is.strip_prefix("token:").unwrap();
    let path = format!("/api/v1/tokens/{id}");
    assert_eq!(desk.server.ask("DELETE", &path, &desk.server.admin_token, "").0, 200);
    std::thread::sleep(Duration::from_secs(3));
    for (path, mut reader) in answers {
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut rest).unwrap();
        let rest = String::from_utf8_lossy(&rest);
        assert!(!rest.contains("alcedo.summary"), "{path}: {} bytes", rest.len());
        // Whoever still can read is told that this is not all.
        assert!(
            rest.contains("alcedo.error") && rest.contains("token"),
            "{path}: {} bytes",
            rest.len()
        );
    }
    let hunt = json!({"rules": [RULE]}).to_string();
    let (status, _) = desk.server.ask("POST", "/api/v1/hunt", &desk.server.admin_token, &hunt);
    assert_eq!(status, 200, "the place for a hunt is free");
}

/// Asks for an answer as lines, and reads its first.
fn begin(server: &Server, token: &str, path: &str, body: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(server.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nAccept: application/x-ndjson\r\n\
         Connection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let (mut reader, mut head) = (BufReader::new(stream), String::new());
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{path}: {head}");
    }
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    reader.read_line(&mut first).unwrap();
    assert!(first.contains('{'), "{path}: {first}");
    reader
}

/// Signs in for a cookie: status, head and body of the answer.
fn sign_in(server: &Server, body: &str) -> (u16, String, Value) {
    let mut stream = TcpStream::connect(server.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "POST /api/v1/session HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

/// Scenario: an analyst, who may not change rules, edits a saved search in the moment in which somebody
/// else has it raise alerts; many times over.
/// Guarantees: it raises alerts in the end, as the one who may was told; what the analyst wrote is there
/// if it was taken, and is not if it was refused.
#[test]
fn nobody_changes_a_rule_by_being_quick() {
    let desk = Desk::with(&[]);
    let (kim, _) = desk.token("kim", "analyst");
    let put = |token: &str, path: &str, body: Value| {
        desk.server.ask("PUT", &format!("/api/v1/searches/{path}"), token, &body.to_string())
    };
    for round in 0..12 {
        let name = format!("s{round}");
        assert_eq!(put(&kim, &name, json!({"query": "message:one"})).0, 200);
        let together = Barrier::new(2);
        let (edited, raised) = std::thread::scope(|scope| {
            let edit = scope.spawn(|| {
                together.wait();
                put(&kim, &name, json!({"query": "message:two"})).0
            });
            together.wait();
            let path = format!("{name}/alert");
            let raised = put(&desk.server.admin_token, &path, json!({"level": "high"}));
            (edit.join().unwrap(), raised)
        });
        assert_eq!(raised.0, 200, "{}", raised.1);
        let rows = desk.server.get("/api/v1/searches")["searches"].clone();
        let row = rows.as_array().unwrap().iter().find(|r| r["name"] == name.as_str()).unwrap();
        let query = if edited == 200 { "message:two" } else { "message:one" };
        assert!(edited == 200 || edited == 403, "{edited}");
        assert_eq!((&row["query"], &row["alert"]["level"]), (&json!(query), &json!("high")));
    }
}

/// Scenario: a rule in force is asked for by its id.
/// Guarantees: its text is told as it was read; one that is not in force is not found.
#[test]
fn a_rule_in_force_shows_its_text() {
    let desk = Desk::with(&[]);
    let rule = desk.server.get("/api/v1/rules/55555555-5555-4555-8555-555555555555");
    assert_eq!(
        (rule["title"].as_str(), rule["state"].as_str()),
        (Some("Marker seen"), Some("live"))
    );
    assert_eq!(rule["yaml"].as_str().map(str::trim), Some(RULE.trim()));
    assert_eq!(desk.server.ask("GET", "/api/v1/rules/none", &desk.server.admin_token, "").0, 404);
}
