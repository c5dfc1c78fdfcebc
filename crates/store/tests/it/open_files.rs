//! The files without Alcedo: DuckDB, ClickHouse, Spark and pyarrow read what our own search gives; and
//! files of an earlier version of the format.

use crate::samples::*;
use event::{EventBatch, Kind};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use store::{Options, Store};

const ENGINES: [&str; 4] = ["pyarrow", "duckdb", "chdb", "pyspark"];

fn python(args: &[&str]) -> Option<String> {
    let done = Command::new("python3").args(args).output().ok()?;
    if !done.status.success() {
        println!("{}", String::from_utf8_lossy(&done.stderr));
        return None;
    }
    Some(String::from_utf8(done.stdout).unwrap())
}

/// Whether there is an engine; says that a test is skipped where there is none.
fn has(engine: &str) -> bool {
    let found = python(&["-c", &format!("import {engine}")]).is_some();
    if !found {
        println!("skipped: no {engine} (pip install {engine})");
    }
    found
}

/// Events by id as the reader that stands beside the format's description gives them.
fn read(engine: &str, store: &Path) -> BTreeMap<String, Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats/read_store.py");
    let events = store.join("events");
    let out = python(&[script, events.to_str().unwrap(), engine]).expect("the reader succeeds");
    let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = rows.len();
    let id = |row: &Value| row["event.id"].as_str().unwrap().to_owned();
    let by_id: BTreeMap<_, _> = rows.into_iter().map(|row| (id(&row), row)).collect();
    assert_eq!(by_id.len(), count, "{engine}: an event stands there twice");
    by_id
}

/// What our own search says of a value, as text.
fn text(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::String(text) => text.as_str().into(),
        other => other.to_string().into(),
    }
}

/// Our own search's event in the reader's form; names of our own and times are compared apart.
fn expected(event: &serde_json::Map<String, Value>) -> BTreeMap<String, Vec<Value>> {
    let own = event::field::INTRINSIC_NAMES;
    let fields = event.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let values = |value: &Value| match value {
        Value::Array(list) => list.iter().map(text).collect(),
        one => vec![text(one)],
    };
    fields.map(|(name, value)| (name.clone(), values(value))).collect()
}

fn assert_same(engine: &str, dir: &Path, store: &Store, raw: &BTreeMap<String, Vec<u8>>) {
    let found = read(engine, dir);
    assert_eq!(found.len() as u64, store.stats().file_rows, "{engine}");
    let ours = rows(store, &request("*")).0;
    assert_eq!(found.len(), ours.len(), "{engine}");
    for own in ours {
        let id = own.id.unwrap().to_string();
        let row = &found[&id];
        let own: serde_json::Map<String, Value> = serde_json::from_str(&own.json).unwrap();
        let at = event::time::parse_rfc3339(own["@timestamp"].as_str().unwrap());
        assert_eq!(row["@timestamp"].as_i64(), at, "{engine} {id}");
        assert_eq!(row["event.count"], own["event.count"], "{engine} {id}");
        assert_eq!(row["alcedo.source"], own["alcedo.source"], "{engine} {id}");
        let hex: String = raw[&id].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(row["event.original"], hex, "{engine} {id}");
        let mut fields = row["fields"].as_object().unwrap().clone();
        fields.retain(|name, _| !event::field::INTRINSIC_NAMES.contains(&name.as_str()));
        let fields: BTreeMap<String, Vec<Value>> =
            serde_json::from_value(Value::Object(fields)).unwrap();
        assert_eq!(fields, expected(&own), "{engine} {id}");
    }
}

fn originals(batches: &[Arc<EventBatch>]) -> BTreeMap<String, Vec<u8>> {
    let rows = batches.iter().flat_map(|batch| batch.rows());
    rows.map(|row| (row.id().to_string(), row.raw().to_vec())).collect()
}

/// Scenario: events with typed columns, types that conflict, several values, rare and foreign names,
/// bytes that are no UTF-8, records that are kept as templates; several files, then joined.
/// Guarantees: the same number of rows, every value of every field and the record's very bytes.
#[test]
fn other_engines_read_every_value_and_the_records_bytes() {
    for engine in ENGINES.into_iter().filter(|engine| has(engine)) {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
        let mut random = Random(11);
        let mut batches = vec![logins(0..300), mixed(300..700)];
        batches.push(random_batch(&mut random, 700..1_000));
        batches.push(random_batch(&mut random, 1_000..1_100));
        for batch in &batches {
            store.append(batch.clone());
            store.flush().unwrap();
        }
        let raw = originals(&batches);
        assert_same(engine, dir.path(), &store, &raw);
        let done = store.maintain(START_NS + 3 * HOUR_NS).unwrap();
        assert_eq!(done.compacted_files, 4);
        assert_same(engine, dir.path(), &store, &raw);
    }
}

/// Records in JSON whose fields have columns of every type, now and then with a value that does not
/// fit.
fn mixed(offsets: std::ops::Range<u64>) -> Arc<EventBatch> {
    let mut batch = EventBatch::new(dictionary());
    for n in offsets {
        let at = START_NS + n as i64 * 1_001_001_001;
        let (port, score) = (format!("{}", 1_000 + n), format!("{}.5", n % 9));
        let port = if n % 50 == 0 { "none".to_owned() } else { port };
        let created = event::time::rfc3339(START_NS + n as i64 * 1_000_000_000);
        let flag = if n % 2 == 0 { "true" } else { "false" };
        let command = format!(r#"cmd /c "echo {n}" \ ä"#);
        let cells: [(&str, Kind, &[u8]); 6] = [
            ("source.port", if n % 50 == 0 { Kind::Str } else { Kind::Int }, port.as_bytes()),
            ("app.score", Kind::Float, score.as_bytes()),
            ("file.created", Kind::Str, created.as_bytes()),
            ("app.flag", Kind::Bool, flag.as_bytes()),
            ("process.command_line", Kind::Str, command.as_bytes()),
            ("user.name", Kind::Str, b"root"),
        ];
        let port = if n % 50 == 0 { format!("\"{port}\"") } else { port.clone() };
        let command = serde_json::Value::from(&*command);
        let raw = format!(
            r#"{{"@timestamp":"{}","source.port":{port},"app.score":{score},"file.created":"{created}","app.flag":{flag},"process.command_line":{command},"user.name":"root"}}"#,
            event::time::rfc3339(at)
        );
        push(&mut batch, n, at, raw.as_bytes(), &cells);
    }
    Arc::new(batch)
}

/// Scenario: plain SQL over the files as they lie there, by name and by folder.
/// Guarantees: DuckDB's counts and groups are those of our own search.
#[test]
fn plain_sql_of_another_engine_counts_what_search_counts() {
    if !has("duckdb") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    for range in [0..300, 300..500] {
        store.append(logins(range));
        store.flush().unwrap();
    }
    let files = dir.path().join("events/**/*.parquet");
    let ask = |select: &str, rest: &str| {
        let sql = format!("select {select} from '{}' {rest}", files.display());
        let code = format!(
            "import duckdb,json;print(json.dumps(duckdb.sql(r\"\"\"{sql}\"\"\").fetchall(),default=str))"
        );
        let out = python(&["-c", &code]).expect("DuckDB answers");
        serde_json::from_str::<Value>(&out).unwrap()
    };
    assert_eq!(
        ask("count(*), min(hour::int), min(\"date\")", ""),
        serde_json::json!([[500, 2, "2026-11-24"]])
    );
    let ours = json(
        &store,
        "source.bytes>=1000 | stats count() as n, sum(source.bytes) as s by user.name | sort user.name",
    );
    let ours: Vec<Value> = ours.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
    let theirs = ask(
        r#""user.name", count(*), sum("source.bytes")::double"#,
        r#"where "source.bytes" >= 1000 group by 1 order by 1"#,
    );
    let number = |value: &Value| value.as_f64().unwrap();
    let ours: Vec<_> =
        ours.iter().map(|r| (r["user.name"].clone(), number(&r["n"]), number(&r["s"]))).collect();
    let theirs: Vec<_> = theirs
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r[0].clone(), number(&r[1]), number(&r[2])))
        .collect();
    assert_eq!(ours.len(), 5);
    assert_eq!(theirs, ours);
    let since = r#"where "@timestamp" >= timestamptz '2026-11-24 02:00:10+00' and "source.ip" = '10.0.0.3'"#;
    let ours =
        json(&store, "@timestamp>=2026-11-24T02:00:10Z and source.ip:10.0.0.3 | stats count()");
    let count: Value = serde_json::from_str(&ours[0]).unwrap();
    assert_eq!(ask("count(*)", since)[0][0], count["count"]);
}

/// Scenario: an export in Parquet, for programs that know nothing of templates.
/// Guarantees: every record's bytes stand in `event.original` itself.
#[test]
fn exported_files_have_the_records_bytes_in_their_column() {
    if !has("pyarrow") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(&dir.path().join("store"), Options::default()).unwrap();
    let batches = [mixed(0..100)];
    store.append(batches[0].clone());
    store.flush().unwrap();
    let to = dir.path().join("export");
    let format = store::ExportFormat::Parquet;
    store.export(&request("*"), "*", format, &to, &mut |_| {}).unwrap();
    let code = format!(
        "import glob,pyarrow.parquet as p\nfor f in glob.glob('{}/**/*.parquet',recursive=True):\n for r in p.read_table(f,partitioning=None,columns=['alcedo.offset','event.original','alcedo.template']).to_pylist(): print(r['alcedo.offset'],r['event.original'].hex(),r['alcedo.template'])",
        to.display()
    );
    let out = python(&["-c", &code]).expect("pyarrow reads it");
    assert_eq!(out.lines().count(), 100);
    let raw = originals(&batches);
    for line in out.lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        let hex: String =
            raw[&format!("0-{}-0", parts[0])].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!((parts[1], parts[2]), (&*hex, "None"));
    }
}

/// A store that a program wrote whose files had version 2 (times in nanoseconds), and what that program's
/// own search gave of it, a JSON object a line.
const VERSION_2: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/version-2");

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// Events received in the hour of those of [`VERSION_2`], a nanosecond apart.
fn newer() -> Arc<EventBatch> {
    let mut batch = EventBatch::new(dictionary());
    // Events of these tests are received as many nanoseconds after the start as their offset.
    let first = (4 * 24 + 12) as u64 * HOUR_NS as u64 + 1_800_000_000_000;
    for offset in first..first + 10 {
        push(&mut batch, offset, START_NS + offset as i64, b"newer", &[]);
    }
    Arc::new(batch)
}

/// Every event of a store by its id.
fn events(store: &Store) -> BTreeMap<String, Value> {
    let query = filter::search::parse("*", START_NS).unwrap();
    let request = store::SearchRequest {
        limit: 1_000,
        ..store::SearchRequest::new(query, event::Dictionary::ecs())
    };
    let events = rows(store, &request).0.into_iter();
    events
        .map(|row| (row.id.unwrap().to_string(), serde_json::from_str(&row.json).unwrap()))
        .collect()
}

/// Scenario: a folder of version 2, whose events have times of nine digits; searched, a part of a
/// microsecond asked for, then a newer event comes and the files are joined.
/// Guarantees: the answers are those of the program that wrote it, before and after; other engines read
/// both versions; the manifest's version tells programs of that time once there is a file that they cannot
/// read.
#[test]
fn files_of_version_2_give_the_same_and_become_version_3() {
    let dir = tempfile::tempdir().unwrap();
    copy(Path::new(VERSION_2), dir.path());
    let told = std::fs::read_to_string(dir.path().join("expected.ndjson")).unwrap();
    let told = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told: BTreeMap<String, Value> =
        told.map(|event| (event["event.id"].as_str().unwrap().to_owned(), event)).collect();
    assert_eq!(told.len(), 47);
    let format = || {
        let logs = std::fs::read_dir(dir.path().join("manifest")).unwrap();
        let newest = logs.map(|log| log.unwrap().path()).max().unwrap();
        let text = String::from_utf8_lossy(&std::fs::read(newest).unwrap()).into_owned();
        text.split("\"format\":").nth(1).unwrap().split(',').next().unwrap().to_owned()
    };
    {
        let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
        assert_eq!((events(&store), format()), (told.clone(), "2".to_owned()));
        store.append(newer());
        store.flush().unwrap();
        assert_eq!(format(), "4");
        let mut both = events(&store);
        both.retain(|id, _| told.contains_key(id));
        assert_eq!(both, told);
    }
    // Spark has no type for nanoseconds.
    read_by(&["pyarrow", "duckdb", "chdb"], dir.path(), &told);
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    assert!(store.join_all().unwrap() > 0);
    let mut joined = events(&store);
    joined.retain(|id, _| told.contains_key(id));
    assert_eq!(joined, told);
    read_by(&ENGINES, dir.path(), &told);
}

/// All times are there to the nanosecond.
fn read_by(engines: &[&str], store: &Path, told: &BTreeMap<String, Value>) {
    for engine in engines.iter().filter(|engine| has(engine)) {
        let found = read(engine, store);
        assert_eq!(found.len(), told.len() + 10, "{engine}");
        for (id, event) in told {
            let at = event::time::parse_rfc3339(event["@timestamp"].as_str().unwrap());
            assert_eq!(found[id]["@timestamp"].as_i64(), at, "{engine} {id}");
        }
    }
}
