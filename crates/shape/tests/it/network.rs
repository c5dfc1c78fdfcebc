//! Zeek and Suricata as real sensors write them.

use super::Bench;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Lines looked at per log: dev builds are slow, and a log's lines are alike.
const LINES_MAX: usize = 80;

fn unpack(path: &Path) -> Vec<u8> {
    zstd::decode_all(fs::File::open(path).unwrap()).unwrap()
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|c| *c == b'\n').filter(|l| !l.is_empty())
}

/// What an event says, apart from how it came: name and values, in any order.
fn said(bench: &Bench, row: usize) -> BTreeMap<String, Vec<String>> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (field, value) in bench.batch.row(row).cells() {
        let name = bench.batch.name(field).to_owned();
        let differs = ["message", "event.original", "zeek.ts", "zeek._write_ts", "alcedo."];
        if !differs.iter().any(|d| name.starts_with(d)) {
            let text = match name.as_str() {
                // Zeek's text ends at the microsecond, its JSON does not.
                "event.duration" => microseconds(&value.text()),
                _ => plain(&value.text()),
            };
            out.entry(name).or_default().push(text);
        }
    }
    out.values_mut().for_each(|v| v.sort());
    out
}

/// Nanoseconds as the nearest microsecond.
fn microseconds(text: &str) -> String {
    text.parse::<i64>().map_or_else(|_| text.to_owned(), |ns| ((ns + 500) / 1_000).to_string())
}

/// Numbers without trailing zeros, times as seconds: `0.10` and `0.1` say the same, and Zeek's JSON
/// may be set to write times as ISO 8601.
fn plain(text: &str) -> String {
    if text.len() == 27
        && text.ends_with('Z')
        && let Ok(parse::timestamp::Stamp::Utc(ns)) = parse::timestamp::parse(text.as_bytes())
    {
        return format!("{:.6}", ns as f64 / 1e9);
    }
    match text.parse::<f64>() {
        Ok(number) if text.contains('.') && text.matches('.').count() == 1 => {
            format!("{number:.6}")
        }
        _ => text.to_owned(),
    }
}

#[test]
fn zeek_says_the_same_as_text_and_as_json() {
    let Some(dir) = testkit::corpus("network/zeek-wrccdc") else { return };
    let mut bench = Bench::new();
    let (mut total, mut equal) = (0, 0);
    let mut by_log: BTreeMap<String, (usize, usize, String)> = BTreeMap::new();
    for entry in fs::read_dir(dir.join("zeek-json")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().replace(".json.zst", "");
        let Ok(file) = fs::File::open(dir.join(format!("zeek-default/{name}.log.zst"))) else {
            continue;
        };
        let (json, text) = (unpack(&path), zstd::decode_all(file).unwrap());
        bench.start();
        let mut from_text = Vec::new();
        for line in lines(&text) {
            bench.clear();
            let at = bench.shape(line).first_row;
            if line[0] != b'#' {
                from_text.push((said(&bench, at), bench.text(at, "@timestamp")));
            }
            if from_text.len() == LINES_MAX {
                break;
            }
        }
        let entry = by_log.entry(name).or_default();
        for (line, (text, time)) in lines(&json).zip(&from_text) {
            bench.start();
            let at = bench.shape(line).first_row;
            let mut json = said(&bench, at);
            let mut text = text.clone();
            // Only the text's header names the log; JSON's is told by its fields.
            json.remove("zeek._path");
            text.remove("zeek._path");
            total += 1;
            entry.0 += 1;
            let is_equal = json == text && bench.text(at, "@timestamp") == *time;
            equal += usize::from(is_equal);
            entry.1 += usize::from(is_equal);
            if !is_equal && entry.2.is_empty() {
                let differs = |(k, v): (&String, &Vec<String>)| {
                    (text.get(k) != Some(v)).then(|| format!("{k}: {v:?} / {:?}", text.get(k)))
                };
                let extra = text.keys().filter(|k| !json.contains_key(*k));
                entry.2 = json
                    .iter()
                    .filter_map(differs)
                    .chain(extra.cloned())
                    .collect::<Vec<_>>()
                    .join("; ");
            }
        }
    }
    println!("zeek: {equal} of {total} events equal as text and as JSON");
    for (log, (total, equal, why)) in by_log.iter().filter(|(_, v)| v.0 != v.1) {
        println!("  {log}: {equal} of {total}: {why}");
    }
    assert!(total > 300, "{total}");
    assert!(equal * 100 >= total * 97, "{equal} of {total}");
}

#[test]
fn sensors_are_recognised() {
    let Some(dir) = testkit::corpus("network") else { return };
    let mut bench = Bench::new();
    let apt29 = unpack(&dir.join("zeek-apt29-day1.ndjson.zst"));
    let (mut total, mut zeek) = (0, 0);
    for line in lines(&apt29).step_by(7).take(600) {
        bench.start();
        let at = bench.shape(line).first_row;
        total += 1;
        let is = bench.text(at, "alcedo.pack").as_deref() == Some("zeek");
        let routed = bench.all(at, "alcedo.logsource").iter().any(|l| l.starts_with("zeek//"));
        zeek += usize::from(is && routed);
    }
    assert!(zeek * 100 >= total * 98, "{zeek} of {total}");
    for year in ["2017", "2018"] {
        let alerts = fs::read(dir.join(format!("suricata-alerts/wrccdc-{year}.ndjson"))).unwrap();
        for line in lines(&alerts) {
            bench.start();
            let at = bench.shape(line).first_row;
            assert_eq!(bench.text(at, "alcedo.pack").as_deref(), Some("suricata"));
            for field in ["source.ip", "destination.ip", "rule.name", "rule.id"] {
                assert!(bench.text(at, field).is_some(), "{field}");
            }
        }
    }
    println!("zeek JSON streaming: {zeek} of {total} recognised and routed");
}
