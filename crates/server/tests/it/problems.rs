//! What the API answers when a request is wrong: one form, whatever is wrong and wherever it is noticed.

use super::harness::Server;
use serde_json::{Value, json};
use server::api::routes::{Access, ROUTES};
use std::io::{Read, Write};
use std::net::TcpStream;

/// Routes that take no JSON: what is sent there is records, or nothing.
const NO_JSON: [&str; 5] = [
    "/api/v1/ingest",
    "/api/v1/rules/reload",
    "/api/v1/backups",
    "/v1/logs",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
];

/// Status, type and body of an answer.
fn ask(
    server: &Server,
    (method, path): (&str, &str),
    token: &str,
    (kind, body): (&str, &str),
) -> (u16, String, String) {
    let mut stream = TcpStream::connect(server.http).unwrap();
    let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         {kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let kind = head
        .lines()
        .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-type: ").map(str::to_owned));
    (status, kind.unwrap_or_default(), body.to_owned())
}

fn check(what: &str, (status, kind, body): &(u16, String, String)) {
    assert_eq!(kind, "application/problem+json", "{what}: {status} {body}");
    let problem: Value =
        serde_json::from_str(body).unwrap_or_else(|e| panic!("{what}: {e} {body}"));
    assert_eq!(problem["status"], *status, "{what}");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(problem["title"].is_string() && detail.len() > 10, "{what}: {body}");
}

/// Scenario: to each route that takes JSON, by somebody who may use it: a body that is cut, that is of
/// another shape, that is not said to be JSON, and none.
/// Guarantees: each answer is a problem with a status, a title and a sentence about the body; so are
/// those about parameters, parts of the path, methods and routes that do not exist.
#[test]
fn everything_wrong_with_a_request_is_a_problem() {
    let server = Server::start("");
    let roles = ["reader", "analyst", "engineer", "admin", "custodian"];
    let tokens = roles.map(|role| {
        let wish = json!({"name": role, "role": role}).to_string();
        let (status, made) = server.ask("POST", "/api/v1/tokens", &server.admin_token, &wish);
        assert_eq!(status, 200, "{made}");
        made["token"].as_str().unwrap().to_owned()
    });
    let allowed = |route: (&str, &str), body: (&str, &str)| {
        let answers = tokens.iter().map(|token| ask(&server, route, token, body));
        let allowed = answers.into_iter().find(|answer| answer.0 != 403);
        allowed.unwrap_or_else(|| panic!("nobody may use {route:?}"))
    };
    let takes_json =
        |(method, path): (&str, &str)| matches!(method, "POST" | "PUT") && !NO_JSON.contains(&path);
    let mut walked = 0;
    // Others' protocols have words of their own.
    let own = ROUTES.iter().filter(|(.., access)| !matches!(access, Access::Speaks(..)));
    for (method, path, _) in own.filter(|(method, path, _)| takes_json((method, path))) {
        let filled = path.replace("{id}", "1").replace("{name}", "a");
        let cases = [
            ("application/json", "{\"a\":", 400, "not JSON"),
            ("application/json", "7", 422, "not what this route takes"),
            ("text/plain", "{}", 415, "application/json"),
            ("", "", 415, "application/json"),
        ];
        for (kind, body, status, words) in cases {
            let answer = allowed((method, &filled), (kind, body));
            let what = format!("{method} {path} {kind} {body}");
            check(&what, &answer);
            assert_eq!(answer.0, status, "{what}: {}", answer.2);
            assert!(answer.2.contains(words), "{what}: {}", answer.2);
        }
        walked += 1;
    }
    assert!(walked >= 14, "{walked} routes");
    for (method, path) in [
        ("GET", "/api/v1/alerts?limit=many"),
        ("GET", "/api/v1/search/histogram?buckets=-1"),
        ("GET", "/api/v1/search/values?limit=x&field=a"),
        ("GET", "/api/v1/audit?limit=x"),
        ("GET", "/api/v1/events/1/around?minutes=x"),
        ("DELETE", "/api/v1/holds/first?reason=x"),
        ("GET", "/api/v1/exports/a/files/one"),
        ("GET", "/api/v1/events/%FF"),
        ("GET", "/api/v1/nothing"),
        ("PATCH", "/api/v1/search"),
        ("GET", "/api/v1/sql"),
    ] {
        let answer = allowed((method, path), ("", ""));
        check(&format!("{method} {path}"), &answer);
        assert!((400..500).contains(&answer.0), "{method} {path}: {}", answer.0);
    }
}
