//! Elasticsearch's `_bulk` against the real binary: clients, answers, what becomes of documents.

use super::browser::http;
use super::harness::Server;
use base64::Engine;
use serde_json::{Value, json};
use std::process::Command;

fn token(server: &Server, role: &str) -> String {
    let wish = json!({"name": role, "role": role, "sources": ["http"]}).to_string();
    let (status, made) = server.ask("POST", "/api/v1/tokens", &server.admin_token, &wish);
    assert_eq!(status, 200, "{made}");
    made["token"].as_str().unwrap().to_owned()
}

fn ask(server: &Server, method: &str, path: &str, auth: &str, body: &[u8]) -> (u16, Value) {
    let headers: &[(&str, &str)] = match auth {
        "" => &[],
        auth => &[("Authorization", auth)],
    };
    let (status, answer) = http(server.http, method, path, headers, body);
    (status, serde_json::from_slice(&answer).unwrap_or_default())
}

fn found(server: &Server, query: &str, rows: usize) -> Vec<Value> {
    server.eventually(query, |s| {
        let found = s.search(query);
        (found.len() == rows).then_some(found)
    })
}

/// Scenario: every way to send a token, and none, a wrong one, one that may not write, to every kind of
/// route.
/// Guarantees: 401 and 403 in Elasticsearch's words; who may not write writes nothing; `GET /` is the page
/// for browsers and a handshake for all others.
#[test]
fn who_may_write_is_who_may_elsewhere() {
    let server = Server::start("elasticsearch: {version: 8.11.3}\n");
    let (good, reader) = (token(&server, "ingest"), token(&server, "reader"));
    let base64 = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let body = b"{\"create\":{\"_index\":\"i\"}}\n{\"message\":\"bulk-auth\"}\n";
    let ways = [
        format!("ApiKey {}", base64(format!("some-id:{good}"))),
        format!("ApiKey {good}"),
        format!("Basic {}", base64(format!("elastic:{good}"))),
        format!("Bearer {good}"),
    ];
    for auth in &ways {
        let (status, answer) = ask(&server, "POST", "/_bulk", auth, body);
        assert_eq!((status, &answer["errors"]), (200, &json!(false)), "{auth}: {answer}");
    }
    let denied = b"{\"create\":{\"_index\":\"i\"}}\n{\"message\":\"bulk-denied\"}\n";
    for (method, path) in [
        ("POST", "/_bulk"),
        ("PUT", "/_bulk"),
        ("POST", "/i/_bulk"),
        ("PUT", "/i/_bulk"),
        ("GET", "/_license"),
        ("PUT", "/_ilm/policy/p"),
    ] {
        for (auth, status) in [
            ("", 401),
            ("ApiKey nonsense", 401),
            ("Basic nonsense", 401),
            (&*format!("Bearer {good}0"), 401),
            (&*format!("Bearer {reader}"), 403),
        ] {
            let (got, answer) = ask(&server, method, path, auth, denied);
            assert_eq!(got, status, "{method} {path} {auth}: {answer}");
            assert_eq!(answer["error"]["type"], "security_exception");
        }
    }
    let (status, answer) = ask(&server, "GET", "/", "", b"");
    assert_eq!((status, &answer["version"]["number"]), (200, &json!("8.11.3")));
    assert_eq!(http(server.http, "HEAD", "/", &[], b"").0, 200);
    let (_, page) = http(server.http, "GET", "/", &[("Accept", "text/html,*/*;q=0.8")], b"");
    assert!(String::from_utf8_lossy(&page).starts_with("<!doctype html>"));
    let asked = ["/_license", "/_xpack", "/_cluster/health", "/_nodes/http", "/_index_template/t"];
    for path in asked {
        assert_eq!(ask(&server, "GET", path, &ways[1], b"").0, 200, "{path}");
    }
    let (status, answer) = ask(&server, "PUT", "/_ingest/pipeline/p", &ways[1], b"{}");
    assert_eq!((status, answer), (200, json!({"acknowledged": true})));
    found(&server, "bulk-auth", 4);
    assert_eq!(server.search("bulk-denied").len(), 0);
}

/// Scenario: all actions in one body with wrong ones among them, an index in the path, documents of Winlogbeat
/// and of nobody; bodies that are empty, no pairs of lines, too large, of too many operations.
/// Guarantees: one item per operation, in order; what an item says yes to is found, with index and id, as the
/// event that it would be alone; a document that is none is kept and marked; what a whole body is refused for
/// leaves nothing.
#[test]
fn each_operation_has_its_item_and_each_document_is_what_it_is() {
    let server = Server::start("limits: {memory: 432MiB}\n");
    let auth = format!("Bearer {}", token(&server, "ingest"));
    let winlog = r#"{"@timestamp":"2026-11-23T09:00:01Z","agent":{"type":"winlogbeat"},"winlog":{"channel":"Security","event_id":"4625","provider_name":"Microsoft-Windows-Security-Auditing","computer_name":"ws-17.example.org","event_data":{"TargetUserName":"bulk-anna","IpAddress":"10.0.0.66"}}}"#;
    let body = format!(
        "{{\"create\":{{\"_id\":\"a1\"}}}}\n{winlog}\n{{\"delete\":{{\"_id\":\"a0\"}}}}\n\
         {{\"index\":{{\"_index\":\"other\"}}}}\n{{\"message\":\"bulk-plain\"}}\n\
         {{\"index\":{{}}}}\n{{\"message\":\"bulk-cut\n{{\"update\":{{}}}}\n{{\"doc\":{{\"message\":\"bulk-part\"}}}}\n"
    );
    let (status, answer) =
        ask(&server, "PUT", "/winlogbeat-8/_bulk?refresh=true", &auth, body.as_bytes());
    assert_eq!((status, &answer["errors"]), (200, &json!(true)), "{answer}");
    let items = answer["items"].as_array().unwrap().iter();
    let told: Vec<(String, i64)> = items
        .map(|item| item.as_object().unwrap().iter().next().unwrap())
        .map(|(action, item)| (action.clone(), item["status"].as_i64().unwrap()))
        .collect();
    let expected =
        [("create", 201), ("delete", 400), ("index", 201), ("index", 400), ("update", 200)];
    assert_eq!(told, expected.map(|(action, status)| (action.to_owned(), status)));
    assert_eq!(answer["items"][0]["create"]["_id"], "a1");
    assert_eq!(answer["items"][3]["index"]["error"]["type"], "mapper_parsing_exception");
    let login = &found(&server, "user.name:bulk-anna", 1)[0];
    assert_eq!(
        (&login["alcedo.pack"], &login["elastic.bulk.id"]),
        (&json!("windows"), &json!("a1")),
        "{login:#}"
    );
    assert_eq!(
        (&login["elastic.bulk.index"], &login["source.ip"]),
        (&json!("winlogbeat-8"), &json!("10.0.0.66"))
    );
    assert!(login["@timestamp"].as_str().unwrap().starts_with("2026-11-23T09:00:01"));
    assert_eq!(found(&server, "bulk-plain", 1)[0]["elastic.bulk.index"], "other");
    found(&server, "bulk-part", 1);
    let cut = &found(&server, "tags:parse_failed", 1)[0];
    assert_eq!(cut["event.original"], "{\"message\":\"bulk-cut", "{cut:#}");
    let long = format!("/{}/_bulk", "i".repeat(300));
    let many = "{\"delete\":{}}\n".repeat(100_001);
    let large = format!("{{\"index\":{{}}}}\n{{\"m\":\"{}\"}}\n", "x".repeat(20 << 20));
    let wrong = "{\"index\":{}}\n{\"message\":\"bulk-lost\"}\nno action\n";
    for (path, body, status) in [
        ("/_bulk", "", 400),
        ("/i/_bulk", wrong, 400),
        ("/i/_bulk", &many, 413),
        ("/i/_bulk", &large, 413),
        (&long, "{\"index\":{}}\n{}\n", 400),
    ] {
        let (got, answer) = ask(&server, "POST", path, &auth, body.as_bytes());
        assert_eq!((got, &answer["status"]), (status, &json!(status)), "{answer}");
        assert!(answer["error"]["reason"].as_str().unwrap().len() > 10);
    }
    assert_eq!(server.search("bulk-lost").len(), 0);
}

/// Scenario: a ceiling of memory that the server exceeds with nothing to do.
/// Guarantees: 429 for the whole, with a time to come again.
#[test]
fn overload_is_told_as_rejected() {
    let server = Server::start("limits: {memory: 64KiB}\n");
    let body = "{\"index\":{\"_index\":\"i\"}}\n{\"m\":1}\n";
    let (status, retry, answer) = server.eventually("a refusal", |s| {
        let answer = s.post_to("/_bulk", "application/x-ndjson", body);
        (answer.0 != 200).then_some(answer)
    });
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, retry), (429, Some(1)), "{answer}");
    assert_eq!(answer["error"]["type"], "es_rejected_execution_exception");
}

/// Both clients of Python, as their users set them up.
const CLIENTS: &str = r#"
import sys
port, token = sys.argv[1], sys.argv[2]
import elasticsearch, opensearchpy
from elasticsearch import helpers as eh
from opensearchpy import helpers as oh
def actions(name):
    for n in range(1200):
        if n == 700:
            yield {'_op_type': 'delete', '_index': 'logs', '_id': 'x'}
        yield {'_op_type': 'create', '_index': 'logs-app-default', '_id': str(n), 'message': '%s %d' % (name, n)}
es = elasticsearch.Elasticsearch('http://127.0.0.1:' + port, api_key=token)
assert es.info()['tagline'] == 'You Know, for Search' and es.ping()
done, errors = eh.bulk(es, actions('from-es'), raise_on_error=False)
assert done == 1200 and len(errors) == 1 and errors[0]['delete']['status'] == 400, (done, errors)
assert es.bulk(operations=[{'index': {'_index': 'i'}}, {'message': 'from-es-raw'}])['errors'] is False
os = opensearchpy.OpenSearch('http://127.0.0.1:' + port, http_auth=('any', token), http_compress=True)
assert os.info()['version']['number']
done, errors = oh.bulk(os, actions('from-os'), raise_on_error=False)
assert done == 1200 and len(errors) == 1, (done, errors)
"#;

/// Scenario: elasticsearch-py and opensearch-py from PyPI send batches with a deletion in their midst.
/// Guarantees: they take the server for theirs, are told of the one error, and all documents are events.
#[test]
fn clients_of_python_are_taken() {
    let server = Server::start("");
    let (token, port) = (token(&server, "ingest"), server.http.port().to_string());
    let Ok(ran) = Command::new("python3").args(["-c", CLIENTS, &port, &token]).output() else {
        println!("skipped: python3 is missing");
        return;
    };
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    if said.contains("ModuleNotFoundError") {
        println!("skipped: pip install elasticsearch opensearch-py");
        return;
    }
    assert!(ran.status.success(), "{said}");
    for name in ["from-es", "from-os"] {
        found(&server, &format!("{name} and elastic.bulk.index:logs-app-default"), 1200);
    }
    found(&server, "from-es-raw", 1);
}
