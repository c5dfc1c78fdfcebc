//! Verbs that ask a running server: search, tail, around, alerts, rules, sources, tokens.

use super::{complain, output, say};
use crate::cli::store::{Searches, Sql};
use crate::cli::{Alerts, Around, Destinations, Global, Output, Search, Tail, Tokens};
use crate::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::run::bus::sampling_notice;
use event::text::render;
use serde_json::{Value, json};

/// Columns of an event in a table.
const EVENT_COLUMNS: [&str; 4] = ["@timestamp", "host.name", "event.action", "event.original"];
/// Longest cell of a table, in characters.
const CELL_CHARS_MAX: usize = 120;

pub(super) fn ask<T>(
    global: &Global,
    question: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime = crate::runtime()?;
    let client = {
        let _inside = runtime.enter();
        Client::of(global)?
    };
    runtime.block_on(question(&client))
}

/// `alcedo search`
pub fn search(args: &Search, global: &Global) -> Outcome {
    let body = json!({
        "query": args.query, "since": args.since, "until": args.until, "limit": args.limit,
    });
    print_found("/api/v1/search", body, global)
}

/// `alcedo sql`
pub fn sql(args: &Sql, global: &Global) -> Outcome {
    let sql = match &*args.statement {
        "-" => std::io::read_to_string(std::io::stdin())?,
        text => text.to_owned(),
    };
    let body = json!({"sql": sql, "since": args.since, "until": args.until, "limit": args.limit});
    print_found("/api/v1/sql", body, global)
}

/// Prints rows as they come, and says at the end what was done.
fn print_found(path: &str, body: Value, global: &Global) -> Outcome {
    let (form, quiet) = (output(global), global.quiet);
    // An answer that breaks off has no end.
    let mut exit = None;
    ask(global, async |client| {
        client
            .lines("POST", path, Some(body), &mut |line| {
                let Ok(row) = serde_json::from_str::<Value>(line) else { return true };
                if let Some(error) = row.get("alcedo.error") {
                    complain(error.as_str().unwrap_or("the search failed"));
                    exit = Some(Exit::Partial);
                } else if let Some(summary) = row.get("alcedo.summary") {
                    exit = Some(told(summary, quiet));
                } else {
                    print_row(&row, line, form);
                }
                true
            })
            .await
    })?;
    Ok(exit.unwrap_or_else(|| {
        complain("the answer broke off: see the server's log");
        Exit::Partial
    }))
}

/// Says what a search did; an answer that is not whole is an exit code of its own.
pub(super) fn told(summary: &Value, quiet: bool) -> Exit {
    let exact = if summary["matched_exact"].as_bool() == Some(true) { "" } else { "at least " };
    let counts = format!(
        "{exact}{} matched, {} shown, {} ms",
        summary["matched"], summary["returned"], summary["elapsed_ms"]
    );
    told_as(summary, &counts, quiet)
}

/// The same in other words.
pub(super) fn told_as(summary: &Value, counts: &str, quiet: bool) -> Exit {
    let partial = summary["partial"].as_bool() == Some(true);
    if partial {
        let why = summary["why_partial"].as_str().unwrap_or("");
        let more = if why == "limit" { "; `alcedo export` writes all of it" } else { "" };
        complain(&format!("partial answer: {why}{more}"));
    }
    if let Some(waiting) = summary["waiting_records"].as_u64() {
        complain(&format!(
            "{waiting} records came in and cannot be found yet: ask again in a moment"
        ));
    }
    if !quiet {
        complain(counts);
    }
    if partial { Exit::Partial } else { Exit::Ok }
}

fn print_row(row: &Value, line: &str, form: Output) {
    if form != Output::Table {
        return say(line);
    }
    let Some(fields) = row.as_object() else { return };
    let is_event = fields.contains_key("event.original");
    let names: Vec<&str> = match is_event {
        true => EVENT_COLUMNS.to_vec(),
        false => fields.keys().map(String::as_str).collect(),
    };
    let cells: Vec<String> = names.iter().map(|n| cell(&row[*n])).collect();
    say(&cells.join("  "));
}

/// A value as a table shows it: safe on a terminal, of bounded width.
pub(super) fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => render(text.as_bytes()),
        other => render(other.to_string().as_bytes()),
    };
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

/// `alcedo tail`
pub fn tail(args: &Tail, global: &Global) -> Outcome {
    follow(&format!("/api/v1/tail?query={}", encoded(&args.query)), global)
}

/// `alcedo searches ...`
pub fn searches(verb: &Searches, global: &Global) -> Outcome {
    let form = output(global);
    match verb {
        Searches::List => {
            let found = ask(global, async |client| client.get("/api/v1/searches").await)?;
            let columns =
                ["name", "query", "since", "until", "note", "alert", "saved_by", "saved_at"];
            rows(&found["searches"], &columns, form);
        }
        Searches::Save { name, query, since, until, note, alert, every } => {
            let mut body = json!({"query": query, "since": since, "until": until, "note": note});
            // Without it, what the search raises stays.
            if let Some(level) = alert {
                body["alert"] = json!({"level": level, "every": every});
            }
            let path = format!("/api/v1/searches/{}", encoded(name));
            let saved = ask(global, async |client| client.put(&path, body).await)?;
            match form {
                Output::Table => say(&format!("{} is saved", cell(&saved["name"]))),
                _ => say(&saved.to_string()),
            }
        }
        Searches::Run(args) => {
            let body = json!({
                "saved": args.name, "query": args.pipes, "since": args.since, "until": args.until,
                "limit": args.limit,
            });
            return print_found("/api/v1/search", body, global);
        }
        Searches::Tail { name } => {
            return follow(&format!("/api/v1/tail?saved={}", encoded(name)), global);
        }
        Searches::Alert { name, level, every } => {
            let level = Some(level).filter(|level| *level != "off");
            let body = json!({"level": level, "every": every});
            let path = format!("/api/v1/searches/{}/alert", encoded(name));
            let saved = ask(global, async |client| client.put(&path, body).await)?;
            match (form, saved["alert"]["rule_id"].as_str()) {
                (Output::Table, Some(_)) if every.is_some() => say(&format!(
                    "{name} is run every {} over what comes",
                    cell(&saved["alert"]["every"])
                )),
                (Output::Table, Some(rule)) => say(&format!("{name} is the rule {rule} now")),
                (Output::Table, None) => say(&format!("{name} raises no alerts")),
                _ => say(&saved.to_string()),
            }
        }
        Searches::Delete { name } => {
            let path = format!("/api/v1/searches/{}", encoded(name));
            ask(global, async |client| client.delete(&path).await)?;
            complain(&format!("{name} is removed"));
        }
    }
    Ok(Exit::Ok)
}

/// Prints events as they arrive.
fn follow(path: &str, global: &Global) -> Outcome {
    let form = output(global);
    let (mut skipped, mut sampled) = (0, false);
    ask(global, async |client| {
        client
            .lines("GET", path, None, &mut |line| {
                let Some(data) = line.strip_prefix("data: ").or(line.strip_prefix("data:")) else {
                    return true;
                };
                let Ok(row) = serde_json::from_str::<Value>(data) else { return true };
                if row.get("@timestamp").is_some() {
                    print_row(&row, data, form);
                    return true;
                }
                if let Some(now) = row["sampled"].as_bool().filter(|now| *now != sampled) {
                    sampled = now;
                    complain(sampling_notice(now));
                }
                if row["skipped"].as_u64().is_some_and(|n| n > skipped) {
                    skipped = row["skipped"].as_u64().unwrap_or(0);
                    complain(&format!("{skipped} rows skipped so far: too many to show"));
                }
                true
            })
            .await
    })?;
    Ok(Exit::Ok)
}

/// `alcedo around`
pub fn around(args: &Around, global: &Global) -> Outcome {
    let form = output(global);
    // An event's id has dashes, an alert's is hex.
    let kind = if args.id.contains('-') { "events" } else { "alerts" };
    let path = format!("/api/v1/{kind}/{}/around?minutes={}", encoded(&args.id), args.minutes);
    let found = ask(global, async |client| client.get(&path).await)?;
    for row in found["rows"].as_array().into_iter().flatten() {
        print_row(row, &row.to_string(), form);
    }
    Ok(told(&found["summary"], global.quiet))
}

/// `alcedo alerts ...`
pub fn alerts(verb: &Alerts, global: &Global) -> Outcome {
    let form = output(global);
    ask(global, async |client| {
        match verb {
            Alerts::List { state, level, limit } => {
                let level = encoded(level.as_deref().unwrap_or(""));
                let all = format!("/api/v1/alerts?state={}&level={level}", encoded(state));
                list(client, &all, *limit, form, global.quiet).await?;
            }
            Alerts::Show { id } => {
                let found = client.get(&format!("/api/v1/alerts/{}", encoded(id))).await?;
                say(&pretty(&found, form));
            }
            Alerts::Why { id } => {
                let found = client.get(&format!("/api/v1/alerts/{}", encoded(id))).await?;
                match form {
                    Output::Table => why(&found["alert"]),
                    _ => say(&pretty(&found["alert"]["explanation"], form)),
                }
            }
            Alerts::Ack { id } => triage(client, id, json!({"to": "acknowledged"})).await?,
            Alerts::Reopen { id } => triage(client, id, json!({"to": "new"})).await?,
            Alerts::Close { id, disposition, why } => {
                let body = json!({"to": "closed", "disposition": disposition, "why": why});
                triage(client, id, body).await?;
            }
        }
        Ok(Exit::Ok)
    })
}

/// Alerts page by page, up to so many; what is left out is told.
async fn list(
    client: &Client,
    all: &str,
    limit: u64,
    form: Output,
    quiet: bool,
) -> Result<(), Failure> {
    let (mut alerts, mut next, mut matching) = (Vec::new(), String::new(), 0);
    while (alerts.len() as u64) < limit {
        let left = limit - alerts.len() as u64;
        let mut path = format!("{all}&limit={left}");
        if !next.is_empty() {
            path.push_str(&format!("&cursor={}", encoded(&next)));
        }
        let found = client.get(&path).await?;
        matching = found["matching"].as_u64().unwrap_or(0);
        let page = found["alerts"].as_array().cloned().unwrap_or_default();
        next = found["next"].as_str().unwrap_or_default().to_owned();
        let is_last = page.is_empty() || next.is_empty();
        alerts.extend(page);
        if is_last {
            break;
        }
    }
    let shown = alerts.len() as u64;
    rows(&Value::Array(alerts), &["time", "level", "state", "count", "reason", "id"], form);
    if shown < matching && !quiet {
        super::report(&format!("{shown} of {matching} alerts; --limit shows more"));
    }
    Ok(())
}

async fn triage(client: &Client, id: &str, body: Value) -> Result<(), Failure> {
    let changed = client.post(&format!("/api/v1/alerts/{}/triage", encoded(id)), body).await?;
    say(&format!("{} is {}", cell(&changed["id"]), cell(&changed["state"])));
    Ok(())
}

/// The explanation as an indented tree.
fn why(alert: &Value) {
    say(&cell(&alert["reason"]));
    if let Some(facts) = alert["explanation"]["correlation"].as_object() {
        for (name, value) in facts {
            say(&format!("  {name}: {}", cell(value)));
        }
    }
    for line in super::tree::lines(&alert["explanation"]["condition"], 1) {
        say(&line);
    }
}

/// `alcedo rules reload`
pub fn reload(global: &Global) -> Outcome {
    let done = ask(global, async |client| client.post("/api/v1/rules/reload", json!({})).await)?;
    say(&match output(global) {
        Output::Table => format!(
            "generation {}: {} live, {} not covered, {} failed, {} ms",
            done["generation"],
            done["live"],
            done["not_covered"],
            done["failed"],
            done["elapsed_ms"]
        ),
        _ => done.to_string(),
    });
    Ok(Exit::Ok)
}

/// `alcedo sources`
pub fn sources(global: &Global) -> Outcome {
    let found = ask(global, async |client| client.get("/api/v1/sources").await)?;
    let columns = [
        "source",
        "host",
        "state",
        "last_seen",
        "events",
        "events_per_s",
        "parse_failed_share",
        "pack",
    ];
    rows(&found["sources"], &columns, output(global));
    Ok(Exit::Ok)
}

/// `alcedo destinations ...`
pub fn destinations(verb: &Destinations, global: &Global) -> Outcome {
    let form = output(global);
    match verb {
        Destinations::List => {
            let found = ask(global, async |client| client.get("/api/v1/destinations").await)?;
            let columns = [
                "name",
                "state",
                "kind",
                "min_level",
                "delivered",
                "refused",
                "records_behind",
                "bytes_behind",
                "failing_since",
                "last_error",
            ];
            rows(&found["destinations"], &columns, form);
        }
        Destinations::Drop { name } => {
            let path = format!("/api/v1/destinations/{}", encoded(name));
            let done = ask(global, async |client| client.delete(&path).await)?;
            match form {
                Output::Table => say(&format!(
                    "{} is dropped; it was {} records behind",
                    cell(&done["dropped"]),
                    done["records"]
                )),
                _ => say(&done.to_string()),
            }
        }
    }
    Ok(Exit::Ok)
}

/// `alcedo tokens ...`
pub fn tokens(verb: &Tokens, global: &Global) -> Outcome {
    let form = output(global);
    ask(global, async |client| {
        match verb {
            Tokens::Create { name, role, source, expires_in } => {
                let body = json!({
                    "name": name, "role": role, "sources": source, "expires_in": expires_in,
                });
                let made = client.post("/api/v1/tokens", body).await?;
                complain("this is shown once:");
                say(&match form {
                    Output::Table => cell(&made["token"]),
                    _ => made.to_string(),
                });
            }
            Tokens::List => {
                let found = client.get("/api/v1/tokens").await?;
                rows(
                    &found["tokens"],
                    &["id", "name", "role", "created", "expires", "revoked"],
                    form,
                );
            }
            Tokens::Revoke { id } => {
                client.delete(&format!("/api/v1/tokens/{}", encoded(id))).await?;
                say(&format!("{id} is revoked"));
            }
        }
        Ok(Exit::Ok)
    })
}

pub(super) fn rows(list: &Value, columns: &[&str], form: Output) {
    for row in list.as_array().into_iter().flatten() {
        match form {
            Output::Table => {
                let cells: Vec<String> = columns.iter().map(|c| cell(&row[*c])).collect();
                say(&cells.join("  "));
            }
            _ => say(&row.to_string()),
        }
    }
}

pub(super) fn pretty(value: &Value, form: Output) -> String {
    match form {
        Output::Ndjson => value.to_string(),
        _ => serde_json::to_string_pretty(value).unwrap_or_default(),
    }
}

/// Percent-encodes a query or path part (RFC 3986 unreserved characters stay).
pub(super) fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte as char);
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
