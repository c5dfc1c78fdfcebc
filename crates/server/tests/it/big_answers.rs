//! Large answers: the server does not grow by more than a search may use.

use super::harness::Server;
use serde_json::Value;
use std::time::Duration;

/// What a search may use: `store::search::MEMORY_BYTES_DEFAULT`.
const LIMIT_BYTES: u64 = 256 << 20;
/// Rows of twice 60 kB each (the record and its message): 64 MiB of answer and some more.
const ROWS: usize = 580;
/// Their text: a row group is in memory while it is searched, which no limit counts.
const GROUP_BYTES: u64 = ROWS as u64 * 120_000;

fn status(server: &Server, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

/// Peak memory while `work` runs, above what there was before.
fn growth(server: &Server, work: impl FnOnce() -> usize) -> u64 {
    // The peak is counted anew from here.
    std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5").unwrap();
    let before = status(server, "VmRSS:");
    let bytes = work();
    assert!(bytes > 64 << 20, "only {bytes} bytes came");
    status(server, "VmHWM:").saturating_sub(before)
}

/// Scenario: answers of more than 64 MiB, from files, as a document, as lines, sorted.
/// Guarantees: each is whole, and memory grows by less than the limit of a search and the row group that
/// is searched; a document, which cannot be sent before its end is known, by one more limit.
#[test]
fn an_answer_of_64_mib_stays_within_its_limit() {
    let server = Server::start("limits: {hot_rows: 1MiB}\n");
    let filler = "a long text of some words ".repeat(60_000 / 26);
    for part in 0..ROWS / 20 {
        let line = |n: usize| format!("{{\"message\":\"big {part} {n} {filler}\"}}\n");
        server.ingest(&(0..20).map(line).collect::<String>());
    }
    server.eventually_within(Duration::from_secs(300), "the events in files", |s| {
        let count = s.search("big | stats count()")[0]["count"].as_u64()?;
        let hot = s.metric("alcedo_store_hot_bytes")?;
        (count == ROWS as u64 && hot < (8 << 20) as f64).then_some(())
    });
    let post = |path: &str, accept: &str, body: Value| {
        let headers = [("Content-Type", "application/json"), ("Accept", accept)];
        let body = body.to_string();
        let token = &server.admin_token;
        let bearer = format!("Bearer {token}");
        let headers = [headers[0], headers[1], ("Authorization", &*bearer)];
        let (status, answer) =
            super::browser::http(server.http, "POST", path, &headers, body.as_bytes());
        assert_eq!(status, 200, "{path}");
        let end = String::from_utf8_lossy(&answer[answer.len() - 2_000..]).into_owned();
        assert!(end.contains("\"partial\":false"), "{path}: {end}");
        assert!(end.contains(&format!("\"returned\":{ROWS}")), "{path}: {end}");
        answer.len()
    };
    let search = |query: &str| serde_json::json!({"query": query, "limit": 0});
    let asked = [
        ("document", "/api/v1/search", "application/json", search("big")),
        ("lines", "/api/v1/search", "application/x-ndjson", search("big")),
        ("sorted", "/api/v1/search", "application/x-ndjson", search("big | sort message")),
    ];
    let mut told = Vec::new();
    for (name, path, accept, body) in asked {
        let grown = growth(&server, || post(path, accept, body));
        println!("{name}: {} MiB", grown >> 20);
        told.push((name, grown));
    }
    for (name, grown) in told {
        // A document is whole in memory before it is sent, beside the row group that is searched.
        let most = if name == "document" { 2 * LIMIT_BYTES } else { LIMIT_BYTES };
        assert!(grown < most + GROUP_BYTES, "{name} grew the server by {} MiB", grown >> 20);
    }
}
