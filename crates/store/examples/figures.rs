//! The store alone, measured: `figures NDJSON FOLDER` loads flat NDJSON into a store in FOLDER as a
//! live stream would (frozen batches, flushes by size, joins), then runs the 15 searches of the store
//! bench. CPU is that of this thread, which does all the work; reading and parsing the NDJSON is
//! counted apart. With `figures - FOLDER` only the searches run, over what is there.

use event::{Dictionary, Envelope, EventBatch, EventId, Kind, Protocol, RowHead, time};
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use store::{Options, SearchRequest, Store};

const BATCH_ROWS: usize = 512;
const HOUR_NS: i64 = 3_600 * time::SECOND_NS;
/// 2026-11-22T00:00:00Z: when the made-up stream is received.
const RECEIVED_NS: i64 = 1_795_305_600 * time::SECOND_NS;
/// The generator's rare hash.
const NEEDLE_SHA: &str = "B5C1FB2EFC6D6B4674C2FDCC48CE01B43A3B7C03763C0C3355DE0099EE0F8C73";

/// CPU time of this thread, ns.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn rss_mb() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1_024
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, input, folder, rest @ ..] = &args[..] else {
        eprintln!("usage: figures NDJSON|- FOLDER [SHA256 of the needle]");
        return;
    };
    let options = Options { retention_age_ns: None, ..Options::default() };
    let (store, report) = Store::open(Path::new(folder), options).expect("the folder is writable");
    println!("opened: {} files, {} rows", report.files, report.rows);
    if input != "-" {
        load(&store, Path::new(input));
    }
    searches(&store, rest.first().map_or(NEEDLE_SHA, |sha| sha));
}

fn load(store: &Store, path: &Path) {
    let mut lines = BufReader::with_capacity(1 << 20, std::fs::File::open(path).expect("NDJSON"));
    let (mut line, mut raw_bytes, mut offset) = (String::new(), 0u64, 0u64);
    let (mut parse_ns, mut append_ns, mut flush_ns, mut upkeep_ns) = (0, 0, 0, 0);
    let mut end = false;
    while !end {
        let start = cpu_ns();
        let envelope = Arc::new(Envelope::of("bench", Protocol::Http));
        let mut batch = EventBatch::new(Dictionary::ecs());
        while batch.len() < BATCH_ROWS {
            line.clear();
            if lines.read_line(&mut line).expect("text") == 0 {
                end = true;
                break;
            }
            raw_bytes += line.len() as u64;
            push(&mut batch, offset, line.trim_end(), &envelope);
            offset += 1;
        }
        let parsed = cpu_ns();
        store.append(Arc::new(batch));
        let appended = cpu_ns();
        if store.stats().hot_bytes > 64 << 20 || end {
            store.flush().expect("flush");
        }
        let flushed = cpu_ns();
        store.maintain(RECEIVED_NS).expect("maintain");
        upkeep_ns += cpu_ns() - flushed;
        parse_ns += parsed - start;
        append_ns += appended - parsed;
        flush_ns += flushed - appended;
    }
    let per_gb = |ns: u64| ns as f64 / raw_bytes as f64;
    println!("{offset} events, {raw_bytes} bytes of NDJSON");
    println!(
        "CPU s/GB: parse {:.2}, append {:.2}, flush {:.2}, upkeep {:.2}; peak RSS {} MB",
        per_gb(parse_ns),
        per_gb(append_ns),
        per_gb(flush_ns),
        per_gb(upkeep_ns),
        rss_mb()
    );
    sizes(store, raw_bytes, "right after");
    let start = cpu_ns();
    while store.maintain(RECEIVED_NS + 2 * HOUR_NS).expect("maintain").compacted_files > 0 {}
    println!(
        "joining once the hour is over: {:.2} CPU s/GB; peak RSS {} MB",
        per_gb(cpu_ns() - start),
        rss_mb()
    );
    sizes(store, raw_bytes, "after joining");
}

fn sizes(store: &Store, raw_bytes: u64, when: &str) {
    let stats = store.stats();
    let total = stats.file_bytes + stats.index_bytes;
    println!(
        "{when}: {} files, data {} + index {} = {total} bytes, {:.4} of the NDJSON",
        stats.files,
        stats.file_bytes,
        stats.index_bytes,
        total as f64 / raw_bytes as f64
    );
}

fn push(batch: &mut EventBatch, offset: u64, raw: &str, envelope: &Arc<Envelope>) {
    let received_ns = RECEIVED_NS + (offset / 4_096) as i64 * time::MILLI_NS;
    let id = EventId::at(offset);
    let head = RowHead { id, received_ns, stream_ns: received_ns, envelope: envelope.clone() };
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(raw).expect("flat JSON");
    let mut row = batch.begin(head, raw.as_bytes());
    for (name, value) in &object {
        let text = match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if name == "@timestamp" {
            row.set_event_ns(time::parse_rfc3339(&text).expect("a time"));
            continue;
        }
        let kind = match value {
            serde_json::Value::String(_) => Kind::Str,
            serde_json::Value::Number(n) if n.is_f64() => Kind::Float,
            serde_json::Value::Number(_) => Kind::Int,
            serde_json::Value::Bool(_) => Kind::Bool,
            _ => Kind::Null,
        };
        let field = row.field(name);
        row.push(field, kind, text.as_bytes());
    }
    row.finish();
}

fn searches(store: &Store, needle_sha: &str) {
    let day = store.stats().event_times_ns.unwrap_or_default().0.div_euclid(24 * HOUR_NS);
    let ten = day * 24 * HOUR_NS + 10 * HOUR_NS;
    let sha = format!("process.hash.sha256:{needle_sha}");
    let queries: [(&str, &str, bool); 15] = [
        ("count_all", "* | stats count()", false),
        ("needle_ip", "source.ip:203.0.113.77", false),
        ("needle_sha", &sha, false),
        ("needle_word_msg", r#"message:"203.0.113.77""#, false),
        ("word_msg", "mimikatz", false),
        ("substr_msg", "message:*SQBFAFgA*", false),
        ("count_by_host_1h", "* | stats count() by host.name", true),
        ("count_by_host_24h", "* | stats count() by host.name", false),
        ("top10_users", "event.code:4625 | top 10 user.name", false),
        ("hist_5m", "event.outcome:failure | timechart 5m", false),
        ("hist_5m_all", "* | timechart 5m", false),
        (
            "regex_cmd",
            r"process.command_line:/(?i)powershell.*-e(nc|ncodedcommand) [A-Za-z0-9+\/=]{20,}/",
            false,
        ),
        ("cidr", "source.ip:198.51.100.0/24", false),
        (
            "latest100",
            "event.module:sshd and event.outcome:failure | sort -@timestamp | head 100",
            false,
        ),
        (
            "distinct_ip_per_user",
            "event.code:4624 | stats dc(source.ip) as n by user.name | sort -n | head 10",
            false,
        ),
    ];
    println!(
        "{:<22} {:>8} {:>10} {:>10} {:>12}",
        "query", "rows", "CPU ms", "wall ms", "rows read"
    );
    for (name, text, one_hour) in queries {
        let query = filter::search::parse(text, 0).expect("a query");
        let mut request = SearchRequest::new(query, Dictionary::ecs());
        request.limit = 100_000;
        if one_hour {
            (request.since_ns, request.until_ns) = (Some(ten), Some(ten + HOUR_NS));
        }
        let (mut best_cpu, mut best_wall, mut rows, mut scanned) = (f64::MAX, f64::MAX, 0, 0);
        let mut failed = None;
        for _ in 0..4 {
            let (cpu, wall) = (cpu_ns(), Instant::now());
            rows = 0;
            let summary = store.search(&request, &mut |_| {
                rows += 1;
                ControlFlow::Continue(())
            });
            match summary {
                Ok(summary) => scanned = summary.scanned_rows,
                Err(error) => failed = Some(error),
            }
            best_cpu = best_cpu.min((cpu_ns() - cpu) as f64 / 1e6);
            best_wall = best_wall.min(wall.elapsed().as_secs_f64() * 1e3);
        }
        if let Some(error) = failed {
            println!("{name:<22} {error}");
            continue;
        }
        println!("{name:<22} {rows:>8} {best_cpu:>10.1} {best_wall:>10.1} {scanned:>12}");
    }
    println!("peak RSS {} MB", rss_mb());
}
