//! The store: what taking a day of events costs, what it leaves on disk, and what searches in it cost.

use crate::error::BenchError;
use crate::figure::{Report, tell};
use crate::latency::Latencies;
use crate::server::{self, Server, Setup};
use crate::{corpus, http, process};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// Events of a day, from the generator that is shared with other measurements.
const EVENTS: u64 = 2_600_000;
const SEED: &str = "42";
/// Bytes of a body.
const BODY_BYTES: usize = 1 << 20;
/// Connections that post at once.
const CONNECTIONS: usize = 4;
/// Events that are looked for right after their ack.
const PROBES: u64 = 300;
/// How long a probe may take to be found.
const PROBE_WAIT: Duration = Duration::from_secs(30);
/// CPU that the runs of one search cost together, at least, s, and their number, at most.
const CPU_S_MIN: f64 = 0.6;
/// See [`CPU_S_MIN`].
const RUNS_MAX: u32 = 200;
/// DuckDB's part, run by python3.
const DUCKDB: &str = include_str!("store_duckdb.py");

/// Name, from, until, our search, SQL for others.
const QUERIES: &[(&str, &str, &str, &str, &str)] = &[
    ("count_all", "-", "-", "* | stats count()", "select count(*) from {t}"),
    (
        "needle_ip",
        "-",
        "-",
        "source.ip:203.0.113.77",
        "select * from {t} where \"source.ip\"='203.0.113.77'",
    ),
    (
        "needle_sha",
        "-",
        "-",
        "process.hash.sha256:{sha}",
        "select * from {t} where \"process.hash.sha256\"='{sha}'",
    ),
    (
        "needle_word_msg",
        "-",
        "-",
        "message:\"203.0.113.77\"",
        "select * from {t} where message like '%203.0.113.77%'",
    ),
    ("word_msg", "-", "-", "mimikatz", "select * from {t} where message like '%mimikatz%'"),
    (
        "substr_msg",
        "-",
        "-",
        "message:*SQBFAFgA*",
        "select * from {t} where message like '%SQBFAFgA%'",
    ),
    (
        "count_by_host_1h",
        "2026-11-21T10:00:00Z",
        "2026-11-21T11:00:00Z",
        "* | stats count() by host.name",
        "select \"host.name\", count(*) from {t} where \"@timestamp\">='2026-11-21 10:00:00' and \
         \"@timestamp\"<'2026-11-21 11:00:00' group by 1",
    ),
    (
        "count_by_host_24h",
        "-",
        "-",
        "* | stats count() by host.name",
        "select \"host.name\", count(*) from {t} group by 1",
    ),
    (
        "top10_users",
        "-",
        "-",
        "event.code:4625 | top 10 user.name",
        "select \"user.name\", count(*) from {t} where \"event.code\"::varchar='4625' group by 1 \
         order by 2 desc limit 10",
    ),
    (
        "hist_5m",
        "-",
        "-",
        "event.outcome:failure | timechart 5m",
        "select time_bucket(interval '5 minutes', \"@timestamp\"), count(*) from {t} where \
         \"event.outcome\"='failure' group by 1",
    ),
    (
        "hist_5m_all",
        "-",
        "-",
        "* | timechart 5m",
        "select time_bucket(interval '5 minutes', \"@timestamp\"), count(*) from {t} group by 1",
    ),
    (
        "regex_cmd",
        "-",
        "-",
        "process.command_line:/(?i)powershell.*-e(nc|ncodedcommand) [A-Za-z0-9+\\/=]{20,}/ | stats \
         count()",
        "select count(*) from {t} where regexp_matches(\"process.command_line\", \
         '(?i)powershell.*-e(nc|ncodedcommand) [A-Za-z0-9+/=]{20,}')",
    ),
    (
        "cidr",
        "-",
        "-",
        "source.ip:198.51.100.0/24 | stats count()",
        "select count(*) from {t} where \"source.ip\" like '198.51.100.%'",
    ),
    (
        "latest100",
        "-",
        "-",
        "event.module:sshd and event.outcome:failure | sort -@timestamp | head 100",
        "select * from {t} where \"event.module\"='sshd' and \"event.outcome\"='failure' order by \
         \"@timestamp\" desc limit 100",
    ),
    (
        "distinct_ip_per_user",
        "-",
        "-",
        "event.code:4624 | stats dc(source.ip) as n by user.name | sort -n | head 10",
        "select \"user.name\", count(distinct \"source.ip\") from {t} where \
         \"event.code\"::varchar='4624' group by 1 order by 2 desc limit 10",
    ),
];

/// Runs the bench.
pub(crate) fn run(report: &mut Report) -> Result<(), BenchError> {
    let Some(generator) = corpus::path("../bench/gen_logs.py") else {
        tell("skipped: no generator of events on this machine (bench/gen_logs.py)");
        return Ok(());
    };
    let dir = server::fresh_folder()?;
    let data = dir.path().join("day.ndjson");
    let events = report.scaled(EVENTS);
    let made = generate(&generator, events, &data)?;
    let bytes = made["bytes"].as_u64().unwrap_or(1) as f64;
    let sha = made["needle_sha"].as_str().unwrap_or_default();
    let setup = Setup { rules: vec![corpus::own_rules()], webhook: None };
    let server = Server::start(&setup)?;
    taken(report, &server, &data, events, bytes)?;
    let kept = server.stop_keeping()?;
    let store = kept.path().join("data/store");
    disk(report, "before", &store, bytes)?;
    tell("Alcedo joins its files");
    let begun = process::children_cpu_s()?;
    piped(
        Command::new(server::binary()?)
            .args(["store", "join", "--data-dir"])
            .arg(kept.path().join("data")),
        "",
    )?;
    report.figure("join_cpu", (process::children_cpu_s()? - begun) / (bytes / 1e9), "s/GB");
    disk(report, "after", &store, bytes)?;
    let server = Server::start_in(&setup, kept)?;
    let ours = ours(&server, sha)?;
    let theirs = theirs(&data, &dir.path().join("duckdb"), &store, sha)?;
    searched(report, &ours, &theirs);
    server.stop()
}

/// Bytes of data files and of indexes.
fn disk(report: &mut Report, when: &str, store: &Path, bytes: f64) -> Result<(), BenchError> {
    let of = |end: &str| sizes(&store.join("events"), end).map(|n| n as f64 / bytes);
    let (files, index) = (of("parquet")?, of("idx")?);
    report.figure(&format!("disk_{when}_join"), files + index, "of NDJSON");
    report.figure(&format!("index_{when}_join"), index, "of NDJSON");
    Ok(())
}

fn sizes(folder: &Path, end: &str) -> Result<u64, BenchError> {
    let mut total = 0;
    for entry in std::fs::read_dir(folder).map_err(BenchError::io("files of the store"))? {
        let path = entry.map_err(BenchError::io("files of the store"))?.path();
        if path.is_dir() {
            total += sizes(&path, end)?;
        } else if path.extension().is_some_and(|e| e == end) {
            total += path.metadata().map_err(BenchError::io("files of the store"))?.len();
        }
    }
    Ok(total)
}

fn generate(generator: &Path, events: u64, data: &Path) -> Result<Value, BenchError> {
    tell(&format!("{events} events are made"));
    let done = Command::new("python3")
        .arg(generator)
        .args(["--seed", SEED, "--events", &events.to_string(), "--out"])
        .arg(data)
        .output()
        .map_err(BenchError::io("python3"))?;
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    let last = told.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|_| BenchError::server(format!("the generator said {told}")))
}

/// What taking the events costs, and how soon they are found.
fn taken(
    report: &mut Report,
    server: &Server,
    data: &Path,
    events: u64,
    bytes: f64,
) -> Result<(), BenchError> {
    let before = server::overview(&mut server.client())?;
    let (begun, cpu) = (Instant::now(), server.cpu_s()?);
    post_all(server, data)?;
    let acked_s = begun.elapsed().as_secs_f64();
    let acked_cpu = server.cpu_s()? - cpu;
    let through_s = (server.drained(&before, events)? - begun).as_secs_f64();
    flushed(server)?;
    let gigabytes = bytes / 1e9;
    report.figure("events", events as f64, "events");
    report.figure("acked_rate", events as f64 / acked_s, "events/s");
    report.figure("through_rate", events as f64 / through_s, "events/s");
    report.figure("ingest_cpu_acked", acked_cpu / gigabytes, "s/GB");
    report.figure("ingest_cpu", (server.cpu_s()? - cpu) / gigabytes, "s/GB");
    report.figure("rss_max", server.rss_max_mib()?, "MiB");
    let mut delays = Latencies::default();
    for number in 0..PROBES {
        delays.push(probe(server, number)?);
    }
    report.figure("searchable_p50", delays.percentile_ms(0.50), "ms");
    report.figure("searchable_p99", delays.percentile_ms(0.99), "ms");
    Ok(())
}

/// Posts all lines of a file over several connections.
fn post_all(server: &Server, data: &Path) -> Result<(), BenchError> {
    let (give, take) = sync_channel::<Vec<u8>>(CONNECTIONS * 2);
    let take = Mutex::new(take);
    let post = |mut client: http::Client, take: &Mutex<Receiver<Vec<u8>>>| loop {
        let body = take.lock().ok().and_then(|take| take.recv().ok());
        let Some(body) = body else { return Ok(()) };
        server::ingest(&mut client, "Content-Type: application/x-ndjson\r\n", &body)?;
    };
    std::thread::scope(|scope| {
        let take = &take;
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let client = server.client();
                scope.spawn(move || post(client, take))
            })
            .collect();
        let file = File::open(data).map_err(BenchError::io("the events"))?;
        let mut lines = BufReader::with_capacity(BODY_BYTES, file);
        let mut body = Vec::with_capacity(BODY_BYTES);
        loop {
            let read = lines.read_until(b'\n', &mut body).map_err(BenchError::io("the events"))?;
            let is_due = body.len() >= BODY_BYTES - 8_192 || read == 0 && !body.is_empty();
            if is_due && give.send(std::mem::take(&mut body)).is_err() {
                break;
            }
            if read == 0 {
                break;
            }
        }
        drop(give);
        senders.into_iter().try_for_each(|sender| {
            sender.join().map_err(|_| BenchError::server("lost a sender"))?
        })
    })
}

/// Waits until all rows are in files.
fn flushed(server: &Server) -> Result<(), BenchError> {
    let mut client = server.client();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(300) {
        let answer = client.get("/metrics")?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let line = text.lines().find(|line| line.starts_with("alcedo_store_hot_bytes "));
        let hot = line.and_then(|l| l.split(' ').nth(1)).and_then(|n| n.parse::<f64>().ok());
        if hot.is_some_and(|bytes| bytes < 1e6) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    Err(BenchError::server("did not write its rows to files within 300 s"))
}

/// From the ack of one event to the first search that finds it.
fn probe(server: &Server, number: u64) -> Result<Duration, BenchError> {
    let (mut client, mut searcher) = (server.client(), server.client());
    let word = format!("probe{number:05}x{}", std::process::id());
    let event = json!({"message": word}).to_string() + "\n";
    // The searcher's connection is open before the clock runs.
    searcher.get("/healthz")?;
    server::ingest(&mut client, "Content-Type: application/x-ndjson\r\n", event.as_bytes())?;
    let acked = Instant::now();
    let body = json!({"query": word, "since": "10m"}).to_string();
    while acked.elapsed() < PROBE_WAIT {
        let answer = searcher.post(
            "/api/v1/search",
            "Content-Type: application/json\r\n",
            body.as_bytes(),
        )?;
        let found: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if found["summary"]["matched"].as_u64() == Some(1) {
            return Ok(acked.elapsed());
        }
    }
    Err(BenchError::server(format!("did not find {word}")))
}

/// CPU ms, wall ms, rows.
type Costs = std::collections::BTreeMap<String, (f64, f64, f64)>;

fn costs(text: &str) -> Costs {
    let line = |line: &str| {
        let parts: Vec<&str> = line.rsplitn(4, '\t').collect();
        let [rows, wall, cpu, name] = parts[..] else { return None };
        Some((name.to_owned(), (cpu.parse().ok()?, wall.parse().ok()?, rows.parse().ok()?)))
    };
    text.lines().filter_map(line).collect()
}

/// What the server needs for each search, HTTP and the answer as JSON lines included. A search is
/// repeated until the kernel's ticks of 10 ms do not matter; the mean is given.
fn ours(server: &Server, sha: &str) -> Result<Costs, BenchError> {
    let mut costs = Costs::new();
    let mut client = server.client();
    for (name, since, until, text, _) in QUERIES {
        let mut body = json!({"query": text.replace("{sha}", sha), "limit": 0});
        if *since != "-" {
            (body["since"], body["until"]) = ((*since).into(), (*until).into());
        }
        let body = body.to_string();
        let mut run = || -> Result<f64, BenchError> {
            let headers = "Content-Type: application/json\r\n";
            let answer = client.post("/api/v1/search", headers, body.as_bytes())?;
            let found: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            match found["summary"]["partial"] == false {
                true => Ok(found["summary"]["returned"].as_f64().unwrap_or(0.0)),
                false => Err(BenchError::server(format!("{name}: {}", found["summary"]))),
            }
        };
        let rows = run()?;
        let (cpu, begun, mut runs) = (server.cpu_s()?, Instant::now(), 0);
        while runs < RUNS_MAX && (runs < 3 || server.cpu_s()? - cpu < CPU_S_MIN) {
            run()?;
            runs += 1;
        }
        let each = |seconds: f64| seconds * 1e3 / f64::from(runs);
        let cost = (each(server.cpu_s()? - cpu), each(begun.elapsed().as_secs_f64()), rows);
        costs.insert((*name).to_owned(), cost);
    }
    Ok(costs)
}

/// The same by DuckDB; nothing where there is none.
fn theirs(data: &Path, database: &Path, store: &Path, sha: &str) -> Result<Costs, BenchError> {
    let works = Command::new("python3").args(["-c", "import duckdb"]).output();
    if !works.is_ok_and(|done| done.status.success()) {
        tell("skipped: DuckDB beside (pip install duckdb)");
        return Ok(Costs::new());
    }
    let line = |(name, since, until, _, sql): &(&str, &str, &str, &str, &str)| {
        format!("{name}\t{since}\t{until}\t{}\n", sql.replace("{sha}", sha))
    };
    let asked: String = QUERIES.iter().map(line).collect();
    tell("DuckDB imports and searches");
    let mut python = Command::new("python3");
    python.args(["-c", DUCKDB]).args([data, database]).arg(store.join("events"));
    Ok(costs(&piped(&mut python, &asked)?))
}

/// What a program says when it is given this to read.
fn piped(command: &mut Command, input: &str) -> Result<String, BenchError> {
    let name = format!("{:?}", command.get_program());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(BenchError::io(name.clone()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(BenchError::io(name.clone()))?;
    }
    let done = child.wait_with_output().map_err(BenchError::io(name.clone()))?;
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
        false => Err(BenchError::server(format!("{name} failed: {}", done.status))),
    }
}

fn searched(report: &mut Report, ours: &Costs, theirs: &Costs) {
    for (name, ..) in QUERIES {
        let Some((cpu, wall, rows)) = ours.get(*name) else { continue };
        for engine in ["table", "files"] {
            match theirs.get(&format!("{engine}\t{name}")) {
                Some((peer, _, peer_rows)) => {
                    let which = format!("{name}_cpu");
                    let peer_name = format!("duckdb-{engine}");
                    report.versus(&which, *cpu, "ms", &peer_name, *peer);
                    if rows != peer_rows {
                        tell(&format!("{name}: {rows} rows, {peer_name} has {peer_rows}"));
                    }
                }
                None if engine == "table" => report.figure(&format!("{name}_cpu"), *cpu, "ms"),
                None => {}
            }
        }
        report.figure(&format!("{name}_wall"), *wall, "ms");
        report.figure(&format!("{name}_rows"), *rows, "rows");
    }
    if let Some((cpu, ..)) = theirs.get("table\timport") {
        report.figure("duckdb_import_cpu", *cpu / 1e3, "s");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_read_by_name() {
        let read = costs("a\t1.5\t2\t3\ntable\tb\t4\t5\t6\nnothing\n");
        assert_eq!(read["a"], (1.5, 2.0, 3.0));
        assert_eq!(read["table\tb"], (4.0, 5.0, 6.0));
        assert_eq!(read.len(), 2);
    }
}
